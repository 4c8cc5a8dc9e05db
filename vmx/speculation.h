/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "arch/x86/features.h"
#include "lib/types.h"

/*
 * What keeps a guest from learning, or steering, by speculation what is not its own: chosen once from CPUID and
 * IA32_ARCH_CAPABILITIES, as Intel's guidance has it ("Speculative Execution Side Channel Mitigations", 336996, and
 * its successors). Where nothing is to be done at exits and entries they go the plain way of vmx/entry.asm, else the
 * guarded one, which does what exit and entry say. Guests do not have IA32_SPEC_CTRL.
 */
enum {
    GUARD_SPEC_CTRL = 1,       /* exit, entry: another IA32_SPEC_CTRL here than in guests */
    GUARD_RSB_FILL  = 2,       /* exit: no return goes where the guest's calls were */
    GUARD_RSB_ONE   = 4,       /* exit: one call, after which the first return cannot (post-barrier RSB) */
    GUARD_BRANCHES  = 8,       /* exit: the history of branches is overwritten */
    GUARD_BUFFERS   = 16,      /* entry: VERW empties buffers of loads, stores and fills */
    GUARD_L1D       = 32,      /* entry, not on the short way: IA32_FLUSH_CMD empties the L1 data cache */
};

struct speculation {
    uint64_t host, guest;      /* IA32_SPEC_CTRL in our world and in guests; in this order, vmx/entry.asm reads them */
    uint32_t exit, entry;
    uint16_t data_segment;     /* VERW wants a writable one */
    bool spec_ctrl;            /* IA32_SPEC_CTRL exists */
    bool barrier;              /* IA32_PRED_CMD exists: IBPB when another VM's vCPU comes */
};

extern struct speculation speculation;

_Static_assert(offsetof(struct speculation, guest) == 8 && offsetof(struct speculation, exit) == 16 &&
               offsetof(struct speculation, entry) == 20 && offsetof(struct speculation, data_segment) == 24,
               "vmx/guards.inc");

/* Once, before the first vCPU. */
void speculation_init(void);
/* Each pCPU, in our world: the value of IA32_SPEC_CTRL that stays. */
void speculation_cpu_start(void);
/* A vCPU of this VM is loaded here: IBPB if the last one was another's. */
void speculation_switch(const void *vm);

static inline bool speculation_guards(void) { return speculation.exit | speculation.entry; }

/* Rows for the hardware table, at most max; after speculation_init. */
size_t speculation_features(struct hw_feature *out, size_t max);
