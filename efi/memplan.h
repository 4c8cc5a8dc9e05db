/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/boot.h"
#include "lib/types.h"

/*
 * Chooses what the hypervisor takes of the free ranges (any order, no overlap, 4 KiB aligned): parts aligned to 2 MiB
 * above 1 MiB. The firmware keeps a 16th of the whole, but 64 MiB at least and 1 GiB at most (plus what alignment
 * leaves over), from the top of what lies below 4 GiB first, where its drivers want memory. free is working space.
 * Returns the number of ranges in out (at most max; the largest where there are more), ascending.
 */
unsigned memory_plan(struct boot_range *free, unsigned n, struct boot_range *out, unsigned max);
