/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "vdev/pit.h"
#include "vdev_fake.h"

static struct pit pit;

static void fire(struct vtimer *t, uint64_t now)
{
    pit_expire(container_of(t, struct pit, timer), now);
}

static int setup(void **state)
{
    (void)state;
    fake_reset();
    pit_init(&pit, &fake_clock, &fake_queue, fake_irq(0), fire);
    fake_line[0].rises = 0;
    return 0;
}

static void out(unsigned port, unsigned value)
{
    pit_write(&pit, port, 1, value);
}

static unsigned in(unsigned port)
{
    return (unsigned)pit_read(&pit, port, 1);
}

static void program(unsigned channel, unsigned mode, unsigned count)
{
    out(0x43, channel << 6 | 0x30 | mode << 1);
    out(0x40 + channel, count & 0xff);
    out(0x40 + channel, count >> 8);
}

static unsigned latched(unsigned channel)
{
    unsigned low;

    out(0x43, channel << 6);
    low = in(0x40 + channel);
    return low | in(0x40 + channel) << 8;
}

static unsigned status(unsigned channel)
{
    out(0x43, 0xe0 | 2 << channel);
    return in(0x40 + channel);
}

/* At least n periods of the input clock, at most one tick more. */
static void wait_periods(uint64_t n)
{
    fake_wait(vclock_ticks(&fake_clock, n, PIT_HZ) + 1);
}

/* Mode 0, from a moment where the counter has just been loaded. */
static void test_terminal_count(void **state)
{
    (void)state;
    program(0, 0, 1000);
    assert_false(fake_line[0].level);
    wait_periods(999);
    assert_false(fake_line[0].level);
    assert_int_equal(latched(0), 1);
    assert_int_equal(status(0), 0x30);
    fake_wait(FAKE_HZ / PIT_HZ + 1);
    assert_true(fake_line[0].level);
    assert_int_equal(fake_line[0].rises, 1);
    assert_int_equal(status(0), 0xb0);
    wait_periods(10);
    assert_int_equal(latched(0), 0x10000 - 10); /* goes on counting */
    fake_wait_us(100000);
    assert_int_equal(fake_line[0].rises, 1);
    out(0x40, 10);                              /* the first byte of a new count stops and lowers it */
    assert_false(fake_line[0].level);
    fake_wait_us(1000);
    assert_false(fake_line[0].level);
    out(0x40, 0);
    wait_periods(11);
    assert_true(fake_line[0].level);
}

static void test_rate_generator(void **state)
{
    unsigned before;

    (void)state;
    program(0, 2, 11932);                       /* 100 Hz */
    fake_wait_us(1000000);
    assert_in_range(fake_line[0].rises, 99, 100);
    before = fake_line[0].rises;
    fake_wait_us(100000000);                    /* no drift: 10000 in 100 s, 0.0015 % fast by its divisor */
    assert_in_range(fake_line[0].rises - before, 9999, 10000);
    assert_true(fake_line[0].level);            /* rests high */
}

static void test_rate_generator_counts_down(void **state)
{
    (void)state;
    program(0, 2, 100);
    assert_int_equal(latched(0), 100);
    wait_periods(99);
    assert_int_equal(latched(0), 1);
    assert_int_equal(status(0) & 0x80, 0);      /* OUT is low for the last period */
    fake_wait(FAKE_HZ / PIT_HZ + 1);
    assert_int_equal(latched(0), 100);
    assert_int_equal(status(0) & 0x80, 0x80);
    program(0, 2, 0);
    assert_int_equal(latched(0), 0);            /* 65536 */
    wait_periods(1);
    assert_int_equal(latched(0), 0xffff);
}

static void test_square_wave(void **state)
{
    (void)state;
    program(0, 3, 10);
    assert_int_equal(status(0), 0xb6);
    assert_int_equal(latched(0), 10);
    wait_periods(2);
    assert_int_equal(latched(0), 6);            /* by twos */
    wait_periods(3);
    assert_int_equal(latched(0), 10);
    assert_int_equal(status(0), 0x36);          /* second half: low */
    program(0, 3, 1193);
    fake_line[0].rises = 0;
    fake_wait_us(1000000);
    assert_in_range(fake_line[0].rises, 999, 1001);
}

static void test_strobe(void **state)
{
    (void)state;
    program(0, 4, 500);
    assert_true(fake_line[0].level);
    wait_periods(499);
    assert_int_equal(fake_line[0].rises, 0);
    wait_periods(2);
    assert_int_equal(fake_line[0].rises, 1);
    assert_true(fake_line[0].level);
    fake_wait_us(200000);
    assert_int_equal(fake_line[0].rises, 1);
}

/* One-shot and strobe by the gate: channel 0's never rises. */
static void test_triggered_modes(void **state)
{
    (void)state;
    program(0, 1, 100);
    program(2, 1, 100);
    fake_wait_us(1000);
    assert_int_equal(fake_line[0].rises, 0);
    assert_int_equal(status(2) & 0x80, 0x80);
    pit_port61_write(&pit, 0x61, 1, 1);
    assert_int_equal(status(2) & 0x80, 0);
    wait_periods(50);
    assert_int_equal(latched(2), 50);
    pit_port61_write(&pit, 0x61, 1, 0);
    pit_port61_write(&pit, 0x61, 1, 1);         /* triggers again */
    wait_periods(60);
    assert_int_equal(status(2) & 0x80, 0);
    wait_periods(50);
    assert_int_equal(status(2) & 0x80, 0x80);
    pit_port61_write(&pit, 0x61, 1, 0);
    program(2, 5, 100);
    assert_int_equal(status(2) & 0x80, 0x80);
    pit_port61_write(&pit, 0x61, 1, 1);
    wait_periods(100);
    assert_int_equal(status(2) & 0x80, 0);      /* the strobe lasts one period */
    wait_periods(1);
    assert_int_equal(status(2) & 0x80, 0x80);
}

/* As Linux measures the TSC: gate on, mode 0, wait for OUT2 in port 61. */
static void test_channel2_calibration(void **state)
{
    uint64_t start;

    (void)state;
    pit_port61_write(&pit, 0x61, 1, 1);
    program(2, 0, 59659);                       /* 50 ms */
    start = fake_tick;
    while (!(pit_port61_read(&pit, 0x61, 1) & 0x20))
        fake_wait(1000);
    assert_in_range(fake_tick - start, FAKE_HZ / 20 - 3000, FAKE_HZ / 20 + 3000);
}

static void test_gate_stops_channel2(void **state)
{
    (void)state;
    program(2, 0, 1000);
    fake_wait_us(1000);
    assert_int_equal(latched(2), 1000);         /* the gate is low at power-on */
    pit_port61_write(&pit, 0x61, 1, 1);
    wait_periods(300);
    pit_port61_write(&pit, 0x61, 1, 0);
    fake_wait_us(5000);
    assert_int_equal(latched(2), 700);
    pit_port61_write(&pit, 0x61, 1, 1);
    wait_periods(100);
    assert_in_range(latched(2), 600, 601);
    program(2, 2, 1000);
    wait_periods(300);
    pit_port61_write(&pit, 0x61, 1, 0);
    assert_int_equal(pit_port61_read(&pit, 0x61, 1) & 0x20, 0x20);
    pit_port61_write(&pit, 0x61, 1, 1);         /* the rising gate reloads */
    assert_int_equal(latched(2), 1000);
}

static void test_latch_holds(void **state)
{
    unsigned low;

    (void)state;
    program(0, 2, 50000);
    out(0x43, 0x00);
    wait_periods(1000);
    out(0x43, 0x00);                            /* a second latch before the first is read does nothing */
    low = in(0x40);
    assert_int_equal(low | in(0x40) << 8, 50000);
    low = in(0x40);                             /* unlatched: the running counter */
    assert_int_equal(low | in(0x40) << 8, 49000);
}

static void test_access_modes(void **state)
{
    (void)state;
    out(0x43, 0x14);                            /* low byte only, mode 2 */
    out(0x40, 200);
    assert_int_equal(in(0x40), 200);
    assert_int_equal(in(0x40), 200);
    out(0x43, 0x00);
    assert_int_equal(in(0x40), 200);
    out(0x43, 0x24);                            /* high byte only */
    out(0x40, 0x80);
    assert_int_equal(in(0x40), 0x80);
    out(0x43, 0x00);
    assert_int_equal(in(0x40), 0x80);
    assert_int_equal(status(0), 0xa4);
}

static void test_read_back(void **state)
{
    (void)state;
    program(0, 2, 1000);
    out(0x43, 0xb6);
    assert_int_equal(status(2) & 0x40, 0x40);   /* null count: nothing written since the control word */
    program(2, 3, 500);
    out(0x43, 0xc0 | 2 | 8);                    /* count and status of 0 and 2 */
    wait_periods(10);
    assert_int_equal(in(0x40), 0xb4);           /* status comes first */
    assert_int_equal(in(0x40), 1000 & 0xff);
    assert_int_equal(in(0x40), 1000 >> 8);
    assert_int_equal(in(0x42), 0xb6);
    assert_int_equal(in(0x42), 500 & 0xff);
    assert_int_equal(in(0x42), 500 >> 8);
    assert_int_equal(in(0x43), 0xff);
}

static void test_bcd(void **state)
{
    (void)state;
    out(0x43, 0x35);                            /* mode 2, BCD */
    out(0x40, 0x00);
    out(0x40, 0x10);
    wait_periods(1);
    out(0x43, 0x00);
    assert_int_equal(in(0x40), 0x99);
    assert_int_equal(in(0x40), 0x09);
    out(0x43, 0x31);
    out(0x40, 0);
    out(0x40, 0);                               /* 10000 */
    wait_periods(10000);
    assert_true(fake_line[0].level);
}

/* A count of 1 or 2 would be 600,000 interrupts a second. */
static void test_storm_is_clamped(void **state)
{
    (void)state;
    for (unsigned count = 1; count <= 3; count++) {
        program(0, 2, count);
        fake_line[0].rises = 0;
        fake_wait_us(100000);
        assert_in_range(fake_line[0].rises, 4000, 5001);
    }
}

static void test_late_ticks_are_lost(void **state)
{
    (void)state;
    program(0, 2, 1193);
    fake_tick += FAKE_HZ;                       /* nobody ran the timer for a second */
    timer_run(&fake_queue, fake_tick);
    assert_int_equal(fake_line[0].rises, 1);
    assert_true(timer_next(&fake_queue) > fake_tick);
    assert_true(timer_next(&fake_queue) <= fake_tick + FAKE_HZ / 1000 + 1);
}

static void test_refresh_toggles(void **state)
{
    unsigned changes = 0, last = 0;

    (void)state;
    pit_port61_write(&pit, 0x61, 1, 0xff);
    assert_int_equal(pit_port61_read(&pit, 0x61, 1) & 0xcf, 0x0f);
    for (unsigned i = 0; i < 1000; i++) {
        unsigned now = pit_port61_read(&pit, 0x61, 1) & 0x10;

        changes += now != last;
        last = now;
        fake_wait_us(1);
    }
    assert_in_range(changes, 64, 68);
}

static void test_stale_fire_is_ignored(void **state)
{
    (void)state;
    program(0, 2, 11932);
    pit_expire(&pit, fake_tick);
    assert_int_equal(fake_line[0].rises, 0);
}

/* The control word alone stops the count and sets OUT as the mode begins: low for mode 0, else high. */
static void test_control_word_stops(void **state)
{
    (void)state;
    program(0, 2, 1000);
    assert_non_null(fake_queue.head);
    out(0x43, 0x30);
    assert_false(fake_line[0].level);
    assert_null(fake_queue.head);
    out(0x43, 0x34);
    assert_true(fake_line[0].level);
    fake_line[0].rises = 0;
    fake_wait_us(100000);
    assert_int_equal(fake_line[0].rises, 0);
    program(0, 2, 1000);
    pit_reset(&pit);
    assert_null(fake_queue.head);
}

/* All four digits, and every bit of both bytes. */
static void test_digits_and_bytes(void **state)
{
    (void)state;
    out(0x43, 0x35);
    out(0x40, 0x76);
    out(0x40, 0x98);
    assert_int_equal(latched(0), 0x9876);
    wait_periods(1);
    assert_int_equal(latched(0), 0x9875);
    program(2, 4, 0xffff);
    assert_int_equal(in(0x42), 0xff);
    assert_int_equal(in(0x42), 0xff);
    out(0x43, 0x98);                            /* channel 2, low bytes only */
    out(0x42, 0xff);
    assert_int_equal(in(0x42), 0xff);
    out(0x43, 0xa8);                            /* high bytes only */
    out(0x42, 0xff);
    assert_int_equal(in(0x42), 0xff);
}

/* A period of one is illegal in modes 2 and 3: it counts as two. */
static void test_shortest_period(void **state)
{
    (void)state;
    for (unsigned mode = 2; mode < 4; mode++) {
        program(2, mode, 1);
        pit_port61_write(&pit, 0x61, 1, 1);
        assert_int_equal(latched(2), 2);
    }
}

static void test_strobe_is_one(void **state)
{
    (void)state;
    program(0, 4, 100);
    fake_line[0].rises = 0;
    wait_periods(101);
    assert_int_equal(fake_line[0].rises, 1);
    pit_expire(&pit, vclock_now(&fake_clock) + FAKE_HZ);        /* a timer that fires late once more */
    assert_int_equal(fake_line[0].rises, 1);
}

/* Bits 0 to 3 are kept, bits 4 and 5 are shown, the others are zero. */
static void test_port61(void **state)
{
    (void)state;
    for (unsigned value = 0; value < 16; value++) {
        pit_port61_write(&pit, 0x61, 1, 0xf0 | value);
        fake_wait_us(15);
        assert_int_equal(pit_port61_read(&pit, 0x61, 1) & ~0x30u, value);
    }
}

static void test_random(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 300000; i++) {
        uint64_t before = fake_tick;

        switch (fake_below(6)) {
        case 0:
            out(0x40 + fake_below(4), (uint8_t)fake_random());
            break;
        case 1:
            program(fake_below(3), fake_below(8), fake_below(2) ? fake_below(65536) : fake_below(4));
            break;
        case 2:
            pit_port61_write(&pit, 0x61, 1, (uint8_t)fake_random());
            pit_port61_read(&pit, 0x61, 1);
            break;
        case 3:
            in(0x40 + fake_below(4));
            break;
        default:
            assert_in_range(fake_wait(fake_below(200000)), 0, 6);
            assert_true(fake_tick >= before);
            break;
        }
        assert_true(fake_timers(&fake_queue) <= 1);
        for (unsigned c = 0; c < 3; c++)
            assert_in_range(pit.channel[c].count, 1, 65536);
    }
    fake_tick += 1ull << 62;
    timer_run(&fake_queue, fake_tick);
    pit_port61_read(&pit, 0x61, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_terminal_count, setup),
        cmocka_unit_test_setup(test_rate_generator, setup),
        cmocka_unit_test_setup(test_rate_generator_counts_down, setup),
        cmocka_unit_test_setup(test_square_wave, setup),
        cmocka_unit_test_setup(test_strobe, setup),
        cmocka_unit_test_setup(test_triggered_modes, setup),
        cmocka_unit_test_setup(test_channel2_calibration, setup),
        cmocka_unit_test_setup(test_gate_stops_channel2, setup),
        cmocka_unit_test_setup(test_latch_holds, setup),
        cmocka_unit_test_setup(test_access_modes, setup),
        cmocka_unit_test_setup(test_read_back, setup),
        cmocka_unit_test_setup(test_bcd, setup),
        cmocka_unit_test_setup(test_storm_is_clamped, setup),
        cmocka_unit_test_setup(test_late_ticks_are_lost, setup),
        cmocka_unit_test_setup(test_refresh_toggles, setup),
        cmocka_unit_test_setup(test_stale_fire_is_ignored, setup),
        cmocka_unit_test_setup(test_control_word_stops, setup),
        cmocka_unit_test_setup(test_digits_and_bytes, setup),
        cmocka_unit_test_setup(test_shortest_period, setup),
        cmocka_unit_test_setup(test_strobe_is_one, setup),
        cmocka_unit_test_setup(test_port61, setup),
        cmocka_unit_test_setup(test_random, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
