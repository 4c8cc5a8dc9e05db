/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/percpu.h"
#include "ept/ept.h"

/*
 * percpu->guest is the root of the EPT inside which the processor is, with a number that changes at each entry in its
 * low bits; 0 is outside. The one who enters stores that and then reads the generation; the one who flushes has changed
 * the generation and then reads that: at least one of them sees the other (both are sequentially consistent).
 */
bool ept_enter(struct ept *ept, uint64_t *seen)
{
    struct percpu *cpu = cpu_this();
    uint64_t now;

    atomic_store(&cpu->guest, ept->root.v | (++cpu->entries % PAGE_SIZE));
    now = atomic_load(&ept->generation);
    if (*seen == now)
        return false;
    *seen = now;
    return true;
}

void ept_leave(void)
{
    atomic_store_explicit(&cpu_this()->guest, 0, memory_order_release);
}

/* The interrupt ends the guest's run at once, whatever the guest does (external-interrupt exiting). */
static void send_out(struct percpu *cpu, const struct ept *ept)
{
    uint64_t inside = atomic_load(&cpu->guest);

    if (ALIGN_DOWN(inside, PAGE_SIZE) != ept->root.v)
        return;
    apic_ipi(cpu->apic_id, VECTOR_KICK);
    while (atomic_load(&cpu->guest) == inside)
        cpu_pause();
}

void ept_flush(struct ept *ept)
{
    for (unsigned i = 0; i < cpu_count(); i++)
        send_out(cpu_of(i), ept);
}

void ept_sample_again(struct ept *ept)
{
    ept->generation++;
    ept_flush(ept);
}
