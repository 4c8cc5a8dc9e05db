/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/disks.h"

#include "core/firmware_disk.h"
#include "drivers/native.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"

static struct { struct storage *storage; const char *name; } opened[BOOT_MAX_PLACES];
static unsigned places;
static struct disk *driven[BOOT_MAX_DISKS]; /* by number in boot_info */
static uint16_t released[BOOT_MAX_DISKS];
static unsigned releases;

static bool is_released(uint16_t bdf)
{
    for (unsigned i = 0; i < releases; i++)
        if (released[i] == bdf)
            return true;
    return false;
}

static bool is_named(const struct boot_info *boot, unsigned disk)
{
    for (unsigned i = 0; i < boot->places; i++)
        if (boot->place[i].disk == disk)
            return true;
    return false;
}

/* The disks of a controller that the configuration names are all known to our driver, and are what the firmware saw. */
static bool knows_all(const struct boot_info *boot, uint16_t bdf)
{
    for (unsigned i = 0; i < boot->disks; i++) {
        const struct boot_disk *b = &boot->disk[i];
        const struct disk *d = b->pci && b->bdf == bdf ? native_find(bdf, b->unit) : NULL;

        if (b->pci && b->bdf == bdf && is_named(boot, i) && (!d || d->sectors != b->sectors || d->block != b->block))
            return false;
    }
    return true;
}

/* One controller is either ours or the firmware's. */
static void take_controller(const struct boot_info *boot, uint16_t bdf)
{
    int err;

    if (is_released(bdf) || !native_knows(bdf))
        return;
    err = boot->pci_release(bdf);
    if (err) {
        log_warn("disks on PCI %02x:%02x.%x: the firmware does not let go (%d)", bdf >> 8, bdf >> 3 & 31, bdf & 7, err);
        return;
    }
    err = native_attach(bdf);
    if (!err && !knows_all(boot, bdf)) {
        native_detach(bdf);
        err = -ENODEV;
    }
    if (!err) {
        released[releases++] = bdf;
        return;
    }
    log_warn("disks on PCI %02x:%02x.%x: left to the firmware (%d)", bdf >> 8, bdf >> 3 & 31, bdf & 7, err);
    boot->pci_take_back(bdf);
}

static struct disk *add_native(struct disk *d)
{
    return d && !disk_add(d) ? d : NULL;
}

static void find_driver(const struct boot_info *boot, unsigned n)
{
    const struct boot_disk *b = &boot->disk[n];
    bool native = boot->config->disks == CONFIG_DISKS_AUTO && b->pci && b->unit != UINT32_MAX;

    if (native)
        take_controller(boot, b->bdf);
    if (native && is_released(b->bdf))
        driven[n] = add_native(native_find(b->bdf, b->unit));
    else
        driven[n] = firmware_disk_add(boot, n);
    if (driven[n])
        log_info("disk %u: %s, %lu MiB", n, driven[n]->name, b->sectors / (MIB / STORAGE_SECTOR));
    else
        log_warn("disk %u: cannot be driven", n);
}

static void open_place(const struct boot_info *boot, unsigned n)
{
    const struct boot_place *p = &boot->place[n];
    struct disk *d = driven[p->disk];

    opened[n].name = p->name;
    opened[n].storage = d ? storage_open(d, p->extent, p->extents, !p->writable) : NULL;
    if (!opened[n].storage)
        log_warn("%s: cannot be opened on its disk", p->name);
    else
        log_info("%s: on disk %u, %lu KiB in %u pieces", p->name, p->disk, storage_sectors(opened[n].storage) / 2,
                 p->extents);
}

void disks_open(const struct boot_info *boot)
{
    native_set_low(boot->low.base, boot->low.size);
    releases = 0;
    memset(driven, 0, sizeof(driven));
    places = boot->places;
    for (unsigned i = 0; i < boot->disks; i++)
        if (is_named(boot, i))
            find_driver(boot, i);
    for (unsigned i = 0; i < places; i++)
        open_place(boot, i);
}

void disks_close(const struct boot_info *boot)
{
    native_detach_all();
    for (unsigned i = 0; i < releases; i++)
        boot->pci_take_back(released[i]);
    releases = places = 0;
}

struct storage *disks_storage_at(unsigned n, const char **name)
{
    if (n >= places)
        return NULL;
    *name = opened[n].name;
    return opened[n].storage;
}

struct storage *disks_storage(const struct config_disk *c)
{
    return c->place >= 0 && (unsigned)c->place < places ? opened[c->place].storage : NULL;
}
