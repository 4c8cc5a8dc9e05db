/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "numa/reclaim.h"
#include "numa/hash.h"
#include "numa/move.h"

/*
 * Cheapest first: a copy on another node, a disk block, zeros. Zeros are taken out of large pages only, and no large
 * page is made while memory is short (page_short). So each large page gives once, nobody loses a page just taken from
 * another, and greedy guests come to an end instead of robbing each other for ever.
 */
#define RECLAIM_PAGES 64u      /* at a time */
#define RECLAIM_TRIES 8u
#define RECLAIM_STEPS 8u       /* in a row */
#define STEP_EFFORT   1024u    /* of one step: a large page looked at is 64, a chunk without one 1 */
#define LARGE_EFFORT  64u
#define ZEROS_WORTH   16u      /* more than the tables that a split costs: the pmap's, and one for each EPT */

struct zeros { uint64_t map[CHUNK_PAGES / 64]; unsigned count; };

static struct spinlock lock;   /* one processor at a time; above the images' and the registry's */
static uint64_t (*cache)(uint64_t pages);
static struct reclaim_figures found_so_far;
static uint16_t id_at = 1;   /* where the search for zeros goes on */
static uint64_t chunk_at;
static bool searching;         /* for zeros, since some steps, in vain */
static unsigned passed;        /* VMs gone through meanwhile */

void reclaim_set_cache(uint64_t (*let_go)(uint64_t pages)) { cache = let_go; }

static bool has(const struct zeros *z, unsigned i) { return z->map[i / 64] & BIT(i % 64); }

static void find_zeros(struct hpa page, struct zeros *z)
{
    *z = (struct zeros){ .count = 0 };
    for (unsigned i = 0; i < CHUNK_PAGES; i++) {
        if (!page_is_zero(hpa_ptr(HPA(page.v + i * PAGE_SIZE))))
            continue;
        z->map[i / 64] |= BIT(i % 64);
        z->count++;
    }
}

/* A large page becomes small ones; the first zero page becomes their table, since there may be no other. */
static void split_without(struct pmap *pmap, uint64_t *chunk, const struct zeros *z)
{
    struct hpa page = HPA(*chunk & P_ADDR);
    uint64_t *table = NULL;

    page_split(page, PAGE_ORDER_2M);
    for (unsigned i = 0; !table; i++)
        if (has(z, i))
            table = hpa_ptr(HPA(page.v + i * PAGE_SIZE));
    page_set_kind(ptr_hpa(table), PAGE_TABLE);
    for (unsigned i = 0; i < CHUNK_PAGES; i++)
        table[i] = has(z, i) ? P_ZERO : (page.v + i * PAGE_SIZE) | P_PRESENT;
    *chunk = ptr_hpa(table).v | P_PRESENT;
    for (unsigned i = 0; i < CHUNK_PAGES; i++)
        if (has(z, i) && page.v + i * PAGE_SIZE != ptr_hpa(table).v)
            page_free(HPA(page.v + i * PAGE_SIZE), PAGE_ORDER_4K);
    pmap->tables++;
    pmap->counts.zeros += z->count;
}

/* The VM goes on with what it has: its EPTs get their tables now, before others take the pages. */
static void make_tables(struct pmap *pmap, struct gpa base)
{
    struct ept_slot slot;

    for (unsigned n = 0; n < pmap->nodes; n++)
        (void)ept_prepare(&pmap->ept[n], base, EPT_4K, &slot);
}

/* The pmap's lock is held. */
static uint64_t drop_zeros(struct pmap *pmap, uint64_t number)
{
    struct gpa base = pmap_chunk_base(pmap, number);
    uint64_t *chunk = &pmap->chunks[number];
    struct hpa page = HPA(*chunk & P_ADDR);
    struct zeros z;

    if (!(*chunk & P_LARGE))
        return 0;
    find_zeros(page, &z);
    if (z.count < ZEROS_WORTH)
        return 0;
    pmap_detach_chunk(pmap, base); /* from here on nobody writes; what is zero now stays it */
    find_zeros(page, &z);
    if (z.count < ZEROS_WORTH)
        return 0;
    split_without(pmap, chunk, &z);
    make_tables(pmap, base);
    return z.count - 1;
}

/* One chunk of the search, or the step to the next VM; returns the effort. */
static unsigned search_on(uint64_t *sum)
{
    struct pmap *pmap = pmap_get(id_at);
    unsigned effort = 1;

    if (pmap && chunk_at < pmap_chunk_count(pmap)) {
        effort = pmap->chunks[chunk_at] & P_LARGE ? LARGE_EFFORT : 1;
        *sum += drop_zeros(pmap, chunk_at++);
    } else {
        id_at = (uint16_t)(id_at % PMAP_MAX_ID + 1);
        chunk_at = 0;
        passed++;
    }
    if (pmap)
        spin_unlock(&pmap->lock);
    return effort;
}

/* A step of the search, which is over when it has been once round all large pages without finding anything. */
static uint64_t from_zeros(uint64_t pages)
{
    uint64_t sum = 0;

    for (unsigned effort = 0; effort < STEP_EFFORT && sum < pages && passed <= PMAP_MAX_ID;)
        effort += search_on(&sum);
    searching = !sum && passed <= PMAP_MAX_ID;
    if (!searching)
        passed = 0;
    return sum;
}

static uint64_t reclaim(uint64_t pages)
{
    uint64_t replicas = searching ? 0 : move_reclaim(pages);
    uint64_t cached = cache && !searching && replicas < pages ? cache(pages - replicas) : 0;
    uint64_t zeros = replicas + cached < pages ? from_zeros(pages - replicas - cached) : 0;

    found_so_far.replicas += replicas;
    found_so_far.cached += cached;
    found_so_far.zeros += zeros;
    return replicas + cached + zeros;
}

enum reclaim_result reclaim_some(unsigned *tries)
{
    enum reclaim_result result;

    if (*tries >= RECLAIM_TRIES)
        return RECLAIM_NOTHING;
    spin_lock(&lock);
    found_so_far.calls += !searching;
    result = reclaim(RECLAIM_PAGES) ? RECLAIM_FOUND : searching ? RECLAIM_UNFINISHED : RECLAIM_NOTHING;
    spin_unlock(&lock);
    *tries += result == RECLAIM_FOUND;
    return result;
}

bool reclaim_again(unsigned *tries)
{
    for (unsigned i = 0; i < RECLAIM_STEPS; i++) {
        enum reclaim_result result = reclaim_some(tries);

        if (result != RECLAIM_UNFINISHED)
            return result == RECLAIM_FOUND;
    }
    ++*tries;
    return true;
}

struct reclaim_figures reclaim_count(void)
{
    struct reclaim_figures f;

    spin_lock(&lock);
    f = found_so_far;
    spin_unlock(&lock);
    return f;
}
