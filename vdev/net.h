/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "include/mirrorball/net.h"
#include "lib/spinlock.h"
#include "numa/pmap.h"

/*
 * Networks: a switch each, with ports. A port belongs to a VM's interface (vdev/vif.h: one address, filtered) or is an
 * uplink, behind which any number of addresses is, which are learned. Delivery is synchronous: net_send returns when the
 * frame is in the receivers' memory. No lock is held while a port's functions are called but the caller's own.
 */
#define NET_NAME_MAX  32u
#define NET_MAX       16u      /* networks */
#define NET_MAX_PORTS 64u      /* of a network */
#define NET_MAX_IPS   4u       /* addresses of a port */
#define NET_MAC       6u
#define NET_ETH       14u      /* bytes of an Ethernet header */
#define NET_HEAD      192u     /* so much of a frame's begin is looked at, at most */
#define NET_MAX_MULTICAST (64u * 1024 + 256) /* bytes of a frame for many */

/* A stretch of a frame: in memory of the hypervisor, or of a VM, where it may change at any time. */
struct net_piece {
    struct pmap *pmap;         /* NULL: the hypervisor's */
    union {
        const uint8_t *at;
        struct gpa gpa;        /* RAM throughout */
    };
    uint32_t bytes;
    bool stays;                /* MB_NET_STAYS */
};

/*
 * From the Ethernet header to the last byte of data, without padding and checksum. The first piece is the hypervisor's,
 * at least NET_ETH bytes with all headers: nothing behind it is looked at, and what was looked at is what arrives.
 */
struct net_frame {
    const struct net_piece *piece;
    unsigned pieces;
    uint32_t bytes;            /* of all, NET_ETH to MB_NET_MAX_BYTES */
    struct mb_net_offload offload;
};

/* Of a port, since it was attached. in: into the network. */
struct net_counts {
    _Atomic uint64_t in, in_bytes, out, out_bytes;
    _Atomic uint64_t spoofed;  /* in, not from its own address */
    _Atomic uint64_t bad;      /* in, that make no sense: too short, an offload that does not fit */
    _Atomic uint64_t nowhere;  /* in, for nobody */
    _Atomic uint64_t full;     /* out, for which it had no room */
    _Atomic uint64_t placed, copied; /* out, whole pages: shared with the sender; bytes are copied */
    _Atomic uint64_t moves, moved; /* into others' buffers (vdev/ism.h), and bytes */
};

struct net_port;
struct net_port_ops {
    /*
     * A frame for this port, which is the caller's again when this returns. 0; -EAGAIN: no room, the sender may wait for
     * it (net_room); anything else: it is lost, for no room. Any processor, many at a time, outside of the EPTs.
     */
    int (*frame)(struct net_port *p, const struct net_frame *f);
    /* That was the last of some frames. NULL: it does not matter. Likewise. */
    void (*flush)(struct net_port *p);
    /* Frames of this port that got -EAGAIN from net_send may be tried again. NULL: it never waits. Likewise. */
    void (*room)(struct net_port *p);
};

/*
 * A limit: frames are sent as long as there is credit, which grows with time, up to what is sent in a 20th of a second
 * or one frame of full size.
 */
struct net_rate {
    uint64_t per_second;       /* bytes, 0: no limit */
    struct spinlock lock;      /* guards the rest */
    uint64_t credit, last;     /* bytes; TSC */
};

struct net_ip { bool six; uint8_t at[16]; }; /* of an IPv4 address the first four */

struct net;
struct net_port {
    /* Set before net_attach. */
    const struct net_port_ops *ops;
    void *owner;
    char name[NET_NAME_MAX + 4]; /* for the monitor */
    bool uplink;               /* gets what is for no other port; may send from any address but the other ports' */
    /*
     * It gets frames as they are on a wire: in one piece, segmented (mtu bytes behind the Ethernet header at most),
     * with all checksums. ops->frame is not called on two processors at a time then.
     */
    bool wire;
    uint16_t mtu;
    uint8_t mac[NET_MAC];      /* not of an uplink */
    struct net_ip ip[NET_MAX_IPS];
    unsigned ips;              /* 0: it may send from any; not of an uplink */
    struct net_rate rate;

    struct net *net;           /* NULL: not attached */
    unsigned index;            /* among its ports */
    _Atomic unsigned users;    /* processors that are inside of its ops for others */
    _Atomic uint64_t waiters;  /* ports, by index, that wait for room in this one */
    struct net_counts counts;
    struct spinlock wire_lock; /* guards wire_buffer */
    uint8_t *wire_buffer;      /* a page: the frame that is being sent */
};

/* The ports to which frames were given and no flush yet, and how much: begins as { 0 }, belongs to one processor. */
struct net_batch { uint64_t given, bytes; };

/* The network with this name; made if there is none. NULL: too many. Any processor. */
struct net *net_named(const char *name);
/* The networks there are, by number; NULL behind the last. */
struct net *net_at(unsigned index);
const char *net_name(const struct net *n);

/*
 * From now on frames may come. The port stays where it is until net_detach. -ENOSPC: too many; -EEXIST: another port has
 * this address; -ENOMEM. Any processor.
 */
int net_attach(struct net *n, struct net_port *p);
/*
 * When this returns nobody is inside of its functions, nor will be. Nothing to do if it is not attached. Its owner sends
 * nothing any more. Any processor, not from inside of a port's functions.
 */
void net_detach(struct net_port *p);

/*
 * Sends a frame from this port, if it may: 0, also if it is lost (it was counted). -EAGAIN: the receiver has no room, or
 * the rate is used up; the frame was not sent, ops->room tells when to try again, but not for the rate. A port without
 * `room` loses it instead. Any processor, outside of the EPTs, no lock of a port held that its ops->frame takes.
 */
int net_send(struct net_port *p, const struct net_frame *f, struct net_batch *batch);
/* After the last of some. */
void net_flush(struct net_port *p, struct net_batch *batch);
/* One frame that is in the hypervisor's memory, and the flush: for an uplink. offload flags: MB_NET_CHECKED or 0. */
void net_send_bytes(struct net_port *p, const void *frame, uint32_t bytes, uint8_t flags);

/* This port has room again: those that wait for it are told. Any processor. */
void net_room(struct net_port *p);

/*
 * Another port, by its index or its address as a number (byte n in bits 8 n): it stays until net_put_port. NULL: there is
 * none, or it is an uplink. Any processor; this port is attached.
 */
struct net_port *net_get_port(struct net_port *p, unsigned index);
struct net_port *net_find_port(struct net_port *p, uint64_t mac);
void net_put_port(struct net_port *p);
uint64_t net_port_mac(const struct net_port *p);
/* A number of the port's network, less than NET_MAX. */
unsigned net_number(const struct net_port *p);

/* Calls fn for each port that is attached, without locks; the ports stay meanwhile. */
void net_each_port(struct net *n, void (*fn)(struct net_port *p, void *ctx), void *ctx);

/* Copies n bytes of a frame, from byte `at` on, which it has. -ENOMEM, -EFAULT, -EIO: of a VM's memory. */
int net_frame_read(const struct net_frame *f, uint32_t at, void *to, uint32_t n);
