/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * Sharing by content: goes round the pages of all VMs that are in a sharing domain, a few at a time, in idle time. A
 * page that has not changed since the round before is given back if it is zero or has an equal in its domain.
 */

/* Pages looked at in a second at most; 0: none. */
void scan_set_rate(unsigned pages_per_second);

/* Looks at a page, if the rate allows it now. False: nothing to do for now. Any processor, in idle time. */
bool scan_step(uint64_t tsc, uint64_t tsc_khz);

/* Rounds finished: what was equal two rounds ago is shared. */
uint64_t scan_rounds(void);
