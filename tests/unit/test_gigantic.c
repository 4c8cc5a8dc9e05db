/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

#include "numa/gigantic.h"
#include "numa/hints.h"
#include "numa/pmap_parts.h"
#include "numa/reclaim.h"
#include "numa/sample.h"
#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_apic.h"
#include "tests/unit/seam/fake_percpu.h"

/* Ticks: 1000 a second. Node 0 has a free GiB to move to, node 1 has nearly nothing. */
enum { NODES = 2, KHZ = 1, SECOND = 1000, PARTS = 512 };
#define BASE GIB

static struct pmap vm;
static uint64_t before, now;

static const struct policy_settings settings = {
    .on = true, .interval_ms = 1, .rate = 1000000000, .window = 1, .moves = 1, .page_moves = 1, .reset_s = 1000,
};

static bool map_at(uint64_t base, uint64_t size)
{
    return mmap((void *)base, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
                0) == (void *)base;
}

/*
 * Two naturally aligned GiB, one for the VM's pages, one to move them to, and something before them. Below 2 GiB, where
 * ASan lets tests have memory, there is no room for that. So it lies in the gap that ASan keeps free, with a shadow that
 * allows all, and ASan does not look at what memcpy and memset are given.
 */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "replace_intrin=0"; }

static bool give_memory(void)
{
    static uint8_t distance[NUMA_MAX_NODES][NUMA_MAX_NODES] = { { 10, 20 }, { 20, 10 } };
    uint64_t base = 16 * GIB - 256 * MIB, size = 2 * GIB + 256 * MIB;

    if (!map_at((base >> 3) + 0x7fff8000, size >> 3) || !map_at(base, size) || page_add_range(base, size, 0))
        return false;
    page_set_distances(NODES, distance);
    return machine_memory(16 * MIB, 1);
}

static int setup(void **state)
{
    static bool ready;

    fake_percpu_enter(0);
    if (!ready && !give_memory())
        return -1;
    ready = true;
    before = free_pages();
    gigantic_init();
    sample_init(&settings, true);
    return pmap_init(&vm, 1, 2 * GIB, NODES);
}

static int teardown(void **state)
{
    pmap_destroy(&vm);
    for (unsigned i = 0; i < 100; i++) /* whoever was at it finds that the VM is gone */
        (void)gigantic_step(now += SECOND, KHZ);
    return free_pages() != before;
}

static struct gpa part(unsigned i) { return GPA(BASE + i * PAGE_SIZE_2M); }
static uint64_t chunk(unsigned i) { return *pmap_chunk(&vm, part(i)); }
static enum ept_level level(unsigned node, uint64_t at) { return ept_lookup(&vm.ept[node], GPA(BASE + at)).level; }

static void touch(unsigned i, unsigned node)
{
    uint64_t value = i + 1;

    assert_int_equal(pmap_fault(&vm, part(i), node, true), 0);
    assert_int_equal(pmap_write(&vm, part(i), &value, sizeof(value)), 0);
    assert_true(chunk(i) & P_LARGE);
}

static void check_content(void)
{
    for (unsigned i = 0; i < PARTS; i++) {
        uint64_t value = 0;

        assert_int_equal(pmap_read(&vm, part(i), &value, sizeof(value)), 0);
        assert_int_equal(value, i + 1);
    }
}

/* Each large page holds its number. Scattered: every second one first. */
static void fill(bool scattered)
{
    for (unsigned i = 0; i < PARTS; i++)
        touch(scattered ? i * 2 % PARTS + i / (PARTS / 2) : i, 0);
}

static void seconds_pass(unsigned n)
{
    for (uint64_t end = now + n * SECOND; now < end;) {
        uint64_t next = gigantic_step(now, KHZ);

        now = next > now ? MIN(next, end) : now + 1;
    }
}

static bool side_by_side(void)
{
    for (unsigned i = 1; i < PARTS; i++)
        if ((chunk(i) & P_ADDR) != (chunk(0) & P_ADDR) + i * PAGE_SIZE_2M)
            return false;
    return (chunk(0) & P_ADDR) % GIB == 0;
}

/* Scattered pages are moved, content and all; then one entry maps them, on each node. */
static void test_moved(void **state)
{
    struct gigantic_figures was = gigantic_count();
    uint64_t generation, tables;

    fill(true);
    assert_false(side_by_side());
    seconds_pass(8);
    assert_int_equal(gigantic_count().moved, was.moved); /* it may not be settled yet */
    tables = vm.ept[0].tables;
    generation = vm.ept[0].generation;
    seconds_pass(60);
    assert_int_equal(gigantic_count().moved, was.moved + PARTS);
    assert_int_equal(gigantic_count().merged, was.merged + 1);
    assert_true(side_by_side());
    for (unsigned node = 0; node < NODES; node++) {
        assert_int_equal(level(node, 0), EPT_1G);
        for (uint64_t at = 0; at < GIB; at += 0x3f1000)
            assert_int_equal(ept_lookup(&vm.ept[node], GPA(BASE + at)).hpa.v, (chunk(0) & P_ADDR) + at);
    }
    assert_true(vm.ept[0].generation > generation); /* processors forget the tables that are gone */
    assert_int_equal(vm.ept[0].tables, tables - 1);
    check_content();
    seconds_pass(60);
    assert_int_equal(gigantic_count().merged, was.merged + 1); /* once is enough */
}

/* A page that becomes something else splits the entry; what is beside it stays mapped; later it is made again. */
static void test_split_and_again(void **state)
{
    struct gigantic_figures was = gigantic_count();
    struct hpa other;

    fill(true);
    seconds_pass(70);
    assert_int_equal(level(0, 0), EPT_1G);
    pmap_give_back(&vm, GPA(part(7).v + 3 * PAGE_SIZE), 2);
    assert_int_equal(level(0, 7 * PAGE_SIZE_2M + 3 * PAGE_SIZE), 0);
    assert_int_equal(level(0, 7 * PAGE_SIZE_2M + 5 * PAGE_SIZE), EPT_4K);
    assert_int_equal(level(0, 6 * PAGE_SIZE_2M), EPT_2M);
    check_content();
    pmap_give_back(&vm, part(9), 512);
    assert_int_equal(level(0, 9 * PAGE_SIZE_2M), 0);
    assert_int_equal(level(0, 8 * PAGE_SIZE_2M), EPT_2M);
    seconds_pass(60);
    assert_int_equal(level(0, 0), EPT_2M);
    pmap_give_back(&vm, part(7), 512);
    touch(7, 0);
    other = page_alloc(0, PAGE_ORDER_2M, PAGE_HYPERVISOR); /* one of the gaps is in use now */
    touch(9, 0);
    assert_false(side_by_side());
    seconds_pass(70);
    assert_int_equal(level(0, 0), EPT_2M);
    page_free(other, PAGE_ORDER_2M);
    while (page_zero_ahead(0)) /* both gaps may be in the stock */
        ;
    seconds_pass(70);
    assert_true(side_by_side());
    assert_int_equal(level(0, 0), EPT_1G);
    assert_int_equal(gigantic_count().merged, was.merged + 2);
    assert_in_range(gigantic_count().moved - was.moved, PARTS + 1, PARTS + 2);
    assert_int_equal(ept_lookup(&vm.ept[1], part(9)).hpa.v, chunk(9) & P_ADDR);
    check_content();
}

static void test_where_they_are(void **state)
{
    struct gigantic_figures was = gigantic_count();

    fill(true);
    seconds_pass(70);
    pmap_detach_chunk(&vm, part(100));
    assert_int_equal(level(0, 0), EPT_2M);
    seconds_pass(70);
    assert_int_equal(level(0, 0), EPT_1G);
    assert_int_equal(gigantic_count().moved, was.moved + PARTS); /* nothing was moved the second time */
    check_content();
}

static struct percpu *const other = &fake_percpu[1];
static void (*free_table)(void *ctx, struct hpa page);
static unsigned freed_too_early, freed;

/* A processor that may still walk the old tables is sent out first. */
static void watch_free(void *ctx, struct hpa page)
{
    freed++;
    freed_too_early += atomic_load(&other->guest) != 0;
    free_table(ctx, page);
}

static void *be_inside(void *arg)
{
    const volatile unsigned *ipis = &fake_apic.ipis;
    unsigned before = *(unsigned *)arg;

    while (*ipis == before)
        sched_yield();
    atomic_store(&other->guest, 0);
    return NULL;
}

static void test_tables_go_last(void **state)
{
    unsigned ipis = fake_apic.ipis;
    pthread_t processor;

    fill(true);
    seconds_pass(70);
    pmap_detach_chunk(&vm, part(100));
    assert_int_equal(level(0, 0), EPT_2M);
    free_table = vm.ept[0].pages.free;
    vm.ept[0].pages.free = watch_free;
    fake_cpu_count = 2;
    atomic_store(&other->guest, vm.ept[0].root.v | 1);
    assert_int_equal(pthread_create(&processor, NULL, be_inside, &ipis), 0);
    seconds_pass(70);
    assert_int_equal(level(0, 0), EPT_1G);
    assert_int_equal(freed, 1);
    assert_int_equal(freed_too_early, 0);
    assert_int_equal(pthread_join(processor, NULL), 0);
    fake_cpu_count = 1;
    vm.ept[0].pages.free = free_table;
}

static void test_the_vm_goes_meanwhile(void **state)
{
    struct gigantic_figures was = gigantic_count();

    fill(true);
    seconds_pass(30);
    assert_in_range(gigantic_count().moved - was.moved, 1, PARTS - 1);
    check_content();
}

/* Not all are large when their turn comes. */
static void test_given_up(void **state)
{
    struct gigantic_figures was = gigantic_count();

    fill(true);
    seconds_pass(30);
    pmap_give_back(&vm, GPA(part(PARTS - 1).v + PAGE_SIZE), 1);
    seconds_pass(40);
    assert_int_equal(gigantic_count().given_up, was.given_up + 1);
    assert_int_equal(gigantic_count().merged, was.merged);
    assert_int_not_equal(level(0, 0), EPT_1G);
    check_content();
}

static void test_memory_runs_out(void **state)
{
    struct gigantic_figures was = gigantic_count();
    struct hpa taken[256];
    unsigned n = 0, tries = 0;

    fill(true);
    seconds_pass(30);
    assert_in_range(gigantic_count().moved - was.moved, 1, PARTS - 1);
    while (n < ARRAY_SIZE(taken) && (taken[n] = page_alloc(0, PAGE_ORDER_2M, PAGE_HYPERVISOR)).v)
        n++;
    assert_int_equal(reclaim_some(&tries), RECLAIM_FOUND);
    assert_true(reclaim_count().moving > 0);
    assert_int_equal(gigantic_count().given_up, was.given_up + 1);
    while (n--)
        page_free(taken[n], PAGE_ORDER_2M);
    check_content();
}

static void sample(void)
{
    uint64_t rounds = sample_rounds();

    while (sample_rounds() == rounds)
        sample_now(now += 1, KHZ);
}

static void use(unsigned node)
{
    uint64_t *e = (uint64_t *)vm.ept[node].root.v;

    e = (uint64_t *)(e[0] & P_ADDR) + BASE / GIB;
    assert_true(*e & BIT(7));
    *e |= BIT(8);                   /* accessed, as a processor says it */
}

/* One bit for a GiB: that its own node uses it is counted; if another does, its pages must tell. */
static void test_sampled(void **state)
{
    struct gigantic_figures was = gigantic_count();

    fill(true);
    seconds_pass(70);
    assert_int_equal(level(1, 0), EPT_1G);
    sample();
    use(0);
    sample();
    assert_int_equal(vm.use.uses, GIB / PAGE_SIZE);
    assert_int_equal(vm.use.local, GIB / PAGE_SIZE);
    assert_int_equal(level(0, 0), EPT_1G);
    use(1);
    sample();
    assert_int_equal(vm.use.local, 0);
    for (unsigned n = 0; n < NODES; n++)
        assert_int_equal(level(n, 0), EPT_2M);
    seconds_pass(70);
    assert_int_equal(level(0, 0), EPT_2M); /* it would soon be split again */
    assert_int_equal(gigantic_count().merged, was.merged + 1);
    check_content();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_moved, setup, teardown),
        cmocka_unit_test_setup_teardown(test_split_and_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_where_they_are, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tables_go_last, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_vm_goes_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_given_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_runs_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sampled, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
