/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

struct vcpu;

/*
 * APICv (SDM vol. 3, chapter 30): the processor works on the local APIC's page and delivers its interrupts, so that
 * EOI, task priority, self-IPI and most reads cost no exit. Used where the processor has all of it and the
 * configuration does not say no (vmx_caps.apicv); else events are injected in software (vmx/event.c).
 */
struct apicv_state {
    bool posted;                        /* only this has happened: the vector `requested` has come into IRR */
    bool several;                       /* vectors are in IRR */
    uint8_t requested, in_service;      /* highest vector in IRR that may be delivered, and in ISR; 0: none */
    bool x2apic;
    bool extint;                        /* an interrupt of the 8259s waits: software still injects these */
    uint64_t eoi_exit[4];               /* level-triggered vectors: their EOI exits */
};

/* Once, after msr_bitmap_init: what all VMs share. -ENOMEM. Does nothing without APICv. */
int apicv_init(void);
/* The page to be mapped where the guests' local APICs lie, while all of a VM are in xAPIC mode there. */
struct hpa apicv_access_page(void);
/* The VMCS's fields as at the start. The VMCS is current. */
void apicv_reset(struct vcpu *v);
/* What an entry has to see to. */
enum {
    DUE_INJECTION = 1,                  /* an interrupt that software injects, or has to wait with */
    DUE_WINDOW = 4,                     /* the exit when the guest can take one, no more: PROC_INTERRUPT_WINDOW */
};
/* Before an entry: tells the processor what is new, and returns DUE_... */
unsigned apicv_due(struct vcpu *v);
