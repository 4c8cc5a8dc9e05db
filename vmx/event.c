/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/cpu.h"
#include "arch/x86/mce.h"
#include "arch/x86/percpu.h"
#include "arch/x86/traps.h"
#include "lib/log.h"
#include "vmx/caps.h"
#include "vmx/exits.h"
#include "vmx/vmcs_io.h"
#include "vmx/vmx.h"

enum { VECTOR_DB = 1, VECTOR_DF = 8, VECTOR_TS = 10, VECTOR_NP = 11, VECTOR_SS = 12, VECTOR_GP = 13, VECTOR_PF = 14,
       VECTOR_AC = 17, VECTOR_MC = 18 };

static bool contributory(uint8_t vector)
{
    return vector == 0 || (vector >= VECTOR_TS && vector <= VECTOR_GP);
}

/* SDM vol. 3, table 6-5: does second on top of first make a double fault? */
static bool doubles(uint8_t first, uint8_t second)
{
    return (contributory(first) && contributory(second)) ||
           (first == VECTOR_PF && (contributory(second) || second == VECTOR_PF));
}

/* Real mode pushes no error codes: the entry would fail over one (SDM vol. 3, 27.2.1.3). */
static uint32_t error_code_flag(void)
{
    return vmread(VMCS_GUEST_CR0) & CR0_PE ? INTR_ERROR_CODE : 0;
}

static void queue(struct vcpu *v, uint8_t vector, uint32_t flags, uint32_t error)
{
    uint32_t old = v->event.info;

    if ((old & INTR_VALID) && INTR_TYPE(old) == INTR_HARD_EXCEPTION) {
        if ((old & INTR_VECTOR) == VECTOR_DF && (contributory(vector) || vector == VECTOR_PF)) {
            v->ops->stop(v, "triple fault");
            return;
        }
        if (doubles((uint8_t)old, vector)) {
            vector = VECTOR_DF;
            flags = error_code_flag();
            error = 0;
        }
    }
    v->event = (struct vcpu_event){ INTR_VALID | INTR_HARD_EXCEPTION << INTR_TYPE_SHIFT | flags | vector, error, 0 };
}

void vcpu_exception(struct vcpu *v, uint8_t vector)
{
    queue(v, vector, 0, 0);
}

void vcpu_exception_error(struct vcpu *v, uint8_t vector, uint32_t error)
{
    queue(v, vector, error_code_flag(), error);
}

void vcpu_page_fault(struct vcpu *v, uint64_t linear, uint32_t error)
{
    write_cr2(linear);
    vcpu_exception_error(v, VECTOR_PF, error);
}

void vcpu_nmi(struct vcpu *v)
{
    unsigned waiting = v->nmis;

    while (waiting < 2 && !atomic_compare_exchange_weak(&v->nmis, &waiting, waiting + 1))
        ;
}

/*
 * Bochs 2.7: when it delivers an interrupt out of the virtual-APIC page and that is cut short, the IDT-vectoring
 * information still tells of the event before, as of a page fault that was over long ago. The interrupt is in service
 * then, and IF is set as it was before the delivery.
 */
static uint32_t vectoring_info(void)
{
    uint32_t info = (uint32_t)vmread(VMCS_IDT_VECTORING_INFO), in_service;

    if (!(info & INTR_VALID) || !vmx_caps.apicv || vmx_caps.revision != REVISION_BOCHS)
        return info;
    in_service = (uint32_t)vmread(VMCS_GUEST_INTR_STATUS) >> 8 & INTR_VECTOR;
    if (!in_service || !(vmread(VMCS_GUEST_RFLAGS) & RFLAGS_IF))
        return info;
    return INTR_VALID | INTR_EXTERNAL << INTR_TYPE_SHIFT | in_service;
}

/*
 * The exit may have cut short the delivery of an event (SDM vol. 3, 28.2.4): it is delivered again. An NMI that was cut
 * short leaves blocking-by-NMI set, which must be cleared or its injection would be refused (27.3.1.5).
 */
void event_requeue(struct vcpu *v)
{
    uint32_t info = vectoring_info();

    v->event.info = 0;
    if (!(info & INTR_VALID))
        return;
    if (INTR_TYPE(info) == INTR_HARD_EXCEPTION)
        info = (info & ~INTR_ERROR_CODE) | (info & error_code_flag()); /* Bochs reports one for real mode too */
    v->event = (struct vcpu_event){ info & ~INTR_NMI_UNBLOCKED_IRET, 0, 0 };
    if (info & INTR_ERROR_CODE)
        v->event.error = (uint32_t)vmread(VMCS_IDT_VECTORING_ERROR);
    if (INTR_TYPE(info) >= INTR_SOFT_INTERRUPT)
        v->event.length = (uint32_t)vmread(VMCS_EXIT_INSN_LENGTH);
    if (INTR_TYPE(info) == INTR_NMI)
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY, vmread(VMCS_GUEST_INTERRUPTIBILITY) & ~(uint64_t)BLOCKING_NMI);
}

void event_reblock_nmi(bool unblocked)
{
    if (unblocked && !(vmread(VMCS_IDT_VECTORING_INFO) & INTR_VALID))
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY, vmread(VMCS_GUEST_INTERRUPTIBILITY) | BLOCKING_NMI);
}

static inline void set_controls(struct vcpu *v, uint32_t value)
{
    if (value == v->proc_controls)
        return;
    v->proc_controls = value;
    vmwrite(VMCS_CTRL_PROC, value);
}

void vcpu_control(struct vcpu *v, uint32_t bit, bool on)
{
    set_controls(v, on ? v->proc_controls | bit : v->proc_controls & ~bit);
}

static void inject(const struct vcpu_event *e)
{
    if (e->info & INTR_ERROR_CODE)
        vmwrite(VMCS_CTRL_ENTRY_INTR_ERROR, e->error);
    if (e->length)
        vmwrite(VMCS_CTRL_ENTRY_INSN_LENGTH, e->length);
    vmwrite(VMCS_CTRL_ENTRY_INTR_INFO, e->info);
}

/* DUE_...; 0: no interrupt waits for software. */
static unsigned due(struct vcpu *v)
{
    if (!vmx_caps.apicv)
        return v->ops->pending(v) ? DUE_INJECTION : 0;
    return atomic_load_explicit(v->news, memory_order_relaxed) ? apicv_due(v) : v->apicv_due;
}

_Static_assert(DUE_WINDOW == PROC_INTERRUPT_WINDOW, "set_controls takes it as it is");

#define BLOCKING_ANY (BLOCKING_STI | BLOCKING_MOV_SS)

/*
 * What holds back an NMI and, with IF, an interrupt. A debug trap that is due comes first: an entry that injects would
 * lose it (SDM vol. 3, 6.9 and 27.7.3).
 */
static bool held_back(void)
{
    return (vmread(VMCS_GUEST_INTERRUPTIBILITY) & BLOCKING_ANY) || vmread(VMCS_GUEST_PENDING_DEBUG);
}

static void inject_interrupt(struct vcpu *v)
{
    int vector;

    if (!(vmread(VMCS_GUEST_RFLAGS) & RFLAGS_IF) || held_back()) {
        vcpu_control(v, PROC_INTERRUPT_WINDOW, true);
        return;
    }
    vector = v->ops->take_interrupt(v);
    if (vector >= 0)
        inject(&(struct vcpu_event){ INTR_VALID | INTR_EXTERNAL << INTR_TYPE_SHIFT | (uint32_t)vector, 0, 0 });
    vcpu_control(v, PROC_INTERRUPT_WINDOW, due(v));
}

/* False: it has to wait. While one is handled, one more is remembered (6.7.1). */
static bool inject_nmi(struct vcpu *v)
{
    bool blocked = vmread(VMCS_GUEST_INTERRUPTIBILITY) & BLOCKING_NMI;

    if (blocked)
        v->nmis = 1;
    if (blocked || held_back()) {
        vcpu_control(v, PROC_NMI_WINDOW, true);
        return false;
    }
    v->nmis--;
    inject(&(struct vcpu_event){ INTR_VALID | INTR_NMI << INTR_TYPE_SHIFT | 2, 0, 0 });
    vcpu_control(v, PROC_NMI_WINDOW, v->nmis);
    return true;
}

/* One event an entry: what was cut short first, then NMI, then interrupts; a window exit brings the next. */
void vcpu_inject_events(struct vcpu *v)
{
    unsigned waits = due(v);

    if (v->event.info & INTR_VALID) {
        inject(&v->event);
        v->event.info = 0;
        vcpu_control(v, PROC_INTERRUPT_WINDOW, waits);
        vcpu_control(v, PROC_NMI_WINDOW, v->nmis);
    } else if (v->nmis && inject_nmi(v)) {
        vcpu_control(v, PROC_INTERRUPT_WINDOW, waits);
    } else if (waits & DUE_INJECTION) {
        inject_interrupt(v);
    } else {
        set_controls(v, (v->proc_controls & ~PROC_INTERRUPT_WINDOW) | waits); /* DUE_WINDOW at most */
    }
}

void vcpu_enter_ept(struct vcpu *v)
{
    struct ept *ept = &v->pmap->ept[v->pmap->nodes > 1 ? cpu_this()->node : 0];

    if (ept_enter(ept, &v->ept_generation)) {
        uint64_t eptp = ept_pointer(ept, vmx_caps.ept_access_bits);

        vmwrite(VMCS_CTRL_EPTP, eptp);
        vmx_invept(eptp);
    }
}

void vcpu_prepare_entry(struct vcpu *v)
{
    vcpu_inject_events(v);
    vcpu_enter_ept(v);
}

void exit_interrupt_window(struct vcpu *v)
{
    v->apicv_due &= ~DUE_WINDOW;
    vcpu_control(v, PROC_INTERRUPT_WINDOW, false);
}

void exit_nmi_window(struct vcpu *v)
{
    vcpu_control(v, PROC_NMI_WINDOW, false);
}

/* #DB does not touch DR6 when it exits: what it would have set is in the qualification (SDM vol. 3, table 28-1). */
static void reflect_debug(struct vcpu *v)
{
    uint64_t q = vcpu_qualification(v);

    write_dr6((read_dr6() & ~0xfull) | (q & 0x600f) | 0xffff0ff0);
    vmwrite(VMCS_GUEST_DR7, vmread(VMCS_GUEST_DR7) & ~BIT(13));
}

void exit_machine_check(struct vcpu *v)
{
    enum mce_verdict verdict = mce_handle();

    if (verdict == MCE_FATAL) {
        mce_report();
        panic("machine check in a guest: the processor's context is corrupt");
    }
    if (verdict == MCE_LOST)
        v->ops->stop(v, "machine check: it cannot go on from there");
}

void exit_exception_nmi(struct vcpu *v)
{
    uint32_t info = (uint32_t)vmread(VMCS_EXIT_INTR_INFO);
    uint8_t vector = info & INTR_VECTOR;

    if (INTR_TYPE(info) == INTR_NMI) {
        traps_raise_nmi();
        return;
    }
    if (vector == VECTOR_MC) {
        exit_machine_check(v);
        return;
    }
    event_reblock_nmi(info & INTR_NMI_UNBLOCKED_IRET);
    if (vector == VECTOR_DB) {
        reflect_debug(v);
        if (INTR_TYPE(info) == INTR_PRIV_SOFT_EXCEPTION) {
            v->event = (struct vcpu_event){ info, 0, (uint32_t)vmread(VMCS_EXIT_INSN_LENGTH) };
            return;
        }
        vcpu_exception(v, vector);
        return;
    }
    vcpu_exception_error(v, vector, (uint32_t)vmread(VMCS_EXIT_INTR_ERROR));
}
