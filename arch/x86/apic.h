/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* The real local APIC, xAPIC or x2APIC as the firmware left it. Vectors of the hypervisor's own interrupts: */
enum { VECTOR_TIMER = 0xf0, VECTOR_KICK = 0xf1, VECTOR_SPURIOUS = 0xff };

/* On each processor, in our world: software-enables it, masks what the firmware used, timer ready. */
void apic_init_cpu(void);
uint32_t apic_id(void);
void apic_eoi(void);
/* Fixed interrupt to one processor. Any context. */
void apic_ipi(uint32_t apic_id, uint8_t vector);
/* NMI to all other processors (panic). */
void apic_nmi_others(void);
/* One interrupt VECTOR_TIMER when the TSC reaches deadline (TSC-deadline mode where present, else one-shot, never early by more than one count); replaces the one before. UINT64_MAX: none. */
void apic_timer_arm(uint64_t tsc);
/* True if vector is in service here (it came through the local APIC, not ExtINT). */
bool apic_in_service(uint8_t vector);

/* INIT-SIPI-SIPI for firmware without MP services is in arch/x86/smp.h when written. */

/* TSC frequency in kHz, measured once in the firmware's world against the 8254's channel 2 (or CPUID 15H if that is absent). */
uint64_t tsc_calibrate(void);
uint64_t tsc_khz(void);
/* Once, on the boot processor in the firmware's world, after tsc_calibrate: measures the timer where there is no TSC deadline. */
void apic_calibrate(void);
