/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/guests/rt/rt.h"

/*
 * What it costs to run another vCPU, in TSC ticks: for a machine with one processor and a guest with two. One computes;
 * the other reads the clock, sleeps, and is woken by its timer. The first thing the one that computes does when it has
 * the processor again is to read the clock too.
 */
enum { TIMER = 0x51, TURNS = 100, SLEEP = 500000, NO_SWITCH = 100 /* ticks: both run at the same time */ };

static volatile uint64_t left_at, seen_at;

static void compute(unsigned number)
{
    (void)number;
    for (;;)
        if (left_at && !seen_at)
            seen_at = rdtsc();
}

static void on_timer(struct trap_frame *frame)
{
    (void)frame;
    apic_write(APIC_EOI, 0);
}

void guest_main(const char *arguments)
{
    uint64_t best = UINT64_MAX, start;

    (void)arguments;
    set_handler(TIMER, on_timer);
    apic_set_mode(has_x2apic() ? APIC_X2APIC : APIC_XAPIC);
    apic_write(APIC_LVT_TIMER, APIC_DEADLINE | TIMER);
    check("there is another processor", start_cpus(compute), 1);
    for (unsigned i = 0; i < TURNS; i++) {
        seen_at = 0;
        wrmsr(MSR_TSC_DEADLINE, rdtsc() + SLEEP);
        start = left_at = rdtsc();
        __asm__ volatile("sti; hlt; cli" : : : "memory");
        left_at = 0;
        if (seen_at)
            best = MIN(best, seen_at - start);
    }
    check_true("they share it", best > NO_SWITCH && best != UINT64_MAX);
    print("ticks: vCPU switch %lu\n", best);
    finish();
}
