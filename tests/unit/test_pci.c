/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/pci.h"
#include "lib/errno.h"
#include "tests/unit/seam/fake_cpu.h"
#include "tests/unit/seam/arch/x86/cpu.h"

/* A machine with some functions: 256 bytes each, of which the command register and the BARs can be written. */
struct function {
    uint16_t bdf;
    uint8_t byte[256];
    uint32_t bar_mask[6];                      /* address bits that can be set */
};

static struct function functions[6];
static unsigned count;
static uint32_t address;
static bool interrupts_on_seen, decoded_while_sized;

static struct function *selected(void)
{
    for (unsigned i = 0; i < count; i++)
        if (address >> 31 && functions[i].bdf == (address >> 8 & 0xffff))
            return &functions[i];
    return NULL;
}

static uint32_t get32(const struct function *f, unsigned at)
{
    uint32_t v;

    memcpy(&v, f->byte + at, 4);
    return v;
}

static void put(struct function *f, unsigned at, uint32_t value, unsigned size)
{
    memcpy(f->byte + at, &value, size);
}

static uint32_t port_in(uint16_t port, unsigned size)
{
    struct function *f = selected();

    interrupts_on_seen |= (fake_cpu.rflags & RFLAGS_IF) != 0;
    assert_in_range(port, 0xcfc, 0xcff);
    assert_int_equal(size, 4);
    return f ? get32(f, address & 0xfc) : UINT32_MAX;
}

static void write_bar(struct function *f, unsigned i, uint32_t value)
{
    uint32_t old = get32(f, PCI_BAR(i));

    if (value == UINT32_MAX && (f->byte[PCI_COMMAND] & (PCI_COMMAND_IO | PCI_COMMAND_MEMORY)))
        decoded_while_sized = true;
    put(f, PCI_BAR(i), (value & f->bar_mask[i]) | (old & ~f->bar_mask[i]), 4);
}

static void port_out(uint16_t port, uint32_t value, unsigned size)
{
    struct function *f;
    unsigned at;

    if (port == 0xcf8) {
        assert_int_equal(size, 4);
        address = value;
        return;
    }
    f = selected();
    at = (address & 0xfc) + port - 0xcfc;
    if (!f)
        return;
    if (at >= PCI_BAR(0) && at < PCI_BAR(6)) {
        assert_int_equal(size, 4);
        write_bar(f, (at - PCI_BAR(0)) / 4, value);
        return;
    }
    assert_int_equal(at, PCI_COMMAND);
    assert_int_equal(size, 2);                 /* the status register, next to it, clears what is written as 1 */
    put(f, at, value, 2);
}

static struct function *add(unsigned bus, unsigned dev, unsigned fn, uint16_t vendor, uint16_t device, uint32_t class)
{
    struct function *f = &functions[count++];

    memset(f, 0, sizeof(*f));
    f->bdf = (uint16_t)(bus << 8 | dev << 3 | fn);
    put(f, PCI_VENDOR, vendor, 2);
    put(f, PCI_DEVICE, device, 2);
    put(f, PCI_CLASS, class << 8 | 0x03, 4);
    put(f, PCI_IRQ_LINE, 0x0000010b, 4);
    put(f, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 2);
    return f;
}

static int setup(void **state)
{
    fake_cpu_reset();
    fake_cpu.in = port_in;
    fake_cpu.out = port_out;
    count = 0;
    interrupts_on_seen = decoded_while_sized = false;
    add(0, 0, 0, 0x8086, 0x1237, 0x060000);
    add(0, 3, 0, 0x8086, 0x100e, 0x020000);
    add(0, 4, 0, 0x1234, 0x0001, 0x010601)->byte[PCI_HEADER] = 0x80;
    add(0, 4, 5, 0x8086, 0x10d3, 0x020000);
    add(0x7f, 31, 0, 0x8086, 0x100e, 0x020000);
    return 0;
}

static bool note(const struct pci_function *f, void *arg)
{
    uint16_t **next = arg;

    *(*next)++ = f->at.bdf;
    return false;
}

static void test_each(void **state)
{
    static const uint16_t all[] = { 0x0000, 0x0018, 0x0020, 0x0025, 0x7ff8 };
    uint16_t seen[8], *next = seen;

    assert_false(pci_each(note, &next));
    assert_int_equal(next - seen, ARRAY_SIZE(all));
    assert_memory_equal(seen, all, sizeof(all));
    functions[2].byte[PCI_HEADER] = 0;         /* then the device has no other functions, whatever answers there */
    next = seen;
    pci_each(note, &next);
    assert_int_equal(next - seen, ARRAY_SIZE(all) - 1);
}

static void test_find(void **state)
{
    static const struct pci_id ids[] = { { 0x8086, 0x10d3 }, { 0x8086, 0x100e } };
    static const struct pci_id any = { 0x1234, PCI_ANY };
    struct pci_function f;

    assert_int_equal(pci_find_id(ids, 2, 0, &f), 0);
    assert_int_equal(f.at.bdf, 0x0018);
    assert_int_equal(f.class, 0x020000);
    assert_int_equal(f.irq_line, 11);
    assert_int_equal(f.irq_pin, 1);
    assert_int_equal(pci_find_id(ids, 2, 2, &f), 0);
    assert_int_equal(f.at.bdf, 0x7ff8);
    assert_int_equal(pci_find_id(ids, 2, 3, &f), -ENODEV);
    assert_int_equal(pci_find_id(&any, 1, 0, &f), 0);
    assert_int_equal(f.device, 1);
    assert_int_equal(pci_find_class(0x010600, 0xffff00, 0, &f), 0);
    assert_int_equal(f.at.bdf, 0x0020);
    assert_int_equal(pci_find_class(0x010600, 0xffffff, 0, &f), -ENODEV);
    assert_int_equal(pci_find_class(0x020000, 0xff0000, 1, &f), 0);
    assert_int_equal(f.at.bdf, 0x0025);
}

static void set_bar(struct function *f, unsigned i, uint32_t value, uint32_t mask)
{
    put(f, PCI_BAR(i), value, 4);
    f->bar_mask[i] = mask;
}

static void test_bars(void **state)
{
    struct function *f = &functions[1];
    struct pci_function at;
    struct pci_bar bar;

    set_bar(f, 0, 0xfebc0000, 0xfffe0000);
    set_bar(f, 1, 0xc041, 0xffc0);
    set_bar(f, 2, 0xf000000c, 0xfff00000);     /* 64 bits, prefetchable */
    set_bar(f, 3, 0x00000010, 0xffffffff);
    assert_int_equal(pci_probe(PCI_ADDRESS(0, 3, 0), &at), 0);
    assert_int_equal(pci_bar(&at, 0, &bar), 0);
    assert_true(bar.base == 0xfebc0000 && bar.size == 0x20000 && !bar.io);
    assert_int_equal(pci_bar(&at, 1, &bar), 0);
    assert_true(bar.base == 0xc040 && bar.size == 0x40 && bar.io);
    assert_int_equal(pci_bar(&at, 2, &bar), 0);
    assert_true(bar.base == 0x10f0000000 && bar.size == 0x100000 && !bar.io);
    assert_int_equal(pci_bar(&at, 3, &bar), -ENXIO); /* the upper half */
    assert_int_equal(pci_bar(&at, 4, &bar), -ENXIO);
    assert_int_equal(pci_bar(&at, 6, &bar), -ENXIO);
    assert_false(decoded_while_sized);
    assert_int_equal(get32(f, PCI_BAR(0)), 0xfebc0000);
    assert_int_equal(get32(f, PCI_BAR(3)), 0x10);
    assert_int_equal(f->byte[PCI_COMMAND], PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
    f->byte[PCI_HEADER] = 1;                   /* a bridge has other registers there */
    assert_int_equal(pci_bar(&at, 0, &bar), -ENXIO);
}

static void test_enable(void **state)
{
    struct function *f = &functions[1];
    struct pci_function at;

    put(f, PCI_COMMAND, PCI_COMMAND_IO, 2);
    assert_int_equal(pci_probe(PCI_ADDRESS(0, 3, 0), &at), 0);
    pci_enable(&at, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    assert_int_equal(pci_read16(at.at, PCI_COMMAND),
                     PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_NO_INTX);
    pci_restore(&at);
    assert_int_equal(pci_read16(at.at, PCI_COMMAND), PCI_COMMAND_IO);
}

/* A list that goes in a circle has an end all the same. */
static void test_capabilities(void **state)
{
    struct function *f = &functions[1];

    assert_int_equal(pci_capability(PCI_ADDRESS(0, 3, 0), 5), 0);
    put(f, PCI_STATUS, 0x10, 2);
    put(f, PCI_CAPABILITIES, 0xdc, 1);
    put(f, 0xdc, 0xe401, 2);
    put(f, 0xe4, 0xdc05, 2);
    assert_int_equal(pci_capability(PCI_ADDRESS(0, 3, 0), 5), 0xe4);
    assert_int_equal(pci_capability(PCI_ADDRESS(0, 3, 0), 7), 0);
}

/* In the firmware's world its timer may come in between and use the same ports. */
static void test_interrupts_are_off(void **state)
{
    fake_cpu.rflags |= RFLAGS_IF;
    (void)pci_read32(PCI_ADDRESS(0, 3, 0), 0);
    assert_false(interrupts_on_seen);
    assert_true(fake_cpu.rflags & RFLAGS_IF);
    fake_cpu.rflags &= ~RFLAGS_IF;
    (void)pci_read32(PCI_ADDRESS(0, 3, 0), 0);
    assert_false(fake_cpu.rflags & RFLAGS_IF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_each, setup),
        cmocka_unit_test_setup(test_find, setup),
        cmocka_unit_test_setup(test_bars, setup),
        cmocka_unit_test_setup(test_enable, setup),
        cmocka_unit_test_setup(test_capabilities, setup),
        cmocka_unit_test_setup(test_interrupts_are_off, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
