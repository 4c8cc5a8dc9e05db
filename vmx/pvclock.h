/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vmx/vcpu.h"

/* KVM's paravirtual clock (Linux: Documentation/virt/kvm/x86/msr.rst, cpuid.rst): what stock kernels know. */
#define MSR_PVCLOCK_WALL    0x4b564d00u
#define MSR_PVCLOCK_SYSTEM  0x4b564d01u
#define PVCLOCK_FEATURES    (1u << 3 | 1u << 24)   /* CLOCKSOURCE2, CLOCKSOURCE_STABLE */

/* -EINVAL: #GP. */
int pvclock_write(struct vcpu *v, uint32_t msr, uint64_t value);
/* Again after the guest's TSC was moved. */
void pvclock_update(struct vcpu *v);

/* Multiplier and shift with ns = (ticks << shift) * mul >> 32 (shift negative: right); khz not 0. */
struct pvclock_scale { uint32_t mul; int8_t shift; };
struct pvclock_scale pvclock_scale(uint64_t khz);
