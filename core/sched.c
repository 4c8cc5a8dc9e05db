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
#include "numa/scan.h"
#include "vmx/vmcs_io.h"

/* Lock order: vm.c's, then a pCPU's list, then the board's, the pmap's and the nodes'. */

#define SLICE_MS         10
#define CONSOLE_POLL_MS  10
#define LOOK_MS          10    /* at least this often a running vCPU is asked whether it may go on */

struct run_queue {
    struct spinlock lock;      /* guards the list: others add, only the pCPU itself removes */
    struct slot *head;
    unsigned count;
    _Atomic unsigned places;   /* taken by sched_choose */
    uint64_t armed;            /* TSC the timer is set to */
    uint64_t slice_end;
    uint64_t console_poll;     /* boot processor: TSC of the next look at the serial line */
};

static struct run_queue *queues;
static _Atomic bool ending;

static struct run_queue *my_queue(void) { return cpu_this()->sched; }
static struct slot *slot_of(struct vcpu *v) { return container_of(v, struct slot, vcpu); }
static uint64_t ms_ticks(uint64_t ms) { return ms * tsc_khz(); }

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
    for (unsigned i = 0; i < cpu_count(); i++) {
        queues[i].armed = queues[i].console_poll = UINT64_MAX;
        cpu_of(i)->sched = &queues[i];
    }
    queues[0].console_poll = 0;
    return 0;
}

unsigned sched_choose(void)
{
    unsigned best = cpu_count() - 1;

    for (unsigned i = cpu_count(); i-- > 0;)
        if (queues[i].places < queues[best].places)
            best = i;
    queues[best].places++;
    return best;
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

void sched_add(struct slot *slot)
{
    struct run_queue *q = &queues[slot->vcpu.cpu];

    spin_lock(&q->lock);
    slot->next = q->head;
    q->head = slot;
    q->count++;
    spin_unlock(&q->lock);
    sched_kick(slot->vcpu.cpu);
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
    q->count--;
    spin_unlock(&q->lock);
}

void sched_interrupt(uint8_t vector)
{
    struct run_queue *q = my_queue();

    if (vector == VECTOR_TIMER)
        q->armed = UINT64_MAX;
    if (vector != VECTOR_POST || q->count > 1)
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

/* Its time on the pCPU, guest and hypervisor; what it sleeps is the pCPU's own. */
static void ran_from_now(struct slot *s)
{
    atomic_store_explicit(&s->runs_since, rdtsc(), memory_order_relaxed);
}

static void ran_until_now(struct slot *s)
{
    s->ran += rdtsc() - s->runs_since;
    atomic_store_explicit(&s->runs_since, 0, memory_order_relaxed);
}

uint64_t sched_ran(const struct slot *s)
{
    uint64_t since = atomic_load_explicit(&s->runs_since, memory_order_relaxed);

    return s->ran + (since ? rdtsc() - since : 0);
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
    if (atomic_load(&s->vm->state) == VM_STOPPING || atomic_load(&s->requests))
        return true; /* it has to do something, if only to leave */
    if (s->state == VCPU_HALTED &&
        (s->vcpu.nmis || (s->wake_on_interrupt && board_pending(s->vcpu.devices))))
        s->state = VCPU_RUNNABLE;
    return s->state == VCPU_RUNNABLE;
}

static void run_timers(struct slot *s)
{
    if (timer_next(s->timers) <= vcpu_tick(&s->vcpu))
        timer_run(s->timers, vcpu_tick(&s->vcpu));
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
    if (rdtsc() < q->console_poll)
        return;
    q->console_poll = rdtsc() + ms_ticks(CONSOLE_POLL_MS);
    console_poll();
    nmi_report();
    mce_report();
}

/* What is due on this pCPU, whoever runs. */
static void run_due(struct run_queue *q)
{
    poll_console(q);
    for (struct slot *s = q->head; s; s = s->next)
        run_timers(s);
}

static bool others_wait(struct run_queue *q, const struct slot *self)
{
    for (struct slot *s = q->head; s; s = s->next)
        if (s != self && runnable(s))
            return true;
    return false;
}

static void idle(struct run_queue *q)
{
    if (page_zero_ahead(cpu_this()->node) || scan_step(rdtsc(), tsc_khz()))
        return;
    arm(q, false);
    sti_hlt_cli();
}

static bool has_work(void)
{
    for (unsigned i = 0; i < vm_count(); i++)
        if (vm_at(i)->home == cpu_index() && vm_service(vm_at(i)))
            return true;
    return false;
}

static bool must_leave(const struct slot *s)
{
    int state = atomic_load(&s->vm->state);

    return atomic_load(&ending) || state == VM_STOPPING || atomic_load(&s->requests) || s->state == VCPU_WAIT_SIPI;
}

/* A home with another VM to build or tear down gives its vCPU a break. */
static bool home_calls(void)
{
    for (unsigned i = 0; i < vm_count(); i++) {
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
    uint64_t when = tsc_of(s, timer_next(s->timers));

    if (s->state != VCPU_RUNNABLE || rdtsc() >= MIN(s->vcpu.look_at, when))
        return false; /* the look sets the timer, and not for what is due already: that would be an exit for nothing */
    if (when < q->armed)
        (void)set_timer(q, when);
    return true;
}

/* Everything is looked at: what is due runs, and the vCPU goes on if it may and it is its turn. */
static struct guest_regs *look(struct vcpu *v)
{
    struct slot *s = slot_of(v);
    struct run_queue *q = my_queue();

    for (;;) {
        bool wait;

        run_due(q);
        if (must_leave(s) || home_calls())
            return NULL;
        wait = others_wait(q, s);
        if (runnable(s)) {
            if (wait && rdtsc() >= q->slice_end)
                return NULL;
            arm(q, wait);
            v->look_at = MIN(q->armed, rdtsc() + ms_ticks(LOOK_MS));
            vcpu_prepare_entry(v);
            return &v->regs; /* in any case: what it has injected must not be prepared again */
        }
        if (wait)
            return NULL;
        ran_until_now(s);
        idle(q);
        ran_from_now(s);
    }
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
    if (!goes_on(slot_of(v), my_queue()))
        return look(v);
    vcpu_prepare_entry(v);
    return &v->regs;
}

/* Takes a vCPU of a stopping VM off; the last one lets the home tear the VM down. */
static void park(struct run_queue *q, struct slot *s)
{
    struct vm *vm = s->vm;

    remove_slot(q, s);
    if (atomic_fetch_sub(&vm->active, 1) == 1)
        sched_kick(vm->home);
}

static void run(struct run_queue *q, struct slot *s)
{
    q->slice_end = rdtsc() + ms_ticks(SLICE_MS);
    ran_from_now(s);
    vcpu_load(&s->vcpu);
    if (s->fresh) {
        vcpu_reset(&s->vcpu, &s->start);
        s->fresh = false;
    }
    do_requests(s);
    if (look(&s->vcpu))
        vmx_run(&s->vcpu.regs);
    vcpu_put(&s->vcpu);
    ran_until_now(s);
}

/* The next after the last one that can run: round robin. */
static struct slot *pick(struct run_queue *q, const struct slot *last)
{
    struct slot *from = last ? last->next : NULL, *s = from ? from : q->head;

    for (unsigned i = 0; i <= q->count && s; i++) {
        if (runnable(s))
            return s;
        s = s->next ? s->next : q->head;
    }
    return NULL;
}

static struct slot *still_there(struct run_queue *q, struct slot *last)
{
    for (struct slot *s = q->head; s; s = s->next)
        if (s == last)
            return s;
    return NULL;
}

void sched_loop(void)
{
    struct run_queue *q = my_queue();
    struct slot *s = NULL;

    while (!atomic_load(&ending)) {
        run_due(q);
        if (has_work())
            continue;
        s = pick(q, still_there(q, s));
        if (!s)
            idle(q);
        else if (atomic_load(&s->vm->state) == VM_STOPPING)
            park(q, s);
        else
            run(q, s);
    }
}

void sched_end(void)
{
    atomic_store(&ending, true);
    for (unsigned i = 0; i < cpu_count(); i++)
        sched_kick(i);
}
