/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/guests/interrupts.h"

/* The local APIC: its registers by every kind of instruction, its modes and its timer (SDM vol. 3, chapter 10). */

#define LAPIC ((volatile uint8_t *)0xfee00000)
#define TPR   (*(volatile uint32_t *)(LAPIC + APIC_TPR))
enum { TIMER = 0x51, LOW = 0x61, MIDDLE = 0x72, HIGH = 0x83 };

static uint32_t mmio(unsigned offset)
{
    return *(volatile uint32_t *)(LAPIC + offset);
}

/* Instructions with which kernels reach device memory; a hypervisor has to decode each. */
void check_lapic_access(void)
{
    uint32_t value = 0x30, seen, buffer[2] = { 0, 0 };
    const volatile uint8_t *from = LAPIC + APIC_TPR;
    volatile uint8_t *to = LAPIC + APIC_TPR;
    void *buffer_at = buffer;

    __asm__ volatile("movabsl %%eax, 0xfee00080" : : "a"(value) : "memory");
    __asm__ volatile("movabsl 0xfee00080, %%eax" : "=a"(seen) : : "memory");
    check("mov with an absolute address, to and from", seen, 0x30);
    *(volatile uint32_t *)to = 0x11;
    check("mov", mmio(APIC_TPR), 0x11);
    __asm__ volatile("movl $0x22, %0" : "=m"(*(volatile uint32_t *)to));
    check("mov of an immediate", mmio(APIC_TPR), 0x22);
    __asm__ volatile("orl $0x40, %0\n\tandl $0xf0, %0" : "+m"(*(volatile uint32_t *)to) : : "cc");
    check("or and and with memory", mmio(APIC_TPR), 0x60);
    __asm__ volatile("xorl %1, %0" : "+m"(*(volatile uint32_t *)to) : "r"(0x70) : "cc");
    check("xor with memory", mmio(APIC_TPR), 0x10);
    __asm__ volatile("movsl" : "+S"(from), "+D"(buffer_at) : : "memory");
    check("movs from a register of the device", buffer[0], 0x10);
    buffer[0] = 0x50;
    from = (const volatile uint8_t *)buffer;
    __asm__ volatile("movsl" : "+S"(from), "+D"(to) : : "memory");
    check("movs to one", mmio(APIC_TPR), 0x50);
    to = LAPIC + APIC_TPR;
    __asm__ volatile("stosl" : "+D"(to) : "a"(0x20) : "memory");
    check("stos", mmio(APIC_TPR), 0x20);
    __asm__ volatile("testl $0x20, %1\n\tsetnz %b0" : "=q"(seen) : "m"(TPR) : "cc");
    check("test with memory", seen & 0xff, 1);
    __asm__ volatile("cmpl %1, %2\n\tsete %b0" : "=q"(seen) : "r"(0x20), "m"(TPR) : "cc");
    check("cmp with memory", seen & 0xff, 1);
    __asm__ volatile("movl %1, %%r9d\n\tmovl %%r9d, %0" : "=r"(seen) : "m"(TPR) : "r9");
    check("mov to a register above rdi", seen, 0x20);
    __asm__ volatile("sub $128, %%rsp\n\tpushq %1\n\tpop %%rax\n\tadd $128, %%rsp\n\tmov %%eax, %0"
                     : "=r"(seen) : "m"(*(volatile uint64_t *)(LAPIC + APIC_TPR)) : "rax", "cc");
    if (on_tcg())
        skip("push from a register of the device", "QEMU's APIC does not know 64-bit accesses");
    else
        check("push from a register of the device", seen, 0x20);
    TPR = 0;
}

/* The timer */

static void check_one_shot(void)
{
    count_on(TIMER);
    apic_write(APIC_TIMER_DIVIDE, 0xb);            /* by 1 */
    apic_write(APIC_LVT_TIMER, TIMER);
    apic_write(APIC_TIMER_INITIAL, 50000);
    check_true("the current count runs down", apic_read(APIC_TIMER_CURRENT) <= 50000);
    check("a one-shot timer interrupts once", wait_for(TIMER, 2), 1);
    check("and then stands at 0", apic_read(APIC_TIMER_CURRENT), 0);
}

static void check_periodic(void)
{
    count_on(TIMER);
    apic_write(APIC_LVT_TIMER, APIC_PERIODIC | TIMER);
    apic_write(APIC_TIMER_INITIAL, 50000);
    check_true("a periodic timer interrupts again and again", wait_for(TIMER, 5) >= 5);
    apic_write(APIC_LVT_TIMER, APIC_PERIODIC | APIC_MASKED | TIMER);
    open_window();
    counts[TIMER] = 0;
    for (unsigned i = 0; i < 1000; i++)
        open_window();
    check("a masked timer does not", counts[TIMER], 0);
    apic_write(APIC_TIMER_INITIAL, 0);
}

/* Two, so that one is due already when the machine is interrupted for the other. Kernels nest CLI. */
static void check_held_back(void)
{
    count_on(TIMER);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t at = rdtsc() + 100000;

        wrmsr(MSR_TSC_DEADLINE, at);
        while (rdtsc() < at + 100000)
            __asm__ volatile("cli");
    }
    check("while IF is clear none comes", counts[TIMER], 0);
    check("but when it is set, and both as one", wait_for(TIMER, 2), 1);
}

static volatile unsigned nested, inside;

/* Ends the interrupt first, as Linux does, and goes on for long. */
static void on_long(struct trap_frame *frame)
{
    uint64_t at = rdtsc() + 100000;

    (void)frame;
    nested += inside++;
    apic_write(APIC_EOI, 0);
    wrmsr(MSR_TSC_DEADLINE, at);
    while (rdtsc() < at + 100000)
        __asm__ volatile("cli");
    inside--;
    counts[frame->vector]++;
}

/* Several at a time, and the machine is interrupted while the first is handled. */
static void check_one_by_one(void)
{
    static const uint8_t vectors[] = { LOW, MIDDLE, HIGH };

    count_on(TIMER);
    for (unsigned i = 0; i < ARRAY_SIZE(vectors); i++) {
        set_handler(vectors[i], on_long);
        counts[vectors[i]] = 0;
        apic_send(apic_id(), vectors[i]);
    }
    nested = 0;
    wait_for(LOW, 1);
    check("all three come", counts[LOW] + counts[MIDDLE] + counts[HIGH], 3);
    check("but none while another's handler has IF clear", nested, 0);
}

static void check_deadline(void)
{
    uint32_t a, b, c, d;

    cpuid(1, 0, &a, &b, &c, &d);
    if (!(c & BIT(24))) {
        skip("the timer's TSC deadline", "not here");
        return;
    }
    count_on(TIMER);
    apic_write(APIC_LVT_TIMER, APIC_DEADLINE | TIMER);
    __asm__ volatile("mfence" : : : "memory");
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + 100000);
    check("a TSC deadline interrupts once", wait_for(TIMER, 2), 1);
    if (on_hypervisor())
        check("and is then disarmed", rdmsr(MSR_TSC_DEADLINE), 0);
    else
        skip("and is then disarmed", "bare Bochs 2.7 keeps the deadline");
    wrmsr(MSR_TSC_DEADLINE, 1);
    check("a deadline in the past interrupts at once", wait_for(TIMER, 2), 2);
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + 100000);
    wrmsr(MSR_TSC_DEADLINE, 0);
    counts[TIMER] = 0;
    while (c-- % 4096)
        open_window();
    check("0 disarms it", counts[TIMER], 0);
    check_held_back();
    check_one_by_one();
    apic_write(APIC_LVT_TIMER, APIC_MASKED | TIMER);
}

void check_lapic_timer(void)
{
    check_one_shot();
    check_periodic();
    check_deadline();
}

/* Priorities: what is accepted, in which order, and what waits. */

static void check_priorities(void)
{
    static const uint8_t want[] = { HIGH, MIDDLE, LOW };

    for (unsigned i = 0; i < ARRAY_SIZE(want); i++)
        count_on(want[i]);
    apic_send(0, ICR_SELF | LOW);
    apic_send(0, ICR_SELF | HIGH);
    apic_send(0, ICR_SELF | MIDDLE);
    check("a request waits in IRR", apic_read(APIC_IRR + HIGH / 32 * 16) >> HIGH % 32 & 1, 1);
    for (unsigned i = 0; i < 10; i++)
        open_window();
    check("three come", order_length, 3);
    for (unsigned i = 0; i < ARRAY_SIZE(want); i++)
        check("the highest vector comes first", order[i], want[i]);

    count_on(LOW);
    write_cr8(6);
    apic_send(0, ICR_SELF | LOW);
    open_window();
    check("a vector of the task's priority class waits", counts[LOW], 0);
    check("the task priority register shows CR8", apic_read(APIC_TPR), 0x60);
    write_cr8(5);
    open_window();
    check("it comes when the task's priority drops", counts[LOW], 1);
    write_cr8(0);
}

/* Without its EOI an interrupt holds back its class and those below. */
static volatile unsigned in_service_seen;

static void no_end(struct trap_frame *frame)
{
    counts[frame->vector]++;
    in_service_seen = apic_read(APIC_ISR + MIDDLE / 32 * 16) >> MIDDLE % 32 & 1;
}

static void check_end_of_interrupt(void)
{
    count_on(LOW);
    count_on(HIGH);
    counts[MIDDLE] = 0;
    set_handler(MIDDLE, no_end);
    apic_send(0, ICR_SELF | MIDDLE);
    open_window();
    check("an interrupt in service stands in ISR", in_service_seen, 1);
    check("the processor's priority is its class", apic_read(APIC_PPR) & 0xf0, MIDDLE & 0xf0);
    apic_send(0, ICR_SELF | LOW);
    apic_send(0, ICR_SELF | HIGH);
    open_window();
    open_window();
    check("a lower one waits for the end of interrupt", counts[LOW], 0);
    check("a higher one does not", counts[HIGH], 1);
    apic_write(APIC_EOI, 0);
    open_window();
    check("the end of interrupt lets it come", counts[LOW], 1);
    check("nothing is in service", apic_read(APIC_PPR), 0);
}

/* Interrupts to oneself */

static volatile unsigned nmis;

static void on_nmi(struct trap_frame *frame)
{
    (void)frame;
    nmis++;
}

void check_ipis(void)
{
    count_on(LOW);
    apic_send(0, ICR_SELF | LOW);
    check("an interrupt to oneself", wait_for(LOW, 1), 1);
    apic_send(apic_id(), LOW);
    check("one by one's APIC id", wait_for(LOW, 2), 2);
    apic_send(0, ICR_ALL | LOW);
    check("one to all", wait_for(LOW, 3), 3);
    check_priorities();
    check_end_of_interrupt();

    set_handler(VEC_NMI, on_nmi);
    apic_send(apic_id(), ICR_NMI);
    for (unsigned i = 0; i < 1000 && !nmis; i++)
        cpu_pause();
    check("an NMI to oneself comes with IF clear", nmis, 1);
    apic_send(apic_id(), ICR_NMI);
    for (unsigned i = 0; i < 1000 && nmis < 2; i++)
        cpu_pause();
    check("IRET ends the blocking of NMIs", nmis, 2);
    set_handler(VEC_NMI, NULL);
}

/* Modes */

static void check_in_mode(enum apic_mode mode, const char *name)
{
    apic_set_mode(mode);
    check(name, rdmsr(MSR_APIC_BASE) & (APIC_BASE_ENABLE | APIC_BASE_X2APIC),
          mode == APIC_X2APIC ? APIC_BASE_ENABLE | APIC_BASE_X2APIC : APIC_BASE_ENABLE);
    count_on(LOW);
    apic_send(0, ICR_SELF | LOW);
    check("an interrupt to oneself there", wait_for(LOW, 1), 1);
    count_on(TIMER);
    apic_write(APIC_TIMER_DIVIDE, 0xb);
    apic_write(APIC_LVT_TIMER, TIMER);
    apic_write(APIC_TIMER_INITIAL, 50000);
    check("a timer interrupt there", wait_for(TIMER, 1), 1);
}

static void check_toggle(void)
{
    uint32_t a, b, c, d;

    apic_set_mode(APIC_OFF);
    check("the enable bit can be cleared", rdmsr(MSR_APIC_BASE) & APIC_BASE_ENABLE, 0);
    cpuid(1, 0, &a, &b, &c, &d);
    check("CPUID then has no APIC", d >> 9 & 1, 0);
    check_in_mode(APIC_XAPIC, "the enable bit can be set again");
}

struct msr_write { uint32_t msr; uint64_t value; };

static void probe_wrmsr(void *w)
{
    wrmsr(((struct msr_write *)w)->msr, ((struct msr_write *)w)->value);
}

static void check_x2apic(void)
{
    struct msr_write reserved = { MSR_X2APIC_BASE + APIC_TPR / 16, 0x100 };
    struct msr_write eoi = { MSR_X2APIC_BASE + APIC_EOI / 16, 1 };
    struct msr_write version = { MSR_X2APIC_BASE + APIC_VERSION / 16, 0 }, to_xapic = { MSR_APIC_BASE, 0 };
    uint32_t id = apic_id();

    check_in_mode(APIC_X2APIC, "x2APIC mode");
    check("the id is the same in x2APIC mode", apic_id(), id);
    if (on_hypervisor())
        check("the logical id follows from it", apic_read(APIC_LDR), (id >> 4) << 16 | 1u << (id & 15));
    else
        skip("the logical id follows from it", "bare Bochs 2.7 gives 0");
    count_on(HIGH);
    wrmsr(MSR_X2APIC_BASE + 0x3f, HIGH);
    check("the self-IPI register", wait_for(HIGH, 1), 1);
    check_fault("a reserved bit of a register in x2APIC mode", 0, probe_wrmsr, &reserved, VEC_GP);
    check_fault("EOI with a value other than 0", 0, probe_wrmsr, &eoi, VEC_GP);
    check_fault("a write to a read-only register", 0, probe_wrmsr, &version, VEC_GP);
    to_xapic.value = rdmsr(MSR_APIC_BASE) & ~(uint64_t)APIC_BASE_X2APIC;
    check_fault("x2APIC straight to xAPIC mode", 0, probe_wrmsr, &to_xapic, VEC_GP);
}

/* Neither bare Bochs 2.7 nor QEMU's emulation can enable a local APIC again that was disabled; a hypervisor must. */
void check_lapic_modes(void)
{
    bool can_toggle = on_hypervisor() && !on_tcg();

    if (can_toggle)
        check_toggle();
    else
        skip("toggling the APIC's enable bit", "does not work on every bare machine");
    if (has_x2apic())
        check_x2apic();
    else
        skip("x2APIC mode", "not here");
    if (can_toggle && has_x2apic())
        check_in_mode(APIC_XAPIC, "back to xAPIC mode");
}
