/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/block_map.h"
#include "numa/reclaim.h"

#define BITS 9u
_Static_assert(BLOCK_MAP_LEAF == 1u << BITS, "a page of words");

static uint64_t *new_page(void)
{
    return hpa_ptr(page_alloc_zeroed(0, PAGE_ORDER_4K, PAGE_HYPERVISOR));
}

/* Blocks below one entry of a page at this level; leaves are level 1. */
static uint64_t span(unsigned level) { return 1ull << BITS * (level - 1); }

static unsigned index_at(uint64_t block, unsigned level) { return (unsigned)(block / span(level) % BLOCK_MAP_LEAF); }

static bool reaches(const struct block_map *map, uint64_t block)
{
    return map->height && block < span(map->height + 1);
}

uint64_t *block_map_find(const struct block_map *map, uint64_t block)
{
    uint64_t *page = map->root;

    if (!reaches(map, block))
        return NULL;
    for (unsigned level = map->height; level > 1 && page; level--)
        page = (uint64_t *)page[index_at(block, level)];
    return page ? &page[index_at(block, 1)] : NULL;
}

static bool grow(struct block_map *map, uint64_t block)
{
    while (!reaches(map, block)) {
        uint64_t *page = new_page();

        if (!page)
            return false;
        page[0] = (uint64_t)map->root;
        map->root = page;
        map->height++;
    }
    return true;
}

uint64_t *block_map_slot(struct block_map *map, uint64_t block)
{
    uint64_t *page;

    if (!grow(map, block))
        return NULL;
    page = map->root;
    for (unsigned level = map->height; level > 1; level--) {
        uint64_t *entry = &page[index_at(block, level)];

        if (!*entry)
            *entry = (uint64_t)new_page();
        if (!*entry)
            return NULL;
        page = (uint64_t *)*entry;
    }
    return &page[index_at(block, 1)];
}

uint64_t *block_map_make(struct block_map *map, uint64_t block)
{
    unsigned tries = 0;
    uint64_t *slot;

    do {
        slot = block_map_slot(map, block);
    } while (!slot && reclaim_again(&tries));
    return slot;
}

uint64_t *block_map_leaf(const struct block_map *map, uint64_t *block)
{
    uint64_t at = ALIGN_DOWN(*block, BLOCK_MAP_LEAF);

    while (reaches(map, at)) {
        uint64_t *page = map->root;
        unsigned level = map->height;

        for (; level > 1 && page; level--)
            page = (uint64_t *)page[index_at(at, level)];
        if (page) {
            *block = at;
            return page;
        }
        at = ALIGN_DOWN(at, span(level + 1)) + span(level + 1);
    }
    return NULL;
}

static void clear_page(uint64_t *page, unsigned level, void (*drop)(uint64_t entry))
{
    for (unsigned i = 0; i < BLOCK_MAP_LEAF; i++) {
        if (page[i] && level > 1)
            clear_page((uint64_t *)page[i], level - 1, drop);
        else if (page[i] && drop)
            drop(page[i]);
    }
    page_free(ptr_hpa(page), PAGE_ORDER_4K);
}

void block_map_clear(struct block_map *map, void (*drop)(uint64_t entry))
{
    if (map->root)
        clear_page(map->root, map->height, drop);
    *map = (struct block_map){ .height = 0 };
}
