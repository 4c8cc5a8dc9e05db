/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/vm_ops.h"
#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "core/console.h"
#include "core/sched.h"
#include "core/vm_segments.h"
#include "hypercalls/hypercalls.h"

#define NS_PER_S 1000000000ull

static struct vm *vm_of(struct vcpu *v) { return v->owner; }

static uint32_t pio_read(struct vcpu *v, uint16_t port, unsigned size)
{
    return board_pio_read(v->devices, port, size);
}

static void pio_write(struct vcpu *v, uint16_t port, unsigned size, uint32_t value)
{
    board_pio_write(v->devices, port, size, value);
}

static uint64_t mmio_read(struct vcpu *v, struct gpa at, unsigned size)
{
    return board_mmio_read(v->devices, at, size);
}

static void mmio_write(struct vcpu *v, struct gpa at, unsigned size, uint64_t value)
{
    board_mmio_write(v->devices, at, size, value);
}

static int msr_read(struct vcpu *v, uint32_t msr, uint64_t *value)
{
    return board_msr_read(v->devices, msr, value);
}

static __attribute__((noinline)) int write_apic_base(struct vcpu *v, uint64_t value)
{
    int err = board_msr_write(v->devices, MSR_APIC_BASE, value);

    if (!err)
        (void)vm_map_apic(vm_of(v)); /* without its page the local APIC still answers, with an exit */
    return err;
}

static int msr_write(struct vcpu *v, uint32_t msr, uint64_t value)
{
    return msr == MSR_APIC_BASE ? write_apic_base(v, value) : board_msr_write(v->devices, msr, value);
}

static uint8_t cr8(struct vcpu *v)
{
    return board_tpr(v->devices);
}

static void set_cr8(struct vcpu *v, uint8_t value)
{
    board_set_tpr(v->devices, value);
}

static bool pending(struct vcpu *v)
{
    return board_look(v->devices);
}

static int take_interrupt(struct vcpu *v)
{
    return board_take_interrupt(v->devices);
}

static bool apicv_state(struct vcpu *v, struct apicv_state *out)
{
    return board_apicv_state(v->devices, out);
}

static void apic_written(struct vcpu *v, unsigned offset)
{
    board_apic_written(v->devices, offset);
}

static void apic_ended(struct vcpu *v, uint8_t vector)
{
    board_apic_ended(v->devices, vector);
}

static void stop(struct vcpu *v, const char *why)
{
    v->look_at = 0;
    vm_crash(vm_of(v), v, why);
}

/* What it has to send and has not called for goes first. */
static void halt(struct vcpu *v)
{
    vifs_idle(v->nets, v->index);
    sched_halt(v);
}

static void idle(struct vcpu *v)
{
    vifs_idle(v->nets, v->index);
    sched_idle(v);
}

static uint64_t balloon(struct vcpu *v, uint64_t holds)
{
    return vm_balloon_report(vm_of(v), holds);
}

static void ring(struct vcpu *v, const struct segment *s)
{
    vm_ring(vm_of(v), s);
}

static uint64_t rung(struct vcpu *v)
{
    return vm_rung(vm_of(v));
}

/* The real time of day: the firmware's clock at start, carried on by the TSC. */
static uint64_t start_ns, start_tsc;

void vm_set_wallclock(int64_t unix_time)
{
    start_ns = unix_time > 0 ? (uint64_t)unix_time * NS_PER_S : 0;
    start_tsc = rdtsc();
}

uint64_t vm_wallclock_ns(void)
{
    return start_ns + muldiv64(rdtsc() - start_tsc, 1000000, tsc_khz());
}

static uint64_t wallclock_at_start(struct vcpu *v)
{
    return vm_wallclock_ns() - muldiv64(vcpu_tick(v), 1000000, tsc_khz());
}

const struct vcpu_ops vm_vcpu_ops = {
    .pio_read = pio_read, .pio_write = pio_write, .mmio_read = mmio_read, .mmio_write = mmio_write,
    .msr_read = msr_read, .msr_write = msr_write, .cr8 = cr8, .set_cr8 = set_cr8, .pending = pending,
    .take_interrupt = take_interrupt, .apicv_state = apicv_state, .apic_written = apic_written,
    .apic_ended = apic_ended, .hypercall = hypercall_handle, .quick_hypercall = hypercall_quick, .halt = halt,
    .spins = sched_spins, .idle = idle, .wait = sched_wait, .balloon = balloon, .ring = ring, .rung = rung,
    .interrupt = sched_interrupt,
    .stop = stop, .wallclock = wallclock_at_start, .resume = sched_resume, .goes_on = sched_goes_on,
};

static uint64_t now(void *ctx)
{
    return vm_tick(ctx);
}

/*
 * What it is kicked for is stored already, by a locked instruction. It may move meanwhile: then either its new pCPU is
 * read here, or that one, which enters it after it has become its pCPU, sees what was stored.
 */
static void kick(void *ctx, unsigned vcpu)
{
    sched_kick(atomic_load(&((struct vm *)ctx)->slots[vcpu]->vcpu.cpu));
}

static void post(void *ctx, unsigned vcpu)
{
    sched_post(((struct vm *)ctx)->slots[vcpu]->vcpu.cpu);
}

static void request(struct vm *vm, unsigned vcpu, uint32_t what)
{
    atomic_fetch_or(&vm->slots[vcpu]->requests, what);
    kick(vm, vcpu);
}

static void init(void *ctx, unsigned vcpu)
{
    request(ctx, vcpu, REQUEST_INIT);
}

static void sipi(void *ctx, unsigned vcpu, uint8_t vector)
{
    struct vm *vm = ctx;

    atomic_store(&vm->slots[vcpu]->sipi_vector, vector);
    request(vm, vcpu, REQUEST_SIPI);
}

static void nmi(void *ctx, unsigned vcpu)
{
    vcpu_nmi(&((struct vm *)ctx)->slots[vcpu]->vcpu);
    kick(ctx, vcpu);
}

static void power(void *ctx, enum board_power what)
{
    if (what == BOARD_RESET)
        vm_reset(ctx);
    else
        vm_stop(ctx);
}

static void serial_out(void *ctx, uint8_t byte)
{
    console_guest_out(((struct vm *)ctx)->index, byte);
}

static uint64_t wallclock(void *ctx)
{
    (void)ctx;
    return vm_wallclock_ns() / NS_PER_S;
}

const struct board_ops vm_board_ops = {
    .now = now, .kick = post, .init = init, .sipi = sipi, .nmi = nmi, .power = power, .serial_out = serial_out,
    .wallclock = wallclock,
};
