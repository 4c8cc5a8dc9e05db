/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vmx/steal.h"
#include "arch/x86/apic.h"
#include "lib/errno.h"

#define STEAL_RESERVED 0x3eull                 /* a multiple of 64, so it lies in one page */
#define NS_PER_MS      1000000ull

struct steal_time {
    uint64_t ns;
    uint32_t version, flags;
    uint8_t preempted, pad[3];
    uint32_t pad2[11];
};
_Static_assert(sizeof(struct steal_time) == 64, "KVM ABI");

#define USED offsetof(struct steal_time, pad)

static struct gpa field(const struct vcpu *v, size_t offset)
{
    return GPA((v->steal.msr & ~(uint64_t)STEAL_ENABLE) + offset);
}

static void put_version(struct vcpu *v)
{
    (void)pmap_write(v->pmap, field(v, offsetof(struct steal_time, version)), &v->steal.version, sizeof(uint32_t));
}

static void publish(struct vcpu *v)
{
    struct steal_time t = { .ns = muldiv64(v->steal.stolen, NS_PER_MS, tsc_khz()) };

    t.version = ++v->steal.version;            /* odd: being written; it stands there before the rest changes */
    put_version(v);
    (void)pmap_write(v->pmap, field(v, 0), &t, USED);
    v->steal.version++;
    put_version(v);
}

int steal_write(struct vcpu *v, uint64_t value)
{
    if (value & STEAL_ENABLE &&
        (value & STEAL_RESERVED ||
         !pmap_is_ram(v->pmap, GPA(value & ~(uint64_t)STEAL_ENABLE), sizeof(struct steal_time))))
        return -EINVAL;
    v->steal.msr = value;
    if (value & STEAL_ENABLE)
        publish(v);
    return 0;
}

void steal_publish(struct vcpu *v, uint64_t more)
{
    v->steal.stolen += more;
    publish(v);
}

void steal_publish_preempted(struct vcpu *v)
{
    static const uint8_t preempted = 1;

    (void)pmap_write(v->pmap, field(v, offsetof(struct steal_time, preempted)), &preempted, sizeof(preempted));
}
