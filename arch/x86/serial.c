/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/serial.h"

#include "arch/x86/cpu.h"

/* COM1's 16550 (National PC16550D data sheet). */
#define COM1 0x3f8

enum {
    REG_DATA = 0, REG_IER = 1, REG_IIR = 2, REG_FCR = 2, REG_LCR = 3, REG_MCR = 4, REG_LSR = 5, REG_MSR = 6,
    REG_SCR = 7,
};

#define LCR_8N1       0x03
#define LCR_DLAB      0x80
#define FCR_ENABLE    0x07 /* FIFOs on and emptied */
#define IIR_FIFO      0xc0
#define MCR_RUN       0x03 /* DTR, RTS; OUT2 off: no interrupts */
#define MCR_LOOP      0x1e /* loopback with RTS, OUT1, OUT2 set: read back as CTS, RI, DCD */
#define MSR_LOOP_ECHO 0xd0
#define LSR_DATA      0x01
#define LSR_EMPTY     0x20
#define CLOCK         115200u
#define FIFO_SIZE     16u

/*
 * Reads of LSR to wait for the transmitter: far more than 16 characters at 9600 baud take where a port read takes a
 * microsecond; as many at 115200 baud where it takes as long as any instruction, in an emulator with 400 MHz.
 */
#define TRIES         400000u

static bool present, stuck;
static unsigned fifo = 1; /* characters that an empty transmitter takes */
static unsigned room;

static uint8_t in(unsigned reg)
{
    return inb((uint16_t)(COM1 + reg));
}

static void out(unsigned reg, uint8_t value)
{
    outb((uint16_t)(COM1 + reg), value);
}

/* Nothing there reads as ones or zeros; the scratch register keeps a value, the modem lines come round in loopback. */
static bool probe(void)
{
    static const uint8_t patterns[] = { 0x5a, 0xa5 };
    uint8_t status;

    for (unsigned i = 0; i < ARRAY_SIZE(patterns); i++) {
        out(REG_SCR, patterns[i]);
        if (in(REG_SCR) != patterns[i])
            return false;
    }
    out(REG_MCR, MCR_LOOP);
    status = in(REG_MSR) & 0xf0;
    out(REG_MCR, MCR_RUN);
    return status == MSR_LOOP_ECHO;
}

bool serial_init(unsigned baud)
{
    unsigned divisor = baud ? CLOCK / baud : 0;

    present = divisor && divisor <= 0xffff && probe();
    if (!present)
        return false;
    out(REG_IER, 0);
    out(REG_LCR, LCR_DLAB);
    out(0, (uint8_t)divisor);
    out(1, (uint8_t)(divisor >> 8));
    out(REG_LCR, LCR_8N1);
    out(REG_FCR, FCR_ENABLE);
    fifo = (in(REG_IIR) & IIR_FIFO) == IIR_FIFO ? FIFO_SIZE : 1;
    out(REG_MCR, MCR_RUN);
    room = 0;
    stuck = false;
    return true;
}

/* Waits for the transmitter, a bounded time; where it stayed busy, later calls only look. */
static bool wait_room(void)
{
    unsigned tries = stuck ? 1 : TRIES;

    while (tries--) {
        if (in(REG_LSR) & LSR_EMPTY) {
            stuck = false;
            room = fifo;
            return true;
        }
        cpu_pause();
    }
    stuck = true;
    return false;
}

static void put(char c)
{
    if (!room && !wait_room())
        return;
    room--;
    out(REG_DATA, (uint8_t)c);
}

void serial_write(const char *text, size_t n)
{
    if (!present)
        return;
    for (size_t i = 0; i < n; i++)
        put(text[i]);
}

void serial_sink(const char *text, size_t n)
{
    if (!present)
        return;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\n')
            put('\r');
        put(text[i]);
    }
}

int serial_read(void)
{
    uint8_t status;

    if (!present)
        return -1;
    status = in(REG_LSR);
    return status != 0xff && (status & LSR_DATA) ? in(REG_DATA) : -1;
}
