/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdlib.h>
#include <string.h>

#include "vdev/net_bytes.h"
#include "vdev/net_filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * Any bytes as the begin of a frame, behind what the first eight say of its offload. What passes has the port's own
 * addresses, and headers that were found lie in what there is.
 */
static const struct net_port port = {
    .mac = { 0x52, 0x54, 0, 0, 0, 1 }, .ips = 2,
    .ip = { { false, { 10, 0, 0, 1 } }, { true, { 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 } } },
};

static void must(bool so)
{
    if (!so)
        abort();
}

static void check_passed(const uint8_t *head, size_t n)
{
    static const uint8_t nobody[16], *own4 = port.ip[0].at, *own6 = port.ip[1].at;
    uint16_t type = get16(head + 12);

    must(!memcmp(head + 6, port.mac, 6));
    if (type == NET_TYPE_IP4)
        must(n >= 34 && (!memcmp(head + 26, own4, 4) || !memcmp(head + 26, nobody, 4)));
    else if (type == NET_TYPE_ARP)
        must(n >= 42 && !memcmp(head + 22, port.mac, 6) && (!memcmp(head + 28, own4, 4) || !memcmp(head + 28, nobody, 4)));
    else if (type == NET_TYPE_IP6)
        must(n >= 54 && (!memcmp(head + 22, own6, 16) || !memcmp(head + 22, nobody, 16) || head[22] == 0xfe));
    else
        abort();
    if (type == NET_TYPE_IP6 && head[20] == NET_ICMP6) /* no router's words, and none of others' addresses */
        must(head[54] != 134 && head[54] != 137 &&
             (head[54] != 136 || !memcmp(head + 62, own6, 16) || head[62] == 0xfe));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mb_net_offload o;
    struct net_headers h;
    uint8_t *head;
    size_t n;

    if (size < sizeof(o) + NET_ETH)
        return 0;
    memcpy(&o, data, sizeof(o));
    n = MIN(size - sizeof(o), (size_t)NET_HEAD);
    head = malloc(n); /* its end is the sanitizer's */
    memcpy(head, data + sizeof(o), n);
    memcpy(head + 6, port.mac, 6);
    if (net_may_send(&port, head, (uint32_t)n))
        check_passed(head, n);
    if (net_offload_fits(&o, head, (uint32_t)n, (uint32_t)n + 1000) && o.flags & MB_NET_PARTIAL)
        must(o.csum_start + (size_t)o.csum_offset + 2 <= n);
    if (net_find_headers(&o, head, (uint32_t)n, &h))
        must(h.ip < h.transport && h.transport < h.payload && h.payload <= n);
    free(head);
    return 0;
}
