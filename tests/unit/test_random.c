/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "arch/x86/random.c"
#include "tests/unit/seam/fake_cpu.h"

static void begin(bool rdrand)
{
    fake_cpu_reset();
    fake_cpu.tsc = fake_cpu.tsc_step = 0;
    fake_cpuid_set(1, 0, 0, 0, rdrand ? 1u << 30 : 0, 0);
}

static void no_two_are_equal(void **state)
{
    uint64_t before[64];

    (void)state;
    for (unsigned rdrand = 0; rdrand < 2; rdrand++) {
        begin(rdrand);
        for (unsigned i = 0; i < 64; i++) {
            before[i] = random_number();      /* the counter stands still, RDRAND gives the same */
            for (unsigned j = 0; j < i; j++)
                assert_true(before[i] != before[j]);
        }
    }
}

/* With another number of RDRAND's it is another, though all else is the same. */
static void rdrand_counts(void **state)
{
    uint64_t differ = 0, one, other;

    (void)state;
    begin(true);
    pool = 1;
    one = random_number();
    pool = 1;
    assert_true(random_number() == one);
    pool = 1;
    fake_cpu.random = 1;
    other = random_number();
    differ = one ^ other;
    assert_in_range(__builtin_popcountll(differ), 12, 52);
    fake_cpu.random_fails = 3;
    (void)random_number();
    assert_int_equal(fake_cpu.random_fails, 0); /* it has asked again */
    fake_cpu.random_fails = 1000;
    (void)random_number();                    /* and does not for ever */
    assert_int_equal(fake_cpu.random_fails, 990);
    begin(false);
    fake_cpu.random_fails = 5;
    (void)random_number();
    assert_int_equal(fake_cpu.random_fails, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(no_two_are_equal), cmocka_unit_test(rdrand_counts) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
