/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/kbd.h"

#include "lib/string.h"

/* IBM PS/2 technical reference, keyboard controller. */
#define STATUS_FULL     0x01u
#define STATUS_SYSTEM   0x04u
#define STATUS_COMMAND  0x08u
#define STATUS_UNLOCKED 0x10u
#define STATUS_TIMEOUT  0x40u

#define CONFIG_INTERRUPT 0x01u
#define CONFIG_SYSTEM    0x04u
#define CONFIG_KBD_OFF   0x10u
#define CONFIG_AUX_OFF   0x20u
#define CONFIG_STORED    0x7fu
#define CONFIG_DEFAULT   (CONFIG_SYSTEM | CONFIG_AUX_OFF)

#define OUTPUT_NO_RESET  0x01u
#define OUTPUT_A20       0x02u

#define PORT92_RESET     0x01u
#define PORT92_A20       0x02u
#define CF9_RESET        0x04u
#define CF9_STORED       0x0au

#define RESEND           0xfeu

enum command {
    CMD_READ_CONFIG = 0x20, CMD_WRITE_CONFIG = 0x60, CMD_AUX_OFF = 0xa7, CMD_AUX_ON, CMD_AUX_TEST, CMD_SELF_TEST,
    CMD_KBD_TEST, CMD_KBD_OFF = 0xad, CMD_KBD_ON, CMD_READ_INPUT = 0xc0, CMD_READ_OUTPUT = 0xd0, CMD_WRITE_OUTPUT,
    CMD_ECHO_KBD, CMD_ECHO_AUX, CMD_WRITE_AUX, CMD_TEST_INPUTS = 0xe0, CMD_PULSE = 0xf0
};

static void update_irq(struct kbd *k)
{
    line_set(&k->irq, k->full && (k->config & CONFIG_INTERRUPT));
}

static void answer(struct kbd *k, uint8_t data, bool timeout)
{
    k->full = true;
    k->data = data;
    k->timeout = timeout;
}

void kbd_init(struct kbd *k, struct irq_line irq, void (*reset)(void *ctx), void *ctx)
{
    memset(k, 0, sizeof(*k));
    k->irq = irq;
    k->reset = reset;
    k->ctx = ctx;
    kbd_reset(k);
}

void kbd_reset(struct kbd *k)
{
    k->config = CONFIG_DEFAULT;
    k->output_port = OUTPUT_NO_RESET | OUTPUT_A20;
    k->command = k->data = 0;
    k->full = k->timeout = k->last_was_command = false;
    k->port92 = PORT92_A20;
    k->cf9 = 0;
    update_irq(k);
}

/* Bit 0 low resets the processor; address line 20 is remembered but always open. */
static void set_output_port(struct kbd *k, uint8_t value)
{
    k->output_port = value;
    if (!(value & OUTPUT_NO_RESET))
        k->reset(k->ctx);
}

/*
 * There is no second port: its test reports a stuck clock line, and what would come back from it comes without the mark
 * of the second port, so that probes end without waiting for a time-out.
 */
static void write_command(struct kbd *k, uint8_t command)
{
    k->command = 0;
    k->last_was_command = true;
    switch (command) {
    case CMD_READ_CONFIG:
        answer(k, k->config, false);
        break;
    case CMD_WRITE_CONFIG:
    case CMD_WRITE_OUTPUT:
    case CMD_ECHO_KBD:
    case CMD_ECHO_AUX:
    case CMD_WRITE_AUX:
        k->command = command;
        break;
    case CMD_AUX_TEST:
        answer(k, 0x02, false);
        break;
    case CMD_SELF_TEST:
        k->config |= CONFIG_SYSTEM;
        answer(k, 0x55, false);
        break;
    case CMD_KBD_TEST:
    case CMD_READ_INPUT:
    case CMD_TEST_INPUTS:
        answer(k, 0x00, false);
        break;
    case CMD_KBD_OFF:
        k->config |= CONFIG_KBD_OFF;
        break;
    case CMD_KBD_ON:
        k->config &= (uint8_t)~CONFIG_KBD_OFF;
        break;
    case CMD_READ_OUTPUT:
        answer(k, k->output_port, false);
        break;
    default:
        if (command >= CMD_PULSE && !(command & OUTPUT_NO_RESET))
            k->reset(k->ctx);
        break;
    }
}

/* The data byte of a command, or a byte to a keyboard that is not there. */
static void write_data(struct kbd *k, uint8_t value)
{
    uint8_t command = k->command;

    k->command = 0;
    k->last_was_command = false;
    switch (command) {
    case CMD_WRITE_CONFIG:
        k->config = (value & CONFIG_STORED) | CONFIG_AUX_OFF;
        break;
    case CMD_WRITE_OUTPUT:
        set_output_port(k, value);
        break;
    case CMD_ECHO_KBD:
    case CMD_ECHO_AUX:
        answer(k, value, false);
        break;
    default:
        answer(k, RESEND, true);
        break;
    }
}

void kbd_write(void *kbd, uint64_t port, unsigned size, uint64_t value)
{
    struct kbd *k = kbd;

    (void)size;
    if (port & 4)
        write_command(k, (uint8_t)value);
    else
        write_data(k, (uint8_t)value);
    update_irq(k);
}

uint64_t kbd_read(void *kbd, uint64_t port, unsigned size)
{
    struct kbd *k = kbd;

    (void)size;
    if (port & 4)
        return STATUS_UNLOCKED | (k->config & CONFIG_SYSTEM ? STATUS_SYSTEM : 0) | (k->full ? STATUS_FULL : 0) |
               (k->last_was_command ? STATUS_COMMAND : 0) | (k->full && k->timeout ? STATUS_TIMEOUT : 0);
    k->full = false;
    update_irq(k);
    return k->data;
}

uint64_t kbd_port92_read(void *kbd, uint64_t port, unsigned size)
{
    struct kbd *k = kbd;

    (void)port;
    (void)size;
    return k->port92;
}

/* The reset bit acts when it rises. */
void kbd_port92_write(void *kbd, uint64_t port, unsigned size, uint64_t value)
{
    struct kbd *k = kbd;
    bool reset = (value & PORT92_RESET) && !(k->port92 & PORT92_RESET);

    (void)port;
    (void)size;
    k->port92 = value & (PORT92_RESET | PORT92_A20);
    if (reset)
        k->reset(k->ctx);
}

uint64_t kbd_cf9_read(void *kbd, uint64_t port, unsigned size)
{
    struct kbd *k = kbd;

    (void)port;
    (void)size;
    return k->cf9;
}

/* Reset control register (82371SB, section 2.5.2): acts when the reset bit is written as 1, of whatever kind. */
void kbd_cf9_write(void *kbd, uint64_t port, unsigned size, uint64_t value)
{
    struct kbd *k = kbd;

    (void)port;
    (void)size;
    k->cf9 = value & CF9_STORED;
    if (value & CF9_RESET)
        k->reset(k->ctx);
}
