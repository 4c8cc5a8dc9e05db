/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vdev/line.h"

/*
 * A 16550A UART with a terminal at its other end that is always ready. Characters are sent at once, so the transmitter
 * is always empty; the receiver's time-out comes without waiting. The caller serializes all calls.
 */
#define UART_FIFO 16

struct uart {
    uint8_t ier, fcr, lcr, mcr, scratch, divisor[2];
    uint8_t msr_delta;          /* bits 3:0 of the modem status */
    uint8_t line_errors;        /* overrun and break, until read */
    bool level;                 /* of its interrupt line */
    bool thr_interrupt;         /* the transmitter became empty since this was last told */
    uint8_t fifo[UART_FIFO];
    unsigned head, count;
    uint64_t sent, received;
    struct irq_line irq;
    void (*transmit)(void *ctx, uint8_t byte);
    void *ctx;
};

void uart_init(struct uart *u, struct irq_line irq, void (*transmit)(void *ctx, uint8_t byte), void *ctx);
void uart_reset(struct uart *u);
/* Is there room for a character from outside? Not in loopback mode. */
bool uart_room(const struct uart *u);
/* A character from outside; false when there is no room. */
bool uart_receive(struct uart *u, uint8_t byte);

/* Ports: the low three bits choose the register. */
uint64_t uart_read(void *uart, uint64_t port, unsigned size);
bool uart_peek(const void *uart, uint64_t port, unsigned size, uint64_t *value);
void uart_write(void *uart, uint64_t port, unsigned size, uint64_t value);
