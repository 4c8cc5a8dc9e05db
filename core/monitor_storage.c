/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/cpu.h"
#include "core/disks.h"
#include "core/firmware_disk.h"
#include "core/monitor_parts.h"
#include "drivers/disk.h"
#include "lib/log.h"
#include "lib/string.h"
#include "numa/page.h"

/* What the machine's disks are read with to see what that costs; guests go on meanwhile. One at a time. */
#define READ_MAX_KIB 256u
#define BUFFER_ORDER 6u

static struct reading {
    struct storage *storage;
    unsigned number, kib, left, total;
    uint64_t begin, sector;
    uint64_t work;             /* of the driver before */
    uint64_t sum;              /* over all 64-bit words in their order: sum = sum * 31 + word */
    uint64_t sum_ticks, last_ticks; /* that summing up took, in all and last */
    struct hpa buffer;
    struct storage_request request;
    bool busy;
} reading;

static void print_firmware(const struct disk *d)
{
    struct firmware_disk_counts c;

    if (!firmware_disk_count(d, &c) || !c.visits)
        return;
    monitor_print("  visits to the firmware %lu, %lu ticks each, of which %lu in its driver\n", c.visits,
                  c.ticks / c.visits, c.inside / c.visits);
}

static void print_disks(void)
{
    const char *name;

    for (unsigned i = 0; i < disk_count(); i++) {
        const struct disk *d = disk_at(i);

        monitor_print("disk %s: %lu sectors, blocks of %u; commands %lu, errors %lu, time-outs %lu, resets %lu\n",
                      d->name, d->sectors, d->block, d->counts.commands, d->counts.errors, d->counts.timeouts,
                      d->counts.resets);
        print_firmware(d);
    }
    for (unsigned i = 0; i < BOOT_MAX_PLACES; i++) {
        const struct storage *s = disks_storage_at(i, &name);

        if (s)
            monitor_print("storage %u: %s, %lu sectors on disk %s\n", i, name, storage_sectors(s),
                          storage_disk(s)->name);
    }
}

static void add_up(uint32_t sectors)
{
    uint64_t begin = rdtsc();
    const uint64_t *word = hpa_ptr(reading.buffer);

    for (uint32_t i = 0; i < sectors * (STORAGE_SECTOR / sizeof(*word)); i++)
        reading.sum = reading.sum * 31 + word[i];
    reading.last_ticks = rdtsc() - begin;
    reading.sum_ticks += reading.last_ticks;
}

static void tell_end(int err)
{
    const struct disk *d = storage_disk(reading.storage);
    uint64_t n = reading.total - reading.left, ticks = rdtsc() - reading.begin - reading.sum_ticks;
    /* The driver is not through with the last one, and has not counted it. */
    uint64_t work = d->counts.work - reading.work - (reading.sum_ticks - reading.last_ticks);

    reading.busy = false;
    page_free(reading.buffer, BUFFER_ORDER);
    if (err)
        log_info("storage %u: read fails at sector %lu (%d)", reading.number, reading.sector, err);
    else
        log_info("storage %u: %lu reads of %u KiB, %lu ticks each, of which the processor works %lu; sum %016lx",
                 reading.number, n, reading.kib, ticks / MAX(n, 1ul), work / MAX(n - 1, 1ul), reading.sum);
}

static void read_next(void);

static void read_done(struct storage_request *r, int err)
{
    if (!err) {
        add_up(r->sectors);
        reading.sector += r->sectors;
        reading.left--;
    }
    if (err || !reading.left || reading.sector >= storage_sectors(reading.storage))
        tell_end(err);
    else
        read_next();
}

static void read_next(void)
{
    struct storage_request *r = &reading.request;
    uint64_t left = storage_sectors(reading.storage) - reading.sector;
    int err;

    r->op = STORAGE_READ;
    r->sector = reading.sector;
    r->sectors = (uint32_t)MIN(left, (uint64_t)reading.kib * (KIB / STORAGE_SECTOR));
    r->done = read_done;
    err = storage_submit(reading.storage, r);
    if (err)
        tell_end(err);
}

static void begin_reading(struct storage *s, unsigned number, unsigned kib, unsigned count)
{
    reading = (struct reading){ .storage = s, .number = number, .kib = kib, .left = count, .total = count };
    reading.buffer = page_alloc(0, BUFFER_ORDER, PAGE_HYPERVISOR);
    if (!reading.buffer.v) {
        monitor_print("no memory\n");
        return;
    }
    for (unsigned i = 0; i < STORAGE_MAX_PAGES; i++)
        reading.request.page[i] = HPA(reading.buffer.v + i * PAGE_SIZE);
    reading.busy = true;
    reading.work = storage_disk(s)->counts.work;
    reading.begin = rdtsc();
    read_next();
}

void monitor_storage(int argc, char **argv)
{
    unsigned number = argc > 2 ? monitor_number(argv[2], BOOT_MAX_PLACES) : BOOT_MAX_PLACES;
    unsigned kib = argc > 3 ? monitor_number(argv[3], READ_MAX_KIB + 1) : 128;
    unsigned count = argc > 4 ? monitor_number(argv[4], 1000000) : 1000000;
    const char *name;
    struct storage *s = disks_storage_at(number, &name);

    if (argc == 1)
        print_disks();
    else if (argc > 5 || strcmp(argv[1], "read") || !s || !kib || kib % 4 || kib > READ_MAX_KIB || !count)
        monitor_print("usage: storage, or storage read NUMBER [KIB [COUNT]], KIB a multiple of 4 up to %u\n",
                      READ_MAX_KIB);
    else if (reading.busy)
        monitor_print("another one is being read\n");
    else
        begin_reading(s, number, kib, count);
}
