/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* Access to physical memory: size bytes at phys, valid until the next call, or NULL where there is nothing. */
typedef const void *(*acpi_map)(uint64_t phys, size_t size);

/* The head of every table (ACPI 6.5, 5.2.6). */
struct acpi_header {
    char signature[4];
    uint32_t length; /* of the whole table */
    uint8_t revision, checksum;
    char oem_id[6], oem_table_id[8];
    uint32_t oem_revision, creator_id, creator_revision;
} __attribute__((packed));

_Static_assert(sizeof(struct acpi_header) == 36, "ACPI 6.5, table 5.4");

/* Longer tables than any that is read here are taken for damage. */
#define ACPI_TABLE_MAX (16 * MIB)

/*
 * The first table with this signature and a right checksum, reached through the RSDP at rsdp and the XSDT (or RSDT);
 * *len is its length. NULL: there is none, or what leads there is damaged. Nothing in the tables is trusted.
 */
const void *acpi_find(acpi_map map, uint64_t rsdp, const char sig[4], size_t *len);
