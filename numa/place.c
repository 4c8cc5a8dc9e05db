/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/errno.h"
#include "numa/commons.h"
#include "numa/pmap_parts.h"

/*
 * Pages of the commons take the places of what guest pages held, many at a time. One node's EPT maps each at once: the
 * old translation and the new one are both good until the flush, which is one for all; only then is the old page let
 * go, as pmap_parts.h has it.
 */

/* Maps it on this node, if there is memory for that, else a fault will; on the others it is not mapped any more. */
static void show_placed(struct pmap *pmap, const struct pmap_placed *p, unsigned node)
{
    struct ept_slot slot;

    for (unsigned n = 0; n < pmap->nodes; n++)
        if (n != node || ept_prepare(&pmap->ept[n], p->gpa, EPT_4K, &slot))
            pmap_unmap(&pmap->ept[n], p->gpa);
        else
            ept_commit(&pmap->ept[n], slot, pmap->nodes > 1 ? commons_on(p->page, n) : p->page, EPT_R | EPT_X);
}

/* A table for a chunk that was never touched, nor is any of it mapped as zeros in one piece any more. -ENOMEM. */
static int begin_chunk(struct pmap *pmap, uint64_t *chunk, struct gpa gpa)
{
    for (unsigned n = 0; n < pmap->nodes; n++)
        pmap_unmap(&pmap->ept[n], gpa);
    return pmap_make_table(pmap, chunk);
}

/* The chunk in which the last page was placed, for they come in a row as a rule; UINT64_MAX: none was. */
struct last { uint64_t number, entry; };

static bool find_chunk(struct pmap *pmap, struct gpa gpa, struct last *last)
{
    uint64_t *chunk = pmap_chunk(pmap, gpa);

    if ((*chunk & P_LARGE) ? pmap_split(pmap, chunk) : !*chunk && begin_chunk(pmap, chunk, gpa))
        return false;
    *last = (struct last){ gpa.v / PAGE_SIZE_2M, *chunk };
    return true;
}

/* *old: the entry that named what was there. */
static inline bool place_one(struct pmap *pmap, const struct pmap_placed *p, unsigned node, struct last *last,
                             uint64_t *old)
{
    uint64_t *e;

    if (p->gpa.v % PAGE_SIZE || !pmap_has(pmap, p->gpa))
        return false;
    if (p->gpa.v / PAGE_SIZE_2M != last->number && !find_chunk(pmap, p->gpa, last))
        return false;
    if (pmap->nodes > 1 || !ept_replace(pmap->ept, p->gpa, p->page, EPT_R | EPT_X))
        show_placed(pmap, p, node);
    e = pmap_entry(last->entry, p->gpa);
    *old = *e;
    *e = p->page.v | P_PRESENT | P_SHARED;
    return true;
}

unsigned pmap_place_pages(struct pmap *pmap, const struct pmap_placed *p, unsigned n, unsigned node)
{
    uint64_t before[NUMA_MAX_NODES], old[PMAP_PLACE_MOST];
    struct last last = { .number = UINT64_MAX };
    unsigned placed = 0;

    if (node >= pmap->nodes)
        node = 0;
    spin_lock(&pmap->lock);
    for (unsigned i = 0; i < pmap->nodes; i++)
        before[i] = pmap->ept[i].generation;
    while (placed < MIN(n, PMAP_PLACE_MOST) && place_one(pmap, &p[placed], node, &last, &old[placed]))
        placed++;
    for (unsigned i = 0; i < pmap->nodes; i++)
        if (pmap->ept[i].generation != before[i])
            ept_flush(&pmap->ept[i]);
    for (unsigned i = 0; i < placed; i++)
        pmap_replaced(pmap, p[i].page, old[i]);
    spin_unlock(&pmap->lock);
    return placed;
}
