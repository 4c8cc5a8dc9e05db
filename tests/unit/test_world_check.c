/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/world_check.c"
#include "tests/unit/seam/fake_cpu.h"

#define BASE 0xfee00000u
#define CPUS 4u

static const uint32_t ids[CPUS] = { 0, 2, 4, 6 };
static uint64_t cr4_of[CPUS], apic_of[CPUS];
static unsigned lost;           /* this one does not start; 0: all do */
static unsigned starts, waits;
static int start_error, wait_error;
static char said[4096];

static void sink(const char *text, size_t n)
{
    strncat(said, text, n);
}

bool apic_same_mode(uint64_t apic_base)
{
    return !(apic_base & APIC_BASE_X2APIC) && (apic_base & APIC_BASE_ADDR_MASK) == BASE;
}

static void become(unsigned index)
{
    fake_cpu.cr4 = cr4_of[index];
    fake_msr_set(MSR_APIC_BASE, apic_of[index]);
}

static int start(void (*fn)(unsigned index))
{
    starts++;
    for (unsigned i = CPUS - 1; i > 0 && !start_error; i--) {
        become(i);
        if (i != lost)
            fn(i);
    }
    become(0);
    return start_error;
}

static int wait(void)
{
    waits++;
    return wait_error;
}

static int set_up(void **state)
{
    fake_cpu_reset();
    fake_cpuid_set(0x80000001, 0, 0, 0, 0, BIT(20));
    fake_cpuid_set(1, 0, 0, 0, 0, BIT(9) | BIT(16) | BIT(24));
    for (unsigned i = 0; i < CPUS; i++) {
        cr4_of[i] = CR4_PAE;
        apic_of[i] = BASE | APIC_BASE_ENABLE;
    }
    lost = starts = waits = 0;
    start_error = wait_error = 0;
    said[0] = '\0';
    become(0);
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

static void all_are_fit(void **state)
{
    assert_int_equal(world_check(CPUS, ids, start, wait), 0);
    assert_true(starts == 1 && waits == 1);
    assert_int_equal(world_check(1, ids, start, wait), 0);
    assert_int_equal(starts, 1); /* nobody to start */
    assert_string_equal(said, "");
    (void)state;
}

static void each_obstacle_is_named(void **state)
{
    cr4_of[1] |= CR4_LA57;
    cr4_of[2] |= CR4_PCIDE;
    apic_of[3] |= APIC_BASE_X2APIC;
    assert_int_equal(world_check(CPUS, ids, start, wait), -ENOTSUP);
    assert_non_null(strstr(said, "cpu 1 (APIC id 2): 5-level paging"));
    assert_non_null(strstr(said, "cpu 2 (APIC id 4): the firmware uses PCIDs"));
    assert_non_null(strstr(said, "cpu 3 (APIC id 6): its local APIC is in another mode"));
    assert_null(strstr(said, "cpu 0"));
    assert_int_equal(waits, 1); /* all were waited for */
    cr4_of[1] = cr4_of[2] = CR4_PAE;
    apic_of[3] = BASE;
    said[0] = '\0';
    assert_int_equal(world_check(CPUS, ids, start, wait), -ENOTSUP);
    assert_non_null(strstr(said, "cpu 3 (APIC id 6): the local APIC is off"));
    apic_of[3] |= APIC_BASE_ENABLE;
    assert_int_equal(world_check(CPUS, ids, start, wait), 0); /* nothing is left of the checks before */
    (void)state;
}

static void the_boot_processor_first(void **state)
{
    cr4_of[0] |= CR4_PCIDE;
    become(0);
    assert_int_equal(world_check(CPUS, ids, start, wait), -ENOTSUP);
    assert_int_equal(starts, 0);
    assert_non_null(strstr(said, "cpu 0 (APIC id 0): the firmware uses PCIDs"));
    fake_cpu.cr4 = CR4_PAE;
    fake_cpuid_set(1, 0, 0, 0, 0, BIT(9) | BIT(16));
    assert_int_equal(world_check(1, ids, start, wait), -ENOTSUP);
    (void)state;
}

static void who_does_not_start(void **state)
{
    lost = 2;
    assert_int_equal(world_check(CPUS, ids, start, wait), -ENOTSUP);
    assert_non_null(strstr(said, "cpu 2 (APIC id 4): it did not start"));
    wait_error = -EIO;
    assert_int_equal(world_check(CPUS, ids, start, wait), -EIO);
    start_error = -EBUSY;
    waits = 0;
    assert_int_equal(world_check(CPUS, ids, start, wait), -EBUSY);
    assert_int_equal(waits, 0);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_are_fit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_obstacle_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_boot_processor_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_does_not_start, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
