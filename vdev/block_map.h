/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "numa/page.h"

/*
 * Which machine page holds a block of 4 KiB: frame numbers (physical address / 4096), 0 where nothing was stored. A
 * zeroed one is empty. The owner locks.
 */
#define BLOCK_MAP_MAX (512u * 1024u)  /* blocks: 2 GiB */

struct block_map { uint32_t **tables; };

uint32_t block_map_get(const struct block_map *map, uint64_t block);
/* Where to store it; NULL: no memory. block: below BLOCK_MAP_MAX. */
uint32_t *block_map_slot(struct block_map *map, uint64_t block);
/* Takes out what `gone` says yes to, so many at most; how many. */
uint64_t block_map_prune(struct block_map *map, bool (*gone)(uint32_t frame), uint64_t most);
/* Empties it: drop is called with all that is not 0. */
void block_map_clear(struct block_map *map, void (*drop)(uint32_t frame));
