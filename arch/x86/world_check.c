/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/apic_state.h"
#include "arch/x86/cpu.h"
#include "arch/x86/world.h"
#include "lib/errno.h"
#include "lib/log.h"

#define CPUS_MAX 256

/* Why world_run cannot leave the firmware's world here, or the processor is not enough; NULL if all is well. */
static const char *obstacle(void)
{
    uint32_t a, b, c, d, ext_d;
    uint64_t cr4 = read_cr4(), apic_base;

    cpuid(0x80000001, 0, &a, &b, &c, &ext_d);
    cpuid(1, 0, &a, &b, &c, &d);
    if (!(ext_d & BIT(20)) || !(d & BIT(16)) || !(d & BIT(24)) || !(d & BIT(9)))
        return "the processor has no NX, PAT, FXSAVE or local APIC";
    if (cr4 & CR4_LA57)
        return "5-level paging is on: switch it off in the firmware's setup";
    if (cr4 & CR4_PCIDE)
        return "the firmware uses PCIDs: start Mirrorball before what switched them on";
    apic_base = rdmsr(MSR_APIC_BASE);
    if (!(apic_base & APIC_BASE_ENABLE))
        return "the local APIC is off: switch it on in the firmware's setup";
    if (!apic_same_mode(apic_base))
        return "its local APIC is in another mode than the boot processor's: choose one in the firmware's setup";
    return NULL;
}

static const char *found[CPUS_MAX];

static void check_this(unsigned index)
{
    found[index] = obstacle();
}

/* The other processors do nothing but this and are back in the firmware's hands before anybody leaves its world. */
static int check_others(unsigned cpus, int (*start)(void (*fn)(unsigned index)), int (*wait)(void))
{
    int err;

    for (unsigned i = 1; i < cpus; i++)
        found[i] = "it did not start";
    err = start(check_this);
    return err ? err : wait();
}

int world_check(unsigned cpus, const uint32_t *apic_id, int (*start)(void (*fn)(unsigned index)), int (*wait)(void))
{
    int err = 0;

    check_this(0);
    if (found[0])
        cpus = 1;
    if (cpus > 1)
        err = check_others(cpus, start, wait);
    if (err)
        return err;
    for (unsigned i = 0; i < cpus; i++) {
        if (!found[i])
            continue;
        log_error("cpu %u (APIC id %u): %s", i, apic_id[i], found[i]);
        err = -ENOTSUP;
    }
    return err;
}
