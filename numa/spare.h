/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "numa/page.h"

/*
 * Spare pages: each processor has a few 4 KiB pages of its own node at hand, so that a fault takes no lock that
 * processors contend for. No locks; a processor that finds no memory left may take the spares of all.
 */

/*
 * A zeroed page, to be private memory with one reference by this sharer (numa/page.h); HPA_NONE: there is none at hand.
 */
struct hpa spare_take(uint64_t sharer);
/* For page_alloc alone: gives all processors' spare pages back to their nodes. False: there were none. */
bool spare_return(void);
/* For page_count alone: how many of a node's pages are spare. */
uint64_t spare_count(unsigned node);
