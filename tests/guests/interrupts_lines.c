/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/guests/interrupts.h"

/* What the 8259, the 8254 and the I/O APIC show of themselves, and how lines turn into interrupts. */

enum { PIC1 = 0x20, PIC1_DATA = 0x21, PIC2 = 0xa0, PIC2_DATA = 0xa1, READ_IRR = 0x0a, READ_ISR = 0x0b, POLL = 0x0c,
       SPECIFIC_EOI = 0x60, IRQ0 = 0x20 };
enum { UART_IER = 0x3f9, UART_IIR = 0x3fa, UART_MCR = 0x3fc, IER_THRE = 2, MCR_OUT2 = 8, UART_PIN = 4 };
enum { LEVEL = 1 << 15, REMOTE_IRR = 1 << 14, ENTRY = 0x10, SERIAL = 0x91 };
enum { PIT_CHANNEL2 = 0x42, PIT_COMMAND = 0x43, PORT61 = 0x61 };

static uint8_t pic_reads(uint8_t what)
{
    outb(PIC1, what);
    return inb(PIC1);
}

static void wait_for_irr(uint8_t bit)
{
    for (unsigned i = 0; i < 100000 && !(pic_reads(READ_IRR) & bit); i++)
        cpu_pause();
}

static volatile uint8_t isr_seen, irr_seen;

static void on_irq0(struct trap_frame *frame)
{
    counts[frame->vector]++;
    isr_seen = pic_reads(READ_ISR);
    irr_seen = pic_reads(READ_IRR);
    outb(PIC1, SPECIFIC_EOI | 0);
}

static void check_pic_registers(void)
{
    pic_init();
    pit_start(0, 100);
    wait_for_irr(1);
    check("the 8259 remembers a masked request", pic_reads(READ_IRR) & 1, 1);
    check("which is not in service", pic_reads(READ_ISR), 0);
    set_handler(IRQ0, on_irq0);
    counts[IRQ0] = 0;
    pic_mask(0xfffe);
    check("unmasked, it comes", wait_for(IRQ0, 1), 1);
    check("and is in service in its handler", isr_seen & 1, 1);
    check("no longer requested", irr_seen & 1, 0);
    check("a specific EOI ends it", pic_reads(READ_ISR), 0);
    pit_start(0, 100);
    wait_for_irr(1);
    outb(PIC1, POLL);
    check("a poll takes the request", inb(PIC1) & 0x87, 0x80);
    check("as an acknowledge does", pic_reads(READ_ISR) & 1, 1);
    outb(PIC1, SPECIFIC_EOI | 0);
    pic_mask(0xffff);
    set_handler(IRQ0, NULL);
}

/* Channel 2, which interrupts nobody. */
static void check_pit_registers(void)
{
    uint8_t status, low, high;

    outb(PORT61, (uint8_t)((inb(PORT61) & ~2) | 1));
    outb(PIT_COMMAND, 0xb0);                        /* mode 0, both bytes */
    outb(PIT_COMMAND, 0xe8);                        /* read back: status of channel 2 */
    status = inb(PIT_CHANNEL2);
    if (on_tcg())
        skip("8254: the status after a control word", "QEMU's emulation waits for the count");
    else
        check("8254: output low, null count, both bytes, mode 0", status, 0x70);
    outb(PIT_CHANNEL2, 0xff);
    outb(PIT_CHANNEL2, 0xff);
    for (unsigned i = 0; i < 100; i++)
        inb(PORT61);
    outb(PIT_COMMAND, 0xe8);
    check("8254: the count is loaded", inb(PIT_CHANNEL2), 0x30);
    outb(PIT_COMMAND, 0x80);                        /* latch */
    low = inb(PIT_CHANNEL2);
    for (unsigned i = 0; i < 1000; i++)
        inb(PORT61);
    high = inb(PIT_CHANNEL2);
    outb(PIT_COMMAND, 0xc8);                        /* read back: status and count */
    status = inb(PIT_CHANNEL2);
    check("8254: status comes before the count", status, 0x30);
    check_true("8254: a latched count stands still", (unsigned)(low | high << 8) >
               (inb(PIT_CHANNEL2) | (unsigned)inb(PIT_CHANNEL2) << 8));
    if (on_tcg()) {
        skip("8254: a closed gate stops the count", "not in QEMU's emulation");
        return;
    }
    outb(PORT61, (uint8_t)(inb(PORT61) & ~1));
    outb(PIT_COMMAND, 0x80);
    low = inb(PIT_CHANNEL2);
    high = inb(PIT_CHANNEL2);
    for (unsigned i = 0; i < 1000; i++)
        inb(PORT61);
    outb(PIT_COMMAND, 0x80);
    check("8254: a closed gate stops the count", inb(PIT_CHANNEL2) | inb(PIT_CHANNEL2) << 8, low | high << 8);
}

static volatile uint32_t entry_seen;

/* The first time the line is left as it is. */
static void on_serial(struct trap_frame *frame)
{
    counts[frame->vector]++;
    entry_seen = ioapic_read(ENTRY + 2 * UART_PIN);
    if (counts[frame->vector] == 2)
        outb(UART_IER, 0);
    apic_write(APIC_EOI, 0);
}

/* The UART's line is high while its transmitter is empty and that interrupt is enabled. */
static void check_level(void)
{
    if (!acpi_ioapic())
        return;
    set_handler(SERIAL, on_serial);
    counts[SERIAL] = 0;
    outb(UART_MCR, inb(UART_MCR) | MCR_OUT2);
    ioapic_route(UART_PIN, SERIAL, apic_id(), LEVEL);
    check("a level entry reads back", ioapic_read(ENTRY + 2 * UART_PIN), LEVEL | SERIAL);
    outb(UART_IER, IER_THRE);
    check("a level that stands comes again after its EOI", wait_for(SERIAL, 2), 2);
    check("remote IRR is set in between", entry_seen & REMOTE_IRR, REMOTE_IRR);
    open_window();
    check("a level that fell does not", counts[SERIAL], 2);
    check("remote IRR is clear after the EOI", ioapic_read(ENTRY + 2 * UART_PIN) & REMOTE_IRR, 0);
    ioapic_route(UART_PIN, SERIAL, apic_id(), LEVEL | APIC_MASKED);
    outb(UART_IER, IER_THRE);
    open_window();
    check("a masked level waits", counts[SERIAL], 2);
    counts[SERIAL] = 1;
    ioapic_route(UART_PIN, SERIAL, apic_id(), LEVEL);
    check("and comes when it is unmasked", wait_for(SERIAL, 2), 2);
    ioapic_route(UART_PIN, SERIAL, apic_id(), APIC_MASKED);
    set_handler(SERIAL, NULL);
}

void check_lines(void)
{
    check_pic_registers();
    check_pit_registers();
    check_level();
}
