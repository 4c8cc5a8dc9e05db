/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/paging.h"

#include "arch/x86/cpu.h"
#include "lib/errno.h"
#include "lib/types.h"

/*
 * Four levels, identity. Level 1 maps 4 KiB, 2 maps 2 MiB, 3 maps 1 GiB, 4 is the root. Tables are reached by their
 * own (physical) address, which holds in the firmware's world and in ours. Nothing is mapped twice or both writable
 * and executable. Changed on one processor at a time; the others see new mappings because absent ones are not cached.
 */

#define LEVELS  4u
#define ENTRIES 512u

static page_source take_page;
static uint64_t root;
static bool have_1g;

static uint64_t span(unsigned level)
{
    return 1ull << (PAGE_SHIFT + 9 * (level - 1));
}

static unsigned entry_index(uint64_t addr, unsigned level)
{
    return (unsigned)(addr / span(level)) % ENTRIES;
}

static uint64_t *table_at(uint64_t entry)
{
    return (uint64_t *)(uintptr_t)(entry & PTE_ADDR_MASK);
}

static bool is_leaf(uint64_t entry, unsigned level)
{
    return level == 1 || (entry & PTE_LARGE);
}

static uint64_t kind_bits(enum map_kind kind)
{
    static const uint64_t bits[] = {
        [MAP_CODE]   = 0,
        [MAP_RODATA] = PTE_NX,
        [MAP_DATA]   = PTE_NX | PTE_WRITE,
        [MAP_DEVICE] = PTE_NX | PTE_WRITE | PTE_PCD | PTE_PWT,
        [MAP_FRAME]  = PTE_NX | PTE_WRITE | PTE_PAT_4K,
    };

    return bits[kind] | PTE_PRESENT | PTE_ACCESSED | PTE_DIRTY;
}

/* bits as a 4 KiB entry has them; in larger ones the PAT bit sits elsewhere, its place says that this is a leaf. */
static uint64_t make_leaf(uint64_t addr, uint64_t bits, unsigned level)
{
    if (level == 1)
        return addr | bits;
    if (bits & PTE_PAT_4K)
        bits |= PTE_PAT_LARGE;
    return addr | bits | PTE_LARGE;
}

static uint64_t leaf_bits(uint64_t leaf, unsigned level)
{
    if (level == 1)
        return leaf & ~PTE_ADDR_MASK;
    return (leaf & ~(PTE_ADDR_MASK | PTE_LARGE)) | (leaf & PTE_PAT_LARGE ? PTE_PAT_4K : 0);
}

/* The table below an entry: made when there is none, filled with equal smaller pages when the entry is a large page. */
static uint64_t *child(uint64_t *entry, unsigned level)
{
    uint64_t old = *entry, page;
    uint64_t *table;

    if ((old & PTE_PRESENT) && !is_leaf(old, level))
        return table_at(old);
    page = take_page();
    if (!page)
        return NULL;
    table = table_at(page);
    if (old & PTE_PRESENT) {
        uint64_t base = old & PTE_ADDR_MASK & ~(span(level) - 1);

        for (unsigned i = 0; i < ENTRIES; i++)
            table[i] = make_leaf(base + i * span(level - 1), leaf_bits(old, level), level - 1);
    }
    *entry = page | PTE_PRESENT | PTE_WRITE | PTE_ACCESSED;
    return table;
}

static bool leaf_fits(const uint64_t *entry, unsigned level, uint64_t base, uint64_t end)
{
    if (level == 4 || (level == 3 && !have_1g))
        return false;
    if (base % span(level) || end - base < span(level))
        return false;
    return !(*entry & PTE_PRESENT) || is_leaf(*entry, level);
}

static int map_level(uint64_t *table, unsigned level, uint64_t base, uint64_t end, uint64_t bits)
{
    while (base < end) {
        uint64_t next = MIN(ALIGN_DOWN(base, span(level)) + span(level), end);
        uint64_t *entry = &table[entry_index(base, level)];

        if (leaf_fits(entry, level, base, end)) {
            *entry = make_leaf(base, bits, level);
        } else {
            uint64_t *below = child(entry, level);
            int err = below ? map_level(below, level - 1, base, next, bits) : -ENOMEM;

            if (err)
                return err;
        }
        base = next;
    }
    return 0;
}

bool paging_active(void)
{
    return root && (read_cr3() & PTE_ADDR_MASK) == root;
}

int paging_begin(page_source pages)
{
    uint32_t a, b, c, d;

    cpuid(0x80000000, 0, &a, &b, &c, &d);
    if (a < 0x80000001)
        return -EINVAL;
    cpuid(0x80000001, 0, &a, &b, &c, &d);
    have_1g = d & BIT(26);
    take_page = pages;
    root = pages();
    return root ? 0 : -ENOMEM;
}

int paging_map(uint64_t base, uint64_t size, enum map_kind kind)
{
    int err;

    if (!root || base % PAGE_SIZE || size % PAGE_SIZE || base + size < base || base + size > BIT(47))
        return -EINVAL;
    err = map_level(table_at(root), LEVELS, base, base + size, kind_bits(kind));
    if (paging_active())
        write_cr3(root);
    return err;
}

int paging_unmap_page(uint64_t addr)
{
    uint64_t *table = table_at(root);

    if (!root || addr % PAGE_SIZE || addr >= BIT(47))
        return -EINVAL;
    for (unsigned level = LEVELS; level > 1; level--) {
        uint64_t *entry = &table[entry_index(addr, level)];

        if (!(*entry & PTE_PRESENT))
            return 0;
        table = child(entry, level);
        if (!table)
            return -ENOMEM;
    }
    table[entry_index(addr, 1)] = 0;
    if (paging_active())
        invlpg(addr);
    return 0;
}

uint64_t paging_root(void)
{
    return root;
}

uint64_t paging_lookup(uint64_t addr, uint64_t *page_size)
{
    uint64_t *table = table_at(root);

    if (!root || addr >= BIT(47))
        return 0;
    for (unsigned level = LEVELS; level; level--) {
        uint64_t entry = table[entry_index(addr, level)];

        if (!(entry & PTE_PRESENT))
            return 0;
        if (is_leaf(entry, level)) {
            *page_size = span(level);
            return entry;
        }
        table = table_at(entry);
    }
    return 0;
}
