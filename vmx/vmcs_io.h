/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/log.h"
#include "vmx/vmcs.h"

/*
 * Access to the current VMCS of this processor. It must have been made current (VMPTRLD); a field that this
 * processor lacks, like no current VMCS, is a bug of ours: panic.
 */
static inline uint64_t vmread(enum vmcs_field f)
{
    uint64_t value;
    bool failed;

    __asm__ volatile("vmread %2, %1" : "=@ccbe"(failed), "=rm"(value) : "r"((uint64_t)f));
    if (__builtin_expect(failed, 0))
        panic("vmread of field 0x%x failed", (unsigned)f);
    return value;
}

/*
 * The same for the short way of an exit: fields that every processor with VMX has, in the VMCS that was current a moment
 * ago. They cannot fail.
 */
static inline uint64_t vmread_sure(enum vmcs_field f)
{
    uint64_t value;

    __asm__ volatile("vmread %1, %0" : "=r"(value) : "r"((uint64_t)f) : "cc");
    return value;
}

static inline void vmwrite_sure(enum vmcs_field f, uint64_t v)
{
    __asm__ volatile("vmwrite %0, %1" : : "r"(v), "r"((uint64_t)f) : "cc");
}

static inline void vmwrite(enum vmcs_field f, uint64_t v)
{
    bool failed;

    __asm__ volatile("vmwrite %1, %2" : "=@ccbe"(failed) : "rm"(v), "r"((uint64_t)f));
    if (__builtin_expect(failed, 0))
        panic("vmwrite of field 0x%x failed", (unsigned)f);
}
