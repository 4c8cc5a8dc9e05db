/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "arch/x86/crbits.h"
#include "arch/x86/extable.h"
#include "arch/x86/msr.h"
#include "lib/errno.h"
#include "lib/types.h"

/*
 * The instructions C has no words for, one function each and no policy. Unit tests see
 * tests/unit/seam/arch/x86/cpu.h instead: same names, answers from tables.
 */

struct descriptor_ptr {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

/* #GP where the register does not exist; see rdmsr_safe. */
static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t lo, hi;

    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
    return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

/* In our world only (the exception table is ours): 0, or -EFAULT and *value untouched where the processor gave #GP. */
static inline int rdmsr_safe(uint32_t msr, uint64_t *value)
{
    uint32_t lo, hi;
    int err = -EFAULT;

    __asm__ volatile("1: rdmsr\n\txorl %0, %0\n2:\n\t" EXTABLE(1b, 2b)
                     : "+&r"(err), "=a"(lo), "=d"(hi) : "c"(msr) : "memory", "cc");
    if (!err)
        *value = (uint64_t)hi << 32 | lo;
    return err;
}

static inline int wrmsr_safe(uint32_t msr, uint64_t value)
{
    int err = -EFAULT;

    __asm__ volatile("1: wrmsr\n\txorl %0, %0\n2:\n\t" EXTABLE(1b, 2b)
                     : "+&r"(err) : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory", "cc");
    return err;
}

static inline void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
    __asm__ volatile("cpuid" : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d) : "0"(leaf), "2"(subleaf));
}

#define CPU_REGISTER(name, reg)                                                 \
    static inline uint64_t read_##name(void)                                    \
    {                                                                           \
        uint64_t v;                                                             \
        __asm__ volatile("mov %%" #reg ", %0" : "=r"(v) : : "memory");          \
        return v;                                                               \
    }                                                                           \
    static inline void write_##name(uint64_t v)                                 \
    {                                                                           \
        __asm__ volatile("mov %0, %%" #reg : : "r"(v) : "memory");              \
    }
CPU_REGISTER(cr0, cr0)
CPU_REGISTER(cr2, cr2)
CPU_REGISTER(cr3, cr3)
CPU_REGISTER(cr4, cr4)
CPU_REGISTER(cr8, cr8)
CPU_REGISTER(dr0, dr0)
CPU_REGISTER(dr1, dr1)
CPU_REGISTER(dr2, dr2)
CPU_REGISTER(dr3, dr3)
CPU_REGISTER(dr6, dr6)
CPU_REGISTER(dr7, dr7)

/* The selectors. CS is only read; far returns load it (arch/x86/world.asm). */
#define CPU_SEGMENT_READ(name)                                                  \
    static inline uint16_t read_##name(void)                                    \
    {                                                                           \
        uint16_t v;                                                             \
        __asm__ volatile("mov %%" #name ", %0" : "=r"(v));                      \
        return v;                                                               \
    }
#define CPU_SEGMENT(name)                                                       \
    CPU_SEGMENT_READ(name)                                                      \
    static inline void write_##name(uint16_t v)                                 \
    {                                                                           \
        __asm__ volatile("mov %0, %%" #name : : "r"(v) : "memory");             \
    }
CPU_SEGMENT_READ(cs)
CPU_SEGMENT(ds)
CPU_SEGMENT(es)
CPU_SEGMENT(fs)
CPU_SEGMENT(gs)
CPU_SEGMENT(ss)

#undef CPU_REGISTER
#undef CPU_SEGMENT
#undef CPU_SEGMENT_READ

static inline uint64_t read_rflags(void)
{
    uint64_t v;

    __asm__ volatile("pushfq\n\tpopq %0" : "=r"(v) : : "memory");
    return v;
}

/* Needs CR4.OSXSAVE. */
static inline uint64_t xgetbv(uint32_t index)
{
    uint32_t lo, hi;

    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(index));
    return (uint64_t)hi << 32 | lo;
}

static inline void xsetbv(uint32_t index, uint64_t value)
{
    __asm__ volatile("xsetbv" : : "c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
    uint8_t v;

    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline uint16_t inw(uint16_t port)
{
    uint16_t v;

    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline uint32_t inl(uint16_t port)
{
    uint32_t v;

    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline void outb(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void outw(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void outl(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint32_t mmio_read32(uint64_t addr)
{
    return *(volatile uint32_t *)(uintptr_t)addr;
}

static inline void mmio_write32(uint64_t addr, uint32_t value)
{
    *(volatile uint32_t *)(uintptr_t)addr = value;
}

static inline uint64_t rdtsc(void)
{
    uint32_t lo, hi;

    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
    return (uint64_t)hi << 32 | lo;
}

/* Where CPUID says that it is there: false, now and then, when there is no number yet. */
static inline bool rdrand(uint64_t *value)
{
    bool there;

    __asm__ volatile("rdrand %0" : "=r"(*value), "=@ccc"(there) : : "cc");
    return there;
}

static inline void lgdt(const struct descriptor_ptr *p)
{
    __asm__ volatile("lgdt %0" : : "m"(*p) : "memory");
}

static inline void sgdt(struct descriptor_ptr *p)
{
    __asm__ volatile("sgdt %0" : "=m"(*p));
}

static inline void lidt(const struct descriptor_ptr *p)
{
    __asm__ volatile("lidt %0" : : "m"(*p) : "memory");
}

static inline void sidt(struct descriptor_ptr *p)
{
    __asm__ volatile("sidt %0" : "=m"(*p));
}

static inline void ltr(uint16_t selector)
{
    __asm__ volatile("ltr %0" : : "r"(selector) : "memory");
}

static inline uint16_t str(void)
{
    uint16_t v;

    __asm__ volatile("str %0" : "=r"(v));
    return v;
}

static inline void lldt(uint16_t selector)
{
    __asm__ volatile("lldt %0" : : "r"(selector) : "memory");
}

static inline uint16_t sldt(void)
{
    uint16_t v;

    __asm__ volatile("sldt %0" : "=r"(v));
    return v;
}

static inline void invlpg(uint64_t addr)
{
    __asm__ volatile("invlpg (%0)" : : "r"(addr) : "memory");
}

static inline void cpu_pause(void)
{
    __asm__ volatile("pause" : : : "memory");
}

static inline void cli(void)
{
    __asm__ volatile("cli" : : : "memory");
}

static inline void sti(void)
{
    __asm__ volatile("sti" : : : "memory");
}

static inline void hlt(void)
{
    __asm__ volatile("hlt" : : : "memory");
}

/* Sleeps until an interrupt: STI's shadow reaches over HLT, so one that is pending already wakes it too. */
static inline void sti_hlt_cli(void)
{
    __asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
}

/* Lets the interrupts that are pending now in: STI holds them back for one instruction more. */
static inline void sti_nop_cli(void)
{
    __asm__ volatile("sti\n\tnop\n\tnop\n\tcli" : : : "memory");
}

static inline void wbinvd(void)
{
    __asm__ volatile("wbinvd" : : : "memory");
}

/* area: 512 bytes, 16-byte aligned. */
static inline void fxsave(void *area)
{
    __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

static inline void fxrstor(const void *area)
{
    __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

/*
 * Zeroes n bytes, a multiple of 256, at a multiple of 16: 16 at a time, which is half as many steps as the string
 * instructions take where each of their turns is one. What xmm0 holds, a guest's, is put back.
 */
static inline void clear_memory(void *to, size_t n)
{
    struct { uint64_t v[2]; } kept;

    __asm__ volatile("movups %%xmm0, %[kept]\n\t"
                     "xorps %%xmm0, %%xmm0\n"
                     "1:\n\t"
                     ".set offset, 0\n\t"
                     ".rept 16\n\t"
                     "movaps %%xmm0, offset(%[to])\n\t"
                     ".set offset, offset + 16\n\t"
                     ".endr\n\t"
                     "add $256, %[to]\n\t"
                     "sub $256, %[n]\n\t"
                     "jnz 1b\n\t"
                     "movups %[kept], %%xmm0"
                     : [kept] "=&m"(kept), [to] "+&r"(to), [n] "+&r"(n) : : "memory", "cc");
}

/* area: as large as CPUID leaf 0DH says, 64-byte aligned; mask: components, of those in XCR0. */
static inline void xsave(void *area, uint64_t mask)
{
    __asm__ volatile("xsave64 (%0)" : : "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}

static inline void xrstor(const void *area, uint64_t mask)
{
    __asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}
