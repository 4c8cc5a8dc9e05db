/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "lib/errno.h"
#include "tests/unit/machine.h"
#include "tests/unit/random.h"
#include "tests/unit/seam/fake_percpu.h"
#include "tests/unit/storage_fake.h"
#include "vdev/blk.h"
#include "vdev/persist_parts.h"

/*
 * Logs and power cuts. The disk is small, and its log not much larger, so that data blocks are used again soon. Every
 * write has a number, which is in each of its sectors: after a cut a sector may hold what it held when the last flush
 * was asked for that was answered, or anything that was written later, and nothing else.
 */
#define BLOCKS   96u
#define SECTORS  (BLOCKS * 8)
#define LOG      (HEADERS + PERSIST_JOURNAL + 2 + BLOCKS + 40)
#define MEMORY   (8 * MIB)
#define BUFFER   0x200000ul
#define VERSIONS 64u           /* of a sector since the last flush */
#define TASKS    4u            /* requests at a time */

static struct storage disk, logs;
static struct pmap pmap;
static struct layer layer;
static char why[160];

static struct { uint32_t stable, later[VERSIONS]; unsigned laters; } model[SECTORS];
static uint32_t writes_made;
static bool cut;               /* the power is off: what happens from here on never was */

/* A request of the guest's; it is tried again until it is over, as vdev/blk.c does. */
static struct task {
    enum { FREE, WRITE, ZERO, FLUSH_ALL } what;
    struct layer_wait wait;
    uint64_t sector, sectors, moved;
    uint32_t number, upto;     /* upto, of a flush: the writes that were over before it */
    bool issued;
} tasks[TASKS];
static bool over[1 << 20];     /* writes by number */

static void wait_a_little(void) { storage_poll(); }

static void forget(struct storage *s, uint64_t blocks)
{
    for (uint64_t b = 0; b < blocks; b++)
        if (!image_prepare(image_on(s), b))
            image_put(image_on(s), b, HPA_NONE);
}

static int open_layer(enum persist_how how)
{
    layer = (struct layer){ .image = image_on(&disk) };
    why[0] = '\0';
    assert_int_equal(image_claim(layer.image, how == PERSIST_COMMIT), 0);
    return persist_open(&layer, &logs, how, wait_a_little, why, sizeof(why));
}

static void close_layer(void)
{
    while (!layer_quiet(&layer))
        storage_poll();
    layer_destroy(&layer);
}

static int setup(void **state)
{
    static uint64_t base;

    fake_percpu_enter(0);
    if (!base)
        base = machine_memory(96 * MIB, 0);
    if (pmap_init(&pmap, 1, MEMORY, 1))
        return -1;
    fake_storage(&disk, SECTORS);
    fake_storage(&logs, LOG * 8);
    forget(&disk, BLOCKS);
    forget(&logs, LOG);
    fake_cached = 0;
    fake_step = NULL;
    fake_shuffle = cut = false;
    memset(model, 0, sizeof(model));
    memset(tasks, 0, sizeof(tasks));
    memset(over, 0, sizeof(over));
    writes_made = 0;
    return base ? 0 : -1;
}

static int teardown(void **state)
{
    pmap_destroy(&pmap);
    return 0;
}

static struct gpa buffer_of(const struct task *t) { return GPA(BUFFER + (uint64_t)(t - tasks) * 256 * 1024); }

/* --- the guest -------------------------------------------------------------------------------------------------- */

static int step(struct task *t)
{
    struct layer_io io = { .pmap = &pmap, .wait = &t->wait, .ahead = t->sectors * 512 };
    uint64_t at = t->sector * 512 + t->moved, left = t->sectors * 512 - t->moved, done = 0;
    int err;

    if (!t->issued) {
        if (t->what == FLUSH_ALL)
            err = layer_flush(&layer, &io);
        else if (t->what == ZERO)
            err = layer_zero(&layer, at, left, &io, &done);
        else
            err = layer_write(&layer, at, GPA(buffer_of(t).v + t->moved), left, &io, &done);
        t->moved += done;
        assert_int_equal(layer_end(&layer, &io), 0);
        if (err)
            return err;
        t->issued = true;
    }
    return t->wait.pending ? -EAGAIN : t->wait.error;
}

/* What the flush was for is safe now; what was written later may be there. */
static void flushed(uint32_t upto)
{
    for (unsigned s = 0; s < SECTORS; s++) {
        unsigned kept = 0;

        for (unsigned i = 0; i < model[s].laters; i++) {
            if (model[s].later[i] <= upto && over[model[s].later[i]])
                model[s].stable = model[s].later[i];
            else
                model[s].later[kept++] = model[s].later[i];
        }
        model[s].laters = kept;
    }
}

/* Numbers of writes with an overlap do not pass each other: a guest does not do that either. */
static bool overlaps(uint64_t sector, uint64_t sectors)
{
    for (unsigned i = 0; i < TASKS; i++)
        if ((tasks[i].what == WRITE || tasks[i].what == ZERO) && sector < tasks[i].sector + tasks[i].sectors &&
            tasks[i].sector < sector + sectors)
            return true;
    return false;
}

/* Writes up to the first that is not over were answered. */
static uint32_t over_upto(void)
{
    uint32_t n = writes_made;

    for (unsigned i = 0; i < TASKS; i++)
        if (tasks[i].what == WRITE || tasks[i].what == ZERO)
            n = MIN(n, tasks[i].number - 1);
    return n;
}

static void start_write(struct task *t, uint64_t sector, uint64_t sectors)
{
    static uint32_t data[256 * 128];

    *t = (struct task){ .what = WRITE, .sector = sector, .sectors = sectors, .number = ++writes_made };
    for (unsigned i = 0; i < sectors * 128; i++)
        data[i] = t->number;
    assert_int_equal(pmap_write(&pmap, buffer_of(t), data, sectors * 512), 0);
    for (uint64_t s = sector; s < sector + sectors && !cut; s++) {
        assert_true(model[s].laters < VERSIONS);
        model[s].later[model[s].laters++] = t->number;
    }
}

static void start_zero(struct task *t, uint64_t sector, uint64_t sectors)
{
    *t = (struct task){ .what = ZERO, .sector = sector, .sectors = sectors, .number = ++writes_made };
    for (uint64_t s = sector; s < sector + sectors && !cut; s++) {
        assert_true(model[s].laters < VERSIONS);
        model[s].later[model[s].laters++] = 0; /* like what was never written */
    }
}

static bool crowded(uint64_t sector, uint64_t sectors)
{
    for (uint64_t s = sector; s < sector + sectors; s++)
        if (model[s].laters >= VERSIONS - 1)
            return true;
    return false;
}

static void start_something(struct task *t)
{
    uint64_t sectors = 1 + fake_below(fake_below(3) ? 16 : 100), sector = fake_below((unsigned)(SECTORS - sectors + 1));

    if (fake_below(6) == 0 || crowded(sector, sectors))
        *t = (struct task){ .what = FLUSH_ALL, .upto = over_upto() };
    else if (!overlaps(sector, sectors))
        start_write(t, sector, sectors);
}

static void go_on(struct task *t)
{
    int err = step(t);

    if (err == -EAGAIN)
        return;
    assert_int_equal(err, 0);
    if (t->what != FLUSH_ALL)
        over[t->number] = true;
    else if (!cut)
        flushed(t->upto);
    t->what = FREE;
}

static void work(unsigned turns, bool more)
{
    for (unsigned i = 0; i < turns; i++) {
        for (unsigned n = 0; n < TASKS; n++) {
            if (tasks[n].what == FREE && more)
                start_something(&tasks[n]);
            if (tasks[n].what != FREE)
                go_on(&tasks[n]);
        }
        storage_poll();
    }
}

static void finish_tasks(void)
{
    for (unsigned n = 0; n < TASKS; n++)
        while (tasks[n].what != FREE)
            work(1, false);
}

/* --- power cuts ------------------------------------------------------------------------------------------------- */

static uint8_t left_log[LOG * 4096], left_disk[SECTORS * 512];
static unsigned cut_in;        /* steps */

/* Of what was not flushed any part is there, in any order; of one sector perhaps only the first bytes. */
static void choose_what_stays(void)
{
    unsigned chance = fake_below(4);

    memcpy(left_log, logs.stays, sizeof(left_log));
    memcpy(left_disk, disk.stays, sizeof(left_disk));
    for (unsigned i = 0; i < fake_cached; i++) {
        size_t n = fake_below(16) ? 512 : fake_below(512);
        uint8_t *to = fake_cache[i].s == &logs ? left_log : left_disk;

        if (chance == 3 || (chance && fake_below(chance + 1)))
            memcpy(to + fake_cache[i].sector * 512, fake_cache[i].data, chance == 3 ? 512 : n);
    }
}

static void count_down(struct storage *s, const uint8_t *data, uint64_t sector)
{
    if (cut || cut_in--)
        return;
    cut = true;
    choose_what_stays();
}

static void power_comes_back(void)
{
    close_layer();
    fake_cached = 0;
    fake_storage_fill(&logs, left_log, sizeof(left_log));
    forget(&logs, LOG);
    cut = false;
}

/* Each sector is what the model allows; that is what it is from now on. */
static void check_all(void)
{
    static uint32_t found[BLOCKS * 1024];
    struct layer_wait wait = { .pending = 0 };
    struct layer_io io = { .pmap = &pmap, .wait = &wait, .ahead = SECTORS * 512 };
    uint64_t done = 0, sum = 0;

    while (sum < SECTORS * 512) {
        int err = layer_read(&layer, sum, GPA(BUFFER + sum), SECTORS * 512 - sum, &io, &done);

        assert_true(!err || err == -EAGAIN);
        sum += done;
        storage_poll();
    }
    assert_int_equal(pmap_read(&pmap, GPA(BUFFER), found, sizeof(found)), 0);
    for (unsigned s = 0; s < SECTORS; s++) {
        uint32_t is = found[s * 128];
        bool good = is == model[s].stable;

        for (unsigned i = 0; i < 128; i++)
            assert_int_equal(found[s * 128 + i], is);
        for (unsigned i = 0; i < model[s].laters; i++)
            good |= is == model[s].later[i];
        if (!good)
            printf("sector %u holds write %u, expected %u or one of %u later ones\n", s, is, model[s].stable,
                   model[s].laters);
        assert_true(good);
        model[s].stable = is;
        model[s].laters = 0;
    }
}

static void assert_image_untouched(void)
{
    for (unsigned i = 0; i < SECTORS * 512; i++)
        assert_int_equal(disk.seen[i], 0);
    assert_int_equal(disk.writes, 0);
}

static void test_power_cuts(void **state)
{
    fake_shuffle = true;
    for (unsigned life = 0; life < 600; life++) {
        int err;

        fake_step = count_down;
        cut_in = fake_below(life % 3 ? 3000 : 60); /* also while it is being opened */
        err = open_layer(PERSIST_OPEN);
        if (err)
            printf("life %u: %s\n", life, why);
        assert_int_equal(err, 0);
        if (!cut) {
            unsigned before = cut_in;

            fake_step = NULL;
            check_all();
            fake_step = count_down;
            cut_in = before;
        }
        while (!cut)
            work(1, true);
        finish_tasks();
        fake_step = NULL;
        power_comes_back();
        if (life % 50 == 0)
            assert_image_untouched();
    }
}

/* One life's writes to the log, in their order. */
#define EVENTS 20000u
static struct event { uint64_t sector; uint8_t data[512]; uint32_t answered, made; bool flush; } *events;
static unsigned event_count;
static uint32_t answered;      /* the last write that a flush was answered for */

static void record(struct storage *s, const uint8_t *data, uint64_t sector)
{
    struct event *e = &events[event_count++];

    assert_true(event_count < EVENTS);
    assert_ptr_equal(s, &logs);
    *e = (struct event){ .sector = sector, .answered = answered, .made = writes_made, .flush = !data };
    if (data)
        memcpy(e->data, data, 512);
}

static uint32_t block_of_write(uint32_t n) { return n * 7 % 12; }

static void do_task(struct task *t)
{
    while (t->what != FREE)
        work(1, false);
}

/* After a cut each block has the last write that was answered for, or a later one. */
static void check_blocks(uint32_t safe, uint32_t made)
{
    memset(model, 0, sizeof(model));
    for (uint32_t n = 1; n <= made; n++) {
        for (unsigned i = 0; i < 8; i++) {
            unsigned s = block_of_write(n) * 8 + i;

            if (n <= safe) {
                model[s].stable = n;
                model[s].laters = 0;
            } else {
                model[s].later[model[s].laters++] = n;
            }
        }
    }
    check_all();
}

static void check_log(const uint8_t *content, uint32_t safe, uint32_t made)
{
    int err;

    fake_cached = 0;
    fake_storage_fill(&logs, content, LOG * 4096);
    forget(&logs, LOG);
    err = open_layer(PERSIST_OPEN);
    if (err)
        printf("%s\n", why);
    assert_int_equal(err, 0);
    check_blocks(safe, made);
    close_layer();
}

static void record_life(void)
{
    events = malloc(EVENTS * sizeof(*events));
    event_count = 0;
    answered = 0;
    assert_int_equal(open_layer(PERSIST_OPEN), 0);
    fake_step = record;
    for (unsigned i = 1; i <= 20; i++) {
        start_write(&tasks[0], block_of_write(writes_made + 1) * 8, 8);
        do_task(&tasks[0]);
        if (i == 12)
            layer.log->number = PERSIST_JOURNAL;     /* as if the journal were full: the map is written */
        if (i % 2)
            continue;
        tasks[0] = (struct task){ .what = FLUSH_ALL, .upto = writes_made };
        do_task(&tasks[0]);
        answered = writes_made;
    }
    fake_step = NULL;
    close_layer();
}

/* Every byte that changes something is the last one that was written, and then what comes behind it is there too. */
static void test_every_byte(void **state)
{
    static uint8_t start[LOG * 4096], now[LOG * 4096], reordered[LOG * 4096];
    unsigned cuts = 0, flushed_at = 0;

    assert_int_equal(open_layer(PERSIST_OPEN), 0);
    close_layer();
    memcpy(start, logs.seen, sizeof(start));
    record_life();
    memcpy(now, start, sizeof(now));
    /* The life began with an opening of its own, whose header the record does not have. */
    fake_storage_fill(&logs, start, sizeof(start));
    fake_cached = 0;
    forget(&logs, LOG);
    assert_int_equal(open_layer(PERSIST_OPEN), 0);
    close_layer();
    memcpy(now, logs.seen, sizeof(now));
    for (unsigned e = 0; e < event_count; e++) {
        uint8_t *at = now + events[e].sector * 512;
        bool metadata = events[e].sector < (HEADERS + PERSIST_JOURNAL + 2) * 8;

        if (events[e].flush) {
            flushed_at = e + 1;
            memcpy(reordered, now, sizeof(now));
            continue;
        }
        for (unsigned b = 0; b < 512; b++) {
            if (at[b] == events[e].data[b])
                continue;
            at[b] = events[e].data[b];
            if (!metadata && b != 511 && b != 255)
                continue;
            check_log(now, events[e].answered, events[e].made);
            cuts++;
        }
        /* Any of those that were not flushed are there, and the others not. */
        for (unsigned tries = 0; tries < 4 && flushed_at; tries++) {
            static uint8_t some[LOG * 4096];

            memcpy(some, reordered, sizeof(some));
            for (unsigned i = flushed_at; i <= e; i++)
                if (fake_below(2))
                    memcpy(some + events[i].sector * 512, events[i].data, 512);
            check_log(some, events[e].answered, events[e].made);
            cuts++;
        }
    }
    assert_true(cuts > 1000);
    free(events);
}

/* --- what else ------------------------------------------------------------------------------------------------- */

static void write_one(unsigned block)
{
    start_write(&tasks[0], block * 8, 8);
    do_task(&tasks[0]);
}

static int flush_all(void)
{
    struct task *t = &tasks[0];
    int err;

    *t = (struct task){ .what = FLUSH_ALL, .upto = writes_made };
    while ((err = step(t)) == -EAGAIN)
        storage_poll();
    t->what = FREE;
    if (!err)
        flushed(t->upto);
    return err;
}

static void test_stays(void **state)
{
    assert_int_equal(open_layer(PERSIST_OPEN), 0);
    write_one(5);
    start_zero(&tasks[0], 40, 16);
    do_task(&tasks[0]);
    write_one(9);
    close_layer();                              /* a VM that is switched off has its writes in the log */
    assert_int_equal(fake_cached, 0);
    forget(&logs, LOG);
    assert_int_equal(open_layer(PERSIST_OPEN), 0);
    assert_int_equal(layer.pages, 1);
    flushed(writes_made);
    check_all();
    close_layer();
    assert_image_untouched();
}

/* A log has room for so many blocks; what a flush frees can be used again. */
static void test_full(void **state)
{
    struct persist_figures f;

    fake_storage(&logs, (LOG - BLOCKS + 24) * 8); /* 64 data blocks */
    forget(&logs, LOG);
    assert_int_equal(open_layer(PERSIST_OPEN), 0);
    for (unsigned i = 0; i < 64; i++)
        write_one(i);
    start_write(&tasks[0], 64 * 8, 8);
    while (step(&tasks[0]) == -EAGAIN)
        storage_poll();
    assert_int_equal(step(&tasks[0]), -ENOSPC);
    tasks[0].what = FREE;
    start_zero(&tasks[0], 0, 128);              /* makes room */
    do_task(&tasks[0]);
    write_one(64);
    for (unsigned i = 0; i < 2000; i++) {       /* with 15 free ones the others are written again and again */
        write_one(30 + i % 30);
        flushed(writes_made);
    }
    persist_count(layer.log, &f);
    assert_int_equal(f.blocks, 64);
    assert_true(f.used <= 64);
    close_layer();
    fake_storage(&logs, LOG * 8);
}

static void test_errors(void **state)
{
    assert_int_equal(open_layer(PERSIST_OPEN), 0);
    write_one(1);
    logs.bad_from = HEADERS * 8;                /* the journal */
    logs.bad_to = (HEADERS + PERSIST_JOURNAL) * 8;
    assert_int_equal(flush_all(), -EIO);
    write_one(2);
    assert_int_equal(flush_all(), -EIO);
    logs.bad_to = 0;
    assert_int_equal(flush_all(), 0);           /* with all of it */
    logs.broken = true;
    start_write(&tasks[0], 0, 8);
    while (step(&tasks[0]) == -EAGAIN)
        storage_poll();
    assert_int_equal(step(&tasks[0]), -EIO);
    tasks[0].what = FREE;
    assert_int_equal(flush_all(), 0);           /* there is nothing new */
    model[0].laters = 0;
    for (unsigned i = 1; i < 8; i++)
        model[i].laters = 0;
    logs.broken = false;
    check_all();
    write_one(3);
    layer.log->number = PERSIST_JOURNAL;
    logs.bad_from = 0;                          /* the headers */
    logs.bad_to = HEADERS * 8;
    assert_int_equal(flush_all(), -EIO);
    assert_int_equal(flush_all(), -EIO);        /* nobody knows which one counts */
    logs.bad_to = 0;
    close_layer();
    forget(&logs, LOG);
    assert_int_equal(open_layer(PERSIST_OPEN), 0);
    check_all();
    close_layer();
}

static void refused(enum persist_how how, int err, const char *text)
{
    assert_int_equal(open_layer(how), err);
    if (!strstr(why, text))
        printf("%s\n", why);
    assert_non_null(strstr(why, text));
    layer_destroy(&layer);
    forget(&logs, LOG);
}

static void test_refusals(void **state)
{
    uint8_t *h = logs.seen;

    assert_int_equal(open_layer(PERSIST_OPEN), 0);
    write_one(1);
    close_layer();
    disk.seen[4096] ^= 1;
    forget(&disk, BLOCKS);
    refused(PERSIST_OPEN, -EINVAL, "another image");
    disk.seen[4096] ^= 1;
    forget(&disk, BLOCKS);
    assert_int_equal(open_layer(PERSIST_OPEN), 0);
    close_layer();
    forget(&logs, LOG);
    memset(h, 0xa5, 8192);
    refused(PERSIST_OPEN, -EINVAL, "damaged");
    refused(PERSIST_RESET, -EINVAL, "damaged");
    memset(h, 0, 8192);
    refused(PERSIST_OPEN, -EINVAL, "damaged");  /* the journal has something */
    logs.readonly = true;
    refused(PERSIST_OPEN, -EROFS, "cannot be written");
    logs.readonly = false;
    fake_storage(&logs, 300 * 8);
    refused(PERSIST_OPEN, -ENOSPC, "too small");
    fake_storage(&logs, LOG * 8);
    logs.broken = true;
    refused(PERSIST_OPEN, -EIO, "cannot be read");
    logs.broken = false;
}

static void test_reset(void **state)
{
    assert_int_equal(open_layer(PERSIST_OPEN), 0);
    for (unsigned i = 0; i < 30; i++)
        write_one(i);
    close_layer();
    forget(&logs, LOG);
    assert_int_equal(open_layer(PERSIST_RESET), 0);
    assert_int_equal(layer.pages, 0);
    memset(model, 0, sizeof(model));
    check_all();
    write_one(3);
    assert_int_equal(flush_all(), 0);
    close_layer();
    forget(&logs, LOG);
    assert_int_equal(open_layer(PERSIST_OPEN), 0);
    check_all();
    close_layer();
}

/* The image gets all; power cuts meanwhile do no harm, for it is done again. */
static void test_commit(void **state)
{
    assert_int_equal(open_layer(PERSIST_OPEN), 0);
    for (unsigned i = 0; i < 30; i++)
        write_one(i * 3);
    start_zero(&tasks[0], 8, 8);
    do_task(&tasks[0]);
    assert_int_equal(flush_all(), 0);
    close_layer();
    for (unsigned round = 0; round < 40; round++) {
        forget(&logs, LOG);
        forget(&disk, BLOCKS);
        fake_step = count_down;
        cut_in = round * 12;
        cut = false;
        assert_int_equal(open_layer(PERSIST_COMMIT), 0);
        if (!cut)
            break;
        fake_step = NULL;
        while (!layer_quiet(&layer))
            storage_poll();
        layer.exclusive = true;
        layer_destroy(&layer);
        fake_cached = 0;
        fake_storage_fill(&logs, left_log, sizeof(left_log));
        fake_storage_fill(&disk, left_disk, sizeof(left_disk));
    }
    fake_step = NULL;
    assert_false(cut);
    assert_int_equal(layer.pages, 0);
    check_all();
    for (unsigned s = 0; s < SECTORS; s++)
        assert_int_equal(*(uint32_t *)(disk.stays + s * 512), model[s].stable);
    layer.exclusive = true;
    close_layer();
}

/* A cut before the image has all: it cannot be used as it is, only be finished. */
static void test_commit_cut_short(void **state)
{
    static uint8_t half_log[LOG * 4096];

    assert_int_equal(open_layer(PERSIST_OPEN), 0);
    write_one(0);
    close_layer();
    forget(&logs, LOG);
    disk.bad_from = 0;
    disk.bad_to = 0;
    layer = (struct layer){ .image = image_on(&disk), .exclusive = true };
    assert_int_equal(image_claim(layer.image, true), 0);
    fake_step = count_down;
    cut_in = 24;                                /* behind the header that says it */
    assert_int_equal(persist_open(&layer, &logs, PERSIST_COMMIT, wait_a_little, why, sizeof(why)), 0);
    assert_true(cut);
    memcpy(half_log, left_log, sizeof(half_log));
    fake_step = NULL;
    cut = false;
    close_layer();
    fake_cached = 0;
    fake_storage_fill(&logs, half_log, sizeof(half_log));
    forget(&logs, LOG);
    forget(&disk, BLOCKS);
    refused(PERSIST_OPEN, -EINVAL, "cut short");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_stays), T(test_full), T(test_errors), T(test_refusals), T(test_reset), T(test_commit),
        T(test_commit_cut_short), T(test_every_byte), T(test_power_cuts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
