/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include <efi.h>

#include "efi/mp_services.h"
#include "lib/types.h"
#include "vdev/acpi_tables.h"

/*
 * Gives a machine the ACPI tables of one with two nodes, SRAT and SLIT (ACPI 6.5, 5.2.16 and 5.2.17): for a start-up
 * script to run before Mirrorball. Domain 0 has the memory below 256 MiB and the processors with an odd APIC id, domain
 * 1 the rest; they are 17 apart.
 */
EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *st);

/* EFI_ACPI_TABLE_PROTOCOL (UEFI 2.10, 20.2), which gnu-efi does not declare. It copies the table and finds it a place. */
#define ACPI_TABLE_PROTOCOL_GUID { 0xffe06bdd, 0x6107, 0x46a6, { 0x7b, 0xb2, 0x5a, 0x9c, 0x7e, 0xc5, 0x27, 0x5c } }
struct acpi_table_protocol {
    EFI_STATUS (EFIAPI *install)(struct acpi_table_protocol *p, void *table, UINTN size, UINTN *key);
    EFI_STATUS (EFIAPI *uninstall)(struct acpi_table_protocol *p, UINTN key);
};

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

static UINTN find_cpus(EFI_BOOT_SERVICES *bs)
{
    EFI_GUID guid = MP_SERVICES_GUID;
    struct mp_services *mp;
    struct mp_processor info;
    UINTN all = 0, enabled;

    if (bs->LocateProtocol(&guid, NULL, (void **)&mp) != EFI_SUCCESS || mp->get_number(mp, &all, &enabled))
        return 0;
    all = MIN(all, (UINTN)MAX_CPUS);
    for (UINTN i = 0; i < all; i++) {
        if (mp->get_info(mp, i, &info))
            return 0;
        srat.cpu[i] = (struct srat_cpu){ .length = sizeof(srat.cpu[i]), .domain_low = !(info.id & 1),
                                         .id = (uint8_t)info.id, .flags = ENABLED };
    }
    return all;
}

static EFI_STATUS install(struct acpi_table_protocol *p, void *table, UINTN size)
{
    struct acpi_header *h = table;
    UINTN key;

    for (unsigned i = 0; i < sizeof(h->oem_id); i++)
        h->oem_id[i] = "MIRROR"[i];
    h->length = (uint32_t)size;
    return p->install(p, table, size, &key);   /* which fills in the checksum */
}

static EFI_STATUS install_all(EFI_BOOT_SERVICES *bs)
{
    EFI_GUID guid = ACPI_TABLE_PROTOCOL_GUID;
    struct acpi_table_protocol *p;
    UINTN cpus = find_cpus(bs);
    EFI_STATUS s = bs->LocateProtocol(&guid, NULL, (void **)&p);

    if (!cpus)
        return EFI_UNSUPPORTED;
    if (s == EFI_SUCCESS)
        s = install(p, &srat, sizeof(srat) - (MAX_CPUS - cpus) * sizeof(srat.cpu[0]));
    return s == EFI_SUCCESS ? install(p, &slit, sizeof(slit)) : s;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *st)
{
    EFI_STATUS s = install_all(st->BootServices);

    (void)image;
    st->ConOut->OutputString(st->ConOut, s == EFI_SUCCESS ? L"nodes: tables installed\r\n" : L"nodes: failed\r\n");
    return s;
}
