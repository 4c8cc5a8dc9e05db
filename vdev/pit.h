/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vdev/clock.h"
#include "vdev/line.h"
#include "vdev/timer.h"

/*
 * The 8254 interval timer (ports 40-43) and port 61, which holds channel 2's gate and shows its output. Only channel 0
 * drives an interrupt. The caller serializes all calls but reads of the clock.
 */
#define PIT_HZ 1193182u

struct pit_channel {
    uint8_t mode;               /* 0 to 5 */
    uint8_t access;             /* 1: low byte, 2: high byte, 3: low then high */
    bool bcd;
    bool gate;
    bool loaded;                /* a count was written since the control word */
    bool triggered;             /* modes 1 and 5: the gate rose since the control word */
    bool high_next_write, high_next_read;
    uint8_t low_byte;           /* first half of a count being written */
    uint32_t count;             /* 1 to 65536 (10000 when BCD) */
    uint64_t start;             /* tick at which counting began */
    uint64_t held;              /* periods counted when the gate stopped it */
    bool status_latched;
    uint8_t status;
    uint8_t latched;            /* bytes of the latched count still to be read */
    uint16_t latch;
};

struct pit {
    struct pit_channel channel[3];
    uint8_t port61;             /* the bits that read back: 3:0 */
    struct vtimer timer;        /* channel 0's next rising edge */
    uint64_t deadline;          /* of the timer, TIMER_NEVER: none */
    struct timer_queue *queue;
    const struct vclock *clock;
    struct irq_line irq;
};

/* fire is called by the queue at the timer's deadline and calls pit_expire with the owner's lock held. */
void pit_init(struct pit *p, const struct vclock *clock, struct timer_queue *queue, struct irq_line irq,
              void (*fire)(struct vtimer *timer, uint64_t now));
void pit_reset(struct pit *p);
void pit_expire(struct pit *p, uint64_t now);

uint64_t pit_read(void *pit, uint64_t port, unsigned size);
void pit_write(void *pit, uint64_t port, unsigned size, uint64_t value);
uint64_t pit_port61_read(void *pit, uint64_t port, unsigned size);
void pit_port61_write(void *pit, uint64_t port, unsigned size, uint64_t value);
