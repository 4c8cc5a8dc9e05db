/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "include/mirrorball/segment.h"
#include "hypercalls/calls.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "numa/segment.h"

_Static_assert(sizeof(struct mb_segment) == 64, "part of the ABI");
_Static_assert(MB_SEGMENT_MAX == PMAP_SEGMENTS && MB_SEGMENT_NAME == SEGMENT_NAME_MAX, "as the ABI says");

int64_t call_segment_info(struct vcpu *v)
{
    const struct pmap_segment *s = v->pmap->segment + v->regs.rdi;
    struct mb_segment info = { 0 };

    if (v->regs.rdi >= v->pmap->segments)
        return -ENODEV;
    if (v->regs.rsi % sizeof(info))
        return -EINVAL;
    info.gpa = s->base;
    info.bytes = s->size;
    info.flags = s->write ? 0 : MB_SEGMENT_READONLY;
    memcpy(info.name, segment_name(s->segment), strlen(segment_name(s->segment)));
    return pmap_write(v->pmap, GPA(v->regs.rsi), &info, sizeof(info));
}

int64_t call_segment_ring(struct vcpu *v)
{
    if (v->regs.rdi >= v->pmap->segments)
        return -ENODEV;
    v->ops->ring(v, v->pmap->segment[v->regs.rdi].segment);
    return 0;
}

int64_t call_segment_rung(struct vcpu *v)
{
    return (int64_t)v->ops->rung(v);
}
