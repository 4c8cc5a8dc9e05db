/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "hypercalls/calls.h"
#include "vdev/ism.h"

int64_t call_ism_start(struct vcpu *v)
{
    return ism_start(v->nets, v->regs.rdi, GPA(v->regs.rsi));
}

int64_t call_ism_peer(struct vcpu *v)
{
    return ism_peer(v->nets, v->regs.rdi, v->regs.rsi);
}

int64_t call_ism_open(struct vcpu *v)
{
    return ism_open(v->nets, v->regs.rdi, GPA(v->regs.rsi), v->regs.rdx, v->regs.r10);
}

int64_t call_ism_close(struct vcpu *v)
{
    return ism_close(v->nets, v->regs.rdi, v->regs.rsi);
}

/*
 * After an error nobody waits, though the guest may have asked for as many moves as that is. What wakes it may come as
 * soon as ism_waits knows of it.
 */
int64_t call_ism_move(struct vcpu *v)
{
    uint64_t us = MIN(v->regs.r10, MB_ISM_WAIT_MOST);
    int64_t done = ism_move(v->nets, v->regs.rdi, GPA(v->regs.rsi), v->regs.rdx);

    if (!us || done <= 0 || (uint64_t)done != v->regs.rdx)
        return done;
    atomic_store(&v->woken, false);
    if (ism_waits(v->nets, v->index, v->regs.rdi, (uint32_t)v->regs.r8))
        v->ops->wait(v, us);
    return done;
}

int64_t call_ism_tell(struct vcpu *v)
{
    return ism_tell(v->nets, v->regs.rdi, v->regs.rsi, (uint32_t)v->regs.rdx, v->regs.r10);
}
