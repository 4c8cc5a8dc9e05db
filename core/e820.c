/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/e820.h"

/*
 * The holes of a PC below 1 MiB. The last KiB of conventional memory is the extended BIOS data area, which the word at
 * 0x40e names; 0xa0000 to 0xdffff (video memory, option ROMs) is left out; the ACPI tables and a copy of their root
 * pointer stand where a BIOS has its ROM.
 */
static const struct e820_entry first_mib[] = {
    { 0x00000, 0x9fc00, E820_RAM },
    { 0x9fc00, 0x00400, E820_RESERVED },
    { 0xe0000, 0x10000, E820_ACPI },
    { 0xf0000, 0x10000, E820_RESERVED },
};

static unsigned add(struct e820_entry *out, unsigned n, uint64_t base, uint64_t end, uint32_t type)
{
    if (base >= end)
        return n;
    out[n] = (struct e820_entry){ base, end - base, type };
    return n + 1;
}

/*
 * memory: bytes of RAM. Ascending and free of overlaps; whatever RAM the VM has in 0xa0000 to 0xdffff is not told to
 * the guest. No locks.
 */
unsigned e820_build(uint64_t memory, struct e820_entry out[E820_MAX])
{
    uint64_t low = MIN(memory, GUEST_LOW_RAM_END);
    unsigned n = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(first_mib); i++) {
        const struct e820_entry *e = &first_mib[i];

        n = add(out, n, e->base, MIN(e->base + e->size, low), e->type);
    }
    n = add(out, n, MIB, low, E820_RAM);
    return add(out, n, 4 * GIB, 4 * GIB + (memory - low), E820_RAM);
}

/* An empty range is RAM where a byte at its base would be. No two RAM entries touch, so one entry must hold it all. */
bool e820_is_ram(uint64_t memory, uint64_t base, uint64_t size)
{
    struct e820_entry map[E820_MAX];
    unsigned n = e820_build(memory, map);

    for (unsigned i = 0; i < n; i++) {
        uint64_t from = base - map[i].base;

        if (map[i].type != E820_RAM || base < map[i].base || from >= map[i].size)
            continue;
        return size <= map[i].size - from;
    }
    return false;
}
