/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/vcpu_fake.h"

static char said[8192];

static void sink(const char *text, size_t n)
{
    if (strlen(said) + n < sizeof(said))
        strncat(said, text, n);
}

static int setup(void **state)
{
    int err = vcpu_setup(state);

    said[0] = '\0';
    log_add_sink(sink);
    fake_percpu[0].vcpu = &vcpu;
    for (unsigned i = 0; i < 20; i++)
        vcpu.ring[vcpu.exit_count++] = (struct exit_record){ .tsc = 1000 + i, .rip = 0x4000 + i,
                                                             .qualification = i, .reason = EXIT_REASON_CPUID };
    return err;
}

static int teardown(void **state)
{
    (void)state;
    log_remove_sinks();
    fake_percpu[0].vcpu = NULL;
    return 0;
}

static unsigned lines_with(const char *text)
{
    unsigned n = 0;

    for (const char *p = said; (p = strstr(p, text)); p++)
        n++;
    return n;
}

/* A panic tells the last sixteen exits of the vCPU that is loaded here, the latest at the end. */
static void test_panic_has_the_last_exits(void **state)
{
    vcpu_dump_panic();
    assert_non_null(strstr(said, "last VM exits of 20"));
    assert_int_equal(lines_with("  CPUID  "), 16);
    assert_null(strstr(said, "tsc 1003 "));
    assert_non_null(strstr(said, "tsc 1004 "));
    assert_non_null(strstr(said, "tsc 1019  vcpu 0  rip 0000000000004013  CPUID  qualification 0x13\n"));
}

static void test_panic_without_a_vcpu(void **state)
{
    fake_percpu[0].vcpu = NULL;
    vcpu_dump_panic();
    assert_string_equal(said, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_panic_has_the_last_exits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_panic_without_a_vcpu, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
