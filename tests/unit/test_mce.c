/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/mce.c"
#include "tests/unit/seam/fake_cpu.h"
#include "tests/unit/seam/fake_percpu.h"

#define BANKS     4u
#define MCIP      BIT(2)
#define CORRECTED STATUS_VALID
#define DEFERRED  (STATUS_VALID | STATUS_UC | STATUS_EN)
#define IN_USE    (DEFERRED | STATUS_ACTION)
#define CORRUPT   (DEFERRED | STATUS_PCC)

static char said[8192];

static void sink(const char *text, size_t n)
{
    strncat(said, text, n);
}

static int set_up(void **state)
{
    fake_cpu_reset();
    fake_percpu_enter(1);
    fake_cpuid_set(1, 0, 0x50650, 0, 0, BIT(7) | BIT(14));
    fake_msr_set(MSR_MCG_CAP, BANKS);
    fake_msr_set(MSR_MCG_STATUS, MCIP | MCG_RIPV);
    for (unsigned i = 0; i < BANKS; i++) {
        for (unsigned k = 0; k < 4; k++)
            fake_msr_set(BANK_CTL(i) + k, 0);
        fake_msr_set(BANK_CTL(i), 0x10 + i);
    }
    mce_report();
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

static void what_it_means(void **state)
{
    static const struct { uint64_t mcg, status; enum mce_verdict verdict; } cases[] = {
        { MCG_RIPV, 0,                                    MCE_GOES_ON },
        { 0,        0,                                    MCE_LOST },
        { MCG_RIPV, CORRECTED,                            MCE_GOES_ON },
        { MCG_RIPV, CORRECTED | STATUS_PCC,               MCE_GOES_ON },
        { MCG_RIPV, DEFERRED,                             MCE_GOES_ON },
        { MCG_RIPV, IN_USE,                               MCE_LOST },
        { MCG_RIPV, IN_USE & ~STATUS_EN,                  MCE_GOES_ON },
        { 0,        DEFERRED,                             MCE_LOST },
        { MCG_RIPV, CORRUPT,                              MCE_FATAL },
        { 0,        CORRUPT,                              MCE_FATAL },
        { MCG_RIPV, CORRUPT & ~STATUS_VALID,              MCE_GOES_ON },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        fake_msr_set(MSR_MCG_STATUS, MCIP | cases[i].mcg);
        fake_msr_set(BANK_STATUS(2), cases[i].status);
        assert_int_equal(mce_handle(), cases[i].verdict);
        if (cases[i].verdict == MCE_FATAL) {
            assert_int_equal(fake_msr_get(BANK_STATUS(2)), cases[i].status);
        } else {
            assert_int_equal(fake_msr_get(MSR_MCG_STATUS), 0);
            assert_int_equal(fake_msr_get(BANK_STATUS(2)) & STATUS_VALID, 0);
        }
        mce_report();
    }
    (void)state;
}

static void the_worst_bank_counts(void **state)
{
    fake_msr_set(BANK_STATUS(0), CORRUPT);
    fake_msr_set(BANK_STATUS(1), IN_USE);
    fake_msr_set(BANK_STATUS(3), CORRECTED);
    assert_int_equal(mce_handle(), MCE_FATAL);
    assert_string_equal(said, "");
    mce_report();
    assert_non_null(strstr(said, "machine check on cpu 1, bank 0: uncorrected, context corrupt:"));
    assert_non_null(strstr(said, "machine check on cpu 1, bank 1: uncorrected and in use:"));
    assert_non_null(strstr(said, "machine check on cpu 1, bank 3: corrected:"));
    assert_null(strstr(said, "bank 2"));
    (void)state;
}

/* The compound codes of SDM vol. 3B, 16.9. */
static void codes_in_words(void **state)
{
    static const struct { uint16_t code; const char *text; } cases[] = {
        { 0x0000, "no error" },
        { 0x0005, "internal parity" },
        { 0x0400, "internal timer" },
        { 0x0405, "internal, unclassified" },
        { 0x000e, "cache, level 2" },
        { 0x0015, "data TLB, level 1" },
        { 0x0090, "memory, read, channel 0" },
        { 0x00c3, "memory, scrubbing, channel 3" },
        { 0x10c3, "memory, scrubbing, channel 3" },
        { 0x0291, "memory used as a cache, read, channel 1" },
        { 0x0134, "data cache, data read, level 0" },
        { 0x0151, "instruction cache, instruction fetch, level 1" },
        { 0x017a, "generic cache, eviction, level 2" },
        { 0x0e0b, "bus or interconnect, any request, generic level" },
        { 0x0913, "bus or interconnect, read, generic level, timed out" },
        { 0x2000, "unknown code" },
    };
    char text[TEXT_MAX];

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        describe_code(cases[i].code, text, sizeof(text));
        assert_string_equal(text, cases[i].text);
    }
    for (unsigned code = 0; code < 0x10000; code++) {
        describe_code((uint16_t)code, text, sizeof(text));
        assert_true(text[0]);
    }
    (void)state;
}

static void registers_that_are_valid_are_told(void **state)
{
    fake_msr_set(BANK_STATUS(2), IN_USE | STATUS_OVER | STATUS_ADDR | 0x134);
    fake_msr_set(BANK_ADDR(2), 0x12345000);
    fake_msr_set(BANK_MISC(2), 0x77); /* not valid */
    assert_int_equal(mce_handle(), MCE_LOST);
    mce_report();
    assert_string_equal(said,
        "mirrorball: machine check on cpu 1, bank 2: uncorrected and in use: data cache, data read, level 0 (and "
        "others before it)\nmirrorball:   status f480000000000134  address 0000000012345000  misc 0000000000000000\n");
    said[0] = '\0';
    mce_report();
    assert_string_equal(said, "");
    (void)state;
}

static void more_than_can_be_kept(void **state)
{
    for (unsigned i = 0; i < RECORDS + 3; i++) {
        fake_msr_set(BANK_STATUS(1), CORRECTED);
        mce_handle();
    }
    mce_report();
    assert_non_null(strstr(said, "machine check: 3 more errors\n"));
    (void)state;
}

static void enabled_in_our_world(void **state)
{
    struct mce_state s = { { 0 } };

    mce_enter(&s);
    for (unsigned i = 0; i < BANKS; i++)
        assert_int_equal(fake_msr_get(BANK_CTL(i)), UINT64_MAX);
    mce_leave(&s);
    for (unsigned i = 0; i < BANKS; i++)
        assert_int_equal(fake_msr_get(BANK_CTL(i)), 0x10 + i);
    fake_cpuid_set(1, 0, 0x6f1, 0, 0, BIT(14)); /* family 6, model 0FH */
    mce_enter(&s);
    assert_int_equal(fake_msr_get(BANK_CTL(0)), 0x10); /* the firmware's */
    assert_int_equal(fake_msr_get(BANK_CTL(1)), UINT64_MAX);
    fake_cpuid_set(1, 0, 0, 0, 0, 0); /* no machine-check architecture */
    mce_enter(&s);
    mce_leave(&s);
    fake_cpuid_set(1, 0, 0, 0, 0, BIT(14));
    fake_msr_set(MSR_MCG_CAP, 255); /* more than there are registers for: what faults is left out */
    mce_enter(&s);
    assert_int_equal(mce_handle(), MCE_GOES_ON);
    mce_leave(&s);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_it_means, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_worst_bank_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(codes_in_words, set_up, tear_down),
        cmocka_unit_test_setup_teardown(registers_that_are_valid_are_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(more_than_can_be_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(enabled_in_our_world, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
