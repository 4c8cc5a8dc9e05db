/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/apic.c"
#include "tests/unit/seam/fake_cpu.h"

#define KHZ 1000000ull /* of the TSC here */

uint64_t tsc_khz(void)
{
    return KHZ;
}

/* A local APIC in x2APIC mode: registers by MSR, every write recorded. */
static struct {
    uint64_t reg[0x40], base, deadline, icr;
    struct { uint32_t msr; uint64_t value; } writes[256];
    unsigned count, eois;
} apic;

static int read_msr(uint32_t msr, uint64_t *value)
{
    if (msr == MSR_APIC_BASE)
        *value = apic.base;
    else if (msr == MSR_TSC_DEADLINE)
        *value = apic.deadline;
    else if (msr >= 0x800 && msr < 0x840)
        *value = apic.reg[msr - 0x800];
    else
        return -EFAULT;
    return 0;
}

/* The highest vector in service is finished. */
static void end_of_interrupt(void)
{
    apic.eois++;
    for (int v = 255; v >= 0; v--) {
        if (apic.reg[0x10 + v / 32] >> (v % 32) & 1) {
            apic.reg[0x10 + v / 32] &= ~(1ull << (v % 32));
            return;
        }
    }
}

static int write_msr(uint32_t msr, uint64_t value)
{
    assert_int_not_equal(msr, MSR_APIC_BASE); /* never: some emulators do not come back from it */
    apic.writes[apic.count].msr = msr;
    apic.writes[apic.count++].value = value;
    if (msr == MSR_TSC_DEADLINE)
        apic.deadline = value;
    else if (msr == 0x80b)
        end_of_interrupt();
    else
        apic.reg[msr - 0x800] = value;
    if (msr == 0x80f && !(value & SVR_ENABLE)) {
        for (unsigned i = 0x32; i <= 0x37; i++)
            apic.reg[i] |= LVT_MASKED;
    }
    if (msr >= 0x832 && msr <= 0x837 && !(apic.reg[0xf] & SVR_ENABLE))
        apic.reg[msr - 0x800] |= LVT_MASKED; /* SDM vol. 3A, 11.4.7.2 */
    return 0;
}

static void begin(bool deadline)
{
    fake_cpu_reset();
    fake_cpu.rdmsr = read_msr;
    fake_cpu.wrmsr = write_msr;
    fake_cpu.tsc_step = 0;
    fake_cpuid_set(1, 0, 0, 0, deadline ? 1u << 24 : 0, 0);
    memset(&apic, 0, sizeof(apic));
    apic.base = 0xfee00000 | APIC_BASE_ENABLE | APIC_BASE_X2APIC;
    apic.reg[3] = 0x60015; /* 7 LVT entries */
    apic.reg[0xf] = 0x10f;
    apic.reg[0x2f] = apic.reg[0x33] = apic.reg[0x34] = apic.reg[0x37] = LVT_MASKED;
    apic.reg[0x32] = 1 << 17 | 0x20; /* a periodic timer */
    apic.reg[0x35] = 0x700;
    apic.reg[0x36] = 0x400;
    apic.reg[0x38] = 10000;
    apic.reg[0x39] = 4000;
    apic.reg[0x3e] = 0xb;
    assert_int_equal(apic_mmio_base(), 0);
}

static uint64_t last_write(uint32_t msr)
{
    for (unsigned i = apic.count; i-- > 0;) {
        if (apic.writes[i].msr == msr)
            return apic.writes[i].value;
    }
    fail_msg("MSR %#x was not written", msr);
    return 0;
}

static void test_init_and_restore(void **state)
{
    struct apic_state saved;
    uint64_t before[0x40];

    for (int off = 0; off < 2; off++) {
        begin(off);
        if (off)
            write_msr(0x80f, 0xff); /* software-disabled, as on processors that wait for a start-up IPI */
        memcpy(before, apic.reg, sizeof(before));
        apic.deadline = 4711;
        apic_save(&saved);
        apic_init_cpu();
        assert_int_equal(apic.reg[0xf], SVR_ENABLE | VECTOR_SPURIOUS);
        assert_int_equal(apic.reg[0x35] & LVT_MASKED, LVT_MASKED);
        assert_int_equal(apic.reg[0x36], before[0x36]);
        assert_int_equal(apic.reg[0x32], VECTOR_TIMER | (off ? LVT_TIMER_DEADLINE : 0));
        assert_int_equal(apic.deadline, off ? 0 : 4711);
        apic_quiesce();
        assert_int_equal(apic.reg[0x32] & LVT_MASKED, LVT_MASKED);
        apic_restore(&saved);
        assert_memory_equal(apic.reg, before, sizeof(before));
    }
    (void)state;
}

static void test_timer_modes_restored(void **state)
{
    struct apic_state saved;

    begin(false);
    apic.reg[0x32] = 0x20; /* one-shot, 4000 of 10000 left */
    apic_save(&saved);
    apic_init_cpu();
    apic_restore(&saved);
    assert_int_equal(apic.reg[0x38], 4000);
    begin(true);
    apic.reg[0x32] = LVT_TIMER_DEADLINE | 0x20;
    apic.reg[0x38] = 0;
    apic.deadline = 999;
    apic_save(&saved);
    apic_init_cpu();
    apic_timer_arm(5);
    apic_restore(&saved);
    assert_int_equal(apic.deadline, 999);
    (void)state;
}

static void test_quiesce(void **state)
{
    begin(true);
    apic_init_cpu();
    apic.reg[0x17] = BIT(VECTOR_TIMER % 32) | BIT(VECTOR_KICK % 32);
    apic.reg[0x11] = BIT(2); /* the firmware's own is not ours to finish */
    assert_true(apic_in_service(VECTOR_KICK));
    assert_true(apic_in_service(0x22));
    assert_false(apic_in_service(0x23));
    apic_quiesce();
    assert_int_equal(apic.eois, 2);
    assert_int_equal(apic.reg[0x17], 0);
    assert_int_equal(apic.reg[0x11], BIT(2));
    assert_int_equal(apic.deadline, 0);
    (void)state;
}

static void test_deadline(void **state)
{
    begin(true);
    apic_calibrate();
    fake_cpu.tsc = 1000;
    apic_timer_arm(5000);
    assert_int_equal(apic.deadline, 5000);
    apic_timer_arm(0); /* zero would disarm; the past means now */
    assert_int_equal(apic.deadline, 1);
    apic_timer_arm(UINT64_MAX);
    assert_int_equal(apic.deadline, 0);
    (void)state;
}

/* The counter runs at a 64th of the TSC here: 16 by the divider, 4 by the bus. */
static int counting_msr(uint32_t msr, uint64_t *value)
{
    if (msr == 0x839)
        apic.reg[0x39] = UINT32_MAX - (fake_cpu.tsc - 1000) / 64;
    return read_msr(msr, value);
}

static void test_one_shot(void **state)
{
    begin(false);
    fake_cpu.tsc = 1000;
    fake_cpu.tsc_step = 10;
    fake_cpu.rdmsr = counting_msr;
    apic_calibrate();
    assert_in_range(timer_khz, KHZ / 64 - 2, KHZ / 64 + 2);
    assert_int_equal(apic.reg[0x32], 1 << 17 | 0x20); /* put back */
    timer_khz = KHZ / 64;
    fake_cpu.tsc_step = 0;
    fake_cpu.tsc = 1000000;
    for (uint64_t ahead = 1; ahead < 1ull << 50; ahead = ahead * 3 + 1) {
        uint64_t count;

        apic_timer_arm(fake_cpu.tsc + ahead);
        count = last_write(0x838);
        assert_true(count == UINT32_MAX || count * 64 + 64 >= ahead);
        assert_true(count == 1 || count == UINT32_MAX || (count - 2) * 64 <= ahead);
    }
    apic_timer_arm(fake_cpu.tsc);
    assert_int_equal(last_write(0x838), 1);
    apic_timer_arm(UINT64_MAX);
    assert_int_equal(last_write(0x838), 0);
    (void)state;
}

static void test_ipi(void **state)
{
    begin(true);
    apic_ipi(0x12345, VECTOR_KICK);
    assert_int_equal(last_write(0x830), 0x12345ull << 32 | 0x4000 | VECTOR_KICK);
    apic_nmi(7);
    assert_int_equal(last_write(0x830), 7ull << 32 | 0x4400);
    apic_nmi_others();
    assert_int_equal(last_write(0x830), 0xc4400);
    apic_init_signal(0x12345);
    assert_int_equal(last_write(0x830), 0x12345ull << 32 | 0x4500);
    apic_startup_signal(APIC_OTHERS, 0x9e);
    assert_int_equal(last_write(0x830), 0xc469e);
    (void)state;
}

/* xAPIC: the registers are memory, here a page of the test's. */
static void test_xapic(void **state)
{
    uint8_t *page = aligned_alloc(4096, 4096);

    memset(page, 0, 4096);
    begin(true);
    apic.base = (uint64_t)(uintptr_t)page | APIC_BASE_ENABLE | APIC_BASE_BSP;
    assert_int_equal(apic_mmio_base(), (uint64_t)(uintptr_t)page);
    assert_true(apic_same_mode(apic.base & ~APIC_BASE_BSP));
    assert_false(apic_same_mode(apic.base | APIC_BASE_X2APIC));
    assert_false(apic_same_mode(apic.base + 0x1000));
    page[0x23] = 7;
    assert_int_equal(apic_id(), 7);
    apic_ipi(9, VECTOR_KICK);
    assert_int_equal(*(uint32_t *)(page + 0x310), 9u << 24);
    assert_int_equal(*(uint32_t *)(page + 0x300), 0x4000 | VECTOR_KICK);
    assert_int_equal(apic.count, 0);
    free(page);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init_and_restore), cmocka_unit_test(test_timer_modes_restored),
        cmocka_unit_test(test_quiesce), cmocka_unit_test(test_deadline), cmocka_unit_test(test_one_shot),
        cmocka_unit_test(test_ipi), cmocka_unit_test(test_xapic),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
