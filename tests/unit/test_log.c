/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/format.h"
#include "lib/log.h"

#define RING 65536

static char seen[4096];
static size_t seen_len;
static char text[RING + 1];

static void sink(const char *line, size_t len)
{
    assert_true(seen_len + len < sizeof(seen));
    memcpy(seen + seen_len, line, len);
    seen_len += len;
    seen[seen_len] = '\0';
}

static void second_sink(const char *line, size_t len)
{
    assert_memory_equal(seen + seen_len - len, line, len); /* called behind the first, same text */
}

static int set_up(void **state)
{
    (void)state;
    log_remove_sinks();
    log_set_level(LOG_INFO);
    seen_len = 0;
    seen[0] = '\0';
    return 0;
}

/* Everything from *pos on, in pieces of an odd size. */
static size_t drain(size_t *pos)
{
    size_t len = 0, n;

    while ((n = log_read(pos, text + len, 777)) != 0) {
        len += n;
        assert_true(len <= RING);
    }
    text[len] = '\0';
    return len;
}

static void test_levels_and_sinks(void **state)
{
    log_add_sink(sink);
    log_add_sink(second_sink);
    log_info("one %d", 1);
    log_debug("hidden");
    log_set_level(LOG_ERROR);
    log_warn("hidden");
    log_error("two");
    log_set_level(LOG_DEBUG);
    log_debug("three");
    assert_int_equal(log_get_level(), LOG_DEBUG);
    assert_string_equal(seen, "mirrorball: one 1\nmirrorball: two\nmirrorball: three\n");
    (void)state;
}

static void test_long_line(void **state)
{
    static char line[2000];

    memset(line, 'x', sizeof(line) - 1);
    log_add_sink(sink);
    log_info("%s", line);
    assert_int_equal(seen_len, 512);
    assert_int_equal(seen[511], '\n');
    log_info("next");
    assert_string_equal(seen + 512, "mirrorball: next\n");
    (void)state;
}

static void test_ring(void **state)
{
    size_t pos = 0, again = 0;

    drain(&pos);
    log_info("a");
    drain(&pos);
    assert_string_equal(text, "mirrorball: a\n");
    assert_int_equal(drain(&pos), 0);
    for (unsigned i = 0; i < 10000; i++)
        log_info("line %u", i);
    assert_int_equal(drain(&pos), RING); /* what was overwritten is skipped */
    assert_string_equal(text + RING - 22, "mirrorball: line 9999\n");
    assert_int_equal(drain(&again), RING);
    assert_int_equal(again, pos);
    again = pos + 5; /* never was a position */
    assert_int_equal(drain(&again), RING);
    (void)state;
}

static jmp_buf after_panic;

static void leave_panic(void)
{
    longjmp(after_panic, 1);
}

static void reentered_sink(const char *line, size_t len)
{
    (void)line;
    (void)len;
    if (!log_panicking())
        panic("inside %s", "a sink"); /* the log's lock is held here */
}

static void test_panic_breaks_the_lock(void **state)
{
    size_t pos = 0;

    drain(&pos);
    log_set_panic_hook(leave_panic);
    log_add_sink(reentered_sink);
    if (!setjmp(after_panic)) {
        log_info("x");
        fail();
    }
    assert_true(log_panicking());
    assert_false(log_begin_panic());
    log_error("still here");
    drain(&pos);
    assert_string_equal(text, "mirrorball: x\nmirrorball: panic: inside a sink\nmirrorball: still here\n");
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_levels_and_sinks, set_up),
        cmocka_unit_test_setup(test_long_line, set_up),
        cmocka_unit_test_setup(test_ring, set_up),
        cmocka_unit_test_setup(test_panic_breaks_the_lock, set_up), /* last: there is no way back */
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
