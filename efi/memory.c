/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "efi/firmware.h"

#include "efi/memplan.h"
#include "lib/errno.h"

/* More free ranges than any firmware has; the rest is left alone. */
#define MAX_FREE 512
/* Descriptors that may appear between asking for the size and for the map. */
#define SPARE_DESCRIPTORS 16
/* Memory kept for a special purpose (UEFI specification 2.8, 7.2), which gnu-efi does not name yet. */
#define MEMORY_SP 0x40000ull

/* ACPI's first pointer may lie there (ACPI 6.5, 5.2.5.1), and no map has to tell. */
#define BIOS_AREA 0xe0000u

struct memory_map {
    uint8_t *data;
    UINTN size, stride;
};

static int map_get(struct memory_map *map)
{
    EFI_BOOT_SERVICES *bs = firmware->BootServices;
    UINTN key, size = 0;
    UINT32 version;
    EFI_STATUS s;

    s = bs->GetMemoryMap(&size, NULL, &key, &map->stride, &version);
    if (s != EFI_BUFFER_TOO_SMALL || map->stride < sizeof(EFI_MEMORY_DESCRIPTOR))
        goto fail;
    size += SPARE_DESCRIPTORS * map->stride;
    s = bs->AllocatePool(EfiLoaderData, size, (void **)&map->data);
    if (s != EFI_SUCCESS)
        goto fail;
    s = bs->GetMemoryMap(&size, (EFI_MEMORY_DESCRIPTOR *)map->data, &key, &map->stride, &version);
    if (s == EFI_SUCCESS) {
        map->size = size;
        return 0;
    }
    bs->FreePool(map->data);
fail:
    say("the firmware gives no memory map: %s", status_name(s));
    return -ENOMEM;
}

static bool is_free(const EFI_MEMORY_DESCRIPTOR *d)
{
    return d->Type == EfiConventionalMemory && (d->Attribute & EFI_MEMORY_WB) && !(d->Attribute & MEMORY_SP);
}

static unsigned free_ranges(const struct memory_map *map, struct boot_range *out, unsigned max)
{
    unsigned n = 0;

    for (UINTN at = 0; at + map->stride <= map->size && n < max; at += map->stride) {
        const EFI_MEMORY_DESCRIPTOR *d = (const EFI_MEMORY_DESCRIPTOR *)(map->data + at);

        if (is_free(d))
            out[n++] = (struct boot_range){ d->PhysicalStart, d->NumberOfPages * PAGE_SIZE };
    }
    return n;
}

bool memory_is_listed(uint64_t base, uint64_t size)
{
    struct memory_map map;
    bool found = base >= BIOS_AREA && base < MIB && size <= MIB - base;

    if (found || map_get(&map))
        return found;
    for (UINTN at = 0; at + map.stride <= map.size && !found; at += map.stride) {
        const EFI_MEMORY_DESCRIPTOR *d = (const EFI_MEMORY_DESCRIPTOR *)(map.data + at);
        uint64_t bytes = d->NumberOfPages * PAGE_SIZE;

        found = d->Type != EfiMemoryMappedIO && d->Type != EfiMemoryMappedIOPortSpace && base >= d->PhysicalStart &&
                size <= bytes && base - d->PhysicalStart <= bytes - size;
    }
    firmware->BootServices->FreePool(map.data);
    return found;
}

static bool take(const struct boot_range *r)
{
    EFI_PHYSICAL_ADDRESS at = r->base;
    EFI_STATUS s;

    s = firmware->BootServices->AllocatePages(AllocateAddress, EfiLoaderData, r->size / PAGE_SIZE, &at);
    if (s != EFI_SUCCESS)
        say("the firmware keeps %llu MiB at 0x%llx: %s", (unsigned long long)(r->size / MIB),
            (unsigned long long)r->base, status_name(s));
    return s == EFI_SUCCESS;
}

int memory_take(struct boot_info *boot)
{
    static struct boot_range free[MAX_FREE];
    struct boot_range plan[BOOT_MAX_RANGES];
    struct memory_map map;
    uint64_t sum = 0;
    unsigned n;
    int err = map_get(&map);

    if (err)
        return err;
    n = free_ranges(&map, free, MAX_FREE);
    firmware->BootServices->FreePool(map.data);
    n = memory_plan(free, n, plan, BOOT_MAX_RANGES);
    for (unsigned i = 0; i < n; i++) {
        if (!take(&plan[i]))
            continue;
        boot->memory[boot->memory_ranges++] = plan[i];
        sum += plan[i].size;
    }
    if (!sum) {
        say("the firmware has too little free memory, expected more than 64 MiB");
        return -ENOMEM;
    }
    say("memory: %llu MiB in %u ranges", (unsigned long long)(sum / MIB), boot->memory_ranges);
    return 0;
}

void memory_give_back(struct boot_info *boot)
{
    for (unsigned i = 0; i < boot->memory_ranges; i++)
        firmware->BootServices->FreePages(boot->memory[i].base, boot->memory[i].size / PAGE_SIZE);
    boot->memory_ranges = 0;
}
