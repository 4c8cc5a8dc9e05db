/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * The other processors by INIT and SIPI, for firmware without MP services. All functions run on the boot processor in
 * the firmware's world, in which memory is identity-mapped. Whatever the firmware made the processors wait in is lost
 * with the first INIT; whenever none of these functions and no fn runs, all wait for a SIPI.
 */
#define SMP_MAX        256
#define SMP_LOW_PAGES  2u      /* in a row, below 1 MiB */
#define SMP_STACK_SIZE 8192u   /* of each processor */

typedef void (*smp_stall)(unsigned us);

/* Lays out the low pages, which stay in use until the last smp_stop. stall waits at least so long. */
void smp_begin(uint64_t low, smp_stall stall);

/*
 * Who is there: wakes the processors with these n APIC ids (this one and ids that cannot be addressed are skipped), or,
 * with n = 0, all others, and lets them wait again. found (max entries) gets the ids of those that came, ascending.
 */
unsigned smp_find(const uint32_t *id, unsigned n, uint32_t *found, unsigned max);

/*
 * Starts fn(1) to fn(n) on the processors with APIC ids id[0] to id[n - 1], all found by smp_find, with interrupts off
 * and the firmware's page tables, GDT and IDT, and returns when all run. stacks: n * SMP_STACK_SIZE bytes. -EIO if one
 * does not come within 100 ms: then fn is called nowhere and all wait for a SIPI again.
 */
int smp_start(const uint32_t *id, unsigned n, void *stacks, void (*fn)(unsigned index));
/* Have all come back from fn? */
bool smp_finished(void);
/* Ends what smp_start began, once smp_finished says so: all wait for a SIPI again. */
void smp_stop(void);
