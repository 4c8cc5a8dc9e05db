/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "ept/ept.h"
#include "lib/errno.h"

static unsigned tables, tables_left;

static struct hpa alloc(void *ctx)
{
    if (!tables_left)
        return HPA(0);
    tables_left--;
    tables++;
    return HPA((uint64_t)memset(aligned_alloc(PAGE_SIZE, PAGE_SIZE), 0, PAGE_SIZE));
}

static void release(void *ctx, struct hpa page)
{
    tables--;
    free((void *)page.v);
}

static const struct ept_pages pages = { .alloc = alloc, .free = release };
static struct ept ept;
static struct ept_slot ready;

static int setup(void **state)
{
    tables_left = 1000;
    return ept_init(&ept, &pages);
}

static int teardown(void **state)
{
    ept_destroy(&ept);
    return tables; /* every table came back */
}

static void map(uint64_t gpa, enum ept_level level, uint64_t hpa)
{
    struct ept_slot slot;

    assert_int_equal(ept_prepare(&ept, GPA(gpa), level, &slot), 0);
    ept_commit(&ept, slot, HPA(hpa), EPT_RWX);
}

static void test_empty(void **state)
{
    assert_int_equal(ept_lookup(&ept, GPA(0)).level, 0);
    assert_int_equal(ept_lookup(&ept, GPA(0xffffffffff)).level, 0);
    assert_int_equal(ept_pointer(&ept, false), ept.root.v | 0x1e);
    assert_int_equal(ept_pointer(&ept, true), ept.root.v | 0x5e);
}

static void test_levels(void **state)
{
    static const struct { uint64_t gpa; enum ept_level level; uint64_t hpa; } maps[] = {
        { 0x1000, EPT_4K, 0x7000 }, { 0x40000000, EPT_2M, 0x200000 }, { 0x8000000000, EPT_1G, 0xc0000000 },
    };

    for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
        struct ept_mapping m;

        map(maps[i].gpa, maps[i].level, maps[i].hpa);
        m = ept_lookup(&ept, GPA(maps[i].gpa + 0x123));
        assert_int_equal(m.level, maps[i].level);
        assert_int_equal(m.hpa.v, maps[i].hpa + 0x123);
        assert_int_equal(m.prot, EPT_RWX);
    }
    assert_int_equal(ept_lookup(&ept, GPA(0x2000)).level, 0);
    assert_int_equal(ept.generation, 1); /* nothing that was present changed: no processor need forget anything */
}

/* The entry's bits as the manual has them: protection, write-back, page size. */
static void test_entry_bits(void **state)
{
    uint64_t *t;

    map(0x40000000, EPT_2M, 0x600000);
    t = (uint64_t *)ept.root.v;
    assert_int_equal(t[0] & 0xfff, 7 | 1 << 8); /* it counts as used */
    t = (uint64_t *)(t[0] & ~0xffful);
    t = (uint64_t *)(t[1] & ~0xffful);
    assert_int_equal(t[0], 0x600000 | 7 | 6 << 3 | 1 << 7);
}

/* In any table that is there, whichever was used last; what was mapped before has to be forgotten. */
static void test_replace(void **state)
{
    assert_false(ept_replace(&ept, GPA(0x1000), HPA(0x9000), EPT_R));
    map(0x200000, EPT_2M, 0x600000);
    assert_false(ept_replace(&ept, GPA(0x201000), HPA(0x9000), EPT_R));
    map(0x1000, EPT_4K, 0x7000);
    map(0x401000, EPT_4K, 0x8000);
    assert_int_equal(ept.generation, 1);
    for (uint64_t i = 0; i < 4; i++) {
        uint64_t gpa = i % 2 ? 0x401000 : 0x1000;

        assert_true(ept_replace(&ept, GPA(gpa), HPA(0xa000 + i * PAGE_SIZE), EPT_R | EPT_X));
        assert_int_equal(ept_lookup(&ept, GPA(gpa)).hpa.v, 0xa000 + i * PAGE_SIZE);
        assert_int_equal(ept_lookup(&ept, GPA(gpa)).prot, EPT_R | EPT_X);
        assert_int_equal(ept.generation, 2 + i);
    }
    assert_true(ept_replace(&ept, GPA(0x2000), HPA(0x9000), EPT_R));
    assert_int_equal(ept.generation, 5); /* there was nothing */
    assert_int_equal(ept_lookup(&ept, GPA(0x201000)).hpa.v, 0x601000);
}

/* Splitting changes no translation, only its grain. */
/* Of many tables those used lately are found at once, and one that is gone is not: also where two share a place. */
static void test_many_tables(void **state)
{
    enum { TABLES = 3 * EPT_RECENT };
    struct hpa gone;

    for (uint64_t i = 0; i < TABLES; i++)
        map(i * PAGE_SIZE_2M, EPT_4K, 0x100000 + i * PAGE_SIZE);
    for (uint64_t round = 1; round < 3; round++) {
        for (uint64_t i = 0; i < TABLES; i++)
            assert_true(ept_replace(&ept, GPA(i * PAGE_SIZE_2M), HPA((round * TABLES + i) * PAGE_SIZE), EPT_R));
        for (uint64_t i = 0; i < TABLES; i++)
            assert_int_equal(ept_lookup(&ept, GPA(i * PAGE_SIZE_2M)).hpa.v, (round * TABLES + i) * PAGE_SIZE);
    }
    for (uint64_t i = 0; i < TABLES; i++) {
        assert_true(ept_has_table(&ept, GPA(i * PAGE_SIZE_2M)));
        gone = ept_unhook(&ept, GPA(i * PAGE_SIZE_2M));
        assert_false(ept_replace(&ept, GPA(i * PAGE_SIZE_2M), HPA(0x9000), EPT_R));
        assert_null(ept_find_empty(&ept, GPA(i * PAGE_SIZE_2M + PAGE_SIZE)));
        assert_true(i + 1 == TABLES || ept_replace(&ept, GPA((i + 1) * PAGE_SIZE_2M), HPA(0x9000), EPT_R));
        release(NULL, gone);
    }
}

static void test_split(void **state)
{
    map(0x80000000, EPT_1G, 0x40000000);
    assert_int_equal(ept_prepare(&ept, GPA(0x80201000), EPT_4K, &ready), 0);
    for (uint64_t off = 0; off < GIB; off += 0x3f1000) {
        struct ept_mapping m = ept_lookup(&ept, GPA(0x80000000 + off));

        assert_int_equal(m.hpa.v, 0x40000000 + off);
        assert_int_equal(m.prot, EPT_RWX);
        assert_int_equal(m.level, off >= 0x200000 && off < 0x400000 ? EPT_4K : EPT_2M);
    }
    assert_true(ept.generation > 1);
    ept_commit(&ept, ready, HPA(0x9000), EPT_R);
    assert_int_equal(ept_lookup(&ept, GPA(0x80201000)).hpa.v, 0x9000);
    assert_int_equal(ept_lookup(&ept, GPA(0x80201000)).prot, EPT_R);
    assert_int_equal(ept_lookup(&ept, GPA(0x80202000)).hpa.v, 0x40202000);
}

static void test_large_over_small_is_refused(void **state)
{
    map(0x200000, EPT_4K, 0x5000);
    assert_int_equal(ept_prepare(&ept, GPA(0x200000), EPT_2M, &ready), -EEXIST);
    assert_int_equal(ept_lookup(&ept, GPA(0x200000)).hpa.v, 0x5000);
}

static void test_clear(void **state)
{
    uint64_t generation;

    map(0x3000, EPT_4K, 0x5000);
    generation = ept.generation;
    ept_clear(&ept, GPA(0x4000));
    assert_int_equal(ept.generation, generation);
    ept_clear(&ept, GPA(0x3000));
    assert_int_equal(ept_lookup(&ept, GPA(0x3000)).level, 0);
    assert_true(ept.generation > generation);
}

static uint64_t *leaf(uint64_t gpa, enum ept_level level)
{
    ept_prepare(&ept, GPA(gpa), level, &ready);
    return ready.entry;
}

/* The bits are read and cleared, the translation stays. */
static void test_sample(void **state)
{
    struct ept_use use;

    ept_sample(&ept, GPA(0), &use);
    assert_int_equal(use.level, 0);
    map(0x3000, EPT_4K, 0x5000);
    map(0x1ff000, EPT_4K, 0x6000);
    map(0x200000, EPT_2M, 0x800000);
    *leaf(0x3000, EPT_4K) |= BIT(8);
    *leaf(0x1ff000, EPT_4K) |= BIT(8) | BIT(9);
    *leaf(0x200000, EPT_2M) |= BIT(8) | BIT(9);
    for (unsigned round = 0; round < 2; round++) {
        ept_sample(&ept, GPA(0), &use);
        assert_int_equal(use.level, EPT_4K);
        assert_int_equal(use.accessed[0], round ? 0 : BIT(3));
        assert_int_equal(use.accessed[7], round ? 0 : BIT(63));
        assert_int_equal(use.dirty[0], 0);
        assert_int_equal(use.dirty[7], round ? 0 : BIT(63));
        ept_sample(&ept, GPA(0x200000), &use);
        assert_int_equal(use.level, EPT_2M);
        assert_int_equal(use.accessed[0], !round);
        assert_int_equal(use.dirty[0], !round);
    }
    assert_int_equal(ept_lookup(&ept, GPA(0x3000)).hpa.v, 0x5000);
    assert_int_equal(ept_lookup(&ept, GPA(0x200000)).prot, EPT_RWX);
}

/* The short way to an empty entry: only where all tables are there and nothing is mapped. */
static void test_find_empty(void **state)
{
    uint64_t *e;

    assert_null(ept_find_empty(&ept, GPA(0x5000)));
    map(0x4000, EPT_4K, 0x10000);
    map(0x400000, EPT_2M, 0x800000);
    assert_null(ept_find_empty(&ept, GPA(0x4123)));
    assert_null(ept_find_empty(&ept, GPA(0x400000)));
    assert_null(ept_find_empty(&ept, GPA(0x8000000000)));
    for (unsigned i = 0; i < 2; i++) {
        uint64_t at = i ? 0x605000 : 0x5000; /* in the table used last, and in another */

        if (i)
            map(0x600000, EPT_4K, 0x20000);
        e = ept_find_empty(&ept, GPA(at + 0x123));
        assert_non_null(e);
        ept_fill(e, HPA(0x30000), EPT_R | EPT_W);
        assert_int_equal(ept_lookup(&ept, GPA(at)).hpa.v, 0x30000);
        assert_int_equal(ept_lookup(&ept, GPA(at)).prot, EPT_R | EPT_W);
        assert_int_equal(ept_lookup(&ept, GPA(at)).level, EPT_4K);
        assert_null(ept_find_empty(&ept, GPA(at)));
    }
    ept_clear(&ept, GPA(0x5000));
    assert_non_null(ept_find_empty(&ept, GPA(0x5000)));
}

/* A table counts as used when it is made, and when a processor has set its accessed bit since it was asked last. */
static void test_table_use(void **state)
{
    uint64_t *t, generation;

    assert_int_equal(ept_table_use(&ept, GPA(0x4000)), EPT_NO_TABLE);
    map(0x400000, EPT_2M, 0x800000);
    assert_int_equal(ept_table_use(&ept, GPA(0x400000)), EPT_NO_TABLE);
    map(0x4000, EPT_4K, 0x10000);
    generation = ept.generation;
    assert_int_equal(ept_table_use(&ept, GPA(0x5000)), EPT_TABLE_USED);
    assert_true(ept.generation > generation);
    assert_int_equal(ept_table_use(&ept, GPA(0x5000)), EPT_TABLE_IDLE);
    t = (uint64_t *)ept.root.v;
    for (unsigned l = EPT_ROOT; l > EPT_2M; l--)
        t = (uint64_t *)(t[0] & 0x000ffffffffff000ull);
    t[0] |= BIT(8);
    assert_int_equal(ept_table_use(&ept, GPA(0x5000)), EPT_TABLE_USED);
    assert_int_equal(ept_lookup(&ept, GPA(0x4000)).hpa.v, 0x10000);
}

/* What is kept is the next table, also where there is no memory. */
static void test_keep(void **state)
{
    struct hpa page = alloc(NULL);
    uint64_t tables;
    struct ept_slot slot;

    map(0x4000, EPT_4K, 0x10000);
    tables = ept.tables;
    ept_keep(&ept, page);
    assert_int_equal(ept_prepare(&ept, GPA(0x200000), EPT_4K, &slot), 0);
    assert_true((uint64_t)slot.entry - page.v < PAGE_SIZE);
    assert_int_equal(ept.tables, tables + 1);
}

/* A table that was taken away is not the one used last any more. */
static void test_find_empty_after_unhook(void **state)
{
    struct hpa table;

    map(0x4000, EPT_4K, 0x10000);
    assert_non_null(ept_find_empty(&ept, GPA(0x5000)));
    table = ept_unhook(&ept, GPA(0x4000));
    assert_true(table.v != 0);
    assert_null(ept_find_empty(&ept, GPA(0x5000)));
    release(NULL, table);
}

/* One entry takes the place of the tables, which are the caller's then; what it is split into says the same. */
static void test_merge(void **state)
{
    struct hpa tables;
    uint64_t generation, before = ept.tables;

    assert_int_equal(ept_merge(&ept, GPA(0xc0000000), HPA(0x40000000), EPT_RWX, &tables), 0);
    assert_int_equal(tables.v, 0);
    assert_int_equal(ept.tables, before + 1);
    map(0x80000000, EPT_2M, 0x40000000);
    map(0x80201000, EPT_4K, 0x40201000);
    generation = ept.generation;
    assert_int_equal(ept_merge(&ept, GPA(0x80000000), HPA(0x40000000), EPT_RWX, &tables), 0);
    assert_true(ept.generation > generation);
    assert_true(tables.v != 0);
    assert_null(ept_find_empty(&ept, GPA(0x80202000))); /* the table of small pages is used no more */
    ept_free_tables(&ept, tables);
    assert_int_equal(ept.tables, before + 1);
    for (uint64_t off = 0; off < GIB; off += 0x3f1000) {
        struct ept_mapping m = ept_lookup(&ept, GPA(0x80000000 + off));

        assert_int_equal(m.level, EPT_1G);
        assert_int_equal(m.hpa.v, 0x40000000 + off);
    }
    assert_int_equal(ept_unhook(&ept, GPA(0x80400000)).v, 0);
    assert_int_equal(ept_lookup(&ept, GPA(0x80400000)).level, 0);
    assert_int_equal(ept_lookup(&ept, GPA(0x80600000)).hpa.v, 0x40600000);
}

/* Where memory ends: no entry; or all of it goes, for its parts cannot be told apart. */
static void test_merge_without_memory(void **state)
{
    struct hpa tables;

    map(0x80000000, EPT_1G, 0x40000000);
    tables_left = 0;
    assert_int_equal(ept_merge(&ept, GPA(0x8000000000), HPA(0xc0000000), EPT_RWX, &tables), -ENOMEM);
    assert_int_equal(ept_unhook(&ept, GPA(0x80400000)).v, 0);
    assert_int_equal(ept_lookup(&ept, GPA(0x80000000)).level, 0);
    tables_left = 1000;
}

/* Where memory ends during prepare, every translation is as before. */
static void test_prepare_without_memory(void **state)
{
    map(0x80000000, EPT_1G, 0x40000000);
    for (unsigned left = 0; left < 2; left++) {
        tables_left = left;
        assert_int_equal(ept_prepare(&ept, GPA(0x80201000), EPT_4K, &ready), -ENOMEM);
        for (uint64_t off = 0; off < GIB; off += 0x3f1000)
            assert_int_equal(ept_lookup(&ept, GPA(0x80000000 + off)).hpa.v, 0x40000000 + off);
    }
    tables_left = 1000;
    assert_int_equal(ept_prepare(&ept, GPA(0x80201000), EPT_4K, &ready), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_empty), TEST(test_levels), TEST(test_entry_bits), TEST(test_split),
        TEST(test_find_empty), TEST(test_replace), TEST(test_table_use), TEST(test_keep),
        TEST(test_find_empty_after_unhook), TEST(test_many_tables), TEST(test_sample),
        TEST(test_large_over_small_is_refused), TEST(test_clear), TEST(test_prepare_without_memory),
        TEST(test_merge), TEST(test_merge_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
