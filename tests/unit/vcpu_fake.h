/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <stdio.h>
#include <string.h>

#include "arch/x86/cpu.h"
#include "lib/errno.h"
#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_apic.h"
#include "tests/unit/seam/fake_cpu.h"
#include "tests/unit/seam/fake_percpu.h"
#include "tests/unit/seam/fake_vmx.h"
#include "vmx/caps.h"
#include "vmx/cr.h"
#include "vmx/exits.h"
#include "vmx/vcpu.h"
#include "vmx/vmcs_io.h"

/* One vCPU in a VM with real guest memory, and a board that records what it is asked. */
#define GUEST_MEMORY (4 * MIB)
#define GP_VECTOR    13
#define NO_EVENT     0u

struct access_record { bool write, port; uint64_t at; unsigned size; uint64_t value; };

static struct {
    struct access_record access[64];
    unsigned accesses;
    uint64_t in;                                   /* what ports and device memory give; in_step is added each time */
    uint64_t in_step;
    uint64_t msr_value;
    uint32_t msr_last;
    unsigned msr_reads, msr_writes;
    int msr_error;
    uint8_t cr8;
    bool pending;
    int vector;                                    /* take_interrupt's */
    unsigned taken, hypercalls, halts, spins, idles, stops;
    const struct segment *rang;                    /* the bell that the guest has rung last */
    uint64_t rung;                                 /* those that have rung for it */
    uint64_t waited_us;                            /* the last wait that was asked for; no time passes */
    uint64_t balloon, balloon_wanted;              /* that the guest has told, that it is to have */
    char why[300];
    uint64_t wallclock;
} world;

static struct vcpu vcpu;
static struct pmap guest;

static inline void note_access(bool write, bool port, uint64_t at, unsigned size, uint64_t value)
{
    if (world.accesses < ARRAY_SIZE(world.access))
        world.access[world.accesses] = (struct access_record){ write, port, at, size, value };
    world.accesses++;
}

static inline uint64_t next_in(void)
{
    uint64_t value = world.in;

    world.in += world.in_step;
    return value;
}

static uint32_t op_pio_read(struct vcpu *v, uint16_t port, unsigned size)
{
    uint32_t value = (uint32_t)next_in();

    (void)v;
    note_access(false, true, port, size, value);
    return value;
}

static void op_pio_write(struct vcpu *v, uint16_t port, unsigned size, uint32_t value)
{
    (void)v;
    note_access(true, true, port, size, value);
}

static uint64_t op_mmio_read(struct vcpu *v, struct gpa at, unsigned size)
{
    uint64_t value = next_in();

    (void)v;
    note_access(false, false, at.v, size, value);
    return value;
}

static void op_mmio_write(struct vcpu *v, struct gpa at, unsigned size, uint64_t value)
{
    (void)v;
    note_access(true, false, at.v, size, value);
}

static int op_msr_read(struct vcpu *v, uint32_t msr, uint64_t *value)
{
    (void)v;
    world.msr_reads++;
    world.msr_last = msr;
    *value = world.msr_value;
    return world.msr_error;
}

static int op_msr_write(struct vcpu *v, uint32_t msr, uint64_t value)
{
    (void)v;
    world.msr_writes++;
    world.msr_last = msr;
    world.msr_value = value;
    return world.msr_error;
}

static uint8_t op_cr8(struct vcpu *v) { (void)v; return world.cr8; }
static void op_set_cr8(struct vcpu *v, uint8_t cr8) { (void)v; world.cr8 = cr8; }
static bool op_pending(struct vcpu *v) { (void)v; return world.pending; }
static void op_hypercall(struct vcpu *v) { (void)v; world.hypercalls++; }
/* What is done before may wait for processors that are inside an EPT: this one must not be. */
static void op_halt(struct vcpu *v)
{
    (void)v;
    assert_int_equal(atomic_load(&cpu_this()->guest), 0);
    world.halts++;
}

static void op_spins(struct vcpu *v) { (void)v; world.spins++; }
static void op_idle(struct vcpu *v) { (void)v; world.idles++; }
static void op_wait(struct vcpu *v, uint64_t us) { (void)v; world.waited_us = us; }
static uint64_t op_wallclock(struct vcpu *v) { (void)v; return world.wallclock; }

static int op_take(struct vcpu *v)
{
    (void)v;
    world.taken++;
    world.pending = false;
    return world.vector;
}

static void op_stop(struct vcpu *v, const char *why)
{
    (void)v;
    world.stops++;
    snprintf(world.why, sizeof(world.why), "%s", why);
}

static void op_ring(struct vcpu *v, const struct segment *s)
{
    (void)v;
    world.rang = s;
}

static uint64_t op_rung(struct vcpu *v)
{
    (void)v;
    return world.rung;
}

static uint64_t op_balloon(struct vcpu *v, uint64_t holds)
{
    (void)v;
    world.balloon = holds;
    return world.balloon_wanted;
}

static const struct vcpu_ops fake_ops = {
    .pio_read = op_pio_read, .pio_write = op_pio_write, .mmio_read = op_mmio_read, .mmio_write = op_mmio_write,
    .msr_read = op_msr_read, .msr_write = op_msr_write, .cr8 = op_cr8, .set_cr8 = op_set_cr8, .pending = op_pending,
    .take_interrupt = op_take, .hypercall = op_hypercall, .halt = op_halt, .spins = op_spins, .idle = op_idle,
    .wait = op_wait, .balloon = op_balloon,
    .ring = op_ring, .rung = op_rung,
    .stop = op_stop, .wallclock = op_wallclock,
};

/* A processor with what the policy needs, as one that runs us has it. */
static inline void fake_features(void)
{
    fake_cpuid_set(0, 0, 0x16, 0, 0, 0);
    fake_cpuid_set(1, 0, 0x000506e3, 0, ~0u, ~0u);
    fake_cpuid_set(7, 0, 0, ~0u, ~0u, ~0u);
    fake_cpuid_set(0x80000000, 0, 0x80000008, 0, 0, 0);
    fake_cpuid_set(0x80000001, 0, 0, 0, ~0u, ~0u);
    fake_cpuid_set(0x80000008, 0, 0x3028, 0, 0, 0); /* 40 and 48 bits */
    fake_msr_set(MSR_ARCH_CAPABILITIES, 0);
    vmx_caps = (struct vmx_caps){
        .revision = 1, .cr0_fixed0 = CR0_PE | CR0_NE | CR0_PG, .cr0_fixed1 = UINT32_MAX,
        .cr4_fixed0 = CR4_VMXE, .cr4_fixed1 = 0x3727ff, .vpid = true,
        .proc2 = PROC2_EPT | PROC2_UNRESTRICTED | PROC2_VPID | PROC2_RDTSCP | PROC2_INVPCID,
    };
}

#define START_RIP 0x1000u
#define INSN_LENGTH 2u

/* For every test: everything as after power-up, the vCPU in real mode at START_RIP, IF clear. */
static inline int vcpu_setup(void **state)
{
    static uint64_t machine;

    (void)state;
    if (!machine)
        machine = machine_memory(32 * MIB, 0);
    if (guest.low)
        pmap_destroy(&guest);
    if (!machine || pmap_init(&guest, 1, GUEST_MEMORY, 1))
        return -1;
    fake_cpu_reset();
    fake_vmcs_reset();
    fake_percpu_enter(0);
    fake_features();
    memset(&world, 0, sizeof(world));
    memset(&fake_vmx, 0, sizeof(fake_vmx));
    fake_apic = (struct fake_apic){ .khz = 1000000 };
    vcpu = (struct vcpu){ .ops = &fake_ops, .pmap = &guest, .vcpus = 1, .loaded_on = -1 };
    cr_reset(CR0_ET, 0);
    vmwrite(VMCS_GUEST_RIP, START_RIP);
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED);
    vmwrite(VMCS_EXIT_INSN_LENGTH, INSN_LENGTH);
    return 0;
}

static inline void guest_put(uint64_t at, const void *from, size_t n)
{
    if (pmap_write(&guest, GPA(at), from, n))
        abort();
}

static inline void guest_get(uint64_t at, void *to, size_t n)
{
    if (pmap_read(&guest, GPA(at), to, n))
        abort();
}

static inline void guest_put64(uint64_t at, uint64_t value) { guest_put(at, &value, sizeof(value)); }

/* Tables of the guest's 64-bit mode: its first 2 MiB in pages that guest_map sets. */
enum { GUEST_PML4 = 0x10000, GUEST_PDPT = 0x11000, GUEST_PD = 0x12000, GUEST_PT = 0x13000 };
enum { PTE_P = 1, PTE_W = 2, PTE_U = 4 };

static inline void guest_map(uint64_t linear, uint64_t gpa, uint64_t flags)
{
    guest_put64(GUEST_PT + 8 * (linear >> 12 & 511), gpa | flags);
}

/* The vCPU in 64-bit code at CPL 0, its first 2 MiB mapped one to one. */
static inline void enter_long_mode(void)
{
    for (uint64_t page = 0; page < 2 * MIB; page += PAGE_SIZE)
        guest_map(page, page, PTE_P | PTE_W | PTE_U);
    guest_put64(GUEST_PD, GUEST_PT | PTE_P | PTE_W | PTE_U);
    guest_put64(GUEST_PDPT, GUEST_PD | PTE_P | PTE_W | PTE_U);
    guest_put64(GUEST_PML4, GUEST_PDPT | PTE_P | PTE_W | PTE_U);
    cr_reset(CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG, CR4_PAE);
    vmwrite(VMCS_GUEST_CR3, GUEST_PML4);
    vmwrite(VMCS_GUEST_EFER, EFER_LME | EFER_LMA);
    vmwrite(VMCS_CTRL_ENTRY, ENTRY_GUEST_64);
    vmwrite(VMCS_GUEST_CS_AR, AR_P | AR_S | 0xb | AR_L | AR_G);
    vmwrite(VMCS_GUEST_SS_AR, AR_P | AR_S | 0x3 | AR_DB | AR_G);
}

/* Code in the guest's present mode at CPL 3. */
static inline void enter_user(void)
{
    vmwrite(VMCS_GUEST_SS_AR, vmread(VMCS_GUEST_SS_AR) | 3 << AR_DPL_SHIFT);
}

static inline uint32_t exception_info(uint8_t vector, bool error_code)
{
    return INTR_VALID | INTR_HARD_EXCEPTION << INTR_TYPE_SHIFT | (error_code ? INTR_ERROR_CODE : 0) | vector;
}

/* The instruction was not completed: this exception waits, RIP stands. */
#define assert_faulted(vector, has_code, code) do {                                          \
        assert_int_equal(vcpu.event.info, exception_info(vector, has_code));                 \
        assert_int_equal(vcpu.event.error, code);                                            \
        assert_int_equal(vmread(VMCS_GUEST_RIP), START_RIP);                                 \
    } while (0)

/* It was: RIP is behind it and no exception waits. */
#define assert_completed() do {                                                              \
        assert_int_equal(vcpu.event.info, NO_EVENT);                                         \
        assert_int_equal(vmread(VMCS_GUEST_RIP), START_RIP + INSN_LENGTH);                   \
    } while (0)
