/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <time.h>

#include "efi/calendar.h"

static void test_known_moments(void **state)
{
    (void)state;
    assert_int_equal(calendar_to_unix(1970, 1, 1, 0, 0, 0), 0);
    assert_int_equal(calendar_to_unix(1970, 1, 1, 0, 0, 1), 1);
    assert_int_equal(calendar_to_unix(1969, 12, 31, 23, 59, 59), -1);
    assert_int_equal(calendar_to_unix(2000, 2, 29, 12, 0, 0), 951825600);
    assert_int_equal(calendar_to_unix(2038, 1, 19, 3, 14, 8), 2147483648);
}

/* Every day of two centuries, against the C library. */
static void test_against_the_c_library(void **state)
{
    (void)state;
    for (time_t t = -2208988800 + 86399; t < 4102444800; t += 86400) {
        struct tm tm;

        gmtime_r(&t, &tm);
        assert_int_equal(calendar_to_unix((unsigned)tm.tm_year + 1900, (unsigned)tm.tm_mon + 1, (unsigned)tm.tm_mday,
                                          (unsigned)tm.tm_hour, (unsigned)tm.tm_min, (unsigned)tm.tm_sec), t);
    }
}

static void test_nonsense_is_zero(void **state)
{
    (void)state;
    assert_int_equal(calendar_to_unix(0, 1, 1, 0, 0, 0), 0);
    assert_int_equal(calendar_to_unix(1899, 12, 31, 0, 0, 0), 0);
    assert_int_equal(calendar_to_unix(10000, 1, 1, 0, 0, 0), 0);
    assert_int_equal(calendar_to_unix(2023, 0, 1, 0, 0, 0), 0);
    assert_int_equal(calendar_to_unix(2023, 13, 1, 0, 0, 0), 0);
    assert_int_equal(calendar_to_unix(2023, 1, 0, 0, 0, 0), 0);
    assert_int_equal(calendar_to_unix(2023, 2, 29, 0, 0, 0), 0);
    assert_int_equal(calendar_to_unix(2024, 2, 30, 0, 0, 0), 0);
    assert_int_equal(calendar_to_unix(1900, 2, 29, 0, 0, 0), 0);
    assert_int_equal(calendar_to_unix(2023, 1, 1, 24, 0, 0), 0);
    assert_int_equal(calendar_to_unix(2023, 1, 1, 0, 60, 0), 0);
    assert_int_equal(calendar_to_unix(2023, 1, 1, 0, 0, 60), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_moments),
        cmocka_unit_test(test_against_the_c_library),
        cmocka_unit_test(test_nonsense_is_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
