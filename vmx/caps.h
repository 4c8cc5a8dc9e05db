/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "arch/x86/features.h"
#include "lib/types.h"

#define REVISION_BOCHS 0x2bu       /* which no real processor has */

/* What VT-x this processor has, and the controls chosen from it: identical on all processors. */
struct vmx_caps {
    uint32_t revision;
    uint32_t pin, proc, proc2, exit, entry;        /* control words as they go into the VMCS */
    uint64_t ept_vpid, misc;
    uint64_t cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
    bool vpid, ept_access_bits, ept_1g;
    bool apicv;                    /* the processor delivers the guests' interrupts (vmx/apicv.h) */
};

extern struct vmx_caps vmx_caps;

/* Negotiates the controls. -ENOTSUP, with the missing ones named in msg. Reads VMX MSRs: only where CPUID has VMX. */
int vmx_caps_init(char *msg, size_t size);
/* Interrupts in software even if the processor could. Before the first vCPU. */
void vmx_caps_without_apicv(void);
/* Rows for the hardware table; at most max. */
size_t vmx_hw_features(struct hw_feature *out, size_t max);
