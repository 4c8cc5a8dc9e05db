/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* The real local APIC, xAPIC or x2APIC as the firmware left it. Vectors of the hypervisor's own interrupts: */
enum { VECTOR_FIRST = 0xf0, VECTOR_TIMER = 0xf0, VECTOR_KICK = 0xf1, VECTOR_POST = 0xf2, VECTOR_SPURIOUS = 0xff };

/* Its registers' page, to be mapped MAP_DEVICE before the first world_run; 0 in x2APIC mode. Boot processor. */
uint64_t apic_mmio_base(void);

/* On each processor in our world (world_run does it): software-enabled, what the firmware used masked, timer ready. */
void apic_init_cpu(void);
uint32_t apic_id(void);
void apic_eoi(void);
/* Fixed interrupt to one processor. Interrupts off; not in NMI context. */
void apic_ipi(uint32_t apic_id, uint8_t vector);
/* NMI to one processor, also this one. As apic_ipi. */
void apic_nmi(uint32_t apic_id);
/* NMI to all other processors (panic). */
void apic_nmi_others(void);
/*
 * One interrupt VECTOR_TIMER when the TSC reaches the deadline (TSC-deadline mode where present, else one-shot, never
 * early by more than one count, save that what lies farther ahead than its counter reaches comes when that runs out:
 * the handler looks at the TSC and arms it again). Replaces the one before. UINT64_MAX: none.
 */
void apic_timer_arm(uint64_t tsc);
/* True if vector is in service here (it came through the local APIC, not ExtINT). */
bool apic_in_service(uint8_t vector);

/*
 * INIT, and the start-up IPI (which starts at physical address page * 4 KiB), to one processor or to APIC_OTHERS: all
 * but this one. Boot processor, either world, interrupts off; after apic_mmio_base.
 */
#define APIC_OTHERS UINT32_MAX
void apic_init_signal(uint32_t apic_id);
void apic_startup_signal(uint32_t apic_id, uint8_t page);

/*
 * TSC frequency in kHz, measured once in the firmware's world against the 8254's channel 2 (or from CPUID 15H and 16H
 * if that does not run). 0: could not be found. Takes about 60 ms.
 */
uint64_t tsc_calibrate(void);
uint64_t tsc_khz(void);
/* Once, on the boot processor in the firmware's world, after tsc_calibrate: for timers without TSC deadline. */
void apic_calibrate(void);
