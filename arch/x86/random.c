/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdatomic.h>

#include "arch/x86/cpu.h"
#include "arch/x86/random.h"

enum { CPUID_1_ECX_RDRAND = 1 << 30, TRIES = 10 };

static bool draw(uint64_t *value)
{
    uint32_t a, b, c, d;

    cpuid(1, 0, &a, &b, &c, &d);
    for (unsigned i = 0; c & CPUID_1_ECX_RDRAND && i < TRIES; i++)
        if (rdrand(value))
            return true;
    return false;
}

/* One to one, and each bit in changes half of those out (the last step of MurmurHash3). */
static uint64_t mix(uint64_t v)
{
    v = (v ^ v >> 33) * 0xff51afd7ed558ccd;
    v = (v ^ v >> 33) * 0xc4ceb9fe1a85ec53;
    return v ^ v >> 33;
}

static _Atomic uint64_t pool;  /* changes with every number */

uint64_t random_number(void)
{
    uint64_t drawn = 0, old = atomic_load(&pool), now = rdtsc(), next;

    (void)draw(&drawn);
    do
        next = mix(old + now + 0x9e3779b97f4a7c15); /* 0 would stay 0 */
    while (!atomic_compare_exchange_weak(&pool, &old, next));
    return mix(next ^ drawn);
}
