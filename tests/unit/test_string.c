/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The C library's functions are the oracle; ours get other names. */
#define memcpy  our_memcpy
#define memmove our_memmove
#define memset  our_memset
#define memcmp  our_memcmp
#define memchr  our_memchr
#define strlen  our_strlen
#define strnlen our_strnlen
#define strcmp  our_strcmp
#define strncmp our_strncmp
#define strchr  our_strchr
#include "lib/string.c"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp
#undef memchr
#undef strlen
#undef strnlen
#undef strcmp
#undef strncmp
#undef strchr

#define SIZE 96

static int sign(int v)
{
    return (v > 0) - (v < 0);
}

static void test_moves(void **state)
{
    uint8_t ours[SIZE], theirs[SIZE], from[SIZE];

    for (unsigned i = 0; i < 200000; i++) {
        size_t n = (size_t)rand() % 40, to = (size_t)rand() % 50, at = (size_t)rand() % 50;

        for (unsigned k = 0; k < SIZE; k++) {
            ours[k] = theirs[k] = (uint8_t)rand();
            from[k] = (uint8_t)rand();
        }
        assert_ptr_equal(our_memmove(ours + to, ours + at, n), ours + to);
        memmove(theirs + to, theirs + at, n);
        assert_memory_equal(ours, theirs, SIZE);
        assert_ptr_equal(our_memcpy(ours + to, from + at, n), ours + to);
        memcpy(theirs + to, from + at, n);
        assert_memory_equal(ours, theirs, SIZE);
        assert_ptr_equal(our_memset(ours + at, rand(), 0), ours + at);
        our_memset(ours + at, (int)i, n);
        memset(theirs + at, (int)i, n);
        assert_memory_equal(ours, theirs, SIZE);
    }
    (void)state;
}

/* Few different characters, the upper half among them, and ends at all places. */
static void random_text(char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        text[i] = "ab\xf0"[rand() % 3];
    text[rand() % (int)size] = '\0';
    text[size - 1] = '\0';
}

static void test_compares(void **state)
{
    char a[8], b[8];

    for (unsigned i = 0; i < 200000; i++) {
        size_t n = (size_t)rand() % 8;

        random_text(a, sizeof(a));
        random_text(b, sizeof(b));
        assert_int_equal(sign(our_memcmp(a, b, n)), sign(memcmp(a, b, n)));
        assert_int_equal(sign(our_strcmp(a, b)), sign(strcmp(a, b)));
        assert_int_equal(sign(our_strncmp(a, b, n)), sign(strncmp(a, b, n)));
        assert_int_equal(our_strlen(a), strlen(a));
        assert_int_equal(our_strnlen(a, n), strnlen(a, n));
        assert_ptr_equal(our_strchr(a, 'b'), strchr(a, 'b'));
        assert_ptr_equal(our_strchr(a, 0xf0), strchr(a, 0xf0));
        assert_ptr_equal(our_strchr(a, '\0'), strchr(a, '\0'));
        assert_ptr_equal(our_memchr(a, 0xf0, n), memchr(a, 0xf0, n));
    }
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moves),
        cmocka_unit_test(test_compares),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
