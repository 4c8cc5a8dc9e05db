/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "numa/page.h"

#include <stdatomic.h>

/*
 * Takes the evidence for the policy from the accessed and dirty bits of each node's EPT, a few pages at a time, and
 * has done what the policy decides. Without those bits, or with one node, nothing happens at all.
 */

/* Once, before VMs run. access_bits: the EPTs have them. */
void sample_init(const struct policy_settings *set, bool access_bits);

/*
 * To be called often, at least every few milliseconds: does a bounded part of the sample if it is due. Any processor,
 * not inside of a guest, holding no lock.
 */
static inline void sample_poll(uint64_t tsc, uint64_t tsc_khz);

/* Its part for when it is due: TSC, UINT64_MAX if nothing is to happen at all. */
extern _Atomic uint64_t sample_due;
void sample_now(uint64_t tsc, uint64_t tsc_khz);

static inline void sample_poll(uint64_t tsc, uint64_t tsc_khz)
{
    if (tsc >= atomic_load_explicit(&sample_due, memory_order_relaxed))
        sample_now(tsc, tsc_khz);
}

/* Do several nodes use this page? The lock of its pmap is held. */
bool sample_apart(struct hpa page);

/* Samples of all pages finished. */
uint64_t sample_rounds(void);
