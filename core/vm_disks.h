/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/vm.h"

#define CACHE_PART 4u          /* of the machine's memory, for disk blocks that can be read again */

/* Requests that wait for the machine's disks are looked after from now on. Once, before the first VM. */
void vm_disks_init(void);
/*
 * Gives a VM that is being built the disks of its configuration, and does what the monitor wants of their logs. Waits
 * for the machine's disks. -EINVAL and others: one is of no use; -ENOMEM (it said why).
 */
int vm_add_disks(struct vm *vm);
/* Nothing of its disks is under way any more: waits for that. None of its vCPUs runs any more. */
void vm_disks_settle(struct vm *vm);
