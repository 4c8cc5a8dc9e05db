/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vmx/vcpu.h"

#define XCR0_ALLOWED 0xe7ull   /* x87, SSE, AVX, AVX-512: their XSAVE area fits a page */

/* The host-state area: this processor's. The VMCS is current. */
void vmcs_set_host(struct vcpu *v);
/* MSRs, FPU and debug registers as after power-up. */
void vcpu_extra_reset(struct vcpu *v);
/* XCR0 bits guests may set, 0 without XSAVE. */
uint64_t vcpu_xcr0_allowed(void);
/* The bitmap common to all VMs: everything exits but what is opened by name. -ENOMEM. */
int msr_bitmap_init(void);
struct hpa msr_bitmap(void);
