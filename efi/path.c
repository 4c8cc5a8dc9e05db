/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "efi/path.h"

#include "efi/firmware.h"
#include "lib/string.h"

#include <efipciio.h>

static size_t node_size(const EFI_DEVICE_PATH *node)
{
    return node->Length[0] | (size_t)node->Length[1] << 8;
}

const EFI_DEVICE_PATH *path_next(const EFI_DEVICE_PATH *node)
{
    return (const EFI_DEVICE_PATH *)((const uint8_t *)node + node_size(node));
}

size_t path_size(const EFI_DEVICE_PATH *path)
{
    const EFI_DEVICE_PATH *node = path;

    while (!path_ends(node) && node_size(node) >= sizeof(*node))
        node = path_next(node);
    return (size_t)((const uint8_t *)node - (const uint8_t *)path);
}

bool path_keep(struct path *p, EFI_HANDLE handle)
{
    EFI_GUID guid = EFI_DEVICE_PATH_PROTOCOL_GUID;
    EFI_DEVICE_PATH *path;

    if (firmware->BootServices->HandleProtocol(handle, &guid, (void **)&path) != EFI_SUCCESS)
        return false;
    p->size = path_size(path);
    if (p->size + sizeof(*path) > sizeof(p->bytes))
        return false;
    memcpy(p->bytes, path, p->size);
    memcpy(p->bytes + p->size, (const uint8_t[]){ 0x7f, 0xff, sizeof(*path), 0 }, sizeof(*path));
    return true;
}

EFI_HANDLE path_handle(const struct path *p, EFI_GUID *protocol)
{
    EFI_DEVICE_PATH *rest = (EFI_DEVICE_PATH *)p->bytes;
    EFI_HANDLE handle;

    if (firmware->BootServices->LocateDevicePath(protocol, &rest, &handle) != EFI_SUCCESS || !path_ends(rest))
        return NULL;
    return handle;
}

void *path_find(const struct path *p, EFI_GUID *protocol)
{
    EFI_HANDLE handle = path_handle(p, protocol);
    void *found;

    if (!handle || firmware->BootServices->HandleProtocol(handle, protocol, &found) != EFI_SUCCESS)
        return NULL;
    return found;
}

EFI_HANDLE path_pci(const struct path *p, uint16_t *bdf, const EFI_DEVICE_PATH **rest)
{
    EFI_GUID guid = EFI_PCI_IO_PROTOCOL_GUID;
    EFI_DEVICE_PATH *behind = (EFI_DEVICE_PATH *)p->bytes;
    UINTN segment, bus, device, function;
    EFI_PCI_IO_PROTOCOL *pci;
    EFI_HANDLE handle;

    if (firmware->BootServices->LocateDevicePath(&guid, &behind, &handle) != EFI_SUCCESS ||
        firmware->BootServices->HandleProtocol(handle, &guid, (void **)&pci) != EFI_SUCCESS ||
        pci->GetLocation(pci, &segment, &bus, &device, &function) != EFI_SUCCESS || segment)
        return NULL;
    *bdf = (uint16_t)(bus << 8 | device << 3 | function);
    *rest = behind;
    return handle;
}
