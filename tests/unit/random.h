/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <stdint.h>

/* The same numbers in every run. */
static uint64_t fake_seed = 88172645463325252ull;

static inline uint64_t fake_random(void)
{
    fake_seed ^= fake_seed << 13;
    fake_seed ^= fake_seed >> 7;
    fake_seed ^= fake_seed << 17;
    return fake_seed;
}

static inline unsigned fake_below(unsigned n)
{
    return (unsigned)(fake_random() >> 20) % n;
}
