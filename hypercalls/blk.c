/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/blk.h"
#include "arch/x86/percpu.h"
#include "hypercalls/calls.h"
#include "vmx/speculation.h"

int64_t call_blk_ring(struct vcpu *v)
{
    return blk_set_ring(v->disks, v->regs.rdi, v->regs.rsi, GPA(v->regs.rdx), v->regs.r10);
}

int64_t call_blk_run(struct vcpu *v)
{
    return blk_run(v->disks, v->regs.rdi, v->regs.rsi, cpu_this()->node);
}

/*
 * What it maps may have to wait for processors that are inside an EPT, so this one leaves its own. It also reads what
 * the guest is not to find in the L1 data cache, which is flushed on the whole way alone.
 */
bool quick_blk_run(struct vcpu *v)
{
    if (speculation.entry & GUARD_L1D)
        return false;
    ept_leave();
    v->regs.rax = (uint64_t)call_blk_run(v);
    vcpu_enter_ept(v);
    return true;
}
