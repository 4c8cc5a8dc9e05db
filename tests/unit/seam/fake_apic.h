/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* The real local APIC and the rate of the TSC as the floors above see them: counts, last operands. */
struct fake_apic {
    uint64_t khz;
    unsigned eois, ipis, arms, nmis;
    int in_service;            /* this vector is, 0: none */
    uint32_t ipi_to, nmi_to;
    uint8_t ipi_vector;
    uint64_t deadline;
};

extern struct fake_apic fake_apic;
