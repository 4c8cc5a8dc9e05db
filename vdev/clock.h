/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * The VM's clock as a device sees it, and conversions between its ticks and a device's own rate. scale64 never
 * overflows into a divide error: the quotient of the remainder's part is below mul; a result beyond 64 bits wraps.
 */
struct vclock {
    uint64_t (*now)(void *ctx);
    void *ctx;
    uint64_t hz;        /* ticks per second, not 0 */
};

static inline uint64_t scale64(uint64_t a, uint64_t mul, uint64_t div)
{
    return a / div * mul + muldiv64(a % div, mul, div);
}

static inline uint64_t vclock_now(const struct vclock *c)
{
    return c->now(c->ctx);
}

/* Ticks in n periods of a rate (Hz), rounded down. */
static inline uint64_t vclock_ticks(const struct vclock *c, uint64_t n, uint64_t rate)
{
    return scale64(n, c->hz, rate);
}

/* Periods of a rate (Hz) in this many ticks, rounded down. */
static inline uint64_t vclock_periods(const struct vclock *c, uint64_t ticks, uint64_t rate)
{
    return scale64(ticks, rate, c->hz);
}

/* No guest may have a periodic timer fire more often than this: what it asks for beyond is slowed down. */
#define VCLOCK_MIN_PERIOD_US 20u

static inline uint64_t vclock_min_period(const struct vclock *c)
{
    return MAX(vclock_ticks(c, VCLOCK_MIN_PERIOD_US, 1000000), 1);
}
