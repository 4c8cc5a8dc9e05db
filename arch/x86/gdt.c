/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/gdt.h"

#include "arch/x86/cpu.h"
#include "lib/string.h"

/* Present, accessed, DPL 0 (SDM vol. 3A, 3.4.5): a 64-bit code segment, a writable data segment, an available TSS. */
#define DESC_CODE     0x00af9b000000ffffull
#define DESC_DATA     0x00cf93000000ffffull
#define DESC_TSS      0x0000890000000000ull
#define DESC_TSS_BUSY BIT(41)

void gdt_build(struct gdt *gdt, struct tss *tss, const uint64_t ist[IST_COUNT])
{
    uint64_t base = (uint64_t)(uintptr_t)tss;

    memset(tss, 0, sizeof(*tss));
    for (unsigned i = 1; i < IST_COUNT; i++)
        tss->ist[i - 1] = ist[i];
    tss->io_map_base = sizeof(*tss); /* no map */
    gdt->entry[GDT_CODE / 8] = DESC_CODE;
    gdt->entry[GDT_DATA / 8] = DESC_DATA;
    gdt->entry[GDT_TSS / 8] = DESC_TSS | (sizeof(*tss) - 1) | (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
    gdt->entry[GDT_TSS / 8 + 1] = base >> 32;
}

void gdt_load_tss(struct gdt *gdt)
{
    gdt->entry[GDT_TSS / 8] &= ~DESC_TSS_BUSY; /* left by the visit before */
    ltr(GDT_TSS);
    lldt(0);
}
