/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

struct vcpu;

enum cpuid_register { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };
struct cpuid_result { uint32_t r[4]; };

/* Answers given, by a hash of leaf and subleaf: programs ask the same dozens again each time they start. */
#define CPUID_ANSWERS 64u
struct cpuid_answer {
    uint32_t not_leaf;         /* ~leaf: an empty one says of leaf 0xffffffff what is true, that it gives nothing */
    uint32_t subleaf;
    uint32_t subleaves;        /* the leaf looks at ECX */
    struct cpuid_result result;
};

/* Which vCPU asks, and the state some bits depend on. */
struct cpuid_context { unsigned vcpu, vcpus; uint64_t xcr0; bool apic_off; };

/* What a guest sees: the machine's answer through the policy table. */
struct cpuid_result cpuid_guest(uint32_t leaf, uint32_t subleaf, const struct cpuid_context *context);
/* Does a guest see this feature bit (leaf, subleaf 0)? */
bool cpuid_feature(uint32_t leaf, enum cpuid_register reg, unsigned bit);

/* Bits of a physical address, as a guest sees it. */
unsigned cpuid_physical_width(void);

/* What the answers depend on has changed: XCR0, the APIC base, all of the state. */
void cpuid_forget(struct vcpu *v);

void exit_cpuid(struct vcpu *v);
