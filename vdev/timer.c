/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/timer.h"

/* Timers of all a vCPU's devices are fewer than this; a device that armed itself in the past again and again waits. */
#define TIMER_RUN_MAX 32

/* Lock held, as last thing. */
static void unlock(struct timer_queue *q)
{
    atomic_store_explicit(&q->left, q->head ? ~q->head->deadline : 0, memory_order_release);
    spin_unlock(&q->lock);
}

static void unlink_timer(struct timer_queue *q, struct vtimer *t)
{
    struct vtimer **p = &q->head;

    if (!t->armed)
        return;
    while (*p && *p != t)
        p = &(*p)->next;
    if (*p)
        *p = t->next;
    t->next = NULL;
    t->armed = false;
}

/*
 * Arms t (again, if it was armed) for a deadline in ticks; equal deadlines fire in the order of arming. t->fire must be
 * set; t stays the caller's memory and belongs to this queue until it fired or was cancelled. Takes the queue's lock.
 */
void timer_arm(struct timer_queue *q, struct vtimer *t, uint64_t deadline)
{
    struct vtimer **p = &q->head;

    spin_lock(&q->lock);
    unlink_timer(q, t);
    while (*p && (*p)->deadline <= deadline)
        p = &(*p)->next;
    t->deadline = deadline;
    t->next = *p;
    t->armed = true;
    *p = t;
    unlock(q);
}

/*
 * Takes t out if it is armed. Its fire function may be running, or about to, on the queue's pCPU: there owners check
 * their own deadline.
 */
void timer_cancel(struct timer_queue *q, struct vtimer *t)
{
    spin_lock(&q->lock);
    unlink_timer(q, t);
    unlock(q);
}

static struct vtimer *pop_due(struct timer_queue *q, uint64_t now)
{
    struct vtimer *t;

    spin_lock(&q->lock);
    t = q->head;
    if (t && t->deadline <= now)
        unlink_timer(q, t);
    else
        t = NULL;
    unlock(q);
    return t;
}

void timer_run(struct timer_queue *q, uint64_t now)
{
    if (~q->own_left <= now) {
        timer_set_own(q, TIMER_NEVER);
        q->own->fire(q->own, now);
    }
    for (unsigned n = 0; n < TIMER_RUN_MAX; n++) {
        struct vtimer *t = pop_due(q, now);

        if (!t)
            return;
        t->fire(t, now);
    }
}
