/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/errno.h"
#include "lib/string.h"
#include "vdev/net_bytes.h"
#include "vdev/net_filter.h"
#include "vdev/net_parts.h"

/*
 * Frames as they are on a wire: a packet that only says how it is to be segmented becomes many, each with the headers
 * brought up to date (RFC 9293, 768, 791, 8200), and the checksums are added up (RFC 1071).
 */
#define TCP_FIN 0x01u
#define TCP_PSH 0x08u
#define TCP_CWR 0x80u
#define VLAN_BYTES 4u

/* Adds up words of 16 bits; an odd byte at the end counts as the upper one. */
static uint64_t add_up(uint64_t sum, const uint8_t *at, uint32_t n)
{
    for (; n > 1; n -= 2, at += 2)
        sum += get16(at);
    return n ? sum + (uint64_t)(at[0] << 8) : sum;
}

static uint16_t fold(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

/* The checksum at `place` holds what is to be added to the sum of the rest; 0 on the wire means: none (UDP). */
static void finish_checksum(uint8_t *frame, uint32_t start, uint32_t place, uint32_t bytes)
{
    uint16_t sum = (uint16_t)~fold(add_up(0, frame + start, bytes - start));

    put16(frame + place, sum ? sum : 0xffff);
}

static int emit(struct net_port *p, const uint8_t *frame, uint32_t bytes)
{
    const struct net_piece piece = { .at = frame, .bytes = bytes };
    const struct net_frame f = { .piece = &piece, .pieces = 1, .bytes = bytes,
                                 .offload = { .flags = MB_NET_CHECKED } };

    return p->ops->frame(p, &f);
}

/* The pseudo header (RFC 9293, 3.1; RFC 8200, 8.1), without what stands for the checksum already. */
static uint16_t pseudo_sum(const uint8_t *frame, const struct net_headers *h, uint32_t length)
{
    const uint8_t *ip = frame + h->ip;
    uint64_t sum = length + (h->tcp ? NET_TCP : NET_UDP);

    return fold(h->six ? add_up(sum, ip + 8, 32) : add_up(sum, ip + 12, 8));
}

static void set_ip(uint8_t *ip, const struct net_headers *h, uint32_t bytes, uint32_t n)
{
    if (h->six) {
        put16(ip + 4, bytes - 40);
        return;
    }
    put16(ip + 2, bytes);
    put16(ip + 4, get16(ip + 4) + n);
    put16(ip + 10, 0);
    put16(ip + 10, (uint16_t)~fold(add_up(0, ip, (ip[0] & 15) * 4u)));
}

/* Segment n of a packet, whose headers are in frame as they were given; offset: its payload's in the packet's. */
static void set_headers(uint8_t *frame, const struct net_headers *h, const struct mb_net_offload *o, uint32_t n,
                        uint32_t offset, uint32_t payload, bool last)
{
    uint8_t *transport = frame + h->transport;
    uint32_t bytes = h->payload + payload;

    set_ip(frame + h->ip, h, bytes - h->ip, n);
    if (h->tcp) {
        put32(transport + 4, get32(transport + 4) + offset);
        if (!last)
            transport[13] &= (uint8_t)~(TCP_FIN | TCP_PSH);
        if (n && o->flags & MB_NET_ECN)
            transport[13] &= (uint8_t)~TCP_CWR;
    } else {
        put16(transport + 4, bytes - h->transport);
    }
    put16(transport + o->csum_offset, pseudo_sum(frame, h, bytes - h->transport));
    finish_checksum(frame, h->transport, h->transport + o->csum_offset, bytes);
}

static int segment(struct net_port *p, const struct net_frame *f, const struct net_headers *h, uint32_t room)
{
    uint32_t left = f->bytes - h->payload, step = f->offload.gso_bytes;
    int err = 0;

    if (h->payload + step > room || (h->six && !get16(f->piece->at + h->ip + 4))) /* nor a jumbogram */
        return -EINVAL;
    for (uint32_t n = 0, at = 0; left && !err; n++) {
        uint32_t payload = MIN(step, left);

        memcpy(p->wire_buffer, f->piece->at, h->payload);
        err = net_frame_read(f, h->payload + at, p->wire_buffer + h->payload, payload);
        if (err)
            break;
        left -= payload;
        set_headers(p->wire_buffer, h, &f->offload, n, at, payload, !left);
        err = emit(p, p->wire_buffer, h->payload + payload);
        at += payload;
    }
    return err;
}

static int whole(struct net_port *p, const struct net_frame *f, uint32_t room)
{
    const struct mb_net_offload *o = &f->offload;
    int err = f->bytes > room ? -EINVAL : net_frame_read(f, 0, p->wire_buffer, f->bytes);

    if (err)
        return err;
    if (o->flags & MB_NET_PARTIAL)
        finish_checksum(p->wire_buffer, o->csum_start, (uint32_t)o->csum_start + o->csum_offset, f->bytes);
    return emit(p, p->wire_buffer, f->bytes);
}

/* In the middle of a packet there is no waiting: what is lost is sent again by those who care. */
static int give_locked(struct net_port *p, const struct net_frame *f)
{
    uint32_t room = p->mtu + NET_ETH;
    struct net_headers h;
    int err;

    if (get16(f->piece->at + 12) == NET_TYPE_VLAN)
        room += VLAN_BYTES;
    room = MIN(room, (uint32_t)PAGE_SIZE);
    if (f->offload.gso == MB_NET_GSO_NONE)
        return whole(p, f, room);
    if (!net_find_headers(&f->offload, f->piece->at, net_head_bytes(f), &h))
        return -EINVAL;
    err = segment(p, f, &h, room);
    return err == -EAGAIN ? -ENOSPC : err;
}

int net_give_wire(struct net_port *p, const struct net_frame *f)
{
    int err;

    spin_lock(&p->wire_lock);
    err = give_locked(p, f);
    spin_unlock(&p->wire_lock);
    return err;
}
