/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* The local APIC as the firmware had it (arch/x86/world.c). */
#define APIC_LVTS 7

struct apic_state {
    bool enabled; /* IA32_APIC_BASE.EN; nothing else is kept when it is clear */
    uint32_t svr, tpr, divide, initial_count, current_count;
    uint32_t lvt[APIC_LVTS];
    uint64_t tsc_deadline;
};

/* Is this IA32_APIC_BASE of the mode and address that the boot processor has (apic_mmio_base found it)? */
bool apic_same_mode(uint64_t apic_base);

void apic_save(struct apic_state *s);
/* As it was, and no interrupt of ours left in service. Interrupts off. */
void apic_restore(const struct apic_state *s);
/* Silences our own interrupts before leaving: the timer stopped, nothing of ours pending or in service. */
void apic_quiesce(void);
