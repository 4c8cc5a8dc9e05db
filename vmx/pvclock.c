/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vmx/pvclock.h"
#include "arch/x86/apic.h"
#include "lib/errno.h"
#include "vmx/vmcs_io.h"

#define PVCLOCK_ENABLE  BIT(0)
#define PVCLOCK_STABLE  1u
#define NS_PER_MS       1000000ull
#define NS_PER_S        1000000000ull

struct time_info {
    uint32_t version, pad;
    uint64_t tsc, system_ns;
    uint32_t mul;
    int8_t shift;
    uint8_t flags, pad2[2];
};
_Static_assert(sizeof(struct time_info) == 32, "KVM ABI");

struct wall_clock { uint32_t version, sec, nsec; };

struct pvclock_scale pvclock_scale(uint64_t khz)
{
    struct pvclock_scale s = { 0 };

    /* mul = 2^32 * 10^6 / khz must fit 32 bits and keep its precision: bring khz into (10^6, 2 * 10^6]. */
    while (khz > 2 * NS_PER_MS) {
        khz >>= 1;
        s.shift--;
    }
    while (khz <= NS_PER_MS) {
        khz <<= 1;
        s.shift++;
    }
    s.mul = (uint32_t)muldiv64(BIT(32), NS_PER_MS, khz);
    return s;
}

static int write_wall(struct vcpu *v, struct gpa at)
{
    uint64_t ns = v->ops->wallclock(v);
    struct wall_clock w = { 2, (uint32_t)(ns / NS_PER_S), (uint32_t)(ns % NS_PER_S) };

    if (pmap_write(v->pmap, at, &w, sizeof(w)))
        return -EINVAL;
    v->clock.wall_msr = at.v;
    return 0;
}

void pvclock_update(struct vcpu *v)
{
    struct pvclock_scale s = pvclock_scale(tsc_khz());
    struct time_info t = { .mul = s.mul, .shift = s.shift, .flags = PVCLOCK_STABLE };
    struct gpa at = GPA(v->clock.msr & ~PVCLOCK_ENABLE);

    if (!(v->clock.msr & PVCLOCK_ENABLE))
        return;
    /* All vCPUs share the VM's tick 0 = 0 ns, so their clocks agree: that is what the stable flag promises. */
    t.tsc = v->tsc_adjust;
    t.version = ++v->clock.version; /* odd: being written */
    (void)pmap_write(v->pmap, at, &t, sizeof(t));
    t.version = ++v->clock.version;
    (void)pmap_write(v->pmap, at, &t.version, sizeof(t.version));
}

int pvclock_write(struct vcpu *v, uint32_t msr, uint64_t value)
{
    if (msr == MSR_PVCLOCK_WALL)
        return write_wall(v, GPA(value));
    if ((value & PVCLOCK_ENABLE) && (value & 2))
        return -EINVAL;
    if ((value & PVCLOCK_ENABLE) && !pmap_is_ram(v->pmap, GPA(value & ~PVCLOCK_ENABLE), sizeof(struct time_info)))
        return -EINVAL;
    v->clock.msr = value;
    pvclock_update(v);
    return 0;
}
