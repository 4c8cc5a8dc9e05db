/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "lib/errno.h"
#include "tests/unit/seam/fake_cpu.h"

/* The tables live in a pool that plays physical memory; its addresses are real ones, as in the identity map. */
#define POOL_PAGES 64

static uint8_t *pool;
static unsigned used, limit;

static uint64_t take(void)
{
    uint8_t *page;

    if (used == limit)
        return 0;
    page = pool + used++ * PAGE_SIZE;
    memset(page, 0, PAGE_SIZE);
    return (uint64_t)(uintptr_t)page;
}

static void begin(bool gigabyte_pages)
{
    fake_cpu_reset();
    fake_cpuid_set(0x80000000, 0, 0x80000008, 0, 0, 0);
    fake_cpuid_set(0x80000001, 0, 0, 0, 0, gigabyte_pages ? 1u << 26 : 0);
    used = 0;
    limit = POOL_PAGES;
    memset(pool, 0xee, POOL_PAGES * PAGE_SIZE);
    assert_int_equal(paging_begin(take), 0);
}

static int set_up(void **state)
{
    (void)state;
    pool = aligned_alloc(PAGE_SIZE, POOL_PAGES * PAGE_SIZE);
    begin(true);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(pool);
    return 0;
}

struct mapping {
    bool present, writable, executable;
    uint64_t phys, size;
    unsigned pat; /* index into IA32_PAT */
};

/* The walk as the processor does it (SDM vol. 3A, 4.5), written again. */
static struct mapping walk(uint64_t addr)
{
    struct mapping m = { .writable = true, .executable = true };
    uint64_t at = paging_root();

    for (int shift = 39; shift >= 12; shift -= 9) {
        uint64_t e = ((const uint64_t *)(uintptr_t)at)[addr >> shift & 511];
        bool large = shift == 12 || (shift < 39 && (e & 0x80));

        if (!(e & 1))
            return (struct mapping){ 0 };
        m.writable &= (e & 2) != 0;
        m.executable &= !(e >> 63);
        assert_false(e & 4); /* never for CPL 3 */
        at = e & 0x000ffffffffff000;
        if (large) {
            m.present = true;
            m.size = 1ull << shift;
            m.pat = (unsigned)((e >> 3 & 3) | (e >> (shift == 12 ? 7 : 12) & 1) << 2);
            at &= ~((shift == 12 ? 0 : 0x1000ull));
            assert_int_equal(at & (m.size - 1), 0);
            m.phys = at | (addr & (m.size - 1));
            return m;
        }
        assert_true(at >= (uintptr_t)pool && at < (uintptr_t)pool + POOL_PAGES * PAGE_SIZE);
    }
    return m;
}

static void check(uint64_t addr, uint64_t size, bool w, bool x, unsigned pat)
{
    struct mapping m = walk(addr);
    uint64_t page_size = 0;

    assert_true(m.present);
    assert_int_equal(m.phys, addr);
    assert_int_equal(m.size, size);
    assert_int_equal(m.writable, w);
    assert_int_equal(m.executable, x);
    assert_int_equal(m.pat, pat);
    assert_int_not_equal(paging_lookup(addr, &page_size), 0);
    assert_int_equal(page_size, size);
}

static void test_kinds(void **state)
{
    static const struct { enum map_kind kind; bool w, x; unsigned char type; } kinds[] = {
        { MAP_CODE, false, true, 6 }, { MAP_RODATA, false, false, 6 }, { MAP_DATA, true, false, 6 },
        { MAP_DEVICE, true, false, 0 }, { MAP_FRAME, true, false, 1 }, /* types: SDM vol. 3A, table 12-10 */
    };
    static const uint64_t sizes[] = { PAGE_SIZE, PAGE_SIZE_2M, PAGE_SIZE_1G };

    for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
        for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++) {
            uint64_t base = 5 * PAGE_SIZE_1G;
            unsigned pat;

            begin(true);
            assert_int_equal(paging_map(base, sizes[s], kinds[k].kind), 0);
            pat = walk(base).pat;
            check(base, sizes[s], kinds[k].w, kinds[k].x, pat);
            assert_int_equal(PAT_VALUE >> (8 * pat) & 0xff, kinds[k].type);
            assert_false(walk(base - 1).present);
            assert_false(walk(base + sizes[s]).present);
        }
    }
    (void)state;
}

static void test_biggest_pages(void **state)
{
    uint64_t base = PAGE_SIZE_1G - PAGE_SIZE_2M - PAGE_SIZE, end = 2 * PAGE_SIZE_1G + PAGE_SIZE_2M + PAGE_SIZE;

    assert_int_equal(paging_map(base, end - base, MAP_DATA), 0);
    check(base, PAGE_SIZE, true, false, 0);
    check(base + PAGE_SIZE, PAGE_SIZE_2M, true, false, 0);
    check(PAGE_SIZE_1G + 12345, PAGE_SIZE_1G, true, false, 0);
    check(2 * PAGE_SIZE_1G, PAGE_SIZE_2M, true, false, 0);
    check(end - 1, PAGE_SIZE, true, false, 0);
    assert_false(walk(base - 1).present);
    assert_false(walk(end).present);
    begin(false);
    assert_int_equal(paging_map(PAGE_SIZE_1G, PAGE_SIZE_1G, MAP_DATA), 0);
    check(PAGE_SIZE_1G, PAGE_SIZE_2M, true, false, 0);
    (void)state;
}

/* Another kind inside a 1 GiB page: all around it stays as it was. */
static void test_split(void **state)
{
    uint64_t hole = PAGE_SIZE_1G + 3 * PAGE_SIZE_2M + 7 * PAGE_SIZE;

    assert_int_equal(paging_map(PAGE_SIZE_1G, PAGE_SIZE_1G, MAP_FRAME), 0);
    assert_int_equal(paging_map(hole, PAGE_SIZE, MAP_CODE), 0);
    check(hole, PAGE_SIZE, false, true, 0);
    for (uint64_t at = PAGE_SIZE_1G + 3 * PAGE_SIZE_2M; at < PAGE_SIZE_1G + 4 * PAGE_SIZE_2M; at += PAGE_SIZE) {
        if (at != hole)
            check(at, PAGE_SIZE, true, false, 4);
    }
    for (uint64_t at = PAGE_SIZE_1G; at < 2 * PAGE_SIZE_1G; at += PAGE_SIZE_2M) {
        if (at != PAGE_SIZE_1G + 3 * PAGE_SIZE_2M)
            check(at, PAGE_SIZE_2M, true, false, 4);
    }
    /* A whole mapped over its parts: they all change. */
    assert_int_equal(paging_map(PAGE_SIZE_1G, PAGE_SIZE_1G, MAP_RODATA), 0);
    for (uint64_t at = PAGE_SIZE_1G; at < 2 * PAGE_SIZE_1G; at += PAGE_SIZE)
        assert_false(walk(at).writable || walk(at).executable);
    (void)state;
}

static void test_guard_page(void **state)
{
    uint64_t guard = 5 * PAGE_SIZE_2M + PAGE_SIZE;

    assert_int_equal(paging_map(4 * PAGE_SIZE_2M, 4 * PAGE_SIZE_2M, MAP_DATA), 0);
    assert_int_equal(paging_unmap_page(guard), 0);
    assert_false(walk(guard).present);
    check(guard - 1, PAGE_SIZE, true, false, 0);
    check(guard + PAGE_SIZE, PAGE_SIZE, true, false, 0);
    check(4 * PAGE_SIZE_2M, PAGE_SIZE_2M, true, false, 0);
    assert_int_equal(paging_unmap_page(PAGE_SIZE_1G), 0); /* nothing there */
    assert_int_equal(paging_unmap_page(guard + 1), -EINVAL);
    (void)state;
}

static void test_flush(void **state)
{
    assert_false(paging_active());
    assert_int_equal(paging_map(0, PAGE_SIZE_2M, MAP_DATA), 0);
    assert_int_equal(fake_cpu.cr3, 0); /* the firmware's CR3 is left alone */
    assert_int_equal(paging_unmap_page(0), 0);
    assert_int_equal(fake_cpu.invlpg_count, 0);
    fake_cpu.cr3 = paging_root() | 0x18;
    assert_true(paging_active());
    assert_int_equal(paging_map(0, PAGE_SIZE_2M, MAP_DATA), 0);
    assert_int_equal(fake_cpu.cr3, paging_root()); /* written */
    assert_int_equal(paging_unmap_page(PAGE_SIZE), 0);
    assert_int_equal(fake_cpu.invlpg_count, 1);
    assert_int_equal(fake_cpu.invlpg_last, PAGE_SIZE);
    (void)state;
}

static void test_refusals(void **state)
{
    assert_int_equal(paging_map(1, PAGE_SIZE, MAP_DATA), -EINVAL);
    assert_int_equal(paging_map(0, 1, MAP_DATA), -EINVAL);
    assert_int_equal(paging_map(BIT(47) - PAGE_SIZE, 2 * PAGE_SIZE, MAP_DATA), -EINVAL);
    assert_int_equal(paging_map(-PAGE_SIZE, 2 * PAGE_SIZE, MAP_DATA), -EINVAL);
    assert_int_equal(paging_map(BIT(47) - PAGE_SIZE, PAGE_SIZE, MAP_DATA), 0);
    begin(true);
    limit = 3;
    assert_int_equal(paging_map(0, PAGE_SIZE, MAP_DATA), -ENOMEM);
    limit = 0;
    used = 0;
    assert_int_equal(paging_begin(take), -ENOMEM);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kinds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_biggest_pages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_split, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_guard_page, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_flush, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
