/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vmx/vmcs_io.h"

/*
 * The guest's breakpoints on ports and data (SDM vol. 3, 18.2), for what the hypervisor does in the guest's place: the
 * processor sees only what it does itself. DR0 to DR3 are in the processor while the vCPU is loaded.
 */

/* Is any breakpoint enabled? */
static inline bool watch_any(void)
{
    return vmread_sure(VMCS_GUEST_DR7) & 0xff;
}

/* Which breakpoints an access meets, as DR6 has them: bits 3:0. size: bytes, not 0. */
unsigned watch_port(uint16_t port, unsigned size);
unsigned watch_data(uint64_t linear, unsigned size, bool write);

/* The traps of an instruction that is over: what watch_port and watch_data returned, together. */
void watch_trap(unsigned met);
/* The same for an iteration of a repeated string instruction that goes on; a single step over it is due too. */
void watch_iteration(unsigned met);
