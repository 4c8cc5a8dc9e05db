/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * A model of processors that cache translations as badly as they may: a processor inside a guest keeps whatever it has
 * once read from the EPT until it must invalidate, and reads and writes guest memory through it at every moment between
 * two steps of the hypervisor. The hypervisor's part is the real code, included here so that its steps can be watched,
 * and left out one at a time: each of these mutations must be noticed.
 */
#include "tests/unit/invalidation/watch.h"

static void new_vm(unsigned v)
{
    struct segment *s = NULL;
    struct gpa base;

    assert_int_equal(pmap_init(&vm[v], (uint16_t)(v + 1), 4 * MIB, NODES), 0);
    vm[v].domain = v < 2 ? COMMONS_DOMAIN : COMMONS_DOMAIN + 1;
    memset(expected[v], 0, sizeof(expected[v]));
    assert_int_equal(segment_get("shared", PAGE_SIZE_2M, &s), 0);
    assert_int_equal(pmap_add_segment(&vm[v], s, true, &base), 0);
    assert_int_equal(base.v, gpa_of(PAGES).v);
}

static void another_vm(unsigned v)
{
    for (unsigned c = 0; c < FAKE_CPUS; c++) {
        if (cpu[c].vm == (int)v)
            leave(c);
        cpu[c].seen[v] = 0; /* its vCPU is gone; what the processors keep of the VM stays */
    }
    if (mutation == SEGMENT_GOES_EARLY)
        vm[v].segment[0].segment->users = 1;
    pmap_destroy(&vm[v]);
    new_vm(v);
}

/* The hypervisor itself reads and writes guest memory. */
static void hypervisor_access(unsigned v, unsigned page, unsigned what)
{
    uint64_t value = pick(VALUES), got = 0;

    if (what == 0 && (pmap_read(&vm[v], gpa_of(page), &got, sizeof(got)) || got != expected[v][page]))
        violate("the hypervisor has read what is not there");
    if (what == 1 && pmap_write(&vm[v], gpa_of(page), &value, sizeof(value)))
        violate("a write has failed");
    if (what == 2 && pmap_zero(&vm[v], gpa_of(page), sizeof(value)))
        violate("a write of zeros has failed");
    if (what)
        expected[v][page] = what == 1 ? value : 0;
}

/* The guest gives back a page, a few, or all around one. */
static void give_back_some(unsigned v, unsigned page)
{
    uint64_t many[] = { 1, 1, 1, 15, 15, 15, 15, CHUNK_PAGES }, n = many[pick(ARRAY_SIZE(many))];
    struct gpa from = n == CHUNK_PAGES ? GPA(PAGE_SIZE_2M) : gpa_of(page);

    if (!pmap_is_ram(&vm[v], from, n * PAGE_SIZE))
        return;
    if (pick(4))
        pmap_give_back(&vm[v], from, n);
    else
        pmap_renew(&vm[v], from, n, node_of(current));
    for (unsigned p = 0; p < PAGES; p++)
        if (gpa_of(p).v - from.v < n * PAGE_SIZE)
            expected[v][p] = 0;
}

/* A page of a disk, which is shared from the beginning. */
static struct hpa disk_page(uint64_t value)
{
    struct hpa page = page_alloc(pick(NODES), PAGE_ORDER_4K, PAGE_PRIVATE);

    assert_true(page.v);
    memset(hpa_ptr(page), 0, PAGE_SIZE);
    *(uint64_t *)hpa_ptr(page) = value;
    commons_add(page, COMMONS_FILES, 2 + (uint32_t)(value % 2));
    return page;
}

/* A guest reads from a disk, into a few pages. */
static void place_some(unsigned v)
{
    unsigned n = 1 + pick(3), first = pick(PAGES - n);
    struct pmap_placed p[4];
    uint64_t value[4];

    for (unsigned i = 0; i < n; i++) {
        value[i] = pick(VALUES);
        p[i] = (struct pmap_placed){ gpa_of(first + i), disk_page(value[i]) };
        placing[v][first + i] = true;
    }
    places = true;
    if (pmap_place_pages(&vm[v], p, n, node_of(current)) != n)
        violate("pages were not placed");
    places = false;
    for (unsigned i = 0; i < n; i++) {
        placing[v][first + i] = false;
        expected[v][first + i] = value[i];
    }
}

/* Pages are lent to the same or another VM, which has them in place of its own from then on. */
static void lend_some(unsigned v)
{
    unsigned to = pick(VMS), n = 1 + pick(3), first = pick(PAGES - n), to_first = pick(PAGES - n), found;
    struct gpa from[] = { gpa_of(first), gpa_of(first + 1), gpa_of(first + 2) };
    struct hpa page[ARRAY_SIZE(from)];
    uint64_t value[ARRAY_SIZE(from)];

    lends = true;
    found = pmap_share_pages(&vm[v], from, n, page);
    lends = false;
    for (unsigned i = 0; i < found; i++) {
        value[i] = *(uint64_t *)hpa_ptr(page[i]);
        if (value[i] != expected[v][first + i])
            violate("a lent page does not hold what was written to it");
    }
    for (unsigned i = 0; i < found; i++) {
        others_run();
        placing[to][to_first + i] = places = true;
        if (pmap_place(&vm[to], gpa_of(to_first + i), page[i], node_of(current)))
            violate("a lent page was not placed");
        placing[to][to_first + i] = places = false;
        expected[to][to_first + i] = value[i];
    }
}

/* A guest zeroes a whole page that is shared; its other processors read it meanwhile. */
static void clear_some(unsigned v)
{
    unsigned page = pick(PAGES);

    placing[v][page] = clears = true;
    if (pmap_clear_shared(&vm[v], gpa_of(page)))
        expected[v][page] = 0;
    placing[v][page] = clears = false;
}

/* What the others do meanwhile comes before what is copied last. */
static void copy_some(unsigned v)
{
    unsigned to = pick(VMS), from_page = pick(PAGES), to_page = pick(PAGES);
    uint64_t n = pick(2) ? sizeof(expected[0][0]) : PAGE_SIZE;

    if (pmap_copy(&vm[to], gpa_of(to_page), &vm[v], gpa_of(from_page), n))
        violate("a copy has failed");
    expected[to][to_page] = expected[v][from_page];
}

static void gives_back(unsigned v, struct gpa from, uint64_t pages)
{
    pmap_give_back(&vm[v], from, pages);
    for (unsigned p = 0; p < PAGES; p++)
        if (gpa_of(p).v - from.v < pages * PAGE_SIZE)
            expected[v][p] = 0;
}

/* Everyone uses this VM for a while. */
static void all_use(unsigned v)
{
    unsigned c = current;

    for (unsigned i = pick(PAGES); i--;) {
        unsigned other = pick(FAKE_CPUS);

        if (other != c && cpu[other].vm < 0)
            enter(other, (int)v);
        if (other != c)
            guest_access(other, pick(PAGES), !pick(4), pick(VALUES));
    }
    become(c);
}

/* A large page was split, some of its parts are now elsewhere, everyone uses it; then it is to be a large one again. */
static void join_some(unsigned v)
{
    uint64_t *chunk = pmap_chunk(&vm[v], GPA(PAGE_SIZE_2M));
    struct gpa some = gpa_of(16 + pick(PAGES - 17));

    gives_back(v, GPA(PAGE_SIZE_2M), CHUNK_PAGES);
    if (pmap_fault(&vm[v], some, node_of(current), true) || !(*chunk & P_LARGE) || pmap_split(&vm[v], chunk))
        return;
    if (pick(3)) {
        gives_back(v, some, 8);
        for (unsigned i = 8; i--;)
            (void)pmap_fault(&vm[v], GPA(some.v + i * PAGE_SIZE), node_of(current), true);
    }
    all_use(v);
    spin_lock(&vm[v].lock);
    (void)pmap_join(&vm[v], chunk, GPA(PAGE_SIZE_2M));
    spin_unlock(&vm[v].lock);
}

/* No memory is left, for some soon after this guest has got a large page and everyone uses it. */
static void run_short(unsigned v)
{
    if (pick(2))
        gives_back(v, GPA(PAGE_SIZE_2M), CHUNK_PAGES);
    all_use(v);
    switch (pick(4)) {
    default:
        reclaim_again(&(unsigned){ 0 });
        break;
    case 1:
        reclaim_some(&(unsigned){ 0 }); /* the search goes on the next time */
        break;
    case 2:
        while (reclaim_some(&(unsigned){ 0 }) != RECLAIM_NOTHING)
            ;
        break;
    }
}

static void one_step(void)
{
    unsigned c = pick(FAKE_CPUS), v = pick(VMS), what = pick(100);

    become(c);
    if (cpu[c].vm >= 0 && what < 60) {
        guest_access(c, pick(ALL_PAGES), pick(3) == 0, pick(VALUES));
    } else if (cpu[c].vm < 0 && what < 60) {
        enter(c, (int)v);
    } else {
        if (cpu[c].vm >= 0)
            leave(c);
        if (what < 64)
            hypervisor_access(v, pick(PAGES), what % 3);
        else if (what == 64 && !pick(8)) /* seldom: what is scanned is to become shared */
            give_back_some(v, pick(PAGES));
        else if (what == 65)
            sample_some();
        else if (what == 67 && !pick(4))
            place_some(v);
        else if (what == 67 && !pick(2))
            lend_some(v);
        else if (what == 69 && !pick(2))
            copy_some(v);
        else if (what == 66 && !pick(8))
            run_short(v);
        else if (what == 68 && pick(2))
            clear_some(v);
        else if (what == 68 && !pick(10))
            join_some(v);
        else
            scan_step(ticks += 1000000, 1);
    }
    do_late();
}

static const struct policy_settings eager = {
    .on = true, .interval_ms = 1, .rate = 1000000, .window = 1, .moves = 1000000, .page_moves = 15, .reset_s = 1,
};

static const char *run_model(enum mutation m, uint64_t start, uint64_t steps)
{
    mutation = m;
    seed = start;
    for (unsigned c = 0; c < FAKE_CPUS; c++)
        cpu[c].vm = -1;
    for (unsigned v = 0; v < VMS; v++)
        new_vm(v);
    scan_set_rate(1000000);
    sample_init(&eager, true);
    step_effort = 2 * LARGE_EFFORT;
    tables_kept = 0;
    for (uint64_t i = 0; i < steps && !violation; i++) {
        one_step();
        if (i % CHECK_EVERY == 0)
            check_all();
        if (i % STEPS_AFTER_VM == STEPS_AFTER_VM - 1)
            another_vm(pick(VMS));
    }
    return violation;
}

static int setup(void **state)
{
    static uint8_t distance[NUMA_MAX_NODES][NUMA_MAX_NODES] = { { 10, 20, 30 }, { 20, 10, 20 }, { 30, 20, 10 } };
    static bool ready;

    if (!ready) {
        become(0);
        machine_first = machine_memory(64 * MIB, 0);
        ready = machine_first && machine_memory(32 * MIB, 1) && machine_memory(32 * MIB, 2);
        page_set_distances(NODES, distance);
        machine_end = machine_first + 192 * MIB;
    }
    return ready ? 0 : -1;
}

static void report(enum mutation m, const char *what)
{
    if (what) {
        fprintf(stderr, "%s: %s\n", mutation_names[m], what);
        return;
    }
    fprintf(stderr, "touches %lu, reclaimed %lu, joined %lu, of these copied %lu\n", touches, reclaim_count().zeros,
            join_count().joined, join_count().copied);
    for (unsigned v = 0; v < VMS; v++) {
        const struct pmap_counts *c = &vm[v].counts;
        const struct pmap_moves *moves = &vm[v].moves;

        fprintf(stderr, "vm %u: faults %lu breaks %lu touched %lu content %lu zeros %lu, migrations %lu replications %lu "
                "collapses %lu splits %lu\n", v, c->faults, c->breaks, c->touched, c->content, c->zeros, moves->migrations,
                moves->replications, moves->collapses, moves->splits);
    }
}

/* In a process of its own: a mutation leaves a wreck. 0: nothing was noticed. */
static int outcome(enum mutation m, uint64_t start, uint64_t steps)
{
    pid_t pid = fork();
    int status = 0;

    if (!pid) {
        const char *what = run_model(m, start, steps);

        if (getenv("MODEL_VERBOSE"))
            report(m, what);
        _exit(what ? 1 : 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_real_code(void **state)
{
    const char *soak = getenv("SOAK_STEPS");
    uint64_t steps = soak ? strtoull(soak, NULL, 0) : SHORT_STEPS;

    for (uint64_t s = 1; s <= 4; s++)
        assert_int_equal(outcome(NONE, s, steps / 4), 0);
}

static void test_every_mutation_is_noticed(void **state)
{
    for (enum mutation m = NONE + 1; m < MUTATIONS; m++)
        if (outcome(m, 1, MUTATION_STEPS) != 1)
            fail_msg("not noticed: %s", mutation_names[m]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_real_code, setup),
        cmocka_unit_test_setup(test_every_mutation_is_noticed, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
