/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "numa/hash.h"
#include "numa/pmap.h"
#include "numa/scan.h"
#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_percpu.h"

enum { VMS = 3, SIZE = 16 };

static struct pmap vm[VMS];
static uint64_t now, before;

/* VMs 0 and 1 are of one domain, 2 is of another. */
static int setup(void **state)
{
    static uint64_t base;

    if (!base)
        base = machine_memory(128 * MIB, 0);
    fake_percpu_enter(0);
    before = free_pages();
    for (unsigned v = 0; v < VMS; v++) {
        if (pmap_init(&vm[v], (uint16_t)(v + 1), SIZE * MIB, 1))
            return -1;
        vm[v].domain = v < 2 ? 1 : 2;
    }
    return base ? 0 : -1;
}

static int teardown(void **state)
{
    for (unsigned v = 0; v < VMS; v++)
        pmap_destroy(&vm[v]);
    return free_pages() != before;
}

static struct scan_figures count(void)
{
    struct scan_figures f;

    scan_count(&f);
    return f;
}

static void rounds(unsigned n)
{
    uint64_t end = count().rounds + n + 1;

    scan_set_rate(1000000);
    while (count().rounds < end)
        scan_step(now += 1000000, 1);
}

static void fill(unsigned v, uint64_t from, uint64_t to, uint32_t seed)
{
    uint32_t page[PAGE_SIZE / 4];

    for (uint64_t a = from; a < to; a += PAGE_SIZE) {
        for (unsigned i = 0; i < ARRAY_SIZE(page); i++)
            page[i] = seed ? seed + (uint32_t)(a >> PAGE_SHIFT) * 1024 + i : 0;
        assert_int_equal(pmap_write(&vm[v], GPA(a), page, sizeof(page)), 0);
    }
}

static void check(unsigned v, uint64_t from, uint64_t to, uint32_t seed)
{
    uint32_t page[PAGE_SIZE / 4];

    for (uint64_t a = from; a < to; a += PAGE_SIZE) {
        assert_int_equal(pmap_read(&vm[v], GPA(a), page, sizeof(page)), 0);
        for (unsigned i = 0; i < ARRAY_SIZE(page); i++)
            assert_int_equal(page[i], seed ? seed + (uint32_t)(a >> PAGE_SHIFT) * 1024 + i : 0);
    }
}

static uint64_t used(void) { return before - free_pages(); }

/* Equal pages of one domain become one, zeros none, another domain's stay; what guests see is as before. */
static void test_equal_pages_are_shared(void **state)
{
    uint64_t all;

    for (unsigned v = 0; v < VMS; v++) {
        fill(v, 4 * MIB, 8 * MIB, 77);
        fill(v, 8 * MIB, 10 * MIB, 0);
        fill(v, 10 * MIB, 12 * MIB, 1000000 * (v + 1));
    }
    all = used();
    rounds(12); /* in each some miss each other */
    assert_int_equal(vm[0].counts.content, 1024);
    assert_int_equal(vm[1].counts.content, 1024);
    assert_int_equal(vm[2].counts.content, 0);
    for (unsigned v = 0; v < VMS; v++)
        assert_int_equal(vm[v].counts.zeros, 512);
    assert_int_equal(all - used(), 1024 + 3 * 512 - (vm[0].tables + vm[1].tables + vm[2].tables - 3));
    fill(0, 4 * MIB, 5 * MIB, 5);
    fill(1, 9 * MIB, 10 * MIB, 6);
    for (unsigned v = 0; v < VMS; v++) {
        check(v, 4 * MIB, 5 * MIB, v == 0 ? 5 : 77);
        check(v, 5 * MIB, 8 * MIB, 77);
        check(v, 8 * MIB, 9 * MIB, 0);
        check(v, 9 * MIB, 10 * MIB, v == 1 ? 6 : 0);
        check(v, 10 * MIB, 12 * MIB, 1000000 * (v + 1));
    }
    assert_int_equal(vm[0].counts.breaks, 256);
}

/* As a buffer cache puts it there: pages of a file, by the hash of what is in them. */
static void place_file(unsigned v, uint64_t from, uint64_t to, struct hpa *pages)
{
    for (uint64_t a = from; a < to; a += PAGE_SIZE, pages++) {
        if (!pages->v) {
            *pages = page_alloc(0, PAGE_ORDER_4K, PAGE_PRIVATE);
            fill(v, a, a + PAGE_SIZE, 4);
            assert_int_equal(pmap_read(&vm[v], GPA(a), hpa_ptr(*pages), PAGE_SIZE), 0);
            commons_add(*pages, COMMONS_FILES, page_hash(hpa_ptr(*pages)));
        }
        commons_hold(*pages);
        assert_int_equal(pmap_place(&vm[v], GPA(a), *pages, 0), 0);
    }
}

/*
 * Who has the content of a file that another VM of its domain has read, from elsewhere, shares its pages, and they are
 * there once; who writes has a copy. A VM of another domain does not find them, until one of that has read the file.
 */
static void test_what_others_read_is_found(void **state)
{
    struct hpa pages[512] = { 0 };
    uint64_t all;

    place_file(0, 4 * MIB, 6 * MIB, pages);
    fill(1, 4 * MIB, 6 * MIB, 4);
    fill(2, 4 * MIB, 6 * MIB, 4);
    all = used();
    rounds(4);
    assert_int_equal(vm[0].counts.files, 512);
    assert_int_equal(vm[1].counts.files, 512);
    assert_int_equal(vm[1].counts.content + vm[2].counts.files + vm[2].counts.content, 0);
    assert_int_equal(used(), all - 512 + 1); /* a table */
    fill(1, 4 * MIB, 4 * MIB + PAGE_SIZE, 5);
    check(0, 4 * MIB, 6 * MIB, 4);
    check(1, 4 * MIB, 4 * MIB + PAGE_SIZE, 5);
    check(1, 4 * MIB + PAGE_SIZE, 6 * MIB, 4);
    place_file(2, 8 * MIB, 8 * MIB + 16 * PAGE_SIZE, pages);
    rounds(4);
    assert_int_equal(vm[2].counts.files, 32);
    check(2, 4 * MIB, 6 * MIB, 4);
    for (unsigned i = 0; i < 512; i++)
        commons_drop(pages[i]);
}

/* A large page with little to gain stays whole. */
static void test_large_pages_stay(void **state)
{
    for (unsigned v = 0; v < 2; v++) {
        fill(v, 4 * MIB, 6 * MIB, 1000000 * (v + 1));
        fill(v, 4 * MIB, 4 * MIB + 7 * PAGE_SIZE, 9);
    }
    rounds(4);
    assert_int_equal(vm[0].counts.content, 0);
    assert_int_equal(vm[0].tables, 1);
}

/* What changes from round to round is left alone. */
static void test_changing_pages_stay(void **state)
{
    for (unsigned i = 1; i <= 5; i++) {
        for (unsigned v = 0; v < 2; v++)
            fill(v, 4 * MIB, 8 * MIB, i);
        rounds(0);
    }
    assert_int_equal(vm[0].counts.content + vm[1].counts.content, 0);
}

static void test_no_domain_no_sharing(void **state)
{
    vm[0].domain = vm[1].domain = vm[2].domain = 0;
    for (unsigned v = 0; v < 2; v++)
        fill(v, 4 * MIB, 8 * MIB, 3);
    rounds(4);
    assert_int_equal(vm[0].counts.content + vm[0].counts.zeros, 0);
}

/* So many pages a second and no more, whatever is asked. */
static void test_rate(void **state)
{
    uint64_t looked = count().looked;

    fill(0, 2 * MIB, 16 * MIB, 3);
    scan_set_rate(100);
    scan_wake();
    for (unsigned ms = 0; ms < 3000; ms++)
        for (unsigned i = 0; i < 50; i++)
            scan_step(now + ms, 1);
    now += 3000;
    assert_in_range(count().looked - looked, 200, 305);
    scan_set_rate(0);
    assert_int_equal(scan_step(now += 1000, 1), UINT64_MAX);
}

/* After quiet rounds it rests, longer each time, and says until when; a new VM ends that. */
static void test_rest(void **state)
{
    uint64_t rest, looked;

    fill(0, 4 * MIB, 5 * MIB, 3);
    rounds(3);
    rest = count().rest;
    looked = count().looked;
    assert_in_range(rest, 1000, 60000);
    assert_int_equal(scan_step(now, 1), now + rest);
    assert_int_equal(scan_step(now + rest - 1, 1), now + rest);
    assert_int_equal(count().looked, looked);
    rounds(0);
    assert_in_range(count().rest, MIN(2 * rest, 60000), 60000);
    scan_wake();
    assert_int_equal(scan_step(now, 1), now);
}

/* Another processor does not wait for the same moment. */
static void test_others_look_later(void **state)
{
    uint64_t next;

    fill(0, 4 * MIB, 5 * MIB, 3);
    rounds(3);
    next = scan_step(now, 1);
    fake_percpu_enter(1);
    assert_in_range(scan_step(now, 1), next + 1, next + 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_equal_pages_are_shared, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_others_read_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_pages_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changing_pages_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_domain_no_sharing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_others_look_later, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
