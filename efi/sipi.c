/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "efi/processors.h"

#include "arch/x86/madt.h"
#include "arch/x86/smp.h"
#include "lib/errno.h"

#define LOW_LIMIT 0xfffffull /* what a SIPI can reach */

static EFI_PHYSICAL_ADDRESS low, stacks;
static const struct boot_info *machine;
static bool running;

static void stall(unsigned us)
{
    firmware->BootServices->Stall(us);
}

static UINTN stack_pages(void)
{
    return (machine->cpus - 1) * SMP_STACK_SIZE / PAGE_SIZE;
}

/* The enabled processors of ACPI's list; without one, 0: all that come when all are called. */
static unsigned listed(uint64_t rsdp, uint32_t *id, unsigned max)
{
    size_t len;
    const void *madt = table_find(rsdp, "APIC", &len);

    return madt ? madt_processors(madt, len, id, max) : 0;
}

static bool get_low_pages(void)
{
    EFI_STATUS s;

    low = LOW_LIMIT;
    s = firmware->BootServices->AllocatePages(AllocateMaxAddress, EfiLoaderData, SMP_LOW_PAGES, &low);
    if (s == EFI_SUCCESS)
        return true;
    low = 0;
    say("the other processors cannot be started: no memory below 1 MiB: %s", status_name(s));
    return false;
}

static bool get_stacks(void)
{
    EFI_STATUS s = firmware->BootServices->AllocatePages(AllocateAnyPages, EfiLoaderData, stack_pages(), &stacks);

    if (s == EFI_SUCCESS)
        return true;
    stacks = 0;
    say("the other processors cannot be started: no memory for their stacks: %s", status_name(s));
    return false;
}

static int start_cpus(void (*fn)(unsigned index))
{
    int err = running ? -EBUSY : smp_start(&machine->apic_id[1], machine->cpus - 1, (void *)stacks, fn);

    running = !err;
    if (err)
        say("some processors do not answer INIT and SIPI any more");
    return err;
}

unsigned sipi_find(struct boot_info *boot)
{
    static uint32_t id[BOOT_MAX_CPUS];
    unsigned n;

    machine = boot;
    if (!get_low_pages())
        return 1;
    smp_begin(low, stall);
    n = listed(boot->rsdp, id, BOOT_MAX_CPUS);
    boot->cpus = 1 + smp_find(id, n, &boot->apic_id[1], BOOT_MAX_CPUS - 1);
    if (boot->cpus == 1)
        return MAX(n, 1u);
    boot->start_cpus = start_cpus;
    if (!get_stacks())
        boot->cpus = 1;
    return MAX(n, boot->cpus);
}

bool sipi_all_back(void)
{
    if (running && !smp_finished()) {
        stall(PROCESSORS_STEP_US);
        return false;
    }
    if (running)
        smp_stop();
    running = false;
    return true;
}

void sipi_end(void)
{
    EFI_BOOT_SERVICES *bs = firmware->BootServices;

    if (stacks)
        bs->FreePages(stacks, stack_pages());
    if (low)
        bs->FreePages(low, SMP_LOW_PAGES);
    stacks = low = 0;
}
