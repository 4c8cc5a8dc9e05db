/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include <efi.h>

#include "efi/mp_services.h"

/*
 * Takes the MP services away from the firmware, for a start-up script to run before Mirrorball: the refusal of machines
 * without them can then be tested. They come back with the next reset. EFI_SUCCESS if none are left.
 */
EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *st);

static EFI_STATUS remove_one(EFI_BOOT_SERVICES *bs, EFI_HANDLE handle)
{
    EFI_GUID guid = MP_SERVICES_GUID;
    void *mp;
    EFI_STATUS s = bs->HandleProtocol(handle, &guid, &mp);

    return s == EFI_SUCCESS ? bs->UninstallProtocolInterface(handle, &guid, mp) : s;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *st)
{
    EFI_GUID guid = MP_SERVICES_GUID;
    EFI_BOOT_SERVICES *bs = st->BootServices;
    EFI_HANDLE *handles;
    EFI_STATUS s;
    UINTN n;

    (void)image;
    s = bs->LocateHandleBuffer(ByProtocol, &guid, NULL, &n, &handles);
    if (s == EFI_SUCCESS) {
        for (UINTN i = 0; i < n && s == EFI_SUCCESS; i++)
            s = remove_one(bs, handles[i]);
        bs->FreePool(handles);
    } else if (s == EFI_NOT_FOUND) {
        s = EFI_SUCCESS;
    }
    st->ConOut->OutputString(st->ConOut, s == EFI_SUCCESS ? L"nomp: MP services removed\r\n" : L"nomp: failed\r\n");
    return s;
}
