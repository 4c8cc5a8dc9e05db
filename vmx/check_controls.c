/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vmx/check.h"

/* The VM-execution, VM-exit and VM-entry control fields: SDM vol. 3, 27.2.1. */

#define BASIC_TRUE_CONTROLS  BIT(55)           /* IA32_VMX_BASIC, appendix A.1 */
#define BASIC_ANY_ERROR_CODE BIT(56)
#define MISC_LENGTH_ZERO     BIT(30)           /* IA32_VMX_MISC, appendix A.6 */

/* Checks a control word against its MSR (appendix A.2 to A.5); returns it with only the bits the processor has. */
static uint32_t check_word(struct vmx_check *c, enum vmcs_field f, uint32_t msr)
{
    uint64_t allowed = c->read_msr(msr);

    check_bits(c, f, (uint32_t)allowed, allowed >> 32);
    return vmread(f) & allowed >> 32;
}

/* The MSR to go by: IA32_VMX_TRUE_* where the processor has them. */
static uint32_t either_msr(const struct vmx_check *c, uint32_t plain, uint32_t exact)
{
    return c->read_msr(MSR_VMX_BASIC) & BASIC_TRUE_CONTROLS ? exact : plain;
}

static void check_control_words(struct vmx_check *c)
{
    c->pin = check_word(c, VMCS_CTRL_PIN, either_msr(c, MSR_VMX_PINBASED_CTLS, MSR_VMX_TRUE_PINBASED_CTLS));
    c->proc = check_word(c, VMCS_CTRL_PROC, either_msr(c, MSR_VMX_PROCBASED_CTLS, MSR_VMX_TRUE_PROCBASED_CTLS));
    if (c->proc & PROC_SECONDARY)
        c->proc2 = check_word(c, VMCS_CTRL_PROC2, MSR_VMX_PROCBASED_CTLS2);
    if (c->proc & PROC_TERTIARY)
        check_bits(c, VMCS_CTRL_PROC3, 0, c->read_msr(MSR_VMX_PROCBASED_CTLS3));
    c->unrestricted = c->proc2 & PROC2_UNRESTRICTED;
}

/* Addresses of the structures that controls switch on: {word, bit, field, alignment}. */
static void check_addresses(struct vmx_check *c)
{
    const struct {
        uint32_t active;
        enum vmcs_field field;
        unsigned align;
    } rows[] = {
        { c->proc & PROC_IO_BITMAPS,          VMCS_CTRL_IO_BITMAP_A,       PAGE_SIZE },
        { c->proc & PROC_IO_BITMAPS,          VMCS_CTRL_IO_BITMAP_B,       PAGE_SIZE },
        { c->proc & PROC_MSR_BITMAPS,         VMCS_CTRL_MSR_BITMAP,        PAGE_SIZE },
        { c->proc & PROC_TPR_SHADOW,          VMCS_CTRL_VIRTUAL_APIC,      PAGE_SIZE },
        { c->proc2 & PROC2_APIC_ACCESSES,     VMCS_CTRL_APIC_ACCESS,       PAGE_SIZE },
        { c->pin & PIN_POSTED_INTERRUPTS,     VMCS_CTRL_POSTED_DESCRIPTOR, 64 },
        { c->proc2 & PROC2_PML,               VMCS_CTRL_PML_ADDRESS,       PAGE_SIZE },
        { c->proc2 & PROC2_SUB_PAGE,          VMCS_CTRL_SPP_TABLE,         PAGE_SIZE },
        { c->proc2 & PROC2_SHADOW_VMCS,       VMCS_CTRL_VMREAD_BITMAP,     PAGE_SIZE },
        { c->proc2 & PROC2_SHADOW_VMCS,       VMCS_CTRL_VMWRITE_BITMAP,    PAGE_SIZE },
        { c->proc2 & PROC2_VE,                VMCS_CTRL_VE_INFO,           PAGE_SIZE },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (rows[i].active)
            check_address(c, rows[i].field, rows[i].align);
}

static void check_interrupt_controls(struct vmx_check *c)
{
    uint32_t virtual_apic = PROC2_X2APIC | PROC2_APIC_REGISTERS | PROC2_INTERRUPT_DELIVERY;

    check_that(c, c->pin & PIN_NMI || !(c->pin & PIN_VIRTUAL_NMI), VMCS_CTRL_PIN, "virtual NMIs need NMI exiting");
    check_that(c, c->pin & PIN_VIRTUAL_NMI || !(c->proc & PROC_NMI_WINDOW), VMCS_CTRL_PROC,
               "NMI-window exiting needs virtual NMIs");
    if (c->proc & PROC_TPR_SHADOW && !(c->proc2 & PROC2_INTERRUPT_DELIVERY))
        check_bits(c, VMCS_CTRL_TPR_THRESHOLD, 0, 0xf);
    if (!(c->proc & PROC_TPR_SHADOW))
        check_that(c, !(c->proc2 & virtual_apic), VMCS_CTRL_PROC2, "bits 0x%x need the TPR shadow",
                   c->proc2 & virtual_apic);
    check_that(c, !(c->proc2 & PROC2_X2APIC) || !(c->proc2 & PROC2_APIC_ACCESSES), VMCS_CTRL_PROC2,
               "x2APIC mode excludes virtualized APIC accesses");
    check_that(c, !(c->proc2 & PROC2_INTERRUPT_DELIVERY) || c->pin & PIN_EXTERNAL_INTERRUPT, VMCS_CTRL_PIN,
               "virtual-interrupt delivery needs external-interrupt exiting");
    if (c->pin & PIN_POSTED_INTERRUPTS) {
        check_that(c, c->proc2 & PROC2_INTERRUPT_DELIVERY, VMCS_CTRL_PIN,
                   "posted interrupts need virtual-interrupt delivery");
        check_that(c, vmread(VMCS_CTRL_EXIT) & EXIT_ACK_INTERRUPT, VMCS_CTRL_EXIT,
                   "posted interrupts need acknowledge on exit");
        check_bits(c, VMCS_CTRL_POSTED_VECTOR, 0, 0xff);
    }
}

/* Bits of the EPT pointer (table 25-9) by IA32_VMX_EPT_VPID_CAP (appendix A.10). */
static void check_eptp(struct vmx_check *c)
{
    uint64_t eptp = vmread(VMCS_CTRL_EPTP), cap = c->read_msr(MSR_VMX_EPT_VPID_CAP);
    unsigned type = eptp & 7, levels = (eptp >> 3 & 7) + 1;

    check_that(c, (type == 0 && cap & BIT(8)) || (type == 6 && cap & BIT(14)), VMCS_CTRL_EPTP,
               "memory type %u must be one the processor has (0 or 6)", type);
    check_that(c, (levels == 4 && cap & BIT(6)) || (levels == 5 && cap & BIT(7)), VMCS_CTRL_EPTP,
               "%u levels must be 4, or 5 where the processor has them", levels);
    check_that(c, !(eptp & BIT(6)) || cap & BIT(21), VMCS_CTRL_EPTP, "accessed and dirty bits are not supported");
    check_that(c, !(eptp & BIT(7)) || cap & BIT(23), VMCS_CTRL_EPTP, "shadow-stack rights are not supported");
    check_that(c, !(eptp & 0xf00), VMCS_CTRL_EPTP, "bits 11:8 must be 0");
    check_that(c, !(eptp >> c->physical_width), VMCS_CTRL_EPTP, "must have at most %u bits", c->physical_width);
}

static void check_memory_controls(struct vmx_check *c)
{
    uint32_t need_ept = PROC2_UNRESTRICTED | PROC2_PML | PROC2_MODE_BASED_EXEC | PROC2_SUB_PAGE |
                        PROC2_PT_GUEST_PHYSICAL;

    if (c->proc2 & PROC2_VPID)
        check_that(c, vmread(VMCS_CTRL_VPID), VMCS_CTRL_VPID, "must not be 0");
    if (c->proc2 & PROC2_EPT)
        check_eptp(c);
    else
        check_that(c, !(c->proc2 & need_ept), VMCS_CTRL_PROC2, "bits 0x%x need EPT", c->proc2 & need_ept);
    if (c->proc2 & PROC2_VMFUNC) {
        check_bits(c, VMCS_CTRL_VM_FUNCTION, 0, c->read_msr(MSR_VMX_VMFUNC));
        if (vmread(VMCS_CTRL_VM_FUNCTION) & c->read_msr(MSR_VMX_VMFUNC) & BIT(0)) {
            check_that(c, c->proc2 & PROC2_EPT, VMCS_CTRL_VM_FUNCTION, "EPTP switching needs EPT");
            check_address(c, VMCS_CTRL_EPTP_LIST, PAGE_SIZE);
        }
    }
}

void check_execution_controls(struct vmx_check *c)
{
    unsigned targets = c->read_msr(MSR_VMX_MISC) >> 16 & 0x1ff;

    check_control_words(c);
    check_that(c, vmread(VMCS_CTRL_CR3_TARGET_COUNT) <= targets, VMCS_CTRL_CR3_TARGET_COUNT, "must be at most %u",
               targets);
    check_addresses(c);
    check_interrupt_controls(c);
    check_memory_controls(c);
}

/* An area of count entries of 16 bytes. */
static void check_msr_area(struct vmx_check *c, enum vmcs_field count_field, enum vmcs_field address_field)
{
    uint64_t count = vmread(count_field), last = vmread(address_field) + count * 16 - 1;

    if (!count)
        return;
    check_address(c, address_field, 16);
    check_that(c, !(last >> c->physical_width), count_field, "the area must end within %u bits of address",
               c->physical_width);
}

void check_exit_controls(struct vmx_check *c)
{
    c->exit = check_word(c, VMCS_CTRL_EXIT, either_msr(c, MSR_VMX_EXIT_CTLS, MSR_VMX_TRUE_EXIT_CTLS));
    check_that(c, c->pin & PIN_PREEMPTION_TIMER || !(c->exit & EXIT_SAVE_TIMER), VMCS_CTRL_EXIT,
               "saving the preemption timer needs the preemption timer");
    check_msr_area(c, VMCS_CTRL_EXIT_MSR_STORE_COUNT, VMCS_CTRL_EXIT_MSR_STORE);
    check_msr_area(c, VMCS_CTRL_EXIT_MSR_LOAD_COUNT, VMCS_CTRL_EXIT_MSR_LOAD);
}

/* Exceptions that push an error code: #DF #TS #NP #SS #GP #PF #AC, and #CP. */
static bool has_error_code(unsigned vector)
{
    return (BIT(8) | BIT(10) | BIT(11) | BIT(12) | BIT(13) | BIT(14) | BIT(17) | BIT(21)) >> vector & 1;
}

static void check_event_error_code(struct vmx_check *c, unsigned type, unsigned vector)
{
    bool delivered = c->event & INTR_ERROR_CODE, exception = type == INTR_HARD_EXCEPTION;
    bool real_mode = c->unrestricted && !(vmread(VMCS_GUEST_CR0) & CR0_PE);

    if (!exception || real_mode)
        check_that(c, !delivered, VMCS_CTRL_ENTRY_INTR_INFO,
                   "an error code goes only with hardware exceptions in protected mode");
    else if (!(c->read_msr(MSR_VMX_BASIC) & BASIC_ANY_ERROR_CODE))
        check_that(c, delivered == has_error_code(vector & 31), VMCS_CTRL_ENTRY_INTR_INFO,
                   "exception %u goes with%s error code", vector, delivered ? "out" : " an");
    if (delivered)
        check_bits(c, VMCS_CTRL_ENTRY_INTR_ERROR, 0, 0xffff);
}

/* 27.2.1.3: the event to inject. */
static void check_event(struct vmx_check *c)
{
    uint32_t type = INTR_TYPE(c->event), vector = c->event & INTR_VECTOR;
    bool monitor_trap = c->read_msr(either_msr(c, MSR_VMX_PROCBASED_CTLS, MSR_VMX_TRUE_PROCBASED_CTLS)) >> 32
                        & PROC_MONITOR_TRAP;
    bool software = type == INTR_SOFT_INTERRUPT || type == INTR_PRIV_SOFT_EXCEPTION || type == INTR_SOFT_EXCEPTION;
    uint64_t length;

    check_that(c, type != 1 && (type != INTR_OTHER_EVENT || monitor_trap), VMCS_CTRL_ENTRY_INTR_INFO,
               "type %u is reserved", type);
    check_that(c, type != INTR_NMI || vector == 2, VMCS_CTRL_ENTRY_INTR_INFO, "an NMI has vector 2");
    check_that(c, type != INTR_HARD_EXCEPTION || vector <= 31, VMCS_CTRL_ENTRY_INTR_INFO,
               "an exception has a vector up to 31");
    check_that(c, type != INTR_OTHER_EVENT || !vector, VMCS_CTRL_ENTRY_INTR_INFO, "\"other event\" has vector 0");
    check_bits(c, VMCS_CTRL_ENTRY_INTR_INFO, 0, INTR_VALID | INTR_ERROR_CODE | 0x7ff);
    check_event_error_code(c, type, vector);
    length = vmread(VMCS_CTRL_ENTRY_INSN_LENGTH);
    if (software)
        check_that(c, length <= 15 && (length || c->read_msr(MSR_VMX_MISC) & MISC_LENGTH_ZERO),
                   VMCS_CTRL_ENTRY_INSN_LENGTH, "must be 1 to 15 for a software interrupt or exception");
}

void check_entry_controls(struct vmx_check *c)
{
    uint64_t event = vmread(VMCS_CTRL_ENTRY_INTR_INFO);

    c->entry = check_word(c, VMCS_CTRL_ENTRY, either_msr(c, MSR_VMX_ENTRY_CTLS, MSR_VMX_TRUE_ENTRY_CTLS));
    check_that(c, !(c->entry & (ENTRY_SMM | ENTRY_DUAL_MONITOR_OFF)), VMCS_CTRL_ENTRY,
               "entry to SMM and the end of dual-monitor treatment are for SMM only");
    check_msr_area(c, VMCS_CTRL_ENTRY_MSR_LOAD_COUNT, VMCS_CTRL_ENTRY_MSR_LOAD);
    c->event = event & INTR_VALID ? event : 0;
    if (c->event)
        check_event(c);
}
