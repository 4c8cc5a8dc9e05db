/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vdev/net.h"

/* What a port may send. head: the frame's first n bytes, NET_HEAD or all of it, at least NET_ETH. Any processor. */

/*
 * From its own address only, in ARP too. A port with addresses of IP sends nothing but IPv4, ARP and IPv6, from these;
 * and what a host sends before it has an address: DHCP, ARP probes, and from its link-local address or none the
 * IPv6 messages of a host, but no router's. What its neighbours are told (ND) is checked; what cannot be seen whole in
 * the head is not sent.
 */
bool net_may_send(const struct net_port *p, const uint8_t *head, uint32_t n);

/* Does what the offload says fit the frame? The receivers rely on it. */
bool net_offload_fits(const struct mb_net_offload *o, const uint8_t *head, uint32_t n, uint32_t bytes);

/* The headers of a frame that is to be segmented. */
struct net_headers {
    uint32_t ip, transport;    /* bytes from the frame's begin */
    uint32_t payload;          /* the same */
    bool six, tcp;
};
/* False: they are not there, not whole in the head, or not what the offload says. */
bool net_find_headers(const struct mb_net_offload *o, const uint8_t *head, uint32_t n, struct net_headers *h);
