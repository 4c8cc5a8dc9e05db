/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/string.h"
#include "tests/guests/rt/rt.h"

/* Local APIC (SDM vol. 3, chapter 10), 82093AA I/O APIC, 8259A pair, 8254. */
enum { PIC1 = 0x20, PIC2 = 0xa0, PIT_CHANNEL0 = 0x40, PIT_COMMAND = 0x43, PIC_VECTORS = 0x20, CASCADE_LINE = 2,
       SPURIOUS_VECTOR = 0xff, AP_VECTOR = 8, IOAPIC_SELECT = 0, IOAPIC_WINDOW = 0x10, IOAPIC_REDIRECTION = 0x10 };
#define LAPIC_BASE 0xfee00000ull

extern const char ap_trampoline[], ap_trampoline_end[];
extern volatile uint32_t ap_count;
void rt_ap_main(unsigned number);

static enum apic_mode mode = APIC_XAPIC; /* as after reset */
static void (*volatile ap_function)(unsigned number);

bool has_x2apic(void)
{
    uint32_t a, b, c, d;

    cpuid(1, 0, &a, &b, &c, &d);
    return c & BIT(21);
}

uint32_t apic_read(unsigned offset)
{
    if (mode == APIC_X2APIC)
        return (uint32_t)rdmsr(MSR_X2APIC_BASE + offset / 16);
    return *(volatile uint32_t *)(LAPIC_BASE + offset);
}

void apic_write(unsigned offset, uint32_t value)
{
    if (mode == APIC_X2APIC)
        wrmsr(MSR_X2APIC_BASE + offset / 16, value);
    else
        *(volatile uint32_t *)(LAPIC_BASE + offset) = value;
}

/* x2APIC is entered from xAPIC and left through "off" only (SDM vol. 3, 10.12.5). */
void apic_set_mode(enum apic_mode to)
{
    uint64_t base = rdmsr(MSR_APIC_BASE) & ~(uint64_t)(APIC_BASE_ENABLE | APIC_BASE_X2APIC);

    if (to == APIC_OFF || (to == APIC_XAPIC && mode == APIC_X2APIC))
        wrmsr(MSR_APIC_BASE, base);
    if (to != APIC_OFF)
        wrmsr(MSR_APIC_BASE, base | APIC_BASE_ENABLE);
    if (to == APIC_X2APIC)
        wrmsr(MSR_APIC_BASE, base | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
    mode = to;
    if (to != APIC_OFF)
        apic_write(APIC_SPURIOUS, APIC_SOFT_ENABLE | SPURIOUS_VECTOR);
}

void apic_send(uint32_t id, uint32_t command)
{
    if (mode == APIC_X2APIC) {
        wrmsr(MSR_X2APIC_BASE + APIC_ICR / 16, (uint64_t)id << 32 | command);
        return;
    }
    apic_write(APIC_ICR_HIGH, id << 24);
    apic_write(APIC_ICR, command);
    while (apic_read(APIC_ICR) & ICR_PENDING)
        cpu_pause();
}

uint32_t apic_id(void)
{
    uint32_t id = apic_read(APIC_ID);

    return mode == APIC_X2APIC ? id : id >> 24;
}

static volatile uint32_t *ioapic_register(unsigned offset)
{
    return (volatile uint32_t *)(acpi_ioapic() + offset);
}

uint32_t ioapic_read(unsigned index)
{
    *ioapic_register(IOAPIC_SELECT) = index;
    return *ioapic_register(IOAPIC_WINDOW);
}

void ioapic_write(unsigned index, uint32_t value)
{
    *ioapic_register(IOAPIC_SELECT) = index;
    *ioapic_register(IOAPIC_WINDOW) = value;
}

void ioapic_route(unsigned pin, uint8_t vector, uint32_t id, uint32_t flags)
{
    ioapic_write(IOAPIC_REDIRECTION + 2 * pin, APIC_MASKED);
    ioapic_write(IOAPIC_REDIRECTION + 2 * pin + 1, id << 24);
    ioapic_write(IOAPIC_REDIRECTION + 2 * pin, flags | vector);
}

void pic_init(void)
{
    outb(PIC1, 0x11);                     /* ICW1: edge triggered, cascaded, ICW4 follows */
    outb(PIC1 + 1, PIC_VECTORS);          /* ICW2 */
    outb(PIC1 + 1, 1 << CASCADE_LINE);    /* ICW3 */
    outb(PIC1 + 1, 1);                    /* ICW4: 8086 mode, normal EOI */
    outb(PIC2, 0x11);
    outb(PIC2 + 1, PIC_VECTORS + 8);
    outb(PIC2 + 1, CASCADE_LINE);
    outb(PIC2 + 1, 1);
    pic_mask(0xffff);
}

void pic_mask(uint16_t mask)
{
    outb(PIC1 + 1, (uint8_t)mask);
    outb(PIC2 + 1, (uint8_t)(mask >> 8));
}

/* Specific EOI, to the second chip too where the line is its. */
void pic_eoi(unsigned line)
{
    if (line >= 8) {
        outb(PIC2, (uint8_t)(0x60 | (line & 7)));
        line = CASCADE_LINE;
    }
    outb(PIC1, (uint8_t)(0x60 | line));
}

void pit_start(unsigned pit_mode, uint16_t count)
{
    outb(PIT_COMMAND, (uint8_t)(0x30 | pit_mode << 1)); /* channel 0, low byte then high byte */
    outb(PIT_CHANNEL0, (uint8_t)count);
    outb(PIT_CHANNEL0, (uint8_t)(count >> 8));
}

uint16_t pit_count(void)
{
    uint8_t low;

    outb(PIT_COMMAND, 0);                 /* latch channel 0 */
    low = inb(PIT_CHANNEL0);
    return (uint16_t)(low | inb(PIT_CHANNEL0) << 8);
}

void rt_ap_main(unsigned number)
{
    cpu_init_ap(number);
    ap_function(number);
}

/* At least this many microseconds, by the 8254. */
static void delay(unsigned us)
{
    uint64_t left = us * 1193182ull / 1000000 + 1;
    uint16_t last, now;

    pit_start(2, 0);
    for (last = pit_count(); left; last = now) {
        uint16_t passed;

        now = pit_count();
        passed = (uint16_t)(last - now);
        left -= MIN(left, passed);
    }
}

static void prepare_start(void (*fn)(unsigned number))
{
    ap_function = fn;
    memcpy((void *)(uint64_t)(AP_VECTOR << 12), ap_trampoline, (size_t)(ap_trampoline_end - ap_trampoline));
}

unsigned start_cpus(void (*fn)(unsigned number))
{
    uint32_t ids[64];
    unsigned n = acpi_cpus(ids, ARRAY_SIZE(ids));

    prepare_start(fn);
    for (unsigned i = 0; i < n; i++) {
        if (ids[i] == apic_id())
            continue;
        apic_send(ids[i], ICR_INIT | ICR_ASSERT);
        delay(10000);
        apic_send(ids[i], ICR_SIPI | ICR_ASSERT | AP_VECTOR);
        delay(200);
        apic_send(ids[i], ICR_SIPI | ICR_ASSERT | AP_VECTOR);
        delay(200);
    }
    return n ? n - 1 : 0;
}

unsigned start_cpus_at_once(void (*fn)(unsigned number))
{
    uint32_t ids[64];
    unsigned n = acpi_cpus(ids, ARRAY_SIZE(ids));

    prepare_start(fn);
    apic_write(APIC_ICR, ICR_OTHERS | ICR_INIT | ICR_ASSERT);
    apic_write(APIC_ICR, ICR_OTHERS | ICR_SIPI | AP_VECTOR);
    return n ? n - 1 : 0;
}
