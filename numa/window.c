/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/errno.h"
#include "numa/commons.h"
#include "numa/pmap_parts.h"

const struct pmap_window *pmap_window_of(const struct pmap *pmap, struct gpa gpa)
{
    for (unsigned i = 0; i < pmap->windows; i++)
        if (gpa.v - pmap->window[i].base < pmap->window[i].size)
            return &pmap->window[i];
    return NULL;
}

int pmap_add_window(struct pmap *pmap, uint64_t lead, uint64_t size, struct pmap_source source, struct gpa *base)
{
    uint64_t at = ALIGN_UP(PMAP_HIGH_BASE + pmap->span, PMAP_WINDOW_ALIGN), span = pmap->span;
    int err;

    if (!size || (size | lead) % PAGE_SIZE_2M || (size | lead) > BIT(46) || pmap->windows == PMAP_WINDOWS)
        return -EINVAL;
    spin_lock(&pmap->lock);
    pmap->span = at + lead + size - PMAP_HIGH_BASE;
    err = pmap_make_chunks(pmap);
    if (!err) {
        pmap->window[pmap->windows++] = (struct pmap_window){ at, lead + size, lead, source };
        pmap->windows_at = pmap->window[0].base;
        *base = GPA(at);
    } else {
        pmap->span = span;
    }
    spin_unlock(&pmap->lock);
    return err;
}

/* Lock held. */
static bool is_there(struct pmap *pmap, struct gpa gpa)
{
    uint64_t chunk = *pmap_chunk(pmap, gpa);

    return chunk && ((chunk & P_LARGE) || *pmap_entry(chunk, gpa));
}

static int fetch_page(struct pmap *pmap, const struct pmap_window *w, struct gpa gpa)
{
    struct hpa page;
    bool there;
    int err;

    if (gpa.v - w->base < w->lead)
        return 0;
    spin_lock(&pmap->lock);
    there = is_there(pmap, gpa);
    spin_unlock(&pmap->lock);
    if (there)
        return 0;
    err = w->source.page(w->source.ctx, (gpa.v - w->base - w->lead) / PAGE_SIZE, &page);
    if (err)
        return err;
    spin_lock(&pmap->lock);
    there = is_there(pmap, gpa); /* another processor was first */
    if (!there)
        err = pmap_replace(pmap, gpa, page);
    spin_unlock(&pmap->lock);
    if (there || err)
        commons_drop(page);
    return err;
}

int pmap_fetch(struct pmap *pmap, struct gpa gpa, uint64_t n)
{
    const struct pmap_window *w = gpa.v < pmap->windows_at ? NULL : pmap_window_of(pmap, gpa);
    uint64_t end = gpa.v + n;
    int err = 0;

    for (uint64_t at = ALIGN_DOWN(gpa.v, PAGE_SIZE); w && !err && at < end; at += PAGE_SIZE)
        err = fetch_page(pmap, w, GPA(at));
    return err;
}
