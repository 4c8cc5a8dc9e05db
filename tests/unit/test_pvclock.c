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

/* The source itself, with its writes to the guest noted. */
static struct { uint64_t at; size_t n; uint32_t version; } written[64];
static unsigned writes;

static int noted_write(struct pmap *pmap, struct gpa to, const void *from, size_t n)
{
    if (writes < ARRAY_SIZE(written)) {
        written[writes].at = to.v;
        written[writes].n = n;
        memcpy(&written[writes].version, from, sizeof(uint32_t));
    }
    writes++;
    return pmap_write(pmap, to, from, n);
}

#define pmap_write noted_write
#include "vmx/pvclock.c"
#undef pmap_write

/* The page as the guest's kernel knows it (Linux: struct pvclock_vcpu_time_info), and how it reads it. */
struct time_page {
    uint32_t version, pad;
    uint64_t tsc, system;
    uint32_t mul;
    int8_t shift;
    uint8_t flags, pad2[2];
};

#define AT 0x20000u

static uint64_t to_ns(uint64_t ticks, uint32_t mul, int8_t shift)
{
    ticks = shift < 0 ? ticks >> -shift : ticks << shift;
    return (uint64_t)((unsigned __int128)ticks * mul >> 32);
}

static void check_scale(uint64_t khz)
{
    struct pvclock_scale s = pvclock_scale(khz);
    long double seconds = 3600, got = (long double)to_ns(khz * 1000 * 3600, s.mul, s.shift);
    long double error = got / (seconds * 1e9L) - 1;

    if (s.mul < 1u << 31 || error > 1e-6L || error < -1e-6L)
        fail_msg("%lu kHz: mul %#x shift %d: off by %Lg", khz, s.mul, s.shift, error);
}

/* Within one part in a million, and with the multiplier's full precision. */
static void test_scale(void **state)
{
    for (uint64_t khz = 1; khz <= 10000000; khz += khz / 1000 + 1)
        check_scale(khz);
    for (uint64_t khz = 1; khz <= 10000000; khz *= 10) {
        check_scale(khz);
        check_scale(khz - (khz > 1));
        check_scale(khz + 1);
    }
    for (uint64_t khz = 999990; khz < 1000010; khz++)
        check_scale(khz);
    for (uint64_t khz = 1999990; khz < 2000010; khz++)
        check_scale(khz);
}

static uint64_t read_clock(void)
{
    struct time_page page;

    guest_get(AT, &page, sizeof(page));
    assert_int_equal(page.version & 1, 0);
    return page.system + to_ns(fake_cpu.tsc + vcpu.tsc_base + vcpu.tsc_adjust - page.tsc, page.mul, page.shift);
}

static void test_page(void **state)
{
    struct time_page page;

    assert_int_equal(pvclock_write(&vcpu, MSR_PVCLOCK_SYSTEM, AT | 1), 0);
    guest_get(AT, &page, sizeof(page));
    assert_int_equal(page.version, 2);
    assert_int_equal(page.flags, 1);           /* stable between vCPUs */
    assert_int_equal(page.pad | page.pad2[0] | page.pad2[1], 0);
    fake_apic.khz = 2000000;
    pvclock_update(&vcpu);
    guest_get(AT, &page, sizeof(page));
    assert_int_equal(page.version, 4);
}

/* Nanoseconds since the VM's start, whatever the guest does to its TSC. */
static void test_time(void **state)
{
    fake_cpu.tsc_step = 0;
    fake_apic.khz = 2500000;
    fake_cpu.tsc = 80000000000;
    vcpu.tsc_base = -(fake_cpu.tsc - 25000000);   /* it started 10 ms ago */
    assert_int_equal(pvclock_write(&vcpu, MSR_PVCLOCK_SYSTEM, AT | 1), 0);
    assert_in_range(read_clock(), 9999990, 10000010);
    fake_cpu.tsc += 2500000000;
    assert_in_range(read_clock(), 1009998990, 1010001010);
    assert_int_equal(msr_guest_write(&vcpu, MSR_TSC, 0), 0);
    assert_in_range(read_clock(), 1009998990, 1010001010);
    assert_int_equal(msr_guest_write(&vcpu, MSR_TSC, BIT(60)), 0);
    assert_in_range(read_clock(), 1009998990, 1010001010);
}

/* The version is odd while the rest is written, even when all of it is there. */
static void test_versions(void **state)
{
    struct time_page page;

    for (uint32_t i = 1; i < 10; i++) {
        writes = 0;
        assert_int_equal(pvclock_write(&vcpu, MSR_PVCLOCK_SYSTEM, AT | 1), 0);
        assert_int_equal(writes, 2);
        assert_int_equal(written[0].version, 2 * i - 1);
        assert_int_equal(written[0].n, sizeof(page));
        assert_int_equal(written[1].version, 2 * i);
        assert_int_equal(written[1].n, sizeof(uint32_t));
        assert_int_equal(written[1].at, AT);
        guest_get(AT, &page, sizeof(page));
        assert_int_equal(page.version, 2 * i);
    }
}

static void test_switched_off(void **state)
{
    struct time_page page = { .version = 77 }, after;

    guest_put(AT, &page, sizeof(page));
    assert_int_equal(pvclock_write(&vcpu, MSR_PVCLOCK_SYSTEM, AT), 0);
    pvclock_update(&vcpu);
    guest_get(AT, &after, sizeof(after));
    assert_memory_equal(&page, &after, sizeof(page));
    assert_int_equal(pvclock_write(&vcpu, MSR_PVCLOCK_SYSTEM, ~1ull), 0); /* off: the address is not looked at */
}

static void test_bad_addresses(void **state)
{
    static const uint64_t bad[] = { GUEST_MEMORY, GUEST_MEMORY - 28, PMAP_HOLE, PMAP_HOLE - 4, 0xfee00000, BIT(40),
                                    ~3ull, AT | 2 };

    assert_int_equal(pvclock_write(&vcpu, MSR_PVCLOCK_SYSTEM, AT | 1), 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(pvclock_write(&vcpu, MSR_PVCLOCK_SYSTEM, bad[i] | 1), -EINVAL);
        assert_int_equal(vcpu.clock.msr, AT | 1);
    }
    assert_int_equal(pvclock_write(&vcpu, MSR_PVCLOCK_SYSTEM, (GUEST_MEMORY - 32) | 1), 0);
    assert_int_equal(pvclock_write(&vcpu, MSR_PVCLOCK_SYSTEM, (PAGE_SIZE - 4) | 1), 0); /* across pages */
}

static void test_wall_clock(void **state)
{
    struct { uint32_t version, sec, nsec; } wall;

    world.wallclock = 1700000000123456789;
    assert_int_equal(pvclock_write(&vcpu, MSR_PVCLOCK_WALL, AT), 0);
    guest_get(AT, &wall, sizeof(wall));
    assert_int_equal(wall.version & 1, 0);
    assert_int_equal(wall.sec, 1700000000);
    assert_int_equal(wall.nsec, 123456789);
    assert_int_equal(pvclock_write(&vcpu, MSR_PVCLOCK_WALL, GUEST_MEMORY - 11), -EINVAL);
    assert_int_equal(pvclock_write(&vcpu, MSR_PVCLOCK_WALL, GUEST_MEMORY - 12), 0);
    assert_int_equal(pvclock_write(&vcpu, MSR_PVCLOCK_WALL, UINT64_MAX), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_scale, vcpu_setup),
        cmocka_unit_test_setup(test_page, vcpu_setup),
        cmocka_unit_test_setup(test_time, vcpu_setup),
        cmocka_unit_test_setup(test_versions, vcpu_setup),
        cmocka_unit_test_setup(test_switched_off, vcpu_setup),
        cmocka_unit_test_setup(test_bad_addresses, vcpu_setup),
        cmocka_unit_test_setup(test_wall_clock, vcpu_setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
