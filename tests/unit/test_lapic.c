/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "lapic_fake.h"

static void to_x2apic(unsigned cpu)
{
    assert_int_equal(wrmsr_to(cpu, APIC_BASE, msr(cpu, APIC_BASE) | 0xc00), 0);
}

static uint64_t holders(unsigned vector)
{
    uint64_t set = 0;

    for (unsigned i = 0; i < COUNT; i++)
        if (get(i, IRR + vector / 32 * 16) >> (vector & 31) & 1)
            set |= 1ull << i;
    return set;
}

static void test_power_on(void **state)
{
    (void)state;
    lapic_power_on(&apic[0]);
    lapic_power_on(&apic[1]);
    assert_int_equal(get(1, ID), 1u << 24);
    assert_int_equal(get(1, VERSION), 0x00050014);
    assert_int_equal(get(1, SVR), 0xff);
    assert_int_equal(get(1, DFR), 0xffffffff);
    assert_int_equal(get(1, LDR), 0);
    for (unsigned reg = LVTT; reg <= LVTERR; reg += 16)
        assert_int_equal(get(1, reg), 0x10000);
    assert_int_equal(get(0, LINT0), 0x700);     /* the boot processor's, as firmware leaves it */
    assert_int_equal(msr(0, APIC_BASE), 0xfee00900);
    assert_int_equal(msr(1, APIC_BASE), 0xfee00800);
    assert_int_equal(get(1, TMCCT), 0);
}

/* What each entry of the vector table keeps (SDM vol. 3, figure 11-8). */
static void test_lvt_bits(void **state)
{
    static const struct { unsigned reg; uint32_t kept; } entries[] = {
        { LVTT, 0x700ff }, { 0x330, 0x107ff }, { 0x340, 0x107ff }, { LINT0, 0x1a7ff }, { 0x360, 0x1a7ff },
        { LVTERR, 0x100ff },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
        put(0, entries[i].reg, UINT32_MAX);
        assert_int_equal(get(0, entries[i].reg), entries[i].kept);
        put(0, entries[i].reg, 0);
        assert_int_equal(get(0, entries[i].reg), 0);
    }
}

/* The page it answers in, and whether that is where the processor answers for it with APICv. */
static void test_place(void **state)
{
    static const struct { uint64_t base; bool plain, owns; } cases[] = {
        { 0xfee00800, true, true }, { 0xfee00c00, false, false }, { 0xfee00000, false, false },
        { 0xfed00800, false, false },
    };

    (void)state;
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
            lapic_power_on(&apic[cpu]);
            assert_true(lapic_is_plain(&apic[cpu]));
            if (i)
                assert_int_equal(wrmsr_to(cpu, APIC_BASE, cases[i].base | (cpu ? 0 : 0x100)), 0);
            assert_int_equal(lapic_is_plain(&apic[cpu]), cases[i].plain);
            assert_int_equal(lapic_owns(&apic[cpu], 0xfee00000), cases[i].owns);
            assert_int_equal(lapic_owns(&apic[cpu], 0xfee00fff), cases[i].owns);
            assert_false(lapic_owns(&apic[cpu], 0xfee01000));
            assert_false(lapic_owns(&apic[cpu], 0xfedfffff));
        }
    }
    assert_true(lapic_owns(&apic[0], 0xfed00fff));
}

static void test_priorities(void **state)
{
    struct lapic *l = &apic[0];

    (void)state;
    assert_int_equal(lapic_pending(l), -1);
    assert_true(lapic_post(l, 0x41, false));
    assert_false(lapic_post(l, 0x41, false));   /* already there: no need to tell again */
    assert_true(lapic_post(l, 0x52, false));
    assert_true(lapic_post(l, 0x50, false));
    assert_int_equal(lapic_take(l), 0x52);
    assert_int_equal(get(0, PPR), 0x50);
    assert_int_equal(lapic_pending(l), -1);     /* 0x50 is of the same class */
    assert_true(lapic_post(l, 0x61, false));
    assert_int_equal(lapic_take(l), 0x61);
    assert_int_equal(get(0, ISR + 0x30), 1u << 1);
    assert_int_equal(get(0, ISR + 0x20), 1u << 18);
    put(0, EOI, 0);
    assert_int_equal(get(0, ISR + 0x30), 0);
    assert_int_equal(lapic_pending(l), -1);
    put(0, EOI, 0);
    assert_int_equal(lapic_take(l), 0x50);
    put(0, EOI, 0);
    put(0, TPR, 0x45);
    assert_int_equal(get(0, PPR), 0x45);
    assert_int_equal(lapic_pending(l), -1);
    put(0, TPR, 0x3f);
    assert_int_equal(lapic_take(l), 0x41);
    put(0, EOI, 0);
    put(0, EOI, 0);                             /* one too many does nothing */
    assert_int_equal(ends, 0);
}

static void test_level_eoi(void **state)
{
    (void)state;
    lapic_post(&apic[0], 0x41, true);
    assert_int_equal(get(0, TMR + 0x20), 2);
    assert_int_equal(lapic_take(&apic[0]), 0x41);
    put(0, EOI, 0);
    assert_int_equal(ends, 1);
    assert_int_equal(ended, 0x41);
    lapic_post(&apic[0], 0x41, false);
    assert_int_equal(get(0, TMR + 0x20), 0);
    lapic_take(&apic[0]);
    put(0, EOI, 0);
    assert_int_equal(ends, 1);
}

static void test_software_disable(void **state)
{
    struct apic_message m = { .dest = 0, .vector = 0x40 };

    (void)state;
    put(0, LVTERR, 0xfe);
    lapic_post(&apic[0], 0x61, false);
    put(0, SVR, 0xff);
    assert_int_equal(get(0, LVTERR), 0x100fe);  /* all are masked */
    put(0, LVTERR, 0xfe);
    assert_int_equal(get(0, LVTERR), 0x100fe);  /* and stay so */
    assert_int_equal(lapic_take(&apic[0]), 0x61);       /* what is pending is still handled */
    assert_int_equal(apic_send(&net, &m, &fx), 0);
    m.mode = APIC_NMI;
    assert_int_equal(apic_send(&net, &m, &fx), 1);      /* NMI, INIT and SIPI still arrive */
    assert_int_equal(fx.nmi, 1);
    put(0, SVR, 0x1ff);
    put(0, LVTERR, 0xfe);
    assert_int_equal(get(0, LVTERR), 0xfe);
}

static void test_modes(void **state)
{
    const uint64_t off = 0xfee00100, x = off | 0x800, bad = off | 0x400, x2 = off | 0xc00;

    (void)state;
    put(0, TPR, 0x20);
    assert_int_equal(wrmsr_to(0, APIC_BASE, bad), -EINVAL);
    assert_int_equal(wrmsr_to(0, APIC_BASE, x2), 0);
    assert_int_equal(wrmsr_to(0, APIC_BASE, x2), 0);
    assert_int_equal(wrmsr_to(0, APIC_BASE, x), -EINVAL);
    assert_int_equal(wrmsr_to(0, APIC_BASE, bad), -EINVAL);
    assert_int_equal(wrmsr_to(0, APIC_BASE, off), 0);
    assert_int_equal(wrmsr_to(0, APIC_BASE, x2), -EINVAL);
    assert_int_equal(wrmsr_to(0, APIC_BASE, bad), -EINVAL);
    assert_false(lapic_owns(&apic[0], 0xfee00030));
    assert_int_equal(wrmsr_to(0, APIC_BASE, x), 0);
    assert_true(lapic_owns(&apic[0], 0xfee00030));
    assert_int_equal(get(0, TPR), 0x20);
    assert_int_equal(get(0, SVR), 0x1ff);       /* works on as before */
    assert_true(lapic_post(&apic[0], 0x55, false));
    assert_int_equal(lapic_take(&apic[0]), 0x55);
    assert_int_equal(wrmsr_to(0, APIC_BASE, x | 1), -EINVAL);
    assert_int_equal(wrmsr_to(0, APIC_BASE, x | 1ull << 36), -EINVAL);
    assert_int_equal(wrmsr_to(0, APIC_BASE, 0xfed40800), 0);
    assert_true(lapic_owns(&apic[0], 0xfed40ffc));
    assert_false(lapic_owns(&apic[0], 0xfee00000));
    assert_int_equal(msr(0, APIC_BASE), 0xfed40900);    /* it stays the boot processor */
    assert_int_equal(wrmsr_to(0, APIC_BASE, x2), 0);
    assert_false(lapic_owns(&apic[0], 0xfee00000));
}

static void test_hardware_disabled(void **state)
{
    struct apic_message m = { .dest = 0, .vector = 0x40, .mode = APIC_NMI };

    (void)state;
    lapic_post(&apic[0], 0x40, false);
    put(0, TMICT, 1000);
    wrmsr_to(0, APIC_BASE, 0xfee00000);
    assert_int_equal(lapic_pending(&apic[0]), -1);
    assert_int_equal(apic_send(&net, &m, &fx), 0);
    assert_int_equal(fx.nmi, 0);
    assert_true(lapic_takes_extint(&apic[0]));
    assert_int_equal(fake_timers(&fake_queue), 0);
}

static void test_extint(void **state)
{
    (void)state;
    assert_true(lapic_takes_extint(&apic[0]));          /* open as firmware leaves it */
    assert_false(lapic_takes_extint(&apic[1]));
    put(0, LINT0, 0x700);
    put(1, LINT0, 0x700);
    assert_true(lapic_takes_extint(&apic[0]));
    assert_true(lapic_takes_extint(&apic[1]));
    put(0, LINT0, 0x10700);
    assert_false(lapic_takes_extint(&apic[0]));
    put(0, LINT0, 0x30);
    assert_false(lapic_takes_extint(&apic[0]));
    assert_int_equal(lapic_lint0_rises(&apic[0]), LAPIC_EDGE_POSTED);
    assert_int_equal(lapic_lint0_rises(&apic[0]), LAPIC_EDGE_NOTHING);
    assert_int_equal(lapic_pending(&apic[0]), 0x30);
    put(0, LINT0, 0x400);
    assert_int_equal(lapic_lint0_rises(&apic[0]), LAPIC_EDGE_NMI);
    put(0, SVR, 0xff);
    put(1, SVR, 0xff);
    assert_true(lapic_takes_extint(&apic[0]));          /* a kernel for the 8259s, on processor 0 only */
    assert_false(lapic_takes_extint(&apic[1]));
    assert_int_equal(lapic_lint0_rises(&apic[0]), LAPIC_EDGE_NOTHING);
}

static void test_physical_ipi(void **state)
{
    (void)state;
    put(1, ICR2, 3u << 24);
    put(1, ICR, 0x4041);
    assert_int_equal(holders(0x41), 1 << 3);
    assert_int_equal(fx.kick, 1 << 3);
    assert_int_equal(get(1, ICR), 0x4041);
    assert_int_equal(get(1, ICR2), 3u << 24);
    put(1, ICR2, 0xffffffff);
    put(1, ICR, 0x4042);
    assert_int_equal(holders(0x42), (1 << COUNT) - 1);
    assert_int_equal(get(1, ICR2), 0xff000000);
    put(1, ICR2, 77u << 24);
    put(1, ICR, 0x4043);
    assert_int_equal(holders(0x43), 0);
}

static void test_shorthands(void **state)
{
    (void)state;
    put(2, ICR, 0x44051);
    assert_int_equal(holders(0x51), 1 << 2);
    put(2, ICR, 0x84052);
    assert_int_equal(holders(0x52), (1 << COUNT) - 1);
    put(2, ICR, 0xc4053);
    assert_int_equal(holders(0x53), ((1 << COUNT) - 1) & ~(1 << 2));
}

static void test_logical_flat(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8; i++)
        put(i, LDR, 1u << (24 + i));
    put(0, ICR2, 0x25u << 24);
    put(0, ICR, 0x4860);
    assert_int_equal(holders(0x60), 0x25);
    put(0, ICR2, 0xffu << 24);
    put(0, ICR, 0x4861);
    assert_int_equal(holders(0x61), (1 << COUNT) - 1);
}

static void test_logical_cluster(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT; i++) {
        put(i, DFR, 0x0fffffff);
        put(i, LDR, (i / 4) << 28 | 1u << (24 + i % 4));
    }
    assert_int_equal(get(0, DFR), 0x0fffffff);
    put(0, ICR2, 0x25u << 24);
    put(0, ICR, 0x4862);
    assert_int_equal(holders(0x62), 1 << 8 | 1 << 10);
    put(0, ICR2, 0xffu << 24);
    put(0, ICR, 0x4863);
    assert_int_equal(holders(0x63), (1 << COUNT) - 1);
}

static void test_lowest_priority(void **state)
{
    unsigned got[4] = { 0 };

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        put(i, LDR, 1u << (24 + i));
        put(i, TPR, i == 2 ? 0x10 : 0x20);
    }
    put(0, ICR2, 0x0fu << 24);
    put(0, ICR, 0x4970);
    assert_int_equal(holders(0x70), 1 << 2);
    for (unsigned i = 0; i < 4; i++)
        put(i, TPR, 0);
    assert_int_equal(lapic_take(&apic[2]), 0x70);
    put(2, EOI, 0);
    for (unsigned n = 0; n < 100; n++) {        /* equals take turns */
        put(0, ICR, 0x4971);
        for (unsigned i = 0; i < 4; i++)
            if (lapic_take(&apic[i]) == 0x71) {
                got[i]++;
                put(i, EOI, 0);
            }
    }
    assert_int_equal(got[0] + got[1] + got[2] + got[3], 100);
    assert_true(got[0] && got[1] && got[2] && got[3]);
}

static void test_init_sipi_nmi(void **state)
{
    (void)state;
    put(0, ICR2, 3u << 24);
    put(0, ICR, 0xc500);                        /* INIT, level assert, as kernels send it */
    assert_int_equal(fx.init, 1 << 3);
    fx.init = 0;
    put(0, ICR, 0x8500);                        /* and its de-assert */
    assert_int_equal(fx.init, 0);
    put(0, ICR, 0x4500);
    assert_int_equal(fx.init, 1 << 3);
    put(0, ICR, 0x469a);
    assert_int_equal(fx.sipi, 1 << 3);
    assert_int_equal(fx.sipi_vector, 0x9a);
    put(0, ICR, 0xc4400);
    assert_int_equal(fx.nmi, ((1 << COUNT) - 1) & ~1);
    assert_int_equal(fx.kick, 0);
    put(0, ICR, 0xc4200);                       /* SMI, reserved and ExtINT reach nobody */
    put(0, ICR, 0xc4300);
    put(0, ICR, 0xc4700);
    assert_int_equal(fx.kick, 0);
}

static void test_x2apic_registers(void **state)
{
    uint64_t v;

    (void)state;
    assert_int_equal(lapic_msr_read(&apic[17], 0x802, &v), -EINVAL);    /* not in xAPIC mode */
    to_x2apic(17);
    assert_int_equal(msr(17, 0x802), 17);
    assert_int_equal(msr(17, 0x803), 0x50014);
    assert_int_equal(msr(17, 0x80d), 1 << 16 | 1 << 1);
    for (uint32_t i = 0; i < 0x100; i++) {
        bool readable = i == 2 || i == 3 || i == 8 || i == 0xa || i == 0xd || (i >= 0xf && i <= 0x28) || i == 0x30 ||
                        (i >= 0x32 && i <= 0x39) || i == 0x3e;

        assert_int_equal(lapic_msr_read(&apic[17], 0x800 + i, &v), readable ? 0 : -EINVAL);
    }
    for (uint32_t i = 0; i < 0x100; i++) {
        bool writable = i == 8 || i == 0xb || i == 0xf || i == 0x28 || i == 0x30 || (i >= 0x32 && i <= 0x38) ||
                        i == 0x3e || i == 0x3f;

        assert_int_equal(wrmsr_to(17, 0x800 + i, 0), writable ? 0 : -EINVAL);
    }
    assert_int_equal(wrmsr_to(17, 0x80f, 0x1ff), 0);
    assert_int_equal(wrmsr_to(17, 0x808, 0x100), -EINVAL);
    assert_int_equal(wrmsr_to(17, 0x80b, 1), -EINVAL);
    assert_int_equal(wrmsr_to(17, 0x828, 1), -EINVAL);
    assert_int_equal(wrmsr_to(17, 0x832, 0x300ef | 1ull << 32), -EINVAL);
    assert_int_equal(wrmsr_to(17, 0x832, 0x300ef), 0);
    assert_int_equal(wrmsr_to(17, 0x835, 0x10700), 0);
    assert_int_equal(wrmsr_to(17, 0x83e, 0x10), -EINVAL);
    assert_int_equal(wrmsr_to(17, 0x830, 1 << 20), -EINVAL);
    assert_int_equal(wrmsr_to(17, 0x830, 1 << 13), -EINVAL);
    assert_int_equal(wrmsr_to(17, 0x83f, 0x77), 0);
    assert_int_equal(lapic_take(&apic[17]), 0x77);
    assert_int_equal(wrmsr_to(17, 0x80b, 0), 0);
    assert_int_equal(lapic_msr_read(&apic[17], 0x900, &v), -EINVAL);
}

static void test_x2apic_ipi(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT; i++)
        to_x2apic(i);
    assert_int_equal(wrmsr_to(0, 0x830, 18ull << 32 | 0x4041), 0);
    assert_int_equal(fx.kick, 1 << 18);
    assert_int_equal(msr(0, 0x830), 18ull << 32 | 0x4041);
    fx.kick = 0;
    wrmsr_to(0, 0x830, 0x0001000eull << 32 | 0x4842);   /* logical: cluster 1, members 1 to 3 */
    assert_int_equal(fx.kick, 7 << 17);
    fx.kick = 0;
    wrmsr_to(0, 0x830, 0xffffffffull << 32 | 0x4043);
    assert_int_equal(fx.kick, (1 << COUNT) - 1);
    fx.kick = 0;
    wrmsr_to(0, 0x830, 0xffull << 32 | 0x4044);         /* no broadcast with 32-bit destinations */
    assert_int_equal(fx.kick, 0);
    wrmsr_to(0, 0x830, 0xffffffffull << 32 | 0x4845);
    assert_int_equal(fx.kick, (1 << COUNT) - 1);
}

/* The I/O APIC's 8-bit destinations still reach local APICs in x2APIC mode. */
static void test_x2apic_from_ioapic(void **state)
{
    struct apic_message m = { .dest = 0xff, .vector = 0x40 };

    (void)state;
    for (unsigned i = 0; i < COUNT; i++)
        to_x2apic(i);
    assert_int_equal(apic_send(&net, &m, &fx), COUNT);
    m = (struct apic_message){ .dest = 0x06, .logical = true, .vector = 0x41 };
    fx.kick = 0;
    assert_int_equal(apic_send(&net, &m, &fx), 2);
    assert_int_equal(fx.kick, 6);
}

static void test_errors(void **state)
{
    (void)state;
    put(0, LVTERR, 0xfe);
    put(0, ICR2, 1u << 24);
    put(0, ICR, 0x4005);                        /* sending an illegal vector */
    assert_int_equal(get(0, ESR), 0);           /* only a write brings it up */
    put(0, ESR, 0);
    assert_int_equal(get(0, ESR), 0x20);
    assert_int_equal(lapic_take(&apic[0]), 0xfe);
    put(0, EOI, 0);
    put(0, ESR, 0);
    assert_int_equal(get(0, ESR), 0);
    assert_true(lapic_post(&apic[0], 3, false));        /* receiving one */
    assert_int_equal(lapic_take(&apic[0]), 0xfe);
    put(0, EOI, 0);
    get(0, 0x3f0);                              /* no such register */
    put(0, 0x290, 1);
    put(0, ESR, 0);
    assert_int_equal(get(0, ESR), 0xc0);
    put(0, LVTERR, 0x05);                       /* an illegal vector for the error itself */
    lapic_take(&apic[0]);
    put(0, EOI, 0);
    lapic_post(&apic[0], 3, false);
    assert_int_equal(lapic_pending(&apic[0]), -1);
}

static void test_mmio_widths(void **state)
{
    (void)state;
    put(0, TPR, 0x5a);
    assert_int_equal(lapic_mmio_read(&apic[0], VERSION, 1) & 0xff, 0x14);
    assert_int_equal(lapic_mmio_read(&apic[0], VERSION + 2, 1) & 0xff, 0x05);
    assert_int_equal(lapic_mmio_read(&apic[0], VERSION + 4, 4), 0);
    assert_int_equal(lapic_mmio_read(&apic[0], VERSION + 2, 4), 0);
    lapic_mmio_write(&apic[0], TPR, 1, 0);
    lapic_mmio_write(&apic[0], TPR + 1, 4, 0);
    lapic_mmio_write(&apic[0], TPR + 4, 4, 0);
    assert_int_equal(get(0, TPR), 0x5a);
    put(0, ID, 0xff000000);
    put(0, VERSION, 0);
    assert_int_equal(get(0, ID), 0);
    assert_int_equal(get(0, VERSION), 0x50014);
}

static void test_init_reset(void **state)
{
    (void)state;
    to_x2apic(1);
    wrmsr_to(1, 0x808, 0x40);
    lapic_post(&apic[1], 0x61, true);
    lapic_take(&apic[1]);
    wrmsr_to(1, 0x838, 100000);
    lapic_reset(&apic[1]);
    assert_int_equal(msr(1, APIC_BASE), 0xfee00c00);    /* the mode stays */
    assert_int_equal(msr(1, 0x808), 0);
    assert_int_equal(msr(1, 0x80f), 0xff);
    assert_int_equal(msr(1, 0x813), 0);
    assert_int_equal(msr(1, 0x81b), 0);
    assert_int_equal(fake_timers(&fake_queue), 0);
}

static void random_step(unsigned cpu)
{
    uint64_t v;

    switch (fake_below(8)) {
    case 0:
        lapic_mmio_write(&apic[cpu], fake_below(0x1000), 1u << fake_below(4), fake_random());
        break;
    case 1:
        put(cpu, fake_below(0x40) * 16, (uint32_t)(fake_random() >> fake_below(32)));
        break;
    case 2:
        lapic_mmio_read(&apic[cpu], fake_below(0x1000), 1u << fake_below(4));
        break;
    case 3:
        wrmsr_to(cpu, 0x800 + fake_below(0x48), fake_random() >> fake_below(64));
        break;
    case 4:
        lapic_msr_read(&apic[cpu], 0x800 + fake_below(0x108), &v);
        break;
    case 5:
        wrmsr_to(cpu, APIC_BASE, 0xfee00000 | fake_below(4) << 10);
        wrmsr_to(cpu, TSC_DEADLINE, fake_tick + fake_random() % 100000);
        break;
    case 6:
        lapic_take(&apic[cpu]);
        break;
    default:
        fake_tick += fake_below(100000);
        timer_run(&fake_queue, fake_tick);
        break;
    }
}

static void test_random(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 500000; i++) {
        unsigned cpu = fake_below(COUNT);

        random_step(cpu);
        assert_int_equal(apic[cpu].id, cpu);
        assert_true(fake_timers(&fake_queue) <= COUNT);
        assert_true(((fx.kick | fx.nmi | fx.init | fx.sipi) & ~((1ull << COUNT) - 1)) == 0);
        assert_int_equal(lapic_pending(&apic[cpu]) >= 0 && lapic_pending(&apic[cpu]) < 16, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_power_on, setup),
        cmocka_unit_test_setup(test_priorities, setup),
        cmocka_unit_test_setup(test_level_eoi, setup),
        cmocka_unit_test_setup(test_software_disable, setup),
        cmocka_unit_test_setup(test_modes, setup),
        cmocka_unit_test_setup(test_hardware_disabled, setup),
        cmocka_unit_test_setup(test_extint, setup),
        cmocka_unit_test_setup(test_physical_ipi, setup),
        cmocka_unit_test_setup(test_shorthands, setup),
        cmocka_unit_test_setup(test_logical_flat, setup),
        cmocka_unit_test_setup(test_logical_cluster, setup),
        cmocka_unit_test_setup(test_lowest_priority, setup),
        cmocka_unit_test_setup(test_init_sipi_nmi, setup),
        cmocka_unit_test_setup(test_x2apic_registers, setup),
        cmocka_unit_test_setup(test_x2apic_ipi, setup),
        cmocka_unit_test_setup(test_x2apic_from_ioapic, setup),
        cmocka_unit_test_setup(test_errors, setup),
        cmocka_unit_test_setup(test_mmio_widths, setup),
        cmocka_unit_test_setup(test_init_reset, setup),
        cmocka_unit_test_setup(test_lvt_bits, setup),
        cmocka_unit_test_setup(test_place, setup),
        cmocka_unit_test_setup(test_random, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
