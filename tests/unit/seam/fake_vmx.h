/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* What was asked of the VMX instructions of vmx/vmx.h: counts, and the last operands. */
struct fake_vmx {
    unsigned clears, loads, invepts, invvpids;
    struct hpa current;
    uint64_t eptp;
    uint16_t vpid;
};

extern struct fake_vmx fake_vmx;
