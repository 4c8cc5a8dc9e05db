/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "numa/survey.h"
#include "numa/pmap_parts.h"

static enum survey_kind kind_of(uint64_t e)
{
    if (e & P_SHARED)
        return page_of(HPA(e & P_ADDR))->kind == PAGE_ORIGIN ? SURVEY_ORIGIN : SURVEY_CONTENT;
    if (e & P_ZERO)
        return SURVEY_ZERO;
    if (!(e & P_PRESENT))
        return SURVEY_UNTOUCHED;
    return e & P_REPLICAS ? SURVEY_REPLICAS : SURVEY_PRIVATE;
}

/* Lock held. */
static enum survey_kind kind_at(struct pmap *pmap, struct gpa gpa)
{
    uint64_t chunk = *pmap_chunk(pmap, gpa);

    if (!chunk)
        return SURVEY_UNTOUCHED;
    return chunk & P_LARGE ? SURVEY_LARGE : kind_of(*pmap_entry(chunk, gpa));
}

/* The run at gpa, not behind the end of its chunk. Lock held. */
static uint64_t run_at(struct pmap *pmap, struct gpa gpa, enum survey_kind *kind)
{
    uint64_t left = (PAGE_SIZE_2M - gpa.v % PAGE_SIZE_2M) / PAGE_SIZE, n = 0;

    *kind = kind_at(pmap, gpa);
    while (n < left && kind_at(pmap, GPA(gpa.v + n * PAGE_SIZE)) == *kind)
        n++;
    return n;
}

/* Where the search goes on: the same chunk, or the first of the next one that has something. */
static uint64_t chunk_from(struct pmap *pmap, struct gpa gpa)
{
    uint64_t n = gpa.v ? (uint64_t)(pmap_chunk(pmap, GPA(gpa.v - PAGE_SIZE)) - pmap->chunks) : 0;

    if (gpa.v && gpa.v % PAGE_SIZE_2M == 0)
        n++;
    while (n < pmap_chunk_count(pmap) && !pmap->chunks[n])
        n++;
    return n;
}

static bool next(struct pmap *pmap, struct survey *run)
{
    struct gpa gpa = GPA(run->gpa.v + run->pages * PAGE_SIZE), base;
    uint64_t chunk;

    do {
        chunk = pmap->chunks ? chunk_from(pmap, gpa) : 0;
        if (!pmap->chunks || chunk == pmap_chunk_count(pmap))
            return false;
        base = pmap_chunk_base(pmap, chunk);
        run->gpa = GPA(MAX(gpa.v, base.v));
        run->pages = run_at(pmap, run->gpa, &run->kind);
        gpa.v = run->gpa.v + run->pages * PAGE_SIZE;
    } while (run->kind == SURVEY_UNTOUCHED);
    return true;
}

bool survey_next(struct pmap *pmap, struct survey *run)
{
    bool found;

    spin_lock(&pmap->lock);
    found = next(pmap, run);
    spin_unlock(&pmap->lock);
    return found;
}
