/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/vm.h"

/* Gives a VM that is being built the network interfaces of its configuration. -ENOMEM, -ENOSPC (it said why). */
int vm_add_nets(struct vm *vm);
