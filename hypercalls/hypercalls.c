/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "hypercalls/calls.h"
#include "hypercalls/hypercalls.h"
#include "include/mirrorball/blk.h"
#include "include/mirrorball/hypercall.h"
#include "include/mirrorball/ism.h"
#include "include/mirrorball/net.h"
#include "include/mirrorball/segment.h"
#include "lib/errno.h"
#include "vmx/speculation.h"

typedef int64_t (*hypercall)(struct vcpu *v);

static int64_t call_version(struct vcpu *v)
{
    (void)v;
    return MIRRORBALL_ABI_VERSION;
}

static const hypercall calls[] = {
    [MIRRORBALL_CALL_VERSION]    = call_version,
    [MIRRORBALL_CALL_FREE_PAGES] = call_free_pages,
    [MIRRORBALL_CALL_ZERO_PAGES] = call_zero_pages,
    [MIRRORBALL_CALL_IDLE]       = call_idle,
    [MIRRORBALL_CALL_BALLOON]    = call_balloon,
    [MIRRORBALL_CALL_BLK_RING]   = call_blk_ring,
    [MIRRORBALL_CALL_BLK_RUN]    = call_blk_run,
    [MIRRORBALL_CALL_NET_IDENTIFY] = call_net_identify,
    [MIRRORBALL_CALL_NET_RING]   = call_net_ring,
    [MIRRORBALL_CALL_NET_RUN]    = call_net_run,
    [MIRRORBALL_CALL_NET_WAIT]   = call_net_wait,
    [MIRRORBALL_CALL_SEGMENT_INFO] = call_segment_info,
    [MIRRORBALL_CALL_SEGMENT_RING] = call_segment_ring,
    [MIRRORBALL_CALL_SEGMENT_RUNG] = call_segment_rung,
    [MIRRORBALL_CALL_ISM_START]  = call_ism_start,
    [MIRRORBALL_CALL_ISM_PEER]   = call_ism_peer,
    [MIRRORBALL_CALL_ISM_OPEN]   = call_ism_open,
    [MIRRORBALL_CALL_ISM_CLOSE]  = call_ism_close,
    [MIRRORBALL_CALL_ISM_MOVE]   = call_ism_move,
    [MIRRORBALL_CALL_ISM_TELL]   = call_ism_tell,
};

void hypercall_handle(struct vcpu *v)
{
    uint64_t number = v->regs.rax;

    v->regs.rax = (uint64_t)(number < ARRAY_SIZE(calls) && calls[number] ? calls[number](v) : -ENOSYS);
}

/*
 * What these map may have to wait for processors that are inside an EPT, so this one leaves its own. They also read what
 * the guest is not to find in the L1 data cache, which is flushed on the whole way alone.
 */
static bool quick_run(struct vcpu *v, hypercall call)
{
    if (speculation.entry & GUARD_L1D)
        return false;
    ept_leave();
    v->regs.rax = (uint64_t)call(v);
    vcpu_enter_ept(v);
    return true;
}

/* The one that tells what an exit costs, and those that disks and networks make most. */
bool hypercall_quick(struct vcpu *v)
{
    switch (v->regs.rax) {
    case MIRRORBALL_CALL_VERSION:
        v->regs.rax = MIRRORBALL_ABI_VERSION;
        return true;
    case MIRRORBALL_CALL_BLK_RUN:
        return quick_run(v, call_blk_run);
    case MIRRORBALL_CALL_NET_RUN:
        return quick_run(v, call_net_run);
    case MIRRORBALL_CALL_ISM_MOVE:
        return !v->regs.r10 && quick_run(v, call_ism_move); /* else it waits */
    default:
        return false;
    }
}
