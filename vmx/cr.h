/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vmx/vcpu.h"

/* CR0 and CR4 of a vCPU at its start, with the guest/host masks: the bits that stay ours. */
void cr_reset(uint64_t cr0, uint64_t cr4);
/* MOV to or from CR0, CR4, CR8, and the like. */
void exit_cr_access(struct vcpu *v);
/* CR3 of another task, outside IA-32e mode; without paging it stays. False: a PAE pointer in it is bad. */
bool cr_load_cr3(struct vcpu *v, uint64_t value);
/* WRMSR of IA32_EFER; false: #GP. */
bool cr_write_efer(uint64_t value);
/* CR4 bits a guest may set: those whose feature its CPUID shows. */
uint64_t cr4_allowed(void);
