/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "numa/scan.h"
#include "arch/x86/percpu.h"
#include "numa/commons.h"
#include "numa/hash.h"
#include "numa/pmap_parts.h"

/* A large page is split when at least this many of its 512 parts can be given back. */
#define SPLIT_WORTH 8u
/* So much of a second's pages may be made up for after a time without idle processors: a twentieth. */
#define BURST_SHARE 20u
/* Tables without a page of the VM's own that are passed in one call. */
#define SKIPS 4u
/* A round is quiet if less than this share of its pages was given back: then comes a rest, longer each time. */
#define QUIET_SHARE 256u
#define REST_SECONDS 60u
/* Processors that find another one at it look again so often in a second. */
#define OTHERS_SHARE 10u

/* Where the round is. Only the processor that has set busy touches this and what follows. */
static struct {
    uint16_t id;
    uint64_t chunk;
    unsigned page;             /* in the chunk */
    unsigned worth;            /* parts of this large page that can be given back */
    bool over;                 /* the round */
} at = { .id = 1 };

static _Atomic bool busy;
static _Atomic bool woken;     /* there is something new: no rest */
static uint64_t rate, credit, last; /* credit: pages * ticks per second */
static uint64_t resume, began; /* TSC: of the end of the rest, of the round's beginning */
static unsigned worker;        /* the processor that was at it last */
static struct scan_figures figures, before; /* before: when the round began */

void scan_set_rate(unsigned pages_per_second) { rate = pages_per_second; }
void scan_wake(void) { atomic_store(&woken, true); }
void scan_count(struct scan_figures *out) { *out = figures; }
uint64_t scan_now(void) { return figures.rounds; }

/* The first round to end may have begun behind these pages. */
bool scan_has_passed(uint64_t since) { return !rate || figures.rounds >= since + 3; }

/* Two pages that are to become one: met has to be put into the commons before page can be merged. */
struct pair { struct hpa page, met; uint16_t domain; uint32_t key; };

static void next_chunk(void)
{
    at.chunk++;
    at.page = 0;
    at.worth = 0;
}

static void next_page(void)
{
    if (++at.page == CHUNK_PAGES)
        next_chunk();
}

static void next_pmap(void)
{
    at.chunk = UINT64_MAX;
    next_chunk();
    if (++at.id > PMAP_MAX_ID) {
        at.id = 1;
        at.over = true;
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

    figures.looked++;
    if (p->hash != h) {
        p->hash = h;
        figures.changed++;
        return FOUND_NOTHING;
    }
    if (h == HASH_ZERO)
        return FOUND_ZERO;
    if (commons_has_read(pmap->domain, h) || commons_has(pmap->domain, h))
        return FOUND_EQUAL;
    met = commons_meet(pmap->domain, h, page, false);
    if (met.v && owner_of(met, &sharer)) {
        *pair = (struct pair){ page, met, pmap->domain, h };
        return FOUND_PAIR;
    }
    if (met.v)
        commons_meet(pmap->domain, h, page, true);
    return FOUND_NOTHING;
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

/* The next page of the VM's own in this table; false: there is none. */
static bool find_own(uint64_t chunk)
{
    const uint64_t *e = (const uint64_t *)(chunk & P_ADDR);

    while (at.page < CHUNK_PAGES && (e[at.page] & (P_PRESENT | P_SHARED | P_REPLICAS)) != P_PRESENT)
        at.page++;
    return at.page < CHUNK_PAGES;
}

/* False: there is no page of the VM's own here. */
static bool look_small(struct pmap *pmap, uint64_t chunk, struct pair *pair)
{
    struct gpa gpa;
    struct hpa page;

    if (!find_own(chunk)) {
        next_chunk();
        return false;
    }
    gpa = GPA(pmap_chunk_base(pmap, at.chunk).v + at.page * PAGE_SIZE);
    page = HPA(*pmap_entry(chunk, gpa) & P_ADDR);
    switch (look(pmap, page, pair)) {
    case FOUND_ZERO:
        figures.given += pmap_merge_zero(pmap, gpa);
        break;
    case FOUND_EQUAL:
        figures.given += pmap_merge(pmap, gpa, page_of(page)->hash);
        break;
    case FOUND_PAIR:
        return true; /* here again when the other one is in the commons */
    case FOUND_NOTHING:
        break;
    }
    next_page();
    return true;
}

/* The owner's lock is needed, so nobody else's is held. False: it is not a small page, or no longer what it was. */
static bool publish(const struct pair *pair)
{
    struct pmap *pmap;
    uint64_t sharer;
    bool done = false;

    if (!owner_of(pair->met, &sharer))
        return false;
    pmap = pmap_get((uint16_t)(sharer >> 48));
    if (!pmap)
        return false;
    if (pmap->domain == pair->domain)
        done = pmap_publish(pmap, GPA((sharer & (BIT(48) - 1)) << PAGE_SHIFT), pair->met, pair->key);
    spin_unlock(&pmap->lock);
    return done;
}

/* If the other one is part of a large page, this one is left for it to find: it is split if it is worth it. */
static void join(const struct pair *pair)
{
    if (publish(pair))
        return;
    commons_meet(pair->domain, pair->key, pair->page, true);
    next_page();
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
    if (pair.met.v)
        join(&pair);
    return looked;
}

static void end_round(uint64_t tsc, uint64_t second)
{
    uint64_t looked = figures.looked - before.looked, given = figures.given - before.given;
    bool quiet = given * QUIET_SHARE <= looked;

    figures.rounds++;
    figures.rest = quiet ? MIN(MAX(figures.rest * 2, second), REST_SECONDS * second) : 0;
    figures.last_looked = looked;
    figures.last_given = given;
    figures.last_changed = figures.changed - before.changed;
    figures.last_ticks = tsc - began;
    before = figures;
    began = resume = tsc + figures.rest;
    at.over = false;
}

/* TSC from which the rate and the rest allow another page. */
static uint64_t allowed(uint64_t tsc, uint64_t second)
{
    uint64_t most = MAX(rate / BURST_SHARE, 1ul) * second;

    if (atomic_exchange(&woken, false) && resume > tsc)
        began = resume = tsc;
    credit = MIN(credit + MIN(tsc - last, second) * rate, most);
    last = tsc;
    return credit >= second ? resume : MAX(resume, tsc + second / BURST_SHARE);
}

static void some_steps(uint64_t tsc, uint64_t second)
{
    bool looked = false;

    for (unsigned i = 0; i < SKIPS && !looked && !at.over; i++)
        looked = step();
    if (looked)
        credit -= second;
    if (at.over)
        end_round(tsc, second);
    worker = cpu_index();
}

uint64_t scan_step(uint64_t tsc, uint64_t tsc_khz)
{
    uint64_t second = tsc_khz * 1000, next;

    if (!rate)
        return UINT64_MAX;
    if (atomic_exchange(&busy, true))
        return tsc + second / OTHERS_SHARE;
    next = allowed(tsc, second);
    if (next <= tsc)
        some_steps(tsc, second);
    else if (worker != cpu_index())
        next += second / OTHERS_SHARE;
    atomic_store(&busy, false);
    return next;
}
