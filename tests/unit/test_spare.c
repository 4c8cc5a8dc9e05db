/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "numa/spare.h"
#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_percpu.h"

static jmp_buf panicked;

void panic(const char *fmt, ...)
{
    longjmp(panicked, 1);
}

static int setup(void **state)
{
    static bool ready;

    for (unsigned i = 0; i < FAKE_CPUS; i++)
        fake_percpu[i].node = i % 2;
    if (!ready)
        ready = machine_memory(16 * MIB, 0) && machine_memory(16 * MIB, 1);
    fake_percpu_enter(0);
    return ready ? 0 : -1;
}

static int teardown(void **state)
{
    spare_return();
    return 0;
}

static struct page_counts counts(void)
{
    struct page_counts c;

    page_count(NUMA_MAX_NODES, &c);
    return c;
}

static bool is_zero(struct hpa page)
{
    for (unsigned i = 0; i < PAGE_SIZE; i++)
        if (((char *)hpa_ptr(page))[i])
            return false;
    return true;
}

/* Each processor's pages are of its own node and zero, whether the node had zeroed ones or not. */
static void test_near_and_zero(void **state)
{
    for (unsigned stocked = 0; stocked < 2; stocked++) {
        for (unsigned cpu = 0; cpu < FAKE_CPUS; cpu++) {
            struct hpa p[40];

            fake_percpu_enter(cpu);
            for (unsigned i = 0; i < ARRAY_SIZE(p); i++) {
                p[i] = spare_take(i + 1);
                assert_true(p[i].v && is_zero(p[i]));
                memset(hpa_ptr(p[i]), 0xff, PAGE_SIZE);
                assert_int_equal(page_of(p[i])->node, cpu % 2);
                assert_int_equal(page_of(p[i])->kind, PAGE_PRIVATE);
                assert_int_equal(page_of(p[i])->sharer, i + 1);
                assert_int_equal(page_of(p[i])->refs, 1);
            }
            for (unsigned i = 0; i < ARRAY_SIZE(p); i++)
                page_free(p[i], PAGE_ORDER_4K);
        }
        spare_return();
        while (page_zero_ahead(0) || page_zero_ahead(1))
            ;
    }
}

/* What is at hand counts as free, is nobody's, and goes back when it is needed. */
static void test_counts(void **state)
{
    struct page_counts before = counts(), now;
    struct hpa p = spare_take(1);

    now = counts();
    assert_int_equal(now.free, before.free - 1);
    assert_int_equal(now.by_kind[PAGE_PRIVATE], before.by_kind[PAGE_PRIVATE] + 1);
    assert_true(now.by_kind[PAGE_SPARE] > 4);
    page_free(p, PAGE_ORDER_4K);
    assert_int_equal(counts().free, before.free);
    assert_true(spare_return());
    assert_false(spare_return());
    now = counts();
    assert_int_equal(now.free, before.free);
    assert_int_equal(now.by_kind[PAGE_SPARE], 0);
    assert_int_equal(now.by_kind[PAGE_PRIVATE], before.by_kind[PAGE_PRIVATE]);
}

/* The last pages of the machine are found, on whosever list they are. */
static void test_nothing_is_kept_when_memory_runs_out(void **state)
{
    uint64_t before = free_pages(), n = 0;
    struct hpa *p = calloc(before + 2, sizeof(*p));

    for (unsigned cpu = 0; cpu < FAKE_CPUS; cpu++) {
        fake_percpu_enter(cpu);
        p[n++] = spare_take(1);
    }
    while ((p[n] = page_alloc(0, PAGE_ORDER_4K, PAGE_PRIVATE)).v)
        n++;
    assert_int_equal(n, before);
    assert_int_equal(spare_take(1).v, 0);
    while (n--)
        page_free(p[n], PAGE_ORDER_4K);
    assert_int_equal(free_pages(), before);
    free(p);
}

static void test_wrong_frees_panic(void **state)
{
    struct hpa p = spare_take(1), at_hand = HPA_NONE;

    for (uint64_t a = ALIGN_DOWN(p.v, MIB); a < ALIGN_DOWN(p.v, MIB) + MIB && !at_hand.v; a += PAGE_SIZE)
        if (page_of(HPA(a)) && page_of(HPA(a))->kind == PAGE_SPARE)
            at_hand = HPA(a);
    assert_true(at_hand.v);
    if (!setjmp(panicked)) {
        page_free(at_hand, PAGE_ORDER_4K);
        fail_msg("a page at hand was freed");
    }
    if (!setjmp(panicked)) {
        page_free_spare(p);
        fail_msg("a private page was freed as one at hand");
    }
    page_free(p, PAGE_ORDER_4K);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_near_and_zero, setup, teardown),
        cmocka_unit_test_setup_teardown(test_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_is_kept_when_memory_runs_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_frees_panic, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
