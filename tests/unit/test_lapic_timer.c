/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "lapic_fake.h"

static void test_timer_one_shot(void **state)
{
    (void)state;
    put(0, LVTT, 0xee);
    put(0, TDCR, 0x0b);
    put(0, TMICT, 0x10000);
    assert_int_equal(get(0, TMCCT), 0x10000);
    fake_wait(0xffff);
    assert_int_equal(lapic_pending(&apic[0]), -1);
    assert_int_equal(get(0, TMCCT), 1);
    fake_wait(1);
    assert_int_equal(get(0, TMCCT), 0);
    assert_int_equal(kicks, 1);
    assert_int_equal(lapic_take(&apic[0]), 0xee);
    put(0, EOI, 0);
    fake_wait(0x100000);
    assert_int_equal(lapic_pending(&apic[0]), -1);
    assert_int_equal(get(0, TMICT), 0x10000);
    put(0, TMICT, 0x10000);
    put(0, TMICT, 0);                           /* stops it */
    assert_int_equal(get(0, TMCCT), 0);
    assert_int_equal(fake_timers(&fake_queue), 0);
}

static void test_timer_divide(void **state)
{
    static const struct { uint32_t code, by; } divide[] = {
        { 0x0, 2 }, { 0x1, 4 }, { 0x2, 8 }, { 0x3, 16 }, { 0x8, 32 }, { 0x9, 64 }, { 0xa, 128 }, { 0xb, 1 }
    };

    (void)state;
    put(0, LVTT, 0xee);
    for (unsigned i = 0; i < 8; i++) {
        put(0, TDCR, divide[i].code);
        assert_int_equal(get(0, TDCR), divide[i].code);
        put(0, TMICT, 1000);
        fake_wait(1000 * divide[i].by - 1);
        assert_int_equal(lapic_pending(&apic[0]), -1);
        fake_wait(1);
        assert_int_equal(lapic_take(&apic[0]), 0xee);
        put(0, EOI, 0);
    }
    put(0, TDCR, 0x0b);
    put(0, TMICT, 1000);
    fake_wait(400);
    put(0, TDCR, 0x00);                         /* the 600 that are left now take twice as long */
    assert_int_equal(get(0, TMCCT), 600);
    fake_wait(1199);
    assert_int_equal(lapic_pending(&apic[0]), -1);
    fake_wait(1);
    assert_int_equal(lapic_take(&apic[0]), 0xee);
}

static void test_timer_periodic(void **state)
{
    unsigned n = 0;

    (void)state;
    put(0, TDCR, 0x0b);
    put(0, LVTT, 0x200ee);
    put(0, TMICT, 240000);                      /* 0.1 ms */
    for (unsigned i = 0; i < 1000; i++) {
        fake_wait(24000);
        if (lapic_take(&apic[0]) < 0)
            continue;
        put(0, EOI, 0);
        n++;
    }
    assert_int_equal(n, 100);
    fake_tick += 240000 * 50 + 1000;            /* nobody ran the timer: one interrupt, and the rhythm stays */
    assert_int_equal(get(0, TMCCT), 239000);
    timer_run(&fake_queue, fake_tick);
    assert_int_equal(lapic_take(&apic[0]), 0xee);
    put(0, EOI, 0);
    timer_run(&fake_queue, fake_tick);
    assert_int_equal(lapic_take(&apic[0]), -1);
    assert_int_equal(timer_next(&fake_queue), fake_tick + 239000);
    put(0, LVTT, 0x300ee);                      /* masked: counts, tells nobody */
    fake_wait(500000);
    assert_int_equal(lapic_take(&apic[0]), -1);
    assert_true(get(0, TMCCT));
}

static void test_timer_storm(void **state)
{
    (void)state;
    put(0, TDCR, 0x0b);
    put(0, LVTT, 0x200ee);
    put(0, TMICT, 1);
    assert_in_range(fake_wait_us(10000), 499, 501);
    assert_in_range(get(0, TMCCT), 0, 1);
}

/* As test kernels do it: the count goes on through changes between one-shot and periodic. */
static void test_timer_mode_change(void **state)
{
    (void)state;
    put(0, TDCR, 0x0b);
    put(0, LVTT, 0x100ee);
    put(0, TMICT, 0x999999);
    fake_wait(0x600000);
    put(0, LVTT, 0x300ee);
    assert_int_equal(get(0, TMCCT), 0x399999);
    fake_wait(0x399999 + 0x1000);
    assert_int_equal(get(0, TMCCT), 0x998999);  /* wrapped */
    put(0, LVTT, 0x100ee);
    assert_int_equal(get(0, TMCCT), 0x998999);
    fake_wait(0x999999);
    assert_int_equal(get(0, TMCCT), 0);
    put(0, LVTT, 0x300ee);
    assert_int_equal(get(0, TMCCT), 0);         /* over is over */
}

/* To TSC-deadline mode and back: what was counting, or due, is gone. */
static void test_mode_change_stops(void **state)
{
    (void)state;
    put(0, TDCR, 0x0b);
    put(0, LVTT, 0xee);
    put(0, TMICT, 1000);
    put(0, LVTT, 0x400ee);
    assert_int_equal(fake_timers(&fake_queue), 0);
    assert_int_equal(get(0, TMCCT), 0);
    put(0, LVTT, 0xee);
    assert_int_equal(get(0, TMCCT), 0);
    put(0, LVTT, 0x400ee);
    wrmsr_to(0, TSC_DEADLINE, fake_tick + 1000);
    put(0, LVTT, 0xee);
    put(0, LVTT, 0x400ee);
    assert_int_equal(msr(0, TSC_DEADLINE), 0);
    fake_wait(5000);
    assert_int_equal(lapic_pending(&apic[0]), -1);
}

/* A timer that fires before its time, or after it was stopped, posts nothing. */
static void test_stale_fire(void **state)
{
    (void)state;
    put(0, TDCR, 0x0b);
    put(0, LVTT, 0xee);
    lapic_timer_fire(&apic[0].timer, fake_tick);
    assert_int_equal(lapic_pending(&apic[0]), -1);
    put(0, TMICT, 1000);
    lapic_timer_fire(&apic[0].timer, fake_tick + 999);
    assert_int_equal(lapic_pending(&apic[0]), -1);
    put(0, LVTT, 0x400ee);
    wrmsr_to(0, TSC_DEADLINE, fake_tick + 1000);
    lapic_timer_fire(&apic[0].timer, fake_tick + 999);
    assert_int_equal(lapic_pending(&apic[0]), -1);
    lapic_timer_fire(&apic[0].timer, fake_tick + 1000);
    assert_int_equal(lapic_take(&apic[0]), 0xee);
    assert_int_equal(get(0, TMR + (0xee / 32 << 4)), 0);        /* always an edge */
}

static void test_tsc_deadline(void **state)
{
    (void)state;
    assert_int_equal(wrmsr_to(0, TSC_DEADLINE, fake_tick + 100), 0);
    assert_int_equal(msr(0, TSC_DEADLINE), 0);  /* not in that mode */
    put(0, LVTT, 0x400ef);
    wrmsr_to(0, TSC_DEADLINE, fake_tick + 1000);
    assert_int_equal(msr(0, TSC_DEADLINE), fake_tick + 1000);
    put(0, TMICT, 5);                           /* ignored */
    assert_int_equal(get(0, TMCCT), 0);
    fake_wait(999);
    assert_int_equal(lapic_pending(&apic[0]), -1);
    fake_wait(1);
    assert_int_equal(lapic_take(&apic[0]), 0xef);
    put(0, EOI, 0);
    assert_int_equal(msr(0, TSC_DEADLINE), 0);
    wrmsr_to(0, TSC_DEADLINE, fake_tick);       /* in the past: due at once */
    fake_wait(0);
    assert_int_equal(lapic_take(&apic[0]), 0xef);
    assert_int_equal(msr(0, TSC_DEADLINE), 0);
    put(0, EOI, 0);
    wrmsr_to(0, TSC_DEADLINE, fake_tick + 1000);
    wrmsr_to(0, TSC_DEADLINE, 0);               /* disarms */
    fake_wait(5000);
    assert_int_equal(lapic_pending(&apic[0]), -1);
    wrmsr_to(0, TSC_DEADLINE, fake_tick + 1000);
    put(0, LVTT, 0xef);                         /* so does leaving the mode */
    assert_int_equal(fake_timers(&fake_queue), 0);
    put(0, LVTT, 0x400ef);
    wrmsr_to(0, TSC_DEADLINE, UINT64_MAX);
    fake_wait(1ull << 40);
    assert_int_equal(lapic_pending(&apic[0]), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_timer_one_shot, setup),
        cmocka_unit_test_setup(test_timer_divide, setup),
        cmocka_unit_test_setup(test_timer_periodic, setup),
        cmocka_unit_test_setup(test_timer_storm, setup),
        cmocka_unit_test_setup(test_timer_mode_change, setup),
        cmocka_unit_test_setup(test_mode_change_stops, setup),
        cmocka_unit_test_setup(test_stale_fire, setup),
        cmocka_unit_test_setup(test_tsc_deadline, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
