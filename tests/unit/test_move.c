/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/errno.h"
#include "numa/move.h"
#include "numa/reclaim.h"
#include "numa/sample.h"
#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_percpu.h"

enum { NODES = 3, SMALL = PMAP_HOLE_END, LARGE = 4 * MIB };

static struct pmap vm;
static uint64_t before, now;

static const struct policy_settings settings = {
    .on = true, .interval_ms = 1, .rate = 1000000, .window = 1, .moves = 1000000, .page_moves = 4, .reset_s = 1000,
};

static int setup(void **state)
{
    static uint8_t distance[NUMA_MAX_NODES][NUMA_MAX_NODES] = { { 10, 20, 30 }, { 20, 10, 20 }, { 30, 20, 10 } };
    static uint64_t base;

    fake_percpu_enter(0);
    if (!base) {
        base = machine_memory(16 * MIB, 0);
        page_set_distances(NODES, distance);
        if (!machine_memory(16 * MIB, 1) || !machine_memory(16 * MIB, 2))
            return -1;
    }
    before = free_pages();
    sample_init(&settings, true);
    sample_poll(now += 1000, 1); /* the budget begins with the first look at the clock */
    return pmap_init(&vm, 1, 8 * MIB, NODES);
}

static int teardown(void **state)
{
    pmap_destroy(&vm);
    return free_pages() != before;
}

static uint64_t *entry_of(uint64_t gpa) { return pmap_entry(*pmap_chunk(&vm, GPA(gpa)), GPA(gpa)); }

/* What a processor of this node does: it finds the page mapped or faults, and leaves its marks. */
static void use_of(struct pmap *pmap, unsigned node, uint64_t gpa, bool write)
{
    struct ept_mapping m = ept_lookup(&pmap->ept[node], GPA(gpa));
    uint64_t *t = (uint64_t *)pmap->ept[node].root.v;

    if (!m.level || (write && !(m.prot & EPT_W)))
        assert_int_equal(pmap_fault(pmap, GPA(gpa), node, write), 0);
    for (unsigned l = EPT_ROOT;; l--) {
        uint64_t *e = &t[gpa >> (PAGE_SHIFT + 9 * (l - 1)) & 511];

        if (l == EPT_4K || *e & BIT(7)) {
            *e |= BIT(8) | (write ? BIT(9) : 0);
            return;
        }
        t = (uint64_t *)(*e & P_ADDR);
    }
}

static void use(unsigned node, uint64_t gpa, bool write) { use_of(&vm, node, gpa, write); }

static void sample_all(void)
{
    for (uint64_t end = sample_rounds() + 1; sample_rounds() < end;)
        sample_poll(now += 1000, 1);
}

static unsigned node_of_page(uint64_t hpa) { return page_of(HPA(ALIGN_DOWN(hpa, PAGE_SIZE)))->node; }
static unsigned seen_on(unsigned node, uint64_t gpa)
{
    return node_of_page(ept_lookup(&vm.ept[node], GPA(gpa)).hpa.v);
}

static void put(uint64_t gpa, uint64_t value)
{
    assert_int_equal(pmap_write(&vm, GPA(gpa), &value, sizeof(value)), 0);
}

static void check(uint64_t gpa, uint64_t value)
{
    uint64_t got;

    assert_int_equal(pmap_read(&vm, GPA(gpa), &got, sizeof(got)), 0);
    assert_int_equal(got, value);
}

static void test_small_page_follows_its_node(void **state)
{
    put(SMALL, 7);
    assert_int_equal(node_of_page(*entry_of(SMALL) & P_ADDR), 0);
    use(2, SMALL, true);
    sample_all();
    assert_int_equal(vm.moves.migrations, 1);
    assert_int_equal(ept_lookup(&vm.ept[2], GPA(SMALL)).level, 0); /* to be looked up again */
    assert_int_equal(node_of_page(*entry_of(SMALL) & P_ADDR), 2);
    check(SMALL, 7);
    sample_all();
    assert_int_equal(vm.moves.migrations, 1); /* not used since */
    assert_int_equal(page_of(HPA(*entry_of(SMALL) & P_ADDR))->sharer, 1ul << 48 | SMALL >> PAGE_SHIFT);
}

static void test_large_page_moves_whole(void **state)
{
    struct hpa page;

    put(LARGE, 5);
    put(LARGE + PAGE_SIZE_2M - 8, 6);
    use(1, LARGE + MIB, true);
    sample_all();
    page = HPA(*pmap_chunk(&vm, GPA(LARGE)) & P_ADDR);
    assert_true(*pmap_chunk(&vm, GPA(LARGE)) & P_LARGE);
    assert_int_equal(page_of(page)->node, 1);
    assert_int_equal(vm.moves.migrations, CHUNK_PAGES);
    check(LARGE, 5);
    check(LARGE + PAGE_SIZE_2M - 8, 6);
}

/* What several nodes use of a large page is found out in its parts. */
static void test_large_page_is_split(void **state)
{
    for (uint64_t i = 0; i < 3; i++)
        put(LARGE + i * PAGE_SIZE, i);
    for (unsigned round = 0; round < 3; round++) {
        use(0, LARGE, true);
        use(1, LARGE + PAGE_SIZE, true);
        use(0, LARGE + 2 * PAGE_SIZE, false);
        use(1, LARGE + 2 * PAGE_SIZE, false);
        sample_all();
    }
    assert_int_equal(vm.moves.splits, 1);
    for (uint64_t i = 0; i < 3; i++)
        check(LARGE + i * PAGE_SIZE, i);
    use(1, LARGE + PAGE_SIZE, true);
    assert_int_equal(seen_on(1, LARGE + PAGE_SIZE), 1);
    assert_int_equal(vm.moves.replicas, 1);
}

/* Each node reads its own copy, nobody can write, and the first write leaves one page, on the writer's node. */
static void test_replicas_and_their_end(void **state)
{
    put(SMALL, 9);
    for (unsigned n = 0; n < NODES; n++)
        use(n, SMALL, false);
    sample_all();
    assert_int_equal(vm.moves.replications, 2);
    assert_int_equal(vm.moves.replicas, 2);
    for (unsigned n = 0; n < NODES; n++) {
        use(n, SMALL, false);
        assert_int_equal(seen_on(n, SMALL), n);
        assert_int_equal(ept_lookup(&vm.ept[n], GPA(SMALL)).prot, EPT_R | EPT_X);
        assert_int_equal(*(uint64_t *)ept_lookup(&vm.ept[n], GPA(SMALL)).hpa.v, 9);
    }
    check(SMALL, 9);
    sample_all();
    assert_int_equal(vm.moves.replications, 2);
    use(1, SMALL, true);
    assert_int_equal(vm.moves.collapses, 1);
    assert_int_equal(vm.moves.replicas, 0);
    assert_int_equal(seen_on(1, SMALL), 1);
    assert_int_equal(ept_lookup(&vm.ept[0], GPA(SMALL)).level, 0);
    assert_int_equal(page_of(HPA(*entry_of(SMALL) & P_ADDR))->kind, PAGE_PRIVATE);
    check(SMALL, 9);
}

/* The hypervisor's own writes end replicas as well. */
static void test_hypervisor_writes(void **state)
{
    put(SMALL, 1);
    use(0, SMALL, false);
    use(1, SMALL, false);
    sample_all();
    assert_int_equal(vm.moves.replicas, 1);
    put(SMALL, 2);
    assert_int_equal(vm.moves.replicas, 0);
    check(SMALL, 2);
}

/* How many copies are found when no memory is left. */
static uint64_t reclaim_copies(void)
{
    uint64_t so_far = reclaim_count().replicas;

    reclaim_again(&(unsigned){ 0 });
    return reclaim_count().replicas - so_far;
}

/* Copies come back when they are asked for, and with the VM (teardown counts). */
static void test_reclaim(void **state)
{
    for (uint64_t i = 0; i < 8; i++) {
        put(SMALL + i * PAGE_SIZE, i);
        for (unsigned n = 0; n < NODES; n++)
            use(n, SMALL + i * PAGE_SIZE, false);
    }
    sample_all();
    assert_int_equal(vm.moves.replicas, 16);
    assert_int_equal(reclaim_copies(), 16);
    assert_int_equal(vm.moves.replicas, 0);
    assert_int_equal(reclaim_copies(), 0);
    for (uint64_t i = 0; i < 8; i++) {
        check(SMALL + i * PAGE_SIZE, i);
        for (unsigned n = 0; n < NODES; n++)
            use(n, SMALL + i * PAGE_SIZE, false);
    }
    sample_all();
    assert_int_equal(vm.moves.replicas, 16);
}

/* Many copies come back in parts: a step takes 64 at most, and what else the last of these pages has. */
static void test_reclaim_in_parts(void **state)
{
    enum { PAGES = 120, PART = 64 };
    unsigned steps = 0, tries = 0;

    for (uint64_t i = 0; i < PAGES; i++) {
        put(SMALL + i * PAGE_SIZE, i);
        for (unsigned n = 0; n < NODES; n++)
            use(n, SMALL + i * PAGE_SIZE, false);
    }
    sample_all();
    assert_int_equal(vm.moves.replicas, PAGES * (NODES - 1));
    for (uint64_t left = vm.moves.replicas; left; left = vm.moves.replicas) {
        assert_int_equal(reclaim_some(&tries), RECLAIM_FOUND);
        assert_in_range(left - vm.moves.replicas, MIN(left, PART), PART + NODES - 2);
        steps++;
    }
    assert_int_equal(steps, (PAGES * (NODES - 1) + PART - 1) / PART);
    for (uint64_t i = 0; i < PAGES; i++)
        check(SMALL + i * PAGE_SIZE, i);
}

/* Where the node asked for is full, the page stays as it was, and so does a half of the copies. */
static void test_no_memory_on_the_node(void **state)
{
    static struct hpa taken[16 * MIB / PAGE_SIZE];
    unsigned n = 0;

    put(SMALL, 3);
    use(0, SMALL, false);
    use(1, SMALL, false);
    use(2, SMALL, false);
    for (struct hpa p; (p = page_alloc(1, PAGE_ORDER_4K, PAGE_HYPERVISOR)).v; n++) {
        if (page_of(p)->node != 1) {
            page_free(p, PAGE_ORDER_4K);
            break;
        }
        taken[n] = p;
    }
    sample_all();
    assert_int_equal(vm.moves.replicas, 1);
    use(1, SMALL, false);
    sample_all();
    assert_int_equal(vm.moves.migrations, 0);
    check(SMALL, 3);
    while (n)
        page_free(taken[--n], PAGE_ORDER_4K);
}

static void test_shares_of_use(void **state)
{
    put(SMALL, 1);
    put(SMALL + PAGE_SIZE, 1);
    use(0, SMALL, true);
    use(2, SMALL + PAGE_SIZE, true);
    sample_all();
    assert_int_equal(vm.use.uses, 2);
    assert_int_equal(vm.use.local, 1);
    assert_int_equal(vm.use.distance, 10 + 30);
    assert_int_equal(vm.use.interleaved, 20 + 20);
}

/* A page that two VMs have from the same file. */
static char file[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
static struct pmap other;

static uint64_t shared_copies(void)
{
    struct page_counts c;

    page_count(NUMA_MAX_NODES, &c);
    return c.by_kind[PAGE_REPLICA];
}

static struct hpa other_sees(unsigned node) { return ept_lookup(&other.ept[node], GPA(SMALL)).hpa; }

static int setup_shared(void **state)
{
    if (setup(state) || pmap_init(&other, 2, 8 * MIB, NODES))
        return -1;
    memset(file, 0x5a, sizeof(file));
    assert_int_equal(pmap_load(&vm, GPA(SMALL), file, PAGE_SIZE), 0);
    assert_int_equal(pmap_load(&other, GPA(SMALL), file, PAGE_SIZE), 0);
    for (unsigned n = 0; n < NODES; n++) {
        use(n, SMALL, false);
        use_of(&other, n, SMALL, false);
    }
    sample_all();
    return shared_copies() != NODES - 1;
}

static int teardown_shared(void **state)
{
    pmap_destroy(&other);
    return teardown(state);
}

/* All who share a page share its copies; who has mapped the page itself goes over when it uses it again. */
static void test_shared_pages_have_copies(void **state)
{
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned n = 0; n < NODES; n++) {
            use(n, SMALL, false);
            use_of(&other, n, SMALL, false);
        }
        sample_all();
    }
    for (unsigned n = 0; n < NODES; n++) {
        use(n, SMALL, false);
        use_of(&other, n, SMALL, false);
        assert_int_equal(seen_on(n, SMALL), n);
        assert_int_equal(other_sees(n).v, ept_lookup(&vm.ept[n], GPA(SMALL)).hpa.v);
        assert_int_equal(ept_lookup(&vm.ept[n], GPA(SMALL)).prot, EPT_R | EPT_X);
        assert_memory_equal(hpa_ptr(other_sees(n)), file, PAGE_SIZE);
    }
    assert_int_equal(shared_copies(), NODES - 1);
    assert_int_equal(vm.moves.replications + other.moves.replications, NODES - 1);
    sample_all();
    assert_int_equal(vm.use.local, NODES);
}

/* A write gives the writer a page of its own; the last one takes the page itself, and the copies go. */
static void test_writes_to_shared_pages(void **state)
{
    use_of(&other, 1, SMALL, false);
    use(2, SMALL, true);
    assert_int_equal(seen_on(2, SMALL), 2);
    assert_int_equal(shared_copies(), NODES - 1);
    use_of(&other, 0, SMALL, true);
    assert_int_equal(shared_copies(), 0);
    assert_int_equal(other_sees(1).v, 0);
    assert_int_equal(page_of(other_sees(0))->kind, PAGE_PRIVATE);
    check(SMALL, 0x5a5a5a5a5a5a5a5a);
}

/* Let go when memory is short: nobody maps a copy any more. */
static void test_reclaim_shared(void **state)
{
    use(1, SMALL, false);
    use_of(&other, 2, SMALL, false);
    assert_int_equal(seen_on(1, SMALL), 1);
    assert_int_equal(reclaim_copies(), NODES - 1);
    assert_int_equal(shared_copies(), 0);
    assert_int_equal(ept_lookup(&vm.ept[1], GPA(SMALL)).level, 0);
    assert_int_equal(other_sees(2).v, 0);
    use(1, SMALL, false);
    assert_int_equal(seen_on(1, SMALL), 0);
    assert_int_equal(reclaim_copies(), 0);
}

/* No call looks at more buckets of the commons than it is told to, and one after the other they look at all. */
static void test_reclaim_shared_in_parts(void **state)
{
    enum { BUCKETS = 100, CALLS_MAX = 1000 };
    struct hpa taken = HPA_NONE;
    unsigned calls = 0;

    use(1, SMALL, false);
    for (uint64_t bucket = 0, was = 0; !taken.v; was = bucket, calls++) {
        assert_true(calls < CALLS_MAX);
        taken = commons_take_copies(1, &bucket, BUCKETS);
        assert_true(taken.v ? bucket <= was + BUCKETS : bucket == was + BUCKETS);
    }
    assert_int_equal(shared_copies(), NODES - 1);     /* out of the commons, but still there */
    for (uint64_t chunk = 0; chunk < 4; chunk++) {
        move_detach_taken(&vm, chunk);
        move_detach_taken(&other, chunk);
    }
    assert_int_equal(commons_free_copies(taken), NODES - 1);
    assert_int_equal(shared_copies(), 0);
    taken = commons_take_copies(1, &(uint64_t){ 0 }, BUCKETS); /* none are left: it does not even look */
    assert_int_equal(taken.v, 0);
}

/* Where three quarters of what is used lies: the scheduler wants to know. Copies lie nowhere in particular. */
static void test_main_node(void **state)
{
    vm.main_node = 2;
    vm.placement = PLACEMENT_FIRST_TOUCH;
    sample_all();
    assert_int_equal(vm.main_node, 2); /* nothing was used */
    for (uint64_t i = 0; i < 4; i++) {
        use(i < 3, SMALL + i * PAGE_SIZE, true);
        use(2, SMALL + i * PAGE_SIZE, false);
    }
    sample_all();
    assert_int_equal(vm.main_node, 1);
    use(1, SMALL, true);
    use(1, SMALL + PAGE_SIZE, true);
    use(0, SMALL + 3 * PAGE_SIZE, true);
    sample_all();
    assert_int_equal(vm.main_node, PMAP_NO_NODE);
    vm.placement = PLACEMENT_FOLLOW;
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned n = 0; n < NODES; n++)
            use(n, SMALL, false);
        use(0, SMALL + 3 * PAGE_SIZE, true);
        sample_all();
    }
    assert_int_equal(vm.moves.replicas, 2);
    assert_int_equal(vm.main_node, 0);
    use(2, SMALL, false);
    sample_all();
    assert_int_equal(vm.main_node, PMAP_NO_NODE);
}

/* What is told to stay where it was touched first is sampled and stays. */
static void test_first_touch(void **state)
{
    vm.placement = PLACEMENT_FIRST_TOUCH;
    use(1, LARGE, true);
    for (unsigned i = 0; i < 3; i++) {
        use(2, LARGE, true);
        sample_all();
    }
    assert_int_equal(vm.use.uses, CHUNK_PAGES);
    assert_int_equal(vm.use.local, 0);
    assert_int_equal(vm.moves.migrations + vm.moves.splits, 0);
    assert_int_equal(seen_on(2, LARGE), 1);
}

/* All nodes in turn, whoever touches it, and there it stays. */
static void test_interleave(void **state)
{
    vm.placement = PLACEMENT_INTERLEAVE;
    for (uint64_t gpa = 2 * MIB; gpa < 8 * MIB; gpa += PAGE_SIZE_2M)
        use(0, gpa, true);
    use(0, SMALL, true);
    use(2, SMALL + PAGE_SIZE, false); /* so that the chunk's table is there */
    assert_false(pmap_touch(&vm, GPA(SMALL + 8 * PAGE_SIZE), 1)); /* the quick way has only pages of its own node */
    use(1, SMALL + 8 * PAGE_SIZE, true);
    sample_all();
    for (uint64_t gpa = 2 * MIB; gpa < 8 * MIB; gpa += PAGE_SIZE_2M)
        assert_int_equal(node_of_page(*pmap_chunk(&vm, GPA(gpa)) & P_ADDR), gpa / PAGE_SIZE_2M % NODES);
    assert_int_equal(seen_on(0, SMALL), 0);
    assert_int_equal(seen_on(1, SMALL + 8 * PAGE_SIZE), 0);
    assert_int_equal(vm.moves.migrations + vm.moves.splits, 0);
}

/* Nothing happens with one node, without the bits, or when it is off. */
static void test_off(void **state)
{
    struct policy_settings off = settings;

    put(SMALL, 1);
    use(1, SMALL, true);
    sample_init(&settings, false);
    sample_poll(now += 1000000, 1);
    off.on = false;
    sample_init(&off, true);
    sample_poll(now += 1000000, 1);
    assert_int_equal(vm.moves.migrations + vm.use.uses, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_small_page_follows_its_node), TEST(test_large_page_moves_whole), TEST(test_large_page_is_split),
        TEST(test_replicas_and_their_end), TEST(test_hypervisor_writes), TEST(test_reclaim), TEST(test_reclaim_in_parts),
        TEST(test_no_memory_on_the_node), TEST(test_shares_of_use), TEST(test_main_node), TEST(test_first_touch), TEST(test_interleave),
        TEST(test_off),
#define SHARED(f) cmocka_unit_test_setup_teardown(f, setup_shared, teardown_shared)
        SHARED(test_shared_pages_have_copies), SHARED(test_writes_to_shared_pages), SHARED(test_reclaim_shared),
        SHARED(test_reclaim_shared_in_parts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
