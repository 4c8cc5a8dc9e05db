/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/fbcon.h"
#include "arch/x86/ioapic.h"
#include "arch/x86/percpu.h"
#include "arch/x86/serial.h"
#include "arch/x86/traps.h"
#include "arch/x86/world.h"
#include "core/boot.h"
#include "core/console.h"
#include "core/disks.h"
#include "core/sched.h"
#include "core/selftest.h"
#include "core/uplinks.h"
#include "core/vm.h"
#include "core/vm_disks.h"
#include "drivers/device.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "numa/commons.h"
#include "numa/gigantic.h"
#include "numa/page.h"
#include "numa/reclaim.h"
#include "numa/sample.h"
#include "vdev/image.h"
#include "vmx/apicv.h"
#include "vmx/caps.h"
#include "vmx/setup.h"
#include "vmx/vmx.h"

/* The image's sections: efi/mirrorball.lds. */
extern char image_text_start[], image_text_end[], image_rodata_start[], image_rodata_end[], image_data_start[],
    image_data_end[];

static uint64_t table_page(void)
{
    return page_alloc_zeroed(0, PAGE_ORDER_4K, PAGE_HYPERVISOR).v;
}

static uint64_t contiguous_pages(unsigned pages)
{
    unsigned order = 0;

    while (BIT(order) < pages)
        order++;
    return page_alloc_zeroed(0, order, PAGE_HYPERVISOR).v;
}

/* What the machine is like, or what the configuration wants it to be. */
static struct topology topology;

static void choose_topology(const struct boot_info *boot)
{
    struct topology_part part[BOOT_MAX_RANGES];
    const struct config *c = boot->config;

    topology_flat(&topology);
    if (c->numa == CONFIG_NUMA_AUTO)
        topology = boot->topology;
    for (unsigned i = 0; i < boot->memory_ranges; i++)
        part[i] = (struct topology_part){ boot->memory[i].base, boot->memory[i].size };
    if (c->numa == CONFIG_NUMA_FAKE)
        topology_fake(&topology, c->numa_fake_nodes, part, boot->memory_ranges, boot->apic_id, boot->cpus);
    page_set_distances(topology.nodes, topology.distance);
}

/* A range of memory, which may be on several nodes; returns how much of it can be used. */
static uint64_t take_range(uint64_t base, uint64_t size)
{
    uint64_t taken = 0, end = base + size, next;

    for (uint64_t at = base; at < end; at = next) {
        unsigned node = topology_memory_node(&topology, at, &next);
        int err;

        next = MIN(ALIGN_UP(MIN(next, end), PAGE_SIZE), end);
        err = page_add_range(at, next - at, node);
        if (err)
            log_warn("memory at %#lx, %lu KiB: not used (%d)", at, (next - at) / KIB, err);
        else
            taken += next - at;
    }
    return taken;
}

static int take_memory(const struct boot_info *boot)
{
    uint64_t sum = 0;

    choose_topology(boot);
    for (unsigned i = 0; i < boot->memory_ranges; i++)
        sum += take_range(boot->memory[i].base, boot->memory[i].size);
    log_info("machine memory: %lu MiB in %u ranges on %u nodes", sum / MIB, boot->memory_ranges, topology.nodes);
    return sum ? 0 : -ENOMEM;
}

static int map_section(const char *start, const char *end, enum map_kind kind)
{
    return paging_map((uint64_t)start, (uint64_t)(end - start), kind);
}

/* The files of the guests were loaded by the firmware and stay where they are. */
static int map_file(const struct config_file *f)
{
    uint64_t base = ALIGN_DOWN((uint64_t)f->data, PAGE_SIZE);

    return f->data ? paging_map(base, ALIGN_UP((uint64_t)f->data + f->size, PAGE_SIZE) - base, MAP_RODATA) : 0;
}

static int map_files(const struct config *config)
{
    int err = 0;

    for (unsigned i = 0; i < config->vms && !err; i++) {
        err = map_file(&config->vm[i].kernel);
        for (unsigned r = 0; r < config->vm[i].ramdisks && !err; r++)
            err = map_file(&config->vm[i].ramdisk[r]);
        for (unsigned d = 0; d < config->vm[i].disks && !err; d++)
            err = map_file(&config->vm[i].disk[d].image);
    }
    return err;
}

/* The interrupt controllers' registers. */
static int map_apics(const struct boot_info *boot)
{
    unsigned n = ioapic_find(boot->ioapic, boot->ioapics);
    int err = apic_mmio_base() ? paging_map(apic_mmio_base(), PAGE_SIZE, MAP_DEVICE) : 0;

    for (unsigned i = 0; i < n && !err; i++)
        err = paging_map(ioapic_page(i), PAGE_SIZE, MAP_DEVICE);
    return err;
}

/* Everything our world can see, and nothing else. */
static int map_world(const struct boot_info *boot)
{
    const struct boot_framebuffer *fb = &boot->framebuffer;
    int err = paging_begin(table_page);

    for (unsigned i = 0; i < boot->memory_ranges && !err; i++)
        err = paging_map(boot->memory[i].base, boot->memory[i].size, MAP_DATA);
    if (!err)
        err = map_section(image_text_start, image_text_end, MAP_CODE);
    if (!err)
        err = map_section(image_rodata_start, image_rodata_end, MAP_RODATA);
    if (!err)
        err = map_section(image_data_start, image_data_end, MAP_DATA);
    if (!err)
        err = map_files(boot->config);
    if (!err)
        err = map_apics(boot);
    if (!err && boot->low.size)
        err = paging_map(boot->low.base, boot->low.size, MAP_DATA);
    if (!err && fb->size && boot->config->console_gop)
        err = paging_map(ALIGN_DOWN(fb->base, PAGE_SIZE), ALIGN_UP(fb->base % PAGE_SIZE + fb->size, PAGE_SIZE),
                         MAP_FRAME);
    return err;
}

static void start_console(const struct boot_info *boot)
{
    const struct config *c = boot->config;
    const struct fbcon_mode mode = { boot->framebuffer.base, boot->framebuffer.width, boot->framebuffer.height,
                                     boot->framebuffer.stride, boot->framebuffer.bgr };
    bool com1 = c->console_com1 && serial_init(c->com1_baud);
    bool gop = c->console_gop && boot->framebuffer.size && fbcon_init(&mode);

    log_set_level((enum log_level)c->log_level);
    console_init(com1, gop, c->vms > 1);
    log_add_sink(console_log);
}

static _Atomic unsigned online, failed, leaving;

static void wait_for_all(const _Atomic unsigned *count)
{
    while (atomic_load(count) < cpu_count())
        cpu_pause();
}

static void start_vms(void)
{
    console_set_focus(CONSOLE_MONITOR);
    for (unsigned i = 0; i < vm_count(); i++)
        vm_start(vm_at(i));
}

/* A processor's stay in our world. */
static void processor_main(struct percpu *cpu)
{
    int err = vmx_cpu_start();

    if (err) {
        log_error("cpu %u: VMX does not start (%d)", cpu->index, err);
        atomic_fetch_add(&failed, 1);
    }
    atomic_fetch_add(&online, 1);
    wait_for_all(&online); /* kicks must find everybody in this world */
    if (!atomic_load(&failed)) {
        if (cpu->index == 0)
            start_vms();
        sched_loop();
    }
    apic_timer_arm(UINT64_MAX);
    atomic_fetch_add(&leaving, 1);
    wait_for_all(&leaving); /* after this nobody sends interrupts to anybody */
    sti();
    cpu_pause();
    cli();
    vmx_cpu_stop();
}

static void other_processor(unsigned index)
{
    world_run(cpu_of(index), processor_main);
}

static void choose_apicv(const struct config *config)
{
    bool found = vmx_caps.apicv;

    if (!config->apicv)
        vmx_caps_without_apicv();
    log_info("APICv: %s", vmx_caps.apicv ? "used" : found ? "not used, as configured" : "not there");
}

static void choose_placement(const struct config *config)
{
    sample_init(&config->policy, vmx_caps.ept_access_bits);
    if (topology.nodes > 1)
        log_info("NUMA policy: %s", !config->policy.on ? "off, as configured" : vmx_caps.ept_access_bits ?
                 "pages follow their use" : "off, the processor's EPTs have no accessed and dirty bits");
}

static void choose_large_pages(void)
{
    if (vmx_caps.ept_1g)
        gigantic_init();
}

static int prepare(const struct boot_info *boot)
{
    char why[128];
    int err = take_memory(boot);

    if (err)
        return err;
    if (!tsc_calibrate()) {
        log_error("the rate of the TSC cannot be found");
        return -ENODEV;
    }
    apic_calibrate();
    err = vmx_caps_init(why, sizeof(why));
    if (err) {
        log_error("%s", why);
        return err;
    }
    choose_apicv(boot->config);
    choose_placement(boot->config);
    choose_large_pages();
    reclaim_set_cache(image_look);
    vm_disks_init();
    err = commons_init();
    if (err) {
        log_error("there is too little machine memory");
        return err;
    }
    err = map_world(boot);
    if (!err)
        err = percpu_init(boot->cpus, boot->apic_id, table_page, contiguous_pages);
    for (unsigned i = 0; !err && i < boot->cpus; i++)
        cpu_of(i)->node = topology_cpu_node(&topology, boot->apic_id[i]);
    if (!err)
        err = msr_bitmap_init();
    if (!err)
        err = apicv_init();
    if (!err)
        err = sched_init();
    if (!err)
        err = world_check(boot->cpus, boot->apic_id, boot->start_cpus, boot->wait_cpus);
    if (err)
        log_error("our world cannot be built (%d)", err);
    if (!err)
        err = uplinks_open(boot);
    if (!err)
        disks_open(boot);
    return err ? err : vm_setup(boot->config, boot->unix_time);
}

int mirrorball_selftest(const struct boot_info *boot, const struct boot_selftest *test)
{
    int err;

    start_console(boot);
    err = take_memory(boot);
    if (!err && !tsc_calibrate())
        err = -ENODEV;
    if (!err)
        err = paging_begin(table_page); /* drivers map their registers */
    if (!err && test->disks)
        err = selftest_disks(boot, test);
    if (!err && test->net)
        err = selftest_net(boot);
    log_remove_sinks();
    return err;
}

int mirrorball_main(const struct boot_info *boot)
{
    int err;

    start_console(boot);
    err = prepare(boot);
    if (!err) {
        traps_set_interrupt_handler(sched_interrupt);
        traps_set_dump_hook(vcpu_dump_panic);
        err = boot->cpus > 1 ? boot->start_cpus(other_processor) : 0;
    }
    if (!err) {
        log_info("%u processors: into our own world", boot->cpus);
        world_run(cpu_of(0), processor_main);
        err = boot->cpus > 1 ? boot->wait_cpus() : 0;
        log_info("back in the firmware's world");
    }
    devices_stop();
    disks_close(boot);
    uplinks_close(boot);
    if (!err)
        err = atomic_load(&failed) ? -ENODEV : vm_first_error();
    log_remove_sinks();
    return err;
}
