/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/run_queue.h"
#include "arch/x86/cpu.h"
#include "core/sched.h"
#include "lib/errno.h"
#include "numa/page.h"

/*
 * Slices that one may be behind the floor where it comes to by moving: it keeps what it is owed, but where affinities
 * let the pCPUs' clocks drift apart it must not hold those up for long that live there.
 */
#define MOVE_CREDIT 8

static struct run_queue *queues;
uint64_t queue_slice;

int queue_init(uint64_t slice)
{
    struct hpa mem = page_alloc_zeroed(0, page_order(cpu_count() * sizeof(struct run_queue)), PAGE_HYPERVISOR);

    if (!mem.v)
        return -ENOMEM;
    queues = hpa_ptr(mem);
    queue_slice = slice;
    for (unsigned i = 0; i < cpu_count(); i++) {
        queues[i].armed = queues[i].console_poll = queues[i].level = UINT64_MAX;
        cpu_of(i)->sched = &queues[i];
    }
    return 0;
}

unsigned sched_choose(const struct cpu_set *allowed, int first)
{
    unsigned best = 0, least = UINT32_MAX;

    for (unsigned i = cpu_count(); i-- > 0;) {
        unsigned cost = 2 * queues[i].places + (first >= 0 && cpu_of(i)->node != cpu_of((unsigned)first)->node);

        if (!cpu_set_has(allowed, i) || cost >= least)
            continue;
        least = cost;
        best = i;
    }
    queues[best].places++;
    return best;
}

void sched_leave(unsigned cpu)
{
    queues[cpu].places--;
}

void queue_add(struct slot *slot, unsigned cpu)
{
    struct run_queue *q = &queues[cpu];

    spin_lock(&q->lock);
    atomic_store(&slot->vcpu.cpu, cpu);
    slot->next = q->head;
    q->head = slot;
    spin_unlock(&q->lock);
    sched_kick(cpu);
}

void queue_remove(struct run_queue *q, struct slot *slot)
{
    spin_lock(&q->lock);
    for (struct slot **p = &q->head; *p; p = &(*p)->next) {
        if (*p == slot) {
            *p = slot->next;
            break;
        }
    }
    spin_unlock(&q->lock);
}

/* Has what a halted vCPU waits for come? */
static bool has_news(struct slot *s)
{
    return (atomic_load_explicit(&s->listens, memory_order_relaxed) && atomic_load(&s->vcpu.woken)) ||
           s->vcpu.nmis || (s->wake_on_interrupt && board_pending(s->vcpu.devices));
}

static bool runnable(struct slot *s)
{
    const struct vm *vm = s->vm;

    if (atomic_load(&vm->state) == VM_STOPPING)
        return true; /* to leave */
    if (atomic_load(&vm->paused))
        return false;
    if (atomic_load(&s->requests))
        return true;
    if (s->state == VCPU_HALTED && has_news(s)) {
        s->state = VCPU_RUNNABLE;
        atomic_store_explicit(&s->listens, false, memory_order_relaxed);
    }
    return s->state == VCPU_RUNNABLE;
}

/* Nothing to run: those who have somebody waiting look whether he may come here. */
static void call_for_work(struct run_queue *q)
{
    for (unsigned i = 0; i < cpu_count(); i++)
        if (&queues[i] != q && atomic_load(&queues[i].waiting))
            sched_kick(i);
}

/* Nothing could run here: who comes now must not be owed for the time in which others shared their pCPUs. */
static void catch_up(struct run_queue *q)
{
    uint64_t least = QUEUE_IDLE;

    for (unsigned i = 0; i < cpu_count(); i++)
        if (atomic_load(&queues[i].waiting))
            least = MIN(least, atomic_load(&queues[i].level));
    if (least != QUEUE_IDLE)
        q->floor = MAX(q->floor, least);
}

/* It could not run, and now it can. */
static __attribute__((noinline)) void wake(struct run_queue *q, struct slot *s)
{
    if (atomic_load(&q->level) == QUEUE_IDLE)
        catch_up(q);
    share_join(&s->share, q->floor, s->fresh ? 0 : (s->moved ? MOVE_CREDIT : 1) * queue_slice);
    s->moved = false;
    s->share.woken = s->share.woken ? s->share.woken : rdtsc();
    s->share.waits = s->share.waits ? s->share.waits : rdtsc();
}

static bool look_awake(struct run_queue *q, struct slot *s)
{
    bool awake = runnable(s);

    if (awake && !s->share.awake)
        wake(q, s);
    if (!awake)
        s->share.waits = 0;
    return s->share.awake = awake;
}

struct slot *queue_survey(struct run_queue *q, struct slot *self)
{
    struct slot *next = NULL;
    uint64_t level = QUEUE_IDLE;

    q->awake = 0;
    for (struct slot *s = q->head; s; s = s->next) {
        if (!look_awake(q, s))
            continue;
        q->awake++;
        level = MIN(level, s->share.vtime);
        if (s != self && (!next || s->share.vtime < next->share.vtime))
            next = s;
    }
    if (level != QUEUE_IDLE)
        q->floor = MAX(q->floor, level);
    atomic_store(&q->waiting, next != NULL);
    if (atomic_exchange(&q->level, level) != level && level == QUEUE_IDLE)
        call_for_work(q);
    return next;
}

/* A vCPU that waits, and where it fares better: on a pCPU of this level, or one that is idle and near. */
struct move { struct slot *slot; unsigned cpu; uint64_t level; };

/* The level of a pCPU for one that may go there: the further an idle one is from the VM's memory the less. */
static uint64_t level_for(const struct slot *s, unsigned cpu)
{
    uint64_t level = atomic_load(&queues[cpu].level);
    unsigned node = cpu_of(cpu)->node;

    if (level < QUEUE_IDLE || node == s->vm->pmap.main_node)
        return level;
    return level - (node == cpu_this()->node ? 1 : 2);
}

/* Is there a better move with s than *best? */
static void look_for_better(const struct run_queue *q, struct slot *s, struct move *best)
{
    uint64_t least = MAX(s->share.vtime + queue_slice, best->level);

    for (unsigned i = cpu_count(); i-- > 0;) {
        uint64_t level = level_for(s, i);

        if (&queues[i] == q || !cpu_set_has(&s->vm->allowed, i) || level <= least)
            continue;
        least = level;
        *best = (struct move){ s, i, level };
    }
}

bool queue_give_away(struct run_queue *q, const struct slot *running,
                     void (*leave)(struct run_queue *q, struct slot *slot))
{
    struct move m = { 0 };

    for (struct slot *s = q->head; s; s = s->next)
        if (s != running && s->share.awake && s->state == VCPU_RUNNABLE && !atomic_load(&s->requests) &&
            atomic_load(&s->vm->state) == VM_RUNNING)
            look_for_better(q, s, &m);
    if (!m.slot)
        return false;
    leave(q, m.slot);
    queue_remove(q, m.slot);
    m.slot->share.awake = false; /* it joins there */
    m.slot->moved = true;
    atomic_store(&queues[m.cpu].level, m.slot->share.vtime); /* nobody else gives it one for the same reason */
    queue_add(m.slot, m.cpu);
    return true;
}

bool queue_favour(struct run_queue *q, const struct slot *self)
{
    q->favoured = NULL;
    for (struct slot *s = q->head; s; s = s->next)
        if (s != self && s->vm == self->vm && s->share.awake &&
            (!q->favoured || s->share.vtime < q->favoured->share.vtime))
            q->favoured = s;
    return q->favoured;
}

struct slot *queue_take_favoured(struct run_queue *q, const struct slot *self)
{
    struct slot *s = q->head;

    while (s && s != q->favoured)
        s = s->next;
    q->favoured = NULL;
    return s && s != self && s->share.awake && !q->breathes ? s : NULL;
}
