/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * One EPT entry for a GiB: where a VM has 512 large pages in a GiB of its RAM and they are side by side in machine
 * memory, or can be brought there, each of its EPTs maps them by one entry. To the pmap they stay pages of 2 MiB:
 * whatever is done to one of them detaches it, which splits the entry.
 */

/* Once, before VMs run: the processors' EPTs have entries of 1 GiB. Without this nothing happens. */
void gigantic_init(void);

/*
 * Looks at a GiB, or moves 2 MiB. The TSC at which it wants to be called again if this processor is idle then,
 * UINT64_MAX: never. Any processor, in idle time; as long as it takes to copy 2 MiB, no lock is held.
 */
uint64_t gigantic_step(uint64_t tsc, uint64_t tsc_khz);

/* Memory is short: a block that it moves pages to is given up. How many pages that gives, UINT64_MAX: it is at it. */
uint64_t gigantic_return(void);

struct gigantic_figures {
    uint64_t merged;           /* GiB that came to be mapped by one entry */
    uint64_t moved;            /* large pages that were moved for it */
    uint64_t given_up;         /* moves of a GiB that were begun in vain */
};
/* Any processor, about right. */
struct gigantic_figures gigantic_count(void);
