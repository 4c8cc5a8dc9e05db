/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/apic.h"

#include "arch/x86/apic_state.h"
#include "arch/x86/cpu.h"
#include "lib/log.h"

/* Registers by their xAPIC offset (SDM vol. 3A, table 11-1); in x2APIC mode the MSR is 800H + offset / 16. */
enum {
    REG_ID = 0x20, REG_VERSION = 0x30, REG_TPR = 0x80, REG_EOI = 0xb0, REG_SVR = 0xf0, REG_ISR = 0x100, REG_IRR = 0x200,
    REG_ESR = 0x280, REG_LVT_CMCI = 0x2f0, REG_ICR = 0x300, REG_ICR_HIGH = 0x310, REG_LVT_TIMER = 0x320,
    REG_LVT_THERMAL = 0x330, REG_LVT_PERF = 0x340, REG_LVT_LINT0 = 0x350, REG_LVT_LINT1 = 0x360, REG_LVT_ERROR = 0x370,
    REG_TIMER_INITIAL = 0x380, REG_TIMER_CURRENT = 0x390, REG_TIMER_DIVIDE = 0x3e0,
};

#define SVR_ENABLE            BIT(8)
#define LVT_MASKED            BIT(16)
#define LVT_TIMER_MODE        (3u << 17)
#define LVT_TIMER_DEADLINE    (2u << 17)
#define ICR_PENDING           BIT(12)
#define ICR_NMI               (4u << 8)
#define ICR_INIT              (5u << 8)
#define ICR_STARTUP           (6u << 8)
#define ICR_ASSERT            (1u << 14)
#define ICR_ALL_BUT_SELF      (3u << 18)
#define DIVIDE_BY_16          3u
#define TPR_OURS_ONLY         0xe0u /* lets vectors from f0H on through */

/* How long an interrupt may take to be accepted, in reads of the delivery status. */
#define IPI_TRIES             1000000u

static bool x2apic, deadline_mode;
static uint64_t mmio;
static uint64_t timer_khz; /* of the one-shot timer, divided by 16; 0 with TSC deadline */

/* In the order of apic_state.lvt: the number of entries that exist is in the version register; CMCI is the newest. */
static const uint16_t lvt_regs[APIC_LVTS] = {
    REG_LVT_TIMER, REG_LVT_LINT0, REG_LVT_LINT1, REG_LVT_ERROR, REG_LVT_PERF, REG_LVT_THERMAL, REG_LVT_CMCI,
};

static volatile uint32_t *reg_at(unsigned reg) { return (volatile uint32_t *)(uintptr_t)(mmio + reg); }

static uint32_t apic_read(unsigned reg)
{
    return x2apic ? (uint32_t)rdmsr(MSR_X2APIC_BASE + reg / 16) : *reg_at(reg);
}

static void apic_write(unsigned reg, uint32_t value)
{
    if (x2apic)
        wrmsr(MSR_X2APIC_BASE + reg / 16, value);
    else
        *reg_at(reg) = value;
}

static unsigned lvt_count(void)
{
    return MIN((apic_read(REG_VERSION) >> 16 & 0xff) + 1, (unsigned)APIC_LVTS);
}

/* The mode is the machine's: world_check refuses processors that differ. */
static void find_mode(void)
{
    uint64_t base = rdmsr(MSR_APIC_BASE);
    uint32_t a, b, c, d;

    x2apic = base & APIC_BASE_X2APIC;
    mmio = base & APIC_BASE_ADDR_MASK;
    cpuid(1, 0, &a, &b, &c, &d);
    deadline_mode = c & BIT(24);
}

bool apic_same_mode(uint64_t apic_base)
{
    return !(apic_base & APIC_BASE_X2APIC) == !x2apic && (apic_base & APIC_BASE_ADDR_MASK) == mmio;
}

uint64_t apic_mmio_base(void)
{
    find_mode();
    return x2apic ? 0 : mmio;
}

uint32_t apic_id(void)
{
    return x2apic ? apic_read(REG_ID) : apic_read(REG_ID) >> 24;
}

void apic_eoi(void)
{
    apic_write(REG_EOI, 0);
}

static bool bit_set(unsigned reg, uint8_t vector)
{
    return apic_read(reg + vector / 32 * 16) >> (vector % 32) & 1;
}

bool apic_in_service(uint8_t vector)
{
    return bit_set(REG_ISR, vector);
}

static void icr_send_xapic(uint32_t destination, uint32_t command)
{
    volatile uint32_t *high = reg_at(REG_ICR_HIGH), *low = reg_at(REG_ICR);

    for (unsigned i = 0; i < IPI_TRIES && (*low & ICR_PENDING); i++) /* the one before */
        cpu_pause();
    *high = destination << 24;
    *low = command;
}

static void icr_send(uint32_t destination, uint32_t command)
{
    if (!x2apic) {
        icr_send_xapic(destination, command);
        return;
    }
    /* This WRMSR does not wait for stores before it (SDM vol. 3A, 11.12.3). */
    __asm__ volatile("mfence\n\tlfence" : : : "memory");
    wrmsr(MSR_X2APIC_BASE + REG_ICR / 16, (uint64_t)destination << 32 | command);
}

void apic_ipi(uint32_t destination, uint8_t vector)
{
    icr_send(destination, ICR_ASSERT | vector);
}

void apic_nmi(uint32_t destination)
{
    icr_send(destination, ICR_ASSERT | ICR_NMI);
}

void apic_nmi_others(void)
{
    icr_send(0, ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_NMI);
}

static void send_start(uint32_t destination, uint32_t command)
{
    if (destination == APIC_OTHERS)
        icr_send(0, ICR_ALL_BUT_SELF | ICR_ASSERT | command);
    else
        icr_send(destination, ICR_ASSERT | command);
}

void apic_init_signal(uint32_t destination)
{
    send_start(destination, ICR_INIT);
}

void apic_startup_signal(uint32_t destination, uint8_t page)
{
    send_start(destination, ICR_STARTUP | page);
}

void apic_init_cpu(void)
{
    unsigned lvts = lvt_count();

    apic_write(REG_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
    for (unsigned i = 0; i < lvts; i++) {
        if (lvt_regs[i] != REG_LVT_LINT1) /* the machine's NMI stays */
            apic_write(lvt_regs[i], apic_read(lvt_regs[i]) | LVT_MASKED);
    }
    apic_write(REG_TPR, 0);
    apic_timer_arm(UINT64_MAX);
    apic_write(REG_TIMER_DIVIDE, DIVIDE_BY_16);
    apic_write(REG_LVT_TIMER, VECTOR_TIMER | (deadline_mode ? LVT_TIMER_DEADLINE : 0));
    /* In xAPIC mode the write above must be seen before the first deadline (SDM vol. 3A, 11.5.4.1). */
    __asm__ volatile("mfence" : : : "memory");
}

static uint32_t one_shot_count(uint64_t tsc)
{
    uint64_t now = rdtsc(), count;

    if (tsc == UINT64_MAX)
        return 0;
    if (tsc <= now)
        return 1;
    if (tsc - now > tsc_khz() * 1000 * 3600) /* keeps the product in range */
        return UINT32_MAX;
    count = muldiv64(tsc - now, timer_khz, tsc_khz()) + 1;
    return (uint32_t)MIN(count, (uint64_t)UINT32_MAX);
}

void apic_timer_arm(uint64_t tsc)
{
    if (deadline_mode)
        wrmsr(MSR_TSC_DEADLINE, tsc == UINT64_MAX ? 0 : MAX(tsc, 1ull));
    else
        apic_write(REG_TIMER_INITIAL, one_shot_count(tsc));
}

void apic_calibrate(void)
{
    uint64_t flags = read_rflags(), begin, ticks = tsc_khz() * 10;
    struct apic_state state;
    uint32_t left;

    find_mode();
    if (deadline_mode)
        return;
    cli();
    apic_save(&state);
    apic_write(REG_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
    apic_write(REG_TIMER_DIVIDE, DIVIDE_BY_16);
    apic_write(REG_TIMER_INITIAL, UINT32_MAX);
    begin = rdtsc();
    while (rdtsc() - begin < ticks)
        cpu_pause();
    left = apic_read(REG_TIMER_CURRENT);
    ticks = rdtsc() - begin;
    timer_khz = MAX(muldiv64(UINT32_MAX - left, tsc_khz(), ticks), 1ull);
    apic_restore(&state);
    if (flags & RFLAGS_IF)
        sti();
}

void apic_save(struct apic_state *s)
{
    unsigned lvts;

    s->enabled = rdmsr(MSR_APIC_BASE) & APIC_BASE_ENABLE;
    if (!s->enabled)
        return;
    lvts = lvt_count();
    s->svr = apic_read(REG_SVR);
    s->tpr = apic_read(REG_TPR);
    for (unsigned i = 0; i < lvts; i++)
        s->lvt[i] = apic_read(lvt_regs[i]);
    s->divide = apic_read(REG_TIMER_DIVIDE);
    s->initial_count = apic_read(REG_TIMER_INITIAL);
    s->current_count = apic_read(REG_TIMER_CURRENT);
    s->tsc_deadline = deadline_mode ? rdmsr(MSR_TSC_DEADLINE) : 0;
}

/* A periodic timer starts its period again, a one-shot goes on where it was, a passed deadline fires at once. */
static void restore_timer(const struct apic_state *s)
{
    uint32_t mode = s->lvt[0] & LVT_TIMER_MODE;

    apic_write(REG_TIMER_INITIAL, 0);
    apic_write(REG_TIMER_DIVIDE, s->divide);
    apic_write(REG_LVT_TIMER, s->lvt[0]);
    __asm__ volatile("mfence" : : : "memory");
    if (mode == LVT_TIMER_DEADLINE)
        wrmsr(MSR_TSC_DEADLINE, s->tsc_deadline);
    else if (s->initial_count)
        apic_write(REG_TIMER_INITIAL, mode ? s->initial_count : s->current_count);
}

void apic_restore(const struct apic_state *s)
{
    unsigned lvts;

    if (!s->enabled)
        return;
    lvts = lvt_count();
    restore_timer(s);
    for (unsigned i = 1; i < lvts; i++)
        apic_write(lvt_regs[i], s->lvt[i]);
    apic_write(REG_TPR, s->tpr);
    apic_write(REG_SVR, s->svr); /* last: where the firmware had it off, this masks every LVT */
}

/* In ISR or IRR: an interrupt of the hypervisor's. */
static bool ours(unsigned reg)
{
    return bit_set(reg, VECTOR_TIMER) || bit_set(reg, VECTOR_KICK) || bit_set(reg, VECTOR_POST);
}

void apic_quiesce(void)
{
    apic_timer_arm(UINT64_MAX);
    apic_write(REG_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
    apic_write(REG_TPR, TPR_OURS_ONLY);
    while (ours(REG_ISR))
        apic_eoi();
    for (unsigned i = 0; i < IPI_TRIES && ours(REG_IRR); i++)
        sti_nop_cli();
}
