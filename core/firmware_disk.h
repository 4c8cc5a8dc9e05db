/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/boot.h"
#include "drivers/disk.h"

/*
 * A disk that the firmware drives. For each command the boot processor goes back to the firmware's world and waits
 * there until the firmware has done it; the other processors go on, and what runs on the boot processor gets on between
 * two commands. boot stays. NULL: no memory, or too many.
 */
struct disk *firmware_disk_add(const struct boot_info *boot, unsigned number);

struct firmware_disk_counts {
    uint64_t visits;
    uint64_t ticks;            /* there and back, all together */
    uint64_t inside;           /* of these in the firmware's driver */
};
/* What it has cost so far; false: the firmware does not drive this one. */
bool firmware_disk_count(const struct disk *d, struct firmware_disk_counts *out);
