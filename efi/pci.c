/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "efi/firmware.h"

#include "lib/errno.h"

#include <efipciio.h>

#define BASE_CLASS 0x0b /* in configuration space */

static bool is_at(EFI_HANDLE handle, uint16_t bdf)
{
    EFI_GUID guid = EFI_PCI_IO_PROTOCOL_GUID;
    UINTN segment, bus, device, function;
    EFI_PCI_IO_PROTOCOL *pci;

    return firmware->BootServices->HandleProtocol(handle, &guid, (void **)&pci) == EFI_SUCCESS &&
           pci->GetLocation(pci, &segment, &bus, &device, &function) == EFI_SUCCESS && !segment &&
           (bus << 8 | device << 3 | function) == bdf;
}

/* What the firmware knows a function by, NULL: it does not. */
static EFI_HANDLE handle_of(uint16_t bdf)
{
    EFI_GUID guid = EFI_PCI_IO_PROTOCOL_GUID;
    EFI_HANDLE *handles, found = NULL;
    UINTN n;

    if (firmware->BootServices->LocateHandleBuffer(ByProtocol, &guid, NULL, &n, &handles) != EFI_SUCCESS)
        return NULL;
    for (UINTN i = 0; i < n && !found; i++)
        if (is_at(handles[i], bdf))
            found = handles[i];
    firmware->BootServices->FreePool(handles);
    return found;
}

/* Does a driver use it? */
static bool is_driven(EFI_HANDLE handle)
{
    EFI_GUID guid = EFI_PCI_IO_PROTOCOL_GUID;
    EFI_OPEN_PROTOCOL_INFORMATION_ENTRY *users;
    bool driven = false;
    UINTN n;

    if (firmware->BootServices->OpenProtocolInformation(handle, &guid, &users, &n) != EFI_SUCCESS)
        return false;
    for (UINTN i = 0; i < n; i++)
        driven |= (users[i].Attributes & EFI_OPEN_PROTOCOL_BY_DRIVER) != 0;
    firmware->BootServices->FreePool(users);
    return driven;
}

void pci_connect_class(uint8_t class)
{
    EFI_GUID guid = EFI_PCI_IO_PROTOCOL_GUID;
    EFI_PCI_IO_PROTOCOL *pci;
    EFI_HANDLE *handles;
    uint8_t found;
    UINTN n;

    if (firmware->BootServices->LocateHandleBuffer(ByProtocol, &guid, NULL, &n, &handles) != EFI_SUCCESS)
        return;
    for (UINTN i = 0; i < n; i++)
        if (firmware->BootServices->HandleProtocol(handles[i], &guid, (void **)&pci) == EFI_SUCCESS &&
            pci->Pci.Read(pci, EfiPciIoWidthUint8, BASE_CLASS, 1, &found) == EFI_SUCCESS && found == class)
            firmware->BootServices->ConnectController(handles[i], NULL, NULL, TRUE);
    firmware->BootServices->FreePool(handles);
}

void pci_reconnect(uint16_t bdf)
{
    EFI_HANDLE handle = handle_of(bdf);

    if (handle)
        firmware->BootServices->ConnectController(handle, NULL, NULL, TRUE);
}

int pci_disconnect(uint16_t bdf)
{
    EFI_HANDLE handle = handle_of(bdf);
    EFI_STATUS s;

    if (!handle || !is_driven(handle))
        return -ENODEV;
    /* What counts is what it did: iPXE's driver goes, and yet the status is EFI_NOT_FOUND. */
    s = firmware->BootServices->DisconnectController(handle, NULL, NULL);
    if (!is_driven(handle))
        return 0;
    say("PCI function %02x:%02x.%x: the firmware's driver does not let go: %s", bdf >> 8, bdf >> 3 & 31, bdf & 7,
        status_name(s));
    pci_reconnect(bdf); /* it may have gone half of the way */
    return -EBUSY;
}
