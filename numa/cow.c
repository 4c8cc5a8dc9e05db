/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/errno.h"
#include "lib/string.h"
#include "numa/commons.h"
#include "numa/hash.h"
#include "numa/move.h"
#include "numa/pmap_parts.h"
#include "numa/spare.h"

/* How a VM's pages come and go: first touch, copy on write, sharing. numa/pmap_parts.h tells the order of steps. */

static uint64_t sharer(const struct pmap *pmap, struct gpa gpa)
{
    return (uint64_t)pmap->id << 48 | gpa.v >> PAGE_SHIFT;
}

static void claim(struct pmap *pmap, struct hpa page, struct gpa gpa)
{
    struct mpage *p = page_of(page);

    p->refs = 1;
    p->sharer = sharer(pmap, gpa);
}

/* Backs a whole untouched chunk with one large page; false: not possible, take small ones. */
static bool own_large(struct pmap *pmap, uint64_t *chunk, struct gpa gpa, unsigned node)
{
    struct gpa base = GPA(ALIGN_DOWN(gpa.v, PAGE_SIZE_2M));
    struct hpa page;

    if (page_short() || !pmap_is_ram(pmap, base, PAGE_SIZE_2M))
        return false;
    page = page_alloc_zeroed(node, PAGE_ORDER_2M, PAGE_PRIVATE);
    if (!page.v)
        return false;
    claim(pmap, page, base);
    pmap_detach(pmap, base);
    *chunk = page.v | P_PRESENT | P_LARGE;
    pmap->counts.touched += CHUNK_PAGES;
    return true;
}

/* The entry of a page that was zero gets one of its own. */
static inline void set_zero(struct pmap *pmap, uint64_t *e, struct hpa page)
{
    if (*e & P_ZERO)
        pmap->counts.zeros--;
    else
        pmap->counts.touched++;
    *e = page.v | P_PRESENT;
}

static int own_zero(struct pmap *pmap, uint64_t *e, struct gpa gpa, unsigned node)
{
    struct hpa page = page_alloc_zeroed(node, PAGE_ORDER_4K, PAGE_PRIVATE);

    if (!page.v)
        return -ENOMEM;
    claim(pmap, page, gpa);
    pmap_detach(pmap, gpa);
    set_zero(pmap, e, page);
    return 0;
}

/* Does a node other than this one map gpa? */
__attribute__((noinline)) static bool mapped_elsewhere(struct pmap *pmap, struct gpa gpa, unsigned node)
{
    for (unsigned n = 0; n < pmap->nodes; n++)
        if (n != node && ept_lookup(&pmap->ept[n], gpa).level)
            return true;
    return false;
}

/* pmap_touch, lock held. */
static inline bool touch(struct pmap *pmap, struct gpa gpa, unsigned node)
{
    uint64_t chunk = *pmap_chunk(pmap, gpa), *e, *slot;
    struct ept *ept = pmap->ept;
    struct hpa page;

    if (!chunk || (chunk & P_LARGE))
        return false;
    e = pmap_entry(chunk, gpa);
    if ((*e & ~P_ZERO) || gpa.v >= pmap->windows_at)
        return false;
    if (pmap->nodes > 1) {
        if (pmap_first_node(pmap, gpa, node) != node || mapped_elsewhere(pmap, gpa, node))
            return false;
        ept += node;
    }
    slot = ept_find_empty(ept, gpa);
    page = slot ? spare_take(sharer(pmap, gpa)) : HPA_NONE;
    if (!page.v)
        return false;
    set_zero(pmap, e, page);
    pmap->counts.faults++;
    ept_fill(slot, page, EPT_RWX);
    return true;
}

bool pmap_touch(struct pmap *pmap, struct gpa gpa, unsigned node)
{
    bool done;

    if (!pmap_has(pmap, gpa) || !spin_trylock(&pmap->lock))
        return false;
    done = touch(pmap, gpa, node);
    spin_unlock(&pmap->lock);
    return done;
}

/* A shared page becomes the writer's own: as it is, if nobody shares it any more, else as a copy. */
static int own_shared(struct pmap *pmap, uint64_t *e, struct gpa gpa, unsigned node)
{
    struct hpa old = HPA(*e & P_ADDR), page;
    uint64_t *count = pmap_shared_like(pmap, page_of(old));

    if (commons_withdraw(old, &page)) {
        if (pmap->nodes > 1) /* copies may be mapped, also some that reclaim has taken */
            pmap_detach(pmap, gpa);
        commons_free_copies(page);
        claim(pmap, old, gpa);
        *e &= ~P_SHARED;
        --*count;
        return 0;
    }
    page = page_alloc(node, PAGE_ORDER_4K, PAGE_PRIVATE);
    if (!page.v)
        return -ENOMEM;
    memcpy(hpa_ptr(page), hpa_ptr(old), PAGE_SIZE);
    claim(pmap, page, gpa);
    pmap_detach(pmap, gpa);
    *e = page.v | P_PRESENT;
    --*count;
    pmap->counts.breaks++;
    commons_drop(old);
    return 0;
}

int pmap_own(struct pmap *pmap, struct gpa gpa, unsigned node)
{
    uint64_t *chunk = pmap_chunk(pmap, gpa), *e;
    unsigned from = pmap_first_node(pmap, gpa, node);

    gpa.v = ALIGN_DOWN(gpa.v, PAGE_SIZE);
    if ((*chunk & P_LARGE) || (!*chunk && own_large(pmap, chunk, gpa, from)))
        return 0;
    if (!*chunk && pmap_make_table(pmap, chunk))
        return -ENOMEM;
    e = pmap_entry(*chunk, gpa);
    if (*e & P_SHARED)
        return own_shared(pmap, e, gpa, from);
    if (*e & P_REPLICAS)
        move_collapse(pmap, e, gpa, node);
    return *e & P_PRESENT ? 0 : own_zero(pmap, e, gpa, from);
}

bool pmap_adopt(struct pmap *pmap, struct gpa gpa, const void *from)
{
    uint32_t key = (uint32_t)((uint64_t)from * 0x9e3779b97f4a7c15 >> 32) | 1;
    uint64_t *chunk = pmap_chunk(pmap, gpa), *e;
    struct hpa page;

    if ((*chunk & P_LARGE) || (!*chunk && pmap_make_table(pmap, chunk)))
        return false;
    e = pmap_entry(*chunk, gpa);
    if (*e)
        return false;
    page = commons_get(COMMONS_FILES, key, from);
    if (!page.v) {
        page = page_alloc(pmap_first_node(pmap, gpa, pmap->home), PAGE_ORDER_4K, PAGE_PRIVATE);
        if (!page.v)
            return false;
        memcpy(hpa_ptr(page), from, PAGE_SIZE);
        commons_add(page, COMMONS_FILES, key);
    }
    pmap_detach(pmap, gpa);
    *e = page.v | P_PRESENT | P_SHARED;
    pmap->counts.touched++;
    pmap->counts.files++;
    return true;
}

int pmap_replace(struct pmap *pmap, struct gpa gpa, struct hpa page)
{
    uint64_t *chunk = pmap_chunk(pmap, gpa), *e, old;

    if ((*chunk & P_LARGE) ? pmap_split(pmap, chunk) : !*chunk && pmap_make_table(pmap, chunk))
        return -ENOMEM;
    e = pmap_entry(*chunk, gpa);
    old = *e;
    pmap_detach(pmap, gpa);
    *e = page.v | P_PRESENT | P_SHARED;
    pmap_replaced(pmap, page, old);
    return 0;
}

int pmap_split(struct pmap *pmap, uint64_t *chunk)
{
    struct hpa page = HPA(*chunk & P_ADDR);
    uint64_t table = 0;

    if (pmap_make_table(pmap, &table))
        return -ENOMEM;
    for (uint64_t i = 0; i < CHUNK_PAGES; i++)
        ((uint64_t *)(table & P_ADDR))[i] = (page.v + i * PAGE_SIZE) | P_PRESENT;
    page_split(page, PAGE_ORDER_2M, PAGE_ORDER_4K);
    *chunk = table;
    return 0;
}

/* pmap_clear_shared, lock held. */
static bool clear_shared(struct pmap *pmap, struct gpa gpa)
{
    uint64_t chunk = *pmap_chunk(pmap, gpa), *e;
    struct hpa old;

    if (!chunk || (chunk & P_LARGE))
        return false;
    e = pmap_entry(chunk, gpa);
    if (!(*e & P_SHARED))
        return false;
    old = HPA(*e & P_ADDR);
    pmap_detach(pmap, gpa);
    *e = P_ZERO;
    --*pmap_shared_like(pmap, page_of(old));
    pmap->counts.zeros++;
    pmap->counts.cleared++;
    pmap->counts.faults++;
    commons_drop(old);
    return true;
}

bool pmap_clear_shared(struct pmap *pmap, struct gpa gpa)
{
    bool done;

    if (!pmap_has(pmap, gpa) || gpa.v >= pmap->windows_at)
        return false;
    spin_lock(&pmap->lock);
    done = clear_shared(pmap, gpa);
    spin_unlock(&pmap->lock);
    return done;
}

/* The page entry at gpa if it names a small private page. */
static uint64_t *private_entry(struct pmap *pmap, struct gpa gpa)
{
    uint64_t chunk = *pmap_chunk(pmap, gpa), *e;

    if (!chunk || (chunk & P_LARGE))
        return NULL;
    e = pmap_entry(chunk, gpa);
    return (*e & (P_PRESENT | P_SHARED | P_REPLICAS)) == P_PRESENT ? e : NULL;
}

bool pmap_merge_zero(struct pmap *pmap, struct gpa gpa)
{
    uint64_t *e = private_entry(pmap, gpa);
    struct hpa old;

    if (!e)
        return false;
    old = HPA(*e & P_ADDR);
    pmap_detach(pmap, gpa);
    if (!page_is_zero(hpa_ptr(old)))
        return false;
    *e = P_ZERO;
    pmap->counts.zeros++;
    page_free(old, PAGE_ORDER_4K);
    return true;
}

bool pmap_merge(struct pmap *pmap, struct gpa gpa, uint32_t key)
{
    uint64_t *e = private_entry(pmap, gpa);
    struct hpa old, page;

    if (!e)
        return false;
    old = HPA(*e & P_ADDR);
    pmap_detach(pmap, gpa);
    page = commons_get_read(pmap->domain, key, hpa_ptr(old));
    if (!page.v)
        page = commons_get(pmap->domain, key, hpa_ptr(old));
    if (!page.v)
        return false;
    *e = page.v | P_PRESENT | P_SHARED;
    ++*pmap_shared_like(pmap, page_of(page));
    page_free(old, PAGE_ORDER_4K);
    return true;
}

bool pmap_publish(struct pmap *pmap, struct gpa gpa, struct hpa page, uint32_t key)
{
    uint64_t *e = private_entry(pmap, gpa);

    if (!e || (*e & P_ADDR) != page.v)
        return false;
    pmap_detach(pmap, gpa);
    if (page_hash(hpa_ptr(page)) != key)
        return false;
    *e |= P_SHARED;
    pmap->counts.content++;
    commons_add(page, pmap->domain, key);
    return true;
}
