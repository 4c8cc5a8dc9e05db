/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/errno.h"
#include "vdev/apic_net.h"
#include "vdev_fake.h"

/* Twenty local APICs on one net; IPIs go where apic_net_ipi says. */
#define COUNT 20

static struct lapic apic[COUNT];
static struct timer_queue other_queues[COUNT];     /* but the first one's: fake_queue */
static uint32_t pages[COUNT][PAGE_SIZE / 4];
static struct apic_net net;
static struct apic_effects fx;
static uint8_t ended;
static unsigned ends, kicks;

static inline void wire_ipi(void *ctx, unsigned from, uint64_t icr)
{
    int to = apic_net_plain(&net, from, icr);

    (void)ctx;
    if (to == -EINVAL)
        apic_net_ipi(&net, from, icr, &fx);
    else if (to >= 0)
        fx.kick |= BIT(to);
}

static inline void wire_eoi(void *ctx, uint8_t vector)
{
    (void)ctx;
    ended = vector;
    ends++;
}

static inline void wire_kick(void *ctx, unsigned vcpu)
{
    (void)ctx;
    assert_true(vcpu < COUNT);
    kicks++;
}

static const struct lapic_wires wires = { wire_ipi, wire_eoi, wire_kick };

enum {
    ID = 0x20, VERSION = 0x30, TPR = 0x80, PPR = 0xa0, EOI = 0xb0, LDR = 0xd0, DFR = 0xe0, SVR = 0xf0, ISR = 0x100,
    TMR = 0x180, IRR = 0x200, ESR = 0x280, ICR = 0x300, ICR2 = 0x310, LVTT = 0x320, LINT0 = 0x350, LVTERR = 0x370,
    TMICT = 0x380, TMCCT = 0x390, TDCR = 0x3e0
};
#define APIC_BASE    0x1b
#define TSC_DEADLINE 0x6e0

static inline uint32_t get(unsigned cpu, unsigned reg)
{
    return (uint32_t)lapic_mmio_read(&apic[cpu], reg, 4);
}

static inline void put(unsigned cpu, unsigned reg, uint32_t value)
{
    lapic_mmio_write(&apic[cpu], reg, 4, value);
}

static inline uint64_t msr(unsigned cpu, uint32_t index)
{
    uint64_t value = 0;

    assert_int_equal(lapic_msr_read(&apic[cpu], index, &value), 0);
    return value;
}

static inline int wrmsr_to(unsigned cpu, uint32_t index, uint64_t value)
{
    return lapic_msr_write(&apic[cpu], index, value);
}

static inline int setup(void **state)
{
    (void)state;
    fake_reset();
    memset(&fx, 0, sizeof(fx));
    ends = kicks = 0;
    net.count = COUNT;
    net.turn = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        other_queues[i] = (struct timer_queue){ .head = NULL };
        lapic_init(&apic[i], i, pages[i], &fake_clock, i ? &other_queues[i] : &fake_queue, &wires, NULL);
        put(i, SVR, 0x1ff);
        net.lapic[i] = &apic[i];
    }
    return 0;
}
