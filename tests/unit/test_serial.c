/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/serial.c"
#include "tests/unit/seam/fake_cpu.h"

/* A 16550 of its own for the ports, slow enough that the transmitter fills up. */
static struct {
    bool there, no_loopback, no_fifo, busy;
    uint8_t scratch, mcr, lcr, ier, divisor[2];
    unsigned in_fifo, polls;       /* characters not yet sent; LSR reads until they are */
    bool overrun;
    char sent[256];
    size_t sent_len;
    const char *input;
} uart;

static uint32_t uart_in(uint16_t port, unsigned size)
{
    assert_int_equal(size, 1);
    if (!uart.there)
        return 0xff;
    switch (port - 0x3f8) {
    case 0:
        return *uart.input ? (uint8_t)*uart.input++ : 0;
    case 2:
        return uart.no_fifo ? 0x01 : 0xc1;
    case 5:
        if (uart.in_fifo && !uart.busy && !--uart.polls)
            uart.in_fifo = 0;
        return (uart.in_fifo || uart.busy ? 0 : 0x60u) | (*uart.input ? 1 : 0);
    case 6: /* loopback: DTR to DSR, RTS to CTS, OUT1 to RI, OUT2 to DCD */
        if (!(uart.mcr & 0x10) || uart.no_loopback)
            return 0xb0;
        return (uart.mcr & 1) << 5 | (uart.mcr & 2) << 3 | (uart.mcr & 4) << 4 | (uart.mcr & 8) << 4;
    case 7:
        return uart.scratch;
    }
    return 0;
}

static void send(uint8_t c)
{
    uart.overrun |= ++uart.in_fifo > (uart.no_fifo ? 1u : 16u);
    uart.polls = 3;
    uart.sent[uart.sent_len++] = (char)c;
    uart.sent[uart.sent_len] = '\0';
}

static void uart_out(uint16_t port, uint32_t value, unsigned size)
{
    assert_int_equal(size, 1);
    switch (port - 0x3f8) {
    case 0:
        if (uart.lcr & 0x80)
            uart.divisor[0] = (uint8_t)value;
        else
            send((uint8_t)value);
        break;
    case 1:
        *(uart.lcr & 0x80 ? &uart.divisor[1] : &uart.ier) = (uint8_t)value;
        break;
    case 3:
        uart.lcr = (uint8_t)value;
        break;
    case 4:
        uart.mcr = (uint8_t)value;
        break;
    case 7:
        uart.scratch = (uint8_t)value;
        break;
    }
}

static int set_up(void **state)
{
    (void)state;
    fake_cpu_reset();
    fake_cpu.in = uart_in;
    fake_cpu.out = uart_out;
    memset(&uart, 0, sizeof(uart));
    uart.there = true;
    uart.ier = 0xff;
    uart.input = "";
    return 0;
}

static void test_probe(void **state)
{
    assert_true(serial_init(115200));
    assert_false(serial_init(0));
    assert_false(serial_init(1));
    uart.no_loopback = true;
    assert_false(serial_init(115200));
    uart.there = false;
    assert_false(serial_init(115200));
    serial_sink("x\n", 2);
    assert_int_equal(uart.sent_len, 0);
    assert_int_equal(serial_read(), -1);
    (void)state;
}

static void test_line(void **state)
{
    assert_true(serial_init(9600));
    assert_int_equal(uart.divisor[0] | uart.divisor[1] << 8, 12);
    assert_int_equal(uart.lcr, 3);
    assert_int_equal(uart.ier, 0);
    assert_int_equal(uart.mcr, 3);
    (void)state;
}

static void test_write(void **state)
{
    static const char text[] = "a line that is longer than the sixteen characters of the FIFO\n";

    for (int no_fifo = 0; no_fifo < 2; no_fifo++) {
        set_up(NULL);
        uart.no_fifo = no_fifo;
        assert_true(serial_init(115200));
        serial_write(text, sizeof(text) - 1);
        assert_string_equal(uart.sent, text);
        assert_false(uart.overrun);
    }
    uart.sent_len = 0;
    serial_sink("a\nb\n", 4);
    assert_string_equal(uart.sent, "a\r\nb\r\n");
    (void)state;
}

static void test_stuck(void **state)
{
    uint64_t before;

    assert_true(serial_init(115200));
    uart.busy = true;
    serial_write("lost", 4);
    assert_int_equal(uart.sent_len, 0);
    before = fake_cpu.tsc;
    serial_write("lost", 4); /* does not wait again */
    assert_true(fake_cpu.tsc - before < 100 * fake_cpu.tsc_step);
    uart.busy = false;
    serial_write("back", 4);
    assert_string_equal(uart.sent, "back");
    (void)state;
}

static void test_read(void **state)
{
    assert_true(serial_init(115200));
    uart.input = "k\xff";
    assert_int_equal(serial_read(), 'k');
    assert_int_equal(serial_read(), 0xff);
    assert_int_equal(serial_read(), -1);
    uart.there = false; /* pulled out: all ones */
    assert_int_equal(serial_read(), -1);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_probe, set_up), cmocka_unit_test_setup(test_line, set_up),
        cmocka_unit_test_setup(test_write, set_up), cmocka_unit_test_setup(test_stuck, set_up),
        cmocka_unit_test_setup(test_read, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
