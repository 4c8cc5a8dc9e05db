/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/ioapic.h"

#include "arch/x86/cpu.h"

/* 82093AA data sheet, 3.0 to 3.2.4. */
#define ARCHITECTURAL_BASE 0xfec00000u
#define SELECT             0x00
#define WINDOW             0x10
#define REG_VERSION        0x01
#define REG_ENTRY(i)       (0x10 + 2 * (i)) /* the lower half */
#define ENTRY_MASKED       BIT(16)

#define VERSION_MAX        0x2fu
#define ENTRIES_MAX        240u

struct ioapic {
    uint64_t base;
    unsigned entries;
    uint64_t unmasked[ALIGN_UP(ENTRIES_MAX, 64) / 64]; /* by the firmware */
};

static struct ioapic ioapics[IOAPICS_MAX];
static unsigned count;

static uint32_t read_reg(const struct ioapic *a, unsigned reg)
{
    mmio_write32(a->base + SELECT, reg);
    return mmio_read32(a->base + WINDOW);
}

static void write_reg(const struct ioapic *a, unsigned reg, uint32_t value)
{
    mmio_write32(a->base + SELECT, reg);
    mmio_write32(a->base + WINDOW, value);
}

/* Where nothing answers, reads give all ones or zero. */
static bool answers(struct ioapic *a)
{
    uint32_t version = read_reg(a, REG_VERSION);

    a->entries = (version >> 16 & 0xff) + 1;
    return mmio_read32(a->base + SELECT) == REG_VERSION && (version & 0xff) && (version & 0xff) <= VERSION_MAX &&
           !(version >> 24) && a->entries <= ENTRIES_MAX;
}

unsigned ioapic_find(const uint64_t *base, unsigned n)
{
    static const uint64_t architectural = ARCHITECTURAL_BASE;

    if (n == 0) {
        base = &architectural;
        n = 1;
    }
    count = 0;
    for (unsigned i = 0; i < n && count < IOAPICS_MAX; i++) {
        ioapics[count] = (struct ioapic){ .base = base[i] };
        count += answers(&ioapics[count]);
    }
    return count;
}

uint64_t ioapic_page(unsigned i)
{
    return ALIGN_DOWN(ioapics[i].base, PAGE_SIZE);
}

static void mask(struct ioapic *a)
{
    for (unsigned i = 0; i < a->entries; i++) {
        uint32_t low = read_reg(a, REG_ENTRY(i));

        a->unmasked[i / 64] &= ~BIT(i % 64);
        if (low & ENTRY_MASKED)
            continue;
        a->unmasked[i / 64] |= BIT(i % 64);
        write_reg(a, REG_ENTRY(i), low | ENTRY_MASKED);
    }
}

static void unmask(const struct ioapic *a)
{
    for (unsigned i = 0; i < a->entries; i++)
        if (a->unmasked[i / 64] & BIT(i % 64))
            write_reg(a, REG_ENTRY(i), read_reg(a, REG_ENTRY(i)) & ~(uint32_t)ENTRY_MASKED);
}

void ioapic_mask_all(void)
{
    for (unsigned i = 0; i < count; i++)
        mask(&ioapics[i]);
}

void ioapic_unmask(void)
{
    for (unsigned i = 0; i < count; i++)
        unmask(&ioapics[i]);
}
