/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/unit/seam/fake_cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/seam/arch/x86/cpu.h"

#define TABLE_MAX 256

struct fake_cpu fake_cpu;

static struct { uint32_t msr; uint64_t value; } msrs[TABLE_MAX];
static struct { uint32_t leaf, subleaf, regs[4]; } leaves[TABLE_MAX];
static unsigned msr_count, leaf_count;

void fake_cpu_reset(void)
{
    memset(&fake_cpu, 0, sizeof(fake_cpu));
    fake_cpu.cr0 = CR0_PE | CR0_ET | CR0_PG;
    fake_cpu.cr4 = CR4_PAE;
    fake_cpu.dr7 = 0x400;
    fake_cpu.rflags = RFLAGS_FIXED;
    fake_cpu.tsc_step = 100;
    msr_count = leaf_count = 0;
}

static int msr_slot(uint32_t msr)
{
    for (unsigned i = 0; i < msr_count; i++) {
        if (msrs[i].msr == msr)
            return (int)i;
    }
    return -1;
}

void fake_msr_set(uint32_t msr, uint64_t value)
{
    int i = msr_slot(msr);

    if (i < 0) {
        if (msr_count == TABLE_MAX)
            abort();
        i = (int)msr_count++;
        msrs[i].msr = msr;
    }
    msrs[i].value = value;
}

uint64_t fake_msr_get(uint32_t msr)
{
    int i = msr_slot(msr);

    if (i < 0) {
        fprintf(stderr, "fake_cpu: MSR %#x was never set\n", msr);
        abort();
    }
    return msrs[i].value;
}

void fake_cpuid_set(uint32_t leaf, uint32_t subleaf, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    unsigned i = 0;

    while (i < leaf_count && (leaves[i].leaf != leaf || leaves[i].subleaf != subleaf))
        i++;
    if (i == TABLE_MAX)
        abort();
    if (i == leaf_count)
        leaf_count++;
    leaves[i].leaf = leaf;
    leaves[i].subleaf = subleaf;
    memcpy(leaves[i].regs, (uint32_t[]){ a, b, c, d }, sizeof(leaves[i].regs));
}

int rdmsr_safe(uint32_t msr, uint64_t *value)
{
    int i;

    if (fake_cpu.rdmsr)
        return fake_cpu.rdmsr(msr, value);
    i = msr_slot(msr);
    if (i < 0)
        return -EFAULT;
    *value = msrs[i].value;
    return 0;
}

int wrmsr_safe(uint32_t msr, uint64_t value)
{
    if (fake_cpu.wrmsr)
        return fake_cpu.wrmsr(msr, value);
    if (msr_slot(msr) < 0)
        return -EFAULT;
    fake_msr_set(msr, value);
    return 0;
}

uint64_t rdmsr(uint32_t msr)
{
    uint64_t value = 0;

    if (rdmsr_safe(msr, &value)) {
        fprintf(stderr, "fake_cpu: RDMSR %#x faults\n", msr);
        abort();
    }
    return value;
}

void wrmsr(uint32_t msr, uint64_t value)
{
    if (wrmsr_safe(msr, value)) {
        fprintf(stderr, "fake_cpu: WRMSR %#x faults\n", msr);
        abort();
    }
}

void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
    uint32_t regs[4] = { 0 };

    for (unsigned i = 0; i < leaf_count; i++) {
        if (leaves[i].leaf == leaf && leaves[i].subleaf == subleaf)
            memcpy(regs, leaves[i].regs, sizeof(regs));
    }
    if (fake_cpu.cpuid)
        fake_cpu.cpuid(leaf, subleaf, regs);
    *a = regs[0];
    *b = regs[1];
    *c = regs[2];
    *d = regs[3];
}

#define REGISTER(name)                                          \
    uint64_t read_##name(void) { return fake_cpu.name; }        \
    void write_##name(uint64_t v) { fake_cpu.name = v; }
REGISTER(cr0)
REGISTER(cr2)
REGISTER(cr3)
REGISTER(cr4)
REGISTER(cr8)
REGISTER(dr0)
REGISTER(dr1)
REGISTER(dr2)
REGISTER(dr3)
REGISTER(dr6)
REGISTER(dr7)

#define SEGMENT(name)                                           \
    uint16_t read_##name(void) { return fake_cpu.name; }        \
    void write_##name(uint16_t v) { fake_cpu.name = v; }
SEGMENT(ds)
SEGMENT(es)
SEGMENT(fs)
SEGMENT(gs)
SEGMENT(ss)

uint16_t read_cs(void) { return fake_cpu.cs; }
uint64_t read_rflags(void) { return fake_cpu.rflags; }
uint64_t xgetbv(uint32_t index) { return fake_cpu.xcr[index & 1]; }
void xsetbv(uint32_t index, uint64_t value) { fake_cpu.xcr[index & 1] = value; }

static uint32_t port_in(uint16_t port, unsigned size)
{
    return fake_cpu.in ? fake_cpu.in(port, size) : 0xffffffffu;
}

static void port_out(uint16_t port, uint32_t value, unsigned size)
{
    if (fake_cpu.out)
        fake_cpu.out(port, value, size);
}

uint8_t inb(uint16_t port) { return (uint8_t)port_in(port, 1); }
uint16_t inw(uint16_t port) { return (uint16_t)port_in(port, 2); }
uint32_t inl(uint16_t port) { return port_in(port, 4); }
void outb(uint16_t port, uint8_t value) { port_out(port, value, 1); }
void outw(uint16_t port, uint16_t value) { port_out(port, value, 2); }
void outl(uint16_t port, uint32_t value) { port_out(port, value, 4); }

uint32_t mmio_read32(uint64_t addr) { return fake_cpu.mmio_read ? fake_cpu.mmio_read(addr) : UINT32_MAX; }

void mmio_write32(uint64_t addr, uint32_t value)
{
    if (fake_cpu.mmio_write)
        fake_cpu.mmio_write(addr, value);
}

bool rdrand(uint64_t *value)
{
    *value = fake_cpu.random_fails ? 0 : fake_cpu.random;
    return !fake_cpu.random_fails || !fake_cpu.random_fails--;
}

uint64_t rdtsc(void) { return fake_cpu.tsc += fake_cpu.tsc_step; }
void cpu_pause(void) { fake_cpu.tsc += fake_cpu.tsc_step; }

void lgdt(const struct descriptor_ptr *p) { fake_cpu.gdt.limit = p->limit; fake_cpu.gdt.base = p->base; }
void sgdt(struct descriptor_ptr *p) { p->limit = fake_cpu.gdt.limit; p->base = fake_cpu.gdt.base; }
void lidt(const struct descriptor_ptr *p) { fake_cpu.idt.limit = p->limit; fake_cpu.idt.base = p->base; }
void sidt(struct descriptor_ptr *p) { p->limit = fake_cpu.idt.limit; p->base = fake_cpu.idt.base; }
void ltr(uint16_t selector) { fake_cpu.tr = selector; }
uint16_t str(void) { return fake_cpu.tr; }
void lldt(uint16_t selector) { fake_cpu.ldtr = selector; }
uint16_t sldt(void) { return fake_cpu.ldtr; }

void invlpg(uint64_t addr)
{
    fake_cpu.invlpg_count++;
    fake_cpu.invlpg_last = addr;
}

void cli(void) { fake_cpu.rflags &= ~RFLAGS_IF; }
void sti(void) { fake_cpu.rflags |= RFLAGS_IF; }
void hlt(void)
{
    fake_cpu.halts++;
    if (fake_cpu.halt)
        fake_cpu.halt();
}

void sti_hlt_cli(void) { hlt(); }
void sti_nop_cli(void) { }
void wbinvd(void) { }
void fxsave(void *area) { (void)area; }
void fxrstor(const void *area) { (void)area; }
void xsave(void *area, uint64_t mask) { (void)area; (void)mask; }
void xrstor(const void *area, uint64_t mask) { (void)area; (void)mask; }
