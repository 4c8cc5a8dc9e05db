/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "efi/firmware.h"

/*
 * The two ways to the other processors, of which efi/processors.c takes one: the firmware's MP services (efi/mp.c), or
 * INIT and SIPI (efi/sipi.c). find fills in cpus, apic_id and, where there are others, start_cpus; it returns how many
 * processors the machine has. all_back is true when no other processor is in our program; else it stalls a moment.
 */
#define PROCESSORS_STEP_US 100u

unsigned services_find(struct boot_info *boot);
bool services_all_back(void);

unsigned sipi_find(struct boot_info *boot);
bool sipi_all_back(void);
/* Gives its memory back. All are back. */
void sipi_end(void);
