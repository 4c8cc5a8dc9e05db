/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "numa/join.h"
#include "arch/x86/percpu.h"
#include "lib/string.h"
#include "numa/pmap_parts.h"
#include "numa/sample.h"
#include "numa/scan.h"

#define LOOKS        8u        /* chunks looked at in one call */
#define LOOKS_SHARE  1000u     /* calls in a second at most */
#define JOINS_SHARE  16u       /* of these, such that join */
#define ROUND_REST   10u       /* seconds between two rounds */
#define OTHERS_SHARE 10u       /* processors that find another one at it look again so often in a second */

/* Where the round is. Only the processor that has set busy touches it. */
static struct { uint16_t id; uint64_t chunk, rounds, resume; } at = { .id = 1 };
static _Atomic bool busy;
static struct join_figures figures;

struct join_figures join_count(void) { return figures; }

/* Small pages that could be a large one: where the first one is, and whether the others are behind it. */
struct parts { struct hpa first; unsigned node; bool in_place; };

static bool find_parts(uint64_t chunk, struct parts *parts)
{
    const uint64_t *e = (const uint64_t *)(chunk & P_ADDR);
    uint64_t first = e[0] & P_ADDR;

    for (unsigned i = 0; i < CHUNK_PAGES; i++)
        if ((e[i] & ~P_ADDR) != P_PRESENT)
            return false;
    *parts = (struct parts){ HPA(first), page_of(HPA(first))->node, first % PAGE_SIZE_2M == 0 };
    for (uint64_t i = 0; i < CHUNK_PAGES; i++) {
        struct hpa page = HPA(e[i] & P_ADDR);

        if (page_of(page)->node != parts->node || sample_apart(page))
            return false;
        parts->in_place &= page.v == first + i * PAGE_SIZE;
    }
    return true;
}

/* A block for them, on their node; HPA_NONE: there is none. */
static struct hpa block_for(const struct parts *parts)
{
    struct hpa block = parts->in_place ? parts->first : page_alloc(parts->node, PAGE_ORDER_2M, PAGE_PRIVATE);

    if (!block.v || page_of(block)->node == parts->node)
        return block;
    page_free(block, PAGE_ORDER_2M);
    return HPA_NONE;
}

static void copy_parts(struct hpa block, const uint64_t *e)
{
    for (uint64_t i = 0; i < CHUNK_PAGES; i++)
        memcpy(hpa_ptr(HPA(block.v + i * PAGE_SIZE)), hpa_ptr(HPA(e[i] & P_ADDR)), PAGE_SIZE);
    page_of(block)->refs = 1;
    page_of(block)->sharer = page_of(HPA(e[0] & P_ADDR))->sharer;
}

bool pmap_join(struct pmap *pmap, uint64_t *chunk, struct gpa base)
{
    uint64_t old = *chunk, *e = (uint64_t *)(old & P_ADDR);
    struct parts parts;
    struct hpa block;

    if (page_short() || !pmap_is_ram(pmap, base, PAGE_SIZE_2M) || !find_parts(old, &parts))
        return false;
    block = block_for(&parts);
    if (!block.v)
        return false;
    pmap_detach_chunk(pmap, base);
    if (parts.in_place)
        page_join(block, PAGE_ORDER_2M);
    else
        copy_parts(block, e); /* only now: nobody can write any more */
    *chunk = block.v | P_PRESENT | P_LARGE;
    for (uint64_t i = 0; i < CHUNK_PAGES && !parts.in_place; i++)
        page_free(HPA(e[i] & P_ADDR), PAGE_ORDER_4K);
    page_free(ptr_hpa(e), PAGE_ORDER_4K);
    pmap->tables--;
    figures.joined++;
    figures.copied += !parts.in_place;
    return true;
}

/*
 * Has it been all the VM's own for a round of this search, and has the scanner found nothing to share there meanwhile?
 * Else it would soon be split again. The memmap entry of the pmap's table remembers since when.
 */
static bool is_settled(const struct pmap *pmap, uint64_t chunk)
{
    struct mpage *p = page_of(HPA(chunk & P_ADDR));
    struct parts parts;

    if (!find_parts(chunk, &parts)) {
        p->hash = 0;
        return false;
    }
    if (!p->hash) {
        p->hash = (uint32_t)at.rounds + 1;
        p->sharer = scan_now();
    }
    return p->hash <= (uint32_t)at.rounds && (!pmap->domain || scan_has_passed(p->sharer));
}

static void next_pmap(void)
{
    at.chunk = 0;
    at.id++;
}

/* The pmap where the round is, its lock taken, or NULL: the round is over. */
static struct pmap *this_pmap(void)
{
    struct pmap *pmap = NULL;

    for (; at.id <= PMAP_MAX_ID && !(pmap = pmap_get(at.id)); next_pmap())
        ;
    return pmap;
}

/* The next chunk; true: it was joined. */
static bool look(void)
{
    struct pmap *pmap = this_pmap();
    bool joined = false;

    while (pmap && at.chunk < pmap_chunk_count(pmap) && (!pmap->chunks[at.chunk] || pmap->chunks[at.chunk] & P_LARGE))
        at.chunk++;
    if (!pmap || at.chunk >= pmap_chunk_count(pmap)) {
        next_pmap();
    } else {
        uint64_t *chunk = &pmap->chunks[at.chunk];

        joined = is_settled(pmap, *chunk) && pmap_join(pmap, chunk, pmap_chunk_base(pmap, at.chunk));
        at.chunk++;
    }
    if (pmap)
        spin_unlock(&pmap->lock);
    return joined;
}

static uint64_t some_looks(uint64_t tsc, uint64_t second)
{
    bool joined = false;

    for (unsigned i = 0; i < LOOKS && !joined && at.id <= PMAP_MAX_ID; i++)
        joined = look();
    if (at.id <= PMAP_MAX_ID)
        return tsc + second / (joined ? JOINS_SHARE : LOOKS_SHARE);
    at.id = 1;
    at.rounds++;
    return tsc + ROUND_REST * second;
}

uint64_t join_step(uint64_t tsc, uint64_t tsc_khz)
{
    uint64_t second = tsc_khz * 1000, next;

    if (atomic_exchange(&busy, true))
        return tsc + second / OTHERS_SHARE;
    if (tsc >= at.resume)
        at.resume = some_looks(tsc, second);
    next = at.resume;
    atomic_store(&busy, false);
    return next;
}
