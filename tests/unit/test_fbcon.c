/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/fbcon.c"

/* A font whose glyphs can be read back: the character's code in the first row, the row's number in the others. */
const uint8_t font_glyphs[FONT_LAST - FONT_FIRST + 1][FONT_HEIGHT] = {
#define ROW(c) { (c), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 }
#define ROW8(c) ROW(c), ROW(c + 1), ROW(c + 2), ROW(c + 3), ROW(c + 4), ROW(c + 5), ROW(c + 6), ROW(c + 7)
    ROW8(32), ROW8(40), ROW8(48), ROW8(56), ROW8(64), ROW8(72), ROW8(80), ROW8(88), ROW8(96), ROW8(104), ROW8(112),
    ROW(120), ROW(121), ROW(122), ROW(123), ROW(124), ROW(125), ROW(126),
};

/* 12 columns and 4 rows, with odd pixels left over and a longer stride. */
enum { WIDTH = 99, HEIGHT = 70, STRIDE = 104, COLUMNS = 12, ROWS = 4 };

static uint32_t *screen; /* exactly as large as it is: the sanitizer sees what goes beyond */

static int set_up(void **state)
{
    struct fbcon_mode mode = { .width = WIDTH, .height = HEIGHT, .stride = STRIDE };

    (void)state;
    screen = malloc((size_t)STRIDE * HEIGHT * 4);
    memset(screen, 0x77, (size_t)STRIDE * HEIGHT * 4);
    mode.base = (uint64_t)(uintptr_t)screen;
    assert_true(fbcon_init(&mode));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(screen);
    return 0;
}

static uint8_t bits(unsigned x, unsigned y)
{
    unsigned v = 0;

    for (unsigned i = 0; i < 8; i++)
        v = v << 1 | (screen[(size_t)y * STRIDE + x + i] != 0);
    return (uint8_t)v;
}

/* The screen's text, rows separated by '/', checked pixel by pixel. */
static const char *read_screen(void)
{
    static char text[ROWS * (COLUMNS + 1)];
    char *p = text;

    for (unsigned y = 0; y < ROWS; y++) {
        for (unsigned x = 0; x < COLUMNS; x++) {
            *p = (char)bits(x * 8, y * 16);
            for (unsigned line = 1; line < 16; line++)
                assert_int_equal(bits(x * 8, y * 16 + line), line);
            p++;
        }
        *p++ = y + 1 < ROWS ? '/' : '\0';
    }
    return text;
}

static void write_text(const char *text)
{
    fbcon_write(text, strlen(text));
}

static void test_text(void **state)
{
    assert_string_equal(read_screen(), "            /            /            /            ");
    write_text("ab\ncd\re\tf\n\x01g\bh");
    assert_string_equal(read_screen(), "ab          /ed      f   /h           /            ");
    (void)state;
}

static void test_wrap_and_scroll(void **state)
{
    write_text("123456789012");
    assert_string_equal(read_screen(), "123456789012/            /            /            ");
    write_text("3\nthird\nfourth\nfifth");
    assert_string_equal(read_screen(), "3           /third       /fourth      /fifth       ");
    write_text("\n");
    assert_string_equal(read_screen(), "third       /fourth      /fifth       /            ");
    write_text("\b\b\b\b\bx");
    assert_string_equal(read_screen(), "third       /fourth      /fifth       /x           ");
    (void)state;
}

static void test_escapes(void **state)
{
    write_text("a\033[1;31mb\033[6nc\033]0;title\ad\033(Be\033[");
    write_text("2Jf\xc3\xa4\x7fg");
    assert_memory_equal(read_screen(), "abcdBefg    ", 12); /* ESC ( takes one character */
    (void)state;
}

static void test_margins(void **state)
{
    for (unsigned i = 0; i < 1000; i++)
        write_text("fill the screen \t with text \n");
    for (unsigned y = 0; y < HEIGHT; y++) {
        for (unsigned x = 0; x < STRIDE; x++) {
            if (y >= ROWS * 16 || x >= COLUMNS * 8)
                assert_int_equal(screen[(size_t)y * STRIDE + x], 0x77777777);
        }
    }
    (void)state;
}

static void test_modes(void **state)
{
    struct fbcon_mode mode = { .base = 0x1000, .width = 7, .height = 100, .stride = 100 };

    assert_false(fbcon_init(&mode));
    mode.width = 200;
    assert_false(fbcon_init(&mode));
    mode.base = 0;
    mode.stride = 200;
    assert_false(fbcon_init(&mode));
    write_text("nowhere");
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_text, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrap_and_scroll, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_escapes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_margins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_modes, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
