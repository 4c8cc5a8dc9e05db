/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "efi/config_parts.h"
#include "lib/string.h"

int config_begin_net(struct parser *p, struct span name)
{
    struct config *c = p->out;
    int err = config_check_name(p, "net", name);

    if (err)
        return err;
    for (unsigned i = 0; i < c->nets; i++)
        if (span_is(name, c->net[i].name))
            return config_fail(p, "[net %s]: given twice, expected once", c->net[i].name);
    if (c->nets == CONFIG_MAX_NETS)
        return config_fail(p, "[net %.*s]: expected at most %d networks", (int)name.n, name.s, CONFIG_MAX_NETS);
    p->net = &c->net[c->nets++];
    p->section = SECTION_NET;
    copy(p->net->name, sizeof(p->net->name), name);
    return 0;
}

/* Hexadecimal digits, `digits` of them, up to max. */
static bool take_hex(const char **s, unsigned digits, unsigned max, unsigned *out)
{
    static const char digit[] = "0123456789abcdef";

    *out = 0;
    for (unsigned i = 0; i < digits; i++, (*s)++) {
        char c = **s >= 'A' && **s <= 'F' ? (char)(**s + 'a' - 'A') : **s;
        const char *at = c ? strchr(digit, c) : NULL;

        if (!at)
            return false;
        *out = *out * 16 + (unsigned)(at - digit);
    }
    return *out <= max;
}

/* BB:DD.F, as lspci writes it. */
static bool parse_bdf(const char *s, uint16_t *bdf)
{
    unsigned bus, dev, fn;

    if (!take_hex(&s, 2, 255, &bus) || *s++ != ':' || !take_hex(&s, 2, 31, &dev) || *s++ != '.' ||
        !take_hex(&s, 1, 7, &fn) || *s)
        return false;
    *bdf = (uint16_t)(bus << 8 | dev << 3 | fn);
    return true;
}

int config_set_uplink(struct parser *p, const char *value)
{
    if (strcmp(value, "auto") == 0)
        p->net->uplink = CONFIG_UPLINK_AUTO;
    else if (strcmp(value, "e1000") == 0)
        p->net->uplink = CONFIG_UPLINK_E1000;
    else if (strcmp(value, "firmware") == 0)
        p->net->uplink = CONFIG_UPLINK_FIRMWARE;
    else if (strncmp(value, "pci:", 4) == 0 && parse_bdf(value + 4, &p->net->bdf))
        p->net->uplink = CONFIG_UPLINK_PCI;
    else
        return config_fail(p, "expected auto, e1000, firmware or pci:BUS:DEVICE.FUNCTION such as pci:00:03.0, found "
                           "\"%.*s\"", SHOWN, value);
    return 0;
}
