/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "numa/hints.h"
#include "arch/x86/percpu.h"
#include "hypercalls/calls.h"
#include "include/mirrorball/hypercall.h"
#include "lib/errno.h"

/* One call ends after the range with which it has done so many pages: interrupts are off meanwhile. */
#define ENOUGH_PAGES 1024u

/* What may be wrong with a range. */
static int check(const struct pmap *pmap, const struct mirrorball_range *r)
{
    if (r->gpa % PAGE_SIZE || !r->count || r->count > MIRRORBALL_MAX_RANGE_PAGES)
        return -EINVAL;
    return pmap_is_ram(pmap, GPA(r->gpa), r->count * PAGE_SIZE) ? 0 : -EFAULT;
}

typedef void (*range_fn)(struct vcpu *v, const struct mirrorball_range *r);

static void free_range(struct vcpu *v, const struct mirrorball_range *r)
{
    pmap_give_back(v->pmap, GPA(r->gpa), r->count);
}

static void zero_range(struct vcpu *v, const struct mirrorball_range *r)
{
    pmap_renew(v->pmap, GPA(r->gpa), r->count, cpu_this()->node);
}

/* The ranges are ours once they are read: what holds them may be given back as well. */
static int64_t each_range(struct vcpu *v, range_fn fn)
{
    struct mirrorball_range range[MIRRORBALL_MAX_RANGES];
    uint64_t n = v->regs.rsi, done = 0, pages = 0;
    int err;

    if (!n || n > MIRRORBALL_MAX_RANGES)
        return -EINVAL;
    err = pmap_read(v->pmap, GPA(v->regs.rdi), range, n * sizeof(range[0]));
    if (!err)
        err = check(v->pmap, &range[0]);
    if (err)
        return err;
    while (done < n && pages < ENOUGH_PAGES && !check(v->pmap, &range[done])) {
        fn(v, &range[done]);
        pages += range[done++].count;
    }
    return (int64_t)done;
}

int64_t call_free_pages(struct vcpu *v) { return each_range(v, free_range); }
int64_t call_zero_pages(struct vcpu *v) { return each_range(v, zero_range); }

int64_t call_idle(struct vcpu *v)
{
    v->ops->idle(v);
    return 0;
}

int64_t call_balloon(struct vcpu *v)
{
    return (int64_t)v->ops->balloon(v, v->regs.rdi);
}
