/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

/* Between the parts of the VM-entry checker; others include vmx/checker.h. */
#include "arch/x86/cpu.h"
#include "vmx/vmcs_io.h"

struct vmx_check {
    char *msg;
    size_t size, used;
    int violations;
    uint64_t (*read_msr)(uint32_t msr);
    unsigned physical_width, linear_width;             /* of addresses, in bits */
    /* Control words without the bits this processor lacks: a field is read only where its control is one it has. */
    uint32_t pin, proc, proc2, exit, entry;
    uint32_t event;                                    /* VM-entry interruption information, 0 if not valid */
    uint64_t cr0, cr4, rflags;                         /* the guest's */
    bool guest_64, virtual_8086, unrestricted;
};

/* If ok is false, counts a violation and notes the field, its value and what was expected of it. Returns ok. */
bool check_that(struct vmx_check *c, bool ok, enum vmcs_field f, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Of the field's bits, those in must are ones and those outside may zeros. */
bool check_bits(struct vmx_check *c, enum vmcs_field f, uint64_t must, uint64_t may);
/* A physical address of a structure aligned to align bytes, within the physical width. */
void check_address(struct vmx_check *c, enum vmcs_field f, uint64_t align);
void check_canonical(struct vmx_check *c, enum vmcs_field f);
/* Each byte is a memory type; EFER without reserved bits. */
void check_pat(struct vmx_check *c, enum vmcs_field f);
void check_efer(struct vmx_check *c, enum vmcs_field f, bool long_mode, bool paging);
/* CR0 and CR4 against VMX's fixed bits, without those in exempt. */
void check_cr0(struct vmx_check *c, enum vmcs_field f, uint64_t exempt);
void check_cr4(struct vmx_check *c, enum vmcs_field f, enum vmcs_field cr0);

/* The parts, in the processor's order. */
void check_execution_controls(struct vmx_check *c);
void check_exit_controls(struct vmx_check *c);
void check_entry_controls(struct vmx_check *c);
void check_host_state(struct vmx_check *c);
void check_guest_state(struct vmx_check *c);
void check_guest_segments(struct vmx_check *c);
