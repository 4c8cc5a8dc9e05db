/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_apic.h"
#include "tests/unit/seam/fake_cpu.h"
#include "tests/unit/seam/fake_percpu.h"

#include "core/run_queue.c"
#include "core/sched.c"

/* Two VMs on a machine of four processors; what the scheduler calls outside itself is recorded here. */
#define VMS     2
#define VCPUS   3
#define MS      1000000ull                     /* ticks: the TSC runs at 1 GHz */

static const struct vm_config config = { .weight = CONFIG_DEFAULT_WEIGHT };
static const struct cpu_set anywhere = { { ~0ull, ~0ull, ~0ull, ~0ull } };
static struct vm vm[VMS];
static struct slot slots[VMS][VCPUS];
static struct timer_queue timers[VMS][VCPUS];
static bool pending[VMS][VCPUS];

static struct {
    struct slot *ran[64];                      /* those that were entered, in order */
    unsigned runs, loads, puts, resets, lapic_resets, polls, retimed, services, prepares,
        device_polls;
    struct vcpu *loaded;
    struct vcpu_start start;
    struct guest_regs *(*guest)(struct slot *s); /* what a guest does, and who is entered then */
    void (*preparing)(struct slot *s);
    bool (*service)(struct vm *vm);
} seen;

static _Atomic bool news;

bool board_pending(struct board_vcpu *v) { return *(bool *)v; }
void board_lapic_reset(struct board_vcpu *v) { seen.lapic_resets++; }
void console_poll(void) { seen.polls++; }
void pressure_poll(uint64_t tsc, uint64_t tsc_khz) { }
unsigned vm_count(void) { return VMS; }
_Atomic unsigned vms_changing = 1;
struct vm *vm_at(unsigned index) { return &vm[index]; }
bool vm_halted_for_ever(const struct vm *what) { return false; }
bool vm_enter(struct vm *what) { return !what->paused; }
void vm_left(struct vm *what) { }
void vcpu_set_tsc_base(struct vcpu *v, uint64_t base) { seen.retimed++; }
uint64_t vcpu_tick(const struct vcpu *v) { return rdtsc() + v->tsc_base; }

bool vm_service(struct vm *what)
{
    seen.services++;
    return seen.service ? seen.service(what) : false;
}

void vcpu_load(struct vcpu *v)
{
    assert_null(seen.loaded);
    assert_true(v->loaded_on == -1 || v->loaded_on == (int)cpu_index());
    v->loaded_on = (int)cpu_index();
    seen.loads++;
    seen.loaded = v;
}

void vcpu_put(struct vcpu *v)
{
    assert_ptr_equal(seen.loaded, v);
    seen.puts++;
    seen.loaded = NULL;
}

void vcpu_switch(struct vcpu *from, struct vcpu *to)
{
    vcpu_put(from);
    vcpu_load(to);
}

/* It may be loaded elsewhere now. */
void vcpu_release(struct vcpu *v)
{
    assert_ptr_not_equal(seen.loaded, v);
    v->loaded_on = -1;
}

void vcpu_reset(struct vcpu *v, const struct vcpu_start *start)
{
    assert_ptr_equal(seen.loaded, v);
    seen.resets++;
    seen.start = *start;
}

void vcpu_prepare_entry(struct vcpu *v)
{
    seen.prepares++;
    if (seen.preparing)
        seen.preparing(slot_of(v));
}

void vmx_run(struct guest_regs *regs)
{
    while (regs) {
        struct slot *s = container_of(regs, struct slot, vcpu.regs);

        assert_ptr_equal(seen.loaded, &s->vcpu);
        if (seen.runs < ARRAY_SIZE(seen.ran))
            seen.ran[seen.runs] = s;
        if (++seen.runs == ARRAY_SIZE(seen.ran))
            sched_end();                       /* a test that does not end by itself */
        regs = seen.guest(s);
    }
}

static int setup(void **state)
{
    static uint64_t machine;

    (void)state;
    if (!machine)
        machine = machine_memory(4 * MIB, 0);
    fake_cpu_reset();
    fake_vmcs_reset();
    fake_apic = (struct fake_apic){ .khz = MS };
    fake_cpu_count = FAKE_CPUS;
    fake_percpu_enter(1);
    fake_cpu.tsc = 1000 * MS;
    memset(&seen, 0, sizeof(seen));
    memset(vm, 0, sizeof(vm));
    memset(slots, 0, sizeof(slots));
    memset(timers, 0, sizeof(timers));
    memset(pending, 0, sizeof(pending));
    news = false;
    ending = false;
    for (unsigned i = 0; i < VMS; i++) {
        vm[i].config = &config;
        vm[i].allowed = (struct cpu_set){ { BIT(1) } };
        vm[i].home = 3;
        vm[i].state = VM_RUNNING;
        for (unsigned n = 0; n < VCPUS; n++) {
            slots[i][n].vm = &vm[i];
            slots[i][n].vcpu.index = n;
            slots[i][n].vcpu.cpu = 1;
            slots[i][n].vcpu.loaded_on = -1;
            slots[i][n].vcpu.news = &news;
            slots[i][n].vcpu.devices = &pending[i][n];
            slots[i][n].timers = &timers[i][n];
            slots[i][n].share.weight = config.weight;
            slots[i][n].state = VCPU_RUNNABLE;
        }
    }
    return sched_init();
}

static void test_choose(void **state)
{
    static const unsigned order[] = { 3, 2, 1, 0, 3, 2, 1, 0 };

    static const struct cpu_set two = { { BIT(1) | BIT(2) } };

    for (size_t i = 0; i < ARRAY_SIZE(order); i++)
        assert_int_equal(sched_choose(&anywhere, -1), order[i]);
    sched_leave(1);
    assert_int_equal(sched_choose(&anywhere, -1), 1);
    assert_int_equal(sched_choose(&anywhere, -1), 3);
    assert_int_equal(sched_choose(&two, -1), 2);
    assert_int_equal(sched_choose(&two, -1), 1);
    assert_int_equal(sched_choose(&two, -1), 2);
    fake_cpu_count = 1;
    assert_int_equal(sched_choose(&anywhere, -1), 0);
}

/* Among equals the node of the VM's first vCPU; but a free pCPU elsewhere is better than one that is taken. */
static void test_choose_one_node(void **state)
{
    for (unsigned i = 0; i < FAKE_CPUS; i++)
        cpu_of(i)->node = i % 2;
    assert_int_equal(sched_choose(&anywhere, -1), 3);
    assert_int_equal(sched_choose(&anywhere, 3), 1);
    assert_int_equal(sched_choose(&anywhere, 3), 2);
    assert_int_equal(sched_choose(&anywhere, 3), 0);
    assert_int_equal(sched_choose(&anywhere, 2), 2);
    for (unsigned i = 0; i < FAKE_CPUS; i++)
        cpu_of(i)->node = 0;
}

static void test_kick(void **state)
{
    sched_kick(1);
    assert_int_equal(fake_apic.ipis, 0);
    sched_kick(3);
    assert_int_equal(fake_apic.ipis, 1);
    assert_int_equal(fake_apic.ipi_to, 6);     /* its APIC id, not its index */
    assert_int_equal(fake_apic.ipi_vector, VECTOR_KICK);
}

static void test_add(void **state)
{
    slots[0][0].vcpu.cpu = 2;
    sched_add(&slots[0][0]);
    assert_ptr_equal(queues[2].head, &slots[0][0]);
    assert_int_equal(fake_apic.ipi_to, 4);
}

static void test_interrupts(void **state)
{
    queue_mine()->armed = 5;
    fake_apic.in_service = VECTOR_TIMER;
    sched_interrupt(VECTOR_TIMER);
    assert_int_equal(queue_mine()->armed, UINT64_MAX);
    assert_int_equal(fake_apic.eois, 1);
    fake_apic.in_service = VECTOR_KICK;
    sched_interrupt(VECTOR_KICK);
    assert_int_equal(fake_apic.eois, 2);
    fake_apic.in_service = 0;                  /* spurious, or from a 8259 */
    sched_interrupt(VECTOR_SPURIOUS);
    sched_interrupt(0x27);
    assert_int_equal(fake_apic.eois, 2);
}

static void halts_with(uint64_t rflags)
{
    vmwrite(VMCS_GUEST_RFLAGS, rflags);
    slots[0][0].state = VCPU_RUNNABLE;
    sched_halt(&slots[0][0].vcpu);
    assert_false(runnable(&slots[0][0]));
}

static void test_halt_and_wake(void **state)
{
    struct slot *s = &slots[0][0];

    halts_with(RFLAGS_FIXED | RFLAGS_IF);
    pending[0][1] = pending[1][0] = true;      /* others' interrupts do not matter */
    assert_false(runnable(s));
    pending[0][0] = true;
    assert_true(runnable(s));
    assert_int_equal(s->state, VCPU_RUNNABLE);
    halts_with(RFLAGS_FIXED);                  /* CLI; HLT: only an NMI brings it back */
    s->vcpu.nmis = 1;
    assert_true(runnable(s));
    s->vcpu.nmis = 0;
    halts_with(RFLAGS_FIXED);
    s->requests = REQUEST_INIT;
    assert_true(runnable(s));
    s->requests = 0;
    vm[0].state = VM_STOPPING;
    assert_true(runnable(s));
}

static void test_wait_for_sipi_is_deep(void **state)
{
    slots[0][0].state = VCPU_WAIT_SIPI;
    slots[0][0].vcpu.nmis = 1;
    pending[0][0] = true;
    assert_false(runnable(&slots[0][0]));
}

static void ask(struct slot *s, uint32_t requests)
{
    s->requests = requests;
    seen.loaded = &s->vcpu;
    do_requests(s);
    seen.loaded = NULL;
    assert_int_equal(s->requests, 0);
}

static void test_init_and_sipi(void **state)
{
    struct slot *s = &slots[0][1];

    s->sipi_vector = 0x9a;
    ask(s, REQUEST_SIPI);                      /* it runs: ignored */
    assert_int_equal(seen.resets, 0);
    ask(s, REQUEST_INIT);
    assert_int_equal(s->state, VCPU_WAIT_SIPI);
    assert_int_equal(seen.lapic_resets, 1);
    assert_int_equal(seen.resets, 0);
    ask(s, REQUEST_SIPI);
    assert_int_equal(s->state, VCPU_RUNNABLE);
    assert_int_equal(seen.resets, 1);
    assert_int_equal(seen.start.mode, START_SIPI);
    assert_int_equal(seen.start.sipi_vector, 0x9a);
    ask(s, REQUEST_SIPI);                      /* the second that kernels send */
    assert_int_equal(seen.resets, 1);
    ask(s, REQUEST_INIT | REQUEST_SIPI);       /* both before it looked */
    assert_int_equal(s->state, VCPU_RUNNABLE);
    assert_int_equal(seen.resets, 2);
    assert_int_equal(seen.lapic_resets, 2);
}

/* After somebody else's kick: its interrupt ended the guest's run. */
static struct guest_regs *resume_kicked(struct slot *s)
{
    seen.loaded = &s->vcpu;
    cpu_this()->vcpu = &s->vcpu;
    sched_interrupt(VECTOR_KICK);
    return sched_resume(&s->vcpu);
}

static void test_requests_end_the_run(void **state)
{
    struct slot *s = &slots[0][0];

    sched_add(s);
    assert_ptr_equal(resume_kicked(s), &s->vcpu.regs);
    s->requests = REQUEST_INIT;
    assert_null(resume_kicked(s));
    s->requests = 0;
    vm[0].state = VM_STOPPING;
    assert_null(resume_kicked(s));
    vm[0].state = VM_RUNNING;
    vm[1].state = VM_STARTING;                 /* elsewhere */
    assert_non_null(resume_kicked(s));
    vm[1].home = 1;                            /* here */
    assert_null(resume_kicked(s));
}

static void fire(struct vtimer *t, uint64_t now);

/* Without a kick nothing of others is looked at again, but for at most 10 ms; its own timers and its halt are. */
static void test_goes_on_without_a_look(void **state)
{
    struct vtimer t = { .fire = fire };
    struct slot *s = &slots[0][0];
    uint64_t due;

    sched_add(s);
    assert_non_null(resume_kicked(s));
    assert_in_range(s->vcpu.look_at, fake_cpu.tsc + 1, fake_cpu.tsc + 10 * MS);
    vm[0].state = VM_STOPPING;
    assert_non_null(sched_resume(&s->vcpu));
    fake_cpu.tsc += 10 * MS;
    assert_null(sched_resume(&s->vcpu));
    vm[0].state = VM_RUNNING;
    assert_non_null(resume_kicked(s));
    due = fake_cpu.tsc + MS;
    timer_arm(&timers[0][0], &t, due);         /* by a device of the guest's, just now */
    assert_non_null(sched_resume(&s->vcpu));
    assert_int_equal(fake_apic.deadline, due);
    fake_cpu.tsc += MS;
    pending[0][0] = false;
    assert_non_null(sched_resume(&s->vcpu));
    assert_true(pending[0][0]);                /* it fired, though the machine's own timer did not yet */
    timer_arm(&timers[0][0], &t, fake_cpu.tsc + MS);
    assert_non_null(sched_resume(&s->vcpu));
    fake_cpu.tsc += MS;
    fake_apic.arms = 0;
    sched_interrupt(VECTOR_TIMER);
    assert_non_null(sched_resume(&s->vcpu));
    assert_int_equal(fake_apic.arms, 0);       /* the machine's timer is not set to what is over */
    assert_non_null(resume_kicked(s));
    sched_kick(1);                             /* by itself, as with an IPI to itself */
    assert_int_equal(s->vcpu.look_at, 0);
}

/* From the short way of an exit the guest goes on unless something asks for a look; its timers are set in any case. */
static void test_goes_on_from_the_short_way(void **state)
{
    struct vtimer t = { .fire = fire };
    struct slot *s = &slots[0][0];

    sched_add(s);
    assert_non_null(resume_kicked(s));
    assert_true(sched_goes_on(&s->vcpu));
    timer_arm(&timers[0][0], &t, fake_cpu.tsc + MS);
    assert_true(sched_goes_on(&s->vcpu));
    assert_int_equal(fake_apic.deadline, timer_next(&timers[0][0]));
    sched_kick(1);
    assert_false(sched_goes_on(&s->vcpu));
}

/* An interrupt for the only vCPU here needs no look; of several, the one it is for may be another one. */
static void test_post(void **state)
{
    struct slot *s = &slots[0][0];

    sched_post(2);
    assert_int_equal(fake_apic.ipi_vector, VECTOR_POST);
    sched_add(s);
    assert_non_null(resume_kicked(s));
    sched_interrupt(VECTOR_POST);
    assert_int_not_equal(s->vcpu.look_at, 0);
    slots[0][1].state = VCPU_HALTED;
    sched_add(&slots[0][1]);
    assert_non_null(resume_kicked(s));
    sched_interrupt(VECTOR_POST);
    assert_int_equal(s->vcpu.look_at, 0);
    assert_non_null(resume_kicked(s));
    sched_post(1);                             /* here: the interrupt is for one that halts */
    assert_int_equal(s->vcpu.look_at, 0);
}

/* For a packet, say; or until an interrupt, whatever IF says, or the end of its time. */
static void test_wait(void **state)
{
    struct slot *s = &slots[0][0];
    uint64_t start;

    sched_add(s);
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED);
    sched_wait(&s->vcpu, 3000);
    assert_false(runnable(s));
    fake_apic.ipis = 0;
    sched_wake(s);
    assert_true(runnable(s));
    assert_int_equal(s->state, VCPU_RUNNABLE);
    s->vcpu.woken = false;
    sched_wait(&s->vcpu, 3000);
    assert_false(runnable(s));
    pending[0][0] = true;
    assert_true(runnable(s));
    pending[0][0] = s->vcpu.woken = false;
    start = fake_cpu.tsc;
    sched_wait(&s->vcpu, 3000);
    fake_cpu.tsc = start + 3 * MS - 1000;      /* each look at the clock takes a little */
    run_due(queue_mine());
    assert_false(runnable(s));
    fake_cpu.tsc += 2000;
    run_due(queue_mine());
    assert_true(runnable(s));
    sched_wake(s);                             /* too late: a halt is only ended by an interrupt */
    halts_with(RFLAGS_FIXED | RFLAGS_IF);
    assert_int_equal(fake_apic.ipis, 0);
}

/* Its pCPU hears of it, and of nothing if it does not wait. INIT ends all that was. */
static void test_wake_from_elsewhere(void **state)
{
    struct slot *s = &slots[0][0];

    s->vcpu.cpu = 3;
    sched_wake(s);
    assert_int_equal(fake_apic.ipis, 0);
    s->vcpu.woken = false;
    sched_wait(&s->vcpu, 3000);
    sched_wake(s);
    assert_int_equal(fake_apic.ipis, 1);
    assert_int_equal(fake_apic.ipi_vector, VECTOR_POST);
    s->vcpu.woken = false;
    ask(s, REQUEST_INIT);
    ask(s, REQUEST_SIPI);
    sched_wake(s);
    assert_int_equal(fake_apic.ipis, 1);
    halts_with(RFLAGS_FIXED | RFLAGS_IF);
}

static void nobody_runs(void) { fail(); }

/* Its processor is another's meanwhile, and its own again when that one has sent to it and waits itself. */
static void test_waits_for_each_other(void **state)
{
    struct slot *a = &slots[0][0], *b = &slots[1][0];

    sched_add(a);
    sched_add(b);
    load(queue_mine(), a, fake_cpu.tsc);
    sched_wait(&a->vcpu, 3000);
    assert_ptr_equal(sched_resume(&a->vcpu), &b->vcpu.regs);
    sched_wake(a);
    sched_wait(&b->vcpu, 3000);
    fake_cpu.halt = nobody_runs;
    assert_ptr_equal(sched_resume(&b->vcpu), &a->vcpu.regs);
    assert_int_equal(b->state, VCPU_HALTED);
    assert_int_equal(fake_cpu.halts, 0);
}

static void sipi_comes(struct slot *s)
{
    s->requests = REQUEST_SIPI;
}

/*
 * Once the events of an entry are in the VMCS the entry must happen: another preparation would put other events over
 * them. What arrives meanwhile comes with a kick, which ends the run at once.
 */
static void test_prepared_entry_happens(void **state)
{
    sched_add(&slots[0][0]);
    seen.preparing = sipi_comes;
    assert_non_null(sched_resume(&slots[0][0].vcpu));
    assert_int_equal(seen.prepares, 1);
}

static void fire(struct vtimer *t, uint64_t now)
{
    assert_true(now >= t->deadline);
    pending[0][0] = true;
}

static void sleep_until_timer(void)
{
    assert_true(fake_apic.deadline < UINT64_MAX);
    if (fake_apic.deadline > fake_cpu.tsc)
        fake_cpu.tsc = fake_apic.deadline;
    sched_interrupt(VECTOR_TIMER);
}

/* Alone on its processor, a halted vCPU waits there; its device's timer, in ticks of the VM, is what wakes it. */
static void test_timer_wakes(void **state)
{
    struct vtimer t = { .fire = fire };
    struct slot *s = &slots[0][0];
    uint64_t start = fake_cpu.tsc;

    s->vcpu.tsc_base = -(900 * MS);
    sched_add(s);
    timer_arm(&timers[0][0], &t, start - 900 * MS + 7 * MS);
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_IF);
    sched_halt(&s->vcpu);
    fake_cpu.halt = sleep_until_timer;
    assert_ptr_equal(sched_resume(&s->vcpu), &s->vcpu.regs);
    assert_int_equal(fake_cpu.halts, 1);
    assert_in_range(fake_cpu.tsc, start + 7 * MS, start + 7 * MS + 10000);
}

/* Another vCPU is entered at once, unless it has to leave or was told to wait. */
static void test_halted_gives_way(void **state)
{
    sched_add(&slots[0][0]);
    sched_add(&slots[1][1]);
    load(queue_mine(), &slots[0][0], fake_cpu.tsc);
    sched_halt(&slots[0][0].vcpu);
    assert_ptr_equal(sched_resume(&slots[0][0].vcpu), &slots[1][1].vcpu.regs);
    assert_ptr_equal(seen.loaded, &slots[1][1].vcpu);
    load(queue_mine(), &slots[0][0], fake_cpu.tsc);
    vm[1].state = VM_STOPPING;
    assert_null(sched_resume(&slots[0][0].vcpu));
    vm[1].state = VM_RUNNING;
    slots[1][1].requests = REQUEST_INIT;
    assert_null(sched_resume(&slots[0][0].vcpu));
    assert_int_equal(slots[1][1].state, VCPU_WAIT_SIPI);
    assert_int_equal(fake_cpu.halts, 0);
}

void vcpu_set_spins_end(struct vcpu *v, bool end)
{
    v->spins_end = end;
}

/* Who spins gives way to a sibling that waits for this processor, whoever is further behind; alone it is left alone. */
static void test_spinner_gives_way(void **state)
{
    sched_add(&slots[0][0]);
    load(queue_mine(), &slots[0][0], fake_cpu.tsc);
    share_begin(&slots[0][0].share, fake_cpu.tsc);
    queue_mine()->slice_end = fake_cpu.tsc + 10 * MS;
    assert_ptr_equal(resume_kicked(&slots[0][0]), &slots[0][0].vcpu.regs);
    assert_false(slots[0][0].vcpu.spins_end);
    sched_spins(&slots[0][0].vcpu);
    assert_null(queue_mine()->favoured);
    sched_add(&slots[1][0]);
    sched_add(&slots[0][1]);
    slots[0][1].share.vtime = 5 * MS;
    assert_ptr_equal(resume_kicked(&slots[0][0]), &slots[0][0].vcpu.regs);
    assert_true(slots[0][0].vcpu.spins_end);
    sched_spins(&slots[0][0].vcpu);
    assert_ptr_equal(sched_resume(&slots[0][0].vcpu), &slots[0][1].vcpu.regs);
    assert_null(queue_mine()->favoured);
    slots[0][0].state = VCPU_HALTED;
    slots[1][0].state = VCPU_HALTED;
    assert_ptr_equal(resume_kicked(&slots[0][1]), &slots[0][1].vcpu.regs);
    sched_spins(&slots[0][1].vcpu);            /* of no use: the sibling sleeps */
    assert_ptr_equal(sched_resume(&slots[0][1].vcpu), &slots[0][1].vcpu.regs);
}

/* The timer is set for the end of a slice only when somebody waits for it, and not set again without need. */
static void test_slice_timer(void **state)
{
    sched_add(&slots[0][0]);
    sched_add(&slots[0][1]);
    load(queue_mine(), &slots[0][0], fake_cpu.tsc);
    share_begin(&slots[0][0].share, fake_cpu.tsc);
    queue_mine()->slice_end = fake_cpu.tsc + 10 * MS;
    slots[0][1].state = VCPU_WAIT_SIPI;
    assert_non_null(resume_kicked(&slots[0][0]));
    assert_int_equal(fake_apic.arms, 0);
    slots[0][1].state = VCPU_RUNNABLE;
    assert_non_null(resume_kicked(&slots[0][0]));
    assert_non_null(resume_kicked(&slots[0][0]));
    assert_int_equal(fake_apic.arms, 1);
    assert_int_equal(fake_apic.deadline, queue_mine()->slice_end);
    fake_cpu.tsc += 10 * MS;
    assert_ptr_equal(sched_resume(&slots[0][0].vcpu), &slots[0][1].vcpu.regs);
    assert_in_range(fake_apic.deadline, fake_cpu.tsc + 10 * MS - 1000, fake_cpu.tsc + 10 * MS);
    slots[0][0].state = VCPU_WAIT_SIPI;        /* nobody waits: no end */
    fake_cpu.tsc += 10 * MS;
    assert_ptr_equal(sched_resume(&slots[0][1].vcpu), &slots[0][1].vcpu.regs);
}

/* A guest that only computes: exits by our timer. */
static struct guest_regs *computes(struct slot *s)
{
    for (unsigned i = 0; i < 100; i++) {
        struct guest_regs *next;

        fake_cpu.tsc += MS;
        next = sched_resume(&s->vcpu);
        if (next != &s->vcpu.regs)
            return next;
    }
    sched_end();
    return NULL;
}

static struct guest_regs *nine_turns(struct slot *s)
{
    struct guest_regs *next = computes(s);

    if (seen.runs < 9)
        return next;
    sched_end();
    return NULL;
}

static void test_slices_rotate(void **state)
{
    uint64_t start = fake_cpu.tsc;

    for (unsigned n = 0; n < VCPUS; n++)
        sched_add(&slots[0][n]);
    seen.guest = nine_turns;
    sched_loop();
    assert_int_equal(seen.runs, 9);
    for (unsigned i = 3; i < 9; i++)
        assert_ptr_equal(seen.ran[i], seen.ran[i - 3]);
    assert_ptr_not_equal(seen.ran[0], seen.ran[1]);
    assert_ptr_not_equal(seen.ran[1], seen.ran[2]);
    assert_ptr_not_equal(seen.ran[0], seen.ran[2]);
    assert_in_range(fake_cpu.tsc - start, 85 * MS, 105 * MS); /* nine slices of 10 ms */
    assert_int_equal(seen.loads, seen.puts);
}

static struct guest_regs *fresh_then_end(struct slot *s)
{
    assert_int_equal(seen.resets, 1);
    assert_false(s->fresh);
    if (seen.runs == 2)
        sched_end();
    return NULL;
}

static void test_fresh_vcpu_is_set_up_once(void **state)
{
    slots[0][0].fresh = true;
    slots[0][0].start = (struct vcpu_start){ .mode = START_LONG64, .rip = 0x1234 };
    sched_add(&slots[0][0]);
    seen.guest = fresh_then_end;
    sched_loop();
    assert_int_equal(seen.resets, 1);
    assert_int_equal(seen.start.rip, 0x1234);
}

static void end_now(void)
{
    sched_end();
}

/* A vCPU that waits for its SIPI is never entered, not even for its set-up. */
static void test_waiting_vcpu_is_not_entered(void **state)
{
    slots[0][0].state = VCPU_WAIT_SIPI;
    slots[0][0].fresh = true;
    sched_add(&slots[0][0]);
    fake_cpu.halt = end_now;
    sched_loop();
    assert_int_equal(seen.runs, 0);
}

static struct guest_regs *never(struct slot *s)
{
    fail_msg("this vCPU is not to run");
    return NULL;
}

/* INIT takes it off: it is loaded for that, but not entered. */
static void test_init_stops_a_vcpu(void **state)
{
    slots[0][0].requests = REQUEST_INIT;
    sched_add(&slots[0][0]);
    seen.guest = never;
    fake_cpu.halt = end_now;
    sched_loop();
    assert_int_equal(seen.loads, 1);
    assert_int_equal(seen.runs, 0);
    assert_int_equal(slots[0][0].state, VCPU_WAIT_SIPI);
}

/* The vCPUs of a stopping VM leave the list; the last one calls the home. */
static void test_parking(void **state)
{
    for (unsigned n = 0; n < VCPUS; n++)
        sched_add(&slots[0][n]);
    vm[0].active = VCPUS;
    vm[0].state = VM_STOPPING;
    slots[0][1].state = VCPU_HALTED;
    slots[0][2].state = VCPU_WAIT_SIPI;
    seen.guest = never;
    fake_cpu.halt = end_now;
    sched_loop();
    assert_null(queue_mine()->head);
    assert_int_equal(vm[0].active, 0);
    assert_int_equal(fake_apic.ipis, 1 + FAKE_CPUS - 1); /* the home; then the end of the test to all others */
}

static bool serve_once(struct vm *what)
{
    return what == &vm[0] && seen.services == 1;
}

static void test_home_serves_its_vms(void **state)
{
    vm[0].home = 1;
    seen.service = serve_once;
    fake_cpu.halt = end_now;
    sched_loop();
    assert_int_equal(seen.services, 2);        /* again after work was done; VM 1 lives elsewhere */
}

static void ten_polls(void)
{
    sleep_until_timer();
    if (seen.polls == 10)
        sched_end();
}

/* The boot processor, and no other, looks at the serial line every 10 ms. */
static void test_console(void **state)
{
    uint64_t start = fake_cpu.tsc;

    fake_cpu.halt = end_now;
    sched_loop();
    assert_int_equal(seen.polls, 0);
    ending = false;
    fake_percpu_enter(0);
    fake_cpu.halt = ten_polls;
    sched_loop();
    assert_int_equal(seen.polls, 10);
    assert_in_range(fake_cpu.tsc - start, 100 * MS, 101 * MS);
}

static uint64_t busy_until;

static uint64_t device_poll(struct device *d, uint64_t now)
{
    seen.device_polls++;
    return now < busy_until ? now + MS / 10 : DEVICE_NEVER;
}

static struct device device = { .poll = device_poll };

/* A guest that computes, with the machine's timer: an interrupt when it is due. */
static struct guest_regs *computes_with_timer(struct slot *s)
{
    if (fake_cpu.tsc > busy_until + MS)
        sched_end();
    fake_cpu.tsc = MAX(fake_cpu.tsc, fake_apic.deadline);
    sched_interrupt(VECTOR_TIMER);
    return sched_resume(&s->vcpu);
}

/* While something is under way the boot processor looks every 100 us, whoever runs there, and then no more. */
static void test_devices(void **state)
{
    struct slot *s = &slots[0][0];

    device_add(&device);
    busy_until = fake_cpu.tsc + 5 * MS;
    fake_cpu.halt = end_now;
    sched_loop();
    assert_int_equal(seen.device_polls, 0);    /* another processor */
    ending = false;
    fake_percpu_enter(0);
    vm[0].allowed = (struct cpu_set){ { BIT(0) } };
    s->vcpu.cpu = 0;
    sched_add(s);
    seen.guest = computes_with_timer;
    sched_loop();
    assert_in_range(seen.device_polls, 45, 52);
    fake_percpu_enter(1);
    fake_apic.ipis = 0;
    device_wake(&device, 0);                   /* from another processor: it is called */
    assert_int_equal(fake_apic.ipis, 1);
    assert_int_equal(fake_apic.ipi_to, 0);
    devices_stop();
}

static void test_end_reaches_all(void **state)
{
    sched_end();
    assert_int_equal(fake_apic.ipis, FAKE_CPUS - 1);
    sched_loop();
    assert_null(sched_resume(&slots[0][0].vcpu));
}

/* While a VM is built here those that are here already have turns of 5 ms in between, and who wakes has his sooner. */
static void test_breathes(void **state)
{
    struct slot *s = &slots[0][0];
    uint64_t begun;

    sched_add(s);
    vm[1].state = VM_STARTING;
    vm[1].home = 1;
    seen.guest = computes;
    begun = fake_cpu.tsc;
    sched_breathe();
    assert_int_equal(seen.runs, 1);
    assert_in_range(fake_cpu.tsc, begun + 5 * MS, begun + 6 * MS);
    assert_int_equal(seen.services, 0);
    fake_cpu.tsc += 4 * MS;
    sched_breathe();
    assert_int_equal(seen.runs, 1);            /* the work has its turn */
    fake_cpu.tsc += MS;
    sched_breathe();
    assert_int_equal(seen.runs, 2);
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_IF);
    sched_halt(&s->vcpu);
    fake_cpu.tsc += 5 * MS;
    sched_breathe();
    assert_int_equal(seen.runs, 2);            /* nobody to run: back to work, no halt */
    assert_int_equal(fake_cpu.halts, 0);
    queue_mine()->breathed = fake_cpu.tsc;
    pending[0][0] = true;
    fake_cpu.tsc += MS;
    sched_breathe();
    assert_int_equal(seen.runs, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_choose, setup),
        cmocka_unit_test_setup(test_choose_one_node, setup),
        cmocka_unit_test_setup(test_kick, setup),
        cmocka_unit_test_setup(test_add, setup),
        cmocka_unit_test_setup(test_interrupts, setup),
        cmocka_unit_test_setup(test_halt_and_wake, setup),
        cmocka_unit_test_setup(test_wait_for_sipi_is_deep, setup),
        cmocka_unit_test_setup(test_init_and_sipi, setup),
        cmocka_unit_test_setup(test_requests_end_the_run, setup),
        cmocka_unit_test_setup(test_goes_on_without_a_look, setup),
        cmocka_unit_test_setup(test_goes_on_from_the_short_way, setup),
        cmocka_unit_test_setup(test_post, setup),
        cmocka_unit_test_setup(test_wait, setup),
        cmocka_unit_test_setup(test_wake_from_elsewhere, setup),
        cmocka_unit_test_setup(test_waits_for_each_other, setup),
        cmocka_unit_test_setup(test_prepared_entry_happens, setup),
        cmocka_unit_test_setup(test_timer_wakes, setup),
        cmocka_unit_test_setup(test_halted_gives_way, setup),
        cmocka_unit_test_setup(test_spinner_gives_way, setup),
        cmocka_unit_test_setup(test_slice_timer, setup),
        cmocka_unit_test_setup(test_slices_rotate, setup),
        cmocka_unit_test_setup(test_fresh_vcpu_is_set_up_once, setup),
        cmocka_unit_test_setup(test_waiting_vcpu_is_not_entered, setup),
        cmocka_unit_test_setup(test_init_stops_a_vcpu, setup),
        cmocka_unit_test_setup(test_parking, setup),
        cmocka_unit_test_setup(test_home_serves_its_vms, setup),
        cmocka_unit_test_setup(test_console, setup),
        cmocka_unit_test_setup(test_devices, setup),
        cmocka_unit_test_setup(test_breathes, setup),
        cmocka_unit_test_setup(test_end_reaches_all, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
