/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/e820.h"

static uint64_t ram_of(uint64_t memory)
{
    struct e820_entry map[E820_MAX];
    unsigned n = e820_build(memory, map);
    uint64_t sum = 0;

    for (unsigned i = 0; i < n; i++)
        sum += map[i].type == E820_RAM ? map[i].size : 0;
    return sum;
}

static void ascending_without_overlap(void **state)
{
    static const uint64_t sizes[] = { 0, 1, 4096, 640 * KIB, MIB - 1, MIB, MIB + 1, 64 * MIB, 3 * GIB - 1, 3 * GIB,
                                      3 * GIB + 1, 4 * GIB, 5 * GIB, 1024 * GIB };

    (void)state;
    for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++) {
        struct e820_entry map[E820_MAX];
        unsigned n = e820_build(sizes[s], map);

        assert_true(n <= E820_MAX);
        for (unsigned i = 0; i < n; i++) {
            assert_true(map[i].size > 0);
            assert_true(map[i].type >= E820_RAM && map[i].type <= E820_ACPI);
            if (i)
                assert_true(map[i].base >= map[i - 1].base + map[i - 1].size);
        }
    }
}

static void a_pc_of_64_mib(void **state)
{
    static const struct e820_entry want[] = {
        { 0, 0x9fc00, E820_RAM }, { 0x9fc00, 0x400, E820_RESERVED }, { 0xe0000, 0x10000, E820_ACPI },
        { 0xf0000, 0x10000, E820_RESERVED }, { MIB, 63 * MIB, E820_RAM },
    };
    struct e820_entry map[E820_MAX];

    (void)state;
    assert_int_equal(e820_build(64 * MIB, map), ARRAY_SIZE(want));
    assert_memory_equal(map, want, sizeof(want));
}

static void the_rest_goes_above_4_gib(void **state)
{
    struct e820_entry map[E820_MAX];
    unsigned n;

    (void)state;
    n = e820_build(3 * GIB, map);
    assert_true(map[n - 1].base == MIB && map[n - 1].size == 3 * GIB - MIB);
    n = e820_build(5 * GIB, map);
    assert_true(map[n - 1].base == 4 * GIB && map[n - 1].size == 2 * GIB && map[n - 1].type == E820_RAM);
    assert_true(map[n - 2].base == MIB && map[n - 2].size == 3 * GIB - MIB);
}

/* All memory is told but for what lies in the holes of the first MiB. */
static void the_sum_is_right(void **state)
{
    const uint64_t holes = MIB - 0x9fc00;

    (void)state;
    assert_int_equal(ram_of(64 * MIB), 64 * MIB - holes);
    assert_true(ram_of(3 * GIB) == 3 * GIB - holes);
    assert_true(ram_of(1000 * GIB) == 1000 * GIB - holes);
    assert_int_equal(ram_of(MIB), 0x9fc00);
    assert_int_equal(ram_of(0x8000), 0x8000);
}

static void is_ram_at_every_edge(void **state)
{
    const uint64_t memory = 5 * GIB, low = 3 * GIB, top = 6 * GIB;

    (void)state;
    assert_true(e820_is_ram(memory, 0, 0x9fc00));
    assert_false(e820_is_ram(memory, 0, 0x9fc01));
    assert_false(e820_is_ram(memory, 0x9fc00, 1));
    assert_false(e820_is_ram(memory, 0xa0000, 1));
    assert_false(e820_is_ram(memory, 0xe0000, 16));
    assert_false(e820_is_ram(memory, MIB - 1, 2));
    assert_true(e820_is_ram(memory, MIB, low - MIB));
    assert_false(e820_is_ram(memory, MIB, low - MIB + 1));
    assert_false(e820_is_ram(memory, low, 1));
    assert_false(e820_is_ram(memory, 4 * GIB - 1, 2));
    assert_true(e820_is_ram(memory, 4 * GIB, top - 4 * GIB));
    assert_false(e820_is_ram(memory, 4 * GIB, top - 4 * GIB + 1));
    assert_false(e820_is_ram(memory, top, 1));
}

static void is_ram_does_not_overflow(void **state)
{
    (void)state;
    assert_false(e820_is_ram(5 * GIB, MIB, UINT64_MAX));
    assert_false(e820_is_ram(5 * GIB, MIB + 8192, UINT64_MAX - 4095));
    assert_false(e820_is_ram(5 * GIB, UINT64_MAX, 2));
    assert_false(e820_is_ram(5 * GIB, UINT64_MAX - 4095, 8192));
    assert_false(e820_is_ram(5 * GIB, 4 * GIB, UINT64_MAX - 4 * GIB + 2));
}

static void an_empty_range_is_where_it_begins(void **state)
{
    (void)state;
    assert_true(e820_is_ram(64 * MIB, MIB, 0));
    assert_false(e820_is_ram(64 * MIB, 64 * MIB, 0));
    assert_false(e820_is_ram(64 * MIB, 0xf0000, 0));
    assert_false(e820_is_ram(0, 0, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ascending_without_overlap),
        cmocka_unit_test(a_pc_of_64_mib),
        cmocka_unit_test(the_rest_goes_above_4_gib),
        cmocka_unit_test(the_sum_is_right),
        cmocka_unit_test(is_ram_at_every_edge),
        cmocka_unit_test(is_ram_does_not_overflow),
        cmocka_unit_test(an_empty_range_is_where_it_begins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
