/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * Sharing by content: goes round the pages of all VMs that are in a sharing domain, one at a time, in idle time. A
 * page that has not changed since the round before is given back if it is zero or has an equal in its domain. After a
 * round that gave hardly anything back comes a rest, of a second at first and of a minute at most.
 */

/* Pages looked at in a second at most; 0: none. */
void scan_set_rate(unsigned pages_per_second);

/*
 * Looks at a page, if the rate allows it now. The TSC at which it wants to be called again if this processor is idle
 * then: not later than tsc if there is more to do, UINT64_MAX: never. Any processor, in idle time; one page (some
 * thousand ticks) is the longest that it takes.
 */
uint64_t scan_step(uint64_t tsc, uint64_t tsc_khz);

/* There is a new VM: the rest is over. Any processor. */
void scan_wake(void);

struct scan_figures {
    uint64_t rounds;           /* finished: what was equal two rounds ago is shared */
    uint64_t looked;           /* pages */
    uint64_t changed;          /* of these, not the same as in the round before */
    uint64_t given;            /* of these, given back for zeros or an equal page */
    uint64_t last_looked, last_changed, last_given, last_ticks; /* in the round before this one */
    uint64_t rest;             /* ticks, after that round */
};
/* What scan_has_passed is to be told later: has the scanner looked at all pages since, twice, or does it never? */
uint64_t scan_now(void);
bool scan_has_passed(uint64_t since);

/* Any processor, about right. */
void scan_count(struct scan_figures *out);
