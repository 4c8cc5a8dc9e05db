/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "drivers/native.h"

#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"
#include "numa/page.h"

#define CONTROLLERS_MAX 16u

static const struct native_driver *const drivers[] = { &ata_driver, &ahci_driver, &nvme_driver };

static struct native natives[CONTROLLERS_MAX];
static unsigned natives_used;
static uint64_t low_at, low_end;

static const struct native_driver *driver_of(uint32_t class)
{
    for (unsigned i = 0; i < ARRAY_SIZE(drivers); i++)
        if ((class & drivers[i]->mask) == drivers[i]->class)
            return drivers[i];
    return NULL;
}

bool native_knows(uint16_t bdf)
{
    struct pci_function f;

    return !pci_probe((struct pci_address){ bdf }, &f) && driver_of(f.class);
}

void native_set_low(uint64_t base, uint64_t size)
{
    low_at = base;
    low_end = base + size;
}

void *native_low(size_t size)
{
    uint64_t at = ALIGN_UP(low_at, 64 * KIB); /* bus masters of ATA do not cross such a boundary */

    if (at > low_end || ALIGN_UP(size, PAGE_SIZE) > low_end - at)
        return NULL;
    low_at = at + ALIGN_UP(size, PAGE_SIZE);
    return memset((void *)(uintptr_t)at, 0, size);
}

void *native_memory(size_t size)
{
    struct hpa at = page_alloc_zeroed(0, page_order(size), PAGE_HYPERVISOR);

    return at.v ? hpa_ptr(at) : NULL;
}

struct disk *native_disk(struct native *n, const char *kind, unsigned unit)
{
    uint16_t bdf = n->pci.at.bdf;
    struct disk *d = n->disks < NATIVE_DISKS ? native_memory(sizeof(*d)) : NULL;

    if (!d)
        return NULL;
    d->number = unit;
    format(d->name, sizeof(d->name), "%s %02x:%02x.%x %u", kind, bdf >> 8, bdf >> 3 & 31, bdf & 7, unit);
    n->disk[n->disks++] = d;
    return d;
}

bool native_wait(uint64_t since, unsigned ms)
{
    cpu_pause();
    return rdtsc() - since < ms * tsc_khz();
}

static void rest(struct native *n)
{
    n->driver->detach(n);
    pci_restore(&n->pci);
}

int native_attach(uint16_t bdf)
{
    struct native *n = natives_used < CONTROLLERS_MAX ? &natives[natives_used] : NULL;
    int err;

    if (!n)
        return -ENOSPC;
    *n = (struct native){ .disks = 0 };
    err = pci_probe((struct pci_address){ bdf }, &n->pci);
    n->driver = err ? NULL : driver_of(n->pci.class);
    if (!n->driver)
        return -ENODEV;
    err = n->driver->attach(n);
    if (!err && !n->disks)
        err = -ENODEV;
    if (err)
        rest(n);
    else
        natives_used++;
    return err;
}

struct disk *native_find(uint16_t bdf, uint32_t unit)
{
    for (unsigned i = 0; i < natives_used; i++)
        for (unsigned k = 0; natives[i].pci.at.bdf == bdf && k < natives[i].disks; k++)
            if (natives[i].disk[k]->number == unit)
                return natives[i].disk[k];
    return NULL;
}

void native_detach(uint16_t bdf)
{
    for (unsigned i = 0; i < natives_used; i++) {
        if (natives[i].pci.at.bdf != bdf)
            continue;
        rest(&natives[i]);
        natives[i] = natives[--natives_used];
        return;
    }
}

void native_detach_all(void)
{
    while (natives_used)
        native_detach(natives[natives_used - 1].pci.at.bdf);
}
