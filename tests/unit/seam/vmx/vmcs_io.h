/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vmx/vmcs.h"

/*
 * A VMCS of plain memory for tests on the host: the same two functions as vmx/vmcs_io.h, and a log of the writes.
 * Tests read and set fields directly (fake_vmcs.value[FIELD]) where a write should not be logged, and clear all with
 * fake_vmcs_reset.
 */
#define FAKE_VMCS_LOG 1024

struct fake_vmcs {
    uint64_t value[0x8000];                    /* by field encoding */
    bool was_read[0x8000];
    struct fake_vmcs_write {
        enum vmcs_field field;
        uint64_t value;
    } log[FAKE_VMCS_LOG];                      /* the first writes since the reset */
    size_t writes;                             /* all of them, logged or not */
};

/* Weak: each program has one copy, however many sources include this. */
__attribute__((weak)) struct fake_vmcs fake_vmcs;

static inline void fake_vmcs_reset(void) { fake_vmcs = (struct fake_vmcs){ .writes = 0 }; }

static inline uint64_t vmread(enum vmcs_field f)
{
    fake_vmcs.was_read[f & 0x7fff] = true;
    return fake_vmcs.value[f & 0x7fff];
}

/* As the processor does, keeps only as many bits as the field has. */
static inline void vmwrite(enum vmcs_field f, uint64_t v)
{
    uint64_t kept = vmcs_width(f) == VMCS_WIDTH_16 ? (uint16_t)v : vmcs_width(f) == VMCS_WIDTH_32 ? (uint32_t)v : v;

    fake_vmcs.value[f & 0x7fff] = kept;
    if (fake_vmcs.writes < FAKE_VMCS_LOG)
        fake_vmcs.log[fake_vmcs.writes] = (struct fake_vmcs_write){ f, kept };
    fake_vmcs.writes++;
}

static inline uint64_t vmread_sure(enum vmcs_field f) { return vmread(f); }
static inline void vmwrite_sure(enum vmcs_field f, uint64_t v) { vmwrite(f, v); }
