/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* Registers at a trap in the hypervisor, as arch/x86/traps.asm pushes them. */
struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rdx, rcx, rbx, rax;
    uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

/* Interrupts (32-254) that arrive while the hypervisor has them on (idle): the handler does the EOI. Set once. */
void traps_set_interrupt_handler(void (*fn)(uint8_t vector));
/* Called when a dump is printed, to add what a higher floor knows (the last VM exits). */
void traps_set_dump_hook(void (*fn)(void));

/* Prints registers and a symbolised backtrace. */
void dump_trap(const struct trap_frame *frame);
void dump_backtrace(uint64_t rip, uint64_t rbp);

/* name+0xoff of a hypervisor address into buf ("?" if unknown). From the table the build links in (lib/symbols.h). */
void symbol_format(uint64_t addr, char *buf, size_t size);

/* Once, on the boot processor in the firmware's world: the IDT, and what panic() does here (percpu_init does it). */
void traps_init(void);

struct descriptor_ptr;
/* The IDT of our world (world_run loads it). */
void traps_idt(struct descriptor_ptr *idt);
/*
 * In the firmware's world: a copy of its IDT in which our own interrupts end at once (world_visit), for it would take
 * them for errors.
 */
void traps_visit_idt(const struct descriptor_ptr *firmware, struct descriptor_ptr *idt);

/* What an NMI does, for one that arrived as a VM exit; its IRET also ends the blocking of NMIs that the exit left. */
static inline void traps_raise_nmi(void)
{
    __asm__ volatile("int $2" : : : "memory");
}
