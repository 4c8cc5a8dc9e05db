/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <efi.h>

#include "lib/types.h"

/*
 * Device paths (UEFI 2.10, 10). What the firmware has for one, its handle and its protocols, is another one after a
 * driver has gone and come again: the path stays the same, and is what is kept.
 */
#define PATH_MAX_BYTES 512u

struct path {
    size_t size;               /* bytes without its end */
    uint8_t bytes[PATH_MAX_BYTES] __attribute__((aligned(8)));
};

static inline uint8_t path_type(const EFI_DEVICE_PATH *node) { return node->Type & 0x7f; }
static inline bool path_ends(const EFI_DEVICE_PATH *node) { return path_type(node) == 0x7f; }
const EFI_DEVICE_PATH *path_next(const EFI_DEVICE_PATH *node);
/* Bytes of a path without its end. */
size_t path_size(const EFI_DEVICE_PATH *path);

/* The path of a handle; false: it has none, or one that is too long. */
bool path_keep(struct path *p, EFI_HANDLE handle);
/* A protocol of what has this path now, NULL: nothing has. */
void *path_find(const struct path *p, EFI_GUID *protocol);
/* The same, the handle. */
EFI_HANDLE path_handle(const struct path *p, EFI_GUID *protocol);
/* The PCI function of segment 0 that it hangs on, and the nodes behind it; NULL: on none. */
EFI_HANDLE path_pci(const struct path *p, uint16_t *bdf, const EFI_DEVICE_PATH **rest);
