/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/string.h"
#include "tests/guests/rt/rt.h"

/* What the guest stands on, by CPUID. */

static uint32_t features(void)
{
    uint32_t a, b, c, d;

    cpuid(1, 0, &a, &b, &c, &d);
    return c;
}

bool on_hypervisor(void)
{
    return features() & BIT(31);
}

bool has_vmx(void)
{
    return features() & BIT(5);
}

bool on_tcg(void)
{
    uint32_t a, id[3];

    cpuid(0x40000000, 0, &a, &id[0], &id[1], &id[2]);
    return on_hypervisor() && !memcmp(id, "TCGTCGTCGTCG", sizeof(id));
}

bool on_intel(void)
{
    uint32_t a, b, c, d;

    cpuid(0, 0, &a, &b, &c, &d);
    return b == 0x756e6547 && d == 0x49656e69 && c == 0x6c65746e; /* GenuineIntel */
}
