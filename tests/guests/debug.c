/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/format.h"
#include "lib/string.h"
#include "tests/guests/rt/rt.h"

/* Debug exceptions (SDM vol. 3, chapter 18), above all around instructions that leave a guest: debug_steps.asm. */

void step_run(void);
void halt_run(void);
void break_run(void);
void watch_run(volatile uint32_t *at);
void icebp_run(void);
void port_run(void);
void repeat_run(const char *from);
void repeat_step_run(const char *from);
void device_run(volatile uint32_t *at);
extern const uint64_t step_want[], halt_want[2], break_at[2], watch_want[1], icebp_want[1];
extern const uint64_t port_want[2], repeat_want[3], repeat_step_want[7], device_want[2];
extern const uint32_t step_wants;

#define DR6_NONE 0xffff0ff0ull
#define DR6_B(n) BIT(n)
#define DR6_BS   BIT(14)
#define DR7_ONE  BIT(10)
enum { TIMER = 0x50, HITS = 32 };

static struct { uint64_t rip, dr6; unsigned timer; } hit[HITS];
static volatile unsigned hits, timer;

static void on_debug(struct trap_frame *f)
{
    if (hits < HITS) {
        hit[hits].rip = f->rip;
        hit[hits].dr6 = read_dr6();
        hit[hits].timer = timer;
    }
    hits++;
    write_dr6(DR6_NONE);
    if (hits >= HITS)
        f->rflags &= ~FLAGS_TF;
    if (hit[hits - 1].dr6 & 3)
        f->rflags |= BIT(16);                       /* RF: past the breakpoint */
}

static void start(void)
{
    memset(hit, 0, sizeof(hit));
    hits = timer = 0;
    write_dr6(DR6_NONE);
}

static void check_hits(const char *what, const uint64_t *want, unsigned n, uint64_t dr6)
{
    char name[80];

    for (unsigned i = 0; i < n; i++) {
        format(name, sizeof(name), "%s, debug exception %u: where", what, i + 1);
        check(name, hit[i].rip, want[i]);
        format(name, sizeof(name), "%s, debug exception %u: DR6", what, i + 1);
        check(name, hit[i].dr6, DR6_NONE | dr6);
    }
}

static void check_steps(void)
{
    start();
    step_run();
    check("single steps", hits, step_wants);
    check_hits("single steps", step_want, step_wants, DR6_BS);
}

static void on_timer(struct trap_frame *f)
{
    (void)f;
    timer++;
    apic_write(APIC_EOI, 0);
}

/*
 * The trap behind HLT ends it and does not wait for an interrupt. The timer is set for long enough that a turn of another
 * vCPU on this processor does not let it fire.
 */
static void check_halt(void)
{
    if (!on_hypervisor() || on_tcg()) {
        skip("single steps over sti and hlt", "not known of this processor");
        return;
    }
    set_handler(TIMER, on_timer);
    apic_set_mode(APIC_XAPIC);
    apic_write(APIC_TIMER_DIVIDE, 0xb);
    apic_write(APIC_LVT_TIMER, TIMER);
    start();
    apic_write(APIC_TIMER_INITIAL, 300000000);
    halt_run();
    apic_write(APIC_TIMER_INITIAL, 0);
    check_hits("sti and hlt", halt_want, ARRAY_SIZE(halt_want), DR6_BS);
    check("hlt does not wait for the interrupt", hit[1].timer, 0);
}

static void check_breakpoints(void)
{
    volatile uint32_t watched = 0;

    start();
    write_dr0(break_at[0]);
    write_dr1(break_at[1]);
    write_dr7(DR7_ONE | 1 << 0 | 1 << 2);
    break_run();
    write_dr7(DR7_ONE);
    check("breakpoints on an instruction that exits and on the next", hits, 2);
    check("the first", hit[0].rip, break_at[0]);
    check("its DR6", hit[0].dr6, DR6_NONE | DR6_B(0));
    check("the second", hit[1].rip, break_at[1]);
    check("its DR6", hit[1].dr6, DR6_NONE | DR6_B(1));

    start();
    write_dr2((uint64_t)&watched);
    write_dr7(DR7_ONE | 1 << 4 | 0xdull << 24);     /* writes of 4 bytes */
    watch_run(&watched);
    write_dr7(DR7_ONE);
    check("a watched write", hits, 1);
    check_hits("a watched write", watch_want, 1, DR6_B(2));
    check("is done", watched, 42);

    if (on_tcg()) {
        skip("INT1", "QEMU's emulation has none");
        return;
    }
    start();
    icebp_run();
    check("INT1", hits, 1);
    check_hits("INT1", icebp_want, 1, 0);
}

static void count_and_check(const char *what, const uint64_t *want, unsigned n, uint64_t dr6)
{
    write_dr7(DR7_ONE);
    check(what, hits, n);
    check_hits(what, want, n, dr6);
}

/* What a hypervisor does in the guest's place: ports, string instructions on them, and the registers of a device. */
static void check_ports_and_devices(void)
{
    static const uint64_t ioapic_select = 0xfec00000;
    uint64_t cr4 = read_cr4();

    if (on_tcg()) {
        skip("breakpoints on ports", "QEMU's emulation steps over some");
        return;
    }
    write_cr4(cr4 | CR4_DE);
    write_dr3(0x80);
    start();
    write_dr7(DR7_ONE | 1 << 6 | 0x2ull << 28);     /* a port */
    port_run();
    count_and_check("a port", port_want, ARRAY_SIZE(port_want), DR6_B(3));
    start();
    write_dr7(DR7_ONE | 1 << 6 | 0x2ull << 28);
    repeat_run("abc");
    count_and_check("rep outs to a port", repeat_want, ARRAY_SIZE(repeat_want), DR6_B(3));
    start();
    repeat_step_run("abc");
    count_and_check("single steps over rep outs", repeat_step_want, ARRAY_SIZE(repeat_step_want), DR6_BS);
    start();
    write_dr2(ioapic_select);
    write_dr7(DR7_ONE | 1 << 4 | 0xfull << 24);     /* reads and writes of 4 bytes */
    device_run((volatile uint32_t *)ioapic_select);
    count_and_check("a device's register", device_want, ARRAY_SIZE(device_want), DR6_B(2));
    write_cr4(cr4);
}

static void probe_dr4(void *unused)
{
    uint64_t value;

    (void)unused;
    __asm__ volatile("mov %%dr4, %0" : "=r"(value));
    check("DR4 is DR6 without CR4.DE", value, read_dr6());
}

static void check_aliases(void)
{
    uint64_t cr4 = read_cr4();

    if (on_tcg()) {
        skip("DR4", "QEMU's emulation has none");
        return;
    }
    write_cr4(cr4 & ~CR4_DE);
    probe_dr4(NULL);
    write_cr4(cr4 | CR4_DE);
    check_fault("DR4 with CR4.DE", 0, probe_dr4, NULL, VEC_UD);
    write_cr4(cr4);
}

/* IA32_TSC_ADJUST moves with the clock, and the clock with it (18.17.3). */
static void check_tsc_adjust(void)
{
    uint32_t a, b, c, d;
    uint64_t before, now;

    cpuid(7, 0, &a, &b, &c, &d);
    if (!(b & BIT(1))) {
        skip("IA32_TSC_ADJUST", "not here");
        return;
    }
    before = rdmsr(MSR_TSC_ADJUST);
    wrmsr(MSR_TSC_ADJUST, before + BIT(40));
    now = rdtsc();
    check("IA32_TSC_ADJUST reads back", rdmsr(MSR_TSC_ADJUST), before + BIT(40));
    check_true("and moves the clock", now >= BIT(40) && now < BIT(41));
    wrmsr(MSR_TSC, now - BIT(40));
    check_true("a write to the clock moves it", rdmsr(MSR_TSC_ADJUST) - before < BIT(32) ||
                                                before - rdmsr(MSR_TSC_ADJUST) < BIT(32));
    wrmsr(MSR_TSC_ADJUST, before);
}

void guest_main(const char *arguments)
{
    (void)arguments;
    set_handler(VEC_DB, on_debug);
    check_steps();
    check_halt();
    check_breakpoints();
    check_ports_and_devices();
    check_aliases();
    check_tsc_adjust();
}
