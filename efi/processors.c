/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "efi/processors.h"

#include "arch/x86/cpu.h"
#include "lib/errno.h"

#define WAIT_LIMIT_US 10000000u

static bool all_back(void)
{
    return services_all_back() && sipi_all_back();
}

static int wait_cpus(void)
{
    for (unsigned us = 0; us < WAIT_LIMIT_US; us += PROCESSORS_STEP_US)
        if (all_back())
            return 0;
    say("some processors did not come back within %u s", WAIT_LIMIT_US / 1000000);
    return -EIO;
}

void processors_settle(void)
{
    if (!all_back())
        say("waiting for the other processors; reset the machine if nothing follows");
    while (!all_back())
        ;
    sipi_end();
}

static int start_none(void (*fn)(unsigned index))
{
    (void)fn;
    return 0;
}

/* Initial APIC id of this processor (SDM vol. 3A, 9.9): leaf 0BH where it is there, else leaf 1. */
static uint32_t own_apic_id(void)
{
    uint32_t a, b, c, d;

    cpuid(0, 0, &a, &b, &c, &d);
    if (a >= 0xb) {
        cpuid(0xb, 0, &a, &b, &c, &d);
        if (b)
            return d;
    }
    cpuid(1, 0, &a, &b, &c, &d);
    return b >> 24;
}

int processors_find(struct boot_info *boot, unsigned wanted)
{
    bool services = services_there();
    unsigned all;

    boot->cpus = 1;
    boot->apic_id[0] = own_apic_id();
    boot->start_cpus = start_none;
    boot->wait_cpus = wait_cpus;
    all = services ? services_find(boot) : sipi_find(boot);
    say("processors: %u of %u%s", boot->cpus, all, services ? "" : ", started by INIT and SIPI");
    if (services || boot->cpus >= wanted)
        return 0;
    say("refused: the firmware has no MP services, and INIT and SIPI bring %u of the %u processors that a VM needs: "
        "update the firmware, or give no VM more than %u vCPU%s", boot->cpus, wanted, boot->cpus,
        boot->cpus == 1 ? "" : "s");
    return -ENOTSUP;
}
