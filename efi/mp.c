/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "efi/firmware.h"

#include "efi/mp_services.h"
#include "arch/x86/cpu.h"
#include "lib/errno.h"

#define MAX_NUMBERS     1024
#define NO_INDEX        UINT16_MAX
#define WAIT_LIMIT_US   10000000u
#define WAIT_STEP_US    100u

static struct mp_services *services;
/* The firmware numbers all processors, we the usable ones with the boot processor first. */
static uint16_t index_of[MAX_NUMBERS];
static void (*procedure)(unsigned index);
static EFI_EVENT done;

/* On each other processor, in the firmware's world. */
static void EFIAPI run_procedure(void *arg)
{
    UINTN number;

    (void)arg;
    if (services->who_am_i(services, &number) == EFI_SUCCESS && number < MAX_NUMBERS && index_of[number] != NO_INDEX)
        procedure(index_of[number]);
}

static int start_cpus(void (*fn)(unsigned index))
{
    EFI_BOOT_SERVICES *bs = firmware->BootServices;
    EFI_STATUS s;

    if (done)
        return -EBUSY;
    procedure = fn;
    s = bs->CreateEvent(0, TPL_NOTIFY, NULL, NULL, &done);
    if (s == EFI_SUCCESS) {
        s = services->startup_all(services, run_procedure, FALSE, done, 0, NULL, NULL);
        if (s == EFI_SUCCESS)
            return 0;
        bs->CloseEvent(done);
        done = NULL;
    }
    say("the firmware cannot start the other processors: %s", status_name(s));
    return -EIO;
}

/* True when no processor runs our procedure; else sleeps a moment, in which the firmware's timer collects them. */
static bool all_back(void)
{
    EFI_BOOT_SERVICES *bs = firmware->BootServices;

    if (done && bs->CheckEvent(done) != EFI_SUCCESS) {
        bs->Stall(WAIT_STEP_US);
        return false;
    }
    if (done)
        bs->CloseEvent(done);
    done = NULL;
    return true;
}

static int wait_cpus(void)
{
    for (unsigned us = 0; us < WAIT_LIMIT_US; us += WAIT_STEP_US)
        if (all_back())
            return 0;
    say("some processors did not come back within %u s", WAIT_LIMIT_US / 1000000);
    return -EIO;
}

void processors_settle(void)
{
    if (all_back())
        return;
    say("waiting for the other processors; reset the machine if nothing follows");
    while (!all_back())
        ;
}

/* StartupAllAPs answers EFI_NOT_STARTED and signals nothing where there is no other processor: these keep it away. */
static int start_none(void (*fn)(unsigned index))
{
    (void)fn;
    return 0;
}

static int wait_none(void)
{
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

static void add_processor(struct boot_info *boot, UINTN number, const struct mp_processor *info)
{
    if (info->flags & MP_IS_BSP) {
        index_of[number] = 0;
        boot->apic_id[0] = (uint32_t)info->id;
        return;
    }
    if (!(info->flags & MP_IS_ENABLED) || !(info->flags & MP_IS_HEALTHY)) {
        say("processor %u (APIC id %u) is %s and left out", (unsigned)number, (unsigned)info->id,
            info->flags & MP_IS_ENABLED ? "unhealthy" : "disabled");
        return;
    }
    if (boot->cpus == BOOT_MAX_CPUS)
        return;
    index_of[number] = (uint16_t)boot->cpus;
    boot->apic_id[boot->cpus++] = (uint32_t)info->id;
}

bool processors_have_services(void)
{
    EFI_GUID guid = MP_SERVICES_GUID;

    if (firmware->BootServices->LocateProtocol(&guid, NULL, (void **)&services) != EFI_SUCCESS)
        services = NULL;
    return services != NULL;
}

void processors_find(struct boot_info *boot)
{
    UINTN all = 0, enabled;

    boot->cpus = 1;
    boot->apic_id[0] = own_apic_id();
    boot->start_cpus = start_none;
    boot->wait_cpus = wait_none;
    for (unsigned i = 0; i < MAX_NUMBERS; i++)
        index_of[i] = NO_INDEX;
    if (!processors_have_services() || services->get_number(services, &all, &enabled) != EFI_SUCCESS) {
        say("only the boot processor is used: the firmware has no MP services");
        return;
    }
    for (UINTN i = 0; i < MIN(all, MAX_NUMBERS); i++) {
        struct mp_processor info;

        if (services->get_info(services, i, &info) == EFI_SUCCESS)
            add_processor(boot, i, &info);
    }
    if (boot->cpus > 1) {
        boot->start_cpus = start_cpus;
        boot->wait_cpus = wait_cpus;
    }
    say("processors: %u of %u", boot->cpus, (unsigned)all);
}
