/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/uart.h"

#include "lib/string.h"

/* National Semiconductor PC16550D data sheet. */
enum { DATA, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCRATCH };

#define IER_RECEIVE   0x01u
#define IER_TRANSMIT  0x02u
#define IER_LINE      0x04u
#define IER_MODEM     0x08u
#define IIR_MODEM     0x00u
#define IIR_NONE      0x01u
#define IIR_TRANSMIT  0x02u
#define IIR_RECEIVE   0x04u
#define IIR_LINE      0x06u
#define IIR_TIMEOUT   0x0cu
#define IIR_FIFOS     0xc0u
#define FCR_ENABLE    0x01u
#define FCR_CLEAR_RX  0x02u
#define FCR_STORED    0xc9u
#define LCR_DLAB      0x80u
#define MCR_DTR       0x01u
#define MCR_RTS       0x02u
#define MCR_OUT1      0x04u
#define MCR_OUT2      0x08u
#define MCR_LOOP      0x10u
#define MCR_STORED    0x1fu
#define LSR_DATA      0x01u
#define LSR_OVERRUN   0x02u
#define LSR_EMPTY     0x60u     /* holding and shift register */
#define MSR_CTS       0x10u
#define MSR_DSR       0x20u
#define MSR_RI        0x40u
#define MSR_DCD       0x80u
#define MSR_DELTA_RI  0x04u     /* only the trailing edge counts */

static unsigned fifo_size(const struct uart *u)
{
    return u->fcr & FCR_ENABLE ? UART_FIFO : 1;
}

static unsigned trigger_level(const struct uart *u)
{
    static const uint8_t level[4] = { 1, 4, 8, 14 };

    return u->fcr & FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

/* The modem lines: a terminal that is there and ready, or our own outputs in loopback mode. */
static uint8_t modem_lines(const struct uart *u)
{
    if (!(u->mcr & MCR_LOOP))
        return MSR_CTS | MSR_DSR | MSR_DCD;
    return (uint8_t)((u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
                     (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

/* The pending interrupt of highest priority. */
static uint8_t interrupt_id(const struct uart *u)
{
    if ((u->ier & IER_LINE) && u->line_errors)
        return IIR_LINE;
    if ((u->ier & IER_RECEIVE) && u->count >= trigger_level(u))
        return IIR_RECEIVE;
    if ((u->ier & IER_RECEIVE) && u->count)
        return IIR_TIMEOUT;
    if ((u->ier & IER_TRANSMIT) && u->thr_interrupt)
        return IIR_TRANSMIT;
    return (u->ier & IER_MODEM) && u->msr_delta ? IIR_MODEM : IIR_NONE;
}

/* OUT2 gates the interrupt on a PC; loopback mode takes the outputs away. */
static void update_irq(struct uart *u)
{
    bool gate = (u->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2, level = gate && interrupt_id(u) != IIR_NONE;

    if (level == u->level)
        return;
    u->level = level;
    line_set(&u->irq, level);
}

void uart_init(struct uart *u, struct irq_line irq, void (*transmit)(void *ctx, uint8_t byte), void *ctx)
{
    memset(u, 0, sizeof(*u));
    u->irq = irq;
    u->transmit = transmit;
    u->ctx = ctx;
    uart_reset(u);
}

void uart_reset(struct uart *u)
{
    u->ier = u->fcr = u->lcr = u->mcr = u->scratch = 0;
    u->divisor[0] = 1;          /* 115200 baud, as firmware leaves it */
    u->divisor[1] = 0;
    u->msr_delta = u->line_errors = 0;
    u->thr_interrupt = false;
    u->head = u->count = 0;
    u->level = false;
    line_set(&u->irq, false);
}

static void push(struct uart *u, uint8_t byte)
{
    if (u->count == fifo_size(u)) {
        u->line_errors |= LSR_OVERRUN;
        if (u->fcr & FCR_ENABLE)
            return;             /* the FIFO keeps what it has, the single register takes the new one */
        u->count = 0;
    }
    u->fifo[(u->head + u->count++) % UART_FIFO] = byte;
}

/* An empty receiver gives the last byte again. */
static uint8_t pop(struct uart *u)
{
    if (u->count) {
        u->head = (u->head + 1) % UART_FIFO;
        u->count--;
    }
    return u->fifo[(u->head + UART_FIFO - 1) % UART_FIFO];
}

bool uart_room(const struct uart *u)
{
    return !(u->mcr & MCR_LOOP) && u->count < fifo_size(u);
}

bool uart_receive(struct uart *u, uint8_t byte)
{
    if (!uart_room(u))
        return false;
    push(u, byte);
    u->received++;
    update_irq(u);
    return true;
}

/* The register empties within the write: an edge for the interrupt controller between two characters. */
static void write_data(struct uart *u, uint8_t byte)
{
    u->thr_interrupt = false;
    update_irq(u);
    if (u->mcr & MCR_LOOP) {
        push(u, byte);
    } else {
        u->sent++;
        u->transmit(u->ctx, byte);
    }
    u->thr_interrupt = true;
}

/* Enabling the transmitter's interrupt while it is empty raises it. */
static void write_ier(struct uart *u, uint8_t value)
{
    uint8_t risen = (uint8_t)(value & ~u->ier);

    u->ier = value & 0x0f;
    if (risen & IER_TRANSMIT)
        u->thr_interrupt = true;
}

static void write_fcr(struct uart *u, uint8_t value)
{
    if (((value ^ u->fcr) & FCR_ENABLE) || (value & FCR_CLEAR_RX))
        u->head = u->count = 0;
    u->fcr = value & FCR_ENABLE ? value & FCR_STORED : 0;
}

static void write_mcr(struct uart *u, uint8_t value)
{
    uint8_t before = modem_lines(u), after;

    u->mcr = value & MCR_STORED;
    after = modem_lines(u);
    u->msr_delta |= (before ^ after) >> 4 & ~MSR_DELTA_RI;
    if (before & ~after & MSR_RI)
        u->msr_delta |= MSR_DELTA_RI;
}

void uart_write(void *uart, uint64_t port, unsigned size, uint64_t value)
{
    struct uart *u = uart;
    unsigned reg = port & 7;
    uint8_t byte = (uint8_t)value;

    (void)size;
    if ((u->lcr & LCR_DLAB) && reg <= IER)
        u->divisor[reg] = byte;
    else if (reg == DATA)
        write_data(u, byte);
    else if (reg == IER)
        write_ier(u, byte);
    else if (reg == IIR_FCR)
        write_fcr(u, byte);
    else if (reg == LCR)
        u->lcr = byte;
    else if (reg == MCR)
        write_mcr(u, byte);
    else if (reg == SCRATCH)
        u->scratch = byte;
    update_irq(u);
}

/* Reading the transmitter's interrupt clears it. */
static uint8_t read_iir(struct uart *u)
{
    uint8_t id = interrupt_id(u);

    if (id == IIR_TRANSMIT)
        u->thr_interrupt = false;
    return (uint8_t)(id | (u->fcr & FCR_ENABLE ? IIR_FIFOS : 0));
}

static uint8_t read_lsr(struct uart *u)
{
    uint8_t value = (uint8_t)(LSR_EMPTY | u->line_errors | (u->count ? LSR_DATA : 0));

    u->line_errors = 0;
    return value;
}

static uint8_t read_msr(struct uart *u)
{
    uint8_t value = modem_lines(u) | u->msr_delta;

    u->msr_delta = 0;
    return value;
}

static uint8_t read_register(struct uart *u, unsigned reg)
{
    switch (reg) {
    case DATA:
        return pop(u);
    case IER:
        return u->ier;
    case IIR_FCR:
        return read_iir(u);
    case LCR:
        return u->lcr;
    case MCR:
        return u->mcr;
    case LSR:
        return read_lsr(u);
    case MSR:
        return read_msr(u);
    default:
        return u->scratch;
    }
}

uint64_t uart_read(void *uart, uint64_t port, unsigned size)
{
    struct uart *u = uart;
    unsigned reg = port & 7;
    uint8_t value;

    (void)size;
    if ((u->lcr & LCR_DLAB) && reg <= IER)
        return u->divisor[reg];
    value = read_register(u, reg);
    update_irq(u);
    return value;
}

/* The line status without errors: drivers poll it. */
bool uart_peek(const void *uart, uint64_t port, unsigned size, uint64_t *value)
{
    const struct uart *u = uart;

    (void)size;
    if ((port & 7) != LSR || __atomic_load_n(&u->line_errors, __ATOMIC_RELAXED))
        return false;
    *value = LSR_EMPTY | (__atomic_load_n(&u->count, __ATOMIC_RELAXED) ? LSR_DATA : 0);
    return true;
}
