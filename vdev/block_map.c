/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/block_map.h"

#define TABLES    (PAGE_SIZE / sizeof(uint32_t *))
#define PER_TABLE (PAGE_SIZE / sizeof(uint32_t))
_Static_assert(TABLES * PER_TABLE == BLOCK_MAP_MAX, "a page of pointers to pages of frames");

static void *new_page(void)
{
    return hpa_ptr(page_alloc_zeroed(0, PAGE_ORDER_4K, PAGE_HYPERVISOR));
}

uint32_t block_map_get(const struct block_map *map, uint64_t block)
{
    const uint32_t *table = map->tables ? map->tables[block / PER_TABLE] : NULL;

    return table ? table[block % PER_TABLE] : 0;
}

uint32_t *block_map_slot(struct block_map *map, uint64_t block)
{
    uint32_t **table;

    if (!map->tables)
        map->tables = new_page();
    if (!map->tables)
        return NULL;
    table = &map->tables[block / PER_TABLE];
    if (!*table)
        *table = new_page();
    return *table ? &(*table)[block % PER_TABLE] : NULL;
}

uint64_t block_map_prune(struct block_map *map, bool (*gone)(uint32_t frame), uint64_t most)
{
    uint64_t sum = 0;

    for (size_t t = 0; map->tables && t < TABLES; t++) {
        uint32_t *table = map->tables[t];

        for (size_t i = 0; table && i < PER_TABLE && sum < most; i++) {
            if (!table[i] || !gone(table[i]))
                continue;
            table[i] = 0;
            sum++;
        }
    }
    return sum;
}

static void clear_table(uint32_t *table, void (*drop)(uint32_t frame))
{
    for (size_t i = 0; i < PER_TABLE; i++)
        if (table[i])
            drop(table[i]);
    page_free(ptr_hpa(table), PAGE_ORDER_4K);
}

void block_map_clear(struct block_map *map, void (*drop)(uint32_t frame))
{
    if (!map->tables)
        return;
    for (size_t i = 0; i < TABLES; i++)
        if (map->tables[i])
            clear_table(map->tables[i], drop);
    page_free(ptr_hpa(map->tables), PAGE_ORDER_4K);
    map->tables = NULL;
}
