/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/errno.h"
#include "lib/string.h"
#include "numa/commons.h"
#include "numa/pmap_parts.h"
#include "numa/reclaim.h"

/* Pages and bytes that go from one VM to another. */

/* The entry of a page that can be shared, or NULL. Lock held. */
static uint64_t *find_entry(struct pmap *pmap, struct gpa gpa)
{
    uint64_t *chunk, *e;

    if (gpa.v % PAGE_SIZE || !pmap_has(pmap, gpa))
        return NULL;
    chunk = pmap_chunk(pmap, gpa);
    if (!*chunk || ((*chunk & P_LARGE) && pmap_split(pmap, chunk)))
        return NULL;
    e = pmap_entry(*chunk, gpa);
    return (*e & P_PRESENT) && !(*e & P_REPLICAS) ? e : NULL;
}

/* Whose key it is nobody else's business: it is found by who has it, not by what it holds. */
static uint32_t key_of(struct hpa page) { return (uint32_t)(page.v * 0x9e3779b97f4a7c15 >> 32) | 1; }

/* Nobody reaches these pages any more, until the next fault there. Those that are shared nobody writes. Lock held. */
static void detach_own(struct pmap *pmap, const struct gpa *gpa, uint64_t *const *e, unsigned n)
{
    for (unsigned k = 0; k < pmap->nodes; k++) {
        struct ept *ept = &pmap->ept[k];
        uint64_t before = ept->generation;

        for (unsigned i = 0; i < n; i++)
            if (!(*e[i] & P_SHARED))
                pmap_unmap(ept, gpa[i]);
        if (ept->generation != before)
            ept_flush(ept);
    }
}

/* Into the commons, if it is not there yet. Lock held. */
static struct hpa hold(struct pmap *pmap, uint64_t *e)
{
    struct hpa page = HPA(*e & P_ADDR);

    if (!(*e & P_SHARED)) {
        commons_add(page, COMMONS_FILES, key_of(page));
        *e |= P_SHARED;
        ++*pmap_shared_like(pmap, page_of(page));
    }
    commons_hold(page);
    return page;
}

unsigned pmap_share_pages(struct pmap *pmap, const struct gpa *gpa, unsigned n, struct hpa *page)
{
    uint64_t *e[PMAP_PLACE_MOST];
    unsigned found = 0;

    spin_lock(&pmap->lock);
    while (found < MIN(n, PMAP_PLACE_MOST) && (e[found] = find_entry(pmap, gpa[found])))
        found++;
    detach_own(pmap, gpa, e, found);
    for (unsigned i = 0; i < found; i++)
        page[i] = hold(pmap, e[i]);
    spin_unlock(&pmap->lock);
    return found;
}

/* Nobody else takes two pmaps' locks, and here all do in the same order. */
static void lock_both(struct pmap *a, struct pmap *b)
{
    spin_lock(a < b ? &a->lock : &b->lock);
    if (a != b)
        spin_lock(a < b ? &b->lock : &a->lock);
}

static void unlock_both(struct pmap *a, struct pmap *b)
{
    spin_unlock(&a->lock);
    if (a != b)
        spin_unlock(&b->lock);
}

/* What is left to do. */
struct rest { struct pmap *to, *from; struct gpa to_at, from_at; size_t n; };

void pmap_show_own(struct pmap *pmap, struct gpa gpa)
{
    uint64_t chunk = *pmap_chunk(pmap, gpa), e, *slot;

    if (pmap->nodes > 1 || (chunk & P_LARGE) || gpa.v >= pmap->windows_at)
        return;
    e = *pmap_entry(chunk, gpa);
    slot = (e & (P_SHARED | P_REPLICAS)) ? NULL : ept_find_empty(pmap->ept, GPA(ALIGN_DOWN(gpa.v, PAGE_SIZE)));
    if (slot)
        ept_fill(slot, HPA(e & P_ADDR), EPT_RWX);
}

/* Inside one page of each; zeros that nobody has touched stay so. Locks held. */
static int copy_part(const struct rest *r, size_t n)
{
    const char *from = pmap_machine(r->from, r->from_at);
    char *to = pmap_own_machine(r->to, r->to_at);
    int err;

    if (!to && (from || pmap_machine(r->to, r->to_at))) {
        err = pmap_own(r->to, r->to_at, r->to->home);
        if (err)
            return err;
        pmap_show_own(r->to, r->to_at);
        to = pmap_machine(r->to, r->to_at);
        from = pmap_machine(r->from, r->from_at); /* of the same VM it may be another one now */
    }
    if (to && from)
        memmove(to, from, n);
    else if (to)
        memset(to, 0, n);
    return 0;
}

static int copy_rest(struct rest *r)
{
    int err = pmap_fetch(r->from, r->from_at, r->n);

    if (!err)
        err = pmap_fetch(r->to, r->to_at, r->n);
    lock_both(r->to, r->from);
    while (r->n && !err) {
        size_t step = PAGE_SIZE - MAX(r->to_at.v % PAGE_SIZE, r->from_at.v % PAGE_SIZE);

        step = MIN(r->n, step);
        err = copy_part(r, step);
        if (err)
            break;
        r->to_at.v += step;
        r->from_at.v += step;
        r->n -= step;
    }
    unlock_both(r->to, r->from);
    return err;
}

int pmap_copy(struct pmap *to, struct gpa to_at, struct pmap *from, struct gpa from_at, size_t n)
{
    struct rest rest = { to, from, to_at, from_at, n };
    unsigned tries = 0;
    int err;

    if (!pmap_is_ram(to, to_at, n) || !pmap_is_ram(from, from_at, n))
        return -EFAULT;
    do {
        err = copy_rest(&rest);
    } while (err == -ENOMEM && reclaim_again(&tries));
    return err;
}
