/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

#define PERCPU_MAX 256u        /* processors at most */

/* What each processor has of its own. GS points at it in the hypervisor's world. */
struct percpu {
    struct percpu *self;       /* gs:0 */
    uint64_t vmx_stack;        /* gs:8, vmx/entry.asm: stack to take on a VM exit */
    void *vcpu;                /* gs:16, vmx/entry.asm: the vCPU that runs here now, or NULL (owned by core/) */
    unsigned index;            /* 0 = boot processor */
    uint32_t apic_id;
    unsigned node;
    void *stack_top;
    void *private;             /* arch/x86's own: GDT, TSS, IST stacks, saved firmware state */
    void *vmx;                 /* VMXON region and the like (owned by vmx/) */
    void *sched;               /* run queue (owned by core/) */
    _Atomic uint64_t guest;    /* what it runs a guest with, 0: it does not (owned by ept/) */
    unsigned entries;          /* into guests (owned by ept/) */
    const void *last_vm;       /* whose vCPU was loaded last (owned by vmx/) */
};

static inline struct percpu *cpu_this(void)
{
    struct percpu *p;
    __asm__("movq %%gs:0, %0" : "=r"(p));
    return p;
}
static inline unsigned cpu_index(void) { return cpu_this()->index; }

_Static_assert(offsetof(struct percpu, vmx_stack) == 8 && offsetof(struct percpu, vcpu) == 16, "vmx/entry.asm");

/* The processor with this index, NULL past the last. */
struct percpu *cpu_of(unsigned index);
unsigned cpu_count(void);
