/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vmx/vcpu.h"

/* KVM's report of stolen time (Linux: Documentation/virt/kvm/x86/msr.rst): a page of each vCPU that we keep up to date. */
#define MSR_STEAL_TIME  0x4b564d03u
#define STEAL_FEATURE   (1u << 5)

/* -EINVAL: #GP. */
int steal_write(struct vcpu *v, uint64_t value);
/* The vCPU has a pCPU again, for which it has waited this many ticks in all; or another's turn came. No lock is held. */
void steal_resumed(struct vcpu *v, uint64_t waited);
void steal_preempted(struct vcpu *v);
