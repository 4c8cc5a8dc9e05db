/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * Explains a VM entry that failed: applies the checks of SDM vol. 3, 27.2 and 27.3 to the current VMCS and returns how
 * many are violated; the first of them are named in msg, "FIELD = value: what was expected", separated by "; ", as many
 * as fit in size bytes (always terminated; empty when there is none). read_msr reads the capability MSRs.
 * Not checked, because it takes more than the VMCS: what MSR areas and PDPTEs without EPT hold in memory, the virtual
 * TPR against its threshold, what a linked shadow VMCS holds; nor the values of PERF_GLOBAL_CTRL, BNDCFGS, RTIT_CTL,
 * LBR_CTL, CET and UINV.
 */
int vmx_check_entry(char *msg, size_t size, uint64_t (*read_msr)(uint32_t msr));
