/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * The machine's I/O APICs. A level-triggered line that the firmware left unmasked would come again and again in our
 * world, where nobody serves its device; so all are masked there. Boot processor only.
 */
#define IOAPICS_MAX 16

/*
 * Once, in the firmware's world: keeps those of the n addresses (ACPI's MADT has them) at which an I/O APIC answers;
 * with n = 0 the architectural address is tried. Returns how many.
 */
unsigned ioapic_find(const uint64_t *base, unsigned n);
/* The page with the registers of number i, to be mapped MAP_DEVICE. */
uint64_t ioapic_page(unsigned i);

/* In our world: masks every line; and unmasks again those that were unmasked. Nothing else is changed. */
void ioapic_mask_all(void);
void ioapic_unmask(void);
