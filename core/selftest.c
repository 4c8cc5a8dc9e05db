/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/selftest.h"

#include "arch/x86/cpu.h"
#include "core/firmware_disk.h"
#include "drivers/device.h"
#include "drivers/native.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "numa/page.h"

#define SAMPLES        8u
#define SAMPLE_SECTORS 256u    /* 128 KiB */
#define SMALL_SECTORS  8u
#define SMALL_READS    64u
#define BUFFER_ORDER   6u      /* of each request: as much as one takes */
#define AT_ONCE        SAMPLES
#define SCRATCH_MAX    512u    /* sectors */

/* A request of the test's, and its memory. */
struct work {
    struct storage_request r;
    struct hpa buffer;
    bool over;
    int err;
};

/* What a place of the disk held when the firmware read it first. */
struct sample { uint64_t sector; uint32_t sectors; uint64_t sum; };

struct subject {
    const struct boot_info *boot;
    unsigned number;           /* of the disk */
    struct sample sample[SAMPLES];
    unsigned samples;
    uint64_t small, large;     /* ticks by the firmware */
};

static struct work work[AT_ONCE];
static unsigned passed, failed;

static void check(bool good, unsigned disk, const char *who, const char *what)
{
    passed += good;
    failed += !good;
    log_info("selftest: disk %u, %s: %s: %s", disk, who, what, good ? "passed" : "FAILED");
}

static void done(struct storage_request *r, int err)
{
    struct work *w = container_of(r, struct work, r);

    w->over = true;
    w->err = err;
}

static int submit(struct storage *s, struct work *w, enum storage_op op, uint64_t sector, uint32_t sectors)
{
    w->over = false;
    w->r.op = op;
    w->r.sector = sector;
    w->r.sectors = sectors;
    w->r.done = done;
    w->err = storage_submit(s, &w->r);
    w->over = w->err != 0;
    return w->err;
}

static int finish(struct work *w)
{
    while (!w->over)
        storage_poll();
    return w->err;
}

static int transfer(struct storage *s, struct work *w, enum storage_op op, uint64_t sector, uint32_t sectors)
{
    int err = submit(s, w, op, sector, sectors);

    return err ? err : finish(w);
}

static uint64_t sum_of(const struct work *w, uint32_t sectors)
{
    const uint64_t *word = hpa_ptr(w->buffer);
    uint64_t sum = 0;

    for (uint32_t i = 0; i < sectors * (STORAGE_SECTOR / sizeof(*word)); i++)
        sum = sum * 31 + word[i];
    return sum;
}

static int make_work(void)
{
    for (unsigned i = 0; i < AT_ONCE; i++) {
        if (!work[i].buffer.v)
            work[i].buffer = page_alloc(0, BUFFER_ORDER, PAGE_HYPERVISOR);
        if (!work[i].buffer.v)
            return -ENOMEM;
        for (unsigned p = 0; p < STORAGE_MAX_PAGES; p++)
            work[i].r.page[p] = HPA(work[i].buffer.v + p * PAGE_SIZE);
    }
    return 0;
}

/* Places all over the disk, the last one at its end. */
static void choose_samples(struct subject *t)
{
    uint64_t sectors = t->boot->disk[t->number].sectors, per_block = t->boot->disk[t->number].block / STORAGE_SECTOR;
    uint32_t n = (uint32_t)MIN(sectors, (uint64_t)SAMPLE_SECTORS);

    for (t->samples = 0; t->samples < SAMPLES; t->samples++)
        t->sample[t->samples] = (struct sample){
            .sector = ALIGN_DOWN((sectors - n) / (SAMPLES - 1) * t->samples, per_block), .sectors = n };
    t->sample[SAMPLES - 1].sector = sectors - n;
}

static bool read_first(struct subject *t, struct storage *s)
{
    for (unsigned i = 0; i < t->samples; i++) {
        if (transfer(s, &work[0], STORAGE_READ, t->sample[i].sector, t->sample[i].sectors))
            return false;
        t->sample[i].sum = sum_of(&work[0], t->sample[i].sectors);
    }
    return true;
}

/* All at once, so that a disk with a queue has something in it. */
static bool read_same(const struct subject *t, struct storage *s)
{
    bool same = true;

    for (unsigned i = 0; i < t->samples; i++)
        (void)submit(s, &work[i], STORAGE_READ, t->sample[i].sector, t->sample[i].sectors);
    for (unsigned i = 0; i < t->samples; i++)
        same &= !finish(&work[i]) && sum_of(&work[i], t->sample[i].sectors) == t->sample[i].sum;
    return same;
}

/* Ticks of one read: small ones side by side on the disk, and large ones. */
static void measure(const struct subject *t, struct storage *s, uint64_t *small, uint64_t *large)
{
    uint64_t begin = rdtsc(), half = storage_sectors(s) / 2 / SMALL_SECTORS * SMALL_SECTORS;

    for (unsigned i = 0; i < SMALL_READS; i++)
        (void)transfer(s, &work[0], STORAGE_READ, half + i * SMALL_SECTORS, SMALL_SECTORS);
    *small = (rdtsc() - begin) / SMALL_READS;
    begin = rdtsc();
    for (unsigned i = 0; i < t->samples; i++)
        (void)transfer(s, &work[0], STORAGE_READ, t->sample[i].sector, t->sample[i].sectors);
    *large = (rdtsc() - begin) / t->samples;
}

/* A range that ends beyond the disk, or begins in the middle of a block, is refused. */
static bool keeps_bounds(struct storage *s)
{
    uint64_t end = storage_sectors(s);
    uint32_t per_block = storage_block(s) / STORAGE_SECTOR;

    return submit(s, &work[0], STORAGE_READ, end, per_block) == -EINVAL &&
           submit(s, &work[0], STORAGE_READ, end - per_block, 2 * per_block) == -EINVAL &&
           submit(s, &work[0], STORAGE_READ, UINT64_MAX, per_block) == -EINVAL &&
           (per_block == 1 || submit(s, &work[0], STORAGE_READ, 1, per_block) == -EINVAL);
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

static void fill(struct work *w, uint32_t sectors, uint64_t seed)
{
    uint64_t *word = hpa_ptr(w->buffer);

    for (uint32_t i = 0; i < sectors * (STORAGE_SECTOR / sizeof(*word)); i++)
        word[i] = seed = seed * 6364136223846793005ull + 1442695040888963407ull;
}

/* work[1] keeps what the region held, work[2] its new content. */
static void write_scratch(const struct subject *t, struct disk *d, const struct extent *e)
{
    uint32_t n = (uint32_t)MIN(e->sectors, (uint64_t)SCRATCH_MAX);
    struct storage *s = storage_open(d, e, 1, false);
    bool good = s && !transfer(s, &work[1], STORAGE_READ, 0, n);

    fill(&work[2], n, rdtsc());
    good = good && !transfer(s, &work[2], STORAGE_WRITE, 0, n) && !transfer(s, &work[0], STORAGE_FLUSH, 0, 0) &&
           !transfer(s, &work[0], STORAGE_READ, 0, n) && sum_of(&work[0], n) == sum_of(&work[2], n);
    check(good, t->number, d->name, "writes, flushes and reads back");
}

/* Now the firmware reads what was written, and writes what was there before. */
static void restore_scratch(const struct subject *t, struct disk *d, const struct extent *e)
{
    uint32_t n = (uint32_t)MIN(e->sectors, (uint64_t)SCRATCH_MAX);
    struct storage *s = storage_open(d, e, 1, false);

    check(s && !transfer(s, &work[0], STORAGE_READ, 0, n) && sum_of(&work[0], n) == sum_of(&work[2], n), t->number,
          d->name, "reads what our driver has written");
    check(s && !transfer(s, &work[1], STORAGE_WRITE, 0, n) && !transfer(s, &work[0], STORAGE_FLUSH, 0, 0) &&
          !transfer(s, &work[0], STORAGE_READ, 0, n) && sum_of(&work[0], n) == sum_of(&work[1], n), t->number, d->name,
          "puts it back as it was");
}

static const struct extent *scratch_of(const struct subject *t, const struct boot_selftest *test)
{
    return test->scratch.sectors && test->scratch_disk == t->number ? &test->scratch : NULL;
}

/* --- a disk ----------------------------------------------------------------------------------------------------- */

static bool by_firmware(struct subject *t, bool first, const struct extent *scratch)
{
    struct disk *d = firmware_disk_add(t->boot, t->number);
    struct storage *s = d ? storage_open(d, NULL, 0, true) : NULL;
    bool good;

    if (s && scratch) /* first: it may lie where samples do */
        restore_scratch(t, d, scratch);
    good = s && (first ? read_first(t, s) : read_same(t, s));
    check(good, t->number, "firmware", first ? "reads" : "has the disk back, and reads the same");
    if (good && first)
        measure(t, s, &t->small, &t->large);
    devices_stop();
    return good;
}

static void by_driver(struct subject *t, struct disk *d, const struct extent *scratch)
{
    const struct boot_disk *b = &t->boot->disk[t->number];
    struct storage *s = disk_add(d) ? NULL : storage_open(d, NULL, 0, true);
    uint64_t small, large;

    check(s && d->sectors == b->sectors && d->block == b->block, t->number, d->name, "is as large as the firmware says");
    if (!s)
        return;
    check(read_same(t, s), t->number, d->name, "reads the same as the firmware");
    check(keeps_bounds(s), t->number, d->name, "keeps to its bounds");
    check(transfer(s, &work[0], STORAGE_WRITE, 0, 8) == -EROFS, t->number, d->name, "is not written unasked");
    measure(t, s, &small, &large);
    log_info("selftest: disk %u, %s: %u commands at a time; a read of 4 KiB takes %lu ticks, by the firmware %lu; of "
             "128 KiB %lu, %lu", t->number, d->name, d->depth, small, t->small, large, t->large);
    if (scratch)
        write_scratch(t, d, scratch);
    check(!d->counts.errors && !d->counts.resets, t->number, d->name, "has no errors");
}

static void test_native(struct subject *t, const struct extent *scratch)
{
    const struct boot_disk *b = &t->boot->disk[t->number];
    struct disk *d;
    int err = t->boot->pci_release(b->bdf);

    check(!err, t->number, "firmware", "lets its controller go");
    if (err)
        return;
    err = native_attach(b->bdf);
    d = err ? NULL : native_find(b->bdf, b->unit);
    check(d, t->number, "driver", "finds the disk");
    if (d)
        by_driver(t, d, scratch);
    devices_stop();
    native_detach_all();
    t->boot->pci_take_back(b->bdf);
    (void)by_firmware(t, false, d ? scratch : NULL);
}

static void test_disk(struct subject *t, const struct boot_selftest *test)
{
    const struct boot_disk *b = &t->boot->disk[t->number];

    log_info("selftest: disk %u: %lu sectors, blocks of %u%s", t->number, b->sectors, b->block,
             b->readonly ? ", readonly" : "");
    native_set_low(t->boot->low.base, t->boot->low.size);
    choose_samples(t);
    if (!by_firmware(t, true, NULL))
        return;
    if (b->pci && b->unit != UINT32_MAX && native_knows(b->bdf))
        test_native(t, scratch_of(t, test));
    else
        log_info("selftest: disk %u: there is no driver for it, it stays with the firmware", t->number);
}

int selftest_disks(const struct boot_info *boot, const struct boot_selftest *test)
{
    int err = make_work();

    if (err)
        return err;
    for (unsigned i = 0; i < boot->disks; i++) {
        struct subject t = { .boot = boot, .number = i };

        test_disk(&t, test);
    }
    log_info("selftest: %u disks, %u passed, %u failed", boot->disks, passed, failed);
    return failed ? -EIO : 0;
}
