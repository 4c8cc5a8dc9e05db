/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "tests/unit/random.h"
#include "vdev/clock.h"
#include "vdev/line.h"
#include "vdev/timer.h"

/* The world around a device in the unit tests: a clock that stands until a test moves it, interrupt wires, chance. */
#define FAKE_HZ 2400000000ull

static uint64_t fake_tick;
static struct timer_queue fake_queue;
static struct { bool level; unsigned rises; } fake_line[24];

static inline uint64_t fake_now(void *ctx)
{
    (void)ctx;
    return fake_tick;
}

static __attribute__((unused)) struct vclock fake_clock = { fake_now, NULL, FAKE_HZ };

static inline void fake_set_line(void *ctx, unsigned gsi, bool level)
{
    (void)ctx;
    fake_line[gsi].rises += level && !fake_line[gsi].level;
    fake_line[gsi].level = level;
}

static inline struct irq_line fake_irq(unsigned gsi)
{
    return (struct irq_line){ fake_set_line, NULL, gsi };
}

static inline void fake_reset(void)
{
    fake_tick = 1000000;
    fake_queue = (struct timer_queue){ .head = NULL };
    memset(fake_line, 0, sizeof(fake_line));
}

/* Lets time pass, firing every timer at its own moment; returns how many moments there were. */
static inline unsigned fake_wait(uint64_t ticks)
{
    uint64_t end = fake_tick + ticks;
    unsigned fired = 0;

    while (timer_next(&fake_queue) <= end) {
        fake_tick = timer_next(&fake_queue) > fake_tick ? timer_next(&fake_queue) : fake_tick;
        timer_run(&fake_queue, fake_tick);
        fired++;
    }
    fake_tick = end;
    return fired;
}

static inline unsigned fake_wait_us(uint64_t us)
{
    return fake_wait(us * (FAKE_HZ / 1000000));
}

static inline unsigned fake_timers(const struct timer_queue *q)
{
    unsigned n = 0;

    for (const struct vtimer *t = q->head; t; t = t->next)
        n++;
    return n + !!q->own_left;
}
