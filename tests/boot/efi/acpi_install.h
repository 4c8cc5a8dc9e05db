/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <efi.h>

#include "efi/mp_services.h"
#include "lib/types.h"
#include "vdev/acpi_tables.h"

/* For programs that give a machine whose firmware has no ACPI tables (OVMF on Bochs) some. */

/* EFI_ACPI_TABLE_PROTOCOL (UEFI 2.10, 20.2), which gnu-efi does not declare. It copies the table and finds it a place. */
#define ACPI_TABLE_PROTOCOL_GUID { 0xffe06bdd, 0x6107, 0x46a6, { 0x7b, 0xb2, 0x5a, 0x9c, 0x7e, 0xc5, 0x27, 0x5c } }
struct acpi_table_protocol {
    EFI_STATUS (EFIAPI *install)(struct acpi_table_protocol *p, void *table, UINTN size, UINTN *key);
    EFI_STATUS (EFIAPI *uninstall)(struct acpi_table_protocol *p, UINTN key);
};

static inline EFI_STATUS acpi_find(EFI_BOOT_SERVICES *bs, struct acpi_table_protocol **p)
{
    EFI_GUID guid = ACPI_TABLE_PROTOCOL_GUID;

    return bs->LocateProtocol(&guid, NULL, (void **)p);
}

/* The protocol fills in the checksum, and where the DSDT is. */
static inline EFI_STATUS acpi_install(struct acpi_table_protocol *p, void *table, UINTN size)
{
    struct acpi_header *h = table;
    UINTN key;

    for (unsigned i = 0; i < sizeof(h->oem_id); i++)
        h->oem_id[i] = "MIRROR"[i];
    h->length = (uint32_t)size;
    return p->install(p, table, size, &key);
}

/* Calls each(index, processor) for the first `most` of them; how many, 0: the firmware cannot tell. */
static inline UINTN acpi_each_cpu(EFI_BOOT_SERVICES *bs, UINTN most,
                                  void (*each)(UINTN index, const struct mp_processor *info))
{
    EFI_GUID guid = MP_SERVICES_GUID;
    struct mp_services *mp;
    struct mp_processor info;
    UINTN all = 0, enabled;

    if (bs->LocateProtocol(&guid, NULL, (void **)&mp) != EFI_SUCCESS || mp->get_number(mp, &all, &enabled))
        return 0;
    all = MIN(all, most);
    for (UINTN i = 0; i < all; i++) {
        if (mp->get_info(mp, i, &info))
            return 0;
        each(i, &info);
    }
    return all;
}
