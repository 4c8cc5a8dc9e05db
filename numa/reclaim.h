/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* When the machine has no page left: what can be done without is taken from where it is. */

/* Pages found so far: copies of other nodes' pages, clean blocks of disk images, zeros in large pages. */
struct reclaim_figures { uint64_t calls, replicas, cached, zeros; };
struct reclaim_figures reclaim_count(void);

/* Who keeps disk blocks that can be read again: lets so many pages go, or all it can; how many. Before the first VM. */
void reclaim_set_cache(uint64_t (*let_go)(uint64_t pages));

enum reclaim_result {
    RECLAIM_FOUND,             /* a few pages: it is worth another try */
    RECLAIM_UNFINISHED,        /* nothing yet; a part of the machine's memory was looked at */
    RECLAIM_NOTHING,           /* there is nothing, or others have taken too often what was found */
};
/*
 * After an allocation failed: looks for pages, in the memory of 16 large pages at most (32 MiB), and goes on there the
 * next time. tries (0 at the start) counts the calls that found something. Outside of guests; no lock at or below the
 * images' is held.
 */
enum reclaim_result reclaim_some(unsigned *tries);
/*
 * The same for who cannot come back later: true: worth another try. The calls end when there is nothing, or 2 GiB were
 * looked at in vain.
 */
bool reclaim_again(unsigned *tries);
