/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"
#include "vmx/vmcs.h"

/*
 * What a vCPU's exits were and how long they took: from the exit until the guest goes on, or until the pCPU goes to
 * another; a HLT's is the time it slept. Exits done the short way are counted but not timed, for a look at the clock
 * would be a tenth of what they cost; theirs is the difference between count and the sum of by_time.
 */
#define EXIT_BUCKETS     20
#define EXIT_BUCKET_BITS 8     /* bucket b: less than 2^(8 + b) ticks; the last: all that are longer */

struct exit_stats {
    uint64_t count[EXIT_REASON_COUNT];
    uint64_t ticks[EXIT_REASON_COUNT];
    uint64_t by_time[EXIT_REASON_COUNT][EXIT_BUCKETS];
};

static inline unsigned exit_bucket(uint64_t ticks)
{
    unsigned bits = 64 - (unsigned)__builtin_clzll(ticks | 1);

    return bits <= EXIT_BUCKET_BITS ? 0 : MIN(bits - EXIT_BUCKET_BITS, EXIT_BUCKETS - 1u);
}

static inline void exit_stats_time(struct exit_stats *s, uint32_t reason, uint64_t ticks)
{
    s->ticks[reason] += ticks;
    s->by_time[reason][exit_bucket(ticks)]++;
}

static inline uint64_t exit_stats_timed(const struct exit_stats *s, uint32_t reason)
{
    uint64_t n = 0;

    for (unsigned b = 0; b < EXIT_BUCKETS; b++)
        n += s->by_time[reason][b];
    return n;
}

/* Another pCPU may be counting in from: each figure is right, the whole is of no one moment. */
static inline void exit_stats_add(struct exit_stats *to, const struct exit_stats *from)
{
    for (unsigned r = 0; r < EXIT_REASON_COUNT; r++) {
        to->count[r] += from->count[r];
        to->ticks[r] += from->ticks[r];
        for (unsigned b = 0; b < EXIT_BUCKETS; b++)
            to->by_time[r][b] += from->by_time[r][b];
    }
}
