/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vdev/line.h"

/*
 * An 8042 keyboard controller with nothing plugged in (ports 60 and 64), and a PC's other ways to reset: port 92 and
 * port cf9. The caller serializes all calls.
 */
struct kbd {
    uint8_t config;             /* the controller's command byte */
    uint8_t output_port;
    uint8_t command;            /* waits for its data byte; 0: none */
    bool full;                  /* output buffer */
    bool timeout;               /* the byte there says that no keyboard answered */
    uint8_t data;
    bool last_was_command;
    uint8_t port92, cf9;
    struct irq_line irq;
    void (*reset)(void *ctx);
    void *ctx;
};

/* reset is called when the guest asks for the machine's reset; the device goes on until kbd_reset. */
void kbd_init(struct kbd *k, struct irq_line irq, void (*reset)(void *ctx), void *ctx);
void kbd_reset(struct kbd *k);

uint64_t kbd_read(void *kbd, uint64_t port, unsigned size);
void kbd_write(void *kbd, uint64_t port, unsigned size, uint64_t value);
uint64_t kbd_port92_read(void *kbd, uint64_t port, unsigned size);
void kbd_port92_write(void *kbd, uint64_t port, unsigned size, uint64_t value);
uint64_t kbd_cf9_read(void *kbd, uint64_t port, unsigned size);
void kbd_cf9_write(void *kbd, uint64_t port, unsigned size, uint64_t value);
