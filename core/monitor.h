/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

/* The monitor: the hypervisor's own command line. Boot processor only. */
#define MONITOR_PROMPT "mirrorball> "

void monitor_prompt(void);
void monitor_input(char c);
/* Every few milliseconds: what refreshes itself. */
void monitor_poll(void);
