/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "lapic_fake.h"

/*
 * A processor with APICv as SDM vol. 3, chapter 30 has it, working on the page of local APIC 0. Local APIC 1 gets the
 * same in software: both must do the same.
 */
static struct apicv_state state_told;
static uint64_t exits_wanted[4];
static int requested, in_service;
static unsigned only_posted;

static uint32_t page_of(unsigned cpu, unsigned offset) { return pages[cpu][offset / 4]; }

static int highest(unsigned offset)
{
    for (unsigned i = 8; i-- > 0;)
        if (page_of(0, offset + 16 * i))
            return (int)(32 * i) + 31 - __builtin_clz(page_of(0, offset + 16 * i));
    return 0;
}

static void flip(unsigned offset, int vector)
{
    pages[0][(offset + (unsigned)vector / 32 * 16) / 4] ^= 1u << (vector & 31);
}

static void hw_ppr(void)
{
    unsigned tpr = page_of(0, TPR), class = (unsigned)in_service & 0xf0;

    pages[0][PPR / 4] = (tpr & 0xf0) >= class ? tpr : class;
}

static void hw_entry(void)
{
    if (!lapic_apicv_state(&apic[0], &state_told)) {
        hw_ppr();
        return;
    }
    if (state_told.posted) {
        only_posted++;
        requested = state_told.requested > requested ? state_told.requested : requested;
    } else {
        requested = state_told.requested;
        in_service = state_told.in_service;
        memcpy(exits_wanted, state_told.eoi_exit, sizeof(exits_wanted));
    }
    hw_ppr();
}

static int hw_deliver(void)
{
    int vector = requested;

    if ((unsigned)(vector & 0xf0) <= (page_of(0, PPR) & 0xf0))
        return -1;
    flip(IRR, vector);
    flip(ISR, vector);
    in_service = vector;
    requested = highest(IRR);
    hw_ppr();
    return vector;
}

static void hw_eoi(void)
{
    int vector = in_service;

    if (!vector)
        return;
    flip(ISR, vector);
    in_service = highest(ISR);
    hw_ppr();
    if (exits_wanted[vector / 64] >> vector % 64 & 1)
        lapic_page_ended(&apic[0], (uint8_t)vector);
}

static int start(void **state)
{
    setup(state);
    requested = in_service = 0;
    memset(exits_wanted, 0, sizeof(exits_wanted));
    ends = 0;
    return 0;
}

/* What both paths ended at the I/O APIC, as often as it happened. */
static void check_eoi(void)
{
    unsigned before = ends, hw, sw;

    hw_eoi();
    hw = ends - before;
    before = ends;
    put(1, EOI, 0);
    sw = ends - before;
    assert_int_equal(hw, sw);
}

static void test_both_paths(void **state)
{
    unsigned delivered = 0;

    (void)state;
    srandom(30);
    for (unsigned i = 0; i < 200000; i++) {
        uint8_t vector = (uint8_t)(16 + random() % 240), tpr = (uint8_t)(random() % 16 << 4);
        bool level = random() % 4 == 0;
        int hw, sw;

        switch (random() % 5) {
        case 0:
        case 1:
            assert_int_equal(lapic_post(&apic[0], vector, level), lapic_post(&apic[1], vector, level));
            break;
        case 2:
            pages[0][TPR / 4] = tpr;            /* the guest writes: no exit */
            lapic_set_tpr(&apic[1], tpr);
            hw_ppr();
            break;
        default:
            check_eoi();
            break;
        }
        hw_entry();
        hw = hw_deliver();
        sw = lapic_take(&apic[1]);
        assert_int_equal(hw, sw);
        assert_int_equal(page_of(0, PPR), get(1, PPR));
        delivered += hw >= 0;
    }
    assert_true(delivered > 20000);
    assert_true(only_posted > 20000);
    for (unsigned offset = ISR; offset < ESR; offset += 16)
        assert_int_equal(get(0, offset), get(1, offset));
}

/* No news, nothing to tell; each of these is news. */
static void test_news(void **state)
{
    struct lapic *l = &apic[0];
    struct apicv_state s;

    (void)state;
    assert_true(lapic_apicv_state(l, &s));
    assert_false(lapic_apicv_state(l, &s));
    lapic_post(l, 0x41, true);
    assert_true(lapic_apicv_state(l, &s));
    assert_int_equal(s.requested, 0x41);
    assert_int_equal(s.in_service, 0);
    assert_int_equal(s.eoi_exit[1], 2);
    assert_false(lapic_apicv_state(l, &s));
    assert_int_equal(lapic_take(l), 0x41);
    assert_true(lapic_apicv_state(l, &s));
    assert_int_equal(s.requested, 0);
    assert_int_equal(s.in_service, 0x41);
    put(0, EOI, 0);
    assert_true(lapic_apicv_state(l, &s));
    assert_int_equal(s.in_service, 0);
    lapic_set_tpr(l, 0x20);
    assert_true(lapic_apicv_state(l, &s));
    assert_int_equal(wrmsr_to(0, APIC_BASE, msr(0, APIC_BASE) | 0xc00), 0);
    assert_true(lapic_apicv_state(l, &s));
    assert_true(s.x2apic);
    lapic_reset(l);
    assert_true(lapic_apicv_state(l, &s));
    lapic_touch(l);
    assert_true(lapic_apicv_state(l, &s));
}

/* A local APIC that is off the bus delivers nothing. */
static void test_disabled(void **state)
{
    struct apicv_state s;

    (void)state;
    lapic_post(&apic[0], 0x41, false);
    assert_int_equal(wrmsr_to(0, APIC_BASE, msr(0, APIC_BASE) & ~0x800ull), 0);
    assert_true(lapic_apicv_state(&apic[0], &s));
    assert_int_equal(s.requested, 0);
    assert_int_equal(wrmsr_to(0, APIC_BASE, msr(0, APIC_BASE) | 0x800), 0);
    assert_true(lapic_apicv_state(&apic[0], &s));
    assert_int_equal(s.requested, 0x41);
}

static void write_page(unsigned offset, uint32_t value)
{
    pages[0][offset / 4] = value;
    lapic_page_written(&apic[0], offset);
}

/* What the guest reads from the page is what the registers hold. */
static void test_shown(void **state)
{
    static const unsigned shown[] = { ID, VERSION, TPR, LDR, DFR, SVR, ESR, ICR, ICR2, LVTT, LINT0, LVTERR, TMICT,
                                      TDCR };

    (void)state;
    write_page(LVTT, 0xffffffff);
    assert_int_equal(page_of(0, LVTT), 0x700ff);
    write_page(LVTT, 0x20030);                  /* periodic */
    write_page(TDCR, 0xffffffff);
    write_page(TMICT, 1000);
    write_page(LDR, 0x12345678);
    write_page(DFR, 0);
    write_page(ID, 0x77000000);
    write_page(SVR, 0xffffffff);
    assert_int_equal(page_of(0, ID), 0);
    assert_int_equal(page_of(0, LDR), 0x12000000);
    assert_int_equal(page_of(0, DFR), 0x0fffffff);
    assert_int_equal(page_of(0, TDCR), 0xb);
    assert_int_equal(page_of(0, SVR), 0x3ff);
    for (unsigned i = 0; i < ARRAY_SIZE(shown); i++)
        assert_int_equal(page_of(0, shown[i]), get(0, shown[i]));
    assert_true(get(0, TMCCT) > 0);
    write_page(SVR, 0xff);                      /* software-disabled: all masked */
    for (unsigned i = 0; i < ARRAY_SIZE(shown); i++)
        assert_int_equal(page_of(0, shown[i]), get(0, shown[i]));
    assert_true(page_of(0, LVTT) & 0x10000);
}

/* The upper half of the command register is written without an exit; the lower half sends. */
static void test_ipi(void **state)
{
    (void)state;
    pages[0][ICR2 / 4] = 7u << 24;
    write_page(ICR, 0x99);
    assert_int_equal(fx.kick, 1u << 7);
    assert_int_equal(lapic_pending(&apic[7]), 0x99);
}

/* x2APIC mode has other shapes of identifier, destination and command register. */
static void test_x2apic(void **state)
{
    (void)state;
    assert_int_equal(page_of(18, ID), 18u << 24);
    assert_int_equal(wrmsr_to(18, APIC_BASE, msr(18, APIC_BASE) | 0xc00), 0);
    assert_int_equal(page_of(18, ID), 18);
    assert_int_equal(page_of(18, LDR), 0x10004);
    assert_int_equal(wrmsr_to(18, 0x830, 0x300000041ull), 0);
    assert_int_equal(page_of(18, ICR), 0x41);
    assert_int_equal(page_of(18, ICR + 4), 3);
    assert_int_equal(msr(18, 0x830), 0x300000041ull);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_both_paths, start), cmocka_unit_test_setup(test_news, start),
        cmocka_unit_test_setup(test_disabled, start),   cmocka_unit_test_setup(test_shown, start),
        cmocka_unit_test_setup(test_ipi, start),        cmocka_unit_test_setup(test_x2apic, start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
