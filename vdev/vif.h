/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vdev/net.h"

/* The paravirtual network interfaces of a VM, each a port of a network: rings of include/mirrorball/net.h. */
#define VIF_MAX        4u
#define VIF_MAX_QUEUES 64u

struct vif;

struct vif_queue {
    struct spinlock send, receive; /* one for each direction; both to change the ring. send is outside of receive */
    struct vif *vif;
    unsigned index;            /* among its queues */
    struct gpa ring;
    _Atomic uint32_t packets;  /* of the ring, 0: there is none */
    uint32_t pages;
    uint32_t taken, filled;    /* since it has this ring */
    uint32_t posted;           /* pages that are known to be there */
    uint64_t full_since;       /* TSC when it was first found without room, 0: it is not */
    _Atomic bool hungry;       /* somebody waits for its pages */
    unsigned waiter;           /* vCPU that is to be woken when a page is filled, + 1; 0: none. Under receive */
    _Atomic bool waits;        /* its packets wait for another port's room */
    uint64_t work;             /* of the call that is being done */
    uint8_t head[NET_HEAD];    /* of the packet that is being sent; so are these */
    struct net_piece piece[MB_NET_MAX_SEGMENTS + 1];
};

struct vifs;

struct vif {
    struct net_port port;
    struct vifs *all;
    struct ism *ism;
    _Atomic bool stopped;      /* a ring made no sense */
    _Atomic uint64_t filled;   /* queues by number: there is something new in them */
    struct vif_queue *queue[VIF_MAX_QUEUES];
};

struct vifs {
    struct pmap *pmap;
    const char *name;          /* the VM's, for the log */
    bool share;                /* pages with other VMs */
    unsigned count, queues;
    void (*interrupt)(void *ctx); /* the device's; any processor, many at a time */
    void (*ism_interrupt)(void *ctx); /* likewise: of vdev/ism.h */
    void (*wake)(void *ctx, unsigned vcpu); /* what it waits for has come (vifs_wait); likewise */
    void *ctx;
    struct vif *vif[VIF_MAX];
};

/* No interfaces yet. pmap, name, share, interrupt and ctx are the caller's to set. queues: 1 to VIF_MAX_QUEUES. */
void vifs_init(struct vifs *v, unsigned queues);
/*
 * One more, at most VIF_MAX, its port not attached yet: name, addresses and rate are the caller's to set. Before the VM
 * runs. NULL: no memory.
 */
struct vif *vifs_add(struct vifs *v);
/* Takes them from their networks and gives back what they hold. No vCPU of the VM runs any more. */
void vifs_destroy(struct vifs *v);

/*
 * This vCPU has nothing to do: what it has written and not called for is sent. vCPU n uses queue n. Its own pCPU,
 * outside of the EPTs.
 */
void vifs_idle(struct vifs *v, unsigned vcpu);

/* The interface with this number; NULL: there is none. */
static inline struct vif *vifs_at(struct vifs *v, uint64_t vif) { return vif < v->count ? v->vif[vif] : NULL; }

/* The hypercalls: see include/mirrorball/net.h. Any processor, outside of the EPTs. */
int64_t vifs_identify(struct vifs *v, uint64_t vif, struct gpa to);
int64_t vifs_set_ring(struct vifs *v, uint64_t vif, uint64_t queue, struct gpa ring, uint64_t packets, uint64_t pages);
int64_t vifs_run(struct vifs *v, uint64_t vif, uint64_t queue);
/*
 * vifs_run for a vCPU that then waits if it may, *waits, which is false afterwards if there is no reason to: an error,
 * packets that were left, or pages beyond those that were seen filled. Else what it has in its other queues is sent, too,
 * and wake is called once when a page is filled in this queue, maybe before this returns.
 */
int64_t vifs_wait(struct vifs *v, unsigned vcpu, uint64_t vif, uint64_t queue, uint32_t seen, bool *waits);
