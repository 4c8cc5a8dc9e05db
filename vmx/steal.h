/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vmx/vcpu.h"

/* KVM's report of stolen time (Linux: Documentation/virt/kvm/x86/msr.rst): a page of each vCPU, kept up to date. */
#define MSR_STEAL_TIME  0x4b564d03u
#define STEAL_FEATURE   (1u << 5)
#define STEAL_ENABLE    1u

/* -EINVAL: #GP. */
int steal_write(struct vcpu *v, uint64_t value);
/* The vCPU has a pCPU again, for which it has waited so many ticks in all; or another's turn came. No lock is held. */
static inline void steal_resumed(struct vcpu *v, uint64_t waited);
static inline void steal_preempted(struct vcpu *v);

/* Their parts for those who have asked for it. */
void steal_publish(struct vcpu *v, uint64_t more);
void steal_publish_preempted(struct vcpu *v);

static inline void steal_resumed(struct vcpu *v, uint64_t waited)
{
    uint64_t more = waited - v->steal.waited;

    v->steal.waited = waited;
    if (v->steal.msr & STEAL_ENABLE)
        steal_publish(v, more);
}

static inline void steal_preempted(struct vcpu *v)
{
    if (v->steal.msr & STEAL_ENABLE)
        steal_publish_preempted(v);
}
