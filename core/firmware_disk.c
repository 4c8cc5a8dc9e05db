/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/firmware_disk.h"

#include "arch/x86/cpu.h"
#include "core/firmware_visit.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"
#include "numa/page.h"

/* Of a command: the boot processor's guests stand still for as long as the firmware needs for it. */
#define COMMAND_SECTORS 128u
#define BUFFER_ORDER    4u
_Static_assert((PAGE_SIZE << BUFFER_ORDER) == COMMAND_SECTORS * STORAGE_SECTOR, "a command fits");

struct firmware_disk {
    struct disk disk;
    const struct boot_info *boot;
    unsigned number;
    void *buffer;              /* the firmware wants its data in a row */
    int err;
    struct firmware_disk_counts counts;
};

static struct firmware_disk disks[BOOT_MAX_DISKS];
static unsigned disks_used;

/* Between the buffer and where the data is. */
static void copy_data(struct firmware_disk *f, const struct disk_command *c, bool to_buffer)
{
    uint32_t size = c->sectors * STORAGE_SECTOR, n;

    for (uint32_t at = 0; at < size; at += n) {
        uint8_t *buffer = (uint8_t *)f->buffer + at;
        struct hpa data;

        n = disk_piece(c, at, &data);
        if (to_buffer)
            memcpy(buffer, hpa_ptr(data), n);
        else
            memcpy(hpa_ptr(data), buffer, n);
    }
}

/* In the firmware's world. */
static void visit(void *arg)
{
    struct firmware_disk *f = arg;
    const struct disk_command *c = &f->disk.slot[0];
    uint64_t begin = rdtsc(), block = c->sector * STORAGE_SECTOR / f->disk.block;
    size_t size = (size_t)c->sectors * STORAGE_SECTOR;

    if (c->op == STORAGE_FLUSH)
        f->err = f->boot->disk_flush(f->number);
    else if (c->op == STORAGE_READ)
        f->err = f->boot->disk_read(f->number, block, f->buffer, size);
    else
        f->err = f->boot->disk_write(f->number, block, f->buffer, size);
    f->counts.inside += rdtsc() - begin;
}

static void start(struct disk *d, unsigned slot)
{
    (void)d, (void)slot; /* the next poll does it */
}

static void poll(struct disk *d)
{
    struct firmware_disk *f = d->driver;
    const struct disk_command *c = &d->slot[0];
    uint64_t begin = rdtsc(), took;

    if (c->op == STORAGE_WRITE)
        copy_data(f, c, true);
    firmware_visit(f->boot, visit, f);
    if (c->op == STORAGE_READ && !f->err)
        copy_data(f, c, false);
    took = rdtsc() - begin;
    f->counts.visits++;
    f->counts.ticks += took;
    d->rest_until = begin + took + took / 2; /* a third of the time at least is for the guests here */
    disk_done(d, 0, f->err);
    firmware_typed();
}

/* The firmware has its own time-outs, and a command that it does not come back from cannot be ended. */
static int reset(struct disk *d)
{
    (void)d;
    return 0;
}

static void stop(struct disk *d)
{
    (void)d;
    disks_used = 0;
}

static const struct disk_ops ops = { .start = start, .poll = poll, .reset = reset, .stop = stop };

struct disk *firmware_disk_add(const struct boot_info *boot, unsigned number)
{
    const struct boot_disk *b = &boot->disk[number];
    struct firmware_disk *f = disks_used < BOOT_MAX_DISKS ? &disks[disks_used] : NULL;

    if (!f)
        return NULL;
    *f = (struct firmware_disk){ .boot = boot, .number = number };
    f->buffer = hpa_ptr(page_alloc(0, BUFFER_ORDER, PAGE_HYPERVISOR));
    f->disk = (struct disk){ .ops = &ops, .driver = f, .number = number, .sectors = b->sectors, .block = b->block,
                             .readonly = b->readonly, .depth = 1, .max_sectors = COMMAND_SECTORS };
    format(f->disk.name, sizeof(f->disk.name), "firmware %u", number);
    if (!f->buffer || disk_add(&f->disk))
        return NULL;
    disks_used++;
    return &f->disk;
}

bool firmware_disk_count(const struct disk *d, struct firmware_disk_counts *out)
{
    if (d->ops != &ops)
        return false;
    *out = ((const struct firmware_disk *)d->driver)->counts;
    return true;
}
