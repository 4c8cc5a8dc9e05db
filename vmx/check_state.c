/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vmx/check.h"

/* The host-state area (SDM vol. 3, 27.2.2 to 27.2.4) and the guest's without its segments (27.3.1). */

#define DEBUGCTL_VALID 0xdfc7ull               /* IA32_DEBUGCTL, vol. 4 */
#define DEBUGCTL_BTF   BIT(1)
#define PENDING_BS     BIT(14)                 /* pending debug exceptions, table 25-4 */
#define PENDING_VALID  (0xfull | BIT(11) | BIT(12) | PENDING_BS | BIT(16))

static void check_host_segments(struct vmx_check *c)
{
    static const enum vmcs_field bases[] = {
        VMCS_HOST_FS_BASE, VMCS_HOST_GS_BASE, VMCS_HOST_TR_BASE, VMCS_HOST_GDTR_BASE, VMCS_HOST_IDTR_BASE,
    };

    for (unsigned f = VMCS_HOST_ES_SELECTOR; f <= VMCS_HOST_TR_SELECTOR; f += 2)
        check_that(c, !(vmread((enum vmcs_field)f) & 7), (enum vmcs_field)f, "RPL and TI must be 0");
    check_that(c, vmread(VMCS_HOST_CS_SELECTOR), VMCS_HOST_CS_SELECTOR, "must not be 0");
    check_that(c, vmread(VMCS_HOST_TR_SELECTOR), VMCS_HOST_TR_SELECTOR, "must not be 0");
    for (size_t i = 0; i < ARRAY_SIZE(bases); i++)
        check_canonical(c, bases[i]);
}

/* We always enter from 64-bit mode, and so must return to it. */
void check_host_state(struct vmx_check *c)
{
    check_cr0(c, VMCS_HOST_CR0, 0);
    check_cr4(c, VMCS_HOST_CR4, VMCS_HOST_CR0);
    check_that(c, !(vmread(VMCS_HOST_CR3) >> c->physical_width), VMCS_HOST_CR3, "must have at most %u bits",
               c->physical_width);
    check_canonical(c, VMCS_HOST_SYSENTER_ESP);
    check_canonical(c, VMCS_HOST_SYSENTER_EIP);
    if (c->exit & EXIT_LOAD_PAT)
        check_pat(c, VMCS_HOST_PAT);
    if (c->exit & EXIT_LOAD_EFER)
        check_efer(c, VMCS_HOST_EFER, true, true);
    if (c->exit & EXIT_LOAD_PKRS)
        check_bits(c, VMCS_HOST_PKRS, 0, UINT32_MAX);
    check_host_segments(c);
    check_that(c, c->exit & EXIT_HOST_64, VMCS_CTRL_EXIT, "the host address-space size must be 64 bits");
    check_that(c, vmread(VMCS_HOST_CR4) & CR4_PAE, VMCS_HOST_CR4, "64-bit mode needs PAE");
    check_canonical(c, VMCS_HOST_RIP);
}

static void check_guest_control_registers(struct vmx_check *c)
{
    check_cr0(c, VMCS_GUEST_CR0, c->unrestricted ? CR0_PE | CR0_PG : 0);
    check_that(c, c->cr0 & CR0_PE || !(c->cr0 & CR0_PG), VMCS_GUEST_CR0, "PG needs PE");
    check_cr4(c, VMCS_GUEST_CR4, VMCS_GUEST_CR0);
    if (c->guest_64) {
        check_that(c, c->cr0 & CR0_PG, VMCS_GUEST_CR0, "IA-32e mode needs PG");
        check_that(c, c->cr4 & CR4_PAE, VMCS_GUEST_CR4, "IA-32e mode needs PAE");
    } else {
        check_that(c, !(c->cr4 & CR4_PCIDE), VMCS_GUEST_CR4, "PCIDE needs IA-32e mode");
    }
    check_that(c, !(vmread(VMCS_GUEST_CR3) >> c->physical_width), VMCS_GUEST_CR3, "must have at most %u bits",
               c->physical_width);
}

static void check_guest_msrs(struct vmx_check *c)
{
    if (c->entry & ENTRY_LOAD_DEBUG) {
        check_bits(c, VMCS_GUEST_DEBUGCTL, 0, DEBUGCTL_VALID);
        check_bits(c, VMCS_GUEST_DR7, 0, UINT32_MAX);
    }
    check_canonical(c, VMCS_GUEST_SYSENTER_ESP);
    check_canonical(c, VMCS_GUEST_SYSENTER_EIP);
    if (c->entry & ENTRY_LOAD_PAT)
        check_pat(c, VMCS_GUEST_PAT);
    if (c->entry & ENTRY_LOAD_EFER)
        check_efer(c, VMCS_GUEST_EFER, c->guest_64, c->cr0 & CR0_PG);
    if (c->entry & ENTRY_LOAD_PKRS)
        check_bits(c, VMCS_GUEST_PKRS, 0, UINT32_MAX);
}

static void check_guest_rip_rflags(struct vmx_check *c)
{
    uint64_t rip = vmread(VMCS_GUEST_RIP);
    bool code_64 = c->guest_64 && vmread(VMCS_GUEST_CS_AR) & AR_L;

    if (code_64)
        check_that(c, rip >> c->linear_width == 0 || rip >> c->linear_width == ~0ull >> c->linear_width, VMCS_GUEST_RIP,
                   "bits 63:%u must be equal", c->linear_width);
    else
        check_that(c, !(rip >> 32), VMCS_GUEST_RIP, "must have at most 32 bits outside 64-bit code");
    check_bits(c, VMCS_GUEST_RFLAGS, RFLAGS_FIXED, 0x3f7fd7);
    check_that(c, !c->virtual_8086 || (!c->guest_64 && c->cr0 & CR0_PE), VMCS_GUEST_RFLAGS,
               "VM needs protected mode, not IA-32e mode");
    if (c->event && INTR_TYPE(c->event) == INTR_EXTERNAL)
        check_that(c, c->rflags & RFLAGS_IF, VMCS_GUEST_RFLAGS, "an external interrupt to inject needs IF");
}

/* Which events may be injected in this activity state (27.3.1.5). */
static bool event_wakes(uint32_t event, enum vmcs_activity activity)
{
    unsigned type = INTR_TYPE(event), vector = event & INTR_VECTOR;
    bool machine_check = type == INTR_HARD_EXCEPTION && vector == 18;

    switch (activity) {
    case ACTIVITY_ACTIVE:
        return true;
    case ACTIVITY_HLT:
        return type == INTR_EXTERNAL || type == INTR_NMI || machine_check || type == INTR_OTHER_EVENT ||
               (type == INTR_HARD_EXCEPTION && vector == 1);
    case ACTIVITY_SHUTDOWN:
        return type == INTR_NMI || machine_check;
    default:
        return false;
    }
}

static void check_activity(struct vmx_check *c, uint32_t blocking)
{
    uint64_t activity = vmread(VMCS_GUEST_ACTIVITY);

    /* IA32_VMX_MISC bits 8:6: the states besides "active" */
    check_that(c, activity <= 3 && (!activity || c->read_msr(MSR_VMX_MISC) >> (5 + activity) & 1), VMCS_GUEST_ACTIVITY,
               "must be a state the processor has");
    check_that(c, activity != ACTIVITY_HLT || !AR_DPL(vmread(VMCS_GUEST_SS_AR)), VMCS_GUEST_ACTIVITY,
               "HLT needs SS.DPL 0");
    check_that(c, activity == ACTIVITY_ACTIVE || !(blocking & (BLOCKING_STI | BLOCKING_MOV_SS)), VMCS_GUEST_ACTIVITY,
               "must be active with blocking by STI or MOV SS");
    if (c->event && activity <= 3)
        check_that(c, event_wakes(c->event, (enum vmcs_activity)activity), VMCS_GUEST_ACTIVITY,
                   "the event to inject does not go with this state");
}

static void check_interruptibility(struct vmx_check *c, uint32_t blocking)
{
    enum vmcs_field f = VMCS_GUEST_INTERRUPTIBILITY;
    bool external = c->event && INTR_TYPE(c->event) == INTR_EXTERNAL;
    bool nmi = c->event && INTR_TYPE(c->event) == INTR_NMI;
    uint32_t both = BLOCKING_STI | BLOCKING_MOV_SS;

    check_bits(c, f, 0, both | BLOCKING_SMI | BLOCKING_NMI | BLOCKING_ENCLAVE);
    check_that(c, (blocking & both) != both, f, "blocking by STI and by MOV SS exclude each other");
    check_that(c, !(blocking & BLOCKING_STI) || c->rflags & RFLAGS_IF, f, "blocking by STI needs RFLAGS.IF");
    check_that(c, !external || !(blocking & both), f,
               "an external interrupt to inject excludes blocking by STI or MOV SS");
    check_that(c, !nmi || !(blocking & BLOCKING_MOV_SS), f, "an NMI to inject excludes blocking by MOV SS");
    check_that(c, !(blocking & BLOCKING_SMI), f, "blocking by SMI is for SMM only");
    check_that(c, !nmi || !(c->pin & PIN_VIRTUAL_NMI) || !(blocking & BLOCKING_NMI), f,
               "an NMI to inject excludes blocking by NMI");
    check_that(c, !(blocking & BLOCKING_ENCLAVE) || !(blocking & BLOCKING_MOV_SS), f,
               "an enclave's interruption excludes blocking by MOV SS");
}

static void check_pending_debug(struct vmx_check *c, uint32_t blocking)
{
    bool stepping = c->rflags & RFLAGS_TF && !(vmread(VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF);
    bool delayed = blocking & (BLOCKING_STI | BLOCKING_MOV_SS) || vmread(VMCS_GUEST_ACTIVITY) == ACTIVITY_HLT;

    check_bits(c, VMCS_GUEST_PENDING_DEBUG, 0, PENDING_VALID);
    if (delayed)
        check_that(c, !!(vmread(VMCS_GUEST_PENDING_DEBUG) & PENDING_BS) == stepping, VMCS_GUEST_PENDING_DEBUG,
                   "BS must be %d, as RFLAGS.TF and DEBUGCTL.BTF have it", stepping);
}

static void check_link_pointer(struct vmx_check *c)
{
    if (vmread(VMCS_GUEST_LINK_POINTER) != UINT64_MAX)
        check_address(c, VMCS_GUEST_LINK_POINTER, PAGE_SIZE);
}

/* With EPT and PAE paging the processor takes the PDPTEs from the VMCS (27.3.1.6). */
static void check_pdptes(struct vmx_check *c)
{
    bool pae = c->cr0 & CR0_PG && c->cr4 & CR4_PAE && !c->guest_64;
    uint64_t address = (BIT(c->physical_width) - 1) & ~(PAGE_SIZE - 1);

    if (!pae || !(c->proc2 & PROC2_EPT))
        return;
    for (unsigned f = VMCS_GUEST_PDPTE0; f <= VMCS_GUEST_PDPTE3; f += 2)
        if (vmread((enum vmcs_field)f) & 1)
            check_bits(c, (enum vmcs_field)f, 0, address | 0xe19);     /* ignored bits 11:9, PCD, PWT, P */
}

void check_guest_state(struct vmx_check *c)
{
    uint32_t blocking = vmread(VMCS_GUEST_INTERRUPTIBILITY);

    c->cr0 = vmread(VMCS_GUEST_CR0);
    c->cr4 = vmread(VMCS_GUEST_CR4);
    c->rflags = vmread(VMCS_GUEST_RFLAGS);
    c->guest_64 = c->entry & ENTRY_GUEST_64;
    c->virtual_8086 = c->rflags & RFLAGS_VM;
    check_guest_control_registers(c);
    check_guest_msrs(c);
    check_guest_rip_rflags(c);
    check_activity(c, blocking);
    check_interruptibility(c, blocking);
    check_pending_debug(c, blocking);
    check_link_pointer(c);
    check_pdptes(c);
}
