/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/blk.h"
#include "arch/x86/percpu.h"
#include "hypercalls/calls.h"

int64_t call_blk_ring(struct vcpu *v)
{
    return blk_set_ring(v->disks, v->regs.rdi, v->regs.rsi, GPA(v->regs.rdx), v->regs.r10);
}

int64_t call_blk_run(struct vcpu *v)
{
    return blk_run(v->disks, v->regs.rdi, v->regs.rsi, cpu_this()->node);
}
