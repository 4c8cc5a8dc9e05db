/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "efi/processors.h"

#include "efi/mp_services.h"
#include "lib/errno.h"

#define MAX_NUMBERS 1024
#define NO_INDEX    UINT16_MAX

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

/* While this stalls the firmware's timer collects those that are back. */
bool services_all_back(void)
{
    EFI_BOOT_SERVICES *bs = firmware->BootServices;

    if (done && bs->CheckEvent(done) != EFI_SUCCESS) {
        bs->Stall(PROCESSORS_STEP_US);
        return false;
    }
    if (done)
        bs->CloseEvent(done);
    done = NULL;
    return true;
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

bool services_there(void)
{
    EFI_GUID guid = MP_SERVICES_GUID;

    if (firmware->BootServices->LocateProtocol(&guid, NULL, (void **)&services) != EFI_SUCCESS)
        services = NULL;
    return services != NULL;
}

unsigned services_find(struct boot_info *boot)
{
    UINTN all = 0, enabled;

    for (unsigned i = 0; i < MAX_NUMBERS; i++)
        index_of[i] = NO_INDEX;
    if (services->get_number(services, &all, &enabled) != EFI_SUCCESS)
        return 1;
    for (UINTN i = 0; i < MIN(all, MAX_NUMBERS); i++) {
        struct mp_processor info;

        if (services->get_info(services, i, &info) == EFI_SUCCESS)
            add_processor(boot, i, &info);
    }
    /* StartupAllAPs answers EFI_NOT_STARTED and signals nothing where there is no other processor. */
    if (boot->cpus > 1)
        boot->start_cpus = start_cpus;
    return (unsigned)all;
}
