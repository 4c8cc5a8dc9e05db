/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/boot.h"
#include "drivers/storage.h"

/*
 * The machine's disks that the configuration names: who drives each, and the storages on them.
 *
 * disks_open: in the firmware's world, boot processor, when our page tables have been built and before our world is
 * entered. Only disks that are named are touched. What cannot be opened is told, and has no storage. disks_close: back
 * in the firmware's world, after devices_stop: the firmware has its disks back.
 */
void disks_open(const struct boot_info *boot);
void disks_close(const struct boot_info *boot);

/*
 * What stands behind a disk of a VM, for whoever builds an image on it: VMs that name the same have the same one. NULL:
 * there is none, as with `memory` or `dax`; a file is then in memory (image.data).
 */
struct storage *disks_storage(const struct config_disk *c);

/* All that are open; NULL past the last. *name: as the configuration has it. */
struct storage *disks_storage_at(unsigned n, const char **name);
