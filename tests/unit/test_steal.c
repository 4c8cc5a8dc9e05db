/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/vcpu_fake.h"
#include "vmx/msr.h"

/* What another processor of the guest could see after each write. */
struct page {
    uint64_t ns;
    uint32_t version, flags;
    uint8_t preempted, pad[3];
    uint32_t pad2[11];
};

#define AT 0x20000u

static struct page seen[16];
static unsigned writes;

static int noted_write(struct pmap *pmap, struct gpa to, const void *from, size_t n)
{
    int err = pmap_write(pmap, to, from, n);

    if (writes < ARRAY_SIZE(seen))
        guest_get(AT, &seen[writes], sizeof(seen[0]));
    writes++;
    return err;
}

#define pmap_write noted_write
#include "vmx/steal.c"
#undef pmap_write

static int setup(void **state)
{
    int err = vcpu_setup(state);

    vcpu.steal = (struct steal){ 0 };
    writes = 0;
    fake_apic.khz = 2000000;
    return err;
}

static struct page page(void)
{
    struct page p;

    guest_get(AT, &p, sizeof(p));
    return p;
}

/* Only what was waited since the guest asked counts, in nanoseconds. */
static void test_counts_from_the_start(void **state)
{
    steal_resumed(&vcpu, 5000000);
    assert_int_equal(writes, 0);
    assert_int_equal(msr_guest_write(&vcpu, MSR_STEAL_TIME, AT | 1), 0);
    assert_int_equal(page().ns, 0);
    assert_int_equal(page().version, 2);
    steal_resumed(&vcpu, 7000000);
    assert_int_equal(page().ns, 1000000);
    steal_resumed(&vcpu, 7000002);
    assert_int_equal(page().ns, 1000001);
    assert_int_equal(page().version, 6);
    assert_int_equal(page().flags, 0);
}

/* Off and on again, as when Linux takes a processor off: what was waited meanwhile is not told, and nothing goes back. */
static void test_never_goes_back(void **state)
{
    uint64_t value;

    assert_int_equal(msr_guest_write(&vcpu, MSR_STEAL_TIME, AT | 1), 0);
    steal_resumed(&vcpu, 2000000);
    assert_int_equal(msr_guest_write(&vcpu, MSR_STEAL_TIME, 0), 0);
    assert_int_equal(msr_guest_read(&vcpu, MSR_STEAL_TIME, &value), 0);
    assert_int_equal(value, 0);
    writes = 0;
    steal_preempted(&vcpu);
    steal_resumed(&vcpu, 9000000);
    assert_int_equal(writes, 0);
    assert_int_equal(msr_guest_write(&vcpu, MSR_STEAL_TIME, AT | 1), 0);
    assert_int_equal(msr_guest_read(&vcpu, MSR_STEAL_TIME, &value), 0);
    assert_int_equal(value, AT | 1);
    assert_int_equal(page().ns, 1000000);
}

/* Whoever reads between two equal, even versions reads what belongs together. */
static void test_versions(void **state)
{
    assert_int_equal(msr_guest_write(&vcpu, MSR_STEAL_TIME, AT | 1), 0);
    for (uint64_t round = 1; round < 5; round++) {
        writes = 0;
        steal_resumed(&vcpu, round * 2000000);
        assert_int_equal(writes, 3);
        assert_int_equal(seen[0].ns, (round - 1) * 1000000);
        assert_int_equal(seen[0].version, 2 * round + 1);
        assert_int_equal(seen[1].ns, round * 1000000);
        assert_int_equal(seen[1].version, 2 * round + 1);
        assert_int_equal(seen[2].version, 2 * round + 2);
    }
}

static void test_preempted(void **state)
{
    assert_int_equal(msr_guest_write(&vcpu, MSR_STEAL_TIME, AT | 1), 0);
    assert_int_equal(page().preempted, 0);
    steal_preempted(&vcpu);
    assert_int_equal(page().preempted, 1);
    assert_int_equal(page().version, 2);
    steal_resumed(&vcpu, 1);
    assert_int_equal(page().preempted, 0);
}

/* What lies behind what is defined stays the guest's. */
static void test_touches_no_more(void **state)
{
    struct page old = { .pad = { 1, 2, 3 }, .pad2 = { 4, [10] = 5 } }, now;

    guest_put(AT, &old, sizeof(old));
    assert_int_equal(msr_guest_write(&vcpu, MSR_STEAL_TIME, AT | 1), 0);
    now = page();
    assert_memory_equal(now.pad, old.pad, sizeof(old) - offsetof(struct page, pad));
}

static void test_bad_addresses(void **state)
{
    static const uint64_t bad[] = { GUEST_MEMORY, PMAP_HOLE, 0xfee00000, BIT(40), ~63ull, AT | 2, AT | 4, AT | 8,
                                    AT | 16, AT | 32 };

    assert_int_equal(msr_guest_write(&vcpu, MSR_STEAL_TIME, AT | 1), 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(msr_guest_write(&vcpu, MSR_STEAL_TIME, bad[i] | 1), -EINVAL);
        assert_int_equal(vcpu.steal.msr, AT | 1);
    }
    assert_int_equal(msr_guest_write(&vcpu, MSR_STEAL_TIME, (GUEST_MEMORY - 64) | 1), 0);
    assert_int_equal(msr_guest_write(&vcpu, MSR_STEAL_TIME, ~1ull), 0); /* off: the address is not looked at */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_counts_from_the_start, setup),
        cmocka_unit_test_setup(test_never_goes_back, setup),
        cmocka_unit_test_setup(test_versions, setup),
        cmocka_unit_test_setup(test_preempted, setup),
        cmocka_unit_test_setup(test_touches_no_more, setup),
        cmocka_unit_test_setup(test_bad_addresses, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
