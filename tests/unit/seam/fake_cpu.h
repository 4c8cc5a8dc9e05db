/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * The processor as unit tests see it. Registers, MSRs and CPUID leaves live in tables; an MSR that was never set
 * faults (rdmsr_safe gives -EFAULT, rdmsr fails the test); a CPUID leaf never set reads as zeros; ports and
 * device memory read all ones.
 * Callbacks, where set, come first.
 */
struct fake_cpu {
    uint64_t cr0, cr2, cr3, cr4, cr8, dr0, dr1, dr2, dr3, dr6, dr7, rflags, tsc;
    uint64_t tsc_step;                               /* added at each rdtsc and cpu_pause */
    uint64_t random;                                 /* what RDRAND gives */
    unsigned random_fails;                           /* so often before it does */
    uint64_t xcr[2];
    uint16_t cs, ds, es, fs, gs, ss, tr, ldtr;
    struct { uint16_t limit; uint64_t base; } gdt, idt;
    unsigned invlpg_count, halts;
    uint64_t invlpg_last;
    int (*rdmsr)(uint32_t msr, uint64_t *value);     /* -EFAULT for #GP */
    int (*wrmsr)(uint32_t msr, uint64_t value);
    void (*cpuid)(uint32_t leaf, uint32_t subleaf, uint32_t regs[4]); /* a b c d */
    uint32_t (*in)(uint16_t port, unsigned size);
    void (*out)(uint16_t port, uint32_t value, unsigned size);
    uint32_t (*mmio_read)(uint64_t addr);
    void (*mmio_write)(uint64_t addr, uint32_t value);
    void (*halt)(void);                              /* what happens while the processor is halted */
};

extern struct fake_cpu fake_cpu;

/* A processor as after reset, with empty tables: call it in each test's set-up. */
void fake_cpu_reset(void);
void fake_msr_set(uint32_t msr, uint64_t value);
uint64_t fake_msr_get(uint32_t msr);                 /* fails the test if it was never set */
void fake_cpuid_set(uint32_t leaf, uint32_t subleaf, uint32_t a, uint32_t b, uint32_t c, uint32_t d);
