/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "arch/x86/percpu.h"
#include "core/vm.h"
#include "lib/spinlock.h"

/*
 * Lock order: vm.c's, then a pCPU's list, then the board's, the pmap's and the nodes'.
 *
 * Who runs next is decided by virtual time (core/share.h), on each pCPU for itself. A vCPU moves only by the hand of
 * the pCPU on whose list it is: one that has somebody waiting gives him to a pCPU that is idle or further ahead. So a
 * list has one writer but for additions, and a vCPU that runs is never touched by others.
 */

#define QUEUE_IDLE UINT64_MAX

struct run_queue {
    struct spinlock lock;      /* guards the list: others add, only the pCPU itself removes */
    struct slot *head;
    struct slot *loaded;       /* whose state the pCPU holds; taken off when another's turn comes */
    _Atomic uint64_t level;    /* least virtual time of what can run here, QUEUE_IDLE: nothing can */
    _Atomic bool waiting;      /* somebody can run but does not */
    unsigned awake;            /* how many can run, when queue_survey looked last */
    uint64_t floor;            /* level, but it never goes back */
    _Atomic unsigned places;   /* taken by sched_choose */
    uint64_t armed;            /* TSC the timer is set to */
    uint64_t slice_end;
    struct slot *favoured;     /* has the next turn, if it is still here: another may be spinning for it */
    bool breathes;             /* vCPUs run in the midst of other work of this pCPU's */
    uint64_t breathed;         /* TSC when that went on */
    uint64_t console_poll;     /* boot processor: TSC of the next look at the serial line */
};

extern uint64_t queue_slice; /* ticks: a vCPU's turn while others wait */

static inline struct run_queue *queue_mine(void) { return cpu_this()->sched; }

/* For all processors, slice in ticks. -ENOMEM. Once, before they start. */
int queue_init(uint64_t slice);

/* Puts a vCPU on a pCPU's list, which then looks at it. Any processor. */
void queue_add(struct slot *slot, unsigned cpu);
/* On the pCPU itself, and the vCPU is not loaded there any more. */
void queue_remove(struct run_queue *q, struct slot *slot);

/*
 * Who of those that wait is furthest behind, NULL: nobody waits. self: runs now, or NULL. Lets the other pCPUs know how
 * it stands here. On the pCPU itself, as those below.
 */
struct slot *queue_survey(struct run_queue *q, struct slot *self);

/* self may spin for a lock of a sibling that waits here: the one furthest behind of these, if any, is favoured. */
bool queue_favour(struct run_queue *q, const struct slot *self);
/* The favoured one, if it is still here and can run. It is not any more. */
struct slot *queue_take_favoured(struct run_queue *q, const struct slot *self);

/*
 * Moves one that waits to another pCPU if it fares better there: an idle one, if it can be of the node that holds its
 * VM's memory, or else of this one; else the one that is furthest ahead of it by a slice and more. Of several that wait
 * the one that comes nearest to its memory goes. running: not this one, or NULL. leave: it leaves this pCPU, whose list
 * it is taken off.
 */
bool queue_give_away(struct run_queue *q, const struct slot *running,
                     void (*leave)(struct run_queue *q, struct slot *slot));
