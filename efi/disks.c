/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "efi/firmware.h"
#include "efi/path.h"

#include "lib/errno.h"
#include "lib/string.h"

#include <efipciio.h>

#define NODE_NVME        0x17  /* messaging device path: NVM Express namespace (UEFI 2.10, 10.3.4.21) */

/* The firmware's side of boot_info.disk. */
struct firmware_disk {
    EFI_BLOCK_IO *io;          /* NULL: its controller is ours now */
    EFI_HANDLE controller;     /* NULL: not on PCI */
    uint16_t bdf;
    struct path path;
};

static struct firmware_disk disks[BOOT_MAX_DISKS];
static unsigned count;

static bool is_disk(const EFI_BLOCK_IO_MEDIA *m)
{
    return m->MediaPresent && !m->LogicalPartition && m->BlockSize >= STORAGE_SECTOR && m->BlockSize <= PAGE_SIZE &&
           !(m->BlockSize & (m->BlockSize - 1)) && m->LastBlock && m->LastBlock < BIT(50) && m->IoAlign <= PAGE_SIZE;
}

/* The number that the node behind the PCI function gives the disk. */
static uint32_t unit_of(const EFI_DEVICE_PATH *node)
{
    if (path_type(node) != MESSAGING_DEVICE_PATH)
        return UINT32_MAX;
    if (node->SubType == MSG_ATAPI_DP) {
        const ATAPI_DEVICE_PATH *ata = (const ATAPI_DEVICE_PATH *)node;

        return ata->Lun ? UINT32_MAX : ata->PrimarySecondary * 2u + ata->SlaveMaster;
    }
    if (node->SubType == MSG_SATA_DP) {
        const SATA_DEVICE_PATH *sata = (const SATA_DEVICE_PATH *)node;

        return sata->Lun || (sata->PortMultiplierPortNumber != 0xffff && sata->PortMultiplierPortNumber & 0x8000) ?
               UINT32_MAX : sata->HBAPortNumber;
    }
    if (node->SubType == NODE_NVME) {
        uint32_t id;

        memcpy(&id, node + 1, sizeof(id));
        return id;
    }
    return UINT32_MAX;
}

static void add_disk(struct boot_info *boot, EFI_HANDLE handle)
{
    EFI_GUID guid = EFI_BLOCK_IO_PROTOCOL_GUID;
    struct firmware_disk *f = &disks[count];
    const EFI_DEVICE_PATH *rest;
    struct boot_disk *d;

    if (firmware->BootServices->HandleProtocol(handle, &guid, (void **)&f->io) != EFI_SUCCESS ||
        !is_disk(f->io->Media) || !path_keep(&f->path, handle))
        return;
    d = &boot->disk[count++];
    *d = (struct boot_disk){ .block = f->io->Media->BlockSize, .readonly = f->io->Media->ReadOnly,
                             .unit = UINT32_MAX };
    d->sectors = (f->io->Media->LastBlock + 1) * (d->block / STORAGE_SECTOR);
    f->controller = path_pci(&f->path, &f->bdf, &rest);
    if (f->controller) {
        d->pci = true;
        d->bdf = f->bdf;
        d->unit = unit_of(rest);
    }
}

static int transfer(unsigned disk, bool write, uint64_t block, void *data, size_t size)
{
    EFI_BLOCK_IO *io = disk < count ? disks[disk].io : NULL;
    EFI_STATUS s;

    if (!io)
        return -EIO;
    if (write)
        s = io->WriteBlocks(io, io->Media->MediaId, block, size, data);
    else
        s = io->ReadBlocks(io, io->Media->MediaId, block, size, data);
    return s == EFI_SUCCESS ? 0 : -EIO;
}

static int disk_read(unsigned disk, uint64_t block, void *data, size_t size)
{
    return transfer(disk, false, block, data, size);
}

static int disk_write(unsigned disk, uint64_t block, const void *data, size_t size)
{
    return transfer(disk, true, block, (void *)data, size);
}

static int disk_flush(unsigned disk)
{
    EFI_BLOCK_IO *io = disk < count ? disks[disk].io : NULL;

    return io && io->FlushBlocks(io) == EFI_SUCCESS ? 0 : -EIO;
}

static unsigned read_keys(uint8_t *to, unsigned max)
{
    SIMPLE_INPUT_INTERFACE *in = firmware->ConIn;
    EFI_INPUT_KEY k;
    unsigned n = 0;

    while (n < max && in && in->ReadKeyStroke(in, &k) == EFI_SUCCESS)
        if (k.UnicodeChar && k.UnicodeChar <= 0x7f)
            to[n++] = (uint8_t)k.UnicodeChar;
    return n;
}

static EFI_HANDLE controller_at(uint16_t bdf)
{
    for (unsigned i = 0; i < count; i++)
        if (disks[i].controller && disks[i].bdf == bdf)
            return disks[i].controller;
    return NULL;
}

static void find_again(uint16_t bdf)
{
    EFI_GUID guid = EFI_BLOCK_IO_PROTOCOL_GUID;

    for (unsigned i = 0; i < count; i++)
        if (disks[i].controller && disks[i].bdf == bdf)
            disks[i].io = path_find(&disks[i].path, &guid);
}

static void pci_take_back(uint16_t bdf)
{
    EFI_HANDLE handle = controller_at(bdf);

    if (!handle) {
        pci_reconnect(bdf);
        return;
    }
    firmware->BootServices->ConnectController(handle, NULL, NULL, TRUE);
    find_again(bdf);
}

static int pci_release(uint16_t bdf)
{
    EFI_HANDLE handle = controller_at(bdf);

    if (!handle)
        return pci_disconnect(bdf);
    if (firmware->BootServices->DisconnectController(handle, NULL, NULL) != EFI_SUCCESS) {
        pci_take_back(bdf); /* it may have gone half of the way */
        return -EBUSY;
    }
    for (unsigned i = 0; i < count; i++)
        if (disks[i].controller == handle)
            disks[i].io = NULL;
    return 0;
}

void disks_find(struct boot_info *boot)
{
    EFI_GUID guid = EFI_BLOCK_IO_PROTOCOL_GUID;
    EFI_HANDLE *handles;
    UINTN n;

    count = 0;
    boot->disk_read = disk_read;
    boot->disk_write = disk_write;
    boot->disk_flush = disk_flush;
    boot->read_keys = read_keys;
    boot->pci_release = pci_release;
    boot->pci_take_back = pci_take_back;
    if (firmware->BootServices->LocateHandleBuffer(ByProtocol, &guid, NULL, &n, &handles) == EFI_SUCCESS) {
        for (UINTN i = 0; i < n && count < BOOT_MAX_DISKS; i++)
            add_disk(boot, handles[i]);
        firmware->BootServices->FreePool(handles);
    }
    boot->disks = count;
}

/* The path of a partition is that of its disk and a node more. */
static const HARDDRIVE_DEVICE_PATH *partition_on(const struct firmware_disk *f, const EFI_DEVICE_PATH *path)
{
    const EFI_DEVICE_PATH *node;

    if (path_size(path) < f->path.size || memcmp(path, f->path.bytes, f->path.size))
        return NULL;
    node = (const EFI_DEVICE_PATH *)((const uint8_t *)path + f->path.size);
    return path_type(node) == MEDIA_DEVICE_PATH && node->SubType == MEDIA_HARDDRIVE_DP && path_ends(path_next(node)) ?
           (const HARDDRIVE_DEVICE_PATH *)node : NULL;
}

static bool same_disk(const struct firmware_disk *f, const EFI_DEVICE_PATH *path)
{
    return path_size(path) == f->path.size && !memcmp(path, f->path.bytes, f->path.size);
}

int volume_place(const struct boot_info *boot, unsigned *disk, struct extent *e)
{
    EFI_GUID image_guid = EFI_LOADED_IMAGE_PROTOCOL_GUID, path_guid = EFI_DEVICE_PATH_PROTOCOL_GUID;
    EFI_BOOT_SERVICES *bs = firmware->BootServices;
    EFI_LOADED_IMAGE *loaded;
    EFI_DEVICE_PATH *path;

    if (bs->HandleProtocol(image, &image_guid, (void **)&loaded) != EFI_SUCCESS ||
        bs->HandleProtocol(loaded->DeviceHandle, &path_guid, (void **)&path) != EFI_SUCCESS)
        return -ENOENT;
    for (*disk = 0; *disk < count; ++*disk) {
        const HARDDRIVE_DEVICE_PATH *part = partition_on(&disks[*disk], path);
        uint64_t per_block = boot->disk[*disk].block / STORAGE_SECTOR, sectors = boot->disk[*disk].sectors;

        *e = (struct extent){ 0, sectors };
        if (part)
            *e = (struct extent){ part->PartitionStart * per_block, part->PartitionSize * per_block };
        if ((part || same_disk(&disks[*disk], path)) && e->sector < sectors && e->sectors <= sectors - e->sector)
            return 0;
    }
    return -ENOENT;
}
