/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_cpu.h"
#include "tests/unit/seam/fake_percpu.h"
#include "tests/unit/seam/fake_vmx.h"
#include "vdev/board.h"

#include "core/vm.c"
#include "core/disks.h"

struct storage *disks_storage(const struct config_disk *c) { return NULL; }

/* The life of VMs with real memory and boards, without a scheduler: the test is the home, and parks the vCPUs. */
const struct vcpu_ops vm_vcpu_ops = { .stop = NULL };

static uint64_t board_clock(void *ctx) { return 0; }
static void board_kick(void *ctx, unsigned vcpu) { }
static uint64_t board_date(void *ctx) { return 0; }
const struct board_ops vm_board_ops = { .now = board_clock, .kick = board_kick, .wallclock = board_date };

static struct slot *added[8];
static unsigned adds, kicks, ends, breaths, places[FAKE_CPUS];
static int load_error;
static struct vm *stop_while_loading;

unsigned sched_choose(const struct cpu_set *allowed, int first)
{
    unsigned best = FAKE_CPUS - 1;

    for (unsigned i = FAKE_CPUS; i-- > 0;)
        if (places[i] < places[best])
            best = i;
    places[best]++;
    return best;
}

void sched_leave(unsigned cpu) { places[cpu]--; }
void sched_add(struct slot *slot) { added[adds++] = slot; }
void sched_kick(unsigned cpu) { kicks++; }
void sched_wake(struct slot *slot) { }
void sched_breathe(void) { breaths++; }
uint64_t sched_ran(const struct slot *s) { return s->share.ran; }
void sched_end(void) { ends++; }
void vm_set_wallclock(int64_t unix_time) { }

static uint64_t loaded_place;

int loader_load(const struct vm_config *config, struct pmap *pmap, uint64_t place, struct guest_entry *entry, char *msg,
                size_t size)
{
    uint32_t word = 0x12345678;

    loaded_place = place;

    if (stop_while_loading)
        vm_stop(stop_while_loading);
    snprintf(msg, size, "not a kernel");
    *entry = (struct guest_entry){ .mode = GUEST_LONG64, .rip = 0x100000, .rsi = 0x7000 };
    return load_error ? load_error : pmap_write(pmap, GPA(0x100000), &word, sizeof(word));
}

static struct config config;
static uint64_t free_before;

static int setup(void **state)
{
    static uint64_t machine;

    (void)state;
    if (!machine)
        machine = machine_memory(64 * MIB, 0);
    fake_cpu_reset();
    fake_percpu_enter(0);
    memset(&config, 0, sizeof(config));
    memset(places, 0, sizeof(places));
    adds = kicks = ends = 0;
    load_error = 0;
    config.vms = 2;
    config.overcommit = 100;
    strcpy(config.vm[0].name, "alpha");
    strcpy(config.vm[1].name, "beta");
    for (unsigned i = 0; i < 2; i++) {
        config.vm[i].memory_mib = 8;
        config.vm[i].vcpus = 3 - i;
        config.vm[i].cpus.bits[0] = ~0ull;
    }
    while (page_zero_ahead(0))
        ;
    free_before = free_pages();
    return vm_setup(&config, 0);
}

/* All memory is back. */
static void assert_nothing_kept(void)
{
    while (page_zero_ahead(0))
        ;
    assert_int_equal(free_pages(), free_before);
    for (unsigned i = 0; i < FAKE_CPUS; i++)
        assert_int_equal(places[i], 0);
}

/* The vCPUs leave their processors, the home tears down or builds anew. */
static void park(struct vm *vm)
{
    vm->active = 0;
    adds = 0;
    assert_true(vm_service(vm));
}

static void start_vm(struct vm *vm)
{
    assert_int_equal(vm_start(vm), 0);
    assert_int_equal(vm->state, VM_STARTING);
    assert_true(vm_service(vm));
    assert_int_equal(vm->state, VM_RUNNING);
}

static void test_names(void **state)
{
    assert_int_equal(vm_count(), 2);
    assert_ptr_equal(vm_by_name("beta"), vm_at(1));
    assert_null(vm_by_name("gamma"));
    assert_null(vm_by_name("alph"));
    assert_string_equal(vm_state_name(vm_at(0)), "off");
    assert_false(vm_any_alive());
}

static void test_setup_refuses(void **state)
{
    config.vm[1].cpus = (struct cpu_set){ { BIT(FAKE_CPUS), 1 } };
    assert_int_equal(vm_setup(&config, 0), -EINVAL);
    config.vm[1].cpus.bits[0] |= BIT(FAKE_CPUS - 1);
    config.vm[1].vcpus = CONFIG_MAX_VCPUS;     /* more than the machine has processors */
    assert_int_equal(vm_setup(&config, 0), 0);
    assert_int_equal(vm_at(1)->allowed.bits[0], BIT(FAKE_CPUS - 1));
    assert_int_equal(vm_at(1)->allowed.bits[1], 0);
    config.vm[1].memory_mib = 64;              /* with alpha's 8 */
    assert_int_equal(vm_setup(&config, 0), -ENOMEM);
}

static void test_start(void **state)
{
    struct vm *vm = vm_at(0);

    start_vm(vm);
    assert_true(vm_any_alive());
    assert_int_equal(vm->active, 3);
    assert_int_equal(adds, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_ptr_equal(added[i], vm->slots[i]);
        assert_true(added[i]->fresh);
        assert_int_equal(added[i]->state, i ? VCPU_WAIT_SIPI : VCPU_RUNNABLE);
        assert_int_equal(added[i]->vcpu.index, i);
        assert_int_equal(added[i]->vcpu.cpu, 3 - i); /* a processor each */
        assert_int_equal(added[i]->vcpu.vcpus, 3);
    }
    assert_int_equal(added[0]->start.mode, START_LONG64);
    assert_int_equal(added[0]->start.rip, 0x100000);
    assert_int_equal(added[0]->start.rsi, 0x7000);
    assert_int_equal(vm->home, 3);
    assert_int_equal(vm_start(vm), -EBUSY);
    assert_int_equal(places[0] + places[1] + places[2] + places[3], 3);
    vm_stop(vm);
    park(vm);
}

static uint64_t place_in(unsigned index)
{
    start_vm(vm_at(index));
    vm_stop(vm_at(index));
    park(vm_at(index));
    return loaded_place;
}

/* One place for a domain, as long as we run; another for each start of a VM that is in none. */
static void test_places_of_kernels(void **state)
{
    uint64_t domain, other;

    strcpy(config.vm[0].share, "friends");
    strcpy(config.vm[1].share, "friends");
    domain = place_in(0);
    assert_true(place_in(1) == domain);
    assert_true(place_in(0) == domain);
    strcpy(config.vm[1].share, "others");
    other = place_in(1);
    assert_true(other != domain && place_in(1) == other && place_in(0) == domain);
    config.vm[1].share[0] = '\0';
    other = place_in(1);
    assert_true(other != domain && place_in(1) != other);
    assert_nothing_kept();
}

static void test_vpids_differ(void **state)
{
    start_vm(vm_at(0));
    start_vm(vm_at(1));
    for (unsigned i = 0; i < adds; i++) {
        assert_int_not_equal(added[i]->vcpu.vpid, 0);  /* the host's */
        for (unsigned j = 0; j < i; j++)
            assert_int_not_equal(added[i]->vcpu.vpid, added[j]->vcpu.vpid);
    }
    for (unsigned i = 0; i < 2; i++) {
        vm_stop(vm_at(i));
        park(vm_at(i));
    }
    assert_nothing_kept();
}

static void test_stop_gives_all_back(void **state)
{
    struct vm *vm = vm_at(0);

    start_vm(vm);
    kicks = 0;
    assert_int_equal(vm_stop(vm), 0);
    assert_int_equal(kicks, FAKE_CPUS);
    assert_int_equal(vm->state, VM_STOPPING);
    assert_false(vm_service(vm));              /* not before the last vCPU has left */
    breaths = 0;
    park(vm);
    assert_true(breaths);                      /* in parts */
    assert_int_equal(vm->state, VM_OFF);
    assert_int_equal(ends, 1);                 /* it was the last VM */
    assert_nothing_kept();
    assert_int_equal(vm_stop(vm), -EBUSY);
    assert_int_equal(vm_reset(vm), -EBUSY);
}

static void test_the_last_vm_ends_all(void **state)
{
    start_vm(vm_at(0));
    start_vm(vm_at(1));
    vm_stop(vm_at(0));
    park(vm_at(0));
    assert_int_equal(ends, 0);
    vm_stop(vm_at(1));
    park(vm_at(1));
    assert_int_equal(ends, 1);
    assert_nothing_kept();
}

/* Memory does not survive: the loader's page is new. */
static void test_reset(void **state)
{
    struct vm *vm = vm_at(0);
    uint64_t word = 0xdead;

    start_vm(vm);
    pmap_write(&vm->pmap, GPA(0x200000), &word, sizeof(word));
    added[0]->vcpu.exits.count[EXIT_REASON_CPUID] = 5;
    assert_int_equal(vm_reset(vm), 0);
    park(vm);
    assert_int_equal(vm->state, VM_STARTING);
    assert_int_equal(ends, 0);
    assert_true(vm_service(vm));
    assert_int_equal(vm->state, VM_RUNNING);
    assert_int_equal(adds, 3);
    assert_int_equal(pmap_read(&vm->pmap, GPA(0x200000), &word, sizeof(word)), 0);
    assert_int_equal(word, 0);
    added[0]->vcpu.exits.count[EXIT_REASON_CPUID] = 2;
    exit_stats_time(&added[0]->vcpu.exits, EXIT_REASON_CPUID, 300);
    {
        static struct exit_stats exits;

        vm_exits(vm, &exits);
        assert_int_equal(exits.count[EXIT_REASON_CPUID], 7); /* of all its lives */
        assert_int_equal(exits.ticks[EXIT_REASON_CPUID], 300);
        assert_int_equal(vm_vcpu_exits(vm, 0, &exits), 0);
        assert_int_equal(exits.count[EXIT_REASON_CPUID], 2); /* of this one */
        assert_int_equal(exits.by_time[EXIT_REASON_CPUID][1], 1);
        assert_int_equal(vm_vcpu_exits(vm, vm->config->vcpus, &exits), -ENOENT);
        assert_int_equal(vm_vcpu_exits(vm, UINT32_MAX, &exits), -ENOENT);
    }
    vm_stop(vm);
    park(vm);
    assert_nothing_kept();
}

/* A VM that is being stopped (it crashed, or somebody said exit) does not come back because a vCPU of it reboots. */
static void test_stop_wins_over_reset(void **state)
{
    struct vm *vm = vm_at(0);

    start_vm(vm);
    assert_int_equal(vm_stop(vm), 0);
    assert_int_equal(vm_reset(vm), -EBUSY);
    park(vm);
    assert_int_equal(vm->state, VM_OFF);
    start_vm(vm);
    assert_int_equal(vm_reset(vm), 0);
    assert_int_equal(vm_stop(vm), 0);
    park(vm);
    assert_int_equal(vm->state, VM_OFF);
    assert_nothing_kept();
}

/* Between two lives, and while it is built, a stop holds too. */
static void test_stop_between_two_lives(void **state)
{
    struct vm *vm = vm_at(0);

    start_vm(vm);
    vm_reset(vm);
    park(vm);
    assert_int_equal(vm->state, VM_STARTING);
    assert_int_equal(vm_stop(vm), 0);
    assert_true(vm_service(vm));
    assert_int_equal(vm->state, VM_OFF);
    assert_int_equal(adds, 0);
    assert_nothing_kept();
    stop_while_loading = vm;
    assert_int_equal(vm_start(vm), 0);
    assert_true(vm_service(vm));
    assert_int_equal(vm->state, VM_STOPPING);
    stop_while_loading = NULL;
    park(vm);
    assert_int_equal(vm->state, VM_OFF);
    assert_nothing_kept();
}

/* A VM's time stands still while it is paused, also if it is long, and goes on from where it stood. */
static void test_pause(void **state)
{
    struct vm *vm = vm_at(0);
    uint64_t tick;

    assert_int_equal(vm_pause(vm), -EBUSY);
    start_vm(vm);
    assert_int_equal(vm_resume(vm), -EBUSY);
    assert_true(vm_enter(vm));
    assert_int_equal(vm_pause(vm), 0);
    assert_int_equal(vm_pause(vm), -EBUSY);
    assert_string_equal(vm_state_name(vm), "paused");
    fake_cpu.tsc += 500;
    assert_int_equal(vm_resume(vm), -EBUSY);   /* one is inside still */
    vm_left(vm);
    tick = vm_tick(vm);
    assert_false(vm_enter(vm));
    fake_cpu.tsc += 1000000000;
    assert_in_range(vm_tick(vm) - tick, 0, 200);
    assert_int_equal(vm_resume(vm), 0);
    assert_in_range(vm_tick(vm) - tick, 0, 400);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(vm->slots[i]->retimed);
        assert_int_equal(vm->slots[i]->vcpu.tsc_base, vm->tsc_base);
    }
    assert_string_equal(vm_state_name(vm), "running");
    vm_pause(vm);
    assert_int_equal(vm_stop(vm), 0);          /* a paused VM can be stopped, and started again */
    park(vm);
    assert_nothing_kept();
    start_vm(vm);
    assert_true(vm_enter(vm));
    vm_left(vm);
    vm_stop(vm);
    park(vm);
}

static void test_kernel_that_does_not_load(void **state)
{
    load_error = -EINVAL;
    assert_int_equal(vm_start(vm_at(0)), 0);
    assert_true(vm_service(vm_at(0)));
    assert_int_equal(vm_at(0)->state, VM_OFF);
    assert_int_equal(adds, 0);
    assert_int_equal(ends, 1);
    assert_nothing_kept();
}

/* At each point where memory can run out. */
static void test_no_memory(void **state)
{
    static struct hpa taken[20000];
    unsigned n = 0, failures = 0;

    while ((taken[n] = page_alloc(0, PAGE_ORDER_4K, PAGE_HYPERVISOR)).v)
        n++;
    for (unsigned given = 0; given < 200; given++) {
        uint64_t before = free_pages();

        assert_int_equal(vm_start(vm_at(0)), 0);
        vm_service(vm_at(0));
        if (vm_at(0)->state == VM_RUNNING) {
            vm_stop(vm_at(0));
            park(vm_at(0));
            break;
        }
        failures++;
        assert_int_equal(free_pages(), before);
        page_free(taken[--n], PAGE_ORDER_4K);
    }
    while (n)
        page_free(taken[--n], PAGE_ORDER_4K);
    assert_in_range(failures, 5, 199);
    assert_nothing_kept();
}

static void test_serial_input(void **state)
{
    assert_true(vm_serial_in(vm_at(0), 'x'));  /* one that is off swallows it */
}

static void test_halted_for_ever(void **state)
{
    struct slot boot = { .state = VCPU_HALTED }, other = { .state = VCPU_WAIT_SIPI };
    struct vm guest = { .slots = { &boot, &other } };

    assert_true(vm_halted_for_ever(&guest));
    boot.wake_on_interrupt = true;
    assert_false(vm_halted_for_ever(&guest));
    boot.wake_on_interrupt = false;
    boot.vcpu.nmis = 1;
    assert_false(vm_halted_for_ever(&guest));
    boot.vcpu.nmis = 0;
    other.state = VCPU_RUNNABLE;
    assert_false(vm_halted_for_ever(&guest));
    other.state = VCPU_HALTED;
    assert_true(vm_halted_for_ever(&guest));
    other.requests = REQUEST_INIT;
    assert_false(vm_halted_for_ever(&guest));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_names, setup),
        cmocka_unit_test_setup(test_halted_for_ever, setup),
        cmocka_unit_test_setup(test_setup_refuses, setup),
        cmocka_unit_test_setup(test_start, setup),
        cmocka_unit_test_setup(test_places_of_kernels, setup),
        cmocka_unit_test_setup(test_vpids_differ, setup),
        cmocka_unit_test_setup(test_stop_gives_all_back, setup),
        cmocka_unit_test_setup(test_the_last_vm_ends_all, setup),
        cmocka_unit_test_setup(test_reset, setup),
        cmocka_unit_test_setup(test_stop_wins_over_reset, setup),
        cmocka_unit_test_setup(test_stop_between_two_lives, setup),
        cmocka_unit_test_setup(test_pause, setup),
        cmocka_unit_test_setup(test_kernel_that_does_not_load, setup),
        cmocka_unit_test_setup(test_no_memory, setup),
        cmocka_unit_test_setup(test_serial_input, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
