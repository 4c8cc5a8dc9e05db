/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "hypercalls/hypercalls.h"
#include "include/mirrorball/hypercall.h"
#include "tests/unit/vcpu_fake.h"

static int64_t call(uint64_t number)
{
    struct guest_regs before;

    for (unsigned i = 0; i < 16; i++)
        vcpu.regs.r[i] = ~(uint64_t)i << 32;
    vcpu.regs.rax = number;
    before = vcpu.regs;
    hypercall_handle(&vcpu);
    assert_memory_equal(&vcpu.regs.r[1], &before.r[1], 15 * sizeof(uint64_t)); /* only rax changes */
    return (int64_t)vcpu.regs.rax;
}

static void test_version(void **state)
{
    assert_int_equal(MIRRORBALL_CALL_VERSION, 0);
    assert_int_equal(call(0), MIRRORBALL_ABI_VERSION);
    assert_true(MIRRORBALL_ABI_VERSION > 0);
}

/* All 64 bits of the number count. */
static void test_unknown(void **state)
{
    static const uint64_t numbers[] = { 1, 2, 3, 100, 0xffffffff, BIT(32), BIT(63), UINT64_MAX };

    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        assert_int_equal(call(numbers[i]), -ENOSYS);
    assert_int_equal(world.stops, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_version, vcpu_setup),
        cmocka_unit_test_setup(test_unknown, vcpu_setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
