/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "efi/firmware.h"

#include "drivers/disk.h"
#include "drivers/volume.h"
#include "efi/span.h"
#include "lib/errno.h"
#include "lib/string.h"

/*
 * Where on the disks the disks of the configuration lie. Our own code reads partition tables and FAT, with blocks that
 * the firmware reads, so that what is found holds for the firmware and for our drivers.
 */
#define LOW_BYTES   (2 * MIB)
#define LOW_LIMIT   0xffffffffull
#define FIRST_ROOM  64u

static const struct boot_info *machine;

/* The disk that a struct volume is on. */
struct source { unsigned disk; uint8_t data[VOLUME_CHUNK] __attribute__((aligned(VOLUME_CHUNK))); };

static int read_source(void *ctx, uint64_t sector, uint32_t sectors, void *data)
{
    struct source *s = ctx;
    uint32_t block = machine->disk[s->disk].block;
    size_t size = (size_t)sectors * STORAGE_SECTOR;
    int err;

    if (size % block)
        return -EIO;
    err = machine->disk_read(s->disk, sector * STORAGE_SECTOR / block, s->data, size);
    if (!err)
        memcpy(data, s->data, size);
    return err;
}

static struct source source;
static struct volume volume;

static struct volume *volume_of(unsigned disk, const struct extent *e)
{
    source.disk = disk;
    volume = (struct volume){ .read = read_source, .ctx = &source, .first = e->sector, .sectors = e->sectors };
    return &volume;
}

/* Pieces of a file as they are found. */
struct pieces {
    struct extent *extent;
    unsigned used, room;
    uint64_t first;            /* of the volume */
};

static int more_room(struct pieces *p)
{
    unsigned room = p->room ? p->room * 2 : FIRST_ROOM;
    void *at;

    if (room > EXTENTS_MAX)
        return -ENOSPC;
    if (firmware->BootServices->AllocatePool(EfiLoaderData, room * sizeof(struct extent), &at) != EFI_SUCCESS)
        return -ENOMEM;
    if (p->used)
        memcpy(at, p->extent, p->used * sizeof(struct extent));
    if (p->extent)
        firmware->BootServices->FreePool(p->extent);
    p->extent = at;
    p->room = room;
    return 0;
}

static int add_piece(void *ctx, struct extent e)
{
    struct pieces *p = ctx;
    int err = p->used == p->room ? more_room(p) : 0;

    if (!err)
        p->extent[p->used++] = (struct extent){ p->first + e.sector, e.sectors };
    return err;
}

/* A storage has whole blocks. */
static void cut_to_blocks(struct pieces *p, uint32_t block)
{
    uint64_t per_block = block / STORAGE_SECTOR, over = 0;

    for (unsigned i = 0; i < p->used; i++)
        over += p->extent[i].sectors;
    over %= per_block;
    if (p->used && p->extent[p->used - 1].sectors > over)
        p->extent[p->used - 1].sectors -= over;
}

static int place_file(const char *path, struct boot_place *place)
{
    struct pieces p = { .used = 0 };
    struct extent e;
    uint64_t bytes;
    int err = volume_place(machine, &place->disk, &e);

    if (err)
        return err;
    p.first = e.sector;
    err = fat_find(volume_of(place->disk, &e), path, add_piece, &p, &bytes);
    cut_to_blocks(&p, machine->disk[place->disk].block);
    place->extent = p.extent;
    place->extents = p.used;
    return err ? err : p.used ? 0 : -EINVAL;
}

static int place_partition(const char *uuid, struct boot_place *place)
{
    struct pieces p = { .used = 0 };
    int err = -ENOENT;

    for (unsigned i = 0; i < machine->disks && err == -ENOENT; i++) {
        const struct extent all = { 0, machine->disk[i].sectors };
        struct extent e;

        err = partition_find(volume_of(i, &all), machine->disk[i].block, uuid, &e);
        if (err == -EIO)
            err = -ENOENT; /* a disk that cannot be read does not hide the others */
        if (!err)
            err = add_piece(&p, e);
        place->disk = i;
    }
    place->extent = p.extent;
    place->extents = p.used;
    return err;
}

static int place_disk(const char *number, struct boot_place *place)
{
    struct pieces p = { .used = 0 };
    uint64_t n;
    int err;

    if (!parse_number((struct span){ number, strlen(number) }, &n) || n >= machine->disks)
        return -ENOENT;
    place->disk = (unsigned)n;
    err = add_piece(&p, (struct extent){ 0, machine->disk[n].sectors });
    place->extent = p.extent;
    place->extents = p.used;
    return err;
}

static int find_place(const struct config_disk *d, struct boot_place *place)
{
    const char *value = strchr(d->image.path, '=');

    place->name = d->image.path;
    if (d->kind == CONFIG_DISK_PARTITION)
        return place_partition(value + 1, place);
    return d->kind == CONFIG_DISK_WHOLE ? place_disk(value + 1, place) : place_file(d->image.path, place);
}

static int known_place(const struct boot_info *boot, const char *name)
{
    for (unsigned i = 0; i < boot->places; i++)
        if (same_path(boot->place[i].name, name))
            return (int)i;
    return CONFIG_NO_PLACE;
}

static void free_place(struct boot_place *place)
{
    if (place->extent)
        firmware->BootServices->FreePool((void *)place->extent);
    *place = (struct boot_place){ .disk = 0 };
}

/* what: "disk" or "log". A disk that is a file can be loaded instead; it says so, a log cannot. */
static int place_one(struct boot_info *boot, const struct vm_config *vm, struct config_disk *d, const char *what,
                     bool writable)
{
    struct boot_place *place;
    int err;

    d->place = known_place(boot, d->image.path);
    place = &boot->place[d->place == CONFIG_NO_PLACE ? (int)boot->places : d->place];
    err = d->place == CONFIG_NO_PLACE ? find_place(d, place) : 0;
    if (!err) {
        if (d->place == CONFIG_NO_PLACE)
            d->place = (int)boot->places++;
        place->writable |= writable;
        return 0;
    }
    free_place(place);
    if (d->kind == CONFIG_DISK_FILE && what[0] == 'd') {
        say("%s (disk of vm %s): its place on a disk cannot be found, so it stays in memory", d->image.path, vm->name);
        d->memory = true;
        return 0;
    }
    say("%s (%s of vm %s): %s", d->image.path, what, vm->name,
        err == -EINVAL ? "expected a PARTUUID" : "there is no such thing on the disks that the firmware can read");
    return err;
}

/* The image of a disk with a log can be written too: disk commit. */
static int place_disks(struct boot_info *boot, struct vm_config *vm)
{
    int err = 0;

    for (unsigned i = 0; i < vm->disks && !err; i++) {
        struct config_disk *d = &vm->disk[i], *log = &vm->log[i];

        d->place = log->place = CONFIG_NO_PLACE;
        if (!d->memory)
            err = place_one(boot, vm, d, "disk", d->exclusive || d->persist);
        if (!err && d->persist)
            err = place_one(boot, vm, log, "log", true);
    }
    return err;
}

void low_take(struct boot_info *boot)
{
    EFI_PHYSICAL_ADDRESS at = LOW_LIMIT;

    if (firmware->BootServices->AllocatePages(AllocateMaxAddress, EfiLoaderData, LOW_BYTES / PAGE_SIZE, &at) ==
        EFI_SUCCESS)
        boot->low = (struct boot_range){ at, LOW_BYTES };
}

int places_find(struct config *config, struct boot_info *boot)
{
    int err = 0;

    machine = boot;
    boot->places = 0;
    for (unsigned v = 0; v < config->vms && !err; v++)
        err = place_disks(boot, &config->vm[v]);
    if (boot->places)
        low_take(boot);
    return err;
}

void places_free(struct boot_info *boot)
{
    for (unsigned i = 0; i < boot->places; i++)
        free_place(&boot->place[i]);
    boot->places = 0;
    if (boot->low.size)
        firmware->BootServices->FreePages(boot->low.base, boot->low.size / PAGE_SIZE);
    boot->low.size = 0;
}
