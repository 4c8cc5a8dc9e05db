/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "vdev/uart.h"
#include "vdev_fake.h"

static struct uart uart;
static char sent[256];
static unsigned sent_count;

static void transmit(void *ctx, uint8_t byte)
{
    (void)ctx;
    sent[sent_count++ % sizeof(sent)] = (char)byte;
}

static unsigned peeks;

static int setup(void **state)
{
    (void)state;
    fake_reset();
    sent_count = 0;
    uart_init(&uart, fake_irq(4), transmit, NULL);
    return 0;
}

enum { RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR };

static unsigned in(unsigned reg)
{
    return (unsigned)uart_read(&uart, 0x3f8 + reg, 1);
}

static void out(unsigned reg, unsigned value)
{
    uart_write(&uart, 0x3f8 + reg, 1, value);
}

static void test_power_on(void **state)
{
    (void)state;
    assert_int_equal(in(IER), 0);
    assert_int_equal(in(IIR), 0x01);
    assert_int_equal(in(LSR), 0x60);
    assert_int_equal(in(MSR), 0xb0);
    out(SCR, 0xa5);
    assert_int_equal(in(SCR), 0xa5);
    out(IER, 0xff);
    assert_int_equal(in(IER), 0x0f);
    out(MCR, 0xff);
    assert_int_equal(in(MCR), 0x1f);
}

static void test_divisor(void **state)
{
    (void)state;
    out(LCR, 0x83);
    out(0, 12);
    out(1, 3);
    assert_int_equal(in(0), 12);
    assert_int_equal(in(1), 3);
    out(LCR, 0x03);
    assert_int_equal(in(IER), 0);
    assert_int_equal(sent_count, 0);
    assert_int_equal(in(LCR), 0x03);
}

static void test_transmit(void **state)
{
    (void)state;
    out(0, 'h');
    out(0, 'i');
    assert_int_equal(sent_count, 2);
    assert_memory_equal(sent, "hi", 2);
    assert_int_equal(uart.sent, 2);
    assert_int_equal(in(LSR), 0x60);
}

/* Kernels choose their driver's kind by these. */
static void test_probe_is_16550a(void **state)
{
    (void)state;
    assert_int_equal(in(IIR) & 0xc0, 0);
    out(IIR, 0x01);
    assert_int_equal(in(IIR) & 0xf0, 0xc0);
    out(IIR, 0x21);                             /* no 64-byte FIFO */
    assert_int_equal(in(IIR) & 0x20, 0);
    out(IIR, 0x00);
    assert_int_equal(in(IIR) & 0xc0, 0);
    out(LCR, 0xbf);                             /* no enhanced registers behind this one */
    assert_int_not_equal(in(IIR), 0);
    out(LCR, 0x00);
}

/* Linux: does the interrupt come when it is enabled with the transmitter empty, and come back when enabled again? */
static void test_transmit_interrupt(void **state)
{
    (void)state;
    out(MCR, 0x0b);
    out(IER, 0x02);
    assert_true(fake_line[4].level);
    assert_int_equal(in(IIR), 0x02);
    assert_false(fake_line[4].level);           /* reading it cleared it */
    assert_int_equal(in(IIR), 0x01);
    out(IER, 0x00);
    out(IER, 0x02);
    assert_int_equal(in(IIR), 0x02);
    out(0, 'x');
    assert_true(fake_line[4].level);
    fake_line[4].rises = 0;
    out(0, 'y');
    assert_int_equal(fake_line[4].rises, 1);    /* an edge for each emptying */
    out(IER, 0x00);
    assert_false(fake_line[4].level);
}

static void test_out2_gates(void **state)
{
    (void)state;
    out(IER, 0x01);
    assert_true(uart_receive(&uart, 'a'));
    assert_false(fake_line[4].level);
    out(MCR, 0x08);
    assert_true(fake_line[4].level);
    out(MCR, 0x18);
    assert_false(fake_line[4].level);
}

static void test_receive(void **state)
{
    (void)state;
    out(MCR, 0x08);
    out(IER, 0x01);
    assert_true(uart_room(&uart));
    assert_true(uart_receive(&uart, 'a'));
    assert_false(uart_room(&uart));             /* without FIFO one fits */
    assert_false(uart_receive(&uart, 'b'));
    assert_int_equal(in(LSR), 0x61);
    assert_int_equal(in(IIR), 0x04);
    assert_int_equal(in(RBR), 'a');
    assert_false(fake_line[4].level);
    assert_int_equal(in(LSR), 0x60);
    assert_int_equal(in(RBR), 'a');             /* empty: the last again */
}

static void test_fifo_trigger(void **state)
{
    static const unsigned level[4] = { 1, 4, 8, 14 };

    (void)state;
    out(MCR, 0x08);
    out(IER, 0x01);
    for (unsigned t = 0; t < 4; t++) {
        out(IIR, 0x07 | t << 6);
        for (unsigned i = 1; i <= UART_FIFO; i++) {
            assert_true(uart_receive(&uart, (uint8_t)i));
            assert_int_equal(in(IIR), i >= level[t] ? 0xc4 : 0xcc);     /* below the trigger: time-out */
            assert_true(fake_line[4].level);
        }
        assert_false(uart_receive(&uart, 99));
        for (unsigned i = 1; i <= UART_FIFO; i++)
            assert_int_equal(in(RBR), i);
        assert_int_equal(in(IIR), 0xc1);
    }
    uart_receive(&uart, 1);
    out(IIR, 0x03);                             /* clear the receiver's FIFO */
    assert_int_equal(in(LSR) & 1, 0);
    uart_receive(&uart, 1);
    out(IIR, 0x00);                             /* turning FIFOs off empties them */
    assert_int_equal(in(LSR) & 1, 0);
}

static void test_loopback(void **state)
{
    (void)state;
    out(MCR, 0x10);
    in(MSR);
    out(MCR, 0x1a);                             /* RTS and OUT2: CTS and DCD, as in Linux's probe */
    assert_int_equal(in(MSR), 0x99);
    assert_int_equal(in(MSR), 0x90);
    out(MCR, 0x15);                             /* DTR and OUT1: DSR and RI */
    assert_int_equal(in(MSR), 0x6b);            /* RI's rising edge is no delta */
    out(MCR, 0x11);
    assert_int_equal(in(MSR), 0x24);            /* its falling edge is */
    assert_false(uart_room(&uart));             /* cut off from outside */
    assert_false(uart_receive(&uart, 'x'));
    out(0, 'l');
    assert_int_equal(sent_count, 0);
    assert_int_equal(in(LSR), 0x61);
    out(0, 'm');
    assert_int_equal(in(LSR), 0x63);            /* overrun: the new one stays without FIFO */
    assert_int_equal(in(LSR), 0x61);
    assert_int_equal(in(RBR), 'm');
    out(IIR, 0x01);
    for (unsigned i = 0; i < 17; i++)
        out(0, i);
    assert_int_equal(in(LSR), 0x63);
    assert_int_equal(in(RBR), 0);               /* with FIFO the old ones stay */
}

static void test_interrupt_priorities(void **state)
{
    (void)state;
    out(IER, 0x0f);
    out(MCR, 0x10);
    out(MCR, 0x12);
    out(0, 'a');
    out(0, 'b');
    assert_int_equal(in(IIR), 0x06);            /* line status before all */
    in(LSR);
    assert_int_equal(in(IIR), 0x04);
    in(RBR);
    assert_int_equal(in(IIR), 0x02);
    assert_int_equal(in(IIR), 0x00);            /* modem status last */
    in(MSR);
    assert_int_equal(in(IIR), 0x01);
}

/* Where there is something to peek at, it is what reading gives, and reading it leaves all as it was. */
static void in_and_peek(unsigned reg)
{
    uint64_t peeked = UINT64_MAX;
    bool can = uart_peek(&uart, 0x3f8 + reg, 1, &peeked);
    struct uart before = uart;
    unsigned value = in(reg);

    if (can) {
        assert_int_equal(value, peeked);
        assert_memory_equal(&before, &uart, sizeof(uart));
        peeks++;
    }
}

static void test_random(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 500000; i++) {
        unsigned n = fake_below(3);

        if (n == 0)
            out(fake_below(8), (uint8_t)fake_random());
        else if (n == 1)
            in_and_peek(fake_below(8));
        else
            assert_true(uart_room(&uart) == uart_receive(&uart, (uint8_t)i));
        assert_true(uart.count <= UART_FIFO && uart.head < UART_FIFO);
    }
    assert_true(peeks > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_power_on, setup),
        cmocka_unit_test_setup(test_divisor, setup),
        cmocka_unit_test_setup(test_transmit, setup),
        cmocka_unit_test_setup(test_probe_is_16550a, setup),
        cmocka_unit_test_setup(test_transmit_interrupt, setup),
        cmocka_unit_test_setup(test_out2_gates, setup),
        cmocka_unit_test_setup(test_receive, setup),
        cmocka_unit_test_setup(test_fifo_trigger, setup),
        cmocka_unit_test_setup(test_loopback, setup),
        cmocka_unit_test_setup(test_interrupt_priorities, setup),
        cmocka_unit_test_setup(test_random, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
