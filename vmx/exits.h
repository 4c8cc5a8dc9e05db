/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vmx/vcpu.h"

/* One function an exit reason; vmx/exit.c dispatches. The vCPU is loaded, its VMCS current. */
void exit_exception_nmi(struct vcpu *v);
/* A machine check in the guest, or in the middle of an entry: the guest goes on, is stopped, or all stands still. */
void exit_machine_check(struct vcpu *v);
void exit_interrupt_window(struct vcpu *v);
void exit_nmi_window(struct vcpu *v);
void exit_io(struct vcpu *v);
void exit_ept_violation(struct vcpu *v);
void exit_task_switch(struct vcpu *v);
void exit_apic_access(struct vcpu *v);
void exit_apic_write(struct vcpu *v);
void exit_virtual_eoi(struct vcpu *v);

/* First thing after every exit. */
void event_requeue(struct vcpu *v);
/* The IRET that unblocked NMIs faulted: they are blocked again until it is repeated (SDM vol. 3, 28.2.3). */
void event_reblock_nmi(bool unblocked);
/* Decodes the instruction that touched device memory and runs it there. linear: where the guest has it mapped. */
#define LINEAR_UNKNOWN UINT64_MAX
void mmio_emulate(struct vcpu *v, struct gpa at, uint64_t linear, bool write);
/*
 * An EPT violation by a write at gpa, linear for the guest: an instruction that writes zeros to the whole of a shared
 * page there (vmx/zeroing.c)? Then they need not be written: it is done as far as this page goes. The processor is outside
 * of the EPTs.
 */
bool zeroing_run(struct vcpu *v, struct gpa at, uint64_t linear);
