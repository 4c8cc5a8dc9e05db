/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/tsc.c"
#include "tests/unit/seam/fake_cpu.h"

/* The 8254's channel 2 on a machine whose TSC has a known frequency. */
static struct {
    uint64_t hz;                        /* of the TSC; 0: the counter does not run */
    uint8_t port61, control, status;
    unsigned count, bytes, latched;
    uint64_t started;
    unsigned disturb;                   /* the run in which an SMI takes its time; 0: none */
    unsigned runs;
} pit;

static uint32_t pit_in(uint16_t port, unsigned size)
{
    uint64_t ticks;

    assert_int_equal(size, 1);
    assert_false(fake_cpu.rflags & RFLAGS_IF);
    if (port == 0x42) {
        assert_int_equal(pit.latched, 1);
        pit.latched = 0;
        return pit.status;
    }
    assert_int_equal(port, 0x61);
    fake_cpu.tsc += 500;
    ticks = pit.hz ? (fake_cpu.tsc - pit.started) * 1193182 / pit.hz : 0;
    return pit.port61 | (pit.count && (pit.port61 & 1) && ticks >= pit.count ? 0x20 : 0);
}

static void pit_out(uint16_t port, uint32_t value, unsigned size)
{
    assert_int_equal(size, 1);
    if (port == 0x43 && value == 0xe8) {
        pit.latched = 1;
    } else if (port == 0x43) {
        pit.control = (uint8_t)value;
        pit.count = pit.bytes = 0;
    } else if (port == 0x42) {
        pit.count |= value << (8 * pit.bytes++);
    } else if (port == 0x61) {
        assert_false((value & 2) && !(pit.port61 & 2)); /* no noise */
        if ((value & 1) && !(pit.port61 & 1)) {
            pit.started = fake_cpu.tsc;
            if (++pit.runs == pit.disturb)
                fake_cpu.tsc += pit.hz / 5;
        }
        pit.port61 = (uint8_t)value;
    }
}

static int set_up(void **state)
{
    (void)state;
    fake_cpu_reset();
    fake_cpu.in = pit_in;
    fake_cpu.out = pit_out;
    fake_cpu.tsc_step = 20;
    fake_cpu.rflags |= RFLAGS_IF;
    fake_cpu.tsc = 1ull << 40;
    memset(&pit, 0, sizeof(pit));
    pit.port61 = 0x0c;
    pit.status = 0xb6; /* output high, low and high byte, mode 3 */
    log_set_level(LOG_ERROR);
    return 0;
}

static void check_near(uint64_t want)
{
    uint64_t got = tsc_calibrate();

    assert_in_range(got, want - want / 500, want + want / 500);
    assert_int_equal(tsc_khz(), got);
}

static void test_measured(void **state)
{
    static const uint64_t khz_of[] = { 50000, 1000000, 2596000, 5000000 };

    for (unsigned i = 0; i < ARRAY_SIZE(khz_of); i++) {
        set_up(NULL);
        fake_cpuid_set(0, 0, 0x16, 0, 0, 0); /* what CPUID announces does not matter */
        fake_cpuid_set(0x15, 0, 2, 292, 24000000, 0);
        pit.hz = khz_of[i] * 1000;
        check_near(khz_of[i]);
    }
    (void)state;
}

static void test_put_back(void **state)
{
    pit.hz = 1000000000;
    tsc_calibrate();
    assert_int_equal(pit.port61, 0x0c);
    assert_int_equal(pit.control, 0xb6);
    assert_int_equal(pit.bytes, 2);
    assert_true(fake_cpu.rflags & RFLAGS_IF);
    fake_cpu.rflags &= ~RFLAGS_IF;
    tsc_calibrate();
    assert_false(fake_cpu.rflags & RFLAGS_IF);
    (void)state;
}

static void test_one_run_disturbed(void **state)
{
    for (unsigned run = 1; run <= 3; run++) {
        set_up(NULL);
        pit.hz = 2000000000;
        pit.disturb = run;
        check_near(2000000);
    }
    (void)state;
}

static void test_no_timer(void **state)
{
    assert_int_equal(tsc_calibrate(), 0); /* nor anything in CPUID */
    fake_cpuid_set(0, 0, 0x15, 0, 0, 0);
    fake_cpuid_set(0x15, 0, 2, 200, 24000000, 0);
    assert_int_equal(tsc_calibrate(), 2400000);
    fake_cpuid_set(0x15, 0, 2, 200, 0, 0);
    assert_int_equal(tsc_calibrate(), 0);
    fake_cpuid_set(0, 0, 0x16, 0, 0, 0);
    fake_cpuid_set(0x16, 0, 3500, 0, 0, 0);
    assert_int_equal(tsc_calibrate(), 3500000);
    pit.hz = 100000; /* absurd */
    assert_int_equal(tsc_calibrate(), 3500000);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_measured, set_up),
        cmocka_unit_test_setup(test_put_back, set_up),
        cmocka_unit_test_setup(test_one_run_disturbed, set_up),
        cmocka_unit_test_setup(test_no_timer, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
