/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/monitor_parts.h"
#include "core/uplinks.h"
#include "lib/string.h"
#include "vdev/net.h"

static void print_ip(const struct net_ip *ip)
{
    if (!ip->six) {
        monitor_print(" %u.%u.%u.%u", ip->at[0], ip->at[1], ip->at[2], ip->at[3]);
        return;
    }
    for (unsigned i = 0; i < sizeof(ip->at); i += 2)
        monitor_print("%s%x", i ? ":" : " ", ip->at[i] << 8 | ip->at[i + 1]);
}

static void list_port(struct net_port *p, void *ctx)
{
    const uint8_t *m = p->mac;

    monitor_print("  %s: ", p->name);
    if (p->uplink)
        monitor_print("uplink");
    else
        monitor_print("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
    for (unsigned i = 0; i < p->ips; i++)
        print_ip(&p->ip[i]);
    if (p->rate.per_second)
        monitor_print(", at most %lu bytes a second", p->rate.per_second);
    monitor_print("\n");
    ++*(unsigned *)ctx;
}

static void stat_port(struct net_port *p, void *ctx)
{
    const struct net_counts *c = &p->counts;

    monitor_print("  %s: sent %lu packets, %lu KiB; spoofed %lu, senseless %lu, for nobody %lu\n", p->name, c->in,
                  c->in_bytes / 1024, c->spoofed, c->bad, c->nowhere);
    monitor_print("    received %lu packets, %lu KiB; no room for %lu; pages placed %lu, copied %lu KiB\n", c->out,
                  c->out_bytes / 1024, c->full, c->placed, c->copied / 1024);
    if (c->moves)
        monitor_print("    moved %lu KiB into others' buffers, at %lu times\n", c->moved / 1024, c->moves);
    ++*(unsigned *)ctx;
}

static void stat_cards(void)
{
    const struct card *c;
    const char *net;

    for (unsigned i = 0; (c = uplinks_at(i, &net)); i++) {
        const struct card_counts *n = &c->counts;

        monitor_print("card %s of network %s: link %s\n", c->name, net, c->up ? "up" : "down");
        monitor_print("    sent %lu frames, %lu KiB; no room for %lu, no link for %lu\n", n->sent, n->sent_bytes / 1024,
                      n->full, n->down);
        monitor_print("    received %lu frames, %lu KiB; bad %lu, missed %lu; resets %lu\n", n->received,
                      n->received_bytes / 1024, n->bad, n->missed, n->resets);
    }
}

void monitor_net(int argc, char **argv)
{
    bool list = argc == 2 && !strcmp(argv[1], "list");
    unsigned ports = 0;
    struct net *n;

    if (!list && (argc != 2 || strcmp(argv[1], "stat"))) {
        monitor_print("usage: net list, net stat\n");
        return;
    }
    for (unsigned i = 0; (n = net_at(i)); i++) {
        monitor_print("network %s\n", net_name(n));
        net_each_port(n, list ? list_port : stat_port, &ports);
    }
    if (!list)
        stat_cards();
    if (!ports)
        monitor_print("no VM that runs has a network\n");
}
