/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "arch/x86/crbits.h"
#include "arch/x86/msr.h"
#include "tests/unit/seam/fake_cpu.h"
#include "vmx/checker.h"
#include "vmx/vmcs_io.h"

/* The capabilities of a processor with everything these tests use; a test may change them. */
static struct capabilities {
    uint64_t basic, pin, proc, proc2, exit, entry, misc, ept_vpid, vmfunc;
    uint64_t cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
} caps;

#define PIN_ONES   0x16u
#define PROC_ONES  0x0401e172u
#define EXIT_ONES  0x36dffu
#define ENTRY_ONES 0x11ffu
#define PROC2_ALL  (PROC2_APIC_ACCESSES | PROC2_EPT | PROC2_X2APIC | PROC2_VPID | PROC2_UNRESTRICTED | PROC2_PML | \
                    PROC2_APIC_REGISTERS | PROC2_INTERRUPT_DELIVERY | PROC2_VMFUNC | PROC2_SHADOW_VMCS | PROC2_VE)

static uint64_t read_capability(uint32_t msr)
{
    switch (msr) {
    case MSR_VMX_BASIC: return caps.basic;
    case MSR_VMX_PINBASED_CTLS: return caps.pin;
    case MSR_VMX_PROCBASED_CTLS: return caps.proc;
    case MSR_VMX_PROCBASED_CTLS2: return caps.proc2;
    case MSR_VMX_EXIT_CTLS: return caps.exit;
    case MSR_VMX_ENTRY_CTLS: return caps.entry;
    case MSR_VMX_MISC: return caps.misc;
    case MSR_VMX_CR0_FIXED0: return caps.cr0_fixed0;
    case MSR_VMX_CR0_FIXED1: return caps.cr0_fixed1;
    case MSR_VMX_CR4_FIXED0: return caps.cr4_fixed0;
    case MSR_VMX_CR4_FIXED1: return caps.cr4_fixed1;
    case MSR_VMX_EPT_VPID_CAP: return caps.ept_vpid;
    case MSR_VMX_VMFUNC: return caps.vmfunc;
    default: fail_msg("MSR 0x%x was read", msr); return 0;
    }
}

static uint64_t allowed(uint32_t ones, uint32_t may)
{
    return (uint64_t)(ones | may) << 32 | ones;
}

static void set(enum vmcs_field f, uint64_t value) { fake_vmcs.value[f] = value; }

static void set_segment(unsigned s, uint16_t selector, uint64_t base, uint32_t limit, uint32_t ar)
{
    set(VMCS_GUEST_SELECTOR(s), selector);
    set(VMCS_GUEST_BASE(s), base);
    set(VMCS_GUEST_LIMIT(s), limit);
    set(VMCS_GUEST_AR(s), ar);
}

static void set_controls(void)
{
    set(VMCS_CTRL_PIN, PIN_ONES | PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMI | PIN_PREEMPTION_TIMER);
    set(VMCS_CTRL_PROC, PROC_ONES | PROC_HLT | PROC_IO_BITMAPS | PROC_MSR_BITMAPS | PROC_SECONDARY | PROC_TPR_SHADOW);
    set(VMCS_CTRL_PROC2, PROC2_EPT | PROC2_VPID | PROC2_UNRESTRICTED);
    set(VMCS_CTRL_EXIT, EXIT_ONES | EXIT_HOST_64 | EXIT_LOAD_PAT | EXIT_LOAD_EFER | EXIT_SAVE_TIMER);
    set(VMCS_CTRL_ENTRY, ENTRY_ONES | ENTRY_GUEST_64 | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER);
    set(VMCS_CTRL_IO_BITMAP_A, 0x10000);
    set(VMCS_CTRL_IO_BITMAP_B, 0x11000);
    set(VMCS_CTRL_MSR_BITMAP, 0x12000);
    set(VMCS_CTRL_VIRTUAL_APIC, 0x13000);
    set(VMCS_CTRL_VPID, 1);
    set(VMCS_CTRL_EPTP, 0x14000 | 6 | 3 << 3 | BIT(6));
    set(VMCS_GUEST_LINK_POINTER, UINT64_MAX);
}

static void set_host(void)
{
    set(VMCS_HOST_CR0, CR0_PE | CR0_NE | CR0_PG | CR0_WP | CR0_ET);
    set(VMCS_HOST_CR4, CR4_PAE | CR4_VMXE);
    set(VMCS_HOST_CR3, 0x20000);
    set(VMCS_HOST_EFER, EFER_LME | EFER_LMA | EFER_NXE);
    set(VMCS_HOST_PAT, 0x0007040600070406);
    set(VMCS_HOST_CS_SELECTOR, 0x08);
    set(VMCS_HOST_SS_SELECTOR, 0x10);
    set(VMCS_HOST_TR_SELECTOR, 0x18);
    set(VMCS_HOST_GS_BASE, 0xffff800000000000);
    set(VMCS_HOST_RIP, 0x100000);
}

static void set_guest_long(void)
{
    set(VMCS_GUEST_CR0, CR0_PE | CR0_NE | CR0_PG | CR0_ET);
    set(VMCS_GUEST_CR3, 0x30000);
    set(VMCS_GUEST_CR4, CR4_PAE | CR4_VMXE);
    set(VMCS_GUEST_EFER, EFER_LME | EFER_LMA);
    set(VMCS_GUEST_PAT, 0x0007040600070406);
    set(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    set(VMCS_GUEST_RIP, 0xffffffff81000000);
    set_segment(SEG_CS, 0x10, 0, 0xffffffff, 0xa09b);
    set_segment(SEG_SS, 0x18, 0, 0xffffffff, 0xc093);
    for (unsigned s = 0; s < SEG_LDTR; s++)
        if (s != SEG_CS && s != SEG_SS)
            set_segment(s, 0, 0, 0, AR_UNUSABLE);
    set_segment(SEG_LDTR, 0, 0, 0, AR_UNUSABLE);
    set_segment(SEG_TR, 0x40, 0xffff888000001000, 0x67, 0x8b);
}

/* The states the rows begin with. */
enum begin { LONG, PROTECTED, REAL, V86, RESTRICTED };

static void set_guest(enum begin begin)
{
    set_guest_long();
    if (begin == LONG || begin == RESTRICTED) {
        if (begin == RESTRICTED)
            fake_vmcs.value[VMCS_CTRL_PROC2] &= ~(uint64_t)PROC2_UNRESTRICTED;
        return;
    }
    fake_vmcs.value[VMCS_CTRL_ENTRY] &= ~(uint64_t)ENTRY_GUEST_64;
    set(VMCS_GUEST_EFER, 0);
    set(VMCS_GUEST_RIP, 0xfff0);
    set_segment(SEG_CS, 0x10, 0, 0xffffffff, 0xc09b);
    if (begin == PROTECTED) {                  /* PAE */
        set(VMCS_GUEST_PDPTE0, 0x31001);
        return;
    }
    set(VMCS_GUEST_CR4, CR4_VMXE);
    for (unsigned s = 0; s < SEG_LDTR; s++)
        set_segment(s, 0xf000, 0xf0000, 0xffff, begin == V86 ? 0xf3 : s == SEG_CS ? 0x9b : 0x93);
    if (begin == REAL)
        set(VMCS_GUEST_CR0, CR0_NE | CR0_ET);
    else
        set(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_VM);
}

static void begin_with(enum begin begin)
{
    fake_vmcs_reset();
    fake_cpu_reset();
    fake_cpuid_set(0x80000008, 0, 40, 0, 0, 0);
    caps = (struct capabilities){
        .pin = allowed(PIN_ONES, 0xff), .proc = allowed(PROC_ONES, 0xfff9fffe & ~PROC_TERTIARY),
        .proc2 = allowed(0, PROC2_ALL), .exit = allowed(EXIT_ONES, 0x7ffffff), .entry = allowed(ENTRY_ONES, 0x3ffff),
        .misc = 4 << 16 | 1 << 6 | 1 << 7, .cr0_fixed0 = CR0_PE | CR0_NE | CR0_PG, .cr0_fixed1 = 0xffffffff,
        .cr4_fixed0 = CR4_VMXE, .cr4_fixed1 = 0x3767ff & ~CR4_LA57, .ept_vpid = BIT(6) | BIT(8) | BIT(14) | BIT(21),
        .vmfunc = 1,
    };
    set_controls();
    set_host();
    set_guest(begin);
}

static void test_valid(void **state)
{
    (void)state;
    for (enum begin begin = LONG; begin <= RESTRICTED; begin++) {
        char msg[512];

        begin_with(begin);
        if (vmx_check_entry(msg, sizeof(msg), read_capability))
            fail_msg("state %d: %s", begin, msg);
        assert_string_equal(msg, "");
        assert_int_equal(fake_vmcs.writes, 0);
    }
}

/* One thing broken (up to three fields set): the field that is named, and words of what is expected of it. */
struct row {
    enum begin begin;
    struct {
        enum vmcs_field field;
        uint64_t value;
    } set[3];
    enum vmcs_field named;
    const char *expected;
};

#define ONE(begin, field, value, words) { begin, { { field, value } }, field, words }
#define INJECT(type, vector) (INTR_VALID | (type) << INTR_TYPE_SHIFT | (vector))
#define PROC_BASE (PROC_ONES | PROC_HLT | PROC_SECONDARY)
#define EVENT VMCS_CTRL_ENTRY_INTR_INFO

static const struct row rows[] = {
    /* controls */
    ONE(LONG, VMCS_CTRL_PIN, 0, "bits 0x16 must be 1"),
    ONE(LONG, VMCS_CTRL_PIN, PIN_ONES | PIN_NMI | 0x100 | PIN_PREEMPTION_TIMER, "bits 0x100 must be 0"),
    ONE(LONG, VMCS_CTRL_PIN, PIN_ONES | PIN_VIRTUAL_NMI | PIN_PREEMPTION_TIMER, "virtual NMIs need NMI exiting"),
    ONE(LONG, VMCS_CTRL_PROC, 0, "bits 0x401e172 must be 1"),
    ONE(LONG, VMCS_CTRL_PROC, PROC_BASE | PROC_TERTIARY, "bits 0x20000 must be 0"),
    { LONG, { { VMCS_CTRL_PROC, PROC_BASE | PROC_NMI_WINDOW }, { VMCS_CTRL_PIN, PIN_ONES | PIN_PREEMPTION_TIMER } },
      VMCS_CTRL_PROC, "needs virtual NMIs" },
    ONE(LONG, VMCS_CTRL_PROC2, PROC2_EPT | PROC2_SUB_PAGE, "must be 0"),
    ONE(LONG, VMCS_CTRL_CR3_TARGET_COUNT, 5, "at most 4"),
    ONE(LONG, VMCS_CTRL_IO_BITMAP_A, 0x800, "aligned to 4096"),
    ONE(LONG, VMCS_CTRL_IO_BITMAP_B, BIT(40), "at most 40 bits"),
    ONE(LONG, VMCS_CTRL_MSR_BITMAP, 1, "aligned"),
    ONE(LONG, VMCS_CTRL_VIRTUAL_APIC, 1, "aligned"),
    ONE(LONG, VMCS_CTRL_TPR_THRESHOLD, 0x10, "must be 0"),
    { LONG, { { VMCS_CTRL_APIC_ACCESS, 8 }, { VMCS_CTRL_PROC2, PROC2_APIC_ACCESSES } },
      VMCS_CTRL_APIC_ACCESS, "aligned" },
    { LONG, { { VMCS_CTRL_PROC2, PROC2_X2APIC }, { VMCS_CTRL_PROC, PROC_BASE } }, VMCS_CTRL_PROC2, "TPR shadow" },
    ONE(LONG, VMCS_CTRL_PROC2, PROC2_X2APIC | PROC2_APIC_ACCESSES, "x2APIC mode excludes"),
    { LONG, { { VMCS_CTRL_PIN, PIN_ONES | PIN_PREEMPTION_TIMER }, { VMCS_CTRL_PROC2, PROC2_INTERRUPT_DELIVERY } },
      VMCS_CTRL_PIN, "needs external-interrupt exiting" },
    ONE(LONG, VMCS_CTRL_PIN, PIN_ONES | PIN_NMI | PIN_PREEMPTION_TIMER | PIN_POSTED_INTERRUPTS,
        "virtual-interrupt delivery"),
    { LONG, { { VMCS_CTRL_PIN, PIN_ONES | PIN_POSTED_INTERRUPTS }, { VMCS_CTRL_POSTED_VECTOR, 0x100 } },
      VMCS_CTRL_POSTED_VECTOR, "must be 0" },
    { LONG, { { VMCS_CTRL_PIN, PIN_ONES | PIN_POSTED_INTERRUPTS }, { VMCS_CTRL_POSTED_DESCRIPTOR, 0x20 } },
      VMCS_CTRL_POSTED_DESCRIPTOR, "aligned to 64" },
    { LONG, { { VMCS_CTRL_PROC2, PROC2_SHADOW_VMCS }, { VMCS_CTRL_VMWRITE_BITMAP, 1 } },
      VMCS_CTRL_VMWRITE_BITMAP, "aligned" },
    { LONG, { { VMCS_CTRL_PROC2, PROC2_APIC_REGISTERS }, { VMCS_CTRL_PROC, PROC_BASE } },
      VMCS_CTRL_PROC2, "bits 0x100 need the TPR shadow" },
    { LONG, { { VMCS_CTRL_PROC2, PROC2_INTERRUPT_DELIVERY }, { VMCS_CTRL_PROC, PROC_BASE } },
      VMCS_CTRL_PROC2, "bits 0x200 need the TPR shadow" },
    { LONG, { { VMCS_CTRL_PROC2, PROC2_EPT | PROC2_VMFUNC }, { VMCS_CTRL_VM_FUNCTION, 1 }, { VMCS_CTRL_EPTP_LIST, 1 } },
      VMCS_CTRL_EPTP_LIST, "aligned" },
    ONE(LONG, VMCS_CTRL_PROC2, PROC2_PML, "bits 0x20000 need EPT"),
    ONE(LONG, VMCS_CTRL_VPID, 0, "must not be 0"),
    ONE(LONG, VMCS_CTRL_EPTP, 0x14000 | 1 | 3 << 3, "memory type 1"),
    ONE(LONG, VMCS_CTRL_EPTP, 0x14000 | 6 | 4 << 3, "5 levels"),
    ONE(LONG, VMCS_CTRL_EPTP, 0x14000 | 6 | 3 << 3 | BIT(7), "shadow-stack"),
    ONE(LONG, VMCS_CTRL_EPTP, 0x14000 | 6 | 3 << 3 | BIT(8), "bits 11:8"),
    ONE(LONG, VMCS_CTRL_EPTP, BIT(40) | 6 | 3 << 3, "at most 40 bits"),
    ONE(LONG, VMCS_CTRL_PROC2, PROC2_UNRESTRICTED, "need EPT"),
    { LONG, { { VMCS_CTRL_PROC2, PROC2_EPT | PROC2_UNRESTRICTED | PROC2_PML }, { VMCS_CTRL_PML_ADDRESS, 1 } },
      VMCS_CTRL_PML_ADDRESS, "aligned" },
    { LONG, { { VMCS_CTRL_PROC2, PROC2_EPT | PROC2_VMFUNC }, { VMCS_CTRL_VM_FUNCTION, 2 } },
      VMCS_CTRL_VM_FUNCTION, "0x2" },
    { LONG, { { VMCS_CTRL_PROC2, PROC2_VMFUNC }, { VMCS_CTRL_VM_FUNCTION, 1 } }, VMCS_CTRL_VM_FUNCTION, "needs EPT" },
    { LONG, { { VMCS_CTRL_PROC2, PROC2_SHADOW_VMCS }, { VMCS_CTRL_VMREAD_BITMAP, 1 } },
      VMCS_CTRL_VMREAD_BITMAP, "aligned" },
    { LONG, { { VMCS_CTRL_PROC2, PROC2_VE | PROC2_EPT }, { VMCS_CTRL_VE_INFO, 1 } }, VMCS_CTRL_VE_INFO, "aligned" },
    { LONG, { { VMCS_CTRL_PIN, PIN_ONES } }, VMCS_CTRL_EXIT, "needs the preemption timer" },
    ONE(LONG, VMCS_CTRL_EXIT, EXIT_ONES, "must be 64 bits"),
    ONE(LONG, VMCS_CTRL_EXIT, EXIT_HOST_64, "must be 1"),
    { LONG, { { VMCS_CTRL_EXIT_MSR_LOAD_COUNT, 1 }, { VMCS_CTRL_EXIT_MSR_LOAD, 8 } },
      VMCS_CTRL_EXIT_MSR_LOAD, "to 16" },
    { LONG, { { VMCS_CTRL_EXIT_MSR_STORE_COUNT, 2 }, { VMCS_CTRL_EXIT_MSR_STORE, BIT(40) - 16 } },
      VMCS_CTRL_EXIT_MSR_STORE_COUNT, "end within 40 bits" },
    { LONG, { { VMCS_CTRL_ENTRY_MSR_LOAD_COUNT, 1 }, { VMCS_CTRL_ENTRY_MSR_LOAD, 1 } },
      VMCS_CTRL_ENTRY_MSR_LOAD, "aligned" },
    ONE(LONG, VMCS_CTRL_ENTRY, ENTRY_ONES | ENTRY_GUEST_64 | ENTRY_SMM, "SMM only"),
    /* event injection */
    ONE(LONG, EVENT, INJECT(1, 32), "type 1 is reserved"),
    ONE(LONG, EVENT, INJECT(INTR_NMI, 3), "vector 2"),
    ONE(LONG, EVENT, INJECT(INTR_HARD_EXCEPTION, 32), "up to 31"),
    ONE(LONG, EVENT, INJECT(INTR_OTHER_EVENT, 1), "vector 0"),
    ONE(LONG, EVENT, INJECT(INTR_EXTERNAL, 32) | 0x1000, "bits 0x1000 must be 0"),
    ONE(LONG, EVENT, INJECT(INTR_HARD_EXCEPTION, 14), "goes with an error code"),
    ONE(LONG, EVENT, INJECT(INTR_HARD_EXCEPTION, 6) | INTR_ERROR_CODE, "goes without error code"),
    ONE(LONG, EVENT, INJECT(INTR_EXTERNAL, 32) | INTR_ERROR_CODE, "only with hardware exceptions"),
    ONE(REAL, EVENT, INJECT(INTR_HARD_EXCEPTION, 13) | INTR_ERROR_CODE, "in protected mode"),
    { LONG, { { EVENT, INJECT(INTR_HARD_EXCEPTION, 13) | INTR_ERROR_CODE }, { VMCS_CTRL_ENTRY_INTR_ERROR, 0x10000 } },
      VMCS_CTRL_ENTRY_INTR_ERROR, "must be 0" },
    { LONG, { { EVENT, INJECT(INTR_SOFT_INTERRUPT, 0x80) } }, VMCS_CTRL_ENTRY_INSN_LENGTH, "1 to 15" },
    { LONG, { { EVENT, INJECT(INTR_SOFT_EXCEPTION, 3) }, { VMCS_CTRL_ENTRY_INSN_LENGTH, 16 } },
      VMCS_CTRL_ENTRY_INSN_LENGTH, "1 to 15" },
    { LONG, { { EVENT, INJECT(INTR_PRIV_SOFT_EXCEPTION, 1) } }, VMCS_CTRL_ENTRY_INSN_LENGTH, "1 to 15" },
    { LONG, { { EVENT, INJECT(INTR_HARD_EXCEPTION, 18) }, { VMCS_GUEST_ACTIVITY, ACTIVITY_WAIT_SIPI } },
      VMCS_GUEST_ACTIVITY, "does not go with" },
    { LONG, { { EVENT, INJECT(INTR_EXTERNAL, 32) }, { VMCS_GUEST_RFLAGS, 2 } }, VMCS_GUEST_RFLAGS, "needs IF" },
    { LONG, { { EVENT, INJECT(INTR_EXTERNAL, 32) }, { VMCS_GUEST_INTERRUPTIBILITY, 1 } },
      VMCS_GUEST_INTERRUPTIBILITY, "excludes blocking by STI" },
    { LONG, { { EVENT, INJECT(INTR_NMI, 2) }, { VMCS_GUEST_INTERRUPTIBILITY, 2 } },
      VMCS_GUEST_INTERRUPTIBILITY, "MOV SS" },
    { LONG, { { EVENT, INJECT(INTR_NMI, 2) }, { VMCS_GUEST_INTERRUPTIBILITY, 8 } },
      VMCS_GUEST_INTERRUPTIBILITY, "by NMI" },
    { LONG, { { EVENT, INJECT(INTR_HARD_EXCEPTION, 6) }, { VMCS_GUEST_ACTIVITY, ACTIVITY_HLT } },
      VMCS_GUEST_ACTIVITY, "does not go with" },
    { LONG, { { EVENT, INJECT(INTR_EXTERNAL, 32) }, { VMCS_GUEST_ACTIVITY, ACTIVITY_SHUTDOWN } },
      VMCS_GUEST_ACTIVITY, "does not go with" },
    /* host */
    ONE(LONG, VMCS_HOST_CR0, CR0_PE | CR0_PG, "bits 0x20 must be 1"),
    ONE(LONG, VMCS_HOST_CR4, CR4_PAE, "bits 0x2000 must be 1"),
    ONE(LONG, VMCS_HOST_CR4, CR4_VMXE, "needs PAE"),
    ONE(LONG, VMCS_HOST_CR3, BIT(40), "at most 40 bits"),
    ONE(LONG, VMCS_HOST_SYSENTER_ESP, BIT(47), "canonical"),
    ONE(LONG, VMCS_HOST_SYSENTER_EIP, BIT(63), "canonical"),
    ONE(LONG, VMCS_HOST_PAT, 2, "memory type"),
    ONE(LONG, VMCS_HOST_EFER, EFER_LMA, "LME must be 1"),
    ONE(LONG, VMCS_HOST_EFER, EFER_LMA | EFER_LME | BIT(12), "bits 0x1000"),
    ONE(LONG, VMCS_HOST_CS_SELECTOR, 0, "must not be 0"),
    ONE(LONG, VMCS_HOST_TR_SELECTOR, 0, "must not be 0"),
    ONE(LONG, VMCS_HOST_DS_SELECTOR, 3, "RPL and TI"),
    ONE(LONG, VMCS_HOST_FS_BASE, BIT(47), "canonical"),
    ONE(LONG, VMCS_HOST_GS_BASE, BIT(47), "canonical"),
    ONE(LONG, VMCS_HOST_TR_BASE, BIT(47), "canonical"),
    ONE(LONG, VMCS_HOST_GDTR_BASE, BIT(47), "canonical"),
    ONE(LONG, VMCS_HOST_IDTR_BASE, BIT(47), "canonical"),
    ONE(LONG, VMCS_HOST_RIP, BIT(47), "canonical"),
    /* guest registers */
    ONE(LONG, VMCS_GUEST_CR0, CR0_PE | CR0_PG, "bits 0x20 must be 1"),
    ONE(RESTRICTED, VMCS_GUEST_CR0, CR0_PE | CR0_NE, "bits 0x80000000 must be 1"),
    ONE(PROTECTED, VMCS_GUEST_CR0, CR0_NE | CR0_PG, "PG needs PE"),
    ONE(LONG, VMCS_GUEST_CR0, CR0_PE | CR0_NE, "needs PG"),
    ONE(LONG, VMCS_GUEST_CR4, CR4_VMXE, "needs PAE"),
    ONE(LONG, VMCS_GUEST_CR4, CR4_PAE, "bits 0x2000 must be 1"),
    ONE(PROTECTED, VMCS_GUEST_CR4, CR4_PAE | CR4_VMXE | CR4_PCIDE, "PCIDE needs"),
    ONE(LONG, VMCS_GUEST_CR4, CR4_PAE | CR4_VMXE | CR4_CET, "CET needs CR0.WP"),
    ONE(LONG, VMCS_GUEST_CR3, BIT(40), "at most 40 bits"),
    ONE(LONG, VMCS_GUEST_DR7, BIT(32), "must be 0"),
    ONE(LONG, VMCS_GUEST_DEBUGCTL, BIT(3), "must be 0"),
    ONE(LONG, VMCS_GUEST_SYSENTER_ESP, BIT(47), "canonical"),
    ONE(LONG, VMCS_GUEST_SYSENTER_EIP, BIT(47), "canonical"),
    ONE(LONG, VMCS_GUEST_PAT, 3ull << 56, "memory type"),
    ONE(LONG, VMCS_GUEST_EFER, EFER_LME, "LMA must be 1"),
    ONE(LONG, VMCS_GUEST_EFER, EFER_LMA, "LME must be 1"),
    ONE(PROTECTED, VMCS_GUEST_EFER, EFER_LME, "LME must be 0"),
    ONE(LONG, VMCS_GUEST_EFER, EFER_LMA | EFER_LME | BIT(9), "bits 0x200"),
    ONE(LONG, VMCS_GUEST_RIP, BIT(48), "bits 63:48"),
    ONE(PROTECTED, VMCS_GUEST_RIP, BIT(32), "32 bits"),
    ONE(LONG, VMCS_GUEST_RFLAGS, 0, "bits 0x2 must be 1"),
    ONE(LONG, VMCS_GUEST_RFLAGS, 2 | BIT(15), "bits 0x8000 must be 0"),
    ONE(LONG, VMCS_GUEST_RFLAGS, 2 | RFLAGS_VM, "VM needs"),
    ONE(REAL, VMCS_GUEST_RFLAGS, 2 | RFLAGS_VM, "VM needs"),
    ONE(LONG, VMCS_GUEST_ACTIVITY, 4, "a state the processor has"),
    ONE(LONG, VMCS_GUEST_ACTIVITY, ACTIVITY_WAIT_SIPI, "a state the processor has"),
    { RESTRICTED, { { VMCS_GUEST_ACTIVITY, ACTIVITY_HLT }, { VMCS_GUEST_SS_AR, 0xc0f3 } },
      VMCS_GUEST_ACTIVITY, "SS.DPL 0" },
    { LONG, { { VMCS_GUEST_ACTIVITY, ACTIVITY_HLT }, { VMCS_GUEST_INTERRUPTIBILITY, 1 } },
      VMCS_GUEST_ACTIVITY, "active" },
    ONE(LONG, VMCS_GUEST_INTERRUPTIBILITY, 0x20, "must be 0"),
    ONE(LONG, VMCS_GUEST_INTERRUPTIBILITY, 3, "exclude each other"),
    ONE(LONG, VMCS_GUEST_INTERRUPTIBILITY, 4, "SMM only"),
    ONE(LONG, VMCS_GUEST_INTERRUPTIBILITY, 0x12, "an enclave's interruption"),
    { LONG, { { VMCS_GUEST_INTERRUPTIBILITY, 1 }, { VMCS_GUEST_RFLAGS, 2 } },
      VMCS_GUEST_INTERRUPTIBILITY, "needs RFLAGS.IF" },
    ONE(LONG, VMCS_GUEST_PENDING_DEBUG, BIT(4), "must be 0"),
    { LONG, { { VMCS_GUEST_PENDING_DEBUG, BIT(14) }, { VMCS_GUEST_INTERRUPTIBILITY, 2 } },
      VMCS_GUEST_PENDING_DEBUG, "BS must be 0" },
    { LONG, { { VMCS_GUEST_RFLAGS, 2 | RFLAGS_TF }, { VMCS_GUEST_INTERRUPTIBILITY, 2 } },
      VMCS_GUEST_PENDING_DEBUG, "BS must be 1" },
    ONE(LONG, VMCS_GUEST_LINK_POINTER, 0x800, "aligned"),
    ONE(PROTECTED, VMCS_GUEST_PDPTE0, 0x31003, "bits 0x2 must be 0"),
    ONE(PROTECTED, VMCS_GUEST_PDPTE3, BIT(40) | 1, "must be 0"),
    /* guest segments */
    ONE(LONG, VMCS_GUEST_TR_SELECTOR, 0x44, "TI must be 0"),
    { LONG, { { VMCS_GUEST_LDTR_SELECTOR, 0x4c }, { VMCS_GUEST_LDTR_AR, 0x82 } },
      VMCS_GUEST_LDTR_SELECTOR, "TI must be 0" },
    { RESTRICTED, { { VMCS_GUEST_CS_SELECTOR, 0x13 } }, VMCS_GUEST_SS_SELECTOR, "that of CS (3)" },
    ONE(LONG, VMCS_GUEST_TR_BASE, BIT(47), "canonical"),
    ONE(LONG, VMCS_GUEST_FS_BASE, BIT(47), "canonical"),
    ONE(LONG, VMCS_GUEST_GS_BASE, BIT(47), "canonical"),
    ONE(LONG, VMCS_GUEST_CS_BASE, BIT(32), "32 bits"),
    ONE(LONG, VMCS_GUEST_SS_BASE, BIT(32), "32 bits"),
    ONE(V86, VMCS_GUEST_CS_BASE, 0xf0010, "times 16"),
    ONE(V86, VMCS_GUEST_ES_LIMIT, 0xfffff, "0xffff"),
    ONE(V86, VMCS_GUEST_GS_AR, 0x93, "0xf3"),
    ONE(LONG, VMCS_GUEST_CS_AR, 0xa08b, "S must be 1"),
    ONE(LONG, VMCS_GUEST_CS_AR, 0xa09a, "type must be 9"),
    ONE(RESTRICTED, VMCS_GUEST_CS_AR, 0xa093, "type must be 9"),
    ONE(PROTECTED, VMCS_GUEST_CS_AR, 0xc0f3, "DPL must be 0 with type 3"),
    ONE(LONG, VMCS_GUEST_CS_AR, 0xa0fb, "DPL must be that of SS"),
    ONE(LONG, VMCS_GUEST_CS_AR, 0xa0ff, "DPL must be at most"),
    ONE(LONG, VMCS_GUEST_CS_AR, 0xe09b, "D must be 0"),
    ONE(LONG, VMCS_GUEST_CS_AR, 0xa01b, "P must be 1"),
    ONE(LONG, VMCS_GUEST_CS_AR, 0xa19b, "bits 11:8"),
    ONE(LONG, VMCS_GUEST_CS_AR, 0x209b, "G must be 1"),
    { LONG, { { VMCS_GUEST_CS_LIMIT, 0xfffff000 } }, VMCS_GUEST_CS_AR, "G must be 0" },
    ONE(LONG, VMCS_GUEST_SS_AR, 0xc091, "type must be 3 or 7"),
    ONE(LONG, VMCS_GUEST_SS_AR, 0xc083, "S must be 1"),
    ONE(RESTRICTED, VMCS_GUEST_SS_AR, 0xc0f3, "RPL"),
    ONE(REAL, VMCS_GUEST_SS_AR, 0xf3, "real mode"),
    { PROTECTED, { { VMCS_GUEST_CS_AR, 0xc093 }, { VMCS_GUEST_SS_AR, 0xc0f3 } }, VMCS_GUEST_SS_AR, "CS type 3" },
    ONE(LONG, VMCS_GUEST_DS_AR, 0xc092, "accessed"),
    ONE(LONG, VMCS_GUEST_ES_AR, 0x99, "readable"),
    ONE(LONG, VMCS_GUEST_FS_AR, 0x83, "S must be 1"),
    ONE(LONG, VMCS_GUEST_GS_AR, 0x13, "P must be 1"),
    { RESTRICTED, { { VMCS_GUEST_DS_AR, 0x93 }, { VMCS_GUEST_DS_SELECTOR, 3 } }, VMCS_GUEST_DS_AR, "selector's RPL" },
    ONE(LONG, VMCS_GUEST_TR_AR, 0x83, "type must be 11"),
    ONE(LONG, VMCS_GUEST_TR_AR, 0x89, "type must be 11"),
    ONE(LONG, VMCS_GUEST_TR_AR, 0x9b, "S must be 0"),
    ONE(LONG, VMCS_GUEST_TR_AR, 0x0b, "P must be 1"),
    ONE(LONG, VMCS_GUEST_TR_AR, 0x1008b, "usable"),
    ONE(LONG, VMCS_GUEST_LDTR_AR, 0x83, "type must be 2"),
    ONE(LONG, VMCS_GUEST_LDTR_AR, 0x92, "S must be 0"),
    ONE(PROTECTED, VMCS_GUEST_TR_AR, 0x81, "or 3 outside"),
    { LONG, { { VMCS_GUEST_LDTR_AR, 0x82 }, { VMCS_GUEST_LDTR_BASE, BIT(47) } }, VMCS_GUEST_LDTR_BASE, "canonical" },
    ONE(LONG, VMCS_GUEST_GDTR_BASE, BIT(47), "canonical"),
    ONE(LONG, VMCS_GUEST_IDTR_BASE, BIT(47), "canonical"),
    ONE(LONG, VMCS_GUEST_GDTR_LIMIT, 0x10000, "must be 0"),
    ONE(LONG, VMCS_GUEST_IDTR_LIMIT, 0x10000, "must be 0"),
};

/* Unusual but valid: nothing may be named. */
static const struct row valid[] = {
    { LONG, { { EVENT, INJECT(INTR_EXTERNAL, 32) } }, 0, 0 },
    { LONG, { { EVENT, INJECT(INTR_EXTERNAL, 32) }, { VMCS_GUEST_ACTIVITY, ACTIVITY_HLT } }, 0, 0 },
    { LONG, { { EVENT, INJECT(INTR_NMI, 2) }, { VMCS_GUEST_ACTIVITY, ACTIVITY_HLT } }, 0, 0 },
    { LONG, { { EVENT, INJECT(INTR_NMI, 2) }, { VMCS_GUEST_ACTIVITY, ACTIVITY_SHUTDOWN } }, 0, 0 },
    { LONG, { { EVENT, INJECT(INTR_NMI, 2) }, { VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_STI } }, 0, 0 },
    { LONG, { { EVENT, INJECT(INTR_NMI, 2) }, { VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_NMI },
              { VMCS_CTRL_PIN, PIN_ONES | PIN_NMI | PIN_PREEMPTION_TIMER } }, 0, 0 },
    { LONG, { { EVENT, INJECT(INTR_HARD_EXCEPTION, 1) }, { VMCS_GUEST_ACTIVITY, ACTIVITY_HLT } }, 0, 0 },
    { LONG, { { EVENT, INJECT(INTR_HARD_EXCEPTION, 18) }, { VMCS_GUEST_ACTIVITY, ACTIVITY_HLT } }, 0, 0 },
    { LONG, { { EVENT, INJECT(INTR_HARD_EXCEPTION, 18) }, { VMCS_GUEST_ACTIVITY, ACTIVITY_SHUTDOWN } }, 0, 0 },
    { LONG, { { EVENT, INJECT(INTR_OTHER_EVENT, 0) }, { VMCS_GUEST_ACTIVITY, ACTIVITY_HLT } }, 0, 0 },
    { LONG, { { EVENT, INJECT(INTR_HARD_EXCEPTION, 8) | INTR_ERROR_CODE } }, 0, 0 },
    { LONG, { { EVENT, INJECT(INTR_HARD_EXCEPTION, 17) | INTR_ERROR_CODE },
              { VMCS_CTRL_ENTRY_INTR_ERROR, 0xffff } }, 0, 0 },
    { LONG, { { EVENT, INJECT(INTR_HARD_EXCEPTION, 16) }, { VMCS_CTRL_ENTRY_INTR_ERROR, 0x10000 } }, 0, 0 },
    { REAL, { { EVENT, INJECT(INTR_HARD_EXCEPTION, 13) } }, 0, 0 },
    { LONG, { { EVENT, INJECT(INTR_SOFT_INTERRUPT, 0x80) }, { VMCS_CTRL_ENTRY_INSN_LENGTH, 2 } }, 0, 0 },
    { LONG, { { EVENT, INJECT(INTR_SOFT_EXCEPTION, 3) }, { VMCS_CTRL_ENTRY_INSN_LENGTH, 15 } }, 0, 0 },
    { LONG, { { EVENT, INJECT(1, 255) & ~INTR_VALID }, { VMCS_CTRL_ENTRY_INSN_LENGTH, 99 } }, 0, 0 },
    { LONG, { { VMCS_GUEST_ACTIVITY, ACTIVITY_SHUTDOWN } }, 0, 0 },
    { LONG, { { VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_MOV_SS | BLOCKING_NMI }, { VMCS_GUEST_RFLAGS, 2 } }, 0, 0 },
    { LONG, { { VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_ENCLAVE } }, 0, 0 },
    { LONG, { { VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_STI }, { VMCS_GUEST_PENDING_DEBUG, BIT(14) },
              { VMCS_GUEST_RFLAGS, 2 | RFLAGS_TF | RFLAGS_IF } }, 0, 0 },
    { LONG, { { VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_MOV_SS }, { VMCS_GUEST_DEBUGCTL, 2 },
              { VMCS_GUEST_RFLAGS, 2 | RFLAGS_TF } }, 0, 0 },
    { LONG, { { VMCS_GUEST_PENDING_DEBUG, BIT(14) | BIT(12) | 0xf } }, 0, 0 },
    { LONG, { { VMCS_GUEST_RFLAGS, 0x3d7fd7 } }, 0, 0 },
    { LONG, { { VMCS_GUEST_LINK_POINTER, 0x50000 } }, 0, 0 },
    { LONG, { { VMCS_GUEST_PDPTE0, ~0ull } }, 0, 0 },                     /* not used in IA-32e mode */
    { PROTECTED, { { VMCS_GUEST_PDPTE1, ~1ull }, { VMCS_GUEST_PDPTE2, BIT(39) | 0xe19 } }, 0, 0 },
    { LONG, { { VMCS_CTRL_PROC, PROC_BASE }, { VMCS_CTRL_MSR_BITMAP, 1 }, { VMCS_CTRL_IO_BITMAP_A, 1 } }, 0, 0 },
    { LONG, { { VMCS_CTRL_PROC2, 0 }, { VMCS_CTRL_EPTP, 0 }, { VMCS_CTRL_VPID, 0 } }, 0, 0 },
    { LONG, { { VMCS_CTRL_EPTP, 0x14000 | 3 << 3 } }, 0, 0 },
    { LONG, { { VMCS_CTRL_TPR_THRESHOLD, 15 }, { VMCS_CTRL_CR3_TARGET_COUNT, 4 } }, 0, 0 },
    { LONG, { { VMCS_CTRL_PROC2, PROC2_EPT | PROC2_X2APIC | PROC2_INTERRUPT_DELIVERY | PROC2_APIC_REGISTERS },
              { VMCS_CTRL_TPR_THRESHOLD, 0x10 } }, 0, 0 },
    { LONG, { { VMCS_CTRL_PROC2, PROC2_EPT | PROC2_VMFUNC }, { VMCS_CTRL_EPTP_LIST, 1 } }, 0, 0 },
    { LONG, { { VMCS_CTRL_EXIT_MSR_STORE, 1 }, { VMCS_CTRL_ENTRY_MSR_LOAD, 1 },
              { VMCS_CTRL_EXIT_MSR_LOAD, 1 } }, 0, 0 },
    { LONG, { { VMCS_CTRL_EXIT_MSR_STORE_COUNT, 2 }, { VMCS_CTRL_EXIT_MSR_STORE, BIT(40) - 32 } }, 0, 0 },
    { LONG, { { VMCS_GUEST_CS_AR, 0xc09b }, { VMCS_GUEST_RIP, 0xffffffff } }, 0, 0 },    /* compatibility mode */
    { LONG, { { VMCS_GUEST_CS_AR, 0xa09d } }, 0, 0 },
    { PROTECTED, { { VMCS_GUEST_CS_AR, 0xc093 }, { VMCS_GUEST_CS_SELECTOR, 0 } }, 0, 0 },
    { LONG, { { VMCS_GUEST_SS_AR, AR_UNUSABLE }, { VMCS_GUEST_SS_BASE, BIT(32) } }, 0, 0 },
    { LONG, { { VMCS_GUEST_SS_AR, 0xc097 } }, 0, 0 },
    { LONG, { { VMCS_GUEST_DS_AR, 0x91 }, { VMCS_GUEST_ES_AR, 0x9b }, { VMCS_GUEST_GS_AR, 0x9f } }, 0, 0 },
    { RESTRICTED, { { VMCS_GUEST_DS_AR, 0x9f }, { VMCS_GUEST_DS_SELECTOR, 3 } }, 0, 0 },
    { LONG, { { VMCS_GUEST_DS_AR, 0x93 }, { VMCS_GUEST_DS_SELECTOR, 3 } }, 0, 0 },
    { LONG, { { VMCS_GUEST_CS_SELECTOR, 3 } }, 0, 0 },
    { LONG, { { VMCS_GUEST_CS_LIMIT, 0xfffff }, { VMCS_GUEST_CS_AR, 0x209b } }, 0, 0 },
    { LONG, { { VMCS_GUEST_LDTR_AR, 0x82 }, { VMCS_GUEST_LDTR_SELECTOR, 8 } }, 0, 0 },
    { LONG, { { VMCS_GUEST_LDTR_BASE, BIT(47) }, { VMCS_GUEST_LDTR_SELECTOR, 4 } }, 0, 0 },
    { PROTECTED, { { VMCS_GUEST_TR_AR, 0x83 } }, 0, 0 },
    { V86, { { VMCS_CTRL_PROC2, PROC2_EPT }, { VMCS_GUEST_CS_SELECTOR, 0xf003 },
             { VMCS_GUEST_CS_BASE, 0xf0030 } }, 0, 0 },
};

static void begin_row(const struct row *row)
{
    begin_with(row->begin);
    for (size_t i = 0; i < ARRAY_SIZE(row->set) && (!i || row->set[i].field); i++)
        set(row->set[i].field, row->set[i].value);
}

static void test_unusual(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(valid); i++) {
        char msg[2048];

        begin_row(&valid[i]);
        if (vmx_check_entry(msg, sizeof(msg), read_capability))
            fail_msg("row %zu: %s", i, msg);
    }
}

/* "FIELD = 0xvalue: ... words" within one part of the message. */
static bool names(const char *msg, enum vmcs_field f, const char *words)
{
    char start[64];
    const char *part, *end;

    snprintf(start, sizeof(start), "%s = 0x%llx: ", vmcs_field_name(f), (unsigned long long)fake_vmcs.value[f]);
    for (part = strstr(msg, start); part; part = strstr(part + 1, start)) {
        const char *found = strstr(part, words);

        end = strstr(part, "; ");
        if (found && (!end || found < end))
            return true;
    }
    return false;
}

static void test_broken(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct row *row = &rows[i];
        char msg[2048];

        begin_row(row);
        if (!vmx_check_entry(msg, sizeof(msg), read_capability) || !names(msg, row->named, row->expected))
            fail_msg("row %zu: not named: %s, %s: \"%s\"", i, vmcs_field_name(row->named), row->expected, msg);
    }
}

/* What fits is there in whole parts, and terminated; the count is that of all. */
static void test_message_size(void **state)
{
    char whole[2048], msg[2048];
    int violations;

    (void)state;
    begin_with(LONG);
    set(VMCS_CTRL_VPID, 0);
    set(VMCS_HOST_CS_SELECTOR, 0);
    set(VMCS_GUEST_LINK_POINTER, 1);
    violations = vmx_check_entry(whole, sizeof(whole), read_capability);
    assert_int_equal(violations, 3);
    for (size_t size = 0; size <= strlen(whole) + 1; size++) {
        memset(msg, 'x', sizeof(msg));
        assert_int_equal(vmx_check_entry(msg, size, read_capability), violations);
        assert_int_equal(msg[size], 'x');
        if (size) {
            size_t n = strnlen(msg, size);

            assert_true(n < size);
            assert_memory_equal(msg, whole, n);
            assert_true(whole[n] == '\0' || n == 0 || whole[n] == ';');
        }
    }
    assert_string_equal(msg, whole);
}

/* A processor without the newer controls lacks their fields and MSRs: neither may be touched. */
static void test_old_processor(void **state)
{
    static const enum vmcs_field absent[] = {
        VMCS_CTRL_PROC2, VMCS_CTRL_EPTP, VMCS_CTRL_VPID, VMCS_CTRL_PROC3, VMCS_CTRL_VM_FUNCTION, VMCS_CTRL_PML_ADDRESS,
        VMCS_CTRL_VIRTUAL_APIC, VMCS_CTRL_TPR_THRESHOLD, VMCS_CTRL_APIC_ACCESS, VMCS_CTRL_POSTED_VECTOR,
        VMCS_CTRL_POSTED_DESCRIPTOR, VMCS_CTRL_MSR_BITMAP, VMCS_CTRL_SPP_TABLE, VMCS_CTRL_VE_INFO, VMCS_HOST_PAT,
        VMCS_HOST_EFER, VMCS_HOST_PKRS, VMCS_GUEST_PAT, VMCS_GUEST_EFER, VMCS_GUEST_PKRS, VMCS_GUEST_PDPTE0,
    };
    uint32_t proc = 0x77b9fffe & ~(PROC_SECONDARY | PROC_TERTIARY | PROC_TPR_SHADOW | PROC_MSR_BITMAPS);
    char msg[2048];

    (void)state;
    begin_with(PROTECTED);
    caps.pin = allowed(PIN_ONES, 0x3f);
    caps.proc = allowed(PROC_ONES & proc, proc);
    caps.exit = allowed(EXIT_ONES, EXIT_HOST_64);
    caps.entry = allowed(ENTRY_ONES, ENTRY_GUEST_64);
    set(VMCS_CTRL_PIN, 0xff);                  /* all controls on, though the processor has them not */
    set(VMCS_CTRL_PROC, 0xffffffff);
    set(VMCS_CTRL_EXIT, 0xffffffff);
    set(VMCS_CTRL_ENTRY, 0xffffffff & ~ENTRY_GUEST_64);
    assert_true(vmx_check_entry(msg, sizeof(msg), read_capability) > 0);
    for (size_t i = 0; i < ARRAY_SIZE(absent); i++)
        if (fake_vmcs.was_read[absent[i]])
            fail_msg("%s was read", vmcs_field_name(absent[i]));
}

/* IA32_VMX_TRUE_* count where IA32_VMX_BASIC tells of them. */
static uint64_t read_true_capability(uint32_t msr)
{
    switch (msr) {
    case MSR_VMX_TRUE_PINBASED_CTLS: return allowed(0, 0xff);
    case MSR_VMX_TRUE_PROCBASED_CTLS: return allowed(0, 0xfff9fffe);
    case MSR_VMX_TRUE_EXIT_CTLS: return allowed(0, 0x7ffffff);
    case MSR_VMX_TRUE_ENTRY_CTLS: return allowed(0, 0x3ffff);
    case MSR_VMX_PINBASED_CTLS: case MSR_VMX_PROCBASED_CTLS: case MSR_VMX_EXIT_CTLS: case MSR_VMX_ENTRY_CTLS:
        fail_msg("MSR 0x%x was read", msr);
    }
    return read_capability(msr);
}

static void test_true_controls(void **state)
{
    char msg[256];

    (void)state;
    begin_with(LONG);
    caps.basic = BIT(55);
    set(VMCS_CTRL_PIN, PIN_PREEMPTION_TIMER);  /* without the bits that are ones by default */
    set(VMCS_CTRL_ENTRY, ENTRY_GUEST_64 | ENTRY_LOAD_EFER);
    set(VMCS_GUEST_DR7, ~0ull);                /* not loaded then */
    set(VMCS_GUEST_DEBUGCTL, BIT(3));
    assert_int_equal(vmx_check_entry(msg, sizeof(msg), read_true_capability), 0);
}

/* What some processors allow more. */
static void test_relaxed(void **state)
{
    char msg[256];

    (void)state;
    begin_with(LONG);
    set(EVENT, INJECT(INTR_HARD_EXCEPTION, 14));
    caps.basic = BIT(56);
    assert_int_equal(vmx_check_entry(msg, sizeof(msg), read_capability), 0);
    set(EVENT, INJECT(INTR_SOFT_INTERRUPT, 0x80));
    caps.misc |= BIT(30);
    assert_int_equal(vmx_check_entry(msg, sizeof(msg), read_capability), 0);
    caps.cr4_fixed1 |= CR4_LA57;               /* 57-bit addresses */
    set(VMCS_GUEST_FS_BASE, BIT(47));
    assert_int_equal(vmx_check_entry(msg, sizeof(msg), read_capability), 0);
    set(VMCS_GUEST_FS_BASE, BIT(56));
    assert_int_equal(vmx_check_entry(msg, sizeof(msg), read_capability), 1);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(vmcs_field_name(VMCS_GUEST_RIP), "VMCS_GUEST_RIP");
    assert_string_equal(vmcs_field_name(VMCS_CTRL_VPID), "VMCS_CTRL_VPID");
    assert_string_equal(vmcs_field_name((enum vmcs_field)0x7ffe), "?");
    assert_string_equal(exit_reason_name(EXIT_REASON_CPUID), "CPUID");
    assert_string_equal(exit_reason_name(EXIT_REASON_FAILED_ENTRY | EXIT_REASON_GUEST_STATE), "GUEST_STATE");
    assert_string_equal(exit_reason_name(35), "?");
    assert_string_equal(vm_instruction_error_name(7), "VM entry with invalid control fields");
    assert_string_equal(vm_instruction_error_name(0), "?");
}

/* The encodings' own structure: bits 11:10 are the group, 14:13 the width, in every name's part (appendix B). */
static void test_encodings(void **state)
{
#define ROW(name, encoding) { #name, encoding },
    static const struct {
        const char *name;
        unsigned encoding;
    } fields[] = { VMCS_FIELDS(ROW) };
    static const char *const groups[] = { "VMCS_CTRL_", NULL, "VMCS_GUEST_", "VMCS_HOST_" };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        const char *group = groups[fields[i].encoding >> 10 & 3];

        assert_int_equal(fields[i].encoding & ~0x6ffe, 0);
        assert_true(!i || fields[i].encoding > fields[i - 1].encoding);
        if (group)
            assert_memory_equal(fields[i].name, group, strlen(group));
    }
    assert_int_equal(VMCS_GUEST_SELECTOR(SEG_TR), VMCS_GUEST_TR_SELECTOR);
    assert_int_equal(VMCS_GUEST_LIMIT(SEG_LDTR), VMCS_GUEST_LDTR_LIMIT);
    assert_int_equal(VMCS_GUEST_AR(SEG_GS), VMCS_GUEST_GS_AR);
    assert_int_equal(VMCS_GUEST_BASE(SEG_DS), VMCS_GUEST_DS_BASE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_unusual),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_message_size),
        cmocka_unit_test(test_old_processor),
        cmocka_unit_test(test_true_controls),
        cmocka_unit_test(test_relaxed),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_encodings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
