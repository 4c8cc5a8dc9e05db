/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/guests/privileged.h"

/* Equivalence of what happens over time: debug exceptions, halting, ports, the time-stamp counter, CPUID, caches. */

#define DR6_B0   BIT(0)
#define DR6_BD   BIT(13)
#define DR6_BS   BIT(14)
#define DR7_L0   BIT(0)
#define DR7_ONE  BIT(10)
#define DR7_GD   BIT(13)
#define DR7_WRITE_8_BYTES ((1ull << 16) | (2ull << 18))

static volatile uint64_t watched;
static volatile uint64_t debug_status, debug_rip;
static volatile unsigned debug_count;

static void note_debug(struct trap_frame *frame)
{
    debug_status = read_dr6();
    debug_rip = frame->rip;
    debug_count++;
    frame->rflags &= ~FLAGS_TF;
    write_dr7(DR7_ONE);
    write_dr6(0xffff0ff0);
}

/* Executes one instruction with TF set and says how far behind it the debug exception came: 0 is right behind. */
#define STEP_OVER(prepare, instruction)                                                                      \
    ({                                                                                                       \
        uint64_t behind;                                                                                     \
        debug_rip = 0;                                                                                       \
        __asm__ volatile(prepare "\n\tleaq 2f(%%rip), %0\n\tpushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\t"        \
                         instruction "\n2:\tnop\n\tnop"                                                      \
                         : "=&r"(behind) : : "rax", "rbx", "rcx", "rdx", "memory", "cc");                    \
        debug_rip - behind;                                                                                  \
    })

/* A debugger in the guest must stop behind each instruction, also behind those that a hypervisor executes for it. */
static void check_single_step(void)
{
    check("single step over nop", STEP_OVER("", "nop"), 0);
    check("single step sets DR6.BS", debug_status & DR6_BS, DR6_BS);
    check("single step over cpuid", STEP_OVER("xor %%eax, %%eax", "cpuid"), 0);
    check("single step over in", STEP_OVER("", "inb $0x21, %%al"), 0);
    check("single step over rdmsr", STEP_OVER("mov $0x1b, %%ecx", "rdmsr"), 0);
    check("single step over a write to CR3", STEP_OVER("mov %%cr3, %%rax", "mov %%rax, %%cr3"), 0);
    check("single step sets DR6.BS again", debug_status & DR6_BS, DR6_BS);
}

static void probe_dr0(void *unused)
{
    (void)unused;
    read_dr0();
}

static void check_debug_registers(void)
{
    for (unsigned i = 0; i < 2; i++) {
        write_dr0(0xffff800012345678 + i);
        write_dr3(0x1000 + i);
        check("DR0 holds what is written", read_dr0(), 0xffff800012345678 + i);
        check("DR3 holds what is written", read_dr3(), 0x1000 + i);
    }
    set_handler(VEC_DB, note_debug);
    write_dr6(0xffff0ff0);
    write_dr0((uint64_t)&watched);
    write_dr7(DR7_ONE | DR7_L0 | DR7_WRITE_8_BYTES);
    debug_count = 0;
    watched = 1;
    check("a watched address traps once", debug_count, 1);
    check("the trap tells which", debug_status & 0xf, DR6_B0);
    check_single_step();
    set_handler(VEC_DB, NULL);
    if (on_tcg()) {
        skip("DR7.GD", "QEMU's emulation does not have it");
        return;
    }
    write_dr7(DR7_ONE | DR7_GD);
    check_fault("DR7.GD guards the debug registers", 0, probe_dr0, NULL, VEC_DB);
    check("DR6.BD says so", read_dr6() & DR6_BD, DR6_BD);
    write_dr6(0xffff0ff0);
    write_dr7(DR7_ONE);
}

/* Halting */

enum { TIMER_LINE = 0, TIMER_VECTOR = 0x20 };
static volatile unsigned ticks;

static void on_timer(struct trap_frame *frame)
{
    (void)frame;
    ticks++;
    pic_eoi(TIMER_LINE);
}

static void check_halt(void)
{
    pic_init();
    set_handler(TIMER_VECTOR, on_timer);
    pic_mask((uint16_t)~(1u << TIMER_LINE));
    for (unsigned i = 1; i <= 3; i++) {
        pit_start(0, 2000);
        sti_hlt_cli();
        check("hlt wakes on an interrupt", ticks, i);
    }
    pit_start(0, 2000);
    for (unsigned i = 0; i < 100000 && !(inb(0x20) & 1); i++)
        cpu_pause(); /* the first PIC's request register */
    check("an interrupt waits while IF is clear", ticks, 3);
    __asm__ volatile("sti\n\tnop\n\tnop\n\tcli" : : : "memory");
    check("it comes when IF is set", ticks, 4);
    pic_mask(0xffff);
}

/* Ports */

static void probe_in_mask(void *unused)
{
    (void)unused;
    inb(0x21);
}

static void check_port_instructions(void)
{
    static uint8_t bytes[4], masks[] = { 0x11, 0x22, 0xf5 };
    void *to = bytes;
    const void *from = masks;
    uint64_t count = sizeof(bytes);

    outb(0x21, 0x5a);
    check("in reads what out wrote", inb(0x21), 0x5a);
    __asm__ volatile("rep insb" : "+D"(to), "+c"(count) : "d"(0x21) : "memory");
    check("rep insb fills its bytes", *(uint32_t *)bytes, 0x5a5a5a5a);
    check("rep insb moves rdi and counts rcx", (uint64_t)to - (uint64_t)bytes + count, sizeof(bytes));
    count = sizeof(masks);
    __asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(0x21) : "memory");
    check("rep outsb writes to the last byte", inb(0x21), 0xf5);
    from = masks + 1;
    count = 2;
    __asm__ volatile("std; rep outsb; cld" : "+S"(from), "+c"(count) : "d"(0x21) : "memory");
    check("rep outsb goes backwards with DF", inb(0x21), 0x11);
    outb(0x21, 0xff);
    set_user_port(0x21, true);
    check_fault("the I/O map opens a port to CPL 3", 3, probe_in_mask, NULL, NO_FAULT);
    set_user_port(0x21, false);
    check_fault("the I/O map closes it", 3, probe_in_mask, NULL, VEC_GP);
}

/* Time and identification */

static void check_time(void)
{
    uint64_t last = rdtsc();
    bool monotonic = true;
    uint32_t a, b, c, d, aux;

    for (unsigned i = 0; i < 1000; i++) {
        uint64_t now;

        if (i % 100 == 0)
            cpuid(0, 0, &a, &b, &c, &d); /* likely an exit */
        now = rdtsc();
        monotonic = monotonic && now > last;
        last = now;
    }
    check_true("rdtsc only goes up", monotonic);
    if (on_tcg())
        skip("IA32_TIME_STAMP_COUNTER is the same clock", "it stands still in QEMU's emulation");
    else
        check_true("IA32_TIME_STAMP_COUNTER is the same clock", rdmsr(MSR_TSC) > last && rdmsr(MSR_TSC) < rdtsc());
    cpuid(0x80000001, 0, &a, &b, &c, &d);
    if (!(d & BIT(27))) {
        skip("rdtscp", "not here");
        return;
    }
    wrmsr(MSR_TSC_AUX, 0x1234);
    __asm__ volatile("rdtscp" : "=c"(aux) : : "rax", "rdx");
    check("rdtscp reads IA32_TSC_AUX", aux, 0x1234);
}

static void check_cpuid(void)
{
    uint32_t a, b, c, d;

    cpuid(0, 0, &a, &b, &c, &d);
    check_true("CPUID has leaf 1", a >= 1);
    cpuid(1, 0, &a, &b, &c, &d);
    check("CPUID gives the APIC id", b >> 24, apic_id());
    check("CPUID has PAE, MSRs and an APIC", d & (BIT(5) | BIT(6) | BIT(9)), BIT(5) | BIT(6) | BIT(9));
    cpuid(0x80000001, 0, &a, &b, &c, &d);
    check("CPUID has long mode", d >> 29 & 1, 1);
}

void check_running(void)
{
    check_debug_registers();
    check_halt();
    check_port_instructions();
    check_time();
    check_cpuid();
    wbinvd();
    check_true("wbinvd at CPL 0 returns", true);
}
