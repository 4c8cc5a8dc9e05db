/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/guests/interrupts.h"

/* Interrupt controllers, timers, exceptions and the start of other processors. */

volatile unsigned counts[256];
volatile uint8_t order[16];
volatile unsigned order_length;

static void note(struct trap_frame *frame)
{
    counts[frame->vector]++;
    if (order_length < ARRAY_SIZE(order))
        order[order_length++] = (uint8_t)frame->vector;
}

static void note_and_end(struct trap_frame *frame)
{
    note(frame);
    apic_write(APIC_EOI, 0);
}

void count_on(uint8_t vector)
{
    counts[vector] = 0;
    order_length = 0;
    set_handler(vector, note_and_end);
}

void open_window(void)
{
    __asm__ volatile("sti\n\tnop\n\tnop\n\tcli" : : : "memory");
}

/* The bound is a count of turns: the clocks are what is being tested. */
unsigned wait_for(uint8_t vector, unsigned count)
{
    for (unsigned i = 0; i < 2000000 && counts[vector] < count; i++)
        open_window();
    return counts[vector];
}

/* The 8259 pair and the 8254 */

enum { PIC_TIMER = 0x20, PIC_SPURIOUS = 0x27, PIC1 = 0x20, PIC1_DATA = 0x21 };

static void on_pic_timer(struct trap_frame *frame)
{
    note(frame);
    pic_eoi(0);
}

static void check_pic(void)
{
    pic_init();
    set_handler(PIC_TIMER, on_pic_timer);
    pic_mask(0xfffe);
    pit_start(0, 3000);
    check("8254 mode 0 interrupts once through the 8259", wait_for(PIC_TIMER, 2), 1);
    counts[PIC_TIMER] = 0;
    pit_start(2, 3000);
    check("8254 mode 2 interrupts again and again", wait_for(PIC_TIMER, 5), 5);
    pic_mask(0xffff);
    open_window();
    counts[PIC_TIMER] = 0;
    for (unsigned i = 0; i < 1000; i++)
        open_window();
    check("a masked line does not interrupt", counts[PIC_TIMER], 0);
    check("the 8259 keeps its mask", inb(PIC1_DATA), 0xff);
    pic_mask(0xfffe);
    check_true("an unmasked one does", wait_for(PIC_TIMER, 1) >= 1); /* the next may come while the first is handled */
    pic_mask(0xffff);
}

static void check_pit(void)
{
    uint16_t first, second;

    pit_start(2, 0);
    first = pit_count();
    for (unsigned i = 0; i < 1000; i++)
        inb(PIC1);
    second = pit_count();
    check_true("the 8254 counts down", first != second);
    outb(0x61, (uint8_t)((inb(0x61) & ~2) | 1));   /* channel 2: gate on, speaker off */
    outb(0x43, 0xb0);
    outb(0x42, 0xff);
    outb(0x42, 0x0f);
    check("the output of 8254 channel 2 is low at first", inb(0x61) >> 5 & 1, 0);
    for (unsigned i = 0; i < 1000000 && !(inb(0x61) & 0x20); i++)
        cpu_pause();
    check("and goes high at its end", inb(0x61) >> 5 & 1, 1);
}

/* The I/O APIC */

enum { TIMER_PIN = 2, IOAPIC_TIMER = 0x41, IOAPIC_VERSION = 1, IOAPIC_ENTRY = 0x10 };

static void check_ioapic(void)
{
    if (!acpi_ioapic()) {
        skip("the I/O APIC", "the MADT has none");
        return;
    }
    check_true("the I/O APIC has 24 pins", (ioapic_read(IOAPIC_VERSION) >> 16 & 0xff) + 1 == 24);
    count_on(IOAPIC_TIMER);
    pit_start(0, 1);                               /* no more ticks of before: an edge at a masked pin is lost */
    for (unsigned i = 0; i < 1000; i++)
        pit_count();
    ioapic_route(TIMER_PIN, IOAPIC_TIMER, apic_id(), 0);
    check("an entry reads back", ioapic_read(IOAPIC_ENTRY + 2 * TIMER_PIN) & 0x1ffff, IOAPIC_TIMER);
    pit_start(0, 0xffff);                          /* ends the counting of before, which may have interrupted */
    open_window();
    counts[IOAPIC_TIMER] = 0;
    pit_start(0, 3000);
    check("8254 interrupts once through the I/O APIC", wait_for(IOAPIC_TIMER, 2), 1);
    pit_start(2, 3000);
    check_true("8254 interrupts often through the I/O APIC", wait_for(IOAPIC_TIMER, 5) >= 5);
    ioapic_route(TIMER_PIN, IOAPIC_TIMER, apic_id(), APIC_MASKED);
    open_window();
    counts[IOAPIC_TIMER] = 0;
    for (unsigned i = 0; i < 1000; i++)
        open_window();
    check("a masked pin does not interrupt", counts[IOAPIC_TIMER], 0);
    pit_start(0, 1000);
}

/* Performance monitoring: only what CPUID announces may be used, and a kernel may look at it early. */

static void check_leaf_0a(void)
{
    uint32_t a, b, c, d;

    cpuid(0, 0, &a, &b, &c, &d);
    if (a < 0xa) {
        skip("CPUID leaf 0AH", "not here");
        return;
    }
    cpuid(0xa, 0, &a, &b, &c, &d);
    print("CPUID leaf 0AH: version %u, %u counters\n", a & 0xff, a >> 8 & 0xff);
    check_true("CPUID leaf 0AH is plausible", (a & 0xff) <= 5 && ((a & 0xff) || !(a >> 8 & 0xff)));
}

/* The other processors */

static volatile unsigned started;

static void on_other_cpu(unsigned number)
{
    (void)number;
    __atomic_add_fetch(&started, 1, __ATOMIC_SEQ_CST);
}

static void check_other_cpus(void)
{
    unsigned others = start_cpus(on_other_cpu);

    print("the MADT has %u CPUs\n", others + 1);
    for (unsigned i = 0; i < 2000000 && started < others; i++)
        cpu_pause();
    check("every other CPU starts by INIT and SIPI", started, others);
    if (!on_hypervisor() || on_tcg()) {
        skip("all at once", "a bare processor may need the pauses");
        return;
    }
    started = 0;
    start_cpus_at_once(on_other_cpu);
    for (unsigned i = 0; i < 2000000 && started < others; i++)
        cpu_pause();
    check("again, all at once", started, others);
}

void guest_main(const char *arguments)
{
    (void)arguments;
    apic_set_mode(APIC_XAPIC);
    apic_write(APIC_LVT_LINT0, 0x700);             /* ExtINT: where the 8259 arrives */
    check_pic();
    check_pit();
    check_lapic_access();
    check_ioapic();
    check_lines();
    check_lapic_timer();
    check_ipis();
    check_exceptions();
    check_rtc();
    check_leaf_0a();
    check_other_cpus();
    check_lapic_modes();
}
