/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <stdatomic.h>

#include "core/config.h"

/*
 * Weighted virtual time: a vCPU's clock runs at 256 / weight while it runs and stands still while it waits; the one
 * that is furthest behind is next. A queue's floor is the least clock of those that can run on it and never goes back.
 * Who has slept is at most the credit behind the floor, so sleeping saves up no more than that. All times are TSC ticks.
 */
struct share {
    unsigned weight;           /* 1 to CONFIG_MAX_WEIGHT */
    bool awake;                /* could run when it was last looked at */
    uint64_t vtime;            /* virtual ticks */
    _Atomic uint64_t since;    /* TSC when it began to run, 0: it does not */
    uint64_t waits;            /* TSC since when it could run but does not, 0: it runs, or could not */
    uint64_t waited;           /* ticks of that in all, but for what goes on now */
    uint64_t woken;            /* TSC of its waking if it has not run since, else 0 */
    uint64_t ran;              /* ticks in all */
    uint64_t worst_wait;       /* longest time from waking to running */
};

/* It begins to run. */
static inline void share_begin(struct share *s, uint64_t now)
{
    if (s->woken && now - s->woken > s->worst_wait)
        s->worst_wait = now - s->woken;
    s->woken = 0;
    s->waited += s->waits ? now - s->waits : 0;
    s->waits = 0;
    atomic_store_explicit(&s->since, now, memory_order_relaxed);
}

/* It has run since share_begin, and now waits if it could go on. */
static inline void share_end(struct share *s, uint64_t now)
{
    uint64_t ran = now - atomic_load_explicit(&s->since, memory_order_relaxed);

    atomic_store_explicit(&s->since, 0, memory_order_relaxed);
    s->ran += ran;
    s->waits = now;
    s->vtime += ran * CONFIG_DEFAULT_WEIGHT / s->weight;
}

/* Ticks in which it could run but did not. */
static inline uint64_t share_waited(const struct share *s, uint64_t now)
{
    return s->waited + (s->waits ? now - s->waits : 0);
}

/* It comes to a queue, or can run again. */
static inline void share_join(struct share *s, uint64_t floor, uint64_t credit)
{
    s->vtime = MAX(s->vtime, floor > credit ? floor - credit : 0);
}

/* Is it next's turn? Who has just woken need not wait for the end of the slice if it is well behind. */
static inline bool share_yields(const struct share *now, const struct share *next, bool slice_over, uint64_t credit)
{
    return slice_over ? next->vtime <= now->vtime : next->woken && next->vtime + credit / 2 < now->vtime;
}
