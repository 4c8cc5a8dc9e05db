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

/*
 * After an allocation failed. True: a few pages were found, so it is worth another try; others may take them first, so
 * tries (0 at the start) counts them, and they end. Outside of guests; no lock at or below the images' is held.
 */
bool reclaim_again(unsigned *tries);
