/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/unit/seam/fake_percpu.h"

#include "arch/x86/world.h"

#include <asm/prctl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct percpu fake_percpu[FAKE_CPUS];
unsigned fake_cpu_count = FAKE_CPUS;

/* Programs on the host have no use for GS, so it can point where it does in the hypervisor's world. */
void fake_percpu_enter(unsigned index)
{
    for (unsigned i = 0; i < FAKE_CPUS; i++) {
        fake_percpu[i].self = &fake_percpu[i];
        fake_percpu[i].index = i;
        fake_percpu[i].apic_id = 2 * i;
    }
    if (syscall(SYS_arch_prctl, ARCH_SET_GS, (unsigned long)&fake_percpu[index]))
        abort();
}

struct percpu *cpu_of(unsigned index)
{
    return index < fake_cpu_count ? &fake_percpu[index] : NULL;
}

/* The firmware's world is this one. */
bool world_ours(void)
{
    return false;
}

void world_visit(void (*fn)(void *arg), void *arg)
{
    fn(arg);
}

unsigned cpu_count(void)
{
    return fake_cpu_count;
}
