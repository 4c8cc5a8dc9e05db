/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "numa/scan.h"
#include "numa/commons.h"
#include "numa/hash.h"
#include "numa/pmap_parts.h"

/* A large page is split when at least this many of its 512 parts can be given back. */
#define SPLIT_WORTH 8u
/* So much of a second's pages may be made up for after a time without idle processors: a twentieth. */
#define BURST_SHARE 20u
/* Looks at empty places until the step is over. */
#define SKIPS 64u

/* Where the round is. Only the processor that has set busy touches it. */
static struct {
    uint16_t id;
    uint64_t chunk;
    unsigned page;             /* in the chunk */
    unsigned worth;            /* parts of this large page that can be given back */
    uint64_t rounds;
} at = { .id = 1 };

static _Atomic bool busy;
static uint64_t rate, credit, last; /* credit: pages * ticks per second */

void scan_set_rate(unsigned pages_per_second) { rate = pages_per_second; }
uint64_t scan_rounds(void) { return at.rounds; }

/* Two pages that are to become one: the first has to be put into the commons before the second can be merged. */
struct pair { struct hpa page; uint16_t domain; uint32_t key; };

static void next_chunk(void)
{
    at.chunk++;
    at.page = 0;
    at.worth = 0;
}

static void next_pmap(void)
{
    at.chunk = UINT64_MAX;
    next_chunk();
    if (++at.id > PMAP_MAX_ID) {
        at.id = 1;
        at.rounds++;
    }
}

/* The memmap entry that says whose a guest's page is, also inside a large page; NULL: it is nobody's own. */
static const struct mpage *owner_of(struct hpa page, uint64_t *sharer)
{
    struct hpa large = HPA(ALIGN_DOWN(page.v, PAGE_SIZE_2M));
    const struct mpage *p = page_of(page);

    if (!p->head) {
        p = page_of(large);
        if (!p || !p->head || p->order != PAGE_ORDER_2M)
            return NULL;
    }
    if (p->kind != PAGE_PRIVATE)
        return NULL;
    *sharer = p->sharer + (p == page_of(page) ? 0 : (page.v - large.v) >> PAGE_SHIFT);
    return p;
}

enum finding { FOUND_NOTHING, FOUND_ZERO, FOUND_EQUAL, FOUND_PAIR };

/* What can be done with this private page. */
static enum finding look(const struct pmap *pmap, struct hpa page, struct pair *pair)
{
    struct mpage *p = page_of(page);
    uint32_t h = page_hash(hpa_ptr(page));
    struct hpa met;
    uint64_t sharer;

    if (p->hash != h) {
        p->hash = h;
        return FOUND_NOTHING;
    }
    if (h == HASH_ZERO)
        return FOUND_ZERO;
    if (commons_has(pmap->domain, h))
        return FOUND_EQUAL;
    met = commons_meet(pmap->domain, h, at.rounds, page);
    if (!met.v || met.v == page.v || page_of(met)->hash != h || !owner_of(met, &sharer))
        return FOUND_NOTHING;
    *pair = (struct pair){ met, pmap->domain, h };
    return FOUND_PAIR;
}

/* A part of a large page. At the last one it is decided whether the page is split, and looked at once more. */
static void look_large(struct pmap *pmap, uint64_t *chunk)
{
    struct pair pair;

    if (look(pmap, HPA((*chunk & P_ADDR) + at.page * PAGE_SIZE), &pair) != FOUND_NOTHING)
        at.worth++;
    if (++at.page < CHUNK_PAGES)
        return;
    if (at.worth < SPLIT_WORTH || pmap_split(pmap, chunk))
        next_chunk();
    else
        at.page = at.worth = 0;
}

/* False: there is no page of the VM's own. */
static bool look_small(struct pmap *pmap, uint64_t chunk, struct pair *pair)
{
    struct gpa gpa = GPA(pmap_chunk_base(pmap, at.chunk).v + at.page * PAGE_SIZE);
    uint64_t e = *pmap_entry(chunk, gpa);
    bool own = (e & (P_PRESENT | P_SHARED | P_REPLICAS)) == P_PRESENT;

    switch (own ? look(pmap, HPA(e & P_ADDR), pair) : FOUND_NOTHING) {
    case FOUND_ZERO:
        pmap_merge_zero(pmap, gpa);
        break;
    case FOUND_EQUAL:
        pmap_merge(pmap, gpa, page_of(HPA(e & P_ADDR))->hash);
        break;
    case FOUND_PAIR:
        return true; /* here again when the other one is in the commons */
    case FOUND_NOTHING:
        break;
    }
    if (++at.page == CHUNK_PAGES)
        next_chunk();
    return own;
}

/* The owner's lock is needed, so nobody else's is held. */
static void publish(const struct pair *pair)
{
    struct pmap *pmap;
    uint64_t sharer;

    if (!owner_of(pair->page, &sharer))
        return;
    pmap = pmap_get((uint16_t)(sharer >> 48));
    if (!pmap)
        return;
    if (pmap->domain == pair->domain)
        pmap_publish(pmap, GPA((sharer & (BIT(48) - 1)) << PAGE_SHIFT), pair->page, pair->key);
    spin_unlock(&pmap->lock);
}

/* One step of the round; false: there was no page here. */
static bool step(void)
{
    struct pmap *pmap = pmap_get(at.id);
    struct pair pair = { 0 };
    bool looked = false;

    if (!pmap || !pmap->domain || at.chunk >= pmap_chunk_count(pmap)) {
        next_pmap();
    } else if (!pmap->chunks[at.chunk]) {
        next_chunk();
    } else if (pmap->chunks[at.chunk] & P_LARGE) {
        look_large(pmap, &pmap->chunks[at.chunk]);
        looked = true;
    } else {
        looked = look_small(pmap, pmap->chunks[at.chunk], &pair);
    }
    if (pmap)
        spin_unlock(&pmap->lock);
    if (pair.page.v)
        publish(&pair);
    return looked;
}

/* May a page be looked at now? */
static bool may(uint64_t tsc, uint64_t second)
{
    uint64_t most = MAX(rate / BURST_SHARE, 1ul) * second;

    credit = MIN(credit + MIN(tsc - last, second) * rate, most);
    last = tsc;
    return credit >= second;
}

bool scan_step(uint64_t tsc, uint64_t tsc_khz)
{
    bool looked = false;

    if (!rate || atomic_exchange(&busy, true))
        return false;
    if (may(tsc, tsc_khz * 1000)) {
        for (unsigned i = 0; i < SKIPS && !looked; i++)
            looked = step();
        if (looked)
            credit -= tsc_khz * 1000;
    }
    atomic_store(&busy, false);
    return looked;
}
