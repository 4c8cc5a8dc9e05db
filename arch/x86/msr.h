/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* Model-specific registers (SDM vol. 4, table 2-2). */
#define MSR_TSC                      0x00000010u
#define MSR_APIC_BASE                0x0000001bu
#define MSR_FEATURE_CONTROL          0x0000003au
#define MSR_TSC_ADJUST               0x0000003bu
#define MSR_SPEC_CTRL                0x00000048u
#define MSR_PRED_CMD                 0x00000049u
#define MSR_BIOS_UPDT_TRIG           0x00000079u
#define MSR_BIOS_SIGN_ID             0x0000008bu
#define MSR_MTRRCAP                  0x000000feu
#define MSR_ARCH_CAPABILITIES        0x0000010au
#define MSR_FLUSH_CMD                0x0000010bu
#define MSR_SYSENTER_CS              0x00000174u
#define MSR_SYSENTER_ESP             0x00000175u
#define MSR_SYSENTER_EIP             0x00000176u
#define MSR_MCG_CAP                  0x00000179u
#define MSR_MCG_STATUS               0x0000017au
#define MSR_MC0_CTL                  0x00000400u
#define MSR_MISC_ENABLE              0x000001a0u
#define MISC_ENABLE_FAST_STRINGS     BIT(0)
#define MISC_ENABLE_NO_BTS           BIT(11)
#define MISC_ENABLE_NO_PEBS          BIT(12)
#define MSR_DEBUGCTL                 0x000001d9u
#define DEBUGCTL_BTF                 BIT(1)
#define MSR_MTRR_PHYSBASE0           0x00000200u
#define MSR_MTRR_FIX64K_00000        0x00000250u
#define MSR_PAT                      0x00000277u
#define MSR_MTRR_DEF_TYPE            0x000002ffu
#define MSR_PERF_GLOBAL_CTRL         0x0000038fu
#define MSR_VMX_BASIC                0x00000480u
#define MSR_VMX_PINBASED_CTLS        0x00000481u
#define MSR_VMX_PROCBASED_CTLS       0x00000482u
#define MSR_VMX_EXIT_CTLS            0x00000483u
#define MSR_VMX_ENTRY_CTLS           0x00000484u
#define MSR_VMX_MISC                 0x00000485u
#define MSR_VMX_CR0_FIXED0           0x00000486u
#define MSR_VMX_CR0_FIXED1           0x00000487u
#define MSR_VMX_CR4_FIXED0           0x00000488u
#define MSR_VMX_CR4_FIXED1           0x00000489u
#define MSR_VMX_VMCS_ENUM            0x0000048au
#define MSR_VMX_PROCBASED_CTLS2      0x0000048bu
#define MSR_VMX_EPT_VPID_CAP         0x0000048cu
#define MSR_VMX_TRUE_PINBASED_CTLS   0x0000048du
#define MSR_VMX_TRUE_PROCBASED_CTLS  0x0000048eu
#define MSR_VMX_TRUE_EXIT_CTLS       0x0000048fu
#define MSR_VMX_TRUE_ENTRY_CTLS      0x00000490u
#define MSR_VMX_VMFUNC               0x00000491u
#define MSR_VMX_PROCBASED_CTLS3      0x00000492u
#define MSR_U_CET                    0x000006a0u
#define MSR_S_CET                    0x000006a2u
#define MSR_TSC_DEADLINE             0x000006e0u
#define MSR_X2APIC_BASE              0x00000800u
#define MSR_XSS                      0x00000da0u
#define MSR_EFER                     0xc0000080u
#define MSR_STAR                     0xc0000081u
#define MSR_LSTAR                    0xc0000082u
#define MSR_CSTAR                    0xc0000083u
#define MSR_FMASK                    0xc0000084u
#define MSR_FS_BASE                  0xc0000100u
#define MSR_GS_BASE                  0xc0000101u
#define MSR_KERNEL_GS_BASE           0xc0000102u
#define MSR_TSC_AUX                  0xc0000103u

/* IA32_EFER */
#define EFER_SCE                     BIT(0)
#define EFER_LME                     BIT(8)
#define EFER_LMA                     BIT(10)
#define EFER_NXE                     BIT(11)

/* IA32_FEATURE_CONTROL */
#define FEATURE_CONTROL_LOCK         BIT(0)
#define FEATURE_CONTROL_VMX_IN_SMX   BIT(1)
#define FEATURE_CONTROL_VMX          BIT(2)

/* IA32_APIC_BASE */
#define APIC_BASE_BSP                BIT(8)
#define APIC_BASE_X2APIC             BIT(10)
#define APIC_BASE_ENABLE             BIT(11)
#define APIC_BASE_ADDR_MASK          0x000ffffffffff000ull
