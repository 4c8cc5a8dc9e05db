/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * What ACPI's MADT ("APIC", ACPI 6.5, 5.2.12) lists, in its order, at most max: APIC ids of the enabled processors,
 * addresses of the I/O APICs. len as acpi_find gave it; entries are not trusted. Returns the number.
 */
unsigned madt_processors(const void *madt, size_t len, uint32_t *apic_id, unsigned max);
unsigned madt_io_apics(const void *madt, size_t len, uint64_t *base, unsigned max);
