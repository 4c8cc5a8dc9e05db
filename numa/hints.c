/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "numa/hints.h"
#include "numa/commons.h"
#include "numa/pmap_parts.h"

/* As numa/pmap_parts.h tells: detach, commit, let go. There is nothing to prepare. */

/* The counters no longer know this page. */
static void uncount(struct pmap *pmap, uint64_t entry)
{
    if (!entry)
        return;
    pmap->counts.touched--;
    if (entry & P_ZERO)
        pmap->counts.zeros--;
    else
        pmap->counts.returned++;
    if (entry & P_SHARED)
        --*pmap_shared_like(pmap, page_of(HPA(entry & P_ADDR)));
}

static void drop_entries(struct pmap *pmap, uint64_t *e, uint64_t pages)
{
    for (uint64_t i = 0; i < pages; i++) {
        uint64_t old = e[i];

        uncount(pmap, old);
        e[i] = 0;
        pmap_let_go(pmap, old);
    }
}

/* A whole chunk: it is as never touched, so that it can be a large page the next time. */
static void drop_chunk(struct pmap *pmap, uint64_t *chunk, struct gpa gpa)
{
    uint64_t old = *chunk;

    pmap_detach_chunk(pmap, gpa);
    *chunk = 0;
    if (old & P_LARGE) {
        pmap->counts.touched -= CHUNK_PAGES;
        pmap->counts.returned += CHUNK_PAGES;
        page_free(HPA(old & P_ADDR), PAGE_ORDER_2M);
        return;
    }
    drop_entries(pmap, (uint64_t *)(old & P_ADDR), CHUNK_PAGES);
    page_free(HPA(old & P_ADDR), PAGE_ORDER_4K);
    pmap->tables--;
}

/* Part of a chunk. Without memory for the table that a split needs, nothing is given back. */
static void drop_pages(struct pmap *pmap, uint64_t *chunk, struct gpa gpa, uint64_t pages)
{
    if (!*chunk || ((*chunk & P_LARGE) && pmap_split(pmap, chunk)))
        return;
    pmap_detach_pages(pmap, gpa, pages);
    drop_entries(pmap, pmap_entry(*chunk, gpa), pages);
}

/* Lock held. */
static void give_back(struct pmap *pmap, struct gpa gpa, uint64_t pages)
{
    while (pages) {
        uint64_t step = MIN(pages, (PAGE_SIZE_2M - gpa.v % PAGE_SIZE_2M) / PAGE_SIZE);
        uint64_t *chunk = pmap_chunk(pmap, gpa);

        if (step < CHUNK_PAGES)
            drop_pages(pmap, chunk, gpa, step);
        else if (*chunk)
            drop_chunk(pmap, chunk, gpa);
        gpa.v += step * PAGE_SIZE;
        pages -= step;
    }
}

void pmap_give_back(struct pmap *pmap, struct gpa gpa, uint64_t pages)
{
    spin_lock(&pmap->lock);
    give_back(pmap, gpa, pages);
    spin_unlock(&pmap->lock);
}

void pmap_renew(struct pmap *pmap, struct gpa gpa, uint64_t pages, unsigned node)
{
    spin_lock(&pmap->lock);
    give_back(pmap, gpa, pages);
    for (uint64_t i = 0; i < pages && !pmap_own(pmap, GPA(gpa.v + i * PAGE_SIZE), node); i++)
        ;
    spin_unlock(&pmap->lock);
}
