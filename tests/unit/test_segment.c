/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "lib/errno.h"
#include "numa/segment.h"
#include "tests/unit/machine.h"

static struct pmap vm[3];

static int setup(void **state)
{
    static uint64_t base;

    if (!base) {
        base = machine_memory(96 * MIB, 0);
        base = machine_memory(32 * MIB, 1) ? base : 0;
    }
    return base ? 0 : -1;
}

static uint64_t segment_kind(void)
{
    struct page_counts c;

    page_count(NUMA_MAX_NODES, &c);
    return c.by_kind[PAGE_SEGMENT];
}

static struct gpa add(struct pmap *m, const char *name, uint64_t size, bool write)
{
    struct segment *s = NULL;
    struct gpa base = { 0 };

    assert_int_equal(segment_get(name, size, &s), 0);
    assert_string_equal(segment_name(s), name);
    assert_int_equal(segment_size(s), size);
    assert_int_equal(pmap_add_segment(m, s, write, &base), 0);
    return base;
}

/* The machine page that a guest reaches at an address. */
static uint64_t page_at(struct pmap *m, unsigned node, struct gpa gpa, unsigned prot)
{
    struct ept_mapping e = ept_lookup(&m->ept[node], gpa);

    assert_true(e.level);
    assert_int_equal(e.prot, prot);
    return e.hpa.v;
}

static void test_one_memory_for_all(void **state)
{
    uint64_t before = free_pages();
    struct gpa at[2];

    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pmap_init(&vm[i], (uint16_t)(i + 1), (i + 1) * 8 * MIB, 2), 0);
    at[0] = add(&vm[0], "db", 4 * MIB, true);
    at[1] = add(&vm[1], "db", 4 * MIB, false);
    assert_int_equal(at[0].v, PMAP_HIGH_BASE);
    assert_int_equal(segment_kind(), 0);
    for (uint64_t o = 0; o < 4 * MIB; o += PAGE_SIZE) {
        struct gpa a = GPA(at[0].v + o), b = GPA(at[1].v + o);

        assert_int_equal(pmap_fault(&vm[0], a, 0, true), 0);
        assert_int_equal(pmap_fault(&vm[0], a, 1, false), 0);
        assert_int_equal(pmap_fault(&vm[1], b, 1, false), 0);
        assert_int_equal(page_at(&vm[0], 0, a, EPT_RWX), page_at(&vm[0], 1, a, EPT_RWX));
        assert_int_equal(page_at(&vm[0], 0, a, EPT_RWX), page_at(&vm[1], 1, b, EPT_R | EPT_X));
        assert_int_equal(*(uint64_t *)page_at(&vm[0], 0, a, EPT_RWX), 0);
        *(uint64_t *)page_at(&vm[0], 0, a, EPT_RWX) = 0x1234 + o;
    }
    assert_int_equal(segment_kind(), 1024); /* once, for both */
    assert_int_equal(pmap_fault(&vm[1], at[1], 0, true), -EFAULT);
    assert_int_equal(pmap_fault(&vm[0], GPA(at[0].v + 4 * MIB), 0, false), -EFAULT);
    assert_int_equal(pmap_fault(&vm[0], GPA(at[0].v - 1), 0, false), -EFAULT);
    pmap_destroy(&vm[0]);
    assert_int_equal(segment_kind(), 1024); /* the other has it still, with what is in it */
    assert_int_equal(*(uint64_t *)page_at(&vm[1], 1, at[1], EPT_R | EPT_X), 0x1234);
    pmap_destroy(&vm[1]);
    assert_int_equal(segment_kind(), 0);
    assert_int_equal(free_pages(), before);
}

/* Nobody finds what was in it before. */
static void test_zero_for_the_next(void **state)
{
    for (unsigned round = 0; round < 2; round++) {
        struct gpa at;

        assert_int_equal(pmap_init(&vm[0], 1, 8 * MIB, 1), 0);
        at = add(&vm[0], "db", 2 * MIB, true);
        for (uint64_t o = 0; o < 2 * MIB; o += PAGE_SIZE) {
            assert_int_equal(pmap_fault(&vm[0], GPA(at.v + o), 0, true), 0);
            assert_int_equal(*(uint64_t *)page_at(&vm[0], 0, GPA(at.v + o), EPT_RWX), 0);
            *(uint64_t *)page_at(&vm[0], 0, GPA(at.v + o), EPT_RWX) = ~o;
        }
        pmap_destroy(&vm[0]);
    }
}

/* It is no RAM: what goes round a VM's memory, or writes to it, does not know it. */
static void test_it_is_no_ram(void **state)
{
    struct gpa at;
    char byte = 1;

    assert_int_equal(pmap_init(&vm[0], 1, 8 * MIB, 1), 0);
    at = add(&vm[0], "db", 2 * MIB, true);
    assert_int_equal(pmap_fault(&vm[0], at, 0, true), 0);
    assert_false(pmap_is_ram(&vm[0], at, 1));
    assert_int_equal(pmap_write(&vm[0], at, &byte, 1), -EFAULT);
    assert_int_equal(pmap_read(&vm[0], at, &byte, 1), -EFAULT);
    assert_int_not_equal(pmap_place(&vm[0], at, commons_zero(0), 0), 0);
    assert_false(pmap_touch(&vm[0], GPA(at.v + PAGE_SIZE), 0));
    assert_int_equal(pmap_memory(&vm[0]), 8 * MIB);
    assert_int_equal(vm[0].counts.touched, 0);
    pmap_destroy(&vm[0]);
}

static int no_page(void *ctx, uint64_t n, struct hpa *page) { return -EIO; }

static void test_behind_all_else(void **state)
{
    struct gpa window, first, second;

    assert_int_equal(pmap_init(&vm[0], 1, 8 * MIB, 1), 0);
    assert_int_equal(pmap_add_window(&vm[0], 2 * MIB, 2 * MIB, (struct pmap_source){ no_page, NULL }, &window), 0);
    first = add(&vm[0], "one", 130 * MIB, true);
    second = add(&vm[0], "two", 2 * MIB, true);
    assert_int_equal(first.v, window.v + PMAP_WINDOW_ALIGN);
    assert_int_equal(second.v, first.v + 2 * PMAP_WINDOW_ALIGN);
    assert_int_equal(pmap_fault(&vm[0], second, 0, true), 0);
    assert_int_equal(pmap_fault(&vm[0], GPA(first.v + 130 * MIB), 0, false), -EFAULT);
    pmap_destroy(&vm[0]);
}

static void test_refusals(void **state)
{
    static const char longest[] = "1234567890123456789012345678901", longer[] = "12345678901234567890123456789012";
    struct segment *s[SEGMENTS_MAX], *more = NULL;
    uint64_t before = free_pages();
    char name[8] = "s00";
    struct gpa at;

    assert_int_equal(segment_get("db", 0, &more), -EINVAL);
    assert_int_equal(segment_get("db", 2 * MIB + PAGE_SIZE, &more), -EINVAL);
    assert_int_equal(segment_get(longer, 2 * MIB, &more), -EINVAL);
    assert_int_equal(segment_get(longest, 2 * MIB, &s[0]), 0);
    assert_int_equal(segment_get(longest, 4 * MIB, &more), -EINVAL);
    for (unsigned i = 1; i < SEGMENTS_MAX; i++) {
        name[1] = (char)('0' + i / 10);
        name[2] = (char)('0' + i % 10);
        assert_int_equal(segment_get(name, 2 * MIB, &s[i]), 0);
    }
    assert_int_equal(segment_get("more", 2 * MIB, &more), -ENOSPC);
    assert_int_equal(pmap_init(&vm[0], 1, 8 * MIB, 1), 0);
    for (unsigned i = 0; i < PMAP_SEGMENTS; i++)
        assert_int_equal(pmap_add_segment(&vm[0], s[i], true, &at), 0);
    assert_int_equal(pmap_add_segment(&vm[0], s[PMAP_SEGMENTS], true, &at), -ENOSPC);
    pmap_destroy(&vm[0]);
    for (unsigned i = PMAP_SEGMENTS; i < SEGMENTS_MAX; i++)
        segment_drop(s[i]);
    assert_int_equal(free_pages(), before);
}

/* When there are no large pages any more it is small ones, and when there are none at all the fault says so. */
static void test_memory_runs_out(void **state)
{
    uint64_t before = free_pages(), backed = 0;
    struct gpa at;

    assert_int_equal(pmap_init(&vm[0], 1, 8 * MIB, 1), 0);
    at = add(&vm[0], "db", 256 * MIB, true);
    while (pmap_fault(&vm[0], GPA(at.v + backed * PAGE_SIZE), 0, true) == 0)
        backed++;
    assert_int_equal(pmap_fault(&vm[0], GPA(at.v + backed * PAGE_SIZE), 0, true), -ENOMEM);
    assert_in_range(backed, before - before / 32 - 100, before);
    assert_int_equal(ept_lookup(&vm[0].ept[0], at).level, EPT_2M);
    assert_int_equal(ept_lookup(&vm[0].ept[0], GPA(at.v + (backed - 1) * PAGE_SIZE)).level, EPT_4K);
    assert_in_range(segment_kind(), backed, backed + 512);
    pmap_destroy(&vm[0]);
    assert_int_equal(free_pages(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_one_memory_for_all, setup),
        cmocka_unit_test_setup(test_zero_for_the_next, setup),
        cmocka_unit_test_setup(test_it_is_no_ram, setup),
        cmocka_unit_test_setup(test_behind_all_else, setup),
        cmocka_unit_test_setup(test_refusals, setup),
        cmocka_unit_test_setup(test_memory_runs_out, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
