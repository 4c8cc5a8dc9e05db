/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "vdev_fake.h"

static unsigned order[64], fired;

struct test_timer {
    struct vtimer timer;
    unsigned id;
    uint64_t again;     /* re-arms itself this much later, UINT64_MAX: no */
};

static struct timer_queue q;

static void fire(struct vtimer *t, uint64_t now)
{
    struct test_timer *tt = container_of(t, struct test_timer, timer);

    assert_true(now >= t->deadline);
    assert_false(t->armed);
    order[fired++ % 64] = tt->id;
    if (tt->again != UINT64_MAX)
        timer_arm(&q, t, now + tt->again);
}

static int setup(void **state)
{
    (void)state;
    q = (struct timer_queue){ .head = NULL };
    fired = 0;
    return 0;
}

static void test_order(void **state)
{
    struct test_timer t[4];
    static const uint64_t deadline[4] = { 30, 10, 20, 10 };

    (void)state;
    assert_true(timer_next(&q) == TIMER_NEVER);
    for (unsigned i = 0; i < 4; i++) {
        t[i] = (struct test_timer){ .timer.fire = fire, .id = i, .again = UINT64_MAX };
        timer_arm(&q, &t[i].timer, deadline[i]);
    }
    assert_int_equal(timer_next(&q), 10);
    timer_run(&q, 9);
    assert_int_equal(fired, 0);
    timer_run(&q, 10);
    assert_int_equal(fired, 2);
    assert_int_equal(order[0], 1);      /* equal deadlines in the order of arming */
    assert_int_equal(order[1], 3);
    timer_run(&q, 100);
    assert_int_equal(fired, 4);
    assert_int_equal(order[2], 2);
    assert_int_equal(order[3], 0);
    assert_true(timer_next(&q) == TIMER_NEVER);
}

static void test_rearm_moves(void **state)
{
    struct test_timer a = { .timer.fire = fire, .id = 1, .again = UINT64_MAX };
    struct test_timer b = { .timer.fire = fire, .id = 2, .again = UINT64_MAX };

    (void)state;
    timer_arm(&q, &a.timer, 10);
    timer_arm(&q, &b.timer, 20);
    timer_arm(&q, &a.timer, 30);
    assert_int_equal(fake_timers(&q), 2);
    assert_int_equal(timer_next(&q), 20);
    timer_run(&q, 30);
    assert_int_equal(order[0], 2);
    assert_int_equal(order[1], 1);
}

static void test_cancel(void **state)
{
    struct test_timer a = { .timer.fire = fire, .id = 1, .again = UINT64_MAX };
    struct test_timer b = { .timer.fire = fire, .id = 2, .again = UINT64_MAX };

    (void)state;
    timer_cancel(&q, &a.timer);         /* not armed: nothing */
    timer_arm(&q, &a.timer, 10);
    timer_arm(&q, &b.timer, 20);
    timer_cancel(&q, &a.timer);
    timer_cancel(&q, &a.timer);
    assert_int_equal(timer_next(&q), 20);
    timer_run(&q, 50);
    assert_int_equal(fired, 1);
    assert_int_equal(order[0], 2);
}

static void test_fire_arms_again(void **state)
{
    struct test_timer a = { .timer.fire = fire, .id = 1, .again = 5 };

    (void)state;
    timer_arm(&q, &a.timer, 10);
    timer_run(&q, 12);
    assert_int_equal(fired, 1);
    assert_int_equal(timer_next(&q), 17);
}

/* A timer that is always due does not hold the pCPU forever. */
static void test_endless_timer_is_bounded(void **state)
{
    struct test_timer a = { .timer.fire = fire, .id = 1, .again = 0 };

    (void)state;
    timer_arm(&q, &a.timer, 10);
    timer_run(&q, 12);
    assert_in_range(fired, 1, 64);
    assert_true(a.timer.armed);
}

static void test_never(void **state)
{
    struct test_timer a = { .timer.fire = fire, .id = 1, .again = UINT64_MAX };

    (void)state;
    timer_arm(&q, &a.timer, TIMER_NEVER);
    assert_true(timer_next(&q) == TIMER_NEVER);
    timer_run(&q, UINT64_MAX - 1);
    assert_int_equal(fired, 0);
}

static void test_random(void **state)
{
    static struct test_timer t[12];
    uint64_t now = 0;

    (void)state;
    for (unsigned i = 0; i < 12; i++)
        t[i] = (struct test_timer){ .timer.fire = fire, .id = i, .again = UINT64_MAX };
    for (unsigned n = 0; n < 200000; n++) {
        struct test_timer *x = &t[fake_below(12)];
        unsigned armed = 0;

        switch (fake_below(3)) {
        case 0:
            timer_arm(&q, &x->timer, now + fake_below(100));
            break;
        case 1:
            timer_cancel(&q, &x->timer);
            break;
        default:
            timer_run(&q, now += fake_below(20));
            assert_true(timer_next(&q) > now);
            break;
        }
        for (unsigned i = 0; i < 12; i++)
            armed += t[i].timer.armed;
        assert_int_equal(armed, fake_timers(&q));
        for (struct vtimer *v = q.head; v && v->next; v = v->next)
            assert_true(v->deadline <= v->next->deadline);
    }
}

static void test_scale(void **state)
{
    (void)state;
    assert_int_equal(scale64(1193182, 1000, 1193182), 1000);
    assert_int_equal(scale64(UINT64_MAX, 3, 3), UINT64_MAX);
    assert_int_equal(scale64(7, 10, 3), 23);
    /* Products beyond 64 bits, and results beyond: never a divide error. */
    assert_true(scale64(1ull << 60, 1193182, 2400000000ull) ==
                (uint64_t)(((unsigned __int128)1 << 60) * 1193182 / 2400000000ull));
    scale64(UINT64_MAX, UINT64_MAX, 1);
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t a = fake_random(), mul = fake_random() >> fake_below(64), div = (fake_random() >> fake_below(64)) | 1;

        assert_true(scale64(a, mul, div) == (uint64_t)((unsigned __int128)a * mul / div));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_order, setup),
        cmocka_unit_test_setup(test_rearm_moves, setup),
        cmocka_unit_test_setup(test_cancel, setup),
        cmocka_unit_test_setup(test_fire_arms_again, setup),
        cmocka_unit_test_setup(test_endless_timer_is_bounded, setup),
        cmocka_unit_test_setup(test_never, setup),
        cmocka_unit_test_setup(test_random, setup),
        cmocka_unit_test(test_scale),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
