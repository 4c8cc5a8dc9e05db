/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/string.h"
#include "tests/guests/rt/rt.h"

/* As much of ACPI 6.4 as a test guest needs: the table list, the MADT, and S5 without an AML interpreter. */
struct rsdp {
    char signature[8];
    uint8_t checksum, oem[6], revision;
    uint32_t rsdt, length;
    uint64_t xsdt;
} __attribute__((packed));

struct table { char signature[4]; uint32_t length; uint8_t rest[28]; } __attribute__((packed));
struct madt_entry { uint8_t type, length; } __attribute__((packed));
struct madt_lapic { struct madt_entry head; uint8_t processor, id; uint32_t flags; } __attribute__((packed));
struct madt_ioapic { struct madt_entry head; uint8_t id, reserved; uint32_t address, gsi; } __attribute__((packed));
struct madt_x2apic {
    struct madt_entry head;
    uint16_t reserved;
    uint32_t id, flags, processor;
} __attribute__((packed));

enum { MADT_HEADER = 44, MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_X2APIC = 9, FADT_DSDT = 40, FADT_PM1A_CONTROL = 64 };
#define SLP_EN (1u << 13)

static const struct rsdp *find_rsdp(void)
{
    for (uint64_t at = 0xe0000; at < 0x100000; at += 16) {
        if (!memcmp((const void *)at, "RSD PTR ", 8))
            return (const struct rsdp *)at;
    }
    return NULL;
}

const void *acpi_find(const char signature[4])
{
    const struct rsdp *rsdp = find_rsdp();
    bool wide = rsdp && rsdp->revision >= 2 && rsdp->xsdt;
    const struct table *root;
    size_t width = wide ? 8 : 4;

    if (!rsdp)
        return NULL;
    root = (const struct table *)(wide ? rsdp->xsdt : (uint64_t)rsdp->rsdt);
    for (size_t at = sizeof(*root); at + width <= root->length; at += width) {
        uint64_t address = 0;

        memcpy(&address, (const uint8_t *)root + at, width);
        if (!memcmp((const void *)address, signature, 4))
            return (const void *)address;
    }
    return NULL;
}

/* The next entry of the MADT behind this one (the first, for NULL) with this type. */
static const void *madt_next(const struct table *madt, const void *behind, uint8_t type)
{
    const uint8_t *end = (const uint8_t *)madt + madt->length;
    const uint8_t *at = behind ? (const uint8_t *)behind + ((const struct madt_entry *)behind)->length
                               : (const uint8_t *)madt + MADT_HEADER;

    for (; at + sizeof(struct madt_entry) <= end; at += at[1]) {
        if (at[0] == type)
            return at;
        if (at[1] < sizeof(struct madt_entry))
            return NULL;
    }
    return NULL;
}

unsigned acpi_cpus(uint32_t *ids, unsigned max)
{
    const struct table *madt = acpi_find("APIC");
    const struct madt_lapic *lapic = NULL;
    const struct madt_x2apic *x2apic = NULL;
    unsigned n = 0;

    while (madt && (lapic = madt_next(madt, lapic, MADT_LAPIC))) {
        if (lapic->flags & 1 && n++ < max)
            ids[n - 1] = lapic->id;
    }
    while (madt && (x2apic = madt_next(madt, x2apic, MADT_X2APIC))) {
        if (x2apic->flags & 1 && n++ < max)
            ids[n - 1] = x2apic->id;
    }
    return MIN(n, max);
}

uint64_t acpi_ioapic(void)
{
    const struct table *madt = acpi_find("APIC");
    const struct madt_ioapic *ioapic = madt ? madt_next(madt, NULL, MADT_IOAPIC) : NULL;

    return ioapic ? ioapic->address : 0;
}

/* The first element of the package \_S5 in the DSDT: the sleep type; -1 if it is not found. */
static int s5_type(const uint8_t *fadt)
{
    enum { PACKAGE_OP = 0x12, BYTE_PREFIX = 0x0a, ONE_OP = 1 };
    uint32_t address;
    const struct table *dsdt;

    memcpy(&address, fadt + FADT_DSDT, sizeof(address));
    dsdt = (const struct table *)(uint64_t)address;
    for (uint32_t i = sizeof(*dsdt); i + 8 < dsdt->length; i++) {
        const uint8_t *p = (const uint8_t *)dsdt + i;

        if (memcmp(p, "_S5_", 4) || p[4] != PACKAGE_OP)
            continue;
        p += 5 + 1 + (p[5] >> 6) + 1; /* the package's length field and number of elements */
        return p[0] == BYTE_PREFIX ? p[1] : p[0] <= ONE_OP ? p[0] : -1;
    }
    return -1;
}

void power_off(void)
{
    const uint8_t *fadt = acpi_find("FACP");
    int type = fadt ? s5_type(fadt) : -1;
    uint32_t port = 0;

    cli();
    if (type >= 0)
        memcpy(&port, fadt + FADT_PM1A_CONTROL, sizeof(port));
    if (port)
        outw((uint16_t)port, (uint16_t)((unsigned)type << 10 | SLP_EN));
    for (unsigned i = 0; i < 1000000; i++)
        cpu_pause(); /* it need not happen at once */
    print("guest: no way to power off, halted\n");
    for (;;)
        hlt();
}
