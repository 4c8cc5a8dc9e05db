/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include <time.h>

#include "vdev/rtc.h"
#include "vdev/rtc_date.h"
#include "vdev_fake.h"

static struct rtc rtc;
static const struct rtc_setup setup_5g = { 951782399, 5 * GIB, 3 * GIB };       /* 2000-02-28 23:59:59 */

static void fire(struct vtimer *t, uint64_t now)
{
    rtc_expire(container_of(t, struct rtc, timer), now);
}

static void start(const struct rtc_setup *s)
{
    fake_reset();
    rtc_init(&rtc, &fake_clock, &fake_queue, fake_irq(8), fire, s);
}

static int setup(void **state)
{
    (void)state;
    start(&setup_5g);
    return 0;
}

static unsigned get(unsigned index)
{
    rtc_write(&rtc, 0x70, 1, index);
    return (unsigned)rtc_read(&rtc, 0x71, 1);
}

static void put(unsigned index, unsigned value)
{
    rtc_write(&rtc, 0x70, 1, index);
    rtc_write(&rtc, 0x71, 1, value);
}

static void check_time(unsigned century, unsigned year, unsigned month, unsigned day, unsigned h, unsigned m,
                       unsigned s)
{
    assert_int_equal(get(0x32), century);
    assert_int_equal(get(9), year);
    assert_int_equal(get(8), month);
    assert_int_equal(get(7), day);
    assert_int_equal(get(4), h);
    assert_int_equal(get(2), m);
    assert_int_equal(get(0), s);
}

static void test_dates(void **state)
{
    (void)state;
    for (time_t t = 0; t < 8000000000; t += 86400 * 3 + 12345) {
        struct rtc_date d = rtc_date_from_seconds((uint64_t)t);
        struct tm tm;

        gmtime_r(&t, &tm);
        assert_int_equal(d.year, tm.tm_year + 1900);
        assert_int_equal(d.month, tm.tm_mon + 1);
        assert_int_equal(d.day, tm.tm_mday);
        assert_int_equal(d.hour, tm.tm_hour);
        assert_int_equal(d.minute, tm.tm_min);
        assert_int_equal(d.second, tm.tm_sec);
        assert_int_equal(d.weekday, tm.tm_wday + 1);
        assert_int_equal(rtc_date_to_seconds(&d), t);
    }
    assert_int_equal(rtc_date_from_seconds(UINT64_MAX).year, 9999);
    assert_int_equal(rtc_date_to_seconds(&(struct rtc_date){ 0 }), 0);
    assert_int_equal(rtc_date_to_seconds(&(struct rtc_date){ 2023, 2, 31, 99, 99, 99, 9 }), 1677628799);
}

static void test_clock_runs(void **state)
{
    (void)state;
    assert_int_equal(get(0x0a), 0x26);
    assert_int_equal(get(0x0b), 0x02);
    assert_int_equal(get(0x0d), 0x80);
    check_time(0x20, 0x00, 0x02, 0x28, 0x23, 0x59, 0x59);
    assert_int_equal(get(6), 2);                /* a Monday */
    fake_wait(FAKE_HZ);
    check_time(0x20, 0x00, 0x02, 0x29, 0x00, 0x00, 0x00);
    fake_wait(FAKE_HZ * 86400);
    check_time(0x20, 0x00, 0x03, 0x01, 0x00, 0x00, 0x00);
    assert_int_equal(rtc_read(&rtc, 0x70, 1), 0xff);
}

static void test_formats(void **state)
{
    (void)state;
    put(0x0b, 0x06);                            /* binary, 24 hours */
    check_time(0x20, 0, 2, 28, 23, 59, 59);
    put(0x0b, 0x04);                            /* binary, 12 hours */
    assert_int_equal(get(4), 0x80 | 11);
    put(0x0b, 0x00);                            /* BCD, 12 hours */
    assert_int_equal(get(4), 0x91);
    fake_wait(FAKE_HZ);
    assert_int_equal(get(4), 0x12);             /* midnight is 12 am */
    fake_wait(FAKE_HZ * 12 * 3600);
    assert_int_equal(get(4), 0x92);             /* noon is 12 pm */
}

/* As Linux sets it: SET, the bytes, SET off. */
static void test_set(void **state)
{
    (void)state;
    put(0x0b, 0x82);
    fake_wait(FAKE_HZ * 10);
    check_time(0x20, 0x00, 0x02, 0x28, 0x23, 0x59, 0x59);       /* stands still */
    put(9, 0x24);
    put(8, 0x12);
    put(7, 0x31);
    put(4, 0x23);
    put(2, 0x59);
    put(0, 0x58);
    put(0x0b, 0x02);
    check_time(0x20, 0x24, 0x12, 0x31, 0x23, 0x59, 0x58);
    fake_wait(FAKE_HZ / 2 + 10);                /* the first second is half as long */
    check_time(0x20, 0x24, 0x12, 0x31, 0x23, 0x59, 0x59);
    fake_wait(FAKE_HZ);
    check_time(0x20, 0x25, 0x01, 0x01, 0x00, 0x00, 0x00);
    put(0, 0x30);                               /* without SET */
    check_time(0x20, 0x25, 0x01, 0x01, 0x00, 0x00, 0x30);
    put(0x0a, 0x60);                            /* the divider held in reset stops it too */
    fake_wait(FAKE_HZ * 3);
    assert_int_equal(get(0), 0x30);
    put(0x0a, 0x26);
    fake_wait(FAKE_HZ);
    assert_int_equal(get(0), 0x31);
}

static void test_nonsense_is_clamped(void **state)
{
    (void)state;
    put(0x0b, 0x82);
    for (unsigned i = 0; i < 10; i++)
        put(i, 0xff);
    put(0x32, 0xff);
    put(0x0b, 0x02);
    assert_in_range(get(8), 1, 0x12);
    assert_in_range(get(7), 1, 0x31);
    assert_in_range(get(4), 0, 0x23);
}

static void test_update_in_progress(void **state)
{
    (void)state;
    assert_int_equal(get(0x0a) & 0x80, 0);
    fake_wait(FAKE_HZ - FAKE_HZ / 1000);
    assert_int_equal(get(0x0a) & 0x80, 0x80);
    fake_wait(FAKE_HZ / 1000);
    assert_int_equal(get(0x0a) & 0x80, 0);
    put(0x0a, 0xa6);
    assert_int_equal(get(0x0a), 0x26);          /* read-only */
}

static void test_update_interrupt(void **state)
{
    (void)state;
    put(0x0b, 0x12);
    assert_false(fake_line[8].level);
    fake_wait(FAKE_HZ);
    assert_true(fake_line[8].level);
    fake_wait(FAKE_HZ * 5);
    assert_int_equal(fake_line[8].rises, 1);    /* until it is read */
    assert_int_equal(get(0x0c) & 0x90, 0x90);
    assert_false(fake_line[8].level);
    assert_int_equal(get(0x0c), 0);
    fake_wait(FAKE_HZ);
    assert_int_equal(fake_line[8].rises, 2);
    put(0x0b, 0x02);
    assert_false(fake_line[8].level);
    get(0x0c);
    fake_wait(FAKE_HZ * 3);
    assert_int_equal(get(0x0c), 0x50);          /* flags come without their enables, but not IRQF */
    assert_int_equal(fake_line[8].rises, 2);
}

static unsigned periodic(unsigned rate, unsigned ms)
{
    unsigned n = 0;
    uint64_t end = fake_tick + FAKE_HZ / 1000 * ms;

    put(0x0a, 0x20 | rate);
    put(0x0b, 0x42);
    get(0x0c);
    while (fake_tick < end) {
        fake_wait(FAKE_HZ / 100000);
        if (!fake_line[8].level)
            continue;
        assert_int_equal(get(0x0c) & 0xc0, 0xc0);
        n++;
    }
    return n;
}

static void test_periodic_interrupt(void **state)
{
    (void)state;
    assert_in_range(periodic(6, 1000), 1023, 1025);
    assert_in_range(periodic(3, 1000), 8190, 8194);
    assert_in_range(periodic(1, 1000), 255, 257);
    assert_in_range(periodic(2, 1000), 127, 129);
    assert_in_range(periodic(15, 4000), 7, 9);
    assert_int_equal(periodic(0, 500), 0);
}

static void test_alarm(void **state)
{
    (void)state;
    put(1, 0x05);
    put(3, 0x01);
    put(5, 0x00);
    put(0x0b, 0x22);
    assert_int_equal(fake_wait(FAKE_HZ * 65), 0);               /* at 00:01:04: not a timer before it */
    assert_false(fake_line[8].level);
    fake_wait(FAKE_HZ);
    assert_true(fake_line[8].level);
    assert_int_equal(get(0x0c) & 0xa0, 0xa0);
    fake_wait(FAKE_HZ * 86399);
    assert_false(fake_line[8].level);
    fake_wait(FAKE_HZ);
    assert_true(fake_line[8].level);
    get(0x0c);
    put(1, 0xc0);                                               /* every second */
    put(3, 0xff);
    put(5, 0xc5);
    fake_wait(FAKE_HZ);
    assert_true(fake_line[8].level);
    get(0x0c);
    put(1, 0x77);                                               /* never */
    fake_wait(FAKE_HZ * 200000);
    assert_false(fake_line[8].level);
    assert_int_equal(get(0x0c) & 0x20, 0);
}

static void test_memory_sizes(void **state)
{
    const struct rtc_setup small = { 0, 256 * MIB, 3 * GIB };

    (void)state;
    assert_int_equal(get(0x15) | get(0x16) << 8, 640);
    assert_int_equal(get(0x17) | get(0x18) << 8, 0xffff);
    assert_int_equal(get(0x34) | get(0x35) << 8, (3 * 1024 - 16) * 16);
    assert_int_equal(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 2 * 1024 * 16);
    start(&small);
    assert_int_equal(get(0x30) | get(0x31) << 8, 0xffff);
    assert_int_equal(get(0x34) | get(0x35) << 8, 240 * 16);
    assert_int_equal(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 0);
}

static void test_cmos(void **state)
{
    unsigned sum = 0;

    (void)state;
    for (unsigned i = 0x10; i <= 0x2d; i++)
        sum += get(i);
    assert_int_equal(get(0x2e) << 8 | get(0x2f), sum);
    put(0x0f, 0x0a);
    assert_int_equal(get(0x0f), 0x0a);
    put(0x8f, 0x0b);                                            /* bit 7 masks NMIs, the rest is the index */
    assert_true(rtc.nmi_masked);
    assert_int_equal(get(0x0f), 0x0b);
    put(0x0d, 0);
    assert_int_equal(get(0x0d), 0x80);
    put(0x0b, 0x72);
    rtc_reset(&rtc);
    assert_int_equal(get(0x0b), 0x02);                          /* interrupts off, memory and time live on */
    assert_int_equal(get(0x0f), 0x0b);
    assert_int_equal(get(9), 0x00);
    assert_int_equal(fake_timers(&fake_queue), 0);
}

static void test_random(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 200000; i++) {
        unsigned index = fake_below(3) ? fake_below(14) : fake_below(256);

        if (fake_below(3) == 0)
            put(index, (uint8_t)fake_random());
        else if (fake_below(2))
            get(index);
        else
            fake_wait(fake_random() >> (24 + fake_below(40)));
        assert_true(fake_timers(&fake_queue) <= 1);
        assert_true(timer_next(&fake_queue) > fake_tick);
        assert_true(rtc.flags < 0x100 && fake_line[8].level == !!(rtc.flags & 0x80));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dates),
        cmocka_unit_test_setup(test_clock_runs, setup),
        cmocka_unit_test_setup(test_formats, setup),
        cmocka_unit_test_setup(test_set, setup),
        cmocka_unit_test_setup(test_nonsense_is_clamped, setup),
        cmocka_unit_test_setup(test_update_in_progress, setup),
        cmocka_unit_test_setup(test_update_interrupt, setup),
        cmocka_unit_test_setup(test_periodic_interrupt, setup),
        cmocka_unit_test_setup(test_alarm, setup),
        cmocka_unit_test_setup(test_memory_sizes, setup),
        cmocka_unit_test_setup(test_cmos, setup),
        cmocka_unit_test_setup(test_random, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
