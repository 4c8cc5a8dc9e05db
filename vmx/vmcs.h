/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * Every field of the VMCS: SDM vol. 3, appendix B, in its order (16-bit, 64-bit, 32-bit, natural width; in each:
 * controls, read-only data, guest state, host state). The names come from the same rows: vmcs_field_name.
 * FRED's fields are left out.
 */
#define VMCS_FIELDS(X) \
    X(VMCS_CTRL_VPID,                     0x0000) \
    X(VMCS_CTRL_POSTED_VECTOR,            0x0002) \
    X(VMCS_CTRL_EPTP_INDEX,               0x0004) \
    X(VMCS_CTRL_HLAT_PREFIX_SIZE,         0x0006) \
    X(VMCS_CTRL_LAST_PID_INDEX,           0x0008) \
    X(VMCS_GUEST_ES_SELECTOR,             0x0800) \
    X(VMCS_GUEST_CS_SELECTOR,             0x0802) \
    X(VMCS_GUEST_SS_SELECTOR,             0x0804) \
    X(VMCS_GUEST_DS_SELECTOR,             0x0806) \
    X(VMCS_GUEST_FS_SELECTOR,             0x0808) \
    X(VMCS_GUEST_GS_SELECTOR,             0x080a) \
    X(VMCS_GUEST_LDTR_SELECTOR,           0x080c) \
    X(VMCS_GUEST_TR_SELECTOR,             0x080e) \
    X(VMCS_GUEST_INTR_STATUS,             0x0810) \
    X(VMCS_GUEST_PML_INDEX,               0x0812) \
    X(VMCS_GUEST_UINV,                    0x0814) \
    X(VMCS_HOST_ES_SELECTOR,              0x0c00) \
    X(VMCS_HOST_CS_SELECTOR,              0x0c02) \
    X(VMCS_HOST_SS_SELECTOR,              0x0c04) \
    X(VMCS_HOST_DS_SELECTOR,              0x0c06) \
    X(VMCS_HOST_FS_SELECTOR,              0x0c08) \
    X(VMCS_HOST_GS_SELECTOR,              0x0c0a) \
    X(VMCS_HOST_TR_SELECTOR,              0x0c0c) \
    X(VMCS_CTRL_IO_BITMAP_A,              0x2000) \
    X(VMCS_CTRL_IO_BITMAP_B,              0x2002) \
    X(VMCS_CTRL_MSR_BITMAP,               0x2004) \
    X(VMCS_CTRL_EXIT_MSR_STORE,           0x2006) \
    X(VMCS_CTRL_EXIT_MSR_LOAD,            0x2008) \
    X(VMCS_CTRL_ENTRY_MSR_LOAD,           0x200a) \
    X(VMCS_CTRL_EXECUTIVE,                0x200c) \
    X(VMCS_CTRL_PML_ADDRESS,              0x200e) \
    X(VMCS_CTRL_TSC_OFFSET,               0x2010) \
    X(VMCS_CTRL_VIRTUAL_APIC,             0x2012) \
    X(VMCS_CTRL_APIC_ACCESS,              0x2014) \
    X(VMCS_CTRL_POSTED_DESCRIPTOR,        0x2016) \
    X(VMCS_CTRL_VM_FUNCTION,              0x2018) \
    X(VMCS_CTRL_EPTP,                     0x201a) \
    X(VMCS_CTRL_EOI_EXIT_0,               0x201c) \
    X(VMCS_CTRL_EOI_EXIT_1,               0x201e) \
    X(VMCS_CTRL_EOI_EXIT_2,               0x2020) \
    X(VMCS_CTRL_EOI_EXIT_3,               0x2022) \
    X(VMCS_CTRL_EPTP_LIST,                0x2024) \
    X(VMCS_CTRL_VMREAD_BITMAP,            0x2026) \
    X(VMCS_CTRL_VMWRITE_BITMAP,           0x2028) \
    X(VMCS_CTRL_VE_INFO,                  0x202a) \
    X(VMCS_CTRL_XSS_BITMAP,               0x202c) \
    X(VMCS_CTRL_ENCLS_BITMAP,             0x202e) \
    X(VMCS_CTRL_SPP_TABLE,                0x2030) \
    X(VMCS_CTRL_TSC_MULTIPLIER,           0x2032) \
    X(VMCS_CTRL_PROC3,                    0x2034) \
    X(VMCS_CTRL_ENCLV_BITMAP,             0x2036) \
    X(VMCS_CTRL_PASID_LOW,                0x2038) \
    X(VMCS_CTRL_PASID_HIGH,               0x203a) \
    X(VMCS_CTRL_SHARED_EPTP,              0x203c) \
    X(VMCS_CTRL_PCONFIG_BITMAP,           0x203e) \
    X(VMCS_CTRL_HLATP,                    0x2040) \
    X(VMCS_CTRL_PID_TABLE,                0x2042) \
    X(VMCS_CTRL_EXIT2,                    0x2044) \
    X(VMCS_CTRL_SPEC_CTRL_MASK,           0x204a) \
    X(VMCS_CTRL_SPEC_CTRL_SHADOW,         0x204c) \
    X(VMCS_EXIT_GUEST_PHYSICAL,           0x2400) \
    X(VMCS_GUEST_LINK_POINTER,            0x2800) \
    X(VMCS_GUEST_DEBUGCTL,                0x2802) \
    X(VMCS_GUEST_PAT,                     0x2804) \
    X(VMCS_GUEST_EFER,                    0x2806) \
    X(VMCS_GUEST_PERF_GLOBAL_CTRL,        0x2808) \
    X(VMCS_GUEST_PDPTE0,                  0x280a) \
    X(VMCS_GUEST_PDPTE1,                  0x280c) \
    X(VMCS_GUEST_PDPTE2,                  0x280e) \
    X(VMCS_GUEST_PDPTE3,                  0x2810) \
    X(VMCS_GUEST_BNDCFGS,                 0x2812) \
    X(VMCS_GUEST_RTIT_CTL,                0x2814) \
    X(VMCS_GUEST_LBR_CTL,                 0x2816) \
    X(VMCS_GUEST_PKRS,                    0x2818) \
    X(VMCS_HOST_PAT,                      0x2c00) \
    X(VMCS_HOST_EFER,                     0x2c02) \
    X(VMCS_HOST_PERF_GLOBAL_CTRL,         0x2c04) \
    X(VMCS_HOST_PKRS,                     0x2c06) \
    X(VMCS_CTRL_PIN,                      0x4000) \
    X(VMCS_CTRL_PROC,                     0x4002) \
    X(VMCS_CTRL_EXCEPTION_BITMAP,         0x4004) \
    X(VMCS_CTRL_PF_ERROR_MASK,            0x4006) \
    X(VMCS_CTRL_PF_ERROR_MATCH,           0x4008) \
    X(VMCS_CTRL_CR3_TARGET_COUNT,         0x400a) \
    X(VMCS_CTRL_EXIT,                     0x400c) \
    X(VMCS_CTRL_EXIT_MSR_STORE_COUNT,     0x400e) \
    X(VMCS_CTRL_EXIT_MSR_LOAD_COUNT,      0x4010) \
    X(VMCS_CTRL_ENTRY,                    0x4012) \
    X(VMCS_CTRL_ENTRY_MSR_LOAD_COUNT,     0x4014) \
    X(VMCS_CTRL_ENTRY_INTR_INFO,          0x4016) \
    X(VMCS_CTRL_ENTRY_INTR_ERROR,         0x4018) \
    X(VMCS_CTRL_ENTRY_INSN_LENGTH,        0x401a) \
    X(VMCS_CTRL_TPR_THRESHOLD,            0x401c) \
    X(VMCS_CTRL_PROC2,                    0x401e) \
    X(VMCS_CTRL_PLE_GAP,                  0x4020) \
    X(VMCS_CTRL_PLE_WINDOW,               0x4022) \
    X(VMCS_CTRL_INSN_TIMEOUT,             0x4024) \
    X(VMCS_INSN_ERROR,                    0x4400) \
    X(VMCS_EXIT_REASON,                   0x4402) \
    X(VMCS_EXIT_INTR_INFO,                0x4404) \
    X(VMCS_EXIT_INTR_ERROR,               0x4406) \
    X(VMCS_IDT_VECTORING_INFO,            0x4408) \
    X(VMCS_IDT_VECTORING_ERROR,           0x440a) \
    X(VMCS_EXIT_INSN_LENGTH,              0x440c) \
    X(VMCS_EXIT_INSN_INFO,                0x440e) \
    X(VMCS_GUEST_ES_LIMIT,                0x4800) \
    X(VMCS_GUEST_CS_LIMIT,                0x4802) \
    X(VMCS_GUEST_SS_LIMIT,                0x4804) \
    X(VMCS_GUEST_DS_LIMIT,                0x4806) \
    X(VMCS_GUEST_FS_LIMIT,                0x4808) \
    X(VMCS_GUEST_GS_LIMIT,                0x480a) \
    X(VMCS_GUEST_LDTR_LIMIT,              0x480c) \
    X(VMCS_GUEST_TR_LIMIT,                0x480e) \
    X(VMCS_GUEST_GDTR_LIMIT,              0x4810) \
    X(VMCS_GUEST_IDTR_LIMIT,              0x4812) \
    X(VMCS_GUEST_ES_AR,                   0x4814) \
    X(VMCS_GUEST_CS_AR,                   0x4816) \
    X(VMCS_GUEST_SS_AR,                   0x4818) \
    X(VMCS_GUEST_DS_AR,                   0x481a) \
    X(VMCS_GUEST_FS_AR,                   0x481c) \
    X(VMCS_GUEST_GS_AR,                   0x481e) \
    X(VMCS_GUEST_LDTR_AR,                 0x4820) \
    X(VMCS_GUEST_TR_AR,                   0x4822) \
    X(VMCS_GUEST_INTERRUPTIBILITY,        0x4824) \
    X(VMCS_GUEST_ACTIVITY,                0x4826) \
    X(VMCS_GUEST_SMBASE,                  0x4828) \
    X(VMCS_GUEST_SYSENTER_CS,             0x482a) \
    X(VMCS_GUEST_PREEMPTION_TIMER,        0x482e) \
    X(VMCS_HOST_SYSENTER_CS,              0x4c00) \
    X(VMCS_CTRL_CR0_MASK,                 0x6000) \
    X(VMCS_CTRL_CR4_MASK,                 0x6002) \
    X(VMCS_CTRL_CR0_SHADOW,               0x6004) \
    X(VMCS_CTRL_CR4_SHADOW,               0x6006) \
    X(VMCS_CTRL_CR3_TARGET_0,             0x6008) \
    X(VMCS_CTRL_CR3_TARGET_1,             0x600a) \
    X(VMCS_CTRL_CR3_TARGET_2,             0x600c) \
    X(VMCS_CTRL_CR3_TARGET_3,             0x600e) \
    X(VMCS_EXIT_QUALIFICATION,            0x6400) \
    X(VMCS_EXIT_IO_RCX,                   0x6402) \
    X(VMCS_EXIT_IO_RSI,                   0x6404) \
    X(VMCS_EXIT_IO_RDI,                   0x6406) \
    X(VMCS_EXIT_IO_RIP,                   0x6408) \
    X(VMCS_EXIT_GUEST_LINEAR,             0x640a) \
    X(VMCS_GUEST_CR0,                     0x6800) \
    X(VMCS_GUEST_CR3,                     0x6802) \
    X(VMCS_GUEST_CR4,                     0x6804) \
    X(VMCS_GUEST_ES_BASE,                 0x6806) \
    X(VMCS_GUEST_CS_BASE,                 0x6808) \
    X(VMCS_GUEST_SS_BASE,                 0x680a) \
    X(VMCS_GUEST_DS_BASE,                 0x680c) \
    X(VMCS_GUEST_FS_BASE,                 0x680e) \
    X(VMCS_GUEST_GS_BASE,                 0x6810) \
    X(VMCS_GUEST_LDTR_BASE,               0x6812) \
    X(VMCS_GUEST_TR_BASE,                 0x6814) \
    X(VMCS_GUEST_GDTR_BASE,               0x6816) \
    X(VMCS_GUEST_IDTR_BASE,               0x6818) \
    X(VMCS_GUEST_DR7,                     0x681a) \
    X(VMCS_GUEST_RSP,                     0x681c) \
    X(VMCS_GUEST_RIP,                     0x681e) \
    X(VMCS_GUEST_RFLAGS,                  0x6820) \
    X(VMCS_GUEST_PENDING_DEBUG,           0x6822) \
    X(VMCS_GUEST_SYSENTER_ESP,            0x6824) \
    X(VMCS_GUEST_SYSENTER_EIP,            0x6826) \
    X(VMCS_GUEST_S_CET,                   0x6828) \
    X(VMCS_GUEST_SSP,                     0x682a) \
    X(VMCS_GUEST_SSP_TABLE,               0x682c) \
    X(VMCS_HOST_CR0,                      0x6c00) \
    X(VMCS_HOST_CR3,                      0x6c02) \
    X(VMCS_HOST_CR4,                      0x6c04) \
    X(VMCS_HOST_FS_BASE,                  0x6c06) \
    X(VMCS_HOST_GS_BASE,                  0x6c08) \
    X(VMCS_HOST_TR_BASE,                  0x6c0a) \
    X(VMCS_HOST_GDTR_BASE,                0x6c0c) \
    X(VMCS_HOST_IDTR_BASE,                0x6c0e) \
    X(VMCS_HOST_SYSENTER_ESP,             0x6c10) \
    X(VMCS_HOST_SYSENTER_EIP,             0x6c12) \
    X(VMCS_HOST_RSP,                      0x6c14) \
    X(VMCS_HOST_RIP,                      0x6c16) \
    X(VMCS_HOST_S_CET,                    0x6c18) \
    X(VMCS_HOST_SSP,                      0x6c1a) \
    X(VMCS_HOST_SSP_TABLE,                0x6c1c)

#define VMCS_FIELD_ENUM(name, encoding) name = encoding,
enum vmcs_field { VMCS_FIELDS(VMCS_FIELD_ENUM) };
#undef VMCS_FIELD_ENUM

/* Bits 14:13 of an encoding (appendix B): the width of the field. */
enum vmcs_width { VMCS_WIDTH_16, VMCS_WIDTH_64, VMCS_WIDTH_32, VMCS_WIDTH_NATURAL };
static inline enum vmcs_width vmcs_width(enum vmcs_field f) { return (enum vmcs_width)(f >> 13 & 3); }

/*
 * The guest's segment registers lie in this order in each group, so the field of segment s is VMCS_GUEST_xx(s).
 * ES to GS are also the numbers the instruction set uses for them.
 */
enum vmcs_segment { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_COUNT };
#define VMCS_GUEST_SELECTOR(s) ((enum vmcs_field)(VMCS_GUEST_ES_SELECTOR + 2 * (s)))
#define VMCS_GUEST_LIMIT(s)    ((enum vmcs_field)(VMCS_GUEST_ES_LIMIT + 2 * (s)))
#define VMCS_GUEST_AR(s)       ((enum vmcs_field)(VMCS_GUEST_ES_AR + 2 * (s)))
#define VMCS_GUEST_BASE(s)     ((enum vmcs_field)(VMCS_GUEST_ES_BASE + 2 * (s)))

/* Access rights of a segment (vol. 3, table 25-2): bits 55:40 of the descriptor without the limit, and "unusable". */
#define AR_TYPE        0xfu            /* TYPE_* */
#define AR_S           (1u << 4)       /* code or data, not system */
#define AR_DPL_SHIFT   5
#define AR_DPL(ar)     ((ar) >> AR_DPL_SHIFT & 3)
#define AR_P           (1u << 7)
#define AR_L           (1u << 13)
#define AR_DB          (1u << 14)
#define AR_G           (1u << 15)
#define AR_UNUSABLE    (1u << 16)

/* Pin-based VM-execution controls (SDM vol. 3, 25.6.1). */
#define PIN_EXTERNAL_INTERRUPT   (1u << 0)
#define PIN_NMI                  (1u << 3)
#define PIN_VIRTUAL_NMI          (1u << 5)
#define PIN_PREEMPTION_TIMER     (1u << 6)
#define PIN_POSTED_INTERRUPTS    (1u << 7)

/* Primary processor-based controls (25.6.2). */
#define PROC_INTERRUPT_WINDOW    (1u << 2)
#define PROC_TSC_OFFSET          (1u << 3)
#define PROC_HLT                 (1u << 7)
#define PROC_INVLPG              (1u << 9)
#define PROC_MWAIT               (1u << 10)
#define PROC_RDPMC               (1u << 11)
#define PROC_RDTSC               (1u << 12)
#define PROC_CR3_LOAD            (1u << 15)
#define PROC_CR3_STORE           (1u << 16)
#define PROC_TERTIARY            (1u << 17)
#define PROC_CR8_LOAD            (1u << 19)
#define PROC_CR8_STORE           (1u << 20)
#define PROC_TPR_SHADOW          (1u << 21)
#define PROC_NMI_WINDOW          (1u << 22)
#define PROC_MOV_DR              (1u << 23)
#define PROC_UNCONDITIONAL_IO    (1u << 24)
#define PROC_IO_BITMAPS          (1u << 25)
#define PROC_MONITOR_TRAP        (1u << 27)
#define PROC_MSR_BITMAPS         (1u << 28)
#define PROC_MONITOR             (1u << 29)
#define PROC_PAUSE               (1u << 30)
#define PROC_SECONDARY           (1u << 31)

/* Secondary processor-based controls. */
#define PROC2_APIC_ACCESSES      (1u << 0)
#define PROC2_EPT                (1u << 1)
#define PROC2_DESCRIPTOR_TABLE   (1u << 2)
#define PROC2_RDTSCP             (1u << 3)
#define PROC2_X2APIC             (1u << 4)
#define PROC2_VPID               (1u << 5)
#define PROC2_WBINVD             (1u << 6)
#define PROC2_UNRESTRICTED       (1u << 7)
#define PROC2_APIC_REGISTERS     (1u << 8)
#define PROC2_INTERRUPT_DELIVERY (1u << 9)
#define PROC2_PAUSE_LOOP         (1u << 10)
#define PROC2_RDRAND             (1u << 11)
#define PROC2_INVPCID            (1u << 12)
#define PROC2_VMFUNC             (1u << 13)
#define PROC2_SHADOW_VMCS        (1u << 14)
#define PROC2_ENCLS              (1u << 15)
#define PROC2_RDSEED             (1u << 16)
#define PROC2_PML                (1u << 17)
#define PROC2_VE                 (1u << 18)
#define PROC2_CONCEAL_PT         (1u << 19)
#define PROC2_XSAVES             (1u << 20)
#define PROC2_PASID              (1u << 21)
#define PROC2_MODE_BASED_EXEC    (1u << 22)
#define PROC2_SUB_PAGE           (1u << 23)
#define PROC2_PT_GUEST_PHYSICAL  (1u << 24)
#define PROC2_TSC_SCALING        (1u << 25)
#define PROC2_USER_WAIT          (1u << 26)
#define PROC2_PCONFIG            (1u << 27)
#define PROC2_ENCLV              (1u << 28)
#define PROC2_BUS_LOCK           (1u << 30)
#define PROC2_INSN_TIMEOUT       (1u << 31)

/* VM-exit controls (25.7.1). */
#define EXIT_SAVE_DEBUG          (1u << 2)
#define EXIT_HOST_64             (1u << 9)
#define EXIT_LOAD_PERF           (1u << 12)
#define EXIT_ACK_INTERRUPT       (1u << 15)
#define EXIT_SAVE_PAT            (1u << 18)
#define EXIT_LOAD_PAT            (1u << 19)
#define EXIT_SAVE_EFER           (1u << 20)
#define EXIT_LOAD_EFER           (1u << 21)
#define EXIT_SAVE_TIMER          (1u << 22)
#define EXIT_CLEAR_BNDCFGS       (1u << 23)
#define EXIT_CONCEAL_PT          (1u << 24)
#define EXIT_CLEAR_RTIT          (1u << 25)
#define EXIT_CLEAR_LBR           (1u << 26)
#define EXIT_CLEAR_UINV          (1u << 27)
#define EXIT_LOAD_CET            (1u << 28)
#define EXIT_LOAD_PKRS           (1u << 29)
#define EXIT_SAVE_PERF           (1u << 30)
#define EXIT_SECONDARY           (1u << 31)

/* VM-entry controls (25.8.1). */
#define ENTRY_LOAD_DEBUG         (1u << 2)
#define ENTRY_GUEST_64           (1u << 9)
#define ENTRY_SMM                (1u << 10)
#define ENTRY_DUAL_MONITOR_OFF   (1u << 11)
#define ENTRY_LOAD_PERF          (1u << 13)
#define ENTRY_LOAD_PAT           (1u << 14)
#define ENTRY_LOAD_EFER          (1u << 15)
#define ENTRY_LOAD_BNDCFGS       (1u << 16)
#define ENTRY_CONCEAL_PT         (1u << 17)
#define ENTRY_LOAD_RTIT          (1u << 18)
#define ENTRY_LOAD_UINV          (1u << 19)
#define ENTRY_LOAD_CET           (1u << 20)
#define ENTRY_LOAD_LBR           (1u << 21)
#define ENTRY_LOAD_PKRS          (1u << 22)

/* Interruption information of VM entry, VM exit and IDT vectoring: one layout (25.8.3, 25.9.2, 25.9.3). */
#define INTR_VECTOR              0xffu
#define INTR_TYPE_SHIFT          8
#define INTR_TYPE(info)          ((info) >> INTR_TYPE_SHIFT & 7)
#define INTR_ERROR_CODE          (1u << 11)
#define INTR_NMI_UNBLOCKED_IRET  (1u << 12)     /* exits only */
#define INTR_VALID               (1u << 31)
enum intr_type {
    INTR_EXTERNAL = 0, INTR_NMI = 2, INTR_HARD_EXCEPTION = 3, INTR_SOFT_INTERRUPT = 4,
    INTR_PRIV_SOFT_EXCEPTION = 5 /* INT1 */, INTR_SOFT_EXCEPTION = 6 /* INT3, INTO */, INTR_OTHER_EVENT = 7
};

/* Guest interruptibility state (table 25-3) and activity state (25.4.2). */
#define BLOCKING_STI             (1u << 0)
#define BLOCKING_MOV_SS          (1u << 1)
#define BLOCKING_SMI             (1u << 2)
#define BLOCKING_NMI             (1u << 3)
#define BLOCKING_ENCLAVE         (1u << 4)
enum vmcs_activity { ACTIVITY_ACTIVE, ACTIVITY_HLT, ACTIVITY_SHUTDOWN, ACTIVITY_WAIT_SIPI };

/* Exit qualification of EPT violations (table 28-7). */
#define EPT_VIOLATION_READ       BIT(0)
#define EPT_VIOLATION_WRITE      BIT(1)
#define EPT_VIOLATION_FETCH      BIT(2)
#define EPT_VIOLATION_READABLE   BIT(3)         /* what was there could be read */
#define EPT_VIOLATION_LINEAR     BIT(7)         /* the guest-linear-address field is valid */
#define EPT_VIOLATION_TRANSLATED BIT(8)         /* the access itself, not the walk of the guest's tables */
#define EPT_VIOLATION_NMI_UNBLOCKED BIT(12)

/* Basic exit reasons: SDM vol. 3, appendix C. */
#define EXIT_REASONS(X) \
    X(EXIT_REASON_EXCEPTION_NMI,       0) \
    X(EXIT_REASON_EXTERNAL_INTERRUPT,  1) \
    X(EXIT_REASON_TRIPLE_FAULT,        2) \
    X(EXIT_REASON_INIT,                3) \
    X(EXIT_REASON_SIPI,                4) \
    X(EXIT_REASON_IO_SMI,              5) \
    X(EXIT_REASON_OTHER_SMI,           6) \
    X(EXIT_REASON_INTERRUPT_WINDOW,    7) \
    X(EXIT_REASON_NMI_WINDOW,          8) \
    X(EXIT_REASON_TASK_SWITCH,         9) \
    X(EXIT_REASON_CPUID,              10) \
    X(EXIT_REASON_GETSEC,             11) \
    X(EXIT_REASON_HLT,                12) \
    X(EXIT_REASON_INVD,               13) \
    X(EXIT_REASON_INVLPG,             14) \
    X(EXIT_REASON_RDPMC,              15) \
    X(EXIT_REASON_RDTSC,              16) \
    X(EXIT_REASON_RSM,                17) \
    X(EXIT_REASON_VMCALL,             18) \
    X(EXIT_REASON_VMCLEAR,            19) \
    X(EXIT_REASON_VMLAUNCH,           20) \
    X(EXIT_REASON_VMPTRLD,            21) \
    X(EXIT_REASON_VMPTRST,            22) \
    X(EXIT_REASON_VMREAD,             23) \
    X(EXIT_REASON_VMRESUME,           24) \
    X(EXIT_REASON_VMWRITE,            25) \
    X(EXIT_REASON_VMXOFF,             26) \
    X(EXIT_REASON_VMXON,              27) \
    X(EXIT_REASON_CR_ACCESS,          28) \
    X(EXIT_REASON_MOV_DR,             29) \
    X(EXIT_REASON_IO,                 30) \
    X(EXIT_REASON_RDMSR,              31) \
    X(EXIT_REASON_WRMSR,              32) \
    X(EXIT_REASON_GUEST_STATE,        33) \
    X(EXIT_REASON_MSR_LOADING,        34) \
    X(EXIT_REASON_MWAIT,              36) \
    X(EXIT_REASON_MONITOR_TRAP,       37) \
    X(EXIT_REASON_MONITOR,            39) \
    X(EXIT_REASON_PAUSE,              40) \
    X(EXIT_REASON_MACHINE_CHECK,      41) \
    X(EXIT_REASON_TPR_THRESHOLD,      43) \
    X(EXIT_REASON_APIC_ACCESS,        44) \
    X(EXIT_REASON_VIRTUAL_EOI,        45) \
    X(EXIT_REASON_GDTR_IDTR,          46) \
    X(EXIT_REASON_LDTR_TR,            47) \
    X(EXIT_REASON_EPT_VIOLATION,      48) \
    X(EXIT_REASON_EPT_MISCONFIG,      49) \
    X(EXIT_REASON_INVEPT,             50) \
    X(EXIT_REASON_RDTSCP,             51) \
    X(EXIT_REASON_PREEMPTION_TIMER,   52) \
    X(EXIT_REASON_INVVPID,            53) \
    X(EXIT_REASON_WBINVD,             54) \
    X(EXIT_REASON_XSETBV,             55) \
    X(EXIT_REASON_APIC_WRITE,         56) \
    X(EXIT_REASON_RDRAND,             57) \
    X(EXIT_REASON_INVPCID,            58) \
    X(EXIT_REASON_VMFUNC,             59) \
    X(EXIT_REASON_ENCLS,              60) \
    X(EXIT_REASON_RDSEED,             61) \
    X(EXIT_REASON_PML_FULL,           62) \
    X(EXIT_REASON_XSAVES,             63) \
    X(EXIT_REASON_XRSTORS,            64) \
    X(EXIT_REASON_PCONFIG,            65) \
    X(EXIT_REASON_SUB_PAGE,           66) \
    X(EXIT_REASON_UMWAIT,             67) \
    X(EXIT_REASON_TPAUSE,             68) \
    X(EXIT_REASON_LOADIWKEY,          69) \
    X(EXIT_REASON_ENCLV,              70) \
    X(EXIT_REASON_ENQCMD,             72) \
    X(EXIT_REASON_ENQCMDS,            73) \
    X(EXIT_REASON_BUS_LOCK,           74) \
    X(EXIT_REASON_INSN_TIMEOUT,       75) \
    X(EXIT_REASON_SEAMCALL,           76) \
    X(EXIT_REASON_TDCALL,             77) \
    X(EXIT_REASON_RDMSRLIST,          78) \
    X(EXIT_REASON_WRMSRLIST,          79)

#define EXIT_REASON_ENUM(name, number) name = number,
enum exit_reason { EXIT_REASONS(EXIT_REASON_ENUM) };
#undef EXIT_REASON_ENUM
#define EXIT_REASON_COUNT        80             /* one more than the highest, for tables of counters */
#define EXIT_REASON_FAILED_ENTRY (1u << 31)     /* in the whole 32-bit reason: the VM entry failed */

/* vmx/names.c: names for dumps; a number without a name gives "?". */
const char *vmcs_field_name(enum vmcs_field f);
const char *exit_reason_name(uint32_t reason);             /* the whole 32-bit reason or the basic one */
const char *vm_instruction_error_name(uint32_t error);     /* SDM vol. 3, 31.4 */
