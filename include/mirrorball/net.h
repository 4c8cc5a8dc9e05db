/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0 */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdint.h>
#endif

/*
 * Paravirtual network interfaces, numbered from 0. Each queue of an interface has a ring in guest memory, with packets
 * to send and pages for those that come. A packet is whole: up to 1 MiB, in as many segments as it lies in; what
 * segmentation and checksums it would need on a wire is only said. A call sends as many as there are; they are in the
 * receivers' pages when it returns. See docs/net.md.
 *
 * All counters run freely from 0. Packet number n is packet[n % packets], page number n is page[n % pages] and what is
 * in it then is filled[n % pages]; pages are filled in their order. Packet, table and data must not change before the
 * packet is `taken`; from then on they are the guest's again.
 */
#define MB_NET_MAX_PACKETS  1024    /* of a ring: a power of two from 2 to this */
#define MB_NET_MAX_PAGES    4096    /* of a ring: a power of two from 2 to this */
#define MB_NET_MAX_SEGMENTS 272     /* of a packet */
#define MB_NET_MAX_BYTES    (1u << 20)
#define MB_NET_MIN_BYTES    14      /* an Ethernet header */

#define MB_NET_STAYS        1u      /* will not be written soon: whole pages of it are shared, not copied */
struct mb_net_segment {
    uint64_t gpa;
    uint32_t bytes;         /* not 0; may cross pages */
    uint32_t flags;         /* MB_NET_STAYS */
};

/* What a packet is, beside its bytes. */
enum mb_net_gso {           /* it is to be segmented where it leaves for a wire */
    MB_NET_GSO_NONE,
    MB_NET_GSO_TCP4,
    MB_NET_GSO_TCP6,
    MB_NET_GSO_UDP,         /* each segment a datagram */
};
#define MB_NET_PARTIAL      1u      /* the checksum at csum_start + csum_offset is still to be added up, from csum_start */
#define MB_NET_CHECKED      2u      /* its checksums are known to be right */
#define MB_NET_ECN          4u      /* TCP: the first segment alone has CWR */
struct mb_net_offload {
    uint8_t flags;
    uint8_t gso;            /* enum mb_net_gso; with MB_NET_PARTIAL */
    uint16_t gso_bytes;     /* payload of a segment */
    uint16_t csum_start;    /* bytes from the packet's begin */
    uint16_t csum_offset;
};

struct mb_net_packet {
    uint32_t bytes;         /* of all segments together, MB_NET_MIN_BYTES to MB_NET_MAX_BYTES */
    uint16_t segments;      /* in the table; 0: address is that of the packet itself */
    uint16_t zero;
    uint64_t address;       /* of struct mb_net_segment[segments], multiple of 16 */
    struct mb_net_offload offload;
    uint64_t zero2;
};

/* Of each page. The last three are there in the first of a packet. */
struct mb_net_filled {
    uint16_t bytes;         /* from the page's begin */
    uint16_t pages;         /* that the packet has; 0: it goes on from the page before */
    uint32_t total;         /* bytes of the packet */
    struct mb_net_offload offload;
};

#define MB_NET_WANT_PACKETS 1u      /* an interrupt when a page is filled */
#define MB_NET_WANT_ROOM    2u      /* an interrupt when packets that could not be taken may be tried again */
struct mb_net_ring {        /* 4 KiB aligned, in RAM throughout */
    uint32_t submitted;     /* packets; written by the guest */
    uint32_t posted;        /* pages; written by the guest */
    uint32_t want;          /* MB_NET_WANT_...; written by the guest */
    uint32_t zero[13];
    uint32_t taken;         /* packets; written by the hypervisor */
    uint32_t filled;        /* pages; written by the hypervisor, after their mb_net_filled */
    uint32_t hungry;        /* not 0: somebody waits for pages, a call would help; written by the hypervisor */
    uint32_t zero2[13];
    struct mb_net_packet packet[];
    /* uint64_t page[pages] follows: guest-physical addresses, multiples of 4096 */
    /* struct mb_net_filled filled[pages] follows */
};
#define MB_NET_RING_SIZE(packets, pages) \
    (sizeof(struct mb_net_ring) + (packets) * sizeof(struct mb_net_packet) + \
     (pages) * (sizeof(uint64_t) + sizeof(struct mb_net_filled)))

struct mb_net_identity {
    uint8_t mac[6];         /* packets with another source are not sent */
    uint16_t queues;        /* numbered from 0, as many as the VM has vCPUs */
    char network[32];       /* its name, padded with zeros */
    uint32_t zero[6];
};

/* rdi: interface, rsi: guest-physical address where its struct mb_net_identity goes. -ENODEV: there is none with this
 * number (a guest counts its interfaces with this); -EFAULT. */
#define MIRRORBALL_CALL_NET_IDENTIFY 8

/*
 * rdi: interface, rsi: queue, rdx: guest-physical address of a ring, r10: how many packets it has, r8: how many pages;
 * both 0: the queue has no ring any more. The counters begin at 0. -ENODEV: no such interface or queue; -EINVAL:
 * misaligned, or no such numbers; -EFAULT: not RAM; -ENOMEM; -EPROTO: the interface has stopped.
 */
#define MIRRORBALL_CALL_NET_RING 9

/*
 * rdi: interface, rsi: queue. Sends what was submitted and looks at what pages were posted. Returns how many packets
 * were taken; fewer than were submitted: call again, 0: the receiver has no room or the rate is used up; with
 * MB_NET_WANT_ROOM an interrupt tells when there is room, and after some milliseconds a receiver is not waited for any
 * more. -ENODEV; -ENXIO: the queue has no ring; -EPROTO: a counter is further than the ring is long. Then the interface
 * has stopped, all its queues, until the VM is reset.
 */
#define MIRRORBALL_CALL_NET_RUN 10

/*
 * The same, and then the vCPU waits, its processor being others' meanwhile, for who would poll the queue: until `filled`
 * is no longer what the guest has seen of it, or an interrupt is pending, whatever RFLAGS.IF says, or so much time is
 * over; it may end earlier. With interrupts off, or right behind an STI, nothing can come unseen that the guest has
 * looked for before. What the vCPU has submitted elsewhere is sent, too, as when it halts. No interrupt need be wanted.
 * rdi: interface, rsi: queue, rdx: `filled` as the guest knows it, r10: microseconds, MB_NET_WAIT_MOST if it is more.
 * Result and errors are those of MIRRORBALL_CALL_NET_RUN. It does not wait after an error, or when packets were left.
 * Since version 0x00010006.
 */
#define MIRRORBALL_CALL_NET_WAIT 15
#define MB_NET_WAIT_MOST 10000u
