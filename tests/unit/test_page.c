/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "lib/errno.h"
#include "lib/log.h"
#include "tests/unit/machine.h"

static jmp_buf panicked;

/* panic() of lib/log.c ends the machine; here it ends the call that was wrong. */
void panic(const char *fmt, ...)
{
    longjmp(panicked, 1);
}

#define assert_panics(call)                 \
    do {                                    \
        if (!setjmp(panicked)) {            \
            call;                           \
            fail_msg("no panic: " #call);   \
        }                                   \
    } while (0)

static int setup(void **state)
{
    static uint64_t base;

    if (!base)
        base = machine_memory(64 * MIB, 0);
    *state = &base;
    return base ? 0 : -1;
}

static void test_refuses_bad_ranges(void **state)
{
    uint64_t base = *(uint64_t *)*state;

    assert_int_equal(page_add_range(base, PAGE_SIZE * 4, 0), -EINVAL);           /* there already */
    assert_int_equal(page_add_range(base + GIB, PAGE_SIZE + 1, 0), -EINVAL);
    assert_int_equal(page_add_range(0, MIB, 0), -EINVAL);
    assert_int_equal(page_add_range(base + GIB, PAGE_SIZE, 0), -EINVAL);         /* no page left beside the memmap */
    assert_int_equal(page_add_range(base + GIB, MIB, NUMA_MAX_NODES), -EINVAL);
}

static void test_blocks_are_aligned_and_come_back(void **state)
{
    uint64_t before = free_pages();
    struct hpa p[PAGE_ORDER_2M + 1];

    for (unsigned o = 0; o <= PAGE_ORDER_2M; o++) {
        p[o] = page_alloc(0, o, PAGE_PRIVATE);
        assert_true(p[o].v && p[o].v % (PAGE_SIZE << o) == 0);
        assert_int_equal(page_of(p[o])->kind, PAGE_PRIVATE);
    }
    for (unsigned o = 0; o <= PAGE_ORDER_2M; o++)
        page_free(p[o], o);
    assert_int_equal(free_pages(), before);
}

static void test_zeroed_is_zero(void **state)
{
    struct hpa p = page_alloc(0, 0, PAGE_PRIVATE);

    memset(hpa_ptr(p), 0xff, PAGE_SIZE);
    page_free(p, 0);
    for (unsigned i = 0; i < 3; i++) {
        struct hpa z = page_alloc_zeroed(0, 0, PAGE_PRIVATE);

        for (unsigned b = 0; b < PAGE_SIZE; b++)
            assert_int_equal(((uint8_t *)hpa_ptr(z))[b], 0);
    }
}

static void test_wrong_frees_panic(void **state)
{
    struct hpa p = page_alloc(0, 1, PAGE_PRIVATE);

    assert_panics(page_free(p, 0));
    assert_panics(page_free(HPA(p.v + PAGE_SIZE), 0));
    assert_panics(page_free(HPA(0x1000), 0));
    page_free(p, 1);
    assert_panics(page_free(p, 1));
}

static void test_exhaustion_and_coalescing(void **state)
{
    uint64_t before = free_pages(), n = 0;
    struct hpa *p = calloc(before + 1, sizeof(*p)), big;

    while ((p[n] = page_alloc(0, 0, PAGE_PRIVATE)).v)
        n++;
    assert_int_equal(n, before);
    assert_int_equal(free_pages(), 0);
    for (uint64_t i = 0; i < n; i++)
        page_free(p[(i * 7919) % n], 0); /* 7919 is prime: every page once, out of order */
    assert_int_equal(free_pages(), before);
    big = page_alloc(0, 12, PAGE_PRIVATE); /* 16 MiB: only if the buddies found each other */
    assert_true(big.v);
    page_free(big, 12);
    free(p);
}

static void test_other_node_when_one_is_empty(void **state)
{
    struct hpa p = page_alloc(3, 0, PAGE_PRIVATE); /* node 3 has no memory */

    assert_true(p.v);
    assert_int_equal(page_of(p)->node, 0);
    page_free(p, 0);
}

/* What one node cannot give comes from the nearest that can. */
static void test_nearest_first(void **state)
{
    uint8_t distance[NUMA_MAX_NODES][NUMA_MAX_NODES] = { { 10, 30, 20 }, { 30, 10, 15 }, { 20, 15, 10 } };
    uint64_t before = free_pages(), n = 0;
    struct hpa *p = calloc(before + 9000, sizeof(*p)), far;

    assert_true(machine_memory(8 * MIB, 1) && machine_memory(8 * MIB, 2));
    page_set_distances(3, distance);
    assert_int_equal(page_nodes(), 3);
    assert_int_equal(page_distance(1, 2), 15);
    do {
        p[n] = page_alloc(1, 0, PAGE_PRIVATE);
    } while (page_of(p[n++])->node == 1);
    assert_int_equal(page_of(p[n - 1])->node, 2);
    do {
        p[n] = page_alloc(1, 0, PAGE_PRIVATE);
    } while (page_of(p[n++])->node == 2);
    assert_int_equal(page_of(p[n - 1])->node, 0);
    far = page_alloc(0, 0, PAGE_PRIVATE);
    assert_int_equal(page_of(far)->node, 0);
    page_free(far, 0);
    while (n--)
        page_free(p[n], 0);
    free(p);
}

static void test_split_pages_free_one_by_one(void **state)
{
    uint64_t before = free_pages();
    struct hpa p = page_alloc(0, 3, PAGE_PRIVATE);

    page_split(p, 3, 0);
    for (unsigned i = 0; i < 8; i++)
        page_free(HPA(p.v + i * PAGE_SIZE), 0);
    assert_int_equal(free_pages(), before);
}

/* Blocks zeroed ahead count as free, come out zero, and go back to other sizes when those run short. */
static void test_zeroed_ahead(void **state)
{
    uint64_t before = free_pages(), n = 0;
    struct hpa *p = calloc(before + 1, sizeof(*p)), block;
    struct page_counts c;

    while (page_zero_ahead(0))
        n++;
    page_count(NUMA_MAX_NODES, &c);
    assert_true(n >= 4 * 32); /* 8 MiB of 64, in steps of 64 KiB */
    assert_true(c.by_kind[PAGE_ZEROED] >= 4 * 512);
    assert_int_equal(free_pages(), before);
    block = page_alloc_zeroed(0, PAGE_ORDER_2M, PAGE_PRIVATE);
    for (uint64_t i = 0; i < PAGE_SIZE_2M / 8; i++)
        assert_int_equal(((uint64_t *)hpa_ptr(block))[i], 0);
    assert_int_equal(page_of(block)->kind, PAGE_PRIVATE);
    assert_int_equal(free_pages(), before - 512);
    page_free(block, PAGE_ORDER_2M);
    page_count(NUMA_MAX_NODES, &c);
    block = page_alloc_zeroed(0, PAGE_ORDER_4K, PAGE_PRIVATE); /* from the stock too: no more is zeroed for it */
    assert_int_equal(*(uint64_t *)hpa_ptr(block), 0);
    assert_int_equal(page_of(block)->order, 0);
    n = c.by_kind[PAGE_ZEROED];
    page_count(NUMA_MAX_NODES, &c);
    assert_int_equal(c.by_kind[PAGE_ZEROED], n - 1);
    assert_int_equal(free_pages(), before - 1);
    page_free(block, PAGE_ORDER_4K);
    for (n = 0; (p[n] = page_alloc(0, 0, PAGE_PRIVATE)).v;)
        n++;
    assert_int_equal(n, before);
    while (n--)
        page_free(p[n], 0);
    assert_int_equal(free_pages(), before);
    free(p);
}

/* A certain block: wherever it is in a free one or in the stock, and nowhere else. */
static void test_take(void **state)
{
    uint64_t base = ALIGN_UP(*(uint64_t *)*state + 8 * MIB, PAGE_SIZE_2M), before = free_pages();
    struct hpa p[64], small;
    struct page_counts c;
    unsigned n = 0;

    for (uint64_t at = base; at < base + 48 * MIB; at += PAGE_SIZE_2M) /* free ones in any order, the stock's too */
        n += page_take(HPA(at), PAGE_PRIVATE);
    assert_int_equal(n, 24);
    assert_int_equal(free_pages(), before - n * 512);
    assert_false(page_take(HPA(base + 6 * MIB), PAGE_PRIVATE)); /* not twice */
    assert_false(page_take(HPA(base + GIB), PAGE_PRIVATE));     /* not ours */
    for (uint64_t at = base; at < base + 48 * MIB; at += PAGE_SIZE_2M)
        page_free(HPA(at), PAGE_ORDER_2M);
    assert_int_equal(free_pages(), before);

    while (page_zero_ahead(0))
        ;
    page_count(NUMA_MAX_NODES, &c);
    for (n = 0; (p[n] = page_alloc_zeroed(0, PAGE_ORDER_2M, PAGE_PRIVATE)).v && n < 2;)
        n++;
    page_free(p[0], PAGE_ORDER_2M);
    page_free(p[1], PAGE_ORDER_2M);
    while (page_zero_ahead(0))              /* these are in the stock now */
        ;
    assert_true(page_take(p[0], PAGE_PRIVATE));
    assert_true(page_take(p[1], PAGE_PRIVATE));
    assert_true(page_zero_ahead(0));        /* another one is begun, which nobody may have now */
    for (uint64_t at = base - 8 * MIB; at < base + 56 * MIB; at += PAGE_SIZE_2M)
        if (page_take(HPA(at), PAGE_SEGMENT))
            assert_true(at != p[0].v && at != p[1].v);
    page_count(NUMA_MAX_NODES, &c);
    assert_in_range(c.by_kind[PAGE_ZEROED], 512, 1023); /* and pages of a broken block */
    for (uint64_t at = base - 8 * MIB; at < base + 56 * MIB; at += PAGE_SIZE_2M)
        if (page_of(HPA(at)) && page_of(HPA(at))->kind == PAGE_SEGMENT)
            page_free(HPA(at), PAGE_ORDER_2M);
    for (unsigned i = 0; i < 3; i++)
        page_free(p[i], PAGE_ORDER_2M);

    small = page_alloc(0, PAGE_ORDER_4K, PAGE_PRIVATE);
    assert_false(page_take(HPA(ALIGN_DOWN(small.v, PAGE_SIZE_2M)), PAGE_PRIVATE)); /* a page of it is in use */
    page_free(small, PAGE_ORDER_4K);
    assert_int_equal(free_pages(), before);
}

/* No block handed out overlaps another, whatever the order of calls. */
static void test_random(void **state)
{
    enum { SLOTS = 200 };
    struct { struct hpa p; unsigned order; uint64_t tag; } slot[SLOTS] = { 0 };
    uint64_t before = free_pages();

    srand(1);
    for (unsigned step = 0; step < 200000; step++) {
        unsigned i = (unsigned)rand() % SLOTS;
        uint64_t *mark = hpa_ptr(slot[i].p);

        if (slot[i].p.v) {
            for (uint64_t n = 0; n < BIT(slot[i].order); n++)
                assert_int_equal(mark[n * 512], slot[i].tag + n);
            page_free(slot[i].p, slot[i].order);
            slot[i].p = HPA_NONE;
            continue;
        }
        slot[i].order = (unsigned)rand() % 6;
        slot[i].p = page_alloc(0, slot[i].order, PAGE_PRIVATE);
        slot[i].tag = (uint64_t)step << 8;
        for (uint64_t n = 0; slot[i].p.v && n < BIT(slot[i].order); n++)
            ((uint64_t *)hpa_ptr(slot[i].p))[n * 512] = slot[i].tag + n;
    }
    for (unsigned i = 0; i < SLOTS; i++)
        if (slot[i].p.v)
            page_free(slot[i].p, slot[i].order);
    assert_int_equal(free_pages(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_refuses_bad_ranges, setup),
        cmocka_unit_test_setup(test_blocks_are_aligned_and_come_back, setup),
        cmocka_unit_test_setup(test_zeroed_is_zero, setup),
        cmocka_unit_test_setup(test_wrong_frees_panic, setup),
        cmocka_unit_test_setup(test_exhaustion_and_coalescing, setup),
        cmocka_unit_test_setup(test_other_node_when_one_is_empty, setup),
        cmocka_unit_test_setup(test_split_pages_free_one_by_one, setup),
        cmocka_unit_test_setup(test_zeroed_ahead, setup),
        cmocka_unit_test_setup(test_take, setup),
        cmocka_unit_test_setup(test_random, setup),
        cmocka_unit_test_setup(test_nearest_first, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
