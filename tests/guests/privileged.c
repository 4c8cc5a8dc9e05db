/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/guests/privileged.h"

/*
 * The three properties that Popek and Goldberg ask of a virtual machine monitor (CACM 17(7), 1974): equivalence (the
 * privileged instructions do what the manual says: the other files), resource control (nothing of the real machine is
 * in reach) and efficiency (all other instructions run at native speed).
 */

/* Resource control */

enum { BOCHS_SHUTDOWN_PORT = 0x8900 };

static void check_ports(void)
{
    static const uint16_t unowned[] = { 0x8900, 0x1234, 0x2f0, 0x5658, 0xe9 + 0x100 };

    for (unsigned i = 0; i < ARRAY_SIZE(unowned); i++) {
        outb(unowned[i], 0);
        outl(unowned[i] & ~3, 0);
        check("a port nobody owns reads ones, 8 bits", inb(unowned[i]), 0xff);
        check("a port nobody owns reads ones, 16 bits", inw(unowned[i] & ~1), 0xffff);
        check("a port nobody owns reads ones, 32 bits", inl(unowned[i] & ~3), 0xffffffff);
    }
    if (!on_hypervisor()) {
        skip("writing \"Shutdown\" to port 0x8900 does nothing", "on a bare Bochs it would end the machine");
        return;
    }
    for (const char *p = "Shutdown"; *p; p++)
        outb(BOCHS_SHUTDOWN_PORT, (uint8_t)*p);
    check_true("writing \"Shutdown\" to port 0x8900 does nothing", true);
}

/* Between the RAM and the I/O APIC there is nothing. */
static void check_memory(void)
{
    volatile uint64_t *beyond = (volatile uint64_t *)ALIGN_UP(MIB + ram_above_1m, 16 * MIB);
    volatile uint64_t *hole = (volatile uint64_t *)0xd0000000;

    if (on_tcg()) {
        skip("memory beyond RAM reads ones", "QEMU's emulation reads 0");
        return;
    }
    *beyond = 0;
    *hole = 0x12345678;
    check("memory beyond RAM reads ones", *beyond, UINT64_MAX);
    check("memory of no device reads ones", *hole, UINT64_MAX);
    check("memory of no device reads ones, 8 bits", *((volatile uint8_t *)hole + 5), 0xff);
}

static void check_no_vmx(void)
{
    uint32_t a;

    check("CR4.VMXE is clear", read_cr4() & CR4_VMXE, 0);
    if (has_vmx() && !on_hypervisor())
        skip("CPUID has no VMX", "a bare processor that has it");
    else
        check_true("CPUID has no VMX", !has_vmx());
    if (on_hypervisor()) {
        char name[13] = "";

        cpuid(0x40000000, 0, &a, (uint32_t *)name, (uint32_t *)(name + 4), (uint32_t *)(name + 8));
        print("hypervisor: %s, leaves to 0x%x\n", name, a);
    }
}

/* Efficiency */

/* dec and jnz, 2 instructions a turn. */
static void run_loop(uint64_t turns)
{
    __asm__ volatile("1:\tdecq %0\n\tjnz 1b" : "+r"(turns) : : "cc");
}

/* Eight instructions a turn that read or write privileged state and yet never leave the guest. */
static void run_sensitive_loop(uint64_t turns)
{
    struct descriptor_ptr p;

    __asm__ volatile("1:\tpushfq\n\tpopfq\n\tcli\n\tsgdt %1\n\tsmsw %%ax\n\tstr %%cx\n\tdecq %0\n\tjnz 1b"
                     : "+r"(turns), "=m"(p) : : "rax", "rcx", "memory", "cc");
}

/* Ticks per 100 instructions, the best of a few runs: an interrupt of the real machine may fall into any of them. */
static uint64_t best_of(void (*loop)(uint64_t), unsigned per_turn)
{
    enum { INSTRUCTIONS = 1000000 };
    uint64_t best = UINT64_MAX;

    for (unsigned i = 0; i < 5; i++) {
        uint64_t start = rdtsc(), ticks;

        loop(INSTRUCTIONS / per_turn);
        ticks = rdtsc() - start;
        best = MIN(best, ticks);
    }
    return best / (INSTRUCTIONS / 100);
}

static void check_speed(const char *name, void (*loop)(uint64_t), unsigned per_turn)
{
    uint64_t ticks = best_of(loop, per_turn);

    print("%s: %u.%02u ticks per instruction\n", name, (unsigned)(ticks / 100), (unsigned)(ticks % 100));
    if (on_tcg())
        skip(name, "time is not counted in instructions here");
    else
        check_true(name, ticks <= 102);
}

void guest_main(const char *arguments)
{
    (void)arguments;
    check_traps();
    check_modes();
    check_model_specific();
    check_running();
    check_ports();
    check_memory();
    check_no_vmx();
    check_speed("a loop runs at native speed", run_loop, 2);
    check_speed("sensitive instructions run at native speed", run_sensitive_loop, 8);
}
