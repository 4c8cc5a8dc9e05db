/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

/* Storages, requests and commands over a disk that does what the test says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "arch/x86/apic.h"
#include "drivers/device.h"
#include "drivers/disk.h"
#include "lib/errno.h"
#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_apic.h"
#include "tests/unit/seam/fake_cpu.h"

#define SECTORS 100000u

/* What was started, in order, and what the driver answers. */
static struct started { unsigned slot; enum storage_op op; uint64_t sector; uint32_t sectors, offset; uint64_t page; } log_of[64];
static unsigned starts, resets;
static int reset_result;
static bool lose;
static struct disk disk;
static int ended[64];
static unsigned ends;
static uint32_t answer;        /* slots that are over at the next poll */
static int answer_error;

static void start(struct disk *d, unsigned slot)
{
    const struct disk_command *c = &d->slot[slot];

    log_of[starts++] = (struct started){ slot, c->op, c->sector, c->sectors, c->offset, c->page ? c->page->v : 0 };
}

static void poll(struct disk *d)
{
    uint32_t over = answer;

    answer = 0;
    if (lose) {
        lose = false;
        disk_lost(d);
        return;
    }
    for (unsigned i = 0; i < d->depth; i++)
        if (over >> i & 1)
            disk_done(d, i, answer_error);
    answer_error = 0;
}

static int reset(struct disk *d)
{
    (void)d;
    resets++;
    return reset_result;
}

static const struct disk_ops ops = { .start = start, .poll = poll, .reset = reset };

static void done(struct storage_request *r, int err)
{
    (void)r;
    ended[ends++] = err;
}

static int set_up(void **state)
{
    (void)state;
    devices_stop();
    fake_cpu_reset();
    fake_apic.khz = 50000;
    starts = resets = ends = 0;
    reset_result = 0;
    lose = false;
    answer = 0;
    answer_error = 0;
    disk = (struct disk){ .name = "fake", .ops = &ops, .sectors = SECTORS, .block = 512, .depth = 4, .max_sectors = 128 };
    assert_int_equal(disk_add(&disk), 0);
    return 0;
}

static struct storage_request request(enum storage_op op, uint64_t sector, uint32_t sectors)
{
    struct storage_request r = { .op = op, .sector = sector, .sectors = sectors, .done = done };

    for (unsigned i = 0; i < STORAGE_MAX_PAGES; i++)
        r.page[i] = HPA(0x100000 * (i + 1));
    return r;
}

static void extents(void **state)
{
    static const struct extent two[] = { { 100, 20 }, { 5000, 1000 } }, joined[] = { { 100, 20 }, { 120, 7 } };
    static const struct extent beyond[] = { { 100, 20 }, { SECTORS - 1, 2 } }, wraps[] = { { UINT64_MAX, 2 } };
    static const struct extent twice[] = { { 0, SECTORS }, { 0, 1 } }, none[] = { { 5, 0 } };

    (void)state;
    assert_int_equal(storage_sectors(storage_open(&disk, two, 2, true)), 1020);
    assert_int_equal(storage_sectors(storage_open(&disk, joined, 2, true)), 27);
    assert_int_equal(storage_sectors(storage_open(&disk, NULL, 0, true)), SECTORS);
    assert_null(storage_open(&disk, beyond, 2, true));
    assert_null(storage_open(&disk, wraps, 1, true));
    assert_null(storage_open(&disk, twice, 2, true));
    assert_null(storage_open(&disk, none, 1, true));
    disk.block = 4096;
    assert_null(storage_open(&disk, two, 2, true));
}

/* No sector outside can be asked for. */
static void bounds(void **state)
{
    static const struct extent piece = { 1000, 64 };
    struct storage *s = storage_open(&disk, &piece, 1, true), *w = storage_open(&disk, &piece, 1, false);
    struct storage_request r = request(STORAGE_READ, 64, 1);

    (void)state;
    assert_int_equal(storage_submit(s, &r), -EINVAL);
    r = request(STORAGE_READ, 60, 5);
    assert_int_equal(storage_submit(s, &r), -EINVAL);
    r = request(STORAGE_READ, UINT64_MAX, 2);
    assert_int_equal(storage_submit(s, &r), -EINVAL);
    r = request(STORAGE_READ, 0, 0);
    assert_int_equal(storage_submit(s, &r), -EINVAL);
    r = request((enum storage_op)7, 0, 1);
    assert_int_equal(storage_submit(s, &r), -EINVAL);
    r = request(STORAGE_WRITE, 0, 1);
    assert_int_equal(storage_submit(s, &r), -EROFS);
    assert_int_equal(storage_submit(w, &r), 0);
    storage_poll();
    assert_int_equal(starts, 1);
    assert_int_equal(log_of[0].sector, 1000);
}

/* A request over three pieces: each command lies in one of them, and its data goes on where the one before ended. */
static void cut(void **state)
{
    static const struct extent three[] = { { 100, 3 }, { 5000, 9 }, { 300, 500 } };
    struct storage *s = storage_open(&disk, three, 3, true);
    struct storage_request r = request(STORAGE_READ, 1, 300);

    (void)state;
    assert_int_equal(storage_submit(s, &r), 0);
    assert_true(storage_poll());
    assert_int_equal(starts, 4); /* the depth */
    assert_true(log_of[0].sector == 101 && log_of[0].sectors == 2 && log_of[0].offset == 0);
    assert_true(log_of[1].sector == 5000 && log_of[1].sectors == 9 && log_of[1].offset == 1024);
    assert_true(log_of[2].sector == 300 && log_of[2].sectors == 128 && log_of[2].offset == 3 * 512);
    assert_int_equal(log_of[2].page, 0x200000);
    assert_true(log_of[3].sector == 428 && log_of[3].sectors == 128);
    answer = 0xf;
    assert_true(storage_poll());
    assert_int_equal(ends, 0);
    assert_true(log_of[4].sector == 556 && log_of[4].sectors == 300 - 2 - 9 - 256);
    answer = 1;
    assert_false(storage_poll());
    assert_int_equal(ends, 1);
    assert_int_equal(ended[0], 0);
}

static void data(void **state)
{
    struct storage_request r = request(STORAGE_READ, 0, 8);
    struct disk_command c = { .sectors = 8, .page = r.page, .offset = 1024 };
    struct hpa at;

    (void)state;
    assert_int_equal(disk_piece(&c, 0, &at), 3072);
    assert_int_equal(at.v, 0x100400);
    assert_int_equal(disk_piece(&c, 3072, &at), 1024);
    assert_int_equal(at.v, 0x200000);
}

/* An error of one part is the request's, the others' parts are not touched by it, and its rest is not tried. */
static void errors(void **state)
{
    struct storage *s = storage_open(&disk, NULL, 0, true);
    struct storage_request r = request(STORAGE_READ, 0, 512), other = request(STORAGE_READ, 9000, 8);

    (void)state;
    disk.depth = 2;
    storage_submit(s, &r);
    storage_submit(s, &other);
    storage_poll();
    assert_int_equal(starts, 2);
    answer = 1;
    answer_error = -EIO;
    storage_poll();
    assert_int_equal(ends, 0); /* its second part is under way */
    answer = 2;
    storage_poll();
    assert_int_equal(ends, 1);
    assert_int_equal(ended[0], -EIO);
    assert_int_equal(log_of[2].sector, 9000);
    answer = 1;
    storage_poll();
    assert_int_equal(ended[1], 0);
    assert_int_equal(starts, 3);
}

/* Who takes too long gets a time-out, and what was beside it begins again. */
static void time_out(void **state)
{
    struct storage *s = storage_open(&disk, NULL, 0, true);
    struct storage_request slow = request(STORAGE_READ, 0, 8), other = request(STORAGE_READ, 9000, 8);

    (void)state;
    storage_submit(s, &slow);
    storage_poll();
    fake_cpu.tsc += tsc_khz() * 10000;
    storage_submit(s, &other);
    storage_poll();
    assert_int_equal(starts, 2);
    fake_cpu.tsc += tsc_khz() * 6000;
    storage_poll();
    assert_int_equal(resets, 1);
    assert_int_equal(ends, 1);
    assert_int_equal(ended[0], -ETIMEDOUT);
    assert_int_equal(starts, 3);
    assert_int_equal(log_of[2].sector, 9000);
    answer = 1u << log_of[2].slot;
    assert_false(storage_poll());
    assert_int_equal(ended[1], 0);
}

/* After an error that nobody claims all begin again one by one, so that it is its own; three times at most. */
static void one_by_one(void **state)
{
    struct storage *s = storage_open(&disk, NULL, 0, true);
    struct storage_request r[3] = { request(STORAGE_READ, 0, 8), request(STORAGE_READ, 80, 8), request(STORAGE_READ, 160, 8) };

    (void)state;
    for (unsigned i = 0; i < 3; i++)
        storage_submit(s, &r[i]);
    storage_poll();
    assert_int_equal(starts, 3);
    lose = true;
    storage_poll();
    assert_int_equal(resets, 1);
    assert_int_equal(starts, 4); /* one */
    storage_poll();
    assert_int_equal(starts, 4);
    answer = 1u << log_of[3].slot;
    answer_error = -EIO;
    storage_poll();
    assert_int_equal(ended[0], -EIO);
    assert_int_equal(starts, 5);
    for (unsigned i = 0; i < 3 && ends < 2; i++) {
        lose = true;
        storage_poll();
    }
    assert_int_equal(ended[1], -EIO); /* it has lived through too many */
    answer = 1u << log_of[starts - 1].slot;
    while (ends < 3 && storage_poll())
        answer = 1u << log_of[starts - 1].slot;
    assert_int_equal(ended[2], 0);
}

static void dead(void **state)
{
    struct storage *s = storage_open(&disk, NULL, 0, true);
    struct storage_request r = request(STORAGE_READ, 0, 512), next = request(STORAGE_READ, 0, 8);

    (void)state;
    storage_submit(s, &r);
    storage_submit(s, &next);
    storage_poll();
    reset_result = -EIO;
    lose = true;
    while (storage_poll())
        ;
    assert_int_equal(ends, 2);
    assert_int_equal(ended[0], -EIO);
    assert_int_equal(ended[1], -EIO);
    storage_submit(s, &next);
    storage_poll();
    assert_int_equal(ended[2], -EIO);
}

/* A flush is done with nothing beside it where the disk wants that, and with no pages. */
static void flush(void **state)
{
    struct storage *s = storage_open(&disk, NULL, 0, false);
    struct storage_request w = request(STORAGE_WRITE, 0, 8), f = request(STORAGE_FLUSH, 77, 77), after = w;

    (void)state;
    disk.flush_alone = true;
    storage_submit(s, &w);
    storage_submit(s, &f);
    storage_submit(s, &after);
    storage_poll();
    assert_int_equal(starts, 1);
    answer = 1;
    storage_poll();
    assert_int_equal(starts, 2);
    assert_int_equal(log_of[1].op, STORAGE_FLUSH);
    answer = 1;
    storage_poll();
    assert_int_equal(starts, 3);
    assert_int_equal(ends, 2);
    answer = 1;
    assert_false(storage_poll());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(extents, set_up), cmocka_unit_test_setup(bounds, set_up),
        cmocka_unit_test_setup(cut, set_up), cmocka_unit_test_setup(data, set_up),
        cmocka_unit_test_setup(errors, set_up), cmocka_unit_test_setup(time_out, set_up),
        cmocka_unit_test_setup(one_by_one, set_up), cmocka_unit_test_setup(dead, set_up),
        cmocka_unit_test_setup(flush, set_up),
    };

    if (!machine_memory(8 * MIB, 0))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
