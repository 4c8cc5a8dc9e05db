/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "numa/hash.h"
#include "numa/hints.h"
#include "numa/join.h"
#include "numa/pmap_parts.h"
#include "numa/sample.h"
#include "numa/scan.h"
#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_percpu.h"

/* Ticks: 1000 a second. */
enum { NODES = 2, BASE = 2 * MIB, KHZ = 1, SECOND = 1000 };

static struct pmap vm;
static uint64_t before, now;

static const struct policy_settings settings = {
    .on = true, .interval_ms = 1, .rate = 1000000, .window = 1, .moves = 1000000, .page_moves = 4, .reset_s = 1000,
};

static int setup(void **state)
{
    static uint8_t distance[NUMA_MAX_NODES][NUMA_MAX_NODES] = { { 10, 20 }, { 20, 10 } };
    static uint64_t base;

    fake_percpu_enter(0);
    if (!base) {
        base = machine_memory(16 * MIB, 0);
        page_set_distances(NODES, distance);
        if (!machine_memory(16 * MIB, 1))
            return -1;
    }
    before = free_pages();
    scan_set_rate(0);
    sample_init(&settings, true);
    return pmap_init(&vm, 1, 8 * MIB, NODES);
}

static int teardown(void **state)
{
    pmap_destroy(&vm);
    return free_pages() != before;
}

static uint64_t chunk(void) { return *pmap_chunk(&vm, GPA(BASE)); }
static bool is_large(void) { return chunk() & P_LARGE; }
static uint64_t at(unsigned page) { return BASE + page * PAGE_SIZE; }

static void touch(unsigned page, unsigned node)
{
    uint64_t value = page + 1;

    assert_int_equal(pmap_fault(&vm, GPA(at(page)), node, true), 0);
    assert_int_equal(pmap_write(&vm, GPA(at(page)), &value, sizeof(value)), 0);
}

/* Each page of the chunk holds its number; it is a table of small pages now. */
static void fill(unsigned node)
{
    for (unsigned i = 0; i < CHUNK_PAGES; i++)
        touch(i, node);
    if (is_large())
        assert_int_equal(pmap_split(&vm, pmap_chunk(&vm, GPA(BASE))), 0);
    pmap_detach_chunk(&vm, GPA(BASE));
}

static void check_content(void)
{
    for (unsigned i = 0; i < CHUNK_PAGES; i++) {
        uint64_t value = 0;

        assert_int_equal(pmap_read(&vm, GPA(at(i)), &value, sizeof(value)), 0);
        assert_int_equal(value, i + 1);
    }
}

static void seconds_pass(unsigned n)
{
    for (uint64_t end = now + n * SECOND; now < end;) {
        uint64_t next = join_step(now, KHZ);

        assert_true(next > now); /* a processor that is idle may sleep */
        now = MIN(next, end);
    }
}

static void test_where_they_are(void **state)
{
    struct join_figures was = join_count();
    uint64_t page, tables;

    fill(0);
    page = *pmap_entry(chunk(), GPA(BASE)) & P_ADDR;
    tables = vm.tables;
    seconds_pass(8);
    assert_false(is_large());       /* it may not be settled yet */
    seconds_pass(30);
    assert_true(is_large());
    assert_int_equal(chunk() & P_ADDR, page);
    assert_int_equal(vm.tables, tables - 1);
    assert_int_equal(join_count().joined - was.joined, 1);
    assert_int_equal(join_count().copied, was.copied);
    check_content();
    assert_int_equal(pmap_fault(&vm, GPA(at(77)), 0, false), 0);
    assert_int_equal(ept_lookup(&vm.ept[0], GPA(at(5))).level, EPT_2M);
    assert_int_equal(ept_lookup(&vm.ept[0], GPA(at(5))).hpa.v, page + 5 * PAGE_SIZE);
}

static void test_copied(void **state)
{
    struct join_figures was = join_count();

    fill(1);
    pmap_give_back(&vm, GPA(at(9)), 3);
    seconds_pass(30);
    assert_false(is_large());       /* some are not there */
    for (unsigned i = 12; i-- > 9;)
        touch(i, 1);
    seconds_pass(40);
    assert_true(is_large());
    assert_int_equal(join_count().copied - was.copied, 1);
    assert_int_equal(page_of(HPA(chunk() & P_ADDR))->node, 1);
    assert_int_equal(page_of(HPA(chunk() & P_ADDR))->sharer, 1ul << 48 | BASE / PAGE_SIZE);
    check_content();
    touch(3, 1);
    check_content();
    assert_int_equal(pmap_split(&vm, pmap_chunk(&vm, GPA(BASE))), 0); /* and all over again */
    pmap_detach_chunk(&vm, GPA(BASE));
    seconds_pass(40);
    assert_true(is_large());
    check_content();
}

static void test_not_what_is_shared(void **state)
{
    fill(0);
    vm.domain = COMMONS_DOMAIN;
    page_of(HPA(*pmap_entry(chunk(), GPA(at(5))) & P_ADDR))->hash = 5;
    spin_lock(&vm.lock);
    (void)pmap_publish(&vm, GPA(at(5)), HPA(*pmap_entry(chunk(), GPA(at(5))) & P_ADDR),
                       page_hash(hpa_ptr(HPA(*pmap_entry(chunk(), GPA(at(5))) & P_ADDR))));
    spin_unlock(&vm.lock);
    assert_int_equal(vm.counts.content, 1);
    seconds_pass(40);
    assert_false(is_large());
    touch(5, 0);                    /* alone with it, the VM takes it back */
    assert_int_equal(vm.counts.content, 0);
    seconds_pass(40);
    assert_true(is_large());
    check_content();
}

static void test_not_from_two_nodes(void **state)
{
    fill(0);
    pmap_give_back(&vm, GPA(at(100)), 1);
    touch(100, 1);
    seconds_pass(40);
    assert_false(is_large());
    check_content();
}

/* What several nodes used is left as it is for a reset interval: it would soon be split again. */
static void test_not_what_several_use(void **state)
{
    struct placement p = { .set = settings };
    struct page_use *use;

    fill(0);
    use = &page_of(HPA(*pmap_entry(chunk(), GPA(at(100))) & P_ADDR))->use;
    policy_part(&p, use);
    seconds_pass(40);
    assert_false(is_large());
    use->epoch++;                   /* that was in another interval */
    seconds_pass(40);
    assert_true(is_large());
}

/* What the scanner has not looked at since may be equal to something. */
static void test_after_the_scanner(void **state)
{
    struct scan_figures f;

    vm.domain = COMMONS_DOMAIN;
    scan_set_rate(1000000);
    fill(0);
    seconds_pass(40);
    assert_false(is_large());
    for (scan_count(&f); f.rounds < scan_now() + 4 && !is_large(); now += SECOND) {
        for (unsigned i = 0; i < 100000; i++)
            scan_step(now, KHZ);
        seconds_pass(1);
    }
    assert_true(is_large());
    check_content();
}

static unsigned take_all(struct hpa *taken, unsigned n, unsigned node)
{
    unsigned i = 0;

    while (i < n && (taken[i] = page_alloc(node, PAGE_ORDER_2M, PAGE_HYPERVISOR)).v)
        i++;
    return i;
}

/* Scattered pages need a block on their own node; and while memory is short nothing is joined. */
static void test_not_without_memory(void **state)
{
    struct hpa taken[128];
    unsigned n;

    fill(0);
    pmap_give_back(&vm, GPA(at(9)), 3);
    for (unsigned i = 12; i-- > 9;)
        touch(i, 0);
    n = take_all(taken, ARRAY_SIZE(taken), 0);
    assert_in_range(n, 8, ARRAY_SIZE(taken) - 1);
    page_free(taken[n - 1], PAGE_ORDER_2M); /* of the other node, and memory is not short */
    page_free(taken[n - 2], PAGE_ORDER_2M);
    assert_false(page_short());
    seconds_pass(40);
    assert_false(is_large());
    for (unsigned i = 0; i < n - 2; i++)
        page_free(taken[i], PAGE_ORDER_2M);
    seconds_pass(20);
    assert_true(is_large());
    assert_int_equal(pmap_split(&vm, pmap_chunk(&vm, GPA(BASE))), 0); /* now they are side by side */
    pmap_detach_chunk(&vm, GPA(BASE));
    n = take_all(taken, ARRAY_SIZE(taken), 0);
    while (!page_short())
        assert_true(n < ARRAY_SIZE(taken) && (taken[n++] = page_alloc(0, 5, PAGE_HYPERVISOR)).v);
    seconds_pass(40);
    assert_false(is_large());
    for (unsigned i = 0; i < n; i++)
        page_free(taken[i], page_of(taken[i])->order);
    seconds_pass(40);
    assert_true(is_large());
    check_content();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_where_they_are, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copied, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_what_is_shared, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_from_two_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_what_several_use, setup, teardown),
        cmocka_unit_test_setup_teardown(test_after_the_scanner, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_without_memory, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
