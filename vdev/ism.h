/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "include/mirrorball/ism.h"
#include "vdev/vif.h"

/*
 * Buffers in a VM's memory that are each open to one other VM of the same network, which has data moved into them
 * (include/mirrorball/ism.h): each interface of a VM has its own. The hypervisor moves, so no VM has another's page.
 */
struct ism_buffer {
    struct gpa at;
    uint32_t bytes;
    uint32_t generation;       /* of its token: how often it was opened */
    uint64_t peer;             /* who may write to it; 0: it is not open, ISM_NOBODY: the peer has gone */
    uint32_t told;             /* news that say it was written: the last of them, */
    bool ever_told;            /* if there are any */
};
#define ISM_NOBODY UINT64_MAX

struct ism {
    struct spinlock lock;      /* guards all of it; of no two interfaces at a time */
    _Atomic bool started;
    struct gpa queue;
    uint32_t written;
    uint64_t waiters;          /* vCPUs that wait for news */
    struct ism_buffer buffer[MB_ISM_BUFFERS];
    uint64_t said_by[MB_ISM_NEWS]; /* ids of those who told something; 0: it is of another kind */
};

/* It takes no part any more: its peers are told. Not attached: nothing to do. Any processor. */
void ism_stop(struct vif *v);

/* A vCPU of the VM has nothing to do: what may wait in the interface's queue waits no more. Outside of the EPTs. */
void ism_idle(struct vif *v);

/* The hypercalls: see include/mirrorball/ism.h. Any processor, outside of the EPTs. */
int64_t ism_start(struct vifs *v, uint64_t vif, struct gpa queue);
int64_t ism_peer(struct vifs *v, uint64_t vif, uint64_t peer);
int64_t ism_open(struct vifs *v, uint64_t vif, struct gpa at, uint64_t bytes, uint64_t peer);
int64_t ism_close(struct vifs *v, uint64_t vif, uint64_t token);
int64_t ism_move(struct vifs *v, uint64_t vif, struct gpa moves, uint64_t count);
int64_t ism_tell(struct vifs *v, uint64_t vif, uint64_t peer, uint32_t number, uint64_t info);
/*
 * May this vCPU wait, for there are no news beyond those that it knows? Then what it has to send is sent, and wake is
 * called once when there are, maybe before this returns.
 */
bool ism_waits(struct vifs *v, unsigned vcpu, uint64_t vif, uint32_t known);
