/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/boot.h"

/*
 * Each disk is read by the firmware, then by our driver if there is one for it, then by the firmware again, and all have
 * to read the same; the scratch region is written by our driver, read by the firmware, and put back as it was. Prints a
 * line for each check. 0, -EIO: one failed; -ENOMEM. Firmware's world, boot processor.
 */
int selftest_disks(const struct boot_info *boot, const struct boot_selftest *test);
/* Each card that we have a driver for asks for an address and has data sent back to it. 0, -EIO. Likewise. */
int selftest_net(const struct boot_info *boot);
