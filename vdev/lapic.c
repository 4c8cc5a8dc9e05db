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
#define X2APIC_WRITE (BIT(REG_TPR) | BIT(REG_EOI) | BIT(REG_SVR) | BIT(REG_ESR) | BITS(REG_LVT, 7) | BIT(REG_DIVIDE) | \
                      BIT(REG_SELF_IPI))

/* Computed, or kept in fields: what is not here lives in the page or is never read there. */
#define SHOWN (BITS(REG_ID, 2) | BITS(REG_LDR, 3) | BIT(REG_ESR) | BITS(REG_LVT, 7) | BIT(REG_DIVIDE))

#define BASE_RESET 0xfee00000ull
#define BASE_VALID (APIC_BASE_BSP | APIC_BASE_X2APIC | APIC_BASE_ENABLE | BITS(12, 24))
#define BASE_MODE  (APIC_BASE_ENABLE | APIC_BASE_X2APIC)

#define VERSION       (LAPIC_VERSION | (LVT_COUNT - 1) << 16)
#define SVR_ENABLE    BIT(8)
#define SVR_VALID     0x3ffu            /* vector, enable, focus checking */
#define DFR_FLAT      0xfu              /* bits 31:28 */
#define DIVIDE_VALID  0x0bu
#define ICR_BUSY      BIT(12)
#define ICR_VALID     0xccfffu          /* low half, without the always idle status */
#define ICR_RESERVED      (UINT32_MAX & ~(ICR_VALID | ICR_BUSY))
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

/* Registers in the page. In guest mode the processor changes them, so others than the own vCPU see them any time. */
static uint32_t get(const struct lapic *l, unsigned reg)
{
    return atomic_load_explicit(&l->page[4 * reg], memory_order_relaxed);
}

static void put(struct lapic *l, unsigned reg, uint32_t value)
{
    atomic_store_explicit(&l->page[4 * reg], value, memory_order_relaxed);
}

static int highest_isr(const struct lapic *l)
{
    for (unsigned i = 8; i-- > 0;)
        if (get(l, REG_ISR + i))
            return highest_bit(get(l, REG_ISR + i), i);
    return -1;
}

static int highest_irr(const struct lapic *l)
{
    uint32_t posted = atomic_load_explicit(&l->posted_words, memory_order_acquire), any = posted;

#pragma GCC unroll 8
    for (unsigned i = 0; i < 8; i++)
        any |= get(l, REG_IRR + i);
    for (unsigned i = any ? 8 : 0; i-- > 0;) {
        uint32_t word = get(l, REG_IRR + i);

        if (posted)
            word |= atomic_load_explicit(&l->posted[i], memory_order_relaxed);
        if (word)
            return highest_bit(word, i);
    }
    return -1;
}

uint32_t lapic_tpr(const struct lapic *l)
{
    return get(l, REG_TPR);
}

void lapic_set_tpr(struct lapic *l, uint8_t tpr)
{
    put(l, REG_TPR, tpr);
    lapic_touch(l);
}

static uint32_t ppr(const struct lapic *l)
{
    int isr = highest_isr(l);
    uint32_t class = isr < 0 ? 0 : (uint32_t)isr & 0xf0, tpr = get(l, REG_TPR);

    return (tpr & 0xf0) >= class ? tpr : class;
}

void lapic_touch(struct lapic *l)
{
    atomic_store_explicit(&l->more, true, memory_order_release);
    atomic_store_explicit(&l->news, true, memory_order_release);
}

/* What was posted in this word comes into the page, and TMR follows. True: TMR has changed, or it was several. */
static inline bool collect_word(struct lapic *l, unsigned i, uint8_t *highest)
{
    uint32_t bits = atomic_exchange(&l->posted[i], 0), level = atomic_load(&l->level[i]) & bits;
    uint32_t before = get(l, REG_TMR + i);

    if (bits)
        *highest = (uint8_t)highest_bit(bits, i);
    put(l, REG_IRR + i, get(l, REG_IRR + i) | bits);
    if ((before & bits) == level)
        return bits & (bits - 1);
    put(l, REG_TMR + i, (before & ~bits) | level);
    return true;
}

/* All of it, from the lowest word up; highest: of the vectors, if there are any. */
static bool collect_and_tell(struct lapic *l, uint8_t *highest)
{
    uint32_t words = atomic_load_explicit(&l->posted_words, memory_order_relaxed);
    bool changed;

    if (words)
        words = atomic_exchange(&l->posted_words, 0);
    changed = words & (words - 1);
    for (; words; words &= words - 1)
        changed |= collect_word(l, (unsigned)__builtin_ctz(words), highest);
    return changed;
}

static void collect(struct lapic *l)
{
    uint8_t highest;

    (void)collect_and_tell(l, &highest);
}

bool lapic_listens(const struct lapic *l, bool software_too)
{
    return (l->base & APIC_BASE_ENABLE) && (!software_too || (l->svr & SVR_ENABLE));
}

bool lapic_is_x2apic(const struct lapic *l)
{
    return (l->base & BASE_MODE) == BASE_MODE;
}

bool lapic_is_plain(const struct lapic *l)
{
    return (l->base & ~(uint64_t)APIC_BASE_BSP) == (BASE_RESET | APIC_BASE_ENABLE);
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

/*
 * Posts the vector; true if it was not posted already. Whoever collects it must find its trigger mode, so that is
 * written first; whoever sees the words or the news must find it, so these are written last.
 */
static bool accept(struct lapic *l, uint8_t vector, bool level)
{
    uint32_t bit = (uint32_t)BIT(vector & 31);
    bool first;

    if (level)
        atomic_fetch_or(&l->level[vector / 32], bit);
    else
        atomic_fetch_and(&l->level[vector / 32], ~bit);
    first = !(atomic_fetch_or(&l->posted[vector / 32], bit) & bit);
    atomic_fetch_or(&l->posted_words, 1u << vector / 32);
    atomic_store_explicit(&l->news, true, memory_order_release);
    return first;
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
    int vector;
    unsigned word;
    uint32_t bit;

    collect(l);
    vector = lapic_pending(l);
    if (vector < 0)
        return -1;
    bit = (uint32_t)BIT(vector & 31);
    word = (unsigned)vector / 32;
    put(l, REG_IRR + word, get(l, REG_IRR + word) & ~bit);
    put(l, REG_ISR + word, get(l, REG_ISR + word) | bit);
    lapic_touch(l);
    return vector;
}

static void end_of_interrupt(struct lapic *l)
{
    int vector = highest_isr(l);
    unsigned word = (unsigned)vector / 32;

    if (vector < 0)
        return;
    put(l, REG_ISR + word, get(l, REG_ISR + word) & ~(uint32_t)BIT(vector & 31));
    if (get(l, REG_TMR + word) & BIT(vector & 31))
        l->wires->eoi(l->ctx, (uint8_t)vector);
}

void lapic_page_ended(struct lapic *l, uint8_t vector)
{
    l->wires->eoi(l->ctx, vector);
    lapic_touch(l); /* others may be due now */
}

void lapic_init(struct lapic *l, unsigned id, void *page, const struct vclock *clock, struct timer_queue *queue,
                const struct lapic_wires *wires, void *ctx)
{
    memset(l, 0, sizeof(*l));
    l->id = id;
    l->page = page;
    l->clock = clock;
    l->queue = queue;
    l->wires = wires;
    l->ctx = ctx;
    l->timer.fire = lapic_timer_fire;
    queue->own = &l->timer;
    lapic_power_on(l);
}

static uint32_t read_register(const struct lapic *l, unsigned reg)
{
    bool x2apic = lapic_is_x2apic(l);

    if (reg >= REG_ISR && reg < REG_ESR)
        return get(l, reg);
    if (reg >= REG_LVT && reg < REG_INITIAL)
        return l->lvt[reg - REG_LVT];
    switch (reg) {
    case REG_ID:
        return x2apic ? l->id : l->id << 24;
    case REG_VERSION:
        return VERSION;
    case REG_TPR:
    case REG_ICR:
    case REG_ICR_HIGH:
        return get(l, reg);
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

/* What the guest reads in the page; registers that live there are not touched. */
static void show(struct lapic *l, unsigned reg)
{
    if (SHOWN >> reg & 1)
        put(l, reg, read_register(l, reg));
}

static void show_all(struct lapic *l)
{
    for (unsigned reg = 0; reg < REG_COUNT; reg++)
        show(l, reg);
    lapic_touch(l);
}

/* In x2APIC mode the destination is the upper half of one register (11.12.9), and so in the page (30.5). */
static _Atomic uint32_t *icr_high(struct lapic *l)
{
    return &l->page[lapic_is_x2apic(l) ? 4 * REG_ICR + 1 : 4 * REG_ICR_HIGH];
}

static uint64_t icr(struct lapic *l)
{
    return (uint64_t)*icr_high(l) << 32 | get(l, REG_ICR);
}

void lapic_reset(struct lapic *l)
{
    lapic_timer_stop(l);
    for (unsigned i = 0; i < 8; i++)
        l->posted[i] = l->level[i] = 0;
    l->posted_words = 0;
    for (unsigned i = 0; i < LVT_COUNT; i++)
        l->lvt[i] = LVT_MASKED;
    l->esr_new = l->esr = 0;
    l->svr = 0xff;
    l->ldr = 0;
    l->dfr = UINT32_MAX;
    l->divide = l->initial_count = 0;
    memset((void *)l->page, 0, PAGE_SIZE);
    show_all(l);
}

void lapic_power_on(struct lapic *l)
{
    lapic_reset(l);
    l->base = BASE_RESET | APIC_BASE_ENABLE | (l->id == 0 ? APIC_BASE_BSP : 0);
    if (l->id == 0)
        l->lvt[LVT_LINT0] = APIC_EXTINT << 8;
    show_all(l);
}

bool lapic_owns(const struct lapic *l, uint64_t addr)
{
    return (l->base & BASE_MODE) == APIC_BASE_ENABLE && ((l->base ^ addr) & ~0xfffull) == 0;
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
    show_all(l);
}

static void send_ipi(struct lapic *l, uint64_t command)
{
    enum apic_mode mode = (enum apic_mode)(command >> 8 & 7);

    if ((mode == APIC_FIXED || mode == APIC_LOWEST) && (command & 0xff) < FIRST_LEGAL_VECTOR)
        raise_error(l, ESR_SEND_ILLEGAL);
    else
        l->wires->ipi(l->ctx, l->id, command);
}

/* Registers that only read swallow what is written. */
static void set_register(struct lapic *l, unsigned reg, uint32_t value)
{
    switch (reg) {
    case REG_TPR:
        put(l, REG_TPR, value & 0xff);
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
        put(l, REG_ICR, value & ICR_VALID);
        send_ipi(l, icr(l));
        break;
    case REG_ICR_HIGH:
        put(l, REG_ICR_HIGH, value & 0xff000000);
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

static void write_register(struct lapic *l, unsigned reg, uint32_t value)
{
    if (reg >= REG_LVT && reg < REG_INITIAL)
        write_lvt(l, reg - REG_LVT, value);
    else
        set_register(l, reg, value);
    show(l, reg);
    lapic_touch(l);
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
    collect(l);
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
static __attribute__((noinline)) int write_base(struct lapic *l, uint64_t value)
{
    uint64_t from = l->base & BASE_MODE, to = value & BASE_MODE;

    if ((value & ~BASE_VALID) || to == APIC_BASE_X2APIC)
        return -EINVAL;
    if ((from == BASE_MODE && to == APIC_BASE_ENABLE) || (!from && to == BASE_MODE))
        return -EINVAL;
    if (!to)
        lapic_timer_stop(l);
    l->base = (value & ~APIC_BASE_BSP) | (l->base & APIC_BASE_BSP);
    if (from != to)
        *icr_high(l) = 0;
    show_all(l);
    return 0;
}

static __attribute__((noinline)) int x2apic_read(struct lapic *l, unsigned reg, uint64_t *value)
{
    if (!lapic_is_x2apic(l) || reg >= REG_COUNT || !(X2APIC_READ >> reg & 1))
        return -EINVAL;
    collect(l);
    *value = reg == REG_ICR ? icr(l) : read_register(l, reg);
    return 0;
}

int lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *value)
{
    if (msr == MSR_APIC_BASE)
        *value = l->base;
    else if (msr == MSR_TSC_DEADLINE)
        *value = l->tsc_deadline;
    else
        return x2apic_read(l, msr - MSR_X2APIC_BASE, value);
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
    case REG_INITIAL:
        return ~(uint64_t)UINT32_MAX;
    case REG_DIVIDE:
        return ~(uint64_t)DIVIDE_VALID;
    default:
        return UINT64_MAX;      /* EOI and ESR take only 0 */
    }
}

static __attribute__((noinline)) int x2apic_write(struct lapic *l, unsigned reg, uint64_t value)
{
    if (!lapic_is_x2apic(l) || reg >= REG_COUNT || !(X2APIC_WRITE >> reg & 1) || (value & reserved_bits(reg)))
        return -EINVAL;
    if (reg == REG_SELF_IPI)
        lapic_post(l, (uint8_t)value, false);
    else
        write_register(l, reg, (uint32_t)value);
    return 0;
}

static int x2apic_write_icr(struct lapic *l, uint64_t value)
{
    if (!lapic_is_x2apic(l) || (value & ICR_RESERVED))
        return -EINVAL;
    put(l, REG_ICR, (uint32_t)(value & ICR_VALID));
    atomic_store_explicit(icr_high(l), (uint32_t)(value >> 32), memory_order_relaxed);
    send_ipi(l, value & ~(uint64_t)ICR_BUSY);
    return 0;
}

int lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t value)
{
    if (msr == MSR_TSC_DEADLINE) {
        lapic_timer_set_deadline(l, value);
        return 0;
    }
    if (msr == MSR_X2APIC_BASE + REG_ICR)
        return x2apic_write_icr(l, value);
    return msr == MSR_APIC_BASE ? write_base(l, value) : x2apic_write(l, msr - MSR_X2APIC_BASE, value);
}

/* The page holds what the guest wrote, whole; what the register makes of it replaces it. */
void lapic_page_written(struct lapic *l, unsigned offset)
{
    unsigned reg = offset >> 4 & 0xff;

    if (reg < REG_COUNT)
        write_register(l, reg, get(l, reg));
}

/* Is more than one vector in IRR? */
static bool several_requests(const struct lapic *l)
{
    uint32_t any = 0, more = 0;

    for (unsigned i = 0; i < 8; i++) {
        uint32_t word = get(l, REG_IRR + i);

        more |= (word & (word - 1)) | (any ? word : 0);
        any |= word;
    }
    return more;
}

static __attribute__((noinline)) void whole_state(struct lapic *l, struct apicv_state *out)
{
    int irr, isr;

    (void)atomic_exchange(&l->more, false);
    irr = lapic_listens(l, false) ? highest_irr(l) : -1;
    isr = highest_isr(l);
    out->posted = false;
    out->requested = irr < 0 ? 0 : (uint8_t)irr;
    out->in_service = isr < 0 ? 0 : (uint8_t)isr;
    out->several = several_requests(l);
    out->x2apic = lapic_is_x2apic(l);
    for (unsigned i = 0; i < 4; i++)
        out->eoi_exit[i] = (uint64_t)get(l, REG_TMR + 2 * i + 1) << 32 | get(l, REG_TMR + 2 * i);
}

bool lapic_apicv_state(struct lapic *l, struct apicv_state *out)
{
    if (!atomic_load_explicit(&l->news, memory_order_relaxed))
        return false;
    (void)atomic_exchange(&l->news, false); /* before it is looked at: what comes later is news again */
    out->posted = true;
    out->requested = 0;
    if (collect_and_tell(l, &out->requested) || atomic_load_explicit(&l->more, memory_order_relaxed))
        whole_state(l, out);
    return true;
}
