/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * A number that nobody can foresee where the processor has RDRAND (SDM vol. 1, 7.3.17); where it has not, or it fails,
 * only as good as the time stamp counter. Who learns one learns nothing of those before and after. Any processor.
 */
uint64_t random_number(void);
