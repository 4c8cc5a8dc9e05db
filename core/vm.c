/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/vm.h"
#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/percpu.h"
#include "arch/x86/random.h"
#include "core/loader.h"
#include "core/sched.h"
#include "core/vm_disks.h"
#include "core/vm_nets.h"
#include "core/vm_ops.h"
#include "core/vm_segments.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"
#include "numa/commons.h"
#include "numa/page.h"
#include "numa/scan.h"
#include "vmx/caps.h"

static struct vm vms[CONFIG_MAX_VMS];
static unsigned vms_known;

static _Atomic int first_error;

int vm_first_error(void) { return first_error; }

_Atomic unsigned vms_changing;

unsigned vm_count(void) { return vms_known; }
struct vm *vm_at(unsigned index) { return &vms[index]; }

struct vm *vm_by_name(const char *name)
{
    for (unsigned i = 0; i < vms_known; i++)
        if (!strcmp(vms[i].config->name, name))
            return &vms[i];
    return NULL;
}

bool vm_any_alive(void)
{
    for (unsigned i = 0; i < vms_known; i++)
        if (atomic_load(&vms[i].state) != VM_OFF)
            return true;
    return false;
}

const char *vm_state_name(const struct vm *vm)
{
    static const char *const names[] = { "off", "starting", "running", "stopping" };
    int state = atomic_load(&vm->state);

    return state == VM_RUNNING && atomic_load(&vm->paused) ? "paused" : names[state];
}

/* Those of the configuration that the machine has; false: none. */
static bool allowed_cpus(const struct vm_config *c, struct cpu_set *out)
{
    bool any = false;

    *out = (struct cpu_set){ 0 };
    for (unsigned i = 0; i < cpu_count(); i++) {
        if (cpu_set_has(&c->cpus, i)) {
            out->bits[i / 64] |= BIT(i % 64);
            any = true;
        }
    }
    return any;
}

int vm_setup(const struct config *config, int64_t unix_time)
{
    struct page_counts pages;
    uint64_t wanted = vm_segments_size(config) / MIB, there, most;

    page_count(NUMA_MAX_NODES, &pages);
    there = pages.free * PAGE_SIZE / MIB;
    most = there * config->overcommit / 100;
    if (wanted > MIN(there, most)) {
        log_error("segments: %lu MiB are more than there is: %lu MiB are left for them", wanted, MIN(there, most));
        return -ENOMEM;
    }
    for (unsigned i = 0; i < config->vms; i++) {
        const struct vm_config *c = &config->vm[i];

        vms[i] = (struct vm){ .config = c, .index = i, .target_mib = c->memory_mib };
        if (!allowed_cpus(c, &vms[i].allowed)) {
            log_error("vm %s: cpus: none of them is there, the machine has 0 to %u", c->name, cpu_count() - 1);
            return -EINVAL;
        }
        wanted += c->memory_mib;
        if (wanted > most || c->memory_mib > there) {
            log_error("vm %s: memory = %lu MiB is more than there is: %lu MiB are left for it", c->name, c->memory_mib,
                      MIN(there, most - (wanted - c->memory_mib)));
            return -ENOMEM;
        }
    }
    vms_known = config->vms;
    scan_set_rate(config->scan);
    vm_set_wallclock(unix_time);
    return 0;
}

static void kick_all(void)
{
    for (unsigned i = 0; i < cpu_count(); i++)
        sched_kick(i);
}

static int change(struct vm *vm, int from, int to)
{
    if (!atomic_compare_exchange_strong(&vm->state, &from, to))
        return -EBUSY;
    atomic_fetch_add(&vms_changing, 1);
    kick_all();
    return 0;
}

int vm_start(struct vm *vm)
{
    if (atomic_load(&vm->state) != VM_OFF)
        return -EBUSY;
    vm->cancelled = vm->paused = false;
    for (unsigned i = 0; i < vm->config->vcpus; i++)
        vm->cpu[i] = sched_choose(&vm->allowed, i ? (int)vm->cpu[0] : -1);
    vm->home = vm->cpu[0];
    return change(vm, VM_OFF, VM_STARTING);
}

int vm_log_task(struct vm *vm, unsigned disk, enum persist_how how)
{
    if (disk >= vm->config->disks || !vm->config->disk[disk].persist)
        return -EINVAL;
    vm->log_task[disk] = how;
    if (atomic_load(&vm->state) != VM_OFF)
        return -EBUSY;
    vm->only_logs = true;
    return vm_start(vm);
}

/* The VM is off and stays so. */
static void switch_off(struct vm *vm)
{
    for (unsigned i = 0; i < vm->config->vcpus; i++)
        sched_leave(vm->cpu[i]);
    atomic_store(&vm->state, VM_OFF);
    atomic_fetch_sub(&vms_changing, 1);
}

int vm_stop(struct vm *vm)
{
    if (atomic_load(&vm->state) == VM_OFF)
        return -EBUSY;
    vm->cancelled = true; /* between two lives: it does not begin the next */
    (void)change(vm, VM_RUNNING, VM_STOPPING);
    return 0;
}

int vm_reset(struct vm *vm)
{
    vm->again = true;
    return change(vm, VM_RUNNING, VM_STOPPING);
}

bool vm_halted_for_ever(const struct vm *vm)
{
    for (unsigned i = 0; i < ARRAY_SIZE(vm->slots) && vm->slots[i]; i++) {
        const struct slot *s = vm->slots[i];

        if (s->requests || s->vcpu.nmis || s->state == VCPU_RUNNABLE)
            return false;
        if (s->state == VCPU_HALTED && s->wake_on_interrupt)
            return false;
    }
    return true;
}

int vm_pause(struct vm *vm)
{
    if (atomic_load(&vm->state) != VM_RUNNING || atomic_load(&vm->paused))
        return -EBUSY;
    vm->left_at = rdtsc();
    atomic_store(&vm->paused, true);
    kick_all();
    return 0;
}

int vm_resume(struct vm *vm)
{
    if (atomic_load(&vm->state) != VM_RUNNING || !atomic_load(&vm->paused) || atomic_load(&vm->inside))
        return -EBUSY;
    vm->tsc_base -= rdtsc() - vm->left_at;
    spin_lock(&vm->lock);
    for (unsigned i = 0; i < CONFIG_MAX_VCPUS && vm->slots[i]; i++) {
        vm->slots[i]->vcpu.tsc_base = vm->tsc_base;
        vm->slots[i]->retimed = true;
    }
    spin_unlock(&vm->lock);
    atomic_store(&vm->paused, false);
    kick_all();
    return 0;
}

/* In this order: whoever saw no pause is counted before vm_resume looks who is inside. */
bool vm_enter(struct vm *vm)
{
    atomic_fetch_add(&vm->inside, 1);
    if (!atomic_load(&vm->paused))
        return true;
    vm_left(vm);
    return false;
}

void vm_left(struct vm *vm)
{
    uint64_t now = rdtsc(), left = atomic_load(&vm->left_at);

    while (left < now && !atomic_compare_exchange_weak(&vm->left_at, &left, now))
        ;
    atomic_fetch_sub(&vm->inside, 1);
}

uint64_t vm_tick(const struct vm *vm)
{
    bool still = atomic_load(&vm->paused) && !atomic_load(&vm->inside);

    return (still ? atomic_load(&vm->left_at) : rdtsc()) + vm->tsc_base;
}

/* The guest is told that what it is to keep has changed. */
static void tell(struct vm *vm)
{
    spin_lock(&vm->lock);
    if (vm->board)
        board_pulse(vm->board, BOARD_GSI_HINTS);
    spin_unlock(&vm->lock);
}

void vm_set_target(struct vm *vm, uint64_t mib)
{
    atomic_store(&vm->target_mib, mib);
    tell(vm);
}

void vm_squeeze(struct vm *vm, uint64_t mib)
{
    atomic_store(&vm->squeezed_mib, mib);
    tell(vm);
}

uint64_t vm_balloon_report(struct vm *vm, uint64_t holds)
{
    uint64_t target = atomic_load(&vm->target_mib), squeezed = atomic_load(&vm->squeezed_mib);

    atomic_store(&vm->balloon, holds);
    atomic_store(&vm->has_balloon, true);
    return (vm->config->memory_mib - target + MIN(squeezed, target - 1)) * MIB / PAGE_SIZE;
}

void vm_crash(struct vm *vm, struct vcpu *v, const char *why)
{
    log_warn("vm %s has failed and is stopped: %s", vm->config->name, why);
    vcpu_dump(v, why);
    vm_stop(vm);
}

static struct slot *new_slot(struct vm *vm, unsigned index)
{
    struct hpa mem = page_alloc_zeroed(0, page_order(sizeof(struct slot)), PAGE_HYPERVISOR);
    struct slot *s = hpa_ptr(mem);

    if (!mem.v)
        return NULL;
    s->vm = vm;
    s->state = VCPU_WAIT_SIPI;
    s->fresh = true;
    s->start.mode = START_SIPI;
    s->vcpu.ops = &vm_vcpu_ops;
    s->vcpu.owner = vm;
    s->vcpu.pmap = &vm->pmap;
    s->vcpu.index = index;
    s->vcpu.vcpus = vm->config->vcpus;
    s->vcpu.cpu = vm->cpu[index];
    s->vcpu.vpid = (uint16_t)(1 + vm->index * CONFIG_MAX_VCPUS + index);
    s->vcpu.tsc_base = vm->tsc_base;
    s->vcpu.disks = &vm->disks;
    s->vcpu.nets = &vm->nets;
    s->vcpu.devices = board_vcpu(vm->board, index);
    s->vcpu.apic_page = board_apic_page(s->vcpu.devices);
    s->vcpu.news = board_news(s->vcpu.devices);
    s->timers = board_timers(s->vcpu.devices);
    if (vcpu_init(&s->vcpu)) {
        page_free(mem, page_order(sizeof(struct slot)));
        return NULL;
    }
    return s;
}

static void free_slot(struct vm *vm, struct slot *s)
{
    if (!s)
        return;
    exit_stats_add(&vm->exits, &s->vcpu.exits);
    vcpu_destroy(&s->vcpu);
    page_free(ptr_hpa(s), page_order(sizeof(struct slot)));
}

static void destroy(struct vm *vm)
{
    vifs_destroy(&vm->nets); /* from now on nobody gives it frames or interrupts */
    spin_lock(&vm->lock);
    for (unsigned i = 0; i < CONFIG_MAX_VCPUS; i++) {
        free_slot(vm, vm->slots[i]);
        vm->slots[i] = NULL;
    }
    if (vm->board)
        page_free(ptr_hpa(vm->board), vm->board_order);
    vm->board = NULL;
    spin_unlock(&vm->lock);
    vm->balloon = vm->has_balloon = 0;
    vm->squeezed_mib = 0;
    vm_disks_settle(vm);
    blk_destroy(&vm->disks);
    if (!vm->pmap.chunks)
        return;
    for (uint64_t chunk = 0; pmap_destroy_chunk(&vm->pmap, &chunk);)
        sched_breathe();
    pmap_destroy(&vm->pmap);
}

static int new_board(struct vm *vm)
{
    const struct board_config config = {
        .vcpus = vm->config->vcpus, .tick_khz = tsc_khz(), .memory = vm->config->memory_mib * MIB,
        .apicv = vmx_caps.apicv,
    };
    struct hpa mem;

    vm->board_order = page_order(board_size(config.vcpus));
    mem = page_alloc_zeroed(0, vm->board_order, PAGE_HYPERVISOR);
    if (!mem.v)
        return -ENOMEM;
    vm->board = hpa_ptr(mem);
    board_init(vm->board, &config, &vm_board_ops, vm);
    return vm_map_apic(vm);
}

/*
 * The processor takes every access through this page for one to the vCPU's local APIC. As soon as one is elsewhere or
 * in x2APIC mode the page is gone and software answers: a vCPU that entered before may still find it, and is one to
 * which it answers rightly; the one that changed invalidates before it runs on (vcpu_prepare_entry).
 */
int vm_map_apic(struct vm *vm)
{
    int err;

    if (!vmx_caps.apicv)
        return 0;
    spin_lock(&vm->lock);
    err = pmap_set_device(&vm->pmap, GPA(BOARD_LAPIC_BASE),
                          board_xapic_plain(vm->board) ? apicv_access_page() : HPA_NONE);
    spin_unlock(&vm->lock);
    return err;
}

/* The loader's view of the start in VMX's words. */
static void set_start(struct slot *s, const struct guest_entry *e)
{
    s->start = (struct vcpu_start){
        .mode = e->mode == GUEST_LONG64 ? START_LONG64 : START_PROT32,
        .rip = e->rip, .rsp = e->rsp, .cr3 = e->cr3, .gdt = e->gdt, .gdt_limit = e->gdt_limit, .cs = e->cs, .ds = e->ds,
        .rax = e->rax, .rbx = e->rbx, .rsi = e->rsi,
    };
    s->state = VCPU_RUNNABLE;
}

/* What the guest touches first it gets without waiting: as much of its memory as the stock may hold. */
static void zero_ahead(uint64_t bytes)
{
    struct page_counts c;

    do {
        sched_breathe();
        page_count(NUMA_MAX_NODES, &c);
    } while (c.by_kind[PAGE_ZEROED] * PAGE_SIZE < bytes && page_zero_ahead(cpu_this()->node));
}

/* Where the VM shares memory by content: VMs with the same name are of one domain. */
static uint16_t domain_of(const struct vm *vm)
{
    if (!vm->config->share[0])
        return 0;
    for (unsigned i = 0;; i++)
        if (!strcmp(vms[i].config->share, vm->config->share))
            return (uint16_t)(COMMONS_DOMAIN + i);
}

/* Chooses where the kernel goes: one number for all of a domain while Mirrorball runs, and at each start another for a
 * VM of none. */
static uint64_t place_of(const struct vm *vm)
{
    static _Atomic uint64_t drawn[CONFIG_MAX_VMS];
    uint64_t none = 0, number = random_number();

    if (!vm->pmap.domain)
        return number;
    atomic_compare_exchange_strong(&drawn[vm->pmap.domain - COMMONS_DOMAIN], &none, number);
    return none ? none : number;
}

/* What is built for the logs alone needs no memory. */
static int build(struct vm *vm)
{
    struct guest_entry entry = { 0 };
    char why[256];
    int err;

    if (!vm->only_logs)
        zero_ahead(vm->config->memory_mib * MIB);
    vm->tsc_base = -rdtsc();
    if (pmap_init(&vm->pmap, (uint16_t)(vm->index + 1), vm->config->memory_mib * MIB, page_nodes()) || new_board(vm)) {
        log_warn("vm %s: no memory to build it", vm->config->name);
        return -ENOMEM;
    }
    vm->pmap.domain = domain_of(vm);
    scan_wake();
    vm->pmap.home = vm->pmap.main_node = cpu_this()->node;
    vm->pmap.placement = vm->config->placement;
    for (unsigned i = 0; i < vm->config->vcpus; i++) {
        vm->slots[i] = new_slot(vm, i);
        if (!vm->slots[i]) {
            log_warn("vm %s: no memory for vCPU %u", vm->config->name, i);
            return -ENOMEM;
        }
    }
    err = vm_add_disks(vm);
    if (!err && !vm->only_logs)
        err = vm_add_nets(vm);
    if (!err && !vm->only_logs)
        err = vm_add_segments(vm);
    if (err || vm->only_logs)
        return err;
    err = loader_load(vm->config, &vm->pmap, place_of(vm), &entry, why, sizeof(why));
    if (err) {
        log_warn("vm %s: %s", vm->config->name, why);
        return err;
    }
    set_start(vm->slots[0], &entry);
    return 0;
}

static void start(struct vm *vm)
{
    bool logs = vm->only_logs, cancelled = vm->cancelled;
    int none = 0, err = cancelled ? 0 : build(vm);

    vm->only_logs = false;
    if (cancelled || err || logs) {
        if (!logs)
            atomic_compare_exchange_strong(&first_error, &none, err);
        destroy(vm);
        log_info("vm %s: off", vm->config->name);
        switch_off(vm);
        return;
    }
    vm->active = vm->config->vcpus;
    atomic_store(&vm->state, VM_RUNNING);
    atomic_fetch_sub(&vms_changing, 1);
    log_info("vm %s: starts with %lu MiB and %u vCPUs, the first on cpu %u", vm->config->name, vm->config->memory_mib,
             vm->config->vcpus, vm->home);
    for (unsigned i = 0; i < vm->config->vcpus; i++)
        sched_add(vm->slots[i]);
    if (vm->cancelled)
        (void)change(vm, VM_RUNNING, VM_STOPPING);
}

static void finish(struct vm *vm)
{
    bool again = vm->again && !vm->cancelled;

    destroy(vm);
    log_info("vm %s: %s", vm->config->name, again ? "reset" : "off");
    if (again) {
        atomic_store(&vm->state, VM_STARTING);
        return;
    }
    switch_off(vm);
    if (!vm_any_alive()) {
        log_info("no VM is left");
        sched_end();
    }
}

bool vm_service(struct vm *vm)
{
    switch (atomic_load(&vm->state)) {
    case VM_STARTING:
        start(vm);
        if (!vm_any_alive())
            sched_end();
        return true;
    case VM_STOPPING:
        if (atomic_load(&vm->active))
            return false;
        finish(vm);
        return true;
    default:
        return false;
    }
}

bool vm_serial_in(struct vm *vm, uint8_t byte)
{
    bool taken = true;

    spin_lock(&vm->lock);
    if (vm->board && atomic_load(&vm->state) == VM_RUNNING)
        taken = board_serial_in(vm->board, byte);
    spin_unlock(&vm->lock);
    return taken;
}

void vm_exits(struct vm *vm, struct exit_stats *out)
{
    spin_lock(&vm->lock);
    memcpy(out, &vm->exits, sizeof(*out));
    for (unsigned i = 0; i < CONFIG_MAX_VCPUS && vm->slots[i]; i++)
        exit_stats_add(out, &vm->slots[i]->vcpu.exits);
    spin_unlock(&vm->lock);
}

int vm_vcpu_exits(struct vm *vm, unsigned vcpu, struct exit_stats *out)
{
    const struct slot *s;

    spin_lock(&vm->lock);
    s = vcpu < CONFIG_MAX_VCPUS ? vm->slots[vcpu] : NULL;
    if (s)
        memcpy(out, &s->vcpu.exits, sizeof(*out));
    spin_unlock(&vm->lock);
    return s ? 0 : -ENOENT;
}

void vm_shares(struct vm *vm, void (*print)(const char *line))
{
    char text[128];

    spin_lock(&vm->lock);
    for (unsigned i = 0; i < CONFIG_MAX_VCPUS && vm->slots[i]; i++) {
        struct slot *s = vm->slots[i];

        format(text, sizeof(text), "  vcpu %u on cpu %u: ran %lu ms, longest wait after waking %lu us", i, s->vcpu.cpu,
               sched_ran(s) / tsc_khz(), s->share.worst_wait * 1000 / tsc_khz());
        s->share.worst_wait = 0;
        print(text);
    }
    spin_unlock(&vm->lock);
}
