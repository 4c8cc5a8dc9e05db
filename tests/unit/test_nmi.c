/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/nmi.c"
#include "tests/unit/seam/fake_cpu.h"
#include "tests/unit/seam/fake_percpu.h"

/* Port 61H: a source that is switched off does not show, and what is only read cannot be written. */
static uint8_t control, status;
static char said[1024];

static uint32_t in(uint16_t port, unsigned size)
{
    assert_int_equal(port, 0x61);
    (void)size;
    return control | (status & ~((control & 4 ? 0x80 : 0) | (control & 8 ? 0x40 : 0)));
}

static void out(uint16_t port, uint32_t value, unsigned size)
{
    assert_int_equal(port, 0x61);
    assert_int_equal(value & 0xf0, 0);
    (void)size;
    control = (uint8_t)value;
}

static void sink(const char *text, size_t n)
{
    strncat(said, text, n);
}

static int set_up(void **state)
{
    fake_cpu_reset();
    fake_percpu_enter(2);
    fake_cpu.in = in;
    fake_cpu.out = out;
    control = 3; /* the speaker's gate stays */
    status = 0;
    memset(counts, 0, sizeof(counts));
    said[0] = '\0';
    log_add_sink(sink);
    (void)state;
    return 0;
}

static int tear_down(void **state)
{
    log_remove_sinks();
    (void)state;
    return 0;
}

static void unknown_ones_are_counted(void **state)
{
    nmi_handle();
    nmi_handle();
    assert_string_equal(said, ""); /* no lock is taken, so nothing is said yet */
    nmi_report();
    assert_string_equal(said, "mirrorball: 2 NMIs of the machine: unknown source; last on cpu 2\n");
    assert_int_equal(control, 3);
    said[0] = '\0';
    nmi_report();
    assert_string_equal(said, "");
    (void)state;
}

static void known_sources_are_quietened(void **state)
{
    status = 0x80;
    nmi_handle();
    assert_int_equal(control, 3 | 4);
    status |= 0x40;
    nmi_handle();
    assert_int_equal(control & 8, 8);
    nmi_report();
    assert_non_null(strstr(said, "1 NMI of the machine: memory parity or SERR#; last on cpu 2\n"));
    assert_non_null(strstr(said, "1 NMI of the machine: IOCHK#;"));
    assert_null(strstr(said, "unknown"));
    assert_int_equal(control, 3); /* on again */
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(unknown_ones_are_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(known_sources_are_quietened, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
