/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "hypercalls/calls.h"
#include "hypercalls/hypercalls.h"
#include "include/mirrorball/blk.h"
#include "include/mirrorball/hypercall.h"
#include "include/mirrorball/net.h"
#include "include/mirrorball/segment.h"
#include "lib/errno.h"

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
};

void hypercall_handle(struct vcpu *v)
{
    uint64_t number = v->regs.rax;

    v->regs.rax = (uint64_t)(number < ARRAY_SIZE(calls) && calls[number] ? calls[number](v) : -ENOSYS);
}

/* The one that tells what an exit costs, and the one that disks make most. */
bool hypercall_quick(struct vcpu *v)
{
    if (v->regs.rax != MIRRORBALL_CALL_VERSION)
        return v->regs.rax == MIRRORBALL_CALL_BLK_RUN && quick_blk_run(v);
    v->regs.rax = MIRRORBALL_ABI_VERSION;
    return true;
}
