/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "numa/policy.h"

/* The policy in simulated evidence: which nodes read and wrote a page in each sample. Ticks: 1000 a second. */
enum { HZ = 1000, N0 = 1, N1 = 2, N2 = 4 };

static struct placement p;
static struct page_use use;
static uint64_t now;

static int setup(void **state)
{
    p = (struct placement){
        .set = { .on = true, .interval_ms = 10, .rate = 1000, .window = 2, .moves = 1000, .page_moves = 3,
                 .reset_s = 5 },
    };
    memset(&use, 0, sizeof(use));
    now = 1000;
    policy_time(&p, now, HZ);
    policy_time(&p, now += HZ, HZ);
    return 0;
}

/* A page that others share stays where it is; nodes that use it get copies. */
static void test_shared_page(void **state)
{
    struct policy_page page = { .copies = N0, .shared = true };
    struct policy_choice c = { 0 };

    for (unsigned i = 0; i < 2; i++)
        c = policy_judge(&p, &use, page, N1, 0, HZ);
    assert_int_equal(c.move, POLICY_REPLICATE);
    assert_int_equal(c.nodes, N1);
    page.copies |= N1;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(policy_judge(&p, &use, page, i % 2 ? N0 : N1, 0, HZ).move, POLICY_STAY);
}

static struct policy_choice sample(uint8_t copies, bool large, uint8_t readers, uint8_t writers)
{
    return policy_judge(&p, &use, (struct policy_page){ copies, large, false }, readers, writers, HZ);
}

/* A whole window of the same evidence; until its last sample the page stays. */
static struct policy_choice window(uint8_t copies, bool large, uint8_t readers, uint8_t writers)
{
    for (unsigned i = 1; i < p.set.window; i++)
        assert_int_equal(sample(copies, large, readers, writers).move, POLICY_STAY);
    return sample(copies, large, readers, writers);
}

static void check(uint8_t copies, bool large, uint8_t readers, uint8_t writers, enum policy_move move, uint8_t nodes)
{
    struct policy_choice c;

    use.moves = 0;
    policy_time(&p, now += HZ, HZ);
    c = window(copies, large, readers, writers);
    assert_int_equal(c.move, move);
    if (move == POLICY_MIGRATE || move == POLICY_REPLICATE)
        assert_int_equal(c.nodes, nodes);
}

static void test_choices(void **state)
{
    check(N0, false, 0, 0, POLICY_STAY, 0);
    check(N0, false, N0, N0, POLICY_STAY, 0);                        /* where it is used */
    check(N0, false, N1, 0, POLICY_MIGRATE, N1);                     /* one remote node */
    check(N0, false, 0, N2, POLICY_MIGRATE, N2);
    check(N0, false, N0 | N1, 0, POLICY_REPLICATE, N1);              /* several read */
    check(N0, false, N1 | N2, 0, POLICY_REPLICATE, N1 | N2);
    check(N0 | N1, false, N0 | N1 | N2, 0, POLICY_REPLICATE, N2);    /* one more */
    check(N0 | N1, false, N0 | N1, 0, POLICY_STAY, 0);
    check(N0 | N1, false, N1, 0, POLICY_MIGRATE, N1);                /* copies that nobody reads go */
    check(N0, false, N0 | N1, N1, POLICY_STAY, 0);                   /* write-shared */
    check(N0, false, N0, N1, POLICY_STAY, 0);
    check(N0, false, N1 | N2, N2, POLICY_MIGRATE, N2);               /* write-shared, and far from all */
    check(N0, true, N1, N1, POLICY_MIGRATE, N1);                     /* a large page moves whole */
    check(N0, true, N0 | N1, 0, POLICY_SPLIT, 0);                    /* or is split for more evidence */
    check(N0, true, N0 | N1, N1, POLICY_SPLIT, 0);
    check(N0, true, N0, N0, POLICY_STAY, 0);
}

/* What is seen anywhere in the window counts. */
static void test_evidence_adds_up(void **state)
{
    assert_int_equal(sample(N0, false, N1, 0).move, POLICY_STAY);
    assert_int_equal(sample(N0, false, 0, 0).move, POLICY_STAY); /* not used: no sample */
    assert_int_equal(sample(N0, false, N0, 0).move, POLICY_REPLICATE);
    assert_int_equal(sample(N0, false, N1, 0).move, POLICY_STAY); /* forgotten */
    assert_int_equal(sample(N0, false, N1, 0).move, POLICY_MIGRATE);
    p.set.window = 5;
    assert_int_equal(window(N0, false, N1, 0).move, POLICY_MIGRATE);
}

/* To and fro: so many moves in an interval, and again in the next. */
static void test_moves_of_a_page_are_limited(void **state)
{
    for (unsigned interval = 0; interval < 40; interval++) {
        unsigned moves = 0;

        for (unsigned i = 0; i < 20; i++)
            moves += window(i % 2 ? N0 : N1, false, 0, i % 2 ? N1 : N0).move == POLICY_MIGRATE;
        assert_int_equal(moves, 3);
        policy_time(&p, now += 5 * HZ, HZ);
    }
}

static void test_collapses_count(void **state)
{
    for (unsigned i = 0; i < 2; i++) {
        enum policy_move move = window(N0, false, N0 | N1, 0).move;

        assert_int_equal(move, POLICY_REPLICATE);
        policy_collapsed(&use);
    }
    assert_int_equal(window(N0, false, N0 | N1, 0).move, POLICY_STAY);
    for (unsigned i = 0; i < 100; i++)
        policy_collapsed(&use);
    assert_int_equal(use.moves, POLICY_MAX_COUNT);
}

static unsigned moves_of_many_pages(unsigned pages, bool large)
{
    unsigned moves = 0;

    for (unsigned i = 0; i < pages; i++) {
        memset(&use, 0, sizeof(use));
        moves += window(N0, large, N1, 0).move == POLICY_MIGRATE;
    }
    return moves;
}

/* A second's budget; large pages cost what their parts would. What is not spent is kept for a second. */
static void test_budget(void **state)
{
    assert_int_equal(moves_of_many_pages(5000, false), 1000);
    assert_int_equal(moves_of_many_pages(10, false), 0);
    policy_time(&p, now += HZ / 10, HZ);
    assert_int_equal(moves_of_many_pages(5000, false), 100);
    for (unsigned i = 0; i < 10; i++)
        policy_time(&p, now += HZ, HZ);
    assert_int_equal(moves_of_many_pages(5, true), 1);
    p.set.moves = 0;
    policy_time(&p, now += HZ, HZ);
    assert_int_equal(moves_of_many_pages(10, false), 0);
}

/* Four nodes: each has its own pages, all read a table; after two windows everything is where it is used. */
static void test_settles(void **state)
{
    struct page_use uses[64] = { 0 };
    uint8_t copies[64], local = 0;

    memset(copies, N0, sizeof(copies));
    for (unsigned round = 0; round < 20; round++) {
        local = 0;
        for (unsigned i = 0; i < 64; i++) {
            uint8_t users = i < 48 ? (uint8_t)(1 << i % 4) : 0xf;
            struct policy_choice c = policy_judge(&p, &uses[i], (struct policy_page){ copies[i], false, false }, users,
                                                  i < 48 ? users : 0, HZ);

            local += !(users & ~copies[i]);
            copies[i] = c.move == POLICY_MIGRATE ? c.nodes : (uint8_t)(copies[i] | (c.move ? c.nodes : 0));
        }
    }
    assert_int_equal(local, 64);
    for (unsigned i = 0; i < 64; i++)
        assert_true(uses[i].moves <= 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, setup)
    const struct CMUnitTest tests[] = {
        TEST(test_choices), TEST(test_evidence_adds_up), TEST(test_moves_of_a_page_are_limited),
        TEST(test_collapses_count), TEST(test_budget), TEST(test_settles), TEST(test_shared_page),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
