/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include <efi.h>

#include "arch/x86/cpu.h"
#include "efi/mp_services.h"

/*
 * Locks VT-x off on every processor as some firmware does, for a start-up script to run before Mirrorball: the refusal
 * can then be tested. Only a reset undoes it. Fails where there is no VT-x or it is locked already.
 */
EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *st);

static bool has_vmx(void)
{
    uint32_t a, b, c, d;

    cpuid(1, 0, &a, &b, &c, &d);
    return c & BIT(5);
}

static void EFIAPI lock_off(void *arg)
{
    (void)arg;
    if (!(rdmsr(MSR_FEATURE_CONTROL) & FEATURE_CONTROL_LOCK))
        wrmsr(MSR_FEATURE_CONTROL, FEATURE_CONTROL_LOCK);
}

static EFI_STATUS lock_all(EFI_BOOT_SERVICES *bs)
{
    EFI_GUID guid = MP_SERVICES_GUID;
    struct mp_services *mp;
    EFI_STATUS s;

    if (!has_vmx())
        return EFI_UNSUPPORTED;
    lock_off(NULL);
    if (rdmsr(MSR_FEATURE_CONTROL) & FEATURE_CONTROL_VMX)
        return EFI_ACCESS_DENIED;
    if (bs->LocateProtocol(&guid, NULL, (void **)&mp) != EFI_SUCCESS)
        return EFI_SUCCESS;
    s = mp->startup_all(mp, lock_off, FALSE, NULL, 0, NULL, NULL);
    return s == EFI_NOT_STARTED ? EFI_SUCCESS : s; /* one processor */
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *st)
{
    EFI_STATUS s = lock_all(st->BootServices);

    (void)image;
    st->ConOut->OutputString(st->ConOut, s == EFI_SUCCESS ? L"lockvmx: VT-x locked off\r\n" : L"lockvmx: failed\r\n");
    return s;
}
