/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/guests/rt/rt.h"

/*
 * Two vCPUs on one processor hand a token to each other, and spin with PAUSE while they do not have it. Each turn that
 * the hypervisor does not cut short lasts a slice. Prints the TSC ticks from one to the other.
 */
enum { ROUNDS = 100 };

static volatile unsigned turn;

static void pass(unsigned from, unsigned to)
{
    while (turn != from)
        __asm__ volatile("pause");
    turn = to;
}

static void other(unsigned number)
{
    (void)number;
    for (;;)
        pass(1, 0);
}

void guest_main(const char *arguments)
{
    uint64_t start;

    (void)arguments;
    apic_set_mode(has_x2apic() ? APIC_X2APIC : APIC_XAPIC);
    check("there is another processor", start_cpus(other), 1);
    pass(0, 1);
    start = rdtsc();
    for (unsigned i = 0; i < ROUNDS; i++)
        pass(0, 1);
    print("ticks: spin %lu\n", (rdtsc() - start) / (2 * ROUNDS));
    finish();
}
