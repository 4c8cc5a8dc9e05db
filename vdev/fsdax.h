/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "numa/pmap.h"

/*
 * What Linux wants at the start of persistent memory from an NFIT to keep pages for it, which `mount -o dax` needs: the
 * information block of a namespace in mode fsdax (drivers/nvdimm/pfn.h), as `ndctl create-namespace` leaves it. The
 * disk begins behind these bytes.
 */
#define FSDAX_LEAD PAGE_SIZE_2M

/* Writes the block into the lead of a window. -ENOMEM. Before the VM runs. */
int fsdax_label(struct pmap *pmap, const struct pmap_window *window);
