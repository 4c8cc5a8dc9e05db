/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

/* Stands in for arch/x86/cpu.h in unit tests: see tests/unit/seam/fake_cpu.h for what answers. */
#include "arch/x86/crbits.h"
#include "arch/x86/msr.h"
#include "lib/errno.h"
#include "lib/types.h"

struct descriptor_ptr {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

uint64_t rdmsr(uint32_t msr);
void wrmsr(uint32_t msr, uint64_t value);
int rdmsr_safe(uint32_t msr, uint64_t *value);
int wrmsr_safe(uint32_t msr, uint64_t value);
void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d);

#define CPU_REGISTER(name)              \
    uint64_t read_##name(void);         \
    void write_##name(uint64_t v);
CPU_REGISTER(cr0)
CPU_REGISTER(cr2)
CPU_REGISTER(cr3)
CPU_REGISTER(cr4)
CPU_REGISTER(cr8)
CPU_REGISTER(dr0)
CPU_REGISTER(dr1)
CPU_REGISTER(dr2)
CPU_REGISTER(dr3)
CPU_REGISTER(dr6)
CPU_REGISTER(dr7)
#undef CPU_REGISTER

uint16_t read_cs(void);
#define CPU_SEGMENT(name)               \
    uint16_t read_##name(void);         \
    void write_##name(uint16_t v);
CPU_SEGMENT(ds)
CPU_SEGMENT(es)
CPU_SEGMENT(fs)
CPU_SEGMENT(gs)
CPU_SEGMENT(ss)
#undef CPU_SEGMENT

uint64_t read_rflags(void);
uint64_t xgetbv(uint32_t index);
void xsetbv(uint32_t index, uint64_t value);
uint8_t inb(uint16_t port);
uint16_t inw(uint16_t port);
uint32_t inl(uint16_t port);
void outb(uint16_t port, uint8_t value);
void outw(uint16_t port, uint16_t value);
void outl(uint16_t port, uint32_t value);
uint32_t mmio_read32(uint64_t addr);
void mmio_write32(uint64_t addr, uint32_t value);
uint64_t rdtsc(void);
bool rdrand(uint64_t *value);
void lgdt(const struct descriptor_ptr *p);
void sgdt(struct descriptor_ptr *p);
void lidt(const struct descriptor_ptr *p);
void sidt(struct descriptor_ptr *p);
void ltr(uint16_t selector);
uint16_t str(void);
void lldt(uint16_t selector);
uint16_t sldt(void);
void invlpg(uint64_t addr);
void cpu_pause(void);
void cli(void);
void sti(void);
void hlt(void);
void sti_hlt_cli(void);
void sti_nop_cli(void);
void wbinvd(void);
static inline void clear_memory(void *to, size_t n) { __builtin_memset(to, 0, n); }
void fxsave(void *area);
void fxrstor(const void *area);
void xsave(void *area, uint64_t mask);
void xrstor(const void *area, uint64_t mask);
