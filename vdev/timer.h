/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/spinlock.h"
#include "lib/types.h"

/* Deadlines of one vCPU's devices. Time is in ticks of the VM's clock (the guest's TSC before its own adjustment). */
struct vtimer {
    struct vtimer *next;
    uint64_t deadline;
    bool armed;
    void (*fire)(struct vtimer *timer, uint64_t now);
};

struct timer_queue {
    struct spinlock lock;
    struct vtimer *head; /* earliest first */
    _Atomic uint64_t left; /* ~deadline of the head, 0 if there is none: looked at without the lock at every VM exit */
    struct vtimer *own; /* the local APIC's, not in the list: only the queue's pCPU touches it, without the lock */
    _Atomic uint64_t own_left; /* ~its deadline */
};

#define TIMER_NEVER UINT64_MAX

/* Sets the queue's own timer, or takes it off with TIMER_NEVER. On the queue's pCPU. */
static inline void timer_set_own(struct timer_queue *q, uint64_t deadline)
{
    atomic_store_explicit(&q->own_left, ~deadline, memory_order_relaxed);
}

void timer_arm(struct timer_queue *q, struct vtimer *t, uint64_t deadline);
void timer_cancel(struct timer_queue *q, struct vtimer *t);
/* Deadline of the earliest timer, TIMER_NEVER if none. No locks. */
static inline uint64_t timer_next(const struct timer_queue *q)
{
    uint64_t left = atomic_load_explicit(&q->left, memory_order_acquire);
    uint64_t own = atomic_load_explicit(&q->own_left, memory_order_relaxed);

    return ~MAX(left, own);
}

/* Fires every timer due at now, with the queue's lock released around each call; a fired timer may arm itself again. */
void timer_run(struct timer_queue *q, uint64_t now);
