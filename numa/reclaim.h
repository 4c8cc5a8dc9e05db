/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* When the machine has no page left: what can be done without is taken from where it is. */

/*
 * Pages found so far: of a block that large pages were to be moved to, copies of other nodes' pages, clean blocks of
 * disk images, zeros in large pages, EPTs' tables.
 */
struct reclaim_figures { uint64_t calls, moving, replicas, cached, zeros, tables; };
struct reclaim_figures reclaim_count(void);

/*
 * Who keeps disk blocks that can be read again: lets about so many pages go, adds to *found how many, and goes on there
 * the next time. *effort goes down by 4 for each 512 blocks looked at; at 0 it ends. True: it was once round in vain.
 * Before the first VM.
 */
void reclaim_set_cache(bool (*look)(uint64_t pages, unsigned *effort, uint64_t *found));

enum reclaim_result {
    RECLAIM_FOUND,             /* a few pages: it is worth another try */
    RECLAIM_UNFINISHED,        /* nothing yet; a part of the machine's memory was looked at */
    RECLAIM_NOTHING,           /* there is nothing, or others have taken too often what was found */
};
/*
 * After an allocation failed: looks for pages, in 16 large pages at most (32 MiB), or 256 tables of 512 copies or disk
 * blocks, or what of each makes as much, and goes on there the next time. tries (0 at the start) counts the calls that
 * found something. Outside of guests; no lock at or below the images' is held.
 */
enum reclaim_result reclaim_some(unsigned *tries);
/*
 * The same for who cannot come back later: true: worth another try. The calls end when there is nothing, or 2 GiB were
 * looked at in vain.
 */
bool reclaim_again(unsigned *tries);
