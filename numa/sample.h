/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "numa/policy.h"

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
void sample_poll(uint64_t tsc, uint64_t tsc_khz);

/* Samples of all pages finished. */
uint64_t sample_rounds(void);
