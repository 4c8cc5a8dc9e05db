/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * NMIs of the machine, in our world and in guests: counted by their source and survived. nmi_handle runs in NMI
 * context; a source that port 61H knows (parity or SERR#, IOCHK#) is switched off there, and on again by nmi_report,
 * which logs what came since its last call (one processor at a time, not in NMI context).
 */
void nmi_handle(void);
void nmi_report(void);
