/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/guests/rt/rt.h"

/*
 * What interrupts cost, in TSC ticks, and that time goes one way for all processors. With the argument "apicv" the
 * figures have limits: what must not exit takes a few instructions.
 */
enum { SELF = 0x61, CALL = 0x71, ANSWER = 0x72, TIMER = 0x51 };
enum { TURNS = 1000, SHORT = 40 /* ticks: a handler without an exit */ };

static bool limits;
static volatile uint32_t other_id;
static volatile unsigned ready, answers, ticks_seen;
static volatile bool leave;

static bool text_has(const char *text, const char *word)
{
    for (; *text; text++) {
        size_t n = 0;

        while (word[n] && text[n] == word[n])
            n++;
        if (!word[n])
            return true;
    }
    return false;
}

static void report(const char *what, uint64_t ticks, uint64_t limit)
{
    print("ticks: %s %lu\n", what, ticks);
    if (limits && limit)
        check_true(what, ticks <= limit);
}

static void on_self(struct trap_frame *frame)
{
    (void)frame;
    apic_write(APIC_EOI, 0);
}

static void measure_eoi(const char *name)
{
    uint64_t start = rdtsc();

    for (unsigned i = 0; i < TURNS; i++)
        apic_write(APIC_EOI, 0);
    report(name, (rdtsc() - start) / TURNS, SHORT);
}

static void measure_tpr(const char *name)
{
    uint64_t start = rdtsc();

    for (unsigned i = 0; i < TURNS; i++)
        apic_write(APIC_TPR, 0);
    report(name, (rdtsc() - start) / TURNS, SHORT);
}

static void measure_read(const char *name)
{
    uint64_t start = rdtsc();

    for (unsigned i = 0; i < TURNS; i++)
        (void)apic_read(APIC_ID);
    report(name, (rdtsc() - start) / TURNS, SHORT);
}

/* Sent, delivered, ended. */
static void measure_self(const char *name, bool x2apic)
{
    uint64_t start = rdtsc();

    __asm__ volatile("sti" : : : "memory");
    for (unsigned i = 0; i < TURNS; i++) {
        if (x2apic)
            wrmsr(MSR_X2APIC_BASE + 0x3f, SELF);
        else
            apic_write(APIC_ICR, ICR_SELF | SELF);
    }
    report(name, (rdtsc() - start) / TURNS, 2 * SHORT);
    __asm__ volatile("cli" : : : "memory");
}

/* A deadline far away, again and again. */
static void measure_deadline(void)
{
    uint64_t start;

    apic_write(APIC_LVT_TIMER, APIC_DEADLINE | TIMER);
    start = rdtsc();
    for (unsigned i = 0; i < TURNS; i++)
        wrmsr(MSR_TSC_DEADLINE, start + 1000000000 + i);
    report("TSC deadline", (rdtsc() - start) / TURNS, 0);
    wrmsr(MSR_TSC_DEADLINE, 0);
}

static void measure_mode(bool x2apic)
{
    measure_eoi(x2apic ? "EOI, x2APIC" : "EOI, xAPIC");
    measure_tpr(x2apic ? "TPR, x2APIC" : "TPR, xAPIC");
    measure_read(x2apic ? "identifier read, x2APIC" : "identifier read, xAPIC");
    measure_self(x2apic ? "self-IPI, x2APIC" : "self-IPI, xAPIC", x2apic);
}

/* The other processor */

static uint64_t sent_at;
static volatile uint64_t came_after;
static volatile uint64_t turn_tsc;
static volatile unsigned turn;

static void on_call(struct trap_frame *frame)
{
    (void)frame;
    came_after = rdtsc() - sent_at;
    apic_write(APIC_EOI, 0);
    answers++;
}

static void other(unsigned number)
{
    (void)number;
    apic_set_mode(has_x2apic() ? APIC_X2APIC : APIC_XAPIC);
    other_id = apic_id();
    ready = 1;
    __asm__ volatile("sti" : : : "memory");
    while (!leave) {
        if (turn & 1) {
            uint64_t now = rdtsc();

            if (now < turn_tsc)
                ticks_seen++;
            turn_tsc = now;
            turn++;
        }
    }
    __asm__ volatile("cli" : : : "memory");
}

/* From the guest's own way into its handler: what an interrupt by an instruction takes until the handler has the time. */
static uint64_t own_way(void)
{
    uint64_t best = UINT64_MAX;

    for (unsigned i = 0; i < TURNS; i++) {
        sent_at = rdtsc();
        __asm__ volatile("int %0" : : "i"(CALL) : "memory");
        if (came_after < best)
            best = came_after;
    }
    return best;
}

static void measure_ipi(void)
{
    uint64_t own = own_way(), sum = 0, best = UINT64_MAX;
    unsigned came = 0;

    for (unsigned i = 0; i < TURNS; i++) {
        unsigned before = answers;

        sent_at = rdtsc();
        apic_send(other_id, CALL);
        for (unsigned n = 0; n < 1000000 && answers == before; n++)
            cpu_pause();
        came += answers != before;
        sum += came_after;
        if (came_after < best)
            best = came_after;
    }
    check("every IPI to a running processor comes", came, TURNS);
    print("ticks: IPI to a running processor, best %lu\n", best - own);
    report("IPI to a running processor", sum / TURNS - own, 0);
    print("ticks: and its own way into the handler %lu\n", own);
}

/* Two processors take turns with the clock: neither may see it before the other's last look. */
static void check_monotonic(void)
{
    unsigned bad = 0, turns = 0;

    turn_tsc = rdtsc();
    for (unsigned i = 0; i < TURNS; i++) {
        uint64_t now;

        turn++;
        for (unsigned n = 0; n < 10000000 && (turn & 1); n++)
            cpu_pause();
        now = rdtsc();
        bad += now < turn_tsc;
        turn_tsc = now;
        turns += !(turn & 1);
    }
    check("both processors took their turns", turns, TURNS);
    check("time never went backwards between them", bad + ticks_seen, 0);
}

/* Ticks that were due while interrupts were off come once, not one by one. */
static void on_timer(struct trap_frame *frame)
{
    (void)frame;
    ticks_seen++;
    apic_write(APIC_EOI, 0);
}

static void check_no_burst(void)
{
    uint64_t start;

    ticks_seen = 0;
    set_handler(TIMER, on_timer);
    apic_write(APIC_TIMER_DIVIDE, 0xb);
    apic_write(APIC_LVT_TIMER, APIC_PERIODIC | TIMER);
    apic_write(APIC_TIMER_INITIAL, 1000000);
    start = rdtsc();
    while (rdtsc() - start < 20000000)
        cpu_pause();
    apic_write(APIC_LVT_TIMER, APIC_MASKED | TIMER);
    __asm__ volatile("sti\n\tnop\n\tnop\n\tcli" : : : "memory");
    for (unsigned i = 0; i < 100; i++)
        __asm__ volatile("sti\n\tnop\n\tnop\n\tcli" : : : "memory");
    check("twenty ticks that nobody took come as one", ticks_seen, 1);
    apic_write(APIC_TIMER_INITIAL, 0);
}

void guest_main(const char *arguments)
{
    limits = text_has(arguments, "apicv");
    set_handler(SELF, on_self);
    set_handler(CALL, on_call);
    apic_set_mode(APIC_XAPIC);
    measure_mode(false);
    check_no_burst();
    if (has_x2apic()) {
        apic_set_mode(APIC_X2APIC);
        measure_mode(true);
    }
    measure_deadline();
    if (start_cpus(other)) {
        for (unsigned i = 0; i < 10000000 && !ready; i++)
            cpu_pause();
        check("the other processor is there", ready, 1);
        ticks_seen = 0;
        measure_ipi();
        check_monotonic();
        leave = true;
    }
}
