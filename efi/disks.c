/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "efi/firmware.h"

#include "lib/errno.h"
#include "lib/string.h"

#include <efipciio.h>

#define NODE_NVME        0x17  /* messaging device path: NVM Express namespace (UEFI 2.10, 10.3.4.21) */
#define NODE_TYPE        0x7f
#define NODE_END         0x7f
#define PATH_MAX_BYTES   512u

/* The firmware's side of boot_info.disk. */
struct firmware_disk {
    EFI_BLOCK_IO *io;          /* NULL: its controller is ours now */
    EFI_HANDLE controller;     /* NULL: not on PCI */
    uint16_t bdf;
    size_t path_size;
    uint8_t path[PATH_MAX_BYTES] __attribute__((aligned(8)));
};

static struct firmware_disk disks[BOOT_MAX_DISKS];
static unsigned count;

static size_t node_size(const EFI_DEVICE_PATH *node)
{
    return node->Length[0] | (size_t)node->Length[1] << 8;
}

static bool is_end(const EFI_DEVICE_PATH *node)
{
    return (node->Type & NODE_TYPE) == NODE_END;
}

static const EFI_DEVICE_PATH *next_node(const EFI_DEVICE_PATH *node)
{
    return (const EFI_DEVICE_PATH *)((const uint8_t *)node + node_size(node));
}

/* Bytes of a path without its end. */
static size_t path_size(const EFI_DEVICE_PATH *path)
{
    const EFI_DEVICE_PATH *node = path;

    while (!is_end(node) && node_size(node) >= sizeof(*node))
        node = next_node(node);
    return (size_t)((const uint8_t *)node - (const uint8_t *)path);
}

static bool is_disk(const EFI_BLOCK_IO_MEDIA *m)
{
    return m->MediaPresent && !m->LogicalPartition && m->BlockSize >= STORAGE_SECTOR && m->BlockSize <= PAGE_SIZE &&
           !(m->BlockSize & (m->BlockSize - 1)) && m->LastBlock && m->LastBlock < BIT(50) && m->IoAlign <= PAGE_SIZE;
}

/* The number that the node behind the PCI function gives the disk. */
static uint32_t unit_of(const EFI_DEVICE_PATH *node)
{
    if ((node->Type & NODE_TYPE) != MESSAGING_DEVICE_PATH)
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

/* Which PCI function it hangs on. */
static void find_controller(struct firmware_disk *f, struct boot_disk *d)
{
    EFI_GUID guid = EFI_PCI_IO_PROTOCOL_GUID;
    EFI_DEVICE_PATH *rest = (EFI_DEVICE_PATH *)f->path;
    EFI_PCI_IO_PROTOCOL *pci;
    UINTN segment, bus, device, function;

    f->controller = NULL;
    if (firmware->BootServices->LocateDevicePath(&guid, &rest, &f->controller) != EFI_SUCCESS ||
        firmware->BootServices->HandleProtocol(f->controller, &guid, (void **)&pci) != EFI_SUCCESS ||
        pci->GetLocation(pci, &segment, &bus, &device, &function) != EFI_SUCCESS || segment) {
        f->controller = NULL;
        return;
    }
    f->bdf = (uint16_t)(bus << 8 | device << 3 | function);
    d->pci = true;
    d->bdf = f->bdf;
    d->unit = unit_of(rest);
}

static void add_disk(struct boot_info *boot, EFI_HANDLE handle)
{
    EFI_GUID io_guid = EFI_BLOCK_IO_PROTOCOL_GUID, path_guid = EFI_DEVICE_PATH_PROTOCOL_GUID;
    EFI_BOOT_SERVICES *bs = firmware->BootServices;
    struct firmware_disk *f = &disks[count];
    EFI_DEVICE_PATH *path;
    struct boot_disk *d;

    if (bs->HandleProtocol(handle, &io_guid, (void **)&f->io) != EFI_SUCCESS || !is_disk(f->io->Media) ||
        bs->HandleProtocol(handle, &path_guid, (void **)&path) != EFI_SUCCESS)
        return;
    f->path_size = path_size(path);
    if (f->path_size + sizeof(*path) > sizeof(f->path))
        return;
    memcpy(f->path, path, f->path_size);
    memcpy(f->path + f->path_size, (const uint8_t[]){ NODE_END, 0xff, sizeof(*path), 0 }, sizeof(*path));
    d = &boot->disk[count++];
    *d = (struct boot_disk){ .block = f->io->Media->BlockSize, .readonly = f->io->Media->ReadOnly,
                             .unit = UINT32_MAX };
    d->sectors = (f->io->Media->LastBlock + 1) * (d->block / STORAGE_SECTOR);
    find_controller(f, d);
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

/* What the firmware has for a path now. */
static EFI_BLOCK_IO *block_io_of(struct firmware_disk *f)
{
    EFI_GUID guid = EFI_BLOCK_IO_PROTOCOL_GUID;
    EFI_DEVICE_PATH *rest = (EFI_DEVICE_PATH *)f->path;
    EFI_BLOCK_IO *io;
    EFI_HANDLE handle;

    if (firmware->BootServices->LocateDevicePath(&guid, &rest, &handle) != EFI_SUCCESS || !is_end(rest) ||
        firmware->BootServices->HandleProtocol(handle, &guid, (void **)&io) != EFI_SUCCESS)
        return NULL;
    return io;
}

static void find_again(uint16_t bdf)
{
    for (unsigned i = 0; i < count; i++)
        if (disks[i].controller && disks[i].bdf == bdf)
            disks[i].io = block_io_of(&disks[i]);
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

    if (path_size(path) < f->path_size || memcmp(path, f->path, f->path_size))
        return NULL;
    node = (const EFI_DEVICE_PATH *)((const uint8_t *)path + f->path_size);
    return (node->Type & NODE_TYPE) == MEDIA_DEVICE_PATH && node->SubType == MEDIA_HARDDRIVE_DP &&
           is_end(next_node(node)) ? (const HARDDRIVE_DEVICE_PATH *)node : NULL;
}

static bool same_disk(const struct firmware_disk *f, const EFI_DEVICE_PATH *path)
{
    return path_size(path) == f->path_size && !memcmp(path, f->path, f->path_size);
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
