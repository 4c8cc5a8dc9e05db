/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "numa/gigantic.h"
#include "lib/string.h"
#include "numa/move.h"
#include "numa/sample.h"
#include "numa/scan.h"

#include <stdatomic.h>

#define GIB_CHUNKS   512u
#define LOOKS_SHARE  1000u     /* GiB looked at in a second at most */
#define MOVES_SHARE  16u       /* large pages moved in a second at most */
#define ROUND_REST   10u       /* seconds between two rounds */
#define SETTLE       10u       /* seconds that a GiB must stay as it is before anything is done for it */
#define OTHERS_SHARE 10u       /* processors that find another one at it look again so often in a second */

/* Where the round is. Only the processor that has set busy touches it. */
static struct {
    uint16_t id;
    uint64_t chunk;            /* the first of the GiB */
    enum { LOOKING, SETTLING, MOVING } stage;
    uint64_t found;            /* when it was found, in the scanner's time */
    struct hpa base;           /* of the GiB of machine memory that its large pages move to */
    uint64_t ours[GIB_CHUNKS / 64]; /* of this a bit for each block of 2 MiB that waits for its page */
    uint64_t resume;           /* TSC */
} at = { .id = 1, .resume = UINT64_MAX };

static _Atomic bool busy;
static struct gigantic_figures figures;

void gigantic_init(void) { at.resume = 0; }
struct gigantic_figures gigantic_count(void) { return figures; }

static bool is_large(uint64_t chunk) { return (chunk & ~P_ADDR) == (P_PRESENT | P_LARGE); }
static bool is_at(uint64_t chunk, struct hpa base, uint64_t i) { return (chunk & P_ADDR) == base.v + i * PAGE_SIZE_2M; }

/* A GiB of large pages on one node, and a GiB of machine memory in which so many of them are where they should be. */
struct whole { unsigned node; struct hpa base; unsigned in_place; };

/* If most of them are right for one GiB, it is this one (Boyer and Moore's vote). */
static void find_base(const uint64_t *chunk, struct whole *w)
{
    unsigned votes = 0;

    w->in_place = 0;
    for (uint64_t i = 0; i < GIB_CHUNKS; i++) {
        struct hpa base = HPA((chunk[i] & P_ADDR) - i * PAGE_SIZE_2M);

        if (!votes && base.v % GIB == 0)
            w->base = base;
        votes += base.v % GIB ? 0 : base.v == w->base.v ? 1 : -1;
    }
    for (uint64_t i = 0; i < GIB_CHUNKS; i++)
        w->in_place += is_at(chunk[i], w->base, i);
}

static bool find_whole(struct pmap *pmap, uint64_t number, struct whole *w)
{
    const uint64_t *chunk = &pmap->chunks[number];
    struct gpa base = pmap_chunk_base(pmap, number);

    if (base.v % GIB || !pmap_is_ram(pmap, base, GIB) || !is_large(*chunk))
        return false;
    *w = (struct whole){ .node = page_of(HPA(*chunk & P_ADDR))->node };
    for (uint64_t i = 0; i < GIB_CHUNKS; i++) {
        struct hpa page = HPA(chunk[i] & P_ADDR);

        if (!is_large(chunk[i]) || page_of(page)->node != w->node || sample_apart(page))
            return false;
    }
    find_base(chunk, w);
    return true;
}

static bool is_merged(const struct pmap *pmap, struct gpa base)
{
    for (unsigned n = 0; n < pmap->nodes; n++)
        if (ept_lookup(&pmap->ept[n], base).level != EPT_1G)
            return false;
    return true;
}

/* Each translation that there was stays what it was. Without memory for a table a node goes on as before. */
static void merge(struct pmap *pmap, struct gpa base, struct hpa first)
{
    for (unsigned n = 0; n < pmap->nodes; n++) {
        struct ept *ept = &pmap->ept[n];
        struct hpa tables;

        if (ept_merge(ept, base, first, EPT_RWX, &tables))
            continue;
        ept_flush(ept);
        ept_free_tables(ept, tables);
    }
    figures.merged++;
}

static bool is_ours(unsigned i) { return at.ours[i / 64] >> i % 64 & 1; }
static struct hpa block(unsigned i) { return HPA(at.base.v + i * PAGE_SIZE_2M); }

/* Gives back what waits for a page; how many blocks. */
static unsigned free_ours(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < GIB_CHUNKS; i++) {
        if (!is_ours(i))
            continue;
        page_free(block(i), PAGE_ORDER_2M);
        n++;
    }
    memset(at.ours, 0, sizeof(at.ours));
    return n;
}

/* Done with this GiB, for better or worse. */
static uint64_t go_on(uint64_t wait)
{
    figures.given_up += free_ours() != 0;
    at.stage = LOOKING;
    at.chunk += GIB_CHUNKS;
    return wait;
}

static uint64_t look(struct pmap *pmap, uint64_t second)
{
    struct whole w;

    if (!pmap || at.chunk >= pmap_chunk_count(pmap)) {
        at.chunk = 0;
        at.id = at.id % PMAP_MAX_ID + 1;
        return at.id == 1 ? ROUND_REST * second : 0;
    }
    if (!find_whole(pmap, at.chunk, &w) || is_merged(pmap, pmap_chunk_base(pmap, at.chunk)))
        return go_on(second / LOOKS_SHARE);
    at.stage = SETTLING;
    at.found = scan_now();
    return SETTLE * second;
}

/* A block of 1 GiB on their node; false: none, or memory would be short without it. */
static bool take_gib(unsigned node)
{
    if (page_short() || !page_has_block(node, PAGE_ORDER_1G))
        return false;
    at.base = page_alloc(node, PAGE_ORDER_1G, PAGE_PRIVATE);
    if (!at.base.v)
        return false;
    page_split(at.base, PAGE_ORDER_1G, PAGE_ORDER_2M);
    memset(at.ours, 0xff, sizeof(at.ours));
    return page_of(at.base)->node == node && !page_short();
}

/* Most are where they should be: the blocks for the others; false: one of these is in use. */
static bool take_gaps(const uint64_t *chunk, struct hpa base)
{
    at.base = base;
    for (unsigned i = 0; i < GIB_CHUNKS; i++) {
        if (is_at(chunk[i], base, i))
            continue;
        if (!page_take(block(i), PAGE_PRIVATE))
            return false;
        at.ours[i / 64] |= BIT(i % 64);
    }
    return true;
}

static uint64_t settle(struct pmap *pmap, uint64_t second)
{
    struct whole w;

    if (!pmap || !find_whole(pmap, at.chunk, &w))
        return go_on(0);
    if (pmap->domain && !scan_has_passed(at.found))
        return second;
    if (w.in_place == GIB_CHUNKS) {
        merge(pmap, pmap_chunk_base(pmap, at.chunk), w.base);
        return go_on(second / MOVES_SHARE);
    }
    if (w.in_place > GIB_CHUNKS / 2 ? !take_gaps(&pmap->chunks[at.chunk], w.base) : !take_gib(w.node))
        return go_on(0);
    at.stage = MOVING;
    return 0;
}

/* The next large page; after the last one all are side by side, if nothing has happened to them meanwhile. */
static uint64_t move(struct pmap *pmap, uint64_t second)
{
    struct whole w;
    unsigned i = 0;

    while (i < GIB_CHUNKS && !is_ours(i))
        i++;
    if (!pmap || at.chunk + GIB_CHUNKS > pmap_chunk_count(pmap) || page_short())
        return go_on(0);
    if (i < GIB_CHUNKS) {
        uint64_t number = at.chunk + i, *chunk = &pmap->chunks[number];

        if (!is_large(*chunk))
            return go_on(0);
        move_chunk(pmap, chunk, pmap_chunk_base(pmap, number), block(i));
        at.ours[i / 64] &= ~BIT(i % 64);
        figures.moved++;
        return second / MOVES_SHARE;
    }
    if (find_whole(pmap, at.chunk, &w) && w.in_place == GIB_CHUNKS)
        merge(pmap, pmap_chunk_base(pmap, at.chunk), w.base);
    return go_on(second / MOVES_SHARE);
}

static uint64_t step(uint64_t second)
{
    static uint64_t (*const stages[])(struct pmap *pmap, uint64_t second) = {
        [LOOKING] = look, [SETTLING] = settle, [MOVING] = move,
    };
    struct pmap *pmap = pmap_get(at.id);
    uint64_t wait = stages[at.stage](pmap, second);

    if (pmap)
        spin_unlock(&pmap->lock);
    return wait;
}

uint64_t gigantic_step(uint64_t tsc, uint64_t tsc_khz)
{
    uint64_t second = tsc_khz * 1000, next;

    if (atomic_exchange(&busy, true))
        return tsc + second / OTHERS_SHARE;
    if (tsc >= at.resume)
        at.resume = tsc + step(second);
    next = at.resume;
    atomic_store(&busy, false);
    return next;
}

uint64_t gigantic_return(void)
{
    uint64_t pages = 0;

    if (atomic_exchange(&busy, true))
        return UINT64_MAX;
    if (at.stage == MOVING) {
        pages = free_ours() * CHUNK_PAGES;
        figures.given_up++;
        (void)go_on(0);
    }
    atomic_store(&busy, false);
    return pages;
}
