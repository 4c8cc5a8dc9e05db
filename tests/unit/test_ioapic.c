/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "vdev/ioapic.h"
#include "vdev_fake.h"

static struct ioapic io;
static struct apic_message last;
static unsigned messages, takers;

static unsigned deliver(void *ctx, const struct apic_message *m)
{
    assert_ptr_equal(ctx, &io);
    last = *m;
    messages++;
    return takers;
}

static int setup(void **state)
{
    (void)state;
    ioapic_init(&io, 5, deliver, &io);
    messages = 0;
    takers = 1;
    return 0;
}

static uint32_t get(unsigned index)
{
    ioapic_write(&io, 0xfec00000, 4, index);
    return (uint32_t)ioapic_read(&io, 0xfec00010, 4);
}

static void put(unsigned index, uint32_t value)
{
    ioapic_write(&io, 0xfec00000, 4, index);
    ioapic_write(&io, 0xfec00010, 4, value);
}

static void program(unsigned pin, uint32_t high, uint32_t low)
{
    put(0x11 + 2 * pin, high);
    put(0x10 + 2 * pin, low);
}

static void pulse(unsigned pin)
{
    ioapic_set_pin(&io, pin, true);
    ioapic_set_pin(&io, pin, false);
}

static void test_identity(void **state)
{
    (void)state;
    assert_int_equal(get(0), 5u << 24);
    put(0, 0x07ffffff);
    assert_int_equal(get(0), 7u << 24);
    assert_int_equal(get(2), 7u << 24);
    assert_int_equal(get(1), 0x00170020);
    put(1, 0);
    assert_int_equal(get(1), 0x00170020);
    assert_int_equal(get(0x0f), 0);
    assert_int_equal(get(0x40), 0);
    assert_int_equal(get(0xff), 0);
    for (unsigned i = 0; i < 24; i++) {
        assert_int_equal(get(0x10 + 2 * i), 0x10000);
        assert_int_equal(get(0x11 + 2 * i), 0);
    }
    ioapic_reset(&io);
    assert_int_equal(get(0), 5u << 24);
}

static void test_writable_bits(void **state)
{
    (void)state;
    program(3, 0xffffffff, 0xffffffff);
    assert_int_equal(get(0x16), 0x1afff);       /* delivery status and remote IRR are read-only */
    assert_int_equal(get(0x17), 0xff000000);
    ioapic_write(&io, 0xfec00010, 1, 0);        /* the window takes only 32 bits */
    assert_int_equal(get(0x17), 0xff000000);
    assert_int_equal(ioapic_read(&io, 0xfec00020, 4), 0);
}

static void test_edge(void **state)
{
    (void)state;
    program(4, 0x03000000, 0x00000931);         /* logical, lowest priority */
    ioapic_set_pin(&io, 4, true);
    assert_int_equal(messages, 1);
    assert_int_equal(last.dest, 3);
    assert_true(last.logical);
    assert_false(last.wide);
    assert_int_equal(last.mode, APIC_LOWEST);
    assert_int_equal(last.vector, 0x31);
    assert_false(last.level);
    ioapic_set_pin(&io, 4, true);
    assert_int_equal(messages, 1);
    ioapic_set_pin(&io, 4, false);
    ioapic_set_pin(&io, 4, true);
    assert_int_equal(messages, 2);
    assert_int_equal(get(0x18) & 0x4000, 0);
}

static void test_masked_edge_is_lost(void **state)
{
    (void)state;
    program(4, 0, 0x10031);
    ioapic_set_pin(&io, 4, true);
    put(0x18, 0x31);
    assert_int_equal(messages, 0);
    ioapic_set_pin(&io, 4, false);
    ioapic_set_pin(&io, 4, true);
    assert_int_equal(messages, 1);
}

static void test_level(void **state)
{
    (void)state;
    program(9, 0x01000000, 0x00008039);
    ioapic_set_pin(&io, 9, true);
    assert_int_equal(messages, 1);
    assert_true(last.level);
    assert_false(last.logical);
    assert_int_equal(get(0x22), 0xc039);        /* remote IRR */
    ioapic_set_pin(&io, 9, true);
    ioapic_set_pin(&io, 9, false);
    ioapic_set_pin(&io, 9, true);
    assert_int_equal(messages, 1);
    ioapic_eoi(&io, 0x38);                      /* another's */
    assert_int_equal(messages, 1);
    ioapic_eoi(&io, 0x39);                      /* still asserted: again */
    assert_int_equal(messages, 2);
    ioapic_set_pin(&io, 9, false);
    ioapic_eoi(&io, 0x39);
    assert_int_equal(messages, 2);
    assert_int_equal(get(0x22), 0x8039);
}

static void test_masked_level_waits(void **state)
{
    (void)state;
    program(9, 0, 0x18039);
    ioapic_set_pin(&io, 9, true);
    assert_int_equal(messages, 0);
    put(0x22, 0x8039);
    assert_int_equal(messages, 1);
    put(0x22, 0x18039);                         /* masking keeps the remote IRR */
    assert_int_equal(get(0x22), 0x1c039);
    ioapic_eoi(&io, 0x39);
    assert_int_equal(messages, 1);
    put(0x22, 0x8039);
    assert_int_equal(messages, 2);
}

/* Linux's way to end an interrupt without an EOI register: mask and edge, then back. */
static void test_edge_drops_remote_irr(void **state)
{
    (void)state;
    program(9, 0, 0x8039);
    ioapic_set_pin(&io, 9, true);
    put(0x22, 0x10039);
    assert_int_equal(get(0x22), 0x10039);
    ioapic_set_pin(&io, 9, false);
    put(0x22, 0x8039);
    assert_int_equal(get(0x22), 0x8039);
    assert_int_equal(messages, 1);
}

static void test_eoi_register(void **state)
{
    (void)state;
    program(9, 0, 0x8039);
    program(10, 0, 0x8039);
    ioapic_set_pin(&io, 9, true);
    ioapic_set_pin(&io, 10, true);
    ioapic_set_pin(&io, 10, false);
    ioapic_write(&io, 0xfec00040, 4, 0x39);     /* all inputs with the vector */
    assert_int_equal(messages, 3);
    assert_int_equal(get(0x22), 0xc039);
    assert_int_equal(get(0x24), 0x8039);
}

/* Nobody took it: it stays asserted and is tried again when something changes. */
static void test_level_nobody_takes(void **state)
{
    (void)state;
    takers = 0;
    program(9, 0xaa000000, 0x8039);
    ioapic_set_pin(&io, 9, true);
    assert_int_equal(messages, 1);
    assert_int_equal(get(0x22), 0x8039);
    takers = 1;
    put(0x23, 0x01000000);
    assert_int_equal(messages, 2);
    assert_int_equal(last.dest, 1);
    assert_int_equal(get(0x22), 0xc039);
}

/* NMI and INIT end with no EOI, so they are edges whatever the entry says. */
static void test_nmi_is_an_edge(void **state)
{
    (void)state;
    program(2, 0, 0x8400);
    ioapic_set_pin(&io, 2, true);
    assert_int_equal(messages, 1);
    assert_int_equal(last.mode, APIC_NMI);
    assert_false(last.level);
    pulse(2);
    ioapic_set_pin(&io, 2, true);
    assert_int_equal(messages, 2);
}

/* The first register and the last, and nothing beside them. */
static void test_every_entry(void **state)
{
    (void)state;
    for (unsigned pin = 0; pin < 24; pin++)
        program(pin, pin << 24, 0x10030 + pin);
    put(0x40, 0x12345);                         /* behind the last */
    put(0x41, 0x01000000);
    put(0x0f, 0x12345);
    for (unsigned pin = 0; pin < 24; pin++) {
        assert_int_equal(get(0x10 + 2 * pin), 0x10030 + pin);
        assert_int_equal(get(0x11 + 2 * pin), pin << 24);
    }
    assert_int_equal(get(1), 0x00170020);
    assert_int_equal(io.lines, 0);
}

/* Only whole registers at their own addresses; a reset puts the index back. */
static void test_addresses(void **state)
{
    (void)state;
    program(0, 0, 0x10030);
    ioapic_write(&io, 0xfec00000, 4, 0x10);
    ioapic_write(&io, 0xfec00001, 4, 0x12);
    assert_int_equal(ioapic_read(&io, 0xfec00000, 4), 0x10);
    assert_int_equal(ioapic_read(&io, 0xfec00001, 4), 0);
    assert_int_equal(ioapic_read(&io, 0xfec00011, 4), 0);
    ioapic_write(&io, 0xfec00011, 4, 0x10040);
    assert_int_equal(get(0x10), 0x10030);
    ioapic_reset(&io);
    assert_int_equal(ioapic_read(&io, 0xfec00000, 4), 0);
}

/* With the lowest priority a level stands until its EOI too; an EOI for what was never taken sends nothing. */
static void test_level_of_the_lowest_priority(void **state)
{
    (void)state;
    program(4, 0, 0x8130);
    ioapic_set_pin(&io, 4, true);
    assert_int_equal(messages, 1);
    assert_true(last.level);
    assert_int_equal(get(0x18), 0xc130);
    ioapic_eoi(&io, 0x30);
    assert_int_equal(messages, 2);
    ioapic_set_pin(&io, 4, false);
    ioapic_eoi(&io, 0x30);
    takers = 0;
    ioapic_set_pin(&io, 4, true);
    assert_int_equal(messages, 3);
    takers = 1;
    ioapic_eoi(&io, 0x30);
    assert_int_equal(messages, 3);
}

static void test_random(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 300000; i++) {
        takers = fake_below(3);
        messages = 0;
        switch (fake_below(5)) {
        case 0:
            ioapic_write(&io, fake_below(0x60), 1u << fake_below(4), fake_random());
            break;
        case 1:
            ioapic_read(&io, fake_below(0x1000), 1u << fake_below(4));
            break;
        case 2:
            put(0x10 + fake_below(48), (uint32_t)fake_random());
            break;
        case 3:
            ioapic_eoi(&io, (uint8_t)fake_random());
            break;
        default:
            ioapic_set_pin(&io, fake_below(64), fake_random() & 1 << 21);
            break;
        }
        assert_true(messages <= IOAPIC_PINS);
        for (unsigned p = 0; p < IOAPIC_PINS; p++)  /* remote IRR only where an EOI will come */
            assert_true(!(io.entry[p] & 0x4000) || ((io.entry[p] & 0x8000) && (io.entry[p] >> 8 & 7) < 2));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_identity, setup),
        cmocka_unit_test_setup(test_writable_bits, setup),
        cmocka_unit_test_setup(test_edge, setup),
        cmocka_unit_test_setup(test_masked_edge_is_lost, setup),
        cmocka_unit_test_setup(test_level, setup),
        cmocka_unit_test_setup(test_masked_level_waits, setup),
        cmocka_unit_test_setup(test_edge_drops_remote_irr, setup),
        cmocka_unit_test_setup(test_eoi_register, setup),
        cmocka_unit_test_setup(test_level_nobody_takes, setup),
        cmocka_unit_test_setup(test_nmi_is_an_edge, setup),
        cmocka_unit_test_setup(test_every_entry, setup),
        cmocka_unit_test_setup(test_addresses, setup),
        cmocka_unit_test_setup(test_level_of_the_lowest_priority, setup),
        cmocka_unit_test_setup(test_random, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
