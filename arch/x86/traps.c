/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/traps.h"

#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/dump.h"
#include "arch/x86/gdt.h"
#include "arch/x86/mce.h"
#include "arch/x86/nmi.h"
#include "arch/x86/paging.h"
#include "arch/x86/percpu_private.h"
#include "lib/log.h"
#include "lib/string.h"

enum { VECTOR_NMI = 2, VECTOR_DF = 8, VECTOR_MC = 18, FIRST_INTERRUPT = 32, VECTORS = 256 };

#define STUB_SIZE      16 /* arch/x86/traps.asm */
#define GATE_INTERRUPT (0x8eull << 40) /* present, DPL 0, interrupts off (SDM vol. 3A, 6.14.1) */

struct gate {
    uint64_t low, high;
};

#pragma GCC visibility push(hidden)
extern const char trap_stubs[];
extern const struct extable_entry __start_extable[], __stop_extable[];
void trap_handler(struct trap_frame *frame); /* arch/x86/traps.asm */
#pragma GCC visibility pop

static struct gate idt_table[VECTORS] __attribute__((aligned(16)));
static void (*interrupt_handler)(uint8_t vector);

static const uint8_t ist_of[FIRST_INTERRUPT] = {
    [VECTOR_NMI] = IST_NMI, [VECTOR_DF] = IST_DOUBLE_FAULT, [VECTOR_MC] = IST_MACHINE_CHECK,
};

void traps_set_interrupt_handler(void (*fn)(uint8_t vector))
{
    interrupt_handler = fn;
}

static __attribute__((noreturn)) void stop(void)
{
    for (;;) {
        cli();
        hlt();
    }
}

/* panic()'s line is out: the rest. Before our world is entered there is neither an APIC nor a stack that we know. */
static void finish_panic(void)
{
    const uint64_t *frame;

    if (!paging_active())
        return;
    frame = __builtin_frame_address(0); /* saved rbp, return address */
    apic_nmi_others();
    dump_backtrace(frame[1], frame[0]);
    dump_more();
}

void traps_init(void)
{
    for (unsigned i = 0; i < VECTORS; i++) {
        uint64_t entry = (uint64_t)(uintptr_t)trap_stubs + i * STUB_SIZE;
        uint64_t ist = i < FIRST_INTERRUPT ? ist_of[i] : IST_NONE;

        idt_table[i].low =
            (entry & 0xffff) | GDT_CODE << 16 | ist << 32 | GATE_INTERRUPT | (entry >> 16 & 0xffff) << 48;
        idt_table[i].high = entry >> 32;
    }
    log_set_panic_hook(finish_panic);
}

void traps_idt(struct descriptor_ptr *idt)
{
    idt->limit = sizeof(idt_table) - 1;
    idt->base = (uint64_t)(uintptr_t)idt_table;
}

struct interrupt_frame;

/* From another processor, during a visit: nothing is lost, who comes back looks at everything. */
static __attribute__((interrupt)) void end_interrupt(struct interrupt_frame *frame)
{
    (void)frame;
    apic_eoi();
}

void traps_visit_idt(const struct descriptor_ptr *firmware, struct descriptor_ptr *idt)
{
    static struct gate table[VECTORS] __attribute__((aligned(16)));
    uint64_t entry = (uint64_t)(uintptr_t)end_interrupt;
    size_t limit = MIN((size_t)firmware->limit + 1, sizeof(table));

    memset(table, 0, sizeof(table));
    memcpy(table, (const void *)(uintptr_t)firmware->base, limit);
    for (unsigned i = VECTOR_FIRST; i <= VECTOR_POST; i++) {
        table[i].low = (entry & 0xffff) | (uint64_t)read_cs() << 16 | GATE_INTERRUPT | (entry >> 16 & 0xffff) << 48;
        table[i].high = entry >> 32;
    }
    idt->limit = sizeof(table) - 1;
    idt->base = (uint64_t)(uintptr_t)table;
}

static uint64_t extable_target(const int32_t *field)
{
    return (uint64_t)(uintptr_t)field + (uint64_t)(int64_t)*field;
}

uint64_t extable_find(uint64_t rip)
{
    for (const struct extable_entry *e = __start_extable; e < __stop_extable; e++) {
        if (extable_target(&e->fault) == rip)
            return extable_target(&e->resume);
    }
    return 0;
}

static __attribute__((noreturn)) void die(const struct trap_frame *frame)
{
    if (log_begin_panic()) {
        apic_nmi_others();
        mce_report();
        dump_trap(frame);
        dump_more();
    }
    stop();
}

static void handle_nmi(void)
{
    if (log_panicking())
        stop();
    nmi_handle();
}

/* In our own code; one in a guest is a VM exit (vmx/event.c). */
static void handle_machine_check(const struct trap_frame *frame)
{
    if (mce_handle() != MCE_GOES_ON)
        die(frame);
}

static void handle_interrupt(uint8_t vector)
{
    if (vector == VECTOR_SPURIOUS) /* never in service: no EOI */
        return;
    if (interrupt_handler && !private_of(cpu_this())->leaving)
        interrupt_handler(vector);
    else
        apic_eoi();
}

static void handle_exception(struct trap_frame *frame)
{
    uint64_t resume = extable_find(frame->rip);

    if (!resume || frame->vector == VECTOR_DF)
        die(frame);
    frame->rip = resume;
}

void trap_handler(struct trap_frame *frame)
{
    if (frame->vector >= FIRST_INTERRUPT)
        handle_interrupt((uint8_t)frame->vector);
    else if (frame->vector == VECTOR_NMI)
        handle_nmi();
    else if (frame->vector == VECTOR_MC)
        handle_machine_check(frame);
    else
        handle_exception(frame);
}
