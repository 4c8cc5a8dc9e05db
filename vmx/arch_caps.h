/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * IA32_ARCH_CAPABILITIES as guests see it: which attacks the processor is immune to. A kernel that finds itself in a
 * guest and is not told takes the dear defences against all of them.
 */
uint64_t arch_capabilities(void);
