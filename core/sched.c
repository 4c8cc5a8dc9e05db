/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/sched.h"
#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/mce.h"
#include "arch/x86/nmi.h"
#include "arch/x86/percpu.h"
#include "core/console.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "numa/page.h"
#include "numa/sample.h"
#include "numa/scan.h"
#include "vmx/steal.h"
#include "vmx/vmcs_io.h"

/*
 * Lock order: vm.c's, then a pCPU's list, then the board's, the pmap's and the nodes'.
 *
 * Who runs next is decided by virtual time (core/share.h), on each pCPU for itself. A vCPU moves only by the hand of
 * the pCPU on whose list it is: one that has somebody waiting gives him to a pCPU that is idle or further ahead. So a
 * list has one writer but for additions, and a vCPU that runs is never touched by others.
 */

#define SLICE_MS         10
#define CONSOLE_POLL_MS  10
#define BREATH_MS        5     /* work of the hypervisor's and vCPUs take turns of this length */
#define BREATH_WOKEN_MS  1     /* the turn of the work while one waits that has just woken */
#define LOOK_MS          10    /* at least this often a running vCPU is asked whether it may go on */

/*
 * Slices that one may be behind the floor where it comes to by moving: it keeps what it is owed, but where affinities
 * let the pCPUs' clocks drift apart it must not hold those up for long that live there.
 */
#define MOVE_CREDIT      8
#define LEVEL_IDLE       UINT64_MAX

struct run_queue {
    struct spinlock lock;      /* guards the list: others add, only the pCPU itself removes */
    struct slot *head;
    struct slot *loaded;       /* whose state the pCPU holds; taken off when another's turn comes */
    _Atomic uint64_t level;    /* least virtual time of what can run here, LEVEL_IDLE: nothing can */
    _Atomic bool waiting;      /* somebody can run but does not */
    unsigned awake;            /* how many can run, when survey looked last */
    uint64_t floor;            /* level, but it never goes back */
    _Atomic unsigned places;   /* taken by sched_choose */
    uint64_t armed;            /* TSC the timer is set to */
    uint64_t slice_end;
    struct slot *favoured;     /* has the next turn, if it is still here: another may be spinning for it */
    bool breathes;             /* vCPUs run in the midst of other work of this pCPU's */
    uint64_t breathed;         /* TSC when that went on */
    uint64_t console_poll;     /* boot processor: TSC of the next look at the serial line */
};

static struct run_queue *queues;
static uint64_t ticks_per_ms;
static _Atomic bool ending;

static struct run_queue *my_queue(void) { return cpu_this()->sched; }
static struct slot *slot_of(struct vcpu *v) { return container_of(v, struct slot, vcpu); }
static uint64_t ms_ticks(uint64_t ms) { return ms * ticks_per_ms; }

int sched_init(void)
{
    unsigned order = 0;
    struct hpa mem;

    while ((PAGE_SIZE << order) < cpu_count() * sizeof(struct run_queue))
        order++;
    mem = page_alloc_zeroed(0, order, PAGE_HYPERVISOR);
    if (!mem.v)
        return -ENOMEM;
    queues = hpa_ptr(mem);
    ticks_per_ms = tsc_khz();
    for (unsigned i = 0; i < cpu_count(); i++) {
        queues[i].armed = queues[i].console_poll = queues[i].level = UINT64_MAX;
        cpu_of(i)->sched = &queues[i];
    }
    queues[0].console_poll = 0;
    return 0;
}

unsigned sched_choose(const struct cpu_set *allowed)
{
    int best = -1;

    for (unsigned i = cpu_count(); i-- > 0;)
        if (cpu_set_has(allowed, i) && (best < 0 || queues[i].places < queues[best].places))
            best = (int)i;
    queues[best].places++;
    return (unsigned)best;
}

void sched_leave(unsigned cpu)
{
    queues[cpu].places--;
}

/* The vCPU that runs here may not go on before sched_resume has looked at everything. */
static void look_again(void)
{
    struct vcpu *v = cpu_this()->vcpu;

    if (v)
        v->look_at = 0;
}

void sched_kick(unsigned cpu)
{
    if (cpu != cpu_index())
        apic_ipi(cpu_of(cpu)->apic_id, VECTOR_KICK);
    else
        look_again();
}

void sched_post(unsigned cpu)
{
    if (cpu != cpu_index())
        apic_ipi(cpu_of(cpu)->apic_id, VECTOR_POST);
    else
        look_again();
}

static void add_slot(struct slot *slot, unsigned cpu)
{
    struct run_queue *q = &queues[cpu];

    spin_lock(&q->lock);
    atomic_store(&slot->vcpu.cpu, cpu);
    slot->next = q->head;
    q->head = slot;
    spin_unlock(&q->lock);
    sched_kick(cpu);
}

void sched_add(struct slot *slot)
{
    slot->share = (struct share){ .weight = slot->vm->config->weight };
    add_slot(slot, slot->vcpu.cpu);
}

static void remove_slot(struct run_queue *q, struct slot *slot)
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

/* The state of the vCPU that ran here last stays in the processor until another's turn comes, or it leaves. */
static void unload(struct run_queue *q)
{
    if (q->loaded)
        vcpu_put(&q->loaded->vcpu);
    q->loaded = NULL;
}

/* It leaves this pCPU. */
static void take_off(struct run_queue *q, struct slot *s)
{
    if (q->loaded == s)
        unload(q);
    vcpu_release(&s->vcpu);
    remove_slot(q, s);
}

static void load(struct run_queue *q, struct slot *s, uint64_t now)
{
    if (q->loaded == s)
        return;
    if (q->loaded) {
        steal_preempted(&q->loaded->vcpu);
        vcpu_switch(&q->loaded->vcpu, &s->vcpu);
    } else {
        vcpu_load(&s->vcpu);
    }
    steal_resumed(&s->vcpu, share_waited(&s->share, now));
    q->loaded = s;
}

void sched_interrupt(uint8_t vector)
{
    struct run_queue *q = my_queue();

    if (vector == VECTOR_TIMER)
        q->armed = UINT64_MAX;
    if (vector != VECTOR_POST || (q->head && q->head->next))
        look_again();
    if ((vector >= VECTOR_FIRST && vector != VECTOR_SPURIOUS) || apic_in_service(vector))
        apic_eoi();
}

void sched_halt(struct vcpu *v)
{
    struct slot *s = slot_of(v);

    s->state = VCPU_HALTED;
    s->wake_on_interrupt = vmread(VMCS_GUEST_RFLAGS) & RFLAGS_IF;
    if (!s->wake_on_interrupt && vm_halted_for_ever(s->vm))
        log_info("vm %s: has halted with interrupts off; it can only be stopped or reset", s->vm->config->name);
}

void sched_idle(struct vcpu *v)
{
    struct slot *s = slot_of(v);

    s->state = VCPU_HALTED;
    s->wake_on_interrupt = true;
}

/* It may spin for a lock of a sibling that waits for this pCPU: the one that is furthest behind of these is next. */
void sched_spins(struct vcpu *v)
{
    struct run_queue *q = my_queue();
    struct slot *self = slot_of(v);

    q->favoured = NULL;
    for (struct slot *s = q->head; s; s = s->next)
        if (s != self && s->vm == self->vm && s->share.awake &&
            (!q->favoured || s->share.vtime < q->favoured->share.vtime))
            q->favoured = s;
    if (q->favoured)
        look_again();
}

/* The favoured one, if it is still here and can run. */
static __attribute__((noinline)) struct slot *take_favoured(struct run_queue *q, const struct slot *self)
{
    struct slot *s = q->head;

    while (s && s != q->favoured)
        s = s->next;
    q->favoured = NULL;
    return s && s != self && s->share.awake && !q->breathes ? s : NULL;
}

uint64_t sched_ran(const struct slot *s)
{
    uint64_t since = atomic_load_explicit(&s->share.since, memory_order_relaxed);

    return s->share.ran + (since ? rdtsc() - since : 0);
}

/* INIT and SIPI from another vCPU's local APIC. The vCPU is loaded. */
static void do_requests(struct slot *s)
{
    uint32_t r = atomic_exchange(&s->requests, 0);

    if (r & REQUEST_INIT) {
        board_lapic_reset(s->vcpu.devices);
        s->state = VCPU_WAIT_SIPI;
    }
    if ((r & REQUEST_SIPI) && s->state == VCPU_WAIT_SIPI) {
        s->start = (struct vcpu_start){ .mode = START_SIPI, .sipi_vector = s->sipi_vector };
        vcpu_reset(&s->vcpu, &s->start);
        s->state = VCPU_RUNNABLE;
    }
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
    if (s->state == VCPU_HALTED && (s->vcpu.nmis || (s->wake_on_interrupt && board_pending(s->vcpu.devices))))
        s->state = VCPU_RUNNABLE;
    return s->state == VCPU_RUNNABLE;
}

static uint64_t tsc_of(const struct slot *s, uint64_t tick)
{
    return tick == TIMER_NEVER ? UINT64_MAX : tick - s->vcpu.tsc_base;
}

/* TSC at which this pCPU has to look again; slice: somebody else waits for the running vCPU's turn to end. */
static uint64_t next_deadline(struct run_queue *q, bool slice)
{
    uint64_t when = MIN(q->console_poll, slice ? q->slice_end : UINT64_MAX);

    for (struct slot *s = q->head; s; s = s->next)
        if (!atomic_load(&s->vm->paused))
            when = MIN(when, tsc_of(s, timer_next(s->timers)));
    return when;
}

static __attribute__((noinline)) bool set_timer(struct run_queue *q, uint64_t when)
{
    q->armed = when;
    apic_timer_arm(when);
    return true;
}

static void arm(struct run_queue *q, bool slice)
{
    uint64_t when = next_deadline(q, slice);

    if (when != q->armed)
        (void)set_timer(q, when);
}

static void poll_console(struct run_queue *q)
{
    q->console_poll = rdtsc() + ms_ticks(CONSOLE_POLL_MS);
    console_poll();
    nmi_report();
    mce_report();
}

/* What is due on this pCPU, whoever runs. */
static void run_due(struct run_queue *q)
{
    uint64_t now = rdtsc();

    if (now >= q->console_poll)
        poll_console(q);
    sample_poll(now, ticks_per_ms);
    for (struct slot *s = q->head; s; s = s->next)
        if (tsc_of(s, timer_next(s->timers)) <= now && !atomic_load(&s->vm->paused))
            timer_run(s->timers, now + s->vcpu.tsc_base);
}

/* Nothing to run: those who have somebody waiting look whether he may come here. */
static void call_for_work(struct run_queue *q)
{
    for (unsigned i = 0; i < cpu_count(); i++)
        if (&queues[i] != q && atomic_load(&queues[i].waiting))
            sched_kick(i);
}

static uint64_t slice_ticks(void) { return ms_ticks(SLICE_MS); }

/* Nothing could run here: who comes now must not be owed for the time in which others shared their pCPUs. */
static void catch_up(struct run_queue *q)
{
    uint64_t least = LEVEL_IDLE;

    for (unsigned i = 0; i < cpu_count(); i++)
        if (atomic_load(&queues[i].waiting))
            least = MIN(least, atomic_load(&queues[i].level));
    if (least != LEVEL_IDLE)
        q->floor = MAX(q->floor, least);
}

/* It could not run, and now it can. */
static __attribute__((noinline)) void wake(struct run_queue *q, struct slot *s)
{
    if (atomic_load(&q->level) == LEVEL_IDLE)
        catch_up(q);
    share_join(&s->share, q->floor, s->fresh ? 0 : (s->moved ? MOVE_CREDIT : 1) * slice_ticks());
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

/*
 * Who of those that wait is furthest behind, NULL: nobody waits. self: runs now, or NULL. Lets the other pCPUs know how
 * it stands here.
 */
static struct slot *survey(struct run_queue *q, struct slot *self)
{
    struct slot *next = NULL;
    uint64_t level = LEVEL_IDLE;

    q->awake = 0;
    for (struct slot *s = q->head; s; s = s->next) {
        if (!look_awake(q, s))
            continue;
        q->awake++;
        level = MIN(level, s->share.vtime);
        if (s != self && (!next || s->share.vtime < next->share.vtime))
            next = s;
    }
    if (level != LEVEL_IDLE)
        q->floor = MAX(q->floor, level);
    atomic_store(&q->waiting, next != NULL);
    if (atomic_exchange(&q->level, level) != level && level == LEVEL_IDLE)
        call_for_work(q);
    return next;
}

/*
 * The pCPU that a waiting vCPU had better go to: an idle one, of its own node if it can be, else the one that is
 * furthest ahead of it by a slice and more; -1: none.
 */
static int better_cpu(const struct run_queue *q, const struct slot *s)
{
    uint64_t most = s->share.vtime + slice_ticks();
    int best = -1;

    for (unsigned i = cpu_count(); i-- > 0;) {
        uint64_t level = atomic_load(&queues[i].level);

        if (&queues[i] == q || !cpu_set_has(&s->vm->allowed, i) || level <= most)
            continue;
        if (level == LEVEL_IDLE && cpu_of(i)->node != cpu_this()->node)
            level--;
        most = level;
        best = (int)i;
    }
    return best;
}

/* Gives one that waits to another pCPU if it fares better there; true if it did. running: not this one, or NULL. */
static bool give_away(struct run_queue *q, const struct slot *running)
{
    for (struct slot *s = q->head; s; s = s->next) {
        int cpu;

        if (s == running || !s->share.awake || s->state != VCPU_RUNNABLE || atomic_load(&s->requests) ||
            atomic_load(&s->vm->state) != VM_RUNNING)
            continue;
        cpu = better_cpu(q, s);
        if (cpu < 0)
            continue;
        take_off(q, s);
        s->share.awake = false; /* it joins there */
        s->moved = true;
        atomic_store(&queues[cpu].level, s->share.vtime); /* nobody else gives it one for the same reason */
        add_slot(s, (unsigned)cpu);
        return true;
    }
    return false;
}

static void idle(struct run_queue *q)
{
    uint64_t now = rdtsc(), when;

    if (page_zero_ahead(cpu_this()->node))
        return;
    when = scan_step(now, tsc_khz());
    if (when <= now)
        return;
    when = MIN(when, next_deadline(q, false));
    if (when != q->armed)
        (void)set_timer(q, when);
    sti_hlt_cli();
}

static bool has_work(void)
{
    for (unsigned i = 0; vm_any_changing() && i < vm_count(); i++)
        if (vm_at(i)->home == cpu_index() && vm_service(vm_at(i)))
            return true;
    return false;
}

static bool must_leave(const struct slot *s)
{
    const struct vm *vm = s->vm;

    return atomic_load(&vm->state) == VM_STOPPING || atomic_load(&vm->paused) || atomic_load(&s->requests) ||
           s->state == VCPU_WAIT_SIPI || atomic_load(&ending);
}

/* A home with another VM to build or tear down gives its vCPU a break. */
static bool home_calls(void)
{
    for (unsigned i = 0; vm_any_changing() && i < vm_count(); i++) {
        struct vm *vm = vm_at(i);
        int state = atomic_load(&vm->state);

        if (vm->home == cpu_index() && (state == VM_STARTING || (state == VM_STOPPING && !atomic_load(&vm->active))))
            return true;
    }
    return false;
}

/*
 * Since the last look nothing has changed but what the vCPU itself did to its devices: whatever others do comes with an
 * interrupt, whatever else it does itself with a kick, and both ask for a look. Its timers may be due earlier now.
 */
static inline bool goes_on(struct slot *s, struct run_queue *q)
{
    uint64_t when;

    if (s->state != VCPU_RUNNABLE)
        return false;
    when = tsc_of(s, timer_next(s->timers));
    if (rdtsc() >= MIN(s->vcpu.look_at, when))
        return false; /* the look sets the timer, and not for what is due already: that would be an exit for nothing */
    if (when < q->armed)
        (void)set_timer(q, when);
    return true;
}

/* May it go on although next waits? At the end of its slice it gets another one if it is still behind. */
static bool its_turn(struct run_queue *q, const struct slot *s, const struct slot *next)
{
    bool over = rdtsc() >= q->slice_end;

    if (next && share_yields(&s->share, &next->share, over, slice_ticks()))
        return false;
    if (over)
        q->slice_end = rdtsc() + slice_ticks();
    return true;
}

/* This pCPU is the vCPU's from now on. */
static void step_in(struct run_queue *q, struct slot *s)
{
    uint64_t now = rdtsc();

    q->slice_end = now + (q->breathes ? ms_ticks(BREATH_MS) : slice_ticks());
    load(q, s, now);
    if (s->fresh) {
        vcpu_reset(&s->vcpu, &s->start);
        s->fresh = false;
    }
    if (s->retimed) {
        vcpu_set_tsc_base(&s->vcpu, s->vm->tsc_base);
        s->retimed = false;
    }
    if (atomic_load(&s->requests))
        do_requests(s);
}

/* The vCPU goes into the guest; waits: somebody else waits for its turn to end. */
static inline __attribute__((always_inline)) struct guest_regs *enter(struct run_queue *q, struct slot *s, bool waits)
{
    uint64_t now = rdtsc();

    vcpu_spins_end(&s->vcpu, waits);
    arm(q, waits || q->breathes);
    share_begin(&s->share, now);
    s->vcpu.look_at = MIN(q->armed, now + ms_ticks(LOOK_MS));
    vcpu_prepare_entry(&s->vcpu);
    return &s->vcpu.regs;
}

/* next takes over from s, whose turn has ended. NULL: the loop has to see to it, nobody is in. */
static struct guest_regs *hand_over(struct run_queue *q, struct slot *s, struct slot *next)
{
    bool waits = q->awake > 1;

    if (q->breathes || s->vm != next->vm) {
        vm_left(s->vm);
        if (q->breathes || !vm_enter(next->vm))
            return NULL;
    }
    step_in(q, next);
    if (next->state != VCPU_RUNNABLE || atomic_load(&next->vm->state) == VM_STOPPING) {
        vm_left(next->vm);
        return NULL;
    }
    atomic_store(&q->waiting, waits);
    if (waits && give_away(q, next))
        waits = survey(q, next);
    return enter(q, next, waits);
}

/*
 * Everything is looked at: what is due runs, and s, which is in, goes on if it may and it is its turn, or another one
 * in its place. NULL: nobody is in now.
 */
static struct guest_regs *take_turns(struct run_queue *q, struct slot *s)
{
    for (;;) {
        struct slot *next, *favoured;

        run_due(q);
        if (must_leave(s) || (!q->breathes && home_calls()))
            break;
        next = survey(q, s);
        if (q->breathes && (!s->share.awake || rdtsc() >= q->slice_end))
            break;
        favoured = q->favoured ? take_favoured(q, s) : NULL;
        if (favoured)
            return hand_over(q, s, favoured);
        if (next && (!s->share.awake || !its_turn(q, s, next)))
            return hand_over(q, s, next);
        if (next && give_away(q, s)) /* only now: who is next runs here, else two pCPUs could pass it to and fro */
            next = survey(q, s);
        if (s->share.awake)
            return enter(q, s, next);
        idle(q);
    }
    vm_left(s->vm);
    return NULL;
}

/* The same from the short way of an exit: a deadline that has passed already comes as an interrupt. */
bool sched_goes_on(struct vcpu *v)
{
    struct slot *s = slot_of(v);
    struct run_queue *q = my_queue();
    uint64_t when = tsc_of(s, timer_next(s->timers));

    return v->look_at && (when >= q->armed || set_timer(q, when));
}

struct guest_regs *sched_resume(struct vcpu *v)
{
    struct slot *s = slot_of(v);
    struct run_queue *q = my_queue();

    if (!goes_on(s, q)) {
        share_end(&s->share, rdtsc());
        return take_turns(q, s);
    }
    vcpu_prepare_entry(v);
    return &v->regs;
}

/* Takes a vCPU of a stopping VM off; the last one lets the home tear the VM down. */
static void park(struct run_queue *q, struct slot *s)
{
    struct vm *vm = s->vm;

    take_off(q, s);
    if (atomic_fetch_sub(&vm->active, 1) == 1)
        sched_kick(vm->home);
}

static void run(struct run_queue *q, struct slot *s)
{
    struct guest_regs *regs;

    if (!vm_enter(s->vm))
        return;
    step_in(q, s);
    regs = take_turns(q, s);
    if (regs)
        vmx_run(regs);
}

static void run_or_park(struct run_queue *q, struct slot *s)
{
    if (atomic_load(&s->vm->state) == VM_STOPPING)
        park(q, s);
    else
        run(q, s);
}

void sched_breathe(void)
{
    struct run_queue *q = my_queue();
    struct slot *s;

    run_due(q);
    s = survey(q, NULL);
    if (!s || rdtsc() - q->breathed < ms_ticks(s->share.woken ? BREATH_WOKEN_MS : BREATH_MS))
        return;
    q->breathes = true;
    run_or_park(q, s);
    q->breathes = false;
    q->breathed = rdtsc();
}

void sched_loop(void)
{
    struct run_queue *q = my_queue();

    while (!atomic_load(&ending)) {
        struct slot *s;

        run_due(q);
        if (has_work())
            continue;
        s = survey(q, NULL);
        if (s)
            run_or_park(q, s);
        else
            idle(q);
    }
    unload(q);
}

void sched_end(void)
{
    atomic_store(&ending, true);
    for (unsigned i = 0; i < cpu_count(); i++)
        sched_kick(i);
}
