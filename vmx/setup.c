/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vmx/setup.h"
#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/percpu.h"
#include "vmx/caps.h"
#include "vmx/cpuid.h"
#include "vmx/cr.h"
#include "vmx/speculation.h"
#include "vmx/vmcs_io.h"

void vmx_exit(void);
void vmx_exit_guarded(void);

/* Base of the TSS whose 16-byte descriptor selector names (SDM vol. 3, figure 8-4). */
static uint64_t tss_base(const struct descriptor_ptr *gdt, uint16_t selector)
{
    const uint32_t *d = (const uint32_t *)(gdt->base + (selector & ~7u));

    return d[0] >> 16 | (d[1] & 0xff) << 16 | (d[1] & 0xff000000) | (uint64_t)d[2] << 32;
}

void vmcs_set_host(struct vcpu *v)
{
    struct descriptor_ptr gdt, idt;

    sgdt(&gdt);
    sidt(&idt);
    vmwrite(VMCS_HOST_CR0, read_cr0());
    vmwrite(VMCS_HOST_CR3, read_cr3());
    vmwrite(VMCS_HOST_CR4, read_cr4());
    vmwrite(VMCS_HOST_EFER, rdmsr(MSR_EFER));
    vmwrite(VMCS_HOST_PAT, rdmsr(MSR_PAT));
    vmwrite(VMCS_HOST_CS_SELECTOR, read_cs());
    vmwrite(VMCS_HOST_SS_SELECTOR, read_ss());
    vmwrite(VMCS_HOST_DS_SELECTOR, 0);
    vmwrite(VMCS_HOST_ES_SELECTOR, 0);
    vmwrite(VMCS_HOST_FS_SELECTOR, 0);
    vmwrite(VMCS_HOST_GS_SELECTOR, 0);
    vmwrite(VMCS_HOST_TR_SELECTOR, str());
    vmwrite(VMCS_HOST_FS_BASE, 0);
    vmwrite(VMCS_HOST_GS_BASE, (uint64_t)cpu_this());
    vmwrite(VMCS_HOST_TR_BASE, tss_base(&gdt, str()));
    vmwrite(VMCS_HOST_GDTR_BASE, gdt.base);
    vmwrite(VMCS_HOST_IDTR_BASE, idt.base);
    vmwrite(VMCS_HOST_SYSENTER_CS, 0);
    vmwrite(VMCS_HOST_SYSENTER_ESP, 0);
    vmwrite(VMCS_HOST_SYSENTER_EIP, 0);
    vmwrite(VMCS_HOST_RSP, (uint64_t)&v->regs);
    vmwrite(VMCS_HOST_RIP, (uint64_t)(speculation_guards() ? vmx_exit_guarded : vmx_exit));
}

/*
 * Recursive #AC and #DB can keep a processor in event delivery for ever, so both exit and are given back (event.c);
 * a machine check is the machine's.
 */
#define EXCEPTIONS (BIT(1) | BIT(17) | BIT(18))

#define LONGEST_RUN_MS 10

/*
 * Each entry starts the preemption timer with this (SDM vol. 3, 25.5.1; IA32_VMX_MISC 4:0 is its rate), so that no
 * guest keeps a processor longer. An interrupt ends a guest at once, but not on every processor: Bochs 2.7 holds back
 * the interrupts that come in a guest which was entered with RFLAGS.IF clear and has not changed it since.
 */
static uint32_t longest_run(void)
{
    return (uint32_t)MIN(LONGEST_RUN_MS * tsc_khz() >> (vmx_caps.misc & 0x1f), UINT32_MAX);
}

/*
 * TSC ticks: PAUSEs no further apart are one loop, and how long it may last (SDM vol. 3, 25.6.13). A lock is mostly
 * held for less; a switch to its holder and back is cheaper than spinning for longer.
 */
#define SPIN_GAP    128
#define SPIN_WINDOW 4096

void vcpu_set_spins_end(struct vcpu *v, bool end)
{
    v->spins_end = end;
    if (vmx_caps.proc2 & PROC2_PAUSE_LOOP)
        vmwrite(VMCS_CTRL_PLE_WINDOW, end ? SPIN_WINDOW : UINT32_MAX);
}

static void set_controls(struct vcpu *v)
{
    v->proc_controls = vmx_caps.proc;
    vmwrite(VMCS_CTRL_PIN, vmx_caps.pin);
    vmwrite(VMCS_CTRL_PROC, vmx_caps.proc);
    vmwrite(VMCS_CTRL_PROC2, vmx_caps.proc2);
    vmwrite(VMCS_CTRL_EXIT, vmx_caps.exit);
    vmwrite(VMCS_CTRL_ENTRY, vmx_caps.entry);
    vmwrite(VMCS_CTRL_EXCEPTION_BITMAP, EXCEPTIONS);
    vmwrite(VMCS_CTRL_PF_ERROR_MASK, 0);
    vmwrite(VMCS_CTRL_PF_ERROR_MATCH, 0);
    vmwrite(VMCS_CTRL_CR3_TARGET_COUNT, 0);
    vmwrite(VMCS_CTRL_EXIT_MSR_STORE_COUNT, 0);
    vmwrite(VMCS_CTRL_EXIT_MSR_LOAD_COUNT, 0);
    vmwrite(VMCS_CTRL_ENTRY_MSR_LOAD_COUNT, 0);
    vmwrite(VMCS_CTRL_ENTRY_INTR_INFO, 0);
    vmwrite(VMCS_CTRL_MSR_BITMAP, msr_bitmap().v);
    vmwrite(VMCS_CTRL_TSC_OFFSET, v->tsc_base + v->tsc_adjust);
    vmwrite(VMCS_GUEST_LINK_POINTER, ~0ull);
    if (vmx_caps.vpid)
        vmwrite(VMCS_CTRL_VPID, v->vpid);
    if (vmx_caps.proc2 & PROC2_PAUSE_LOOP) {
        vmwrite(VMCS_CTRL_PLE_GAP, SPIN_GAP);
        vmwrite(VMCS_CTRL_PLE_WINDOW, UINT32_MAX);
    }
    v->spins_end = false;
    if (vmx_caps.pin & PIN_PREEMPTION_TIMER)
        vmwrite(VMCS_GUEST_PREEMPTION_TIMER, longest_run());
}

static void set_segment(enum vmcs_segment s, uint16_t selector, uint64_t base, uint32_t limit, uint32_t ar)
{
    vmwrite(VMCS_GUEST_SELECTOR(s), selector);
    vmwrite(VMCS_GUEST_BASE(s), base);
    vmwrite(VMCS_GUEST_LIMIT(s), limit);
    vmwrite(VMCS_GUEST_AR(s), ar);
}

#define AR_CODE     (AR_P | AR_S | 0xb)        /* execute/read, accessed */
#define AR_DATA     (AR_P | AR_S | 0x3)        /* read/write, accessed */
#define AR_TSS_BUSY (AR_P | 0xb)
#define AR_LDT      (AR_P | 0x2)
#define AR_FLAT32   (AR_G | AR_DB)

static void set_segments(const struct vcpu_start *start)
{
    uint32_t code = AR_CODE | (start->mode == START_LONG64 ? AR_G | AR_L : AR_FLAT32);

    if (start->mode == START_SIPI) { /* SDM vol. 3, 9.4.4: real mode at vector * 4 KiB */
        set_segment(SEG_CS, (uint16_t)(start->sipi_vector << 8), (uint64_t)start->sipi_vector << 12, 0xffff, AR_CODE);
        for (enum vmcs_segment s = SEG_ES; s <= SEG_GS; s++)
            if (s != SEG_CS)
                set_segment(s, 0, 0, 0xffff, AR_DATA);
    } else {
        set_segment(SEG_CS, start->cs, 0, UINT32_MAX, code);
        for (enum vmcs_segment s = SEG_ES; s <= SEG_GS; s++)
            if (s != SEG_CS)
                set_segment(s, start->ds, 0, UINT32_MAX, AR_DATA | AR_FLAT32);
    }
    set_segment(SEG_LDTR, 0, 0, 0xffff, AR_LDT);
    set_segment(SEG_TR, 0, 0, 0xffff, AR_TSS_BUSY);
    vmwrite(VMCS_GUEST_GDTR_BASE, start->gdt);
    vmwrite(VMCS_GUEST_GDTR_LIMIT, start->mode == START_SIPI ? 0xffff : start->gdt_limit);
    vmwrite(VMCS_GUEST_IDTR_BASE, 0);
    vmwrite(VMCS_GUEST_IDTR_LIMIT, start->mode == START_SIPI ? 0xffff : 0);
}

#define PAT_RESET  0x0007040600070406ull
#define DR7_RESET  0x400ull

static void set_system(struct vcpu *v, const struct vcpu_start *start)
{
    bool long64 = start->mode == START_LONG64;
    uint64_t cr0 = CR0_ET | (start->mode == START_SIPI ? CR0_CD | CR0_NW : CR0_PE | CR0_NE | (long64 ? CR0_PG : 0));

    vmwrite(VMCS_GUEST_EFER, long64 ? EFER_LME | EFER_LMA : 0);
    vmwrite(VMCS_CTRL_ENTRY, vmx_caps.entry | (long64 ? ENTRY_GUEST_64 : 0));
    cr_reset(cr0, long64 ? CR4_PAE : 0);
    vmwrite(VMCS_GUEST_CR3, start->cr3);
    vmwrite(VMCS_GUEST_DR7, DR7_RESET);
    vmwrite(VMCS_GUEST_DEBUGCTL, 0);
    vmwrite(VMCS_GUEST_PAT, PAT_RESET);
    vmwrite(VMCS_GUEST_SYSENTER_CS, 0);
    vmwrite(VMCS_GUEST_SYSENTER_ESP, 0);
    vmwrite(VMCS_GUEST_SYSENTER_EIP, 0);
    vmwrite(VMCS_GUEST_RIP, start->rip);
    vmwrite(VMCS_GUEST_RSP, start->rsp);
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, 0);
    vmwrite(VMCS_GUEST_ACTIVITY, ACTIVITY_ACTIVE);
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
    for (unsigned i = 0; i < 4; i++)
        vmwrite(VMCS_GUEST_PDPTE0 + 2 * i, 0);
}

void vcpu_reset(struct vcpu *v, const struct vcpu_start *start)
{
    uint32_t a, b, c, d;

    cpuid(1, 0, &a, &b, &c, &d);
    v->regs = (struct guest_regs){ .rax = start->rax, .rbx = start->rbx, .rsi = start->rsi };
    v->regs.rdx = start->mode == START_SIPI ? a : 0; /* table 9-1: family, model, stepping */
    write_cr2(0);
    cpuid_forget(v);
    v->event = (struct vcpu_event){ 0 };
    v->nmis = 0;
    /* Whatever the machine says: where firmware has turned fast strings off they are slower, not wrong. */
    v->misc_enable = MISC_ENABLE_FAST_STRINGS | MISC_ENABLE_NO_BTS | MISC_ENABLE_NO_PEBS;
    v->ept_generation = 0;
    v->mtrr = (struct vcpu_mtrr){ .def_type = 0xc06 }; /* as firmware leaves them: on, write-back */
    v->clock = (struct pvclock){ 0 };
    v->steal = (struct steal){ .waited = v->steal.waited };
    set_controls(v);
    set_segments(start);
    set_system(v, start);
    apicv_reset(v);
}
