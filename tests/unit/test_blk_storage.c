/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "lib/errno.h"
#include "numa/reclaim.h"
#include "tests/unit/machine.h"
#include "tests/unit/random.h"
#include "tests/unit/seam/fake_percpu.h"
#include "tests/unit/storage_fake.h"
#include "vdev/blk.h"
#include "vdev/persist.h"

/* Disks over storages, which take their time: two VMs, each with a disk and one queue. */
#define BLOCKS   600u
#define SECTORS  (BLOCKS * 8 + 4)
#define LOG      2048u         /* blocks */
#define ENTRIES  16u
#define RING     0x10000ul
#define TABLE    0x20000ul     /* a page for each place in the ring */
#define BUFFER   0x200000ul    /* 128 KiB for each place */
#define MEMORY   (8 * MIB)

static uint8_t file[SECTORS * 512];
static uint8_t buffer[128 * 1024];
static struct pmap pmap[2];
static struct blk blk[2];
static struct storage disk, logs[2];
static struct image *image;
static uint32_t submitted[2], seen[2];

static void wait_a_little(void) { storage_poll(); }

static void add_vm(unsigned i, bool exclusive)
{
    struct blk_disk *d;

    assert_int_equal(pmap_init(&pmap[i], (uint16_t)(i + 1), MEMORY, 1), 0);
    blk_init(&blk[i], &pmap[i], 1, "test");
    assert_int_equal(image_claim(image, exclusive), 0);
    d = blk_add(&blk[i], image, "disk");
    d->share = true;
    d->layer.exclusive = exclusive;
    submitted[i] = seen[i] = 0;
    assert_int_equal(blk_set_ring(&blk[i], 0, 0, GPA(RING), ENTRIES), 0);
}

static void add_log(unsigned i)
{
    char why[128] = "";
    int err = persist_open(&blk[i].disk[0].layer, &logs[i], PERSIST_OPEN, wait_a_little, why, sizeof(why));

    if (err)
        printf("%s\n", why);
    assert_int_equal(err, 0);
}

static void remove_vm(unsigned i)
{
    if (!pmap[i].chunks)
        return;
    while (!blk_quiet(&blk[i]))
        storage_poll();
    blk_destroy(&blk[i]);
    pmap_destroy(&pmap[i]);
    pmap[i].chunks = NULL;
}

static int setup(void **state)
{
    static uint64_t base;

    fake_percpu_enter(0);
    if (!base)
        base = machine_memory(96 * MIB, 0);
    fake_shuffle = fake_held = false;
    for (size_t i = 0; i < sizeof(file); i++)
        file[i] = (uint8_t)(i / 512 * 7 + i);
    if (!disk.seen)
        fake_storage(&disk, SECTORS);
    fake_storage_fill(&disk, file, sizeof(file));
    disk.bad_to = disk.reads = disk.writes = disk.flushes = 0;
    disk.readonly = disk.broken = false;
    image = image_on(&disk);
    for (unsigned b = 0; b <= BLOCKS; b++)      /* nothing of earlier tests */
        if (!image_prepare(image, b))
            image_put(image, b, HPA_NONE);
    for (unsigned i = 0; i < 2; i++) {
        if (!logs[i].seen)
            fake_storage(&logs[i], LOG * 8);
        memset(logs[i].seen, 0, LOG * 4096);
        memset(logs[i].stays, 0, LOG * 4096);
        logs[i].broken = false;
        logs[i].bad_to = 0;
        for (unsigned b = 0; b < LOG; b++)
            if (!image_prepare(image_on(&logs[i]), b))
                image_put(image_on(&logs[i]), b, HPA_NONE);
    }
    return base ? 0 : -1;
}

static int teardown(void **state)
{
    fake_held = false;
    remove_vm(0);
    remove_vm(1);
    while (storage_poll())
        ;
    return 0;
}

static void put(unsigned vm, uint64_t gpa, const void *from, size_t n)
{
    assert_int_equal(pmap_write(&pmap[vm], GPA(gpa), from, n), 0);
}

static void get(unsigned vm, uint64_t gpa, void *to, size_t n)
{
    assert_int_equal(pmap_read(&pmap[vm], GPA(gpa), to, n), 0);
}

static uint64_t buffer_of(uint32_t n) { return BUFFER + n % ENTRIES * 128 * 1024; }

/* A request for the buffer of its place; its tag is its number. Returns it. */
static uint32_t submit(unsigned vm, enum mb_blk_op op, uint64_t sector, uint64_t sectors)
{
    uint32_t n = submitted[vm]++;
    struct mb_blk_segment s = { .gpa = buffer_of(n), .bytes = (uint32_t)sectors * 512 };
    struct mb_blk_request r = { .op = (uint8_t)op, .segments = op <= MB_BLK_WRITE, .tag = n, .sector = sector,
                                .sectors = sectors };

    r.table = r.segments ? TABLE + n % ENTRIES * 4096 : 0;
    put(vm, TABLE + n % ENTRIES * 4096, &s, sizeof(s));
    put(vm, RING + 64 + n % ENTRIES * 32, &r, sizeof(r));
    put(vm, RING, &submitted[vm], 4);
    return n;
}

static int64_t run(unsigned vm) { return blk_run(&blk[vm], 0, 0, 0); }

static bool more;

static bool resume(unsigned vm)
{
    more = false;
    return blk_resume(&blk[vm], 0, &more);
}

static uint32_t completed(unsigned vm)
{
    uint32_t n;

    get(vm, RING + 4, &n, 4);
    return n;
}

/* The next result that was not taken. */
static struct mb_blk_result next_result(unsigned vm)
{
    struct mb_blk_result r;

    assert_int_not_equal(completed(vm), seen[vm]);
    get(vm, RING + 64 + ENTRIES * 32 + seen[vm]++ % ENTRIES * 8, &r, sizeof(r));
    return r;
}

/* Until all that was submitted has a result. */
static void finish(unsigned vm)
{
    for (unsigned i = 0; completed(vm) != submitted[vm]; i++) {
        assert_true(i < 10000);
        storage_poll();
        resume(vm);
    }
}

static int move(unsigned vm, enum mb_blk_op op, uint64_t sector, uint64_t sectors)
{
    uint32_t n = submit(vm, op, sector, sectors);
    struct mb_blk_result r;

    assert_true(run(vm) >= 0);
    finish(vm);
    r = next_result(vm);
    assert_int_equal(r.tag, n);
    return r.status;
}

static void reads_as(unsigned vm, uint64_t sector, uint64_t sectors, const void *what)
{
    assert_int_equal(move(vm, MB_BLK_READ, sector, sectors), 0);
    get(vm, buffer_of(submitted[vm] - 1), buffer, sectors * 512);
    assert_memory_equal(buffer, what, sectors * 512);
}

static int writes(unsigned vm, uint64_t sector, uint64_t sectors, int byte)
{
    memset(buffer, byte, sectors * 512);
    put(vm, buffer_of(submitted[vm]), buffer, sectors * 512);
    return move(vm, MB_BLK_WRITE, sector, sectors);
}

/* A block that is not in the cache: the call returns without it, and the result comes with an interrupt. */
static void test_waits(void **state)
{
    uint32_t taken;

    add_vm(0, false);
    fake_held = true;
    submit(0, MB_BLK_READ, 80, 24);
    assert_int_equal(run(0), 0);
    get(0, RING + 8, &taken, 4);
    assert_int_equal(taken, 1);
    assert_int_equal(completed(0), 0);
    assert_int_equal(run(0), 0);
    assert_false(resume(0));
    assert_true(more);
    assert_int_equal(transfer_count(), 1);
    fake_held = false;
    storage_poll();
    assert_true(resume(0));
    assert_false(more);
    assert_int_equal(next_result(0).status, 0);
    get(0, BUFFER, buffer, 24 * 512);
    assert_memory_equal(buffer, file + 80 * 512, 24 * 512);
    assert_int_equal(disk.reads, 1);            /* one for all three blocks */
    assert_int_equal(pmap[0].counts.files, 3);  /* and they were placed */
    submit(0, MB_BLK_READ, 80, 24);             /* now it is there */
    assert_int_equal(run(0), 1);
    assert_int_equal(disk.reads, 1);
    assert_int_equal(transfer_count(), 0);
}

/* What is at hand is not held up by what is not. */
static void test_out_of_order(void **state)
{
    add_vm(0, false);
    reads_as(0, 0, 8, file);
    fake_held = true;
    submit(0, MB_BLK_READ, 400, 8);
    submit(0, MB_BLK_READ, 0, 8);
    assert_int_equal(run(0), 1);
    assert_int_equal(next_result(0).tag, 2);
    fake_held = false;
    storage_poll();
    assert_int_equal(run(0), 1);                /* the guest's own call does as well as the interrupt */
    assert_int_equal(next_result(0).tag, 1);
    assert_false(resume(0));
}

/* Two VMs that want the same block wait for one transfer. */
static void test_one_read_for_two(void **state)
{
    add_vm(0, false);
    add_vm(1, false);
    fake_held = true;
    for (unsigned vm = 0; vm < 2; vm++) {
        submit(vm, MB_BLK_READ, 160, 8);
        assert_int_equal(run(vm), 0);
    }
    fake_held = false;
    storage_poll();
    assert_true(resume(0) && resume(1));
    assert_int_equal(disk.reads, 1);
    assert_int_equal(ept_lookup(&pmap[0].ept[0], GPA(BUFFER)).hpa.v, ept_lookup(&pmap[1].ept[0], GPA(BUFFER)).hpa.v);
}

/* A sector that cannot be read is an error of those that want it, and of no others that were read with it. */
static void test_errors(void **state)
{
    add_vm(0, false);
    disk.bad_from = 88;
    disk.bad_to = 89;
    submit(0, MB_BLK_READ, 80, 64);
    submit(0, MB_BLK_READ, 96, 8);
    submit(0, MB_BLK_READ, 88, 8);
    assert_int_equal(run(0), 0);
    finish(0);
    for (unsigned i = 0; i < 3; i++) {
        struct mb_blk_result r = next_result(0);

        assert_int_equal(r.status, r.tag == 1 ? 0 : -EIO);
    }
    assert_int_equal(image->errors, 1);
    reads_as(0, 104, 40, file + 104 * 512);
    assert_int_equal(move(0, MB_BLK_READ, 88, 1), -EIO);
    disk.bad_to = 0;
    reads_as(0, 88, 1, file + 88 * 512);        /* it is tried again each time */
    assert_int_equal(image->reading, 0);
}

/* Who reads on is read ahead for; who jumps is not. */
static void test_read_ahead(void **state)
{
    uint64_t before;

    add_vm(0, false);
    reads_as(0, 0, 32, file);
    reads_as(0, 32, 32, file + 32 * 512);
    while (storage_poll())
        ;
    assert_true(image->pages >= 16);            /* 8 were asked for */
    before = disk.reads;
    reads_as(0, 64, 32, file + 64 * 512);
    assert_true(disk.reads <= before + 1);
    for (unsigned at = 96; at < 4096; at += 32)
        reads_as(0, at, 32, file + at * 512);
    assert_true(disk.reads < 4096 / 32 / 4);
    while (storage_poll())
        ;
    before = image->pages;
    reads_as(0, 4800, 4, file + 4800 * 512);    /* the end, half a block */
    assert_true(image->pages <= before + 1);
}

static void test_exclusive(void **state)
{
    static uint8_t what[4096];

    add_vm(0, true);
    assert_int_equal(image_claim(image, false), -EBUSY);
    assert_int_equal(image_claim(image, true), -EBUSY);
    assert_int_equal(writes(0, 16, 8, 0x11), 0);
    memset(what, 0x11, sizeof(what));
    assert_memory_equal(disk.seen + 16 * 512, what, 4096);
    assert_memory_equal(disk.stays + 16 * 512, file + 16 * 512, 4096);
    reads_as(0, 16, 8, what);
    assert_int_equal(move(0, MB_BLK_FLUSH, 0, 0), 0);
    assert_memory_equal(disk.stays + 16 * 512, what, 4096);
    assert_int_equal(writes(0, 19, 2, 0x22), 0);            /* a part: the rest stays */
    memset(what + 3 * 512, 0x22, 1024);
    reads_as(0, 16, 8, what);
    assert_memory_equal(disk.seen + 16 * 512, what, 4096);
    assert_int_equal(writes(0, SECTORS - 3, 3, 0x33), 0);   /* up to the end, which is half a block */
    assert_int_equal(disk.seen[(SECTORS - 1) * 512], 0x33);
    assert_int_equal(move(0, MB_BLK_WRITE_ZEROES, 16, 8), 0);
    memset(what, 0, sizeof(what));
    reads_as(0, 16, 8, what);
    assert_memory_equal(disk.seen + 16 * 512, what, 4096);
    assert_int_equal(move(0, MB_BLK_DISCARD, 0, 64), 0);
    remove_vm(0);
    assert_int_equal(image_claim(image, false), 0);
    image_release(image, false);
    disk.readonly = true;
    assert_int_equal(image_claim(image, true), -EROFS);
}

/* Two halves of a block, written at the same time, are both there. */
static void test_halves(void **state)
{
    add_vm(0, true);
    fake_held = true;
    memset(buffer, 0x41, 2048);
    put(0, buffer_of(0), buffer, 2048);
    memset(buffer, 0x42, 2048);
    put(0, buffer_of(1), buffer, 2048);
    submit(0, MB_BLK_WRITE, 800, 4);
    submit(0, MB_BLK_WRITE, 804, 4);
    run(0);
    fake_held = false;
    finish(0);
    assert_int_equal(disk.seen[800 * 512], 0x41);
    assert_int_equal(disk.seen[803 * 512 + 511], 0x41);
    assert_int_equal(disk.seen[804 * 512], 0x42);
    assert_int_equal(disk.seen[807 * 512 + 511], 0x42);
}

static void test_write_errors(void **state)
{
    add_vm(0, true);
    disk.bad_from = 800;
    disk.bad_to = 808;
    assert_int_equal(writes(0, 800, 8, 1), -EIO);
    assert_int_equal(writes(0, 808, 8, 2), 0);
    disk.bad_to = 0;
    reads_as(0, 800, 8, file + 800 * 512);      /* from the disk, not from the cache */
    disk.broken = true;
    assert_int_equal(move(0, MB_BLK_FLUSH, 0, 0), -EIO);
    disk.broken = false;
    assert_int_equal(move(0, MB_BLK_FLUSH, 0, 0), 0);
}

/* A queue whose writes are under way keeps its ring, and a VM waits for them before it goes. */
static void test_teardown(void **state)
{
    add_vm(0, true);
    fake_held = true;
    submit(0, MB_BLK_WRITE, 80, 200);
    submit(0, MB_BLK_READ, 2400, 64);
    assert_int_equal(run(0), 0);
    assert_int_equal(blk_set_ring(&blk[0], 0, 0, GPA(0), 0), -EBUSY);
    assert_false(blk_quiet(&blk[0]));
    fake_held = false;
    while (storage_poll())
        ;
    assert_true(blk_quiet(&blk[0]));
    assert_int_equal(blk_set_ring(&blk[0], 0, 0, GPA(RING), ENTRIES), 0);
    submitted[0] = seen[0] = 0;
    submit(0, MB_BLK_READ, 2400 + 640, 64);     /* nobody will wait for it */
    fake_held = true;
    assert_int_equal(run(0), 0);
    assert_true(blk_quiet(&blk[0]));
    remove_vm(0);
    fake_held = false;
    while (storage_poll())
        ;
    assert_int_equal(transfer_count(), 0);
    assert_int_equal(image->reading, 0);
}

/* More requests than there are transfers, in any order; all are done. */
static void test_many(void **state)
{
    add_vm(0, true);
    fake_shuffle = true;
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < ENTRIES; i++) {
            uint64_t sector = fake_below(SECTORS - 256);

            submit(0, i % 3 ? MB_BLK_READ : MB_BLK_WRITE, sector, 1 + fake_below(255));
        }
        while (completed(0) != submitted[0]) {
            run(0);
            storage_poll();
        }
        while (seen[0] != completed(0))
            assert_int_equal(next_result(0).status, 0);
    }
    assert_int_equal(disk.refused, 0);
}

/* A model, for a mode: what was written is read, at any alignment, whatever order the storage likes. */
static void check_model(unsigned vm, unsigned rounds)
{
    static uint8_t model[SECTORS * 512];

    memcpy(model, file, sizeof(model));
    fake_shuffle = true;
    for (unsigned i = 0; i < rounds; i++) {
        unsigned n = 1 + fake_below(40);
        uint64_t sector = fake_below(SECTORS - n + 1);

        switch (fake_below(6)) {
        case 0:
        case 1:
            assert_int_equal(writes(vm, sector, n, (int)i), 0);
            memset(model + sector * 512, (int)i, n * 512);
            break;
        case 2:
            assert_int_equal(move(vm, MB_BLK_WRITE_ZEROES, sector, n), 0);
            memset(model + sector * 512, 0, n * 512);
            break;
        case 3:
            assert_int_equal(move(vm, MB_BLK_FLUSH, 0, 0), 0);
            break;
        default:
            reads_as(vm, sector, n, model + sector * 512);
        }
    }
    for (unsigned at = 0; at + 200 <= SECTORS; at += 200)
        reads_as(vm, at, 200, model + at * 512);
    fake_shuffle = false;
}

static void test_model_memory(void **state)
{
    add_vm(0, false);
    check_model(0, 3000);
    assert_memory_equal(disk.seen, file, sizeof(file));
}

static void test_model_exclusive(void **state)
{
    add_vm(0, true);
    check_model(0, 3000);
}

static void test_model_persist(void **state)
{
    struct persist_figures f;

    add_vm(0, false);
    add_log(0);
    check_model(0, 3000);
    assert_memory_equal(disk.seen, file, sizeof(file));
    persist_count(blk[0].disk[0].layer.log, &f);
    assert_true(f.commits > 100);
}

/* A log that need not outlive a power cut works the same, and commits only to get room. */
static void test_model_fleeting(void **state)
{
    struct persist_figures f;

    add_vm(0, false);
    add_log(0);
    blk[0].disk[0].layer.fleeting = true;
    check_model(0, 3000);
    assert_memory_equal(disk.seen, file, sizeof(file));
    persist_count(blk[0].disk[0].layer.log, &f);
    assert_in_range(f.commits, 1, 100);
}

/* When no page is left, a block of the cache that nobody has mapped goes for one that is written. */
static void test_write_without_memory(void **state)
{
    static struct hpa taken[32768];
    unsigned n = 0;

    reclaim_set_cache(image_look);
    add_vm(0, false);
    for (uint64_t block = 0; block + 32 <= BLOCKS; block += 32) /* the first ones' places are taken again */
        assert_int_equal(move(0, MB_BLK_READ, block * 8, 256), 0);
    assert_int_equal(move(0, MB_BLK_WRITE, 0, 8), 0);
    while (n < ARRAY_SIZE(taken) && (taken[n] = page_alloc(0, PAGE_ORDER_4K, PAGE_HYPERVISOR)).v)
        n++;
    assert_true(n < ARRAY_SIZE(taken));
    assert_int_equal(move(0, MB_BLK_WRITE, 520 * 8, 8), 0); /* for the map of its blocks as well */
    for (uint64_t block = 1; block < 9; block++)
        assert_int_equal(move(0, MB_BLK_WRITE, block * 8, 8), 0);
    while (n)
        page_free(taken[--n], PAGE_ORDER_4K);
}

/* What the cache holds is bounded, and what is being read is not taken away. */
static void test_cache_limit(void **state)
{
    add_vm(0, false);
    blk[0].disk[0].share = false;
    image_set_limit(64);
    for (unsigned at = 0; at + 128 <= SECTORS; at += 128)
        reads_as(0, at, 128, file + at * 512);
    assert_true(image->pages <= 64 + 2 * STORAGE_MAX_PAGES);
    image_set_limit(UINT64_MAX);
    fake_held = true;
    submit(0, MB_BLK_READ, 8, 8);
    image_let_go(UINT64_MAX);
    assert_int_equal(run(0), 0);
    image_let_go(UINT64_MAX);
    fake_held = false;
    finish(0);
    assert_int_equal(next_result(0).status, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_waits), T(test_out_of_order), T(test_one_read_for_two), T(test_errors), T(test_read_ahead),
        T(test_exclusive), T(test_halves), T(test_write_errors), T(test_teardown), T(test_many),
        T(test_model_memory), T(test_model_exclusive), T(test_model_persist), T(test_model_fleeting),
        T(test_write_without_memory), T(test_cache_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
