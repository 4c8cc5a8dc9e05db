/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* Machine checks (SDM vol. 3B, chapter 16): the processor's and the memory's own errors. */
#define MCE_BANKS_MAX 32

/* The firmware's IA32_MCi_CTL while our world runs. */
struct mce_state {
    uint64_t ctl[MCE_BANKS_MAX];
};

/* In our world, on each processor: all kinds of errors are reported; and as the firmware had it. */
void mce_enter(struct mce_state *s);
void mce_leave(const struct mce_state *s);

/* What a machine check means, in ascending order of harm. */
enum mce_verdict {
    MCE_GOES_ON, /* corrected, or not consumed by anybody: what was interrupted goes on */
    MCE_LOST,    /* what was interrupted cannot go on: a guest is stopped, the hypervisor panics */
    MCE_FATAL,   /* the processor's context is corrupt: nothing here can be trusted any more */
};

/* Reads this processor's banks, keeps what they say for mce_report, and clears them unless fatal. Any context. */
enum mce_verdict mce_handle(void);

/* Logs what mce_handle has kept since the last call. One processor at a time; not from NMI or #MC context. */
void mce_report(void);
