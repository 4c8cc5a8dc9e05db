/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "numa/page.h"

/*
 * What is known of each block of 4 KiB of a disk: a word, 0 where nothing was stored. A tree of pages that grows with
 * the highest block; a zeroed one is empty. The owner locks.
 */
#define BLOCK_MAP_LEAF   (PAGE_SIZE / sizeof(uint64_t)) /* blocks of a leaf, which is a page */
#define BLOCK_MAP_HEIGHT 4u
#define BLOCK_MAP_MAX    (1ull << 9 * BLOCK_MAP_HEIGHT)

struct block_map {
    uint64_t *root;
    unsigned height;           /* levels, the leaves included */
};

/* Where it is stored; NULL: nothing was stored near it. */
uint64_t *block_map_find(const struct block_map *map, uint64_t block);
static inline uint64_t block_map_get(const struct block_map *map, uint64_t block)
{
    const uint64_t *slot = map->root ? block_map_find(map, block) : NULL;

    return slot ? *slot : 0;
}
/* Where to store it; NULL: no memory. block: below BLOCK_MAP_MAX. */
uint64_t *block_map_slot(struct block_map *map, uint64_t block);
/* The same; if there is no memory, some is looked for first (reclaim_again). */
uint64_t *block_map_make(struct block_map *map, uint64_t block);
/* The first leaf that is there for a block from *block on, which becomes the leaf's first; NULL: none. */
uint64_t *block_map_leaf(const struct block_map *map, uint64_t *block);
/* Empties it: drop (or NULL) is called with all that is not 0. */
void block_map_clear(struct block_map *map, void (*drop)(uint64_t entry));
