/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vmx/exits.h"
#include "arch/x86/cpu.h"
#include "arch/x86/percpu.h"
#include "lib/format.h"
#include "vmx/caps.h"
#include "vmx/checker.h"
#include "vmx/cpuid.h"
#include "vmx/cr.h"
#include "vmx/msr.h"
#include "vmx/quick.h"
#include "vmx/setup.h"

/* From vmx/entry.asm. */
enum quick vmx_try_exit(struct guest_regs *regs);
struct guest_regs *vmx_handle_exit(struct guest_regs *regs, enum quick tried);
struct guest_regs *vmx_handle_failure(void);

/*
 * The end of an instruction clears RF, and a single step over it is due; with BTF only over branches, and none of those
 * is skipped here (SDM vol. 3, 18.2, 18.3.1.1 and 18.4.3).
 */
static void end_debugged_instruction(uint64_t rflags)
{
    if (rflags & RFLAGS_RF)
        vmwrite(VMCS_GUEST_RFLAGS, rflags & ~RFLAGS_RF);
    if (rflags & RFLAGS_TF && !(vmread(VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF))
        vmwrite(VMCS_GUEST_PENDING_DEBUG, vmread(VMCS_GUEST_PENDING_DEBUG) | BIT(14));
}

static inline void skip(uint64_t length)
{
    uint64_t at = vmread(VMCS_GUEST_RIP), rip = at + length, blocking = vmread(VMCS_GUEST_INTERRUPTIBILITY);
    uint64_t rflags = vmread(VMCS_GUEST_RFLAGS);

    if ((at ^ rip) >> 32 && !(vmread(VMCS_GUEST_CS_AR) & AR_L)) /* 32-bit code wraps */
        rip = (uint32_t)rip;
    vmwrite(VMCS_GUEST_RIP, rip);
    if (blocking & (BLOCKING_STI | BLOCKING_MOV_SS))
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY, blocking & ~(uint64_t)(BLOCKING_STI | BLOCKING_MOV_SS));
    if (rflags & (RFLAGS_TF | RFLAGS_RF))
        end_debugged_instruction(rflags);
}

void vcpu_skip_length(struct vcpu *v, unsigned length)
{
    (void)v;
    skip(length);
}

void vcpu_skip(struct vcpu *v)
{
    (void)v;
    skip(vmread(VMCS_EXIT_INSN_LENGTH));
}

static void exit_external_interrupt(struct vcpu *v)
{
    v->ops->interrupt((uint8_t)vmread(VMCS_EXIT_INTR_INFO));
}

/* Most come from another vCPU, which has an interrupt for this one. */
static enum quick quick_interrupt(struct vcpu *v, struct exit_record *r)
{
    (void)r;
    if (vmread_sure(VMCS_IDT_VECTORING_INFO) & INTR_VALID)
        return QUICK_NOT;
    v->ops->interrupt((uint8_t)vmread_sure(VMCS_EXIT_INTR_INFO));
    if (!v->ops->goes_on(v))
        return QUICK_LOOK;
    vcpu_inject_events(v); /* no more: it never left its EPT */
    return QUICK_DONE;
}

/* For whatever asks: it was the longest time without a look (vmx/setup.c). */
static void exit_preemption_timer(struct vcpu *v)
{
    (void)v;
}

static void exit_triple_fault(struct vcpu *v)
{
    v->ops->stop(v, "triple fault");
}

/* What the guest's CPUID does not offer. */
static void exit_undefined(struct vcpu *v)
{
    vcpu_exception(v, 6);
}

static void exit_general_protection(struct vcpu *v)
{
    vcpu_exception_error(v, 13, 0);
}

/* A single step over it wakes it at once. */
static void exit_hlt(struct vcpu *v)
{
    vcpu_skip(v);
    if (!(vmread(VMCS_GUEST_RFLAGS) & RFLAGS_TF))
        v->ops->halt(v);
}

static void exit_pause(struct vcpu *v)
{
    vcpu_skip(v);
    v->ops->spins(v);
}

/* Past it, then somebody else has to be found. What is sent before may wait for processors that are inside an EPT. */
static enum quick quick_hlt(struct vcpu *v, struct exit_record *r)
{
    uint64_t next = r->rip + vmread_sure(VMCS_EXIT_INSN_LENGTH), blocking = vmread_sure(VMCS_GUEST_INTERRUPTIBILITY);

    if ((vmread_sure(VMCS_GUEST_RFLAGS) & (RFLAGS_TF | RFLAGS_RF)) || (r->rip ^ next) >> 32)
        return QUICK_NOT;
    vmwrite_sure(VMCS_GUEST_RIP, next);
    if (blocking & (BLOCKING_STI | BLOCKING_MOV_SS))
        vmwrite_sure(VMCS_GUEST_INTERRUPTIBILITY, blocking & ~(uint64_t)(BLOCKING_STI | BLOCKING_MOV_SS));
    ept_leave();
    v->ops->halt(v);
    return QUICK_LOOK;
}

/* Guest memory is cached write-back and coherent: there is nothing to write back or to throw away for it. */
static void exit_invd(struct vcpu *v)
{
    vcpu_skip(v);
}

static void exit_vmcall(struct vcpu *v)
{
    if (AR_DPL((uint32_t)vmread(VMCS_GUEST_SS_AR))) {
        vcpu_exception(v, 6);
        return;
    }
    vcpu_skip(v);
    v->ops->hypercall(v);
}

static enum quick quick_vmcall(struct vcpu *v, struct exit_record *r)
{
    uint64_t next;

    if (AR_DPL((uint32_t)vmread_sure(VMCS_GUEST_SS_AR)) || !quick_next(r->rip, &next) || !v->ops->quick_hypercall(v))
        return QUICK_NOT;
    return quick_end(v, next);
}

#define XCR0_AVX512 0xe0ull

/* SDM vol. 1, 13.3: components that go together; the rest of the rules is in vcpu_xcr0_allowed. */
static bool xcr0_ok(uint64_t value)
{
    if ((value & ~vcpu_xcr0_allowed()) || !(value & XCR0_X87))
        return false;
    if ((value & XCR0_AVX) && !(value & XCR0_SSE))
        return false;
    return !(value & XCR0_AVX512) || ((value & XCR0_AVX512) == XCR0_AVX512 && (value & XCR0_AVX));
}

/* XCR0 is the guest's own while it runs. */
static void exit_xsetbv(struct vcpu *v)
{
    uint64_t value = (uint32_t)v->regs.rax | v->regs.rdx << 32;

    if (AR_DPL((uint32_t)vmread(VMCS_GUEST_SS_AR)) || (uint32_t)v->regs.rcx || !xcr0_ok(value)) {
        vcpu_exception_error(v, 13, 0);
        return;
    }
    xsetbv(0, value);
    cpuid_forget(v);
    vcpu_skip(v);
}

static uint64_t read_msr(uint32_t msr) { return rdmsr(msr); }

static void exit_failed_entry(struct vcpu *v)
{
    char msg[256], why[300];

    vmx_check_entry(msg, sizeof(msg), read_msr);
    format(why, sizeof(why), "%s: %s", exit_reason_name((uint32_t)vmread(VMCS_EXIT_REASON)), msg);
    v->ops->stop(v, why);
}

static void (*const handlers[EXIT_REASON_COUNT])(struct vcpu *v) = {
    [EXIT_REASON_EXCEPTION_NMI]      = exit_exception_nmi,
    [EXIT_REASON_EXTERNAL_INTERRUPT] = exit_external_interrupt,
    [EXIT_REASON_TRIPLE_FAULT]       = exit_triple_fault,
    [EXIT_REASON_INTERRUPT_WINDOW]   = exit_interrupt_window,
    [EXIT_REASON_NMI_WINDOW]         = exit_nmi_window,
    [EXIT_REASON_TASK_SWITCH]        = exit_task_switch,
    [EXIT_REASON_CPUID]              = exit_cpuid,
    [EXIT_REASON_GETSEC]             = exit_undefined,
    [EXIT_REASON_HLT]                = exit_hlt,
    [EXIT_REASON_INVD]               = exit_invd,
    [EXIT_REASON_RDPMC]              = exit_general_protection,
    [EXIT_REASON_VMCALL]             = exit_vmcall,
    [EXIT_REASON_VMCLEAR]            = exit_undefined,
    [EXIT_REASON_VMLAUNCH]           = exit_undefined,
    [EXIT_REASON_VMPTRLD]            = exit_undefined,
    [EXIT_REASON_VMPTRST]            = exit_undefined,
    [EXIT_REASON_VMREAD]             = exit_undefined,
    [EXIT_REASON_VMRESUME]           = exit_undefined,
    [EXIT_REASON_VMWRITE]            = exit_undefined,
    [EXIT_REASON_VMXOFF]             = exit_undefined,
    [EXIT_REASON_VMXON]              = exit_undefined,
    [EXIT_REASON_CR_ACCESS]          = exit_cr_access,
    [EXIT_REASON_IO]                 = exit_io,
    [EXIT_REASON_RDMSR]              = exit_rdmsr,
    [EXIT_REASON_WRMSR]              = exit_wrmsr,
    [EXIT_REASON_MWAIT]              = exit_undefined,
    [EXIT_REASON_MONITOR]            = exit_undefined,
    [EXIT_REASON_PAUSE]              = exit_pause,
    [EXIT_REASON_APIC_ACCESS]        = exit_apic_access,
    [EXIT_REASON_VIRTUAL_EOI]        = exit_virtual_eoi,
    [EXIT_REASON_EPT_VIOLATION]      = exit_ept_violation,
    [EXIT_REASON_INVEPT]             = exit_undefined,
    [EXIT_REASON_INVVPID]            = exit_undefined,
    [EXIT_REASON_PREEMPTION_TIMER]   = exit_preemption_timer,
    [EXIT_REASON_WBINVD]             = exit_invd,
    [EXIT_REASON_XSETBV]             = exit_xsetbv,
    [EXIT_REASON_APIC_WRITE]         = exit_apic_write,
    [EXIT_REASON_VMFUNC]             = exit_undefined,
    [EXIT_REASON_ENCLS]              = exit_undefined,
};

/* Those worth a short way. What comes from elsewhere meanwhile is an interrupt of the real machine: that is an exit. */
static enum quick (*const quick[EXIT_REASON_COUNT])(struct vcpu *v, struct exit_record *r) = {
    [EXIT_REASON_EXTERNAL_INTERRUPT] = quick_interrupt,
    [EXIT_REASON_CPUID]              = quick_cpuid,
    [EXIT_REASON_HLT]                = quick_hlt,
    [EXIT_REASON_VMCALL]             = quick_vmcall,
    [EXIT_REASON_IO]                 = quick_io,
    [EXIT_REASON_RDMSR]              = quick_rdmsr,
    [EXIT_REASON_WRMSR]              = quick_wrmsr,
    [EXIT_REASON_EPT_VIOLATION]      = quick_ept_violation,
};

static struct exit_record *last_record(struct vcpu *v)
{
    return &v->ring[(v->exit_count - 1) % EXIT_RING];
}

uint64_t vcpu_qualification(struct vcpu *v)
{
    return last_record(v)->qualification = vmread(VMCS_EXIT_QUALIFICATION);
}

/* First of all, on the processor's own stack. */
enum quick vmx_try_exit(struct guest_regs *regs)
{
    struct vcpu *v = container_of(regs, struct vcpu, regs);
    struct exit_record *r = &v->ring[v->exit_count++ % EXIT_RING];
    uint64_t reason = vmread_sure(VMCS_EXIT_REASON);

    r->reason = (uint32_t)reason;
    r->rip = vmread_sure(VMCS_GUEST_RIP);
    r->qualification = 0;
    r->tsc = rdtsc();
    if (reason >= EXIT_REASON_COUNT)
        return QUICK_NOT;
    v->exits.count[reason]++;
    return quick[reason] && r->tsc < v->look_at ? quick[reason](v, r) : QUICK_NOT;
}

static void handle(struct vcpu *v, uint32_t reason)
{
    if (reason & EXIT_REASON_FAILED_ENTRY) {
        if ((uint16_t)reason == EXIT_REASON_MACHINE_CHECK) /* nothing was loaded: the entry can be tried again */
            exit_machine_check(v);
        else
            exit_failed_entry(v);
        return;
    }
    event_requeue(v);
    if (reason < EXIT_REASON_COUNT && handlers[reason])
        handlers[reason](v);
    else
        v->ops->stop(v, exit_reason_name(reason));
}

/* Then, with all registers saved, what was not done the short way: what to enter with next, NULL to leave vmx_run. */
struct guest_regs *vmx_handle_exit(struct guest_regs *regs, enum quick tried)
{
    struct vcpu *v = container_of(regs, struct vcpu, regs);
    uint32_t reason = last_record(v)->reason;
    uint64_t since = last_record(v)->tsc;
    struct guest_regs *next;

    ept_leave();
    if (tried == QUICK_NOT)
        handle(v, reason);
    next = v->ops->resume(v);
    if (reason < EXIT_REASON_COUNT)
        exit_stats_time(&v->exits, reason, rdtsc() - since);
    return next;
}

/* VMRESUME and VMLAUNCH both failed without an exit: controls or host state are wrong, or there is no VMCS. */
struct guest_regs *vmx_handle_failure(void)
{
    struct vcpu *v = cpu_this()->vcpu;
    char msg[256], why[300];

    ept_leave();
    vmx_check_entry(msg, sizeof(msg), read_msr);
    format(why, sizeof(why), "VM entry failed (%s): %s",
           vm_instruction_error_name((uint32_t)vmread(VMCS_INSN_ERROR)), msg);
    v->ops->stop(v, why);
    return v->ops->resume(v);
}
