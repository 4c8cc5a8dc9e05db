/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/errno.h"
#include "numa/commons.h"
#include "numa/hints.h"
#include "numa/pmap.h"
#include "numa/reclaim.h"
#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_percpu.h"
#include "vdev/image.h"

#define SPARSE (64 * MIB)

#define BLOCKS 2000u

static struct pmap sparse, greedy;
static uint64_t file[BLOCKS * PAGE_SIZE / sizeof(uint64_t)];

static int setup(void **state)
{
    static uint64_t base;

    fake_percpu_enter(0);
    if (!base)
        base = machine_memory(96 * MIB, 0);
    reclaim_set_cache(image_look);
    return base ? 0 : -1;
}

static unsigned agains;

/* As a guest does: where it is told to, it tries again. */
static int fault(struct pmap *m, uint64_t at)
{
    int err;

    while ((err = pmap_fault(m, GPA(at), 0, true)) == -EAGAIN)
        agains++;
    return err;
}

static void write_to(struct pmap *m, uint64_t at, uint64_t value)
{
    assert_int_equal(fault(m, at), 0);
    assert_int_equal(pmap_write(m, GPA(at), &value, sizeof(value)), 0);
}

static uint64_t read_from(struct pmap *m, uint64_t at)
{
    uint64_t value = 0;

    assert_int_equal(pmap_read(m, GPA(at), &value, sizeof(value)), 0);
    return value;
}

/* One VM has a word in each large page; another wants more memory than is free then. */
static void test_zeros_make_room(void **state)
{
    uint64_t before = free_pages(), at;
    int err = 0;

    assert_int_equal(pmap_init(&sparse, 1, SPARSE, 1), 0);
    assert_int_equal(pmap_init(&greedy, 2, 128 * MIB, 1), 0);
    for (at = PAGE_SIZE_2M; at < SPARSE; at += PAGE_SIZE_2M)
        write_to(&sparse, at, at);
    assert_true(before - free_pages() >= (SPARSE - PAGE_SIZE_2M) / PAGE_SIZE);
    for (at = PAGE_SIZE_2M; at < 128 * MIB && !err; at += PAGE_SIZE) {
        err = fault(&greedy, at);
        if (!err)
            write_to(&greedy, at, at | 1);
    }
    assert_int_equal(err, -ENOMEM);         /* in the end there is nothing more */
    assert_true(at > 80 * MIB);             /* with 96 MiB of which the other had 62 */
    assert_true(reclaim_count().zeros > 50 * MIB / PAGE_SIZE);
    assert_int_equal(sparse.counts.touched, sparse.counts.zeros + (SPARSE - PAGE_SIZE_2M) / PAGE_SIZE_2M);
    for (uint64_t p = PAGE_SIZE_2M; p < SPARSE; p += PAGE_SIZE_2M)
        assert_int_equal(read_from(&sparse, p), p);
    for (uint64_t p = PAGE_SIZE_2M; p < at - PAGE_SIZE; p += PAGE_SIZE)
        assert_int_equal(read_from(&greedy, p), p | 1);
    pmap_destroy(&greedy);
    for (uint64_t p = PAGE_SIZE_2M; p < SPARSE; p += PAGE_SIZE)     /* the first one goes on as if nothing had been */
        write_to(&sparse, p, p);
    pmap_destroy(&sparse);
    assert_int_equal(free_pages(), before);
}

/* No processor looks at all of the memory at once, and the one large page that can be used is found in the end. */
static void test_bounded_steps(void **state)
{
    uint64_t before = free_pages(), last = 78 * MIB, at = PAGE_SIZE_2M;
    unsigned was = agains;

    assert_int_equal(pmap_init(&sparse, 1, 80 * MIB, 1), 0);
    assert_int_equal(pmap_init(&greedy, 2, 128 * MIB, 1), 0);
    for (uint64_t p = 0; p <= last; p += p < last ? PAGE_SIZE : PAGE_SIZE_2M)
        if (p < PMAP_HOLE || p >= PMAP_HOLE_END)
            write_to(&sparse, p, p + 1);
    for (; agains == was; at += PAGE_SIZE) /* memory is full when it is looked for first */
        assert_int_equal(fault(&greedy, at), 0);
    assert_in_range(agains - was, 2, 4);   /* 38 large pages without zeros, 16 at a time */
    assert_true(sparse.counts.zeros > 500);
    for (; fault(&greedy, at) == 0; at += PAGE_SIZE)
        ;
    for (uint64_t p = 0; p <= last; p += p < last ? PAGE_SIZE : PAGE_SIZE_2M)
        if (p < PMAP_HOLE || p >= PMAP_HOLE_END)
            assert_int_equal(read_from(&sparse, p), p + 1);
    pmap_destroy(&greedy);
    pmap_destroy(&sparse);
    assert_int_equal(free_pages(), before);
}

/*
 * The EPT of a VM that does nothing gives most of its tables; when there is no page left at all, the VM still reaches all
 * that it has, with the tables that it kept.
 */
static void test_tables_are_given_up(void **state)
{
    uint64_t before = free_pages(), so_far = reclaim_count().tables, at = PAGE_SIZE_2M, value = 1, tables;
    int err = 0;

    assert_int_equal(pmap_init(&sparse, 1, 512 * MIB, 1), 0);
    assert_int_equal(pmap_init(&greedy, 2, 128 * MIB, 1), 0);
    for (uint64_t p = PAGE_SIZE_2M; p < 512 * MIB; p += PAGE_SIZE_2M) { /* each in a table of its own */
        write_to(&sparse, p, p);
        pmap_give_back(&sparse, GPA(p + PAGE_SIZE), PAGE_SIZE_2M / PAGE_SIZE - 1);
    }
    tables = sparse.ept[0].tables;
    assert_true(tables > 250);
    for (; at < 128 * MIB && !err; at += PAGE_SIZE)
        err = pmap_write(&greedy, GPA(at), &value, sizeof(value)) ? -ENOMEM : fault(&greedy, at);
    assert_int_equal(err, -ENOMEM);
    assert_true(reclaim_count().tables - so_far >= tables - sparse.ept[0].tables); /* and some of the other's */
    assert_in_range(sparse.ept[0].tables, 40, 48);
    for (uint64_t p = PAGE_SIZE_2M; p < 512 * MIB; p += PAGE_SIZE_2M) {
        assert_int_equal(fault(&sparse, p), 0);
        assert_int_equal(ept_lookup(&sparse.ept[0], GPA(p)).prot, EPT_RWX);
        assert_int_equal(read_from(&sparse, p), p);
    }
    assert_int_equal(fault(&sparse, PAGE_SIZE_2M + PAGE_SIZE), -ENOMEM); /* what it does not have it does not get */
    assert_in_range(sparse.ept[0].tables, 40, 48);
    pmap_destroy(&greedy);
    pmap_destroy(&sparse);
    assert_int_equal(free_pages(), before);
}

/* Clean blocks that only the cache has make room, the ones somebody uses do not; all can be read again. */
static void test_disk_blocks_make_room(void **state)
{
    struct image *image = image_in_memory(file, sizeof(file));
    uint64_t before = reclaim_count().cached, at;
    struct hpa page[BLOCKS], used;
    int err = 0;

    for (size_t i = 0; i < ARRAY_SIZE(file); i++)
        file[i] = i + 1;
    for (unsigned b = 0; b < BLOCKS; b++)
        assert_int_equal(image_page(image, b, 1, false, &page[b]), 0);
    for (unsigned b = 0; b < BLOCKS; b++)
        if (b != 7)
            commons_drop(page[b]);
    assert_int_equal(pmap_init(&greedy, 1, 128 * MIB, 1), 0);
    for (at = PAGE_SIZE_2M; at < 128 * MIB && !err; at += PAGE_SIZE)
        err = pmap_write(&greedy, GPA(at), &at, sizeof(at));
    assert_int_equal(err, -ENOMEM);
    assert_int_equal(reclaim_count().cached - before, BLOCKS - 1);
    assert_int_equal(image->pages, 1);
    assert_int_equal(image_page(image, 8, 1, false, &used), -ENOMEM);
    pmap_destroy(&greedy);
    for (unsigned b = 0; b < BLOCKS; b++) {
        assert_int_equal(image_page(image, b, 1, false, &used), 0);
        assert_memory_equal(hpa_ptr(used), &file[b * 512], PAGE_SIZE);
        assert_true(b != 7 || used.v == page[7].v);
        commons_drop(used);
    }
    commons_drop(page[7]);
}

/* No call looks at more than it is told to; when all have been passed and looked at again, what nobody has is found. */
static void test_disk_blocks_in_parts(void **state)
{
    struct image *image = image_in_memory(file, sizeof(file));
    struct hpa page[BLOCKS];
    uint64_t found = 0;
    unsigned calls = 0;

    for (unsigned b = 0; b < BLOCKS; b++)
        assert_int_equal(image_page(image, b, 1, false, &page[b]), 0);
    assert_int_equal(image_let_go(UINT64_MAX), 0); /* somebody has each */
    for (unsigned b = 0; b < BLOCKS; b++) {
        commons_drop(page[b]);
        assert_int_equal(image_page(image, b, 1, false, &page[b]), 0); /* used again */
        commons_drop(page[b]);
    }
    for (bool over = false; !over && !found; calls++) {
        unsigned effort = 4;

        over = image_look(64, &effort, &found);
        assert_int_equal(effort, 0);
        assert_true(!over && found <= 512);
    }
    assert_int_equal(calls, 1 + ALIGN_UP(BLOCKS, 512) / 512); /* once round they all count as used */
    while (image->pages) {
        found = 0;
        assert_false(image_look(64, &(unsigned){ 4 }, &found));
    }
    for (calls = 0, found = 0; !image_look(64, &(unsigned){ 4 }, &found); calls++)
        assert_int_equal(found, 0);
    assert_in_range(calls, 0, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_zeros_make_room, setup),
        cmocka_unit_test_setup(test_bounded_steps, setup),
        cmocka_unit_test_setup(test_tables_are_given_up, setup),
        cmocka_unit_test_setup(test_disk_blocks_make_room, setup),
        cmocka_unit_test_setup(test_disk_blocks_in_parts, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
