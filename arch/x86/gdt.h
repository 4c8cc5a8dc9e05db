/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * Selectors of the hypervisor's GDT; DS, ES and SS hold GDT_DATA, FS and GS are null, there is no LDT. The TSS lies at
 * the end of a long table: firmware that has no TSS of its own gets TR back with this selector, for LTR takes no null
 * one, and EDK II loads what it finds in TR again when it starts a processor, unless that lies past its own GDT.
 */
#define GDT_ENTRIES 256
#define GDT_CODE    0x08
#define GDT_DATA    0x10
#define GDT_TSS     (8 * (GDT_ENTRIES - 2))

/* Interrupt-stack-table numbers (SDM vol. 3A, 6.14.5). */
enum { IST_NONE, IST_NMI, IST_DOUBLE_FAULT, IST_MACHINE_CHECK, IST_COUNT };

struct tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7]; /* IST 1 first */
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map_base;
} __attribute__((packed));

_Static_assert(sizeof(struct tss) == 104, "SDM vol. 3A, figure 8-11");

struct gdt {
    uint64_t entry[GDT_ENTRIES];
};

/* Fills a processor's (zeroed) tables; ist[1] to ist[IST_COUNT - 1] are the tops of the stacks. */
void gdt_build(struct gdt *gdt, struct tss *tss, const uint64_t ist[IST_COUNT]);

/* In our world with this GDT loaded: TR and LDTR. */
void gdt_load_tss(struct gdt *gdt);
