/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "efi/memplan.h"

#define MAX_OUT 4

static struct boot_range out[MAX_OUT];

static unsigned plan(const struct boot_range *ranges, unsigned n)
{
    struct boot_range work[40];

    memcpy(work, ranges, n * sizeof(*ranges));
    memset(out, 0xaa, sizeof(out));
    return memory_plan(work, n, out, MAX_OUT);
}

static void expect(unsigned i, uint64_t base, uint64_t size)
{
    assert_int_equal(out[i].base, base);
    assert_int_equal(out[i].size, size);
}

static void test_leaves_a_sixteenth_at_the_top(void **state)
{
    struct boot_range r[] = { { 2 * MIB, 2048 * MIB } };

    (void)state;
    assert_int_equal(plan(r, 1), 1);
    expect(0, 2 * MIB, (2048 - 128) * MIB);
}

static void test_leaves_at_least_64_mib(void **state)
{
    struct boot_range r[] = { { 2 * MIB, 256 * MIB } };

    (void)state;
    assert_int_equal(plan(r, 1), 1);
    expect(0, 2 * MIB, 192 * MIB);
    r[0].size = 64 * MIB;
    assert_int_equal(plan(r, 1), 0);
    r[0].size = 66 * MIB;
    assert_int_equal(plan(r, 1), 1);
    expect(0, 2 * MIB, 2 * MIB);
}

static void test_leaves_at_most_1_gib(void **state)
{
    struct boot_range r[] = { { 2 * MIB, 3 * GIB }, { 4 * GIB, 1024 * GIB } };

    (void)state;
    assert_int_equal(plan(r, 2), 2);
    expect(0, 2 * MIB, 2 * GIB);
    expect(1, 4 * GIB, 1024 * GIB);
}

static void test_low_memory_goes_first(void **state)
{
    struct boot_range r[] = { { 8 * GIB, 1024 * MIB }, { 2 * MIB, 40 * MIB }, { 128 * MIB, 30 * MIB } };

    (void)state;
    /* A 16th is 68 MiB and a bit, rounded up all of the 30 + 40 MiB below 4 GiB. */
    assert_int_equal(plan(r, 3), 1);
    expect(0, 8 * GIB, 1024 * MIB);
    r[0].size = 960 * MIB;
    /* 64 MiB and a bit. */
    assert_int_equal(plan(r, 3), 2);
    expect(0, 2 * MIB, 4 * MIB);
    expect(1, 8 * GIB, 960 * MIB);
}

static void test_high_memory_where_low_is_too_little(void **state)
{
    struct boot_range r[] = { { 2 * MIB, 4 * MIB }, { 4 * GIB, 512 * MIB } };

    (void)state;
    assert_int_equal(plan(r, 2), 1);
    expect(0, 4 * GIB, 452 * MIB);
}

static void test_a_range_across_4_gib_is_not_low(void **state)
{
    struct boot_range r[] = { { 3 * GIB, 2 * GIB }, { 16 * MIB, 256 * MIB } };

    (void)state;
    assert_int_equal(plan(r, 2), 2);
    expect(0, 16 * MIB, 112 * MIB);
    expect(1, 3 * GIB, 2 * GIB);
}

static void test_alignment(void **state)
{
    struct boot_range r[] = { { 4096, 600 * KIB }, { MIB, 3 * MIB }, { 16 * MIB + 4096, 4 * MIB },
                              { 64 * MIB - 4096, 128 * MIB }, { 512 * MIB, 2 * MIB - 4096 } };

    (void)state;
    assert_int_equal(plan(r, 5), 3);
    expect(0, 2 * MIB, 2 * MIB);
    expect(1, 18 * MIB, 2 * MIB);
    /* What alignment leaves over counts: 7.6 MiB are left so, and 56.4 rounded up are cut. */
    expect(2, 64 * MIB, 126 * MIB - 58 * MIB);
}

static void test_nothing_below_1_mib(void **state)
{
    struct boot_range r[] = { { 0, 4096 }, { 0x10000, 0x80000 } };

    (void)state;
    assert_int_equal(plan(r, 2), 0);
    assert_int_equal(plan(r, 0), 0);
    r[0].size = 100 * MIB;
    assert_int_equal(plan(r, 1), 1);
    expect(0, 2 * MIB, 36 * MIB);
}

static void test_what_alignment_leaves_may_be_enough(void **state)
{
    struct boot_range r[33];

    (void)state;
    for (unsigned i = 0; i < 33; i++)
        r[i] = (struct boot_range){ (i + 1) * 8 * MIB + 4096, 4 * MIB };
    assert_int_equal(plan(r, 33), MAX_OUT);
    for (unsigned i = 0; i < MAX_OUT; i++)
        assert_int_equal(out[i].size, 2 * MIB);
}

static void test_largest_where_there_are_too_many(void **state)
{
    struct boot_range r[6];

    (void)state;
    for (unsigned i = 0; i < 6; i++)
        r[i] = (struct boot_range){ (8 - i) * GIB, (100 + i * 10) * MIB };
    r[5].base = 20 * GIB;
    /* All lie above 4 GiB but one, which the firmware keeps most of. */
    r[4].base = 2 * GIB;
    assert_int_equal(plan(r, 6), MAX_OUT);
    expect(0, 5 * GIB, 130 * MIB);
    expect(1, 6 * GIB, 120 * MIB);
    expect(2, 7 * GIB, 110 * MIB);
    expect(3, 20 * GIB, 150 * MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leaves_a_sixteenth_at_the_top),
        cmocka_unit_test(test_leaves_at_least_64_mib),
        cmocka_unit_test(test_leaves_at_most_1_gib),
        cmocka_unit_test(test_low_memory_goes_first),
        cmocka_unit_test(test_high_memory_where_low_is_too_little),
        cmocka_unit_test(test_a_range_across_4_gib_is_not_low),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_nothing_below_1_mib),
        cmocka_unit_test(test_what_alignment_leaves_may_be_enough),
        cmocka_unit_test(test_largest_where_there_are_too_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
