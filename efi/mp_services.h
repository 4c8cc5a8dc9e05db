/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <efi.h>

/* EFI_MP_SERVICES_PROTOCOL (PI specification 1.7, volume 2, 13.4), which gnu-efi does not declare. */
#define MP_SERVICES_GUID { 0x3fdda605, 0xa76e, 0x4f46, { 0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08 } }

enum { MP_IS_BSP = 1 << 0, MP_IS_ENABLED = 1 << 1, MP_IS_HEALTHY = 1 << 2 };

struct mp_location {
    UINT32 package, core, thread;
};

struct mp_processor {
    UINT64 id;                 /* of the local APIC */
    UINT32 flags;
    struct mp_location location;
    struct mp_location deeper[2]; /* six levels, written where asked for only */
};

typedef void (EFIAPI *mp_procedure)(void *arg);

struct mp_services {
    EFI_STATUS (EFIAPI *get_number)(struct mp_services *mp, UINTN *all, UINTN *enabled);
    EFI_STATUS (EFIAPI *get_info)(struct mp_services *mp, UINTN number, struct mp_processor *info);
    EFI_STATUS (EFIAPI *startup_all)(struct mp_services *mp, mp_procedure fn, BOOLEAN one_by_one, EFI_EVENT done,
                                     UINTN timeout_us, void *arg, UINTN **failed);
    EFI_STATUS (EFIAPI *startup_one)(struct mp_services *mp, mp_procedure fn, UINTN number, EFI_EVENT done,
                                     UINTN timeout_us, void *arg, BOOLEAN *finished);
    EFI_STATUS (EFIAPI *switch_bsp)(struct mp_services *mp, UINTN number, BOOLEAN enable_old);
    EFI_STATUS (EFIAPI *enable_disable)(struct mp_services *mp, UINTN number, BOOLEAN enable, UINT32 *health);
    EFI_STATUS (EFIAPI *who_am_i)(struct mp_services *mp, UINTN *number);
};
