/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "numa/pmap.h"

/*
 * Large pages again: 2 MiB of small pages that are all a VM's own and on one node become one page of 2 MiB, in idle
 * time. They were split when some of them were shared, given back or used elsewhere, and that is over; or there was no
 * block of 2 MiB when they were touched first.
 */

/*
 * Looks at a few of them, and joins one at most. The TSC at which it wants to be called again if this processor is idle
 * then. Any processor, in idle time; as long as it takes to copy 2 MiB, no lock is held.
 */
uint64_t join_step(uint64_t tsc, uint64_t tsc_khz);

struct join_figures {
    uint64_t joined;           /* pages of 2 MiB */
    uint64_t copied;           /* of these, into another block: the others were still where they had been split */
};
/* Any processor, about right. */
struct join_figures join_count(void);
