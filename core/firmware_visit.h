/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/boot.h"

/*
 * Calls fn in the firmware's world, from there or from ours (then the boot processor's guests stand still meanwhile, and
 * the other processors go on). Boot processor, as device.poll.
 */
void firmware_visit(const struct boot_info *boot, void (*fn)(void *arg), void *arg);
/*
 * What the firmware has taken from the console meanwhile comes to ours. That may be a command that waits for devices: the
 * caller is done with its own.
 */
void firmware_typed(void);
