/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/uplinks.h"

#include "core/firmware_card.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vdev/net.h"

struct uplink {
    struct net_port port;
    struct card *card;
    const struct net_config *config;
    uint16_t bdf;
    bool released;             /* the firmware wants it back */
};

static struct uplink uplinks[CONFIG_MAX_NETS];
static unsigned count;

/* --- between the switch and the card --- */

/* A port that is a wire gets each frame in one piece of ours. */
static int frame(struct net_port *p, const struct net_frame *f)
{
    struct uplink *u = p->owner;

    return u->card->ops->send(u->card, f->piece->at, f->bytes);
}

static void flush(struct net_port *p)
{
    struct uplink *u = p->owner;

    u->card->ops->flush(u->card);
}

static void receive(struct card *c, const uint8_t *data, uint32_t bytes, bool checked)
{
    struct uplink *u = c->owner;

    net_send_bytes(&u->port, data, bytes, checked ? MB_NET_CHECKED : 0);
}

static void news(struct card *c)
{
    struct uplink *u = c->owner;

    net_room(&u->port);
}

/* --- which card --- */

static bool is_taken(uint16_t bdf)
{
    for (unsigned i = 0; i < count; i++)
        if (uplinks[i].bdf == bdf)
            return true;
    return false;
}

static bool fits(const struct net_config *c, const struct pci_function *f)
{
    const char *driver = card_driver(f);

    if (!driver || c->uplink == CONFIG_UPLINK_FIRMWARE || is_taken(f->at.bdf))
        return false;
    return c->uplink == CONFIG_UPLINK_PCI ? c->bdf == f->at.bdf :
           c->uplink == CONFIG_UPLINK_AUTO || !strcmp(driver, "e1000");
}

static void give_back(const struct boot_info *boot, struct uplink *u)
{
    if (u->released)
        boot->pci_take_back(u->bdf);
    u->released = false;
}

static int attach(struct uplink *u)
{
    static const struct net_port_ops ops = { .frame = frame, .flush = flush };
    struct net *net = net_named(u->config->name);

    u->card->owner = u;
    u->card->receive = receive;
    u->card->news = news;
    u->port.ops = &ops;
    u->port.owner = u;
    u->port.uplink = u->port.wire = true;
    u->port.mtu = CARD_MTU;
    format(u->port.name, sizeof(u->port.name), "%s", u->card->name);
    return net ? net_attach(net, &u->port) : -ENOSPC;
}

/* The card has been opened, or (err) has not: it is the next uplink, or is as it was. */
static bool begin(const struct boot_info *boot, struct uplink *u, int err)
{
    const uint8_t *mac;

    if (!err)
        err = attach(u);
    if (!err)
        err = u->card->ops->start(u->card);
    if (err) {
        log_warn("net %s: uplink PCI %02x:%02x.%x cannot be used (%d)", u->config->name, u->bdf >> 8,
                 u->bdf >> 3 & 31, u->bdf & 7, err);
        net_detach(&u->port);
        give_back(boot, u);
        return false;
    }
    count++;
    mac = u->card->mac;
    log_info("net %s: uplink %s, %02x:%02x:%02x:%02x:%02x:%02x, link %s", u->config->name, u->card->name, mac[0], mac[1],
             mac[2], mac[3], mac[4], mac[5], u->card->up ? "up" : "down");
    return true;
}

struct search { const struct boot_info *boot; const struct net_config *config; };

static bool try_function(const struct pci_function *f, void *arg)
{
    const struct search *s = arg;
    struct uplink *u = &uplinks[count];
    int err;

    if (!fits(s->config, f))
        return false;
    err = s->boot->pci_release(f->at.bdf);
    *u = (struct uplink){ .config = s->config, .bdf = f->at.bdf, .released = !err };
    if (!err || err == -ENODEV)
        err = card_open(f, &u->card);
    return begin(s->boot, u, err);
}

/* One that the firmware drives. */
static bool try_firmware(const struct search *s)
{
    const struct boot_info *boot = s->boot;

    for (unsigned i = 0; i < boot->cards && s->config->uplink != CONFIG_UPLINK_E1000; i++) {
        uint16_t bdf = boot->card[i].bdf;
        struct uplink *u = &uplinks[count];

        if (is_taken(bdf) || (s->config->uplink == CONFIG_UPLINK_PCI && s->config->bdf != bdf))
            continue;
        *u = (struct uplink){ .config = s->config, .bdf = bdf };
        if (begin(boot, u, firmware_card_open(boot, i, &u->card)))
            return true;
    }
    return false;
}

int uplinks_open(const struct boot_info *boot)
{
    const struct config *c = boot->config;

    for (unsigned i = 0; i < c->nets; i++) {
        struct search s = { boot, &c->net[i] };

        if (c->net[i].uplink == CONFIG_UPLINK_NONE || pci_each(try_function, &s) ||
            try_firmware(&s))
            continue;
        if (c->net[i].uplink != CONFIG_UPLINK_AUTO) {
            log_error("net %s: no network card for its uplink", c->net[i].name);
            return -ENODEV;
        }
        log_warn("net %s: no network card for its uplink, it stays by itself", c->net[i].name);
    }
    return 0;
}

void uplinks_close(const struct boot_info *boot)
{
    while (count) {
        struct uplink *u = &uplinks[--count];

        net_detach(&u->port);
        give_back(boot, u);
    }
}

const struct card *uplinks_at(unsigned n, const char **net)
{
    if (n >= count)
        return NULL;
    *net = uplinks[n].config->name;
    return uplinks[n].card;
}
