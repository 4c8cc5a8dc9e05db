/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * While the machine is about to run out of memory, guests with a balloon are asked for some of theirs, more each second,
 * and they get it back when there is enough again. To be called often; boot processor.
 */
void pressure_poll(uint64_t tsc, uint64_t tsc_khz);
