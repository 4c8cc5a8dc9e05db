/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/guests/interrupts.h"

/* Exceptions during exceptions, and the clock of the PC. */

/* Exceptions */

static void probe_divide(void *unused)
{
    uint32_t a = 1, d = 0;

    (void)unused;
    __asm__ volatile("divl %2" : "+a"(a), "+d"(d) : "r"(0) : "cc");
}

/* SDM vol. 3, table 6-5: a contributory exception while another is delivered is a double fault, not a triple. */
static void check_double_fault(void)
{
    struct descriptor_ptr idt;
    uint8_t *gate, saved;
    struct fault fault;

    sidt(&idt);
    gate = (uint8_t *)idt.base + VEC_DE * 16;
    saved = gate[5];
    gate[5] &= 0x7f;                               /* not present: delivering #DE gives #NP, together #DF */
    fault = run_at(0, probe_divide, NULL);
    gate[5] = saved;
    check("a divide error without its gate is a double fault", (uint64_t)fault.vector, VEC_DF);
    check("whose error code is 0", fault.error, 0);
    check_fault("exceptions go on after it", 0, probe_divide, NULL, VEC_DE);
}

static volatile unsigned depth;
extern void load_nothing(void);
extern const char load_nothing_end[];

/* From behind the test page, where nothing is mapped. */
__asm__(".text\nload_nothing:\n\tmovabsb 0x8000001000, %al\nload_nothing_end:\n\tret\n");

/* Faults again in its own handler until it is five deep; each returns behind the load. */
static void on_page_fault(struct trap_frame *frame)
{
    if (++depth < 5)
        load_nothing();
    frame->rip = (uint64_t)load_nothing_end;
}

static void check_nested_faults(void)
{
    map_test_page(0, 0);
    set_handler(VEC_PF, on_page_fault);
    load_nothing();
    set_handler(VEC_PF, NULL);
    check("page faults nest", depth, 5);
}

static void probe_stack(void *unused)
{
    (void)unused;
    __asm__ volatile("movq %%rsp, %%rax\n\tmovabs $0x8000000000000000, %%rsp\n\tpushq $0\n\tmovq %%rax, %%rsp"
                     : : : "rax", "memory");
}

void check_exceptions(void)
{
    check_double_fault();
    if (on_tcg())
        skip("a non-canonical stack", "QEMU's emulation gives #GP");
    else
        check_fault("a non-canonical stack", 3, probe_stack, NULL, VEC_SS);
    check_nested_faults();
}

/* The MC146818 */

enum { RTC_INDEX = 0x70, RTC_DATA = 0x71, RTC_A = 0x0a, RTC_B = 0x0b, RTC_C = 0x0c, RTC_D = 0x0d, RTC_PIN = 8,
       RTC_VECTOR = 0x91, B_SET = 0x80, B_PERIODIC = 0x40, B_UPDATE = 0x10, C_PERIODIC = 0x40, C_UPDATE = 0x10 };

static volatile uint8_t causes;

static uint8_t rtc_read(uint8_t index)
{
    outb(RTC_INDEX, index);
    return inb(RTC_DATA);
}

static void rtc_write(uint8_t index, uint8_t value)
{
    outb(RTC_INDEX, index);
    outb(RTC_DATA, value);
}

static void on_rtc(struct trap_frame *frame)
{
    causes |= rtc_read(RTC_C);
    counts[frame->vector]++;
    apic_write(APIC_EOI, 0);
}

/* Enables one kind of interrupt and waits for this many of them, a long time. */
static unsigned rtc_wait(uint8_t enable, unsigned count)
{
    causes = 0;
    counts[RTC_VECTOR] = 0;
    rtc_write(RTC_B, (uint8_t)((rtc_read(RTC_B) & ~(B_PERIODIC | B_UPDATE)) | enable));
    rtc_read(RTC_C);
    for (unsigned i = 0; i < 20 && counts[RTC_VECTOR] < count; i++)
        wait_for(RTC_VECTOR, count);
    rtc_write(RTC_B, (uint8_t)(rtc_read(RTC_B) & ~(B_PERIODIC | B_UPDATE)));
    return counts[RTC_VECTOR];
}

void check_rtc(void)
{
    uint8_t month;

    if (!acpi_ioapic()) {
        skip("the clock's interrupts", "the MADT has no I/O APIC");
        return;
    }
    check("the clock's battery is good", rtc_read(RTC_D) & 0x80, 0x80);
    month = rtc_read(8);
    check_true("the month is one", (month & 0xf) <= 9 && month >= 1 && month <= 0x12);
    set_handler(RTC_VECTOR, on_rtc);
    ioapic_route(RTC_PIN, RTC_VECTOR, apic_id(), 0);
    rtc_write(RTC_A, 0x26);                        /* 32768 Hz, 1024 interrupts a second */
    check_true("periodic interrupts of the clock", rtc_wait(B_PERIODIC, 5) >= 5);
    check("register C says periodic", causes & C_PERIODIC, C_PERIODIC);
    check_true("an update interrupt of the clock", rtc_wait(B_UPDATE, 1) >= 1);
    check("register C says update", causes & C_UPDATE, C_UPDATE);
    ioapic_route(RTC_PIN, RTC_VECTOR, apic_id(), APIC_MASKED);
}
