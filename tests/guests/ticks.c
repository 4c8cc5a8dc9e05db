/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/cpu.h"
#include "include/mirrorball/hypercall.h"
#include "tests/guests/rt/rt.h"

/*
 * What single VM exits cost: the least ticks of many tries, without those of the two RDTSC. Alone on a machine of one
 * processor, since an emulator's TSC counts the instructions of all. Prints "bench: NAME TICKS".
 */
#define TRIES 64

static void nothing(void) { }

static void do_cpuid(void)
{
    uint32_t a, b, c, d;

    cpuid(0, 0, &a, &b, &c, &d);
}

static void do_cpuid_1(void)
{
    uint32_t a, b, c, d;

    cpuid(1, 0, &a, &b, &c, &d);
}

static void do_vmcall(void)
{
    uint64_t call = MIRRORBALL_CALL_VERSION;

    __asm__ volatile("vmcall" : "+a"(call) : : "memory");
}

static void do_rdmsr(void) { (void)rdmsr(MSR_APIC_BASE); }
static void do_out(void) { outb(0xe0, 0); }
static void do_uart(void) { (void)inb(0x3fd); }
static void do_deadline(void) { wrmsr(MSR_TSC_DEADLINE, rdtsc() + (1ull << 40)); }

static uint64_t least(void (*op)(void))
{
    uint64_t best = UINT64_MAX;

    for (unsigned i = 0; i < TRIES; i++) {
        uint64_t start = rdtsc();

        op();
        best = MIN(best, rdtsc() - start);
    }
    return best;
}

void guest_main(const char *arguments)
{
    static const struct { const char *name; void (*op)(void); } rows[] = {
        { "exit_cpuid", do_cpuid }, { "exit_cpuid_1", do_cpuid_1 }, { "exit_vmcall", do_vmcall },
        { "exit_rdmsr", do_rdmsr }, { "exit_out", do_out }, { "exit_uart", do_uart },
        { "exit_deadline", do_deadline },
    };
    uint64_t base = least(nothing);

    (void)arguments;
    apic_set_mode(APIC_X2APIC);
    apic_write(APIC_LVT_TIMER, APIC_DEADLINE | APIC_MASKED | 0xe0);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        print("bench: %s %lu\n", rows[i].name, least(rows[i].op) - base);
    print("bench: done\n");
    finish();
}
