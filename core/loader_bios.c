/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/loader_parts.h"
#include "lib/errno.h"
#include "numa/page.h"
#include "vdev/board.h"

/*
 * What a guest finds where a PC has its BIOS: the tables it reads, and interrupt handlers, because kernels like Xen go
 * back to real mode to ask the BIOS. There is none: each call answers "not supported", which is the carry flag.
 */

/* IBM PC/AT Technical Reference, BIOS data area. */
#define BDA_EBDA_SEGMENT 0x40eull
#define BDA_BASE_MEMORY  0x413ull
#define RSDP_COPY        0xf0000ull
#define RSDP_SIZE        36
#define ROM_SEGMENT      0xf000u
#define STUBS            0x0040u        /* offset in the segment, behind the root pointer */

static int write_acpi(struct load *l, uint8_t *tables)
{
    int size = board_acpi_build(l->vm->vcpus, l->pmap->window, l->pmap->windows, tables, BOARD_ACPI_SIZE), rc;

    if (size < RSDP_SIZE || (size_t)size > BOARD_ACPI_SIZE)
        return load_fail(l, ENOSPC, "the ACPI tables for %u vCPUs do not fit", l->vm->vcpus);
    rc = load_write(l, BOARD_ACPI_BASE, tables, (size_t)size);
    return rc ? rc : load_write(l, RSDP_COPY, tables, RSDP_SIZE);
}

/* The tables, and a copy of their root pointer at 0xf0000: some old kernels begin their search only there. */
static int load_acpi(struct load *l)
{
    unsigned order = page_order(BOARD_ACPI_SIZE); /* much for the hypervisor's stacks, which are small */
    struct hpa tables = page_alloc(0, order, PAGE_HYPERVISOR);
    int rc;

    if (!tables.v)
        return load_fail(l, ENOMEM, "no memory to build its ACPI tables in");
    rc = write_acpi(l, hpa_ptr(tables));
    page_free(tables, order);
    return rc;
}

/* 16-bit code: for a call, a line of the first controller, a line of the second. */
enum { CALL = 0, IRQ_FIRST = 9, IRQ_SECOND = 16 };

static const uint8_t stubs[] = {
    0x55, 0x89, 0xe5,           /* push bp; mov bp, sp */
    0x80, 0x4e, 0x06, 0x01,     /* or byte [bp + 6], 1: carry in the caller's flags */
    0x5d, 0xcf,                 /* pop bp; iret */
    0x50, 0xb0, 0x20,           /* push ax; mov al, 0x20: end of interrupt */
    0xe6, 0x20,                 /* out 0x20, al */
    0x58, 0xcf,                 /* pop ax; iret */
    0x50, 0xb0, 0x20,
    0xe6, 0xa0, 0xe6, 0x20,     /* out 0xa0, al; out 0x20, al */
    0x58, 0xcf,
};

/* Where a BIOS has the lines of the interrupt controllers: 0x08 to 0x0f and 0x70 to 0x77. */
static unsigned stub_of(unsigned vector)
{
    unsigned line = vector & ~7u;

    return line == 0x08 ? IRQ_FIRST : line == 0x70 ? IRQ_SECOND : CALL;
}

static int load_vectors(struct load *l)
{
    uint32_t table[256];
    int rc = load_write(l, ((uint64_t)ROM_SEGMENT << 4) + STUBS, stubs, sizeof(stubs));

    for (unsigned v = 0; v < ARRAY_SIZE(table); v++)
        table[v] = ROM_SEGMENT << 16 | (STUBS + stub_of(v));
    return rc ? rc : load_write(l, 0, table, sizeof(table));
}

static int load_data_area(struct load *l)
{
    uint16_t ebda = LOAD_EBDA_BASE >> 4, base_kib = LOAD_EBDA_BASE / KIB;
    int rc = load_write(l, BDA_EBDA_SEGMENT, &ebda, sizeof(ebda));

    return rc ? rc : load_write(l, BDA_BASE_MEMORY, &base_kib, sizeof(base_kib));
}

int bios_load(struct load *l)
{
    int rc = load_vectors(l);

    if (!rc)
        rc = load_data_area(l);
    return rc ? rc : load_acpi(l);
}
