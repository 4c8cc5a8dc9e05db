/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "tests/boot/efi/acpi_install.h"

/*
 * Gives a machine the ACPI tables of one with two nodes, SRAT, SLIT and MADT (ACPI 6.5, 5.2.16, 5.2.17 and 5.2.12):
 * for a start-up script to run before Mirrorball. Domain 0 has the memory below 256 MiB and the processors with an odd APIC
 * id, domain 1 the rest; they are 17 apart. In the MADT the last of more than two processors is not enabled.
 */
EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *st);

#define MAX_CPUS 16
#define BORDER   (256 * MIB)
#define ENABLED  1

struct srat_cpu {
    uint8_t type, length, domain_low, id;
    uint32_t flags;
    uint8_t eid, domain_high[3];
    uint32_t clock;
} ACPI_PACKED;

struct srat_memory {
    uint8_t type, length;
    uint32_t domain;
    uint16_t reserved;
    uint64_t base, size;
    uint32_t reserved2, flags;
    uint64_t reserved3;
} ACPI_PACKED;

static struct {
    struct acpi_header header;
    uint32_t one;
    uint64_t reserved;
    struct srat_memory memory[2];
    struct srat_cpu cpu[MAX_CPUS];
} ACPI_PACKED srat = {
    .header = { .signature = "SRAT", .revision = 3 }, .one = 1,
    .memory = { { .type = 1, .length = 40, .domain = 1, .base = BORDER, .size = 4 * GIB - BORDER, .flags = ENABLED },
                { .type = 1, .length = 40, .domain = 0, .base = 0, .size = BORDER, .flags = ENABLED } },
};

static struct {
    struct acpi_header header;
    uint64_t localities;
    uint8_t distance[2][2];
} ACPI_PACKED slit = {
    .header = { .signature = "SLIT", .revision = 1 }, .localities = 2, .distance = { { 10, 17 }, { 17, 10 } },
};

static struct {
    struct acpi_madt head;
    struct acpi_madt_ioapic ioapic;
    struct acpi_madt_lapic cpu[MAX_CPUS];
} ACPI_PACKED madt = {
    .head = { .header = { .signature = "APIC", .revision = 3 }, .lapic_base = 0xfee00000, .flags = 1 },
    .ioapic = { ACPI_MADT_IOAPIC, sizeof(madt.ioapic), 0, 0, 0xfec00000, 0 },
};

static void add_cpu(UINTN i, const struct mp_processor *info)
{
    srat.cpu[i] = (struct srat_cpu){ .length = sizeof(srat.cpu[i]), .domain_low = !(info->id & 1),
                                     .id = (uint8_t)info->id, .flags = ENABLED };
    madt.cpu[i] = (struct acpi_madt_lapic){ ACPI_MADT_LAPIC, sizeof(madt.cpu[i]), (uint8_t)i, (uint8_t)info->id,
                                            ENABLED };
}

static EFI_STATUS install_all(EFI_BOOT_SERVICES *bs)
{
    struct acpi_table_protocol *p;
    UINTN cpus = acpi_each_cpu(bs, MAX_CPUS, add_cpu);
    EFI_STATUS s = acpi_find(bs, &p);

    if (!cpus)
        return EFI_UNSUPPORTED;
    if (cpus > 2)
        madt.cpu[cpus - 1].flags = 0;
    if (s == EFI_SUCCESS)
        s = acpi_install(p, &srat, sizeof(srat) - (MAX_CPUS - cpus) * sizeof(srat.cpu[0]));
    if (s == EFI_SUCCESS)
        s = acpi_install(p, &madt, sizeof(madt) - (MAX_CPUS - cpus) * sizeof(madt.cpu[0]));
    return s == EFI_SUCCESS ? acpi_install(p, &slit, sizeof(slit)) : s;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *st)
{
    EFI_STATUS s = install_all(st->BootServices);

    (void)image;
    st->ConOut->OutputString(st->ConOut, s == EFI_SUCCESS ? L"nodes: tables installed\r\n" : L"nodes: failed\r\n");
    return s;
}
