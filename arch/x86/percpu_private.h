/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "arch/x86/apic_state.h"
#include "arch/x86/cpu.h"
#include "arch/x86/gdt.h"
#include "arch/x86/mce.h"
#include "arch/x86/percpu.h"

/* What arch/x86 keeps for each processor behind percpu->private; no other floor includes this. */

/* One side of the world switch. arch/x86/world.asm knows the order. */
struct world_side {
    uint64_t rsp, cr0, cr3, cr4;
    struct descriptor_ptr gdt, idt;
    uint16_t cs, ss, ds, es, fs, gs;
};

_Static_assert(offsetof(struct world_side, cr4) == 24 && offsetof(struct world_side, gdt) == 32 &&
               offsetof(struct world_side, idt) == 42 && offsetof(struct world_side, cs) == 52 &&
               sizeof(struct world_side) == 64, "arch/x86/world.asm");

#define WORLD_MSRS 16

/* The rest of the firmware's state, kept while we run. */
struct firmware_state {
    uint8_t fpu[512] __attribute__((aligned(16)));
    uint64_t rflags, efer, fs_base, gs_base, pat, xcr0, cr2;
    uint64_t dr[4], dr6, dr7;
    uint64_t msr[WORLD_MSRS];
    uint32_t msr_present; /* bit per entry of msr */
    uint16_t tr, ldtr;
    struct apic_state apic;
    struct mce_state mce;
    uint8_t pic_mask[2];
};

struct cpu_private {
    struct world_side ours, firmware;
    struct firmware_state saved;
    struct gdt gdt;
    struct tss tss;
    uint64_t stack_base[IST_COUNT], stack_top[IST_COUNT]; /* IST_NONE: the main stack; a guard page lies below base */
    void (*run)(struct percpu *cpu);
    void (*visit)(void *arg); /* what to do on the firmware's side before coming back, NULL: stay there */
    void *visit_arg;
    uint64_t forced_cr0, forced_cr4; /* bits that VMX operation wants and the firmware does not have */
    uint64_t ours_msr[WORLD_MSRS], ours_xcr0; /* of our world, during a visit */
    bool leaving; /* on the way out: interrupts that still come are dropped */
};

static inline struct cpu_private *private_of(const struct percpu *cpu)
{
    return cpu->private;
}

/* The processor among ours whose stack guard page holds addr, or NULL; *ist tells which of its stacks. */
struct percpu *percpu_guard_hit(uint64_t addr, unsigned *ist);

/* Do the n bytes at addr lie in one of the stacks of this processor? */
bool percpu_on_stack(const struct percpu *cpu, uint64_t addr, uint64_t n);
