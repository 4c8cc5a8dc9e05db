/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <ucontext.h>

#include <cmocka.h>

#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_cpu.h"
#include "tests/unit/seam/fake_percpu.h"

#include "core/run_queue.c"
#include "core/sched.c"

/*
 * The scheduler in simulated time: each pCPU of a machine is a coroutine in sched_loop, which comes back here when it
 * runs a guest or halts. Then time goes on to the next thing that happens.
 */
#define VMS   6
#define VCPUS 3
#define MS    1000000ull                       /* ticks: the TSC runs at 1 GHz */
#define STACK (256 * KIB)

struct guest {
    bool sleeper;
    uint64_t most;                             /* that a sleeper computes between two sleeps */
    uint64_t burst;                            /* still to compute before it halts */
    uint64_t wake_at;                          /* halted: when its device wakes it */
    uint64_t waits_since;                      /* could run since, 0: it runs, or sleeps */
    uint64_t ran, worst_wait;
    uint64_t ran_near;                         /* on the node of its VM's memory */
};

static struct processor {
    ucontext_t context;
    char stack[STACK] __attribute__((aligned(16)));
    struct slot *runs;
    uint64_t entered, timer;
    bool ipi;
} cpus[FAKE_CPUS];

static ucontext_t outside;
static struct vm_config configs[VMS];
static struct vm vm[VMS];
static struct slot slots[VMS][VCPUS];
static struct guest guests[VMS][VCPUS];
static struct timer_queue no_timers;
static _Atomic bool pending[VMS][VCPUS];
static unsigned vms;
static _Atomic bool news;

static struct guest *guest_of(const struct slot *s) { return &guests[s->vm->index][s->vcpu.index]; }

bool board_pending(struct board_vcpu *v) { return *(_Atomic bool *)v; }
void board_lapic_reset(struct board_vcpu *v) { }
void console_poll(void) { }
void pressure_poll(uint64_t tsc, uint64_t tsc_khz) { }
unsigned vm_count(void) { return vms; }
_Atomic unsigned vms_changing = 1;
struct vm *vm_at(unsigned index) { return &vm[index]; }
uint64_t vcpu_tick(const struct vcpu *v) { return rdtsc() + v->tsc_base; }
bool vm_service(struct vm *what) { return false; }
bool vm_enter(struct vm *what) { return !what->paused; }
void vm_left(struct vm *what) { }
bool vm_halted_for_ever(const struct vm *what) { return false; }
void vcpu_load(struct vcpu *v)
{
    assert_int_equal(v->cpu, cpu_index());
    assert_true(v->loaded_on == -1 || v->loaded_on == (int)cpu_index()); /* its VMCS is no other pCPU's */
    v->loaded_on = (int)cpu_index();
}

void vcpu_put(struct vcpu *v) { assert_int_equal(v->cpu, cpu_index()); }
void vcpu_set_spins_end(struct vcpu *v, bool end) { v->spins_end = end; }
void vcpu_release(struct vcpu *v) { v->loaded_on = -1; }

void vcpu_switch(struct vcpu *from, struct vcpu *to)
{
    vcpu_put(from);
    vcpu_load(to);
}
void vcpu_reset(struct vcpu *v, const struct vcpu_start *start) { }
void vcpu_set_tsc_base(struct vcpu *v, uint64_t base) { }
void apic_eoi(void) { }
bool apic_in_service(uint8_t vector) { return true; }
uint64_t tsc_khz(void) { return MS; }
void apic_timer_arm(uint64_t tsc) { cpus[cpu_index()].timer = tsc; }

void apic_ipi(uint32_t apic_id, uint8_t vector) { cpus[apic_id / 2].ipi = true; }

void vcpu_prepare_entry(struct vcpu *v)
{
    pending[slot_of(v)->vm->index][v->index] = false;
}

static struct processor *me(void) { return &cpus[cpu_index()]; }

/* Back to the simulation until something happens to this pCPU. */
static void pass_time(void)
{
    struct processor *p = me();
    unsigned index = cpu_index();

    swapcontext(&p->context, &outside);
    fake_percpu_enter(index);
}

static void take_interrupts(struct processor *p)
{
    if (p->ipi) {
        p->ipi = false;
        sched_interrupt(VECTOR_KICK);
    }
    if (p->timer <= fake_cpu.tsc) {
        p->timer = UINT64_MAX;
        sched_interrupt(VECTOR_TIMER);
    }
}

static void halted(void)
{
    while (!me()->ipi && me()->timer > fake_cpu.tsc)
        pass_time();
    take_interrupts(me());
}

static void begin(struct guest *g)
{
    if (g->waits_since)
        g->worst_wait = MAX(g->worst_wait, fake_cpu.tsc - g->waits_since);
    g->waits_since = 0;
}

void vmx_run(struct guest_regs *regs)
{
    while (regs) {
        struct slot *s = container_of(regs, struct slot, vcpu.regs);
        struct guest *g = guest_of(s);
        struct processor *p = me();

        assert_true(cpu_set_has(&s->vm->allowed, cpu_index()));
        assert_false(s->vm->paused);
        begin(g);
        p->runs = s;
        p->entered = fake_cpu.tsc;
        while (!p->ipi && p->timer > fake_cpu.tsc && fake_cpu.tsc < p->entered + LOOK_MS * MS &&
               !(g->sleeper && fake_cpu.tsc >= p->entered + g->burst))
            pass_time();
        p->runs = NULL;
        g->ran += fake_cpu.tsc - p->entered;
        g->ran_near += cpu_this()->node == s->vm->pmap.main_node ? fake_cpu.tsc - p->entered : 0;
        g->burst -= MIN(g->burst, fake_cpu.tsc - p->entered);
        take_interrupts(p);
        if (g->sleeper && !g->burst) {
            vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_IF);
            sched_halt(&s->vcpu);
            g->wake_at = fake_cpu.tsc + 1 + (uint64_t)rand() % (40 * MS);
            g->burst = 1 + (uint64_t)rand() % g->most;
        } else {
            g->waits_since = s->vm->paused ? 0 : fake_cpu.tsc;
        }
        s->vcpu.look_at = 0;
        regs = sched_resume(&s->vcpu);
    }
}

static void processor(unsigned index)
{
    fake_percpu_enter(index);
    sched_loop();
}

/* When the next thing happens to this pCPU, unless another one does it. */
static uint64_t own_event(const struct processor *p)
{
    uint64_t when = p->ipi ? fake_cpu.tsc : p->timer;

    if (p->runs) {
        when = MIN(when, p->entered + LOOK_MS * MS);
        if (guest_of(p->runs)->sleeper)
            when = MIN(when, p->entered + guest_of(p->runs)->burst);
    }
    return when;
}

/* When the next thing happens to anybody. */
static uint64_t next_event(void)
{
    uint64_t when = UINT64_MAX;

    for (unsigned i = 0; i < fake_cpu_count; i++)
        when = MIN(when, own_event(&cpus[i]));
    for (unsigned v = 0; v < vms; v++)
        for (unsigned n = 0; n < configs[v].vcpus; n++)
            when = MIN(when, guests[v][n].wake_at);
    return when;
}

/* Devices: an interrupt for who sleeps, sent from any processor. */
static void wake_sleepers(void)
{
    for (unsigned v = 0; v < vms; v++) {
        for (unsigned n = 0; n < configs[v].vcpus; n++) {
            if (guests[v][n].wake_at > fake_cpu.tsc)
                continue;
            guests[v][n].wake_at = UINT64_MAX;
            guests[v][n].waits_since = vm[v].paused ? 0 : fake_cpu.tsc;
            pending[v][n] = true;
            cpus[slots[v][n].vcpu.cpu].ipi = true;
        }
    }
}

static void simulate(uint64_t ticks)
{
    uint64_t end = fake_cpu.tsc + ticks;

    while (fake_cpu.tsc < end) {
        unsigned first = (unsigned)rand() % fake_cpu_count;

        fake_cpu.tsc = MIN(end, MAX(fake_cpu.tsc, next_event()));
        wake_sleepers();
        for (unsigned i = 0; i < fake_cpu_count; i++) {
            struct processor *p = &cpus[(first + i) % fake_cpu_count];

            if (own_event(p) <= fake_cpu.tsc)
                swapcontext(&outside, &p->context);
        }
    }
}

static void add_vm(unsigned vcpus, unsigned weight, uint64_t allowed, bool sleeper)
{
    unsigned v = vms++;

    configs[v] = (struct vm_config){ .weight = weight, .vcpus = vcpus };
    vm[v] = (struct vm){ .config = &configs[v], .index = v, .home = 1000, .state = VM_RUNNING,
                         .allowed = { { allowed } } };
    for (unsigned n = 0; n < vcpus; n++) {
        pending[v][n] = false;
        guests[v][n] = (struct guest){ .sleeper = sleeper, .most = 4 * MS, .burst = MS, .wake_at = UINT64_MAX };
        slots[v][n] = (struct slot){ .vm = &vm[v], .state = VCPU_RUNNABLE, .fresh = true };
        slots[v][n].timers = &no_timers;
        slots[v][n].vcpu.devices = &pending[v][n];
        slots[v][n].vcpu.news = &news;
        slots[v][n].vcpu.loaded_on = -1;
        slots[v][n].vcpu.index = n;
        slots[v][n].vcpu.cpu = sched_choose(&vm[v].allowed, n ? (int)slots[v][0].vcpu.cpu : -1);
        guests[v][n].waits_since = fake_cpu.tsc;
        sched_add(&slots[v][n]);
    }
}

static void machine(unsigned seed)
{
    srand(seed);
    fake_cpu_reset();
    fake_cpu.tsc = 1000 * MS;
    fake_cpu.halt = halted;
    vms = 0;
    ending = false;
    memset(queues, 0, FAKE_CPUS * sizeof(*queues));
    fake_percpu_enter(0);
    for (unsigned i = 0; i < FAKE_CPUS; i++) {
        queues[i].armed = queues[i].console_poll = queues[i].level = UINT64_MAX;
        cpu_of(i)->sched = &queues[i];
        cpu_of(i)->node = 0;
        cpus[i].runs = NULL;
        cpus[i].ipi = true;
        cpus[i].timer = UINT64_MAX;
        getcontext(&cpus[i].context);
        cpus[i].context.uc_stack.ss_sp = cpus[i].stack;
        cpus[i].context.uc_stack.ss_size = STACK;
        makecontext(&cpus[i].context, (void (*)(void))processor, 1, i);
    }
}

static int setup(void **state)
{
    static uint64_t memory;

    (void)state;
    fake_percpu_enter(0);
    if (!memory) {
        memory = machine_memory(4 * MIB, 0);
        while (page_zero_ahead(0))
            ;
        return sched_init();
    }
    return 0;
}

/* What each vCPU of a weight is due of this many pCPUs: in proportion, but none more than one. */
static double due(unsigned weight)
{
    double cpus_left = FAKE_CPUS, level = 0;
    bool capped[VMS] = { false };

    for (unsigned round = 0; round <= VMS; round++) {
        double sum = 0;

        for (unsigned v = 0; v < vms; v++)
            sum += capped[v] ? 0 : configs[v].vcpus * (double)configs[v].weight;
        level = sum > 0 ? cpus_left / sum : 1;
        for (unsigned v = 0; v < vms; v++) {
            if (!capped[v] && level * configs[v].weight >= 1) {
                capped[v] = true;
                cpus_left -= configs[v].vcpus;
            }
        }
    }
    return MIN(1.0, level * weight);
}

#define RUN (4000 * MS)

/* Shares follow the weights within a tenth. */
static void test_weights_hold(void **state)
{
    double worst = 0;

    for (unsigned seed = 1; seed <= 600; seed++) {
        machine(seed);
        for (unsigned n = 2 + seed % (VMS - 1); n; n--)
            add_vm(1 + (unsigned)rand() % VCPUS, 64u << rand() % 4, ~0ull, false);
        simulate(RUN);
        for (unsigned v = 0; v < vms; v++) {
            for (unsigned n = 0; n < configs[v].vcpus; n++) {
                double share = (double)guests[v][n].ran / RUN, want = due(configs[v].weight);
                double off = share > want ? share / want - 1 : 1 - share / want;

                worst = MAX(worst, off);
                assert_in_range(sched_ran(&slots[v][n]) + share_waited(&slots[v][n].share, fake_cpu.tsc), RUN - MS,
                                RUN + MS);
                if (off > 0.1)
                    fail_msg("seed %u: vm %u weight %u: %.3f of a pCPU, due %.3f", seed, v, configs[v].weight, share,
                             want);
            }
        }
    }
    print_message("worst distance from the share that is due: %.1f %%\n", 100 * worst);
}

/*
 * The longest that one can wait where all others are on its pCPU: its lead of a slice, the credit of those who came and
 * a slice of all of them, at the pace of the weights.
 */
static uint64_t wait_bound(unsigned v)
{
    uint64_t bound = SLICE_MS * MS;

    for (unsigned o = 0; o < vms; o++)
        bound += configs[o].vcpus * (SLICE_MS * MS * configs[o].weight / configs[v].weight +
                                     MOVE_CREDIT * SLICE_MS * MS * configs[o].weight / CONFIG_DEFAULT_WEIGHT +
                                     SLICE_MS * MS);
    return bound;
}

static struct { uint64_t computer, sleeper; } worst;

/* Who can run does within what the weights give, and has run at all. */
static void check_waits(unsigned seed)
{
    for (unsigned v = 0; v < vms; v++) {
        for (unsigned n = 0; n < configs[v].vcpus; n++) {
            struct guest *g = &guests[v][n];
            uint64_t *most = g->sleeper ? &worst.sleeper : &worst.computer;
            uint64_t wait = MAX(g->worst_wait, g->waits_since ? fake_cpu.tsc - g->waits_since : 0);

            assert_true(g->ran > 0);
            *most = MAX(*most, wait);
            if (wait > wait_bound(v))
                fail_msg("seed %u: vm %u vcpu %u waited %lu us", seed, v, n, wait / 1000);
        }
    }
}

/* Sleepers with computers, weights and affinities of all kinds. */
static void add_mixed_vms(unsigned seed)
{
    machine(seed);
    for (unsigned n = 2 + seed % (VMS - 1); n; n--)
        add_vm(1 + (unsigned)rand() % VCPUS, 128u << rand() % 3, 1 + (uint64_t)rand() % 15, rand() % 2);
}

static void test_nobody_is_forgotten(void **state)
{
    memset(&worst, 0, sizeof(worst));
    for (unsigned seed = 1; seed <= 600; seed++) {
        add_mixed_vms(seed);
        simulate(2500 * MS);
        check_waits(seed);
    }
    print_message("longest wait: %lu us of who computes, %lu us of who slept\n", worst.computer / 1000,
                  worst.sleeper / 1000);
}

/* As vm.c does it, from any processor. */
static void set_paused(unsigned v, bool paused)
{
    vm[v].paused = paused;
    for (unsigned n = 0; n < configs[v].vcpus; n++) {
        cpus[slots[v][n].vcpu.cpu].ipi = true;
        if (!cpus[slots[v][n].vcpu.cpu].runs || cpus[slots[v][n].vcpu.cpu].runs != &slots[v][n])
            guests[v][n].waits_since = paused || guests[v][n].wake_at != UINT64_MAX ? 0 : fake_cpu.tsc;
    }
}

/* VMs are paused and go on at any time, their devices meanwhile wake who sleeps: nothing of it is lost. */
static void test_pauses(void **state)
{
    memset(&worst, 0, sizeof(worst));
    for (unsigned seed = 1; seed <= 600; seed++) {
        add_mixed_vms(seed);
        simulate(500 * MS);                    /* each has run */
        for (unsigned i = 0; i < 20; i++) {
            unsigned v = (unsigned)rand() % vms;

            set_paused(v, !vm[v].paused);
            simulate((uint64_t)rand() % (100 * MS));
        }
        for (unsigned v = 0; v < vms; v++)
            if (vm[v].paused)
                set_paused(v, false);
        simulate(500 * MS);
        check_waits(seed);
    }
    print_message("longest wait where VMs are paused: %lu us of who computes, %lu us of who slept\n",
                  worst.computer / 1000, worst.sleeper / 1000);
}

/* One that sleeps and wakes, beside three that compute on the same pCPU, waits no longer than a slice. */
static void test_wakes_within_a_slice(void **state)
{
    uint64_t worst = 0;

    for (unsigned seed = 1; seed <= 600; seed++) {
        machine(seed);
        add_vm(1, 256, 2, true);
        for (unsigned n = 0; n < 3; n++) {     /* those that come are owed nothing */
            simulate(100 * MS);
            add_vm(1, 256, 2, false);
        }
        simulate(1000 * MS);
        worst = MAX(worst, guests[0][0].worst_wait);
    }
    print_message("longest wait after waking: %lu us\n", worst / 1000);
    assert_true(worst <= SLICE_MS * MS + MS / 10); /* what the scheduler itself takes counts */
}

/* One that does little when it wakes takes over at once. */
static void test_wakes_at_once(void **state)
{
    uint64_t worst = 0;

    for (unsigned seed = 1; seed <= 600; seed++) {
        machine(seed);
        for (unsigned n = 0; n < 3; n++)
            add_vm(1, 256, 2, false);
        add_vm(1, 256, 2, true);
        guests[3][0].most = MS / 5;
        simulate(200 * MS);
        guests[3][0].worst_wait = 0;
        simulate(1000 * MS);
        worst = MAX(worst, guests[3][0].worst_wait);
    }
    print_message("longest wait after waking of who does little: %lu us\n", worst / 1000);
    assert_true(worst <= MS / 10);
}

/* No pCPU is idle while somebody waits who may run there. */
static void test_no_idle_beside_waiting(void **state)
{
    for (unsigned seed = 1; seed <= 400; seed++) {
        uint64_t ran = 0;

        machine(seed);
        add_vm(3, 256, 14, false);
        add_vm(1 + seed % 3, 256, 14, true);
        simulate(1000 * MS);
        for (unsigned v = 0; v < vms; v++)
            for (unsigned n = 0; n < configs[v].vcpus; n++)
                ran += guests[v][n].ran;
        if (ran < 3 * 985 * MS)
            fail_msg("seed %u: three pCPUs were used for %lu us", seed, ran / 1000);
    }
}

/* As many vCPUs as pCPUs: each has its own, and stays there. */
static void test_one_each_stays(void **state)
{
    machine(1);
    add_vm(3, 100, ~0ull, false);
    add_vm(1, 5000, ~0ull, false);
    simulate(500 * MS);
    for (unsigned n = 0; n < 3; n++)
        assert_int_equal(slots[0][n].vcpu.cpu, 3 - n);
    assert_int_equal(slots[1][0].vcpu.cpu, 0);
    for (unsigned n = 0; n < 3; n++)
        assert_in_range(guests[0][n].ran, 480 * MS, 500 * MS);
}

/* Processors 0 and 1 are node 0, 2 and 3 are node 1; the VM's memory is on this one, or PMAP_NO_NODE. */
static void two_nodes(unsigned seed)
{
    machine(seed);
    for (unsigned i = 0; i < FAKE_CPUS; i++)
        cpu_of(i)->node = i / 2;
}

static void add_vm_near(unsigned node, uint64_t allowed)
{
    add_vm(1, 256, allowed, false);
    vm[vms - 1].pmap.main_node = node;
}

/* One that shares a pCPU with another goes to an idle one: best of its memory's node, else of the node where it is. */
static void test_moves_to_its_memory(void **state)
{
    static const struct { unsigned node, first, last; } expected[] = {
        { 0, 1, 1 }, { 1, 2, 3 }, { PMAP_NO_NODE, 1, 1 },
    };

    for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
        two_nodes(1);
        add_vm_near(expected[i].node, 1);
        add_vm(1, 256, 1, false);
        simulate(5 * MS);
        vm[0].allowed = (struct cpu_set){ { ~0ull } };
        simulate(50 * MS);
        assert_in_range(slots[0][0].vcpu.cpu, expected[i].first, expected[i].last);
    }
}

/* A far idle pCPU is better than none. */
static void test_moves_from_its_memory(void **state)
{
    two_nodes(1);
    add_vm_near(0, 1);
    add_vm(1, 256, 1, false);
    simulate(5 * MS);
    vm[0].allowed = (struct cpu_set){ { 1 | 8 } };
    simulate(50 * MS);
    assert_int_equal(slots[0][0].vcpu.cpu, 3);
}

/* Of those that wait the one whose memory is there goes to a pCPU that has become idle. */
static void test_who_is_near_moves(void **state)
{
    for (unsigned near = 0; near < 2; near++) {
        two_nodes(1);
        add_vm(1, 256, 1, false);
        add_vm_near(near ? 0 : 1, 1);
        add_vm_near(near ? 1 : 0, 1);
        while (cpus[0].runs != &slots[0][0])
            simulate(MS);
        vm[1].allowed = vm[2].allowed = (struct cpu_set){ { 1 | 8 } };
        cpus[0].ipi = true;
        simulate(MS);
        assert_int_equal(slots[1 + near][0].vcpu.cpu, 3);
        assert_int_equal(slots[2 - near][0].vcpu.cpu, 0);
    }
}

/* Beside sleepers on all pCPUs, who computes is driven away now and then, and comes back to its memory. */
static void test_stays_near_its_memory(void **state)
{
    double least = 1, mean = 0;

    for (unsigned seed = 1; seed <= 200; seed++) {
        double share;

        two_nodes(seed);
        add_vm_near(seed % 2, ~0ull);
        for (unsigned i = 0; i < FAKE_CPUS; i++)
            add_vm(1, 256, 1ull << i, true);
        simulate(2000 * MS);
        share = (double)guests[0][0].ran_near / (double)guests[0][0].ran;
        least = MIN(least, share);
        mean += share / 200;
    }
    print_message("time on the node of its memory: %.1f %%, at least %.1f %%\n", 100 * mean, 100 * least);
    assert_true(mean > 0.85 && least > 0.75);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_one_each_stays, setup),
        cmocka_unit_test_setup(test_weights_hold, setup),
        cmocka_unit_test_setup(test_nobody_is_forgotten, setup),
        cmocka_unit_test_setup(test_pauses, setup),
        cmocka_unit_test_setup(test_wakes_within_a_slice, setup),
        cmocka_unit_test_setup(test_wakes_at_once, setup),
        cmocka_unit_test_setup(test_no_idle_beside_waiting, setup),
        cmocka_unit_test_setup(test_moves_to_its_memory, setup),
        cmocka_unit_test_setup(test_moves_from_its_memory, setup),
        cmocka_unit_test_setup(test_who_is_near_moves, setup),
        cmocka_unit_test_setup(test_stays_near_its_memory, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
