/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/lapic.h"

#include "arch/x86/msr.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vdev/apic_net.h"

/* Registers by their x2APIC number: MSR 0x800 + number, offset 16 * number (SDM vol. 3, tables 11-1 and 11-6). */
enum {
    REG_ID = 0x02, REG_VERSION = 0x03, REG_TPR = 0x08, REG_APR = 0x09, REG_PPR = 0x0a, REG_EOI = 0x0b, REG_RRD = 0x0c,
    REG_LDR = 0x0d, REG_DFR = 0x0e, REG_SVR = 0x0f, REG_ISR = 0x10, REG_TMR = 0x18, REG_IRR = 0x20, REG_ESR = 0x28,
    REG_ICR = 0x30, REG_ICR_HIGH = 0x31, REG_LVT = 0x32, REG_INITIAL = 0x38, REG_CURRENT = 0x39, REG_DIVIDE = 0x3e,
    REG_SELF_IPI = 0x3f, REG_COUNT = 0x40
};

#define BITS(first, count) ((BIT(count) - 1) << (first))
#define XAPIC_REGS  (BITS(0x02, 2) | BITS(0x08, 33) | BITS(0x30, 10) | BIT(REG_DIVIDE))
#define X2APIC_READ (BITS(0x02, 2) | BIT(REG_TPR) | BIT(REG_PPR) | BIT(REG_LDR) | BITS(REG_SVR, 26) | BIT(REG_ICR) | \
                     BITS(REG_LVT, 8) | BIT(REG_DIVIDE))
#define X2APIC_WRITE (BIT(REG_TPR) | BIT(REG_EOI) | BIT(REG_SVR) | BIT(REG_ESR) | BIT(REG_ICR) | BITS(REG_LVT, 7) | \
                      BIT(REG_DIVIDE) | BIT(REG_SELF_IPI))

#define BASE_VALID (APIC_BASE_BSP | APIC_BASE_X2APIC | APIC_BASE_ENABLE | BITS(12, 24))
#define BASE_MODE  (APIC_BASE_ENABLE | APIC_BASE_X2APIC)

#define VERSION       (LAPIC_VERSION | (LVT_COUNT - 1) << 16)
#define SVR_ENABLE    BIT(8)
#define SVR_VALID     0x3ffu            /* vector, enable, focus checking */
#define DFR_FLAT      0xfu              /* bits 31:28 */
#define DIVIDE_VALID  0x0bu
#define ICR_BUSY      BIT(12)
#define ICR_VALID     0xccfffu          /* low half, without the always idle status */
#define ESR_SEND_ILLEGAL     BIT(5)
#define ESR_RECEIVE_ILLEGAL  BIT(6)
#define ESR_ILLEGAL_REGISTER BIT(7)
#define FIRST_LEGAL_VECTOR   16

#define LVT_MASKED    BIT(16)
#define LVT_STATUS    (BIT(12) | BIT(14))       /* delivery status and remote IRR: read-only, always 0 */
#define LVT_MODE_MASK 0x700u
static const uint32_t lvt_valid[LVT_COUNT] = {
    [LVT_TIMER] = 0x700ff, [LVT_THERMAL] = 0x107ff, [LVT_PERF] = 0x107ff,
    [LVT_LINT0] = 0x1a7ff, [LVT_LINT1] = 0x1a7ff, [LVT_ERROR] = 0x100ff,
};

static int highest_bit(uint32_t word, unsigned index)
{
    return (int)(32 * index) + 31 - __builtin_clz(word);
}

static int highest_isr(const struct lapic *l)
{
    for (unsigned i = 8; i-- > 0;)
        if (l->isr[i])
            return highest_bit(l->isr[i], i);
    return -1;
}

static int highest_irr(const struct lapic *l)
{
    for (unsigned i = 8; i-- > 0;) {
        uint32_t word = atomic_load_explicit(&l->irr[i], memory_order_acquire);

        if (word)
            return highest_bit(word, i);
    }
    return -1;
}

static uint32_t ppr(const struct lapic *l)
{
    int isr = highest_isr(l);
    uint32_t class = isr < 0 ? 0 : (uint32_t)isr & 0xf0;

    return (l->tpr & 0xf0) >= class ? l->tpr : class;
}

bool lapic_listens(const struct lapic *l, bool software_too)
{
    return (l->base & APIC_BASE_ENABLE) && (!software_too || (l->svr & SVR_ENABLE));
}

bool lapic_is_x2apic(const struct lapic *l)
{
    return (l->base & BASE_MODE) == BASE_MODE;
}

static uint32_t x2apic_ldr(const struct lapic *l)
{
    return l->id >> 4 << 16 | (uint32_t)BIT(l->id & 15);
}

static bool matches_logical(const struct lapic *l, uint32_t dest, bool wide)
{
    uint32_t ldr = l->ldr >> 24;

    if (wide && dest == UINT32_MAX)
        return true;
    if (lapic_is_x2apic(l))
        return dest >> 16 == l->id >> 4 && (dest & x2apic_ldr(l) & 0xffff);
    if (dest == 0xff)
        return true;
    if (dest > 0xff)
        return false;
    if (l->dfr >> 28 == DFR_FLAT)
        return dest & ldr;
    return dest >> 4 == ldr >> 4 && (dest & ldr & 0xf);
}

bool lapic_matches(const struct lapic *l, uint32_t dest, bool logical, bool wide)
{
    if (logical)
        return matches_logical(l, dest, wide);
    return dest == l->id || dest == (wide ? UINT32_MAX : 0xff);
}

/*
 * A disabled local APIC leaves LINT0 to be the processor's INTR pin; software-disabled, processor 0 is taken to
 * be in the hands of a kernel that knows only the 8259s. Else the local vector table decides.
 */
bool lapic_takes_extint(const struct lapic *l)
{
    uint32_t lint0 = l->lvt[LVT_LINT0];

    if (!lapic_listens(l, l->id == 0))
        return true;
    return !(lint0 & LVT_MASKED) && (lint0 & LVT_MODE_MASK) == APIC_EXTINT << 8;
}

enum lapic_edge lapic_lint0_rises(struct lapic *l)
{
    uint32_t lint0 = l->lvt[LVT_LINT0];

    if (!lapic_listens(l, true) || (lint0 & LVT_MASKED))
        return LAPIC_EDGE_NOTHING;
    if ((lint0 & LVT_MODE_MASK) == APIC_NMI << 8)
        return LAPIC_EDGE_NMI;
    if ((lint0 & LVT_MODE_MASK) != APIC_FIXED << 8)
        return LAPIC_EDGE_NOTHING;
    return lapic_post(l, (uint8_t)lint0, false) ? LAPIC_EDGE_POSTED : LAPIC_EDGE_NOTHING;
}

/* Puts the vector into IRR; true if it was not there. TMR follows acceptance, so it is written first. */
static bool accept(struct lapic *l, uint8_t vector, bool level)
{
    uint32_t bit = (uint32_t)BIT(vector & 31);

    if (level)
        atomic_fetch_or(&l->tmr[vector / 32], bit);
    else
        atomic_fetch_and(&l->tmr[vector / 32], ~bit);
    return !(atomic_fetch_or(&l->irr[vector / 32], bit) & bit);
}

/* Notes an error and raises its interrupt; true if the vCPU must be told. */
static bool raise_error(struct lapic *l, uint32_t error)
{
    uint32_t lvt = l->lvt[LVT_ERROR];

    atomic_fetch_or(&l->esr_new, error);
    return !(lvt & LVT_MASKED) && (lvt & 0xff) >= FIRST_LEGAL_VECTOR && accept(l, (uint8_t)lvt, false);
}

bool lapic_post(struct lapic *l, uint8_t vector, bool level)
{
    if (vector < FIRST_LEGAL_VECTOR)
        return raise_error(l, ESR_RECEIVE_ILLEGAL);
    return accept(l, vector, level);
}

int lapic_pending(const struct lapic *l)
{
    int irr = highest_irr(l);

    if (irr < 0 || !lapic_listens(l, false))
        return -1;
    return ((uint32_t)irr & 0xf0) > (ppr(l) & 0xf0) ? irr : -1;
}

int lapic_take(struct lapic *l)
{
    int vector = lapic_pending(l);
    uint32_t bit;

    if (vector < 0)
        return -1;
    bit = (uint32_t)BIT(vector & 31);
    atomic_fetch_and(&l->irr[vector / 32], ~bit);
    l->isr[vector / 32] |= bit;
    return vector;
}

static void end_of_interrupt(struct lapic *l)
{
    int vector = highest_isr(l);

    if (vector < 0)
        return;
    l->isr[vector / 32] &= ~(uint32_t)BIT(vector & 31);
    if (l->tmr[vector / 32] & BIT(vector & 31))
        l->wires->eoi(l->ctx, (uint8_t)vector);
}

void lapic_init(struct lapic *l, unsigned id, const struct vclock *clock, struct timer_queue *queue,
                const struct lapic_wires *wires, void *ctx)
{
    memset(l, 0, sizeof(*l));
    l->id = id;
    l->clock = clock;
    l->queue = queue;
    l->wires = wires;
    l->ctx = ctx;
    l->timer.fire = lapic_timer_fire;
    lapic_power_on(l);
}

void lapic_reset(struct lapic *l)
{
    lapic_timer_stop(l);
    for (unsigned i = 0; i < 8; i++)
        l->irr[i] = l->tmr[i] = l->isr[i] = 0;
    for (unsigned i = 0; i < LVT_COUNT; i++)
        l->lvt[i] = LVT_MASKED;
    l->esr_new = l->esr = 0;
    l->svr = 0xff;
    l->ldr = l->tpr = 0;
    l->dfr = UINT32_MAX;
    l->icr = 0;
    l->divide = l->initial_count = 0;
}

void lapic_power_on(struct lapic *l)
{
    lapic_reset(l);
    l->base = 0xfee00000 | APIC_BASE_ENABLE | (l->id == 0 ? APIC_BASE_BSP : 0);
    if (l->id == 0)
        l->lvt[LVT_LINT0] = APIC_EXTINT << 8;
}

bool lapic_owns(const struct lapic *l, uint64_t addr)
{
    return (l->base & BASE_MODE) == APIC_BASE_ENABLE && ((l->base ^ addr) & ~0xfffull) == 0;
}

static uint32_t read_lvt(const struct lapic *l, unsigned reg)
{
    return l->lvt[reg - REG_LVT];
}

static uint32_t read_array(const struct lapic *l, unsigned reg)
{
    if (reg < REG_TMR)
        return l->isr[reg - REG_ISR];
    return reg < REG_IRR ? l->tmr[reg - REG_TMR] : l->irr[reg - REG_IRR];
}

static uint32_t read_register(const struct lapic *l, unsigned reg)
{
    bool x2apic = lapic_is_x2apic(l);

    if (reg >= REG_ISR && reg < REG_ESR)
        return read_array(l, reg);
    if (reg >= REG_LVT && reg < REG_INITIAL)
        return read_lvt(l, reg);
    switch (reg) {
    case REG_ID:
        return x2apic ? l->id : l->id << 24;
    case REG_VERSION:
        return VERSION;
    case REG_TPR:
        return l->tpr;
    case REG_PPR:
        return ppr(l);
    case REG_LDR:
        return x2apic ? x2apic_ldr(l) : l->ldr;
    case REG_DFR:
        return l->dfr;
    case REG_SVR:
        return l->svr;
    case REG_ESR:
        return l->esr;
    case REG_ICR:
        return (uint32_t)l->icr;
    case REG_ICR_HIGH:
        return (uint32_t)(l->icr >> 32);
    case REG_INITIAL:
        return l->initial_count;
    case REG_CURRENT:
        return lapic_timer_count(l);
    case REG_DIVIDE:
        return l->divide;
    default:
        return 0;
    }
}

/* While the local APIC is software-disabled every entry is masked. */
static void write_lvt(struct lapic *l, unsigned entry, uint32_t value)
{
    value &= lvt_valid[entry];
    if (!(l->svr & SVR_ENABLE))
        value |= LVT_MASKED;
    if (entry == LVT_TIMER)
        lapic_timer_set_lvt(l, value);
    else
        l->lvt[entry] = value;
}

static void write_svr(struct lapic *l, uint32_t value)
{
    l->svr = value & SVR_VALID;
    if (value & SVR_ENABLE)
        return;
    for (unsigned i = 0; i < LVT_COUNT; i++)
        l->lvt[i] |= LVT_MASKED;
}

static void send_ipi(struct lapic *l)
{
    enum apic_mode mode = (enum apic_mode)(l->icr >> 8 & 7);

    if ((mode == APIC_FIXED || mode == APIC_LOWEST) && (l->icr & 0xff) < FIRST_LEGAL_VECTOR)
        raise_error(l, ESR_SEND_ILLEGAL);
    else
        l->wires->ipi(l->ctx, l->id, l->icr);
}

/* Registers that only read swallow what is written. */
static void write_register(struct lapic *l, unsigned reg, uint32_t value)
{
    if (reg >= REG_LVT && reg < REG_INITIAL) {
        write_lvt(l, reg - REG_LVT, value);
        return;
    }
    switch (reg) {
    case REG_TPR:
        l->tpr = value & 0xff;
        break;
    case REG_EOI:
        end_of_interrupt(l);
        break;
    case REG_LDR:
        l->ldr = value & 0xff000000;
        break;
    case REG_DFR:
        l->dfr = value | 0x0fffffff;
        break;
    case REG_SVR:
        write_svr(l, value);
        break;
    case REG_ESR:
        l->esr = atomic_exchange(&l->esr_new, 0);
        break;
    case REG_ICR:
        l->icr = (l->icr & ~(uint64_t)UINT32_MAX) | (value & ICR_VALID);
        send_ipi(l);
        break;
    case REG_ICR_HIGH:
        l->icr = (uint64_t)(value & 0xff000000) << 32 | (uint32_t)l->icr;
        break;
    case REG_INITIAL:
        lapic_timer_set_count(l, value);
        break;
    case REG_DIVIDE:
        lapic_timer_set_divide(l, value & DIVIDE_VALID);
        break;
    default:
        break;
    }
}

/* Registers are 32 bits wide at multiples of 16; parts of one can be read. */
uint64_t lapic_mmio_read(struct lapic *l, unsigned offset, unsigned size)
{
    unsigned reg = offset >> 4 & 0xff, byte = offset & 15;

    if (reg >= REG_COUNT || !(XAPIC_REGS >> reg & 1)) {
        raise_error(l, ESR_ILLEGAL_REGISTER);
        return 0;
    }
    if (byte >= 4 || (byte && byte + size > 4))
        return 0;
    return read_register(l, reg) >> (8 * byte);
}

/* Only whole registers can be written. */
void lapic_mmio_write(struct lapic *l, unsigned offset, unsigned size, uint64_t value)
{
    unsigned reg = offset >> 4 & 0xff;

    if (reg >= REG_COUNT || !(XAPIC_REGS >> reg & 1))
        raise_error(l, ESR_ILLEGAL_REGISTER);
    else if (!(offset & 15) && size >= 4)
        write_register(l, reg, (uint32_t)value);
}

/*
 * Modes change only along the arrows of figure 11-27. Disabling keeps the registers, as the SDM allows, but stops the
 * timer; the address may move in xAPIC mode.
 */
static int write_base(struct lapic *l, uint64_t value)
{
    uint64_t from = l->base & BASE_MODE, to = value & BASE_MODE;

    if ((value & ~BASE_VALID) || to == APIC_BASE_X2APIC)
        return -EINVAL;
    if ((from == BASE_MODE && to == APIC_BASE_ENABLE) || (!from && to == BASE_MODE))
        return -EINVAL;
    if (!to)
        lapic_timer_stop(l);
    if (to == BASE_MODE && from != BASE_MODE)
        l->icr &= UINT32_MAX;
    l->base = (value & ~APIC_BASE_BSP) | (l->base & APIC_BASE_BSP);
    return 0;
}

int lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *value)
{
    unsigned reg = msr - MSR_X2APIC_BASE;

    if (msr == MSR_APIC_BASE) {
        *value = l->base;
        return 0;
    }
    if (msr == MSR_TSC_DEADLINE) {
        *value = l->tsc_deadline;
        return 0;
    }
    if (!lapic_is_x2apic(l) || reg >= REG_COUNT || !(X2APIC_READ >> reg & 1))
        return -EINVAL;
    *value = reg == REG_ICR ? l->icr : read_register(l, reg);
    return 0;
}

/* Bits that must be 0 in x2APIC mode. */
static uint64_t reserved_bits(unsigned reg)
{
    if (reg >= REG_LVT && reg < REG_INITIAL)
        return ~(uint64_t)(lvt_valid[reg - REG_LVT] | LVT_STATUS);
    switch (reg) {
    case REG_TPR:
    case REG_SELF_IPI:
        return ~0xffull;
    case REG_SVR:
        return ~(uint64_t)SVR_VALID;
    case REG_ICR:
        return UINT32_MAX & ~(ICR_VALID | ICR_BUSY);
    case REG_INITIAL:
        return ~(uint64_t)UINT32_MAX;
    case REG_DIVIDE:
        return ~(uint64_t)DIVIDE_VALID;
    default:
        return UINT64_MAX;      /* EOI and ESR take only 0 */
    }
}

int lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t value)
{
    unsigned reg = msr - MSR_X2APIC_BASE;

    if (msr == MSR_APIC_BASE)
        return write_base(l, value);
    if (msr == MSR_TSC_DEADLINE) {
        lapic_timer_set_deadline(l, value);
        return 0;
    }
    if (!lapic_is_x2apic(l) || reg >= REG_COUNT || !(X2APIC_WRITE >> reg & 1) || (value & reserved_bits(reg)))
        return -EINVAL;
    if (reg == REG_ICR) {
        l->icr = value & ~ICR_BUSY;
        send_ipi(l);
    } else if (reg == REG_SELF_IPI) {
        lapic_post(l, (uint8_t)value, false);
    } else {
        write_register(l, reg, (uint32_t)value);
    }
    return 0;
}
