/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/lapic.h"

/* SDM vol. 3, 11.5.4. The timer's input clock runs at the rate of the VM's clock, so nothing is ever rounded. */
#define LVT_MODE(v) ((v) >> 17 & 3)
#define LVT_MASKED  BIT(16)
enum { ONE_SHOT, PERIODIC, TSC_DEADLINE };

static unsigned mode(const struct lapic *l)
{
    return LVT_MODE(l->lvt[LVT_TIMER]);
}

/* Divide configuration bits 3, 1 and 0: 000 is 2, 001 is 4, ..., 110 is 128, 111 is 1. */
static unsigned divide_shift(uint32_t divide)
{
    return ((divide & 3) + (divide >> 1 & 4) + 1) & 7;
}

static uint64_t period(const struct lapic *l)
{
    return (uint64_t)l->initial_count << divide_shift(l->divide);
}

/* The same, but not so short that the guest could drown its processor in ticks. */
static uint64_t safe_period(const struct lapic *l)
{
    return MAX(period(l), vclock_min_period(l->clock));
}

void lapic_timer_stop(struct lapic *l)
{
    l->expiry = 0;
    l->tsc_deadline = 0;
    timer_set_own(l->queue, TIMER_NEVER);
}

static void start(struct lapic *l, uint64_t expiry)
{
    l->expiry = expiry;
    timer_set_own(l->queue, expiry);
}

/* Between one-shot and periodic the count goes on; to and from TSC-deadline mode it stops. */
void lapic_timer_set_lvt(struct lapic *l, uint32_t value)
{
    bool stops = (mode(l) == TSC_DEADLINE) != (LVT_MODE(value) == TSC_DEADLINE);

    l->lvt[LVT_TIMER] = value;
    if (stops)
        lapic_timer_stop(l);
}

void lapic_timer_set_count(struct lapic *l, uint32_t count)
{
    if (mode(l) == TSC_DEADLINE)
        return;
    l->initial_count = count;
    if (!count)
        lapic_timer_stop(l);
    else
        start(l, vclock_now(l->clock) + (mode(l) == PERIODIC ? safe_period(l) : period(l)));
}

/* The counts that are left go on at the new rate. */
void lapic_timer_set_divide(struct lapic *l, uint32_t divide)
{
    uint64_t left = lapic_timer_count(l);

    l->divide = divide;
    if (left)
        start(l, vclock_now(l->clock) + (left << divide_shift(divide)));
}

static void post(struct lapic *l)
{
    uint32_t lvt = l->lvt[LVT_TIMER];

    if (!(lvt & LVT_MASKED) && lapic_post(l, (uint8_t)lvt, false))
        l->wires->kick(l->ctx, l->id);
}

/* One that has passed fires like the others: timers that are due run before the vCPU goes on. */
void lapic_timer_set_deadline(struct lapic *l, uint64_t tick)
{
    if (mode(l) != TSC_DEADLINE)
        return;
    l->tsc_deadline = tick;
    timer_set_own(l->queue, tick ? tick : TIMER_NEVER);
}

/* What the current-count register shows: rounded up, so that 0 means it is over. */
uint32_t lapic_timer_count(const struct lapic *l)
{
    uint64_t now = vclock_now(l->clock), unit = BIT(divide_shift(l->divide)), left;

    if (!l->expiry)
        return 0;
    if (now < l->expiry)
        left = l->expiry - now;
    else if (mode(l) == PERIODIC)
        left = safe_period(l) - (now - l->expiry) % safe_period(l);
    else
        return 0;
    return (uint32_t)MIN((left + unit - 1) / unit, l->initial_count);
}

/* Periods that went by while nobody ran the timer are lost, not made up for. */
static void end_of_count(struct lapic *l, uint64_t now)
{
    uint64_t p = safe_period(l);

    if (mode(l) == PERIODIC)
        start(l, l->expiry + ((now - l->expiry) / p + 1) * p);
    else
        l->expiry = 0;
    post(l);
}

void lapic_timer_fire(struct vtimer *timer, uint64_t now)
{
    struct lapic *l = container_of(timer, struct lapic, timer);

    if (l->tsc_deadline && now >= l->tsc_deadline) {
        l->tsc_deadline = 0;
        post(l);
    } else if (l->expiry && now >= l->expiry) {
        end_of_count(l, now);
    }
}
