/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/vm.h"

/*
 * Gives a VM that is being built the segments of its configuration, behind its RAM and its disks' windows. -ENOMEM,
 * -ENOSPC (it said why).
 */
int vm_add_segments(struct vm *vm);

/* Bytes of all segments that the configuration names, each once. */
uint64_t vm_segments_size(const struct config *config);

/* Rings a segment's bell in all VMs that have it, but for this one. A vCPU's exit; no lock is held. */
void vm_ring(struct vm *from, const struct segment *s);
/* Which bells of this VM have rung since the last time: a bit for each of its segments. */
uint64_t vm_rung(struct vm *vm);
