/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

/* What a higher floor adds to a dump (traps_set_dump_hook), if anything. */
void dump_more(void);
