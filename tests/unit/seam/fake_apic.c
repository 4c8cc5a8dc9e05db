/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/unit/seam/fake_apic.h"

#include "arch/x86/apic.h"

struct fake_apic fake_apic = { .khz = 1000000 };

void apic_eoi(void) { fake_apic.eois++; }
bool apic_in_service(uint8_t vector) { return fake_apic.in_service == vector; }
uint64_t tsc_khz(void) { return fake_apic.khz; }

void apic_ipi(uint32_t apic_id, uint8_t vector)
{
    fake_apic.ipis++;
    fake_apic.ipi_to = apic_id;
    fake_apic.ipi_vector = vector;
}

void apic_nmi(uint32_t apic_id)
{
    fake_apic.nmis++;
    fake_apic.nmi_to = apic_id;
}

void apic_timer_arm(uint64_t tsc)
{
    fake_apic.arms++;
    fake_apic.deadline = tsc;
}
