/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/run_queue.h"
#include "core/sched.h"
#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/mce.h"
#include "arch/x86/nmi.h"
#include "arch/x86/percpu.h"
#include "arch/x86/world.h"
#include "core/console.h"
#include "core/pressure.h"
#include "drivers/device.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "numa/gigantic.h"
#include "numa/join.h"
#include "numa/page.h"
#include "numa/sample.h"
#include "numa/scan.h"
#include "vmx/steal.h"
#include "vmx/vmcs_io.h"

#define SLICE_MS         10
#define CONSOLE_POLL_MS  10
#define BREATH_MS        5     /* work of the hypervisor's and vCPUs take turns of this length */
#define BREATH_WOKEN_MS  1     /* the turn of the work while one waits that has just woken */
#define LOOK_MS          10    /* at least this often a running vCPU is asked whether it may go on */

static uint64_t ticks_per_ms;
static _Atomic bool ending;

static struct slot *slot_of(struct vcpu *v) { return container_of(v, struct slot, vcpu); }
static uint64_t ms_ticks(uint64_t ms) { return ms * ticks_per_ms; }

/* A device of the machine's is to be looked at. */
static void device_calls(void)
{
    sched_kick(0);
}

int sched_init(void)
{
    struct run_queue *boot;

    ticks_per_ms = tsc_khz();
    if (queue_init(ms_ticks(SLICE_MS)))
        return -ENOMEM;
    boot = cpu_of(0)->sched;
    boot->console_poll = 0;
    devices_set_call(device_calls);
    return 0;
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
    slot->share = (struct share){ .weight = slot->vm->config->weight };
    queue_add(slot, slot->vcpu.cpu);
}

/* The state of the vCPU that ran here last stays in the processor until another's turn comes, or it leaves. */
static void unload(struct run_queue *q)
{
    if (q->loaded)
        vcpu_put(&q->loaded->vcpu);
    q->loaded = NULL;
}

/* It leaves this pCPU. */
static void leave(struct run_queue *q, struct slot *s)
{
    if (q->loaded == s)
        unload(q);
    vcpu_release(&s->vcpu);
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

void sched_visit(void (*fn)(void *arg), void *arg)
{
    struct run_queue *q = queue_mine();
    struct slot *s = q->loaded;

    unload(q);
    world_visit(fn, arg);
    q->armed = UINT64_MAX;
    if (!s)
        return;
    vcpu_load(&s->vcpu);
    q->loaded = s;
}

void sched_interrupt(uint8_t vector)
{
    struct run_queue *q = queue_mine();

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

static void end_wait(struct vtimer *t, uint64_t now)
{
    (void)now;
    atomic_store(&container_of(t, struct slot, wait_end)->vcpu.woken, true);
}

/* The timer is left alone by what wakes it earlier: most often the next wait sets it anew before it fires. */
void sched_wait(struct vcpu *v, uint64_t us)
{
    struct slot *s = slot_of(v);

    sched_idle(v);
    s->wait_end.fire = end_wait;
    timer_arm(s->timers, &s->wait_end, vcpu_tick(v) + us * ticks_per_ms / 1000);
    atomic_store(&s->listens, true);
}

/* woken, then listens; sched_wait and queue_survey do it the other way round. */
void sched_wake(struct slot *s)
{
    atomic_store(&s->vcpu.woken, true);
    if (atomic_load(&s->listens))
        sched_post(atomic_load(&s->vcpu.cpu));
}

void sched_spins(struct vcpu *v)
{
    if (queue_favour(queue_mine(), slot_of(v)))
        look_again();
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
        atomic_store(&s->listens, false);
        s->state = VCPU_WAIT_SIPI;
    }
    if ((r & REQUEST_SIPI) && s->state == VCPU_WAIT_SIPI) {
        s->start = (struct vcpu_start){ .mode = START_SIPI, .sipi_vector = s->sipi_vector };
        vcpu_reset(&s->vcpu, &s->start);
        s->state = VCPU_RUNNABLE;
    }
}

static uint64_t tsc_of(const struct slot *s, uint64_t tick)
{
    return tick == TIMER_NEVER ? UINT64_MAX : tick - s->vcpu.tsc_base;
}

/* TSC of the boot processor's next look at the console and the machine's devices. */
static uint64_t next_poll(const struct run_queue *q)
{
    return q->console_poll == UINT64_MAX ? UINT64_MAX : MIN(q->console_poll, atomic_load(&devices_due));
}

/* TSC at which this pCPU has to look again; slice: somebody else waits for the running vCPU's turn to end. */
static uint64_t next_deadline(struct run_queue *q, bool slice)
{
    uint64_t when = MIN(next_poll(q), slice ? q->slice_end : UINT64_MAX);

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
    pressure_poll(rdtsc(), tsc_khz());
    nmi_report();
    mce_report();
}

static __attribute__((noinline)) void poll_machine(struct run_queue *q, uint64_t now)
{
    if (now >= q->console_poll)
        poll_console(q);
    if (now >= atomic_load(&devices_due))
        devices_poll(now);
}

/* What is due on this pCPU, whoever runs. */
static void run_due(struct run_queue *q)
{
    uint64_t now = rdtsc();

    if (now >= next_poll(q))
        poll_machine(q, now);
    sample_poll(now, ticks_per_ms);
    for (struct slot *s = q->head; s; s = s->next)
        if (tsc_of(s, timer_next(s->timers)) <= now && !atomic_load(&s->vm->paused))
            timer_run(s->timers, now + s->vcpu.tsc_base);
}

static void idle(struct run_queue *q)
{
    uint64_t now = rdtsc(), when;

    if (page_zero_ahead(cpu_this()->node))
        return;
    when = MIN(scan_step(now, tsc_khz()), join_step(now, tsc_khz()));
    when = MIN(when, gigantic_step(now, tsc_khz()));
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

    if (next && share_yields(&s->share, &next->share, over, queue_slice))
        return false;
    if (over)
        q->slice_end = rdtsc() + queue_slice;
    return true;
}

/* This pCPU is the vCPU's from now on. */
static void step_in(struct run_queue *q, struct slot *s)
{
    uint64_t now = rdtsc();

    q->slice_end = now + (q->breathes ? ms_ticks(BREATH_MS) : queue_slice);
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

    if (s->vm != next->vm) {
        vm_left(s->vm);
        if (!vm_enter(next->vm))
            return NULL;
    }
    step_in(q, next);
    if (next->state != VCPU_RUNNABLE || atomic_load(&next->vm->state) == VM_STOPPING) {
        vm_left(next->vm);
        return NULL;
    }
    atomic_store(&q->waiting, waits);
    if (waits && queue_give_away(q, next, leave))
        waits = queue_survey(q, next);
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
        next = queue_survey(q, s);
        if (q->breathes && (!s->share.awake || rdtsc() >= q->slice_end))
            break;
        favoured = q->favoured ? queue_take_favoured(q, s) : NULL;
        if (favoured)
            return hand_over(q, s, favoured);
        if (next && (!s->share.awake || !its_turn(q, s, next))) {
            if (q->breathes)
                break;
            return hand_over(q, s, next);
        }
        /* Only now: who is next runs here, else two pCPUs could pass it to and fro. */
        if (next && queue_give_away(q, s, leave))
            next = queue_survey(q, s);
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
    struct run_queue *q = queue_mine();
    uint64_t when = tsc_of(s, timer_next(s->timers));

    return v->look_at && (when >= q->armed || set_timer(q, when));
}

struct guest_regs *sched_resume(struct vcpu *v)
{
    struct slot *s = slot_of(v);
    struct run_queue *q = queue_mine();

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

    leave(q, s);
    queue_remove(q, s);
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
    struct run_queue *q = queue_mine();
    struct slot *s;

    run_due(q);
    s = queue_survey(q, NULL);
    if (!s || rdtsc() - q->breathed < ms_ticks(s->share.woken ? BREATH_WOKEN_MS : BREATH_MS))
        return;
    q->breathes = true;
    run_or_park(q, s);
    q->breathes = false;
    q->breathed = rdtsc();
}

void sched_loop(void)
{
    struct run_queue *q = queue_mine();

    while (!atomic_load(&ending)) {
        struct slot *s;

        run_due(q);
        if (has_work())
            continue;
        s = queue_survey(q, NULL);
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
