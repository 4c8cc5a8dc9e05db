/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* ACPI 6.5, table 15.4 */
enum { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3, E820_PERSISTENT = 7 };
struct e820_entry { uint64_t base, size; uint32_t type; } __attribute__((packed));

#define E820_MAX 16
/* RAM below this address is contiguous from 0 (but for the holes of a PC); the rest goes above 4 GiB. */
#define GUEST_LOW_RAM_END (3 * GIB)

/* The memory map of a guest with this many bytes of RAM, ascending; returns the number of entries. */
unsigned e820_build(uint64_t memory, struct e820_entry out[E820_MAX]);
/* Is [base, base + size) RAM throughout? */
bool e820_is_ram(uint64_t memory, uint64_t base, uint64_t size);
