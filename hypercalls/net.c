/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "include/mirrorball/net.h"
#include "hypercalls/calls.h"
#include "vdev/vif.h"

int64_t call_net_identify(struct vcpu *v)
{
    return vifs_identify(v->nets, v->regs.rdi, GPA(v->regs.rsi));
}

int64_t call_net_ring(struct vcpu *v)
{
    return vifs_set_ring(v->nets, v->regs.rdi, v->regs.rsi, GPA(v->regs.rdx), v->regs.r10, v->regs.r8);
}

int64_t call_net_run(struct vcpu *v)
{
    return vifs_run(v->nets, v->regs.rdi, v->regs.rsi);
}

/* What wakes it may come as soon as vifs_wait knows of it. */
int64_t call_net_wait(struct vcpu *v)
{
    uint64_t us = MIN(v->regs.r10, MB_NET_WAIT_MOST);
    bool waits = us;
    int64_t result;

    atomic_store(&v->woken, false);
    result = vifs_wait(v->nets, v->index, v->regs.rdi, v->regs.rsi, (uint32_t)v->regs.rdx, &waits);
    if (waits)
        v->ops->wait(v, us);
    return result;
}
