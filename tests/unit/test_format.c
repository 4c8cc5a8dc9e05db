/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/format.h"

/* What the compiler warns of is what is tried here. */
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-truncation"
#pragma GCC diagnostic ignored "-Wformat-overflow"

/* The C library is the oracle: same text, same length, at every buffer size. */
#define CHECK(...)                                                              \
    do {                                                                        \
        char want_[256], got_[256];                                             \
        int len_ = snprintf(want_, sizeof(want_), __VA_ARGS__);                 \
        for (size_t size_ = 0; size_ < 40; size_++) {                           \
            memset(got_, '#', sizeof(got_));                                    \
            snprintf(want_, size_, __VA_ARGS__);                                \
            assert_int_equal(format(got_, size_, __VA_ARGS__), len_);           \
            if (size_)                                                          \
                assert_string_equal(got_, want_);                               \
            assert_int_equal(got_[size_], '#');                                 \
        }                                                                       \
    } while (0)

static void test_integers(void **state)
{
    static const char *const flags[] = { "", "-", "0", "-0" };
    static const char *const widths[] = { "", "1", "7", "20" };
    static const char *const precisions[] = { "", ".", ".0", ".1", ".9" };
    static const long values[] = { 0, 1, -1, 10, 255, -4096, INT_MAX, INT_MIN, LONG_MAX, LONG_MIN };
    char fmt[32];

    for (unsigned i = 0; i < 4 * 4 * 5; i++) {
        for (unsigned v = 0; v < sizeof(values) / sizeof(*values); v++) {
            for (const char *c = "diuxX"; *c; c++) {
                snprintf(fmt, sizeof(fmt), "[%%%s%s%sl%c]", flags[i % 4], widths[i / 4 % 4], precisions[i / 16], *c);
                CHECK(fmt, values[v]);
                snprintf(fmt, sizeof(fmt), "[%%%s%s%s%c]", flags[i % 4], widths[i / 4 % 4], precisions[i / 16], *c);
                CHECK(fmt, (int)values[v]);
                snprintf(fmt, sizeof(fmt), "[%%%s%s%shh%c]", flags[i % 4], widths[i / 4 % 4], precisions[i / 16], *c);
                CHECK(fmt, (int)values[v]);
            }
        }
    }
    (void)state;
}

static void test_lengths(void **state)
{
    CHECK("%hd %hu %hhx", -40000, 70000, 0x1234);
    CHECK("%lld %llu %llx %zu %zx", -1ll, 1ull << 63, 0x123456789abcdefull, (size_t)99, SIZE_MAX);
    CHECK("%*d|%-*d|%.*x", 6, 42, 6, 42, 5, 42);
    CHECK("%*d|", -6, 42);
    (void)state;
}

static void test_text(void **state)
{
    const char unterminated[] = { 'a', 'b', 'c' };

    CHECK("plain");
    CHECK("%s|%10s|%-10s|%.2s|%.0s|", "abc", "abc", "abc", "abc", "abc");
    CHECK("%.3s", unterminated);
    CHECK("%c%5c%-5c|", 'x', 'y', 'z');
    CHECK("100%%");
    CHECK("%p %20p", (void *)0x1234, (void *)0xffff800000000000);
    (void)state;
}

static void test_oddities(void **state)
{
    char buf[32];
    const char *fmt = "%s %q %";

    format(buf, sizeof(buf), fmt, NULL);
    assert_string_equal(buf, "(null) %q ");
    fmt = "%99999999999d"; /* a width is bounded, and the buffer holds what fits of it */
    assert_int_equal(format(buf, sizeof(buf), fmt, 1), 999999);
    assert_string_equal(buf, "                               ");
    assert_int_equal(format(NULL, 0, "%s", "abc"), 3);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_oddities),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
