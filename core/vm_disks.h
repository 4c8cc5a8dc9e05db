/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/vm.h"

/* Gives a VM that is being built the disks of its configuration. -EINVAL: one is of no use; -ENOMEM (it said why). */
int vm_add_disks(struct vm *vm);
