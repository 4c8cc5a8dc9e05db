/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vmx/watch.h"
#include "arch/x86/cpu.h"

/* DR7, for breakpoint n (SDM vol. 3, 18.2.4). */
#define DR7_ENABLED(dr7, n) ((dr7) >> 2 * (n) & 3)
#define DR7_RW(dr7, n)      ((dr7) >> (16 + 4 * (n)) & 3)
#define DR7_LEN(dr7, n)     ((dr7) >> (18 + 4 * (n)) & 3)
enum { RW_EXECUTE, RW_WRITE, RW_PORT, RW_ACCESS };

#define PENDING_ENABLED BIT(12)        /* of the pending debug exceptions: one that is enabled was met */
#define PENDING_BS      BIT(14)

/* Do size bytes at an address touch the breakpoint's own, which are aligned to their length? */
static bool touches(unsigned n, unsigned length, uint64_t at, unsigned size)
{
    const uint64_t dr[] = { read_dr0(), read_dr1(), read_dr2(), read_dr3() };
    uint64_t first = dr[n] & ~(uint64_t)(length - 1);

    return at - first < length || first - at < size;
}

/* kinds: bit k is set if breakpoints of that R/W value count. */
static unsigned met(uint64_t at, unsigned size, unsigned kinds)
{
    static const uint8_t lengths[] = { 1, 2, 8, 4 };
    uint64_t dr7 = vmread(VMCS_GUEST_DR7);
    unsigned hits = 0;

    for (unsigned n = 0; n < 4; n++)
        if (DR7_ENABLED(dr7, n) && kinds >> DR7_RW(dr7, n) & 1 && touches(n, lengths[DR7_LEN(dr7, n)], at, size))
            hits |= 1u << n;
    return hits;
}

unsigned watch_port(uint16_t port, unsigned size)
{
    return vmread(VMCS_GUEST_CR4) & CR4_DE ? met(port, size, 1u << RW_PORT) : 0;
}

unsigned watch_data(uint64_t linear, unsigned size, bool write)
{
    return met(linear, size, write ? 1u << RW_WRITE | 1u << RW_ACCESS : 1u << RW_ACCESS);
}

static void pend(uint64_t traps)
{
    vmwrite(VMCS_GUEST_PENDING_DEBUG, vmread(VMCS_GUEST_PENDING_DEBUG) | traps);
}

void watch_trap(unsigned met)
{
    if (met)
        pend(met | PENDING_ENABLED);
}

/* RF keeps a breakpoint on the instruction itself from stopping what is left of it (SDM vol. 3, 18.3.1.1). */
void watch_iteration(unsigned met)
{
    uint64_t rflags = vmread(VMCS_GUEST_RFLAGS), blocking = vmread(VMCS_GUEST_INTERRUPTIBILITY);
    bool step = (rflags & RFLAGS_TF) && !(vmread(VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF);

    if (!met && !step)
        return;
    watch_trap(met);
    if (step)
        pend(PENDING_BS);
    vmwrite(VMCS_GUEST_RFLAGS, rflags | RFLAGS_RF);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, blocking & ~(uint64_t)(BLOCKING_STI | BLOCKING_MOV_SS));
}
