/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "arch/x86/cpu.h"
#include "vmx/vcpu.h"
#include "vmx/vmcs_io.h"

/*
 * The short way through an exit (vmx/entry.asm): rbp and r12 to r15 of the guest are still in the processor. It is for
 * what needs no more: answers to instructions (none of these cuts an event short), and interrupts for the guest.
 */
enum quick {
    QUICK_DONE,                /* the guest goes on */
    QUICK_LOOK,                /* done, but ops->resume has to look at what it did */
    QUICK_NOT,                 /* nothing was done: the whole way */
};

/* r: the record of this exit, with the place of the instruction. */
enum quick quick_cpuid(struct vcpu *v, struct exit_record *r);
enum quick quick_rdmsr(struct vcpu *v, struct exit_record *r);
enum quick quick_wrmsr(struct vcpu *v, struct exit_record *r);
enum quick quick_io(struct vcpu *v, struct exit_record *r);
enum quick quick_ept_violation(struct vcpu *v, struct exit_record *r);

/*
 * Where the next instruction is; false: there is more to its end than moving RIP (vcpu_skip), namely shadows of STI and
 * MOV SS, RF, a single step, or code that wraps.
 */
static inline bool quick_next(uint64_t rip, uint64_t *next)
{
    uint64_t special = vmread_sure(VMCS_GUEST_RFLAGS) & (RFLAGS_TF | RFLAGS_RF);

    special |= vmread_sure(VMCS_GUEST_INTERRUPTIBILITY) & (BLOCKING_STI | BLOCKING_MOV_SS);
    *next = rip + vmread_sure(VMCS_EXIT_INSN_LENGTH);
    return !(special | (rip ^ *next) >> 32);
}

/* Has something changed that decides which interrupt is due? */
static inline bool quick_news(const struct vcpu *v)
{
    return atomic_load_explicit(v->news, memory_order_relaxed);
}

/* The instruction is over: does anything have to be looked at before the next one? */
static inline enum quick quick_end(const struct vcpu *v, uint64_t next)
{
    vmwrite_sure(VMCS_GUEST_RIP, next);
    return v->look_at && !quick_news(v) ? QUICK_DONE : QUICK_LOOK;
}
