/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/vm.h"

/* The wires between a VM's vCPUs and its board: core/vm_ops.c. */
extern const struct vcpu_ops vm_vcpu_ops;
extern const struct board_ops vm_board_ops;

/* ns since 1970 now. */
uint64_t vm_wallclock_ns(void);
void vm_set_wallclock(int64_t unix_time);
