/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "numa/reclaim.h"
#include "numa/commons.h"
#include "numa/gigantic.h"
#include "numa/hash.h"
#include "numa/move.h"

/*
 * Cheapest first: a block kept for a GiB in one piece, a copy on another node, a disk block, zeros, tables of EPTs
 * that nobody uses. Zeros are taken out of large pages only, and no large page is made while memory is short
 * (page_short). So each large page gives once, nobody loses a page just taken from another, and greedy guests come to
 * an end instead of robbing each other for ever. Tables may be taken to and fro, but not all that a VM has.
 */
#define RECLAIM_PAGES 64u      /* at a time */
#define RECLAIM_TRIES 8u
#define RECLAIM_STEPS 8u       /* in a row */
#define STEP_EFFORT   1024u    /* of one step */
#define TABLE_EFFORT  4u
#define LARGE_EFFORT  64u      /* 2 MiB looked at; a table of shared pages, each looked for in all EPTs */
#define BUCKETS       1024u    /* of the commons, for TABLE_EFFORT */
#define COPIES_TAKEN  4096u    /* at once, for then all VMs are gone through */
#define TABLES_KEPT   48u      /* of each EPT: enough to go on with (fault_with_own_tables) */
#define ZEROS_WORTH   16u      /* more than the tables that a split costs: the pmap's, and one for each EPT */

struct zeros { uint64_t map[CHUNK_PAGES / 64]; unsigned count; };

/* On the way round the chunks of all VMs, a part at a time. */
struct way {
    uint16_t id;
    uint64_t chunk;
    unsigned passed;           /* VMs, since something was found */
};

static struct spinlock lock;   /* one processor at a time; above the images' and the registry's */
static bool (*cache)(uint64_t pages, unsigned *effort, uint64_t *found);
static struct reclaim_figures found_so_far;
static bool searching;         /* since some steps, in vain */
static unsigned source_at;     /* where the search goes on */
static unsigned step_effort = STEP_EFFORT, tables_kept = TABLES_KEPT;
static struct hpa taken_copies; /* of shared pages: out of the commons, but VMs may still map them */

void reclaim_set_cache(bool (*look)(uint64_t pages, unsigned *effort, uint64_t *found)) { cache = look; }

static void spend(unsigned *effort, unsigned n) { *effort -= MIN(*effort, n); }

/*
 * Visits chunks; visit moves *chunk on, may stay where there is more, and returns how many pages it has found. The
 * pmap's lock is held. True: it was once round in vain.
 */
typedef uint64_t (*visit_fn)(struct pmap *pmap, uint64_t *chunk, uint64_t pages, unsigned *effort);

static bool go_round(struct way *w, visit_fn visit, uint64_t pages, unsigned *effort, uint64_t *found)
{
    bool over;

    while (*found < pages && *effort && w->passed <= PMAP_MAX_ID) {
        struct pmap *pmap = pmap_get(w->id);

        if (pmap && w->chunk < pmap_chunk_count(pmap)) {
            *found += visit(pmap, &w->chunk, pages - *found, effort);
        } else {
            w->id = (uint16_t)(w->id % PMAP_MAX_ID + 1);
            w->chunk = 0;
            w->passed++;
            spend(effort, 1);
        }
        if (pmap)
            spin_unlock(&pmap->lock);
    }
    over = w->passed > PMAP_MAX_ID;
    if (over || *found)
        w->passed = 0;
    return over && !*found;
}

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

    page_split(page, PAGE_ORDER_2M, PAGE_ORDER_4K);
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

static uint64_t visit_zeros(struct pmap *pmap, uint64_t *chunk, uint64_t pages, unsigned *effort)
{
    (void)pages;
    spend(effort, pmap->chunks[*chunk] & P_LARGE ? LARGE_EFFORT : 1);
    return drop_zeros(pmap, (*chunk)++);
}

static bool from_zeros(uint64_t pages, unsigned *effort, uint64_t *found)
{
    static struct way way = { .id = 1 };

    return go_round(&way, visit_zeros, pages, effort, found);
}

static uint64_t visit_copies(struct pmap *pmap, uint64_t *chunk, uint64_t pages, unsigned *effort)
{
    uint64_t n;

    if (!pmap->moves.replicas) {
        *chunk = pmap_chunk_count(pmap);
        return 0;
    }
    spend(effort, TABLE_EFFORT);
    n = move_drop_some(pmap, *chunk, pages);
    *chunk += n < pages;
    return n;
}

static bool from_copies(uint64_t pages, unsigned *effort, uint64_t *found)
{
    static struct way way = { .id = 1 };

    return go_round(&way, visit_copies, pages, effort, found);
}

static uint64_t visit_taken(struct pmap *pmap, uint64_t *chunk, uint64_t pages, unsigned *effort)
{
    (void)pages;
    spend(effort, pmap->chunks[*chunk] ? LARGE_EFFORT : 1);
    move_detach_taken(pmap, (*chunk)++);
    return 0;
}

/* Copies of shared pages: first nobody can map them any more, then nobody does, then they go. */
static bool from_shared_copies(uint64_t pages, unsigned *effort, uint64_t *found)
{
    static struct way way = { .id = 1 };
    static uint64_t bucket;
    uint64_t none = 0;

    (void)pages;
    while (!taken_copies.v && *effort) {
        taken_copies = commons_take_copies(COPIES_TAKEN, &bucket, BUCKETS);
        spend(effort, TABLE_EFFORT);
        if (!taken_copies.v && !bucket)
            return true;
    }
    if (taken_copies.v && go_round(&way, visit_taken, 1, effort, &none)) {
        *found += commons_free_copies(taken_copies);
        taken_copies = HPA_NONE;
    }
    return false;
}

static bool from_cache(uint64_t pages, unsigned *effort, uint64_t *found)
{
    return !cache || cache(pages, effort, found);
}

static bool tables_in_use;     /* has the round passed any? */

static uint64_t visit_tables(struct pmap *pmap, uint64_t *chunk, uint64_t pages, unsigned *effort)
{
    struct gpa base = pmap_chunk_base(pmap, (*chunk)++);
    uint64_t n = 0;

    (void)pages;
    spend(effort, pmap->nodes);
    for (unsigned i = 0; i < pmap->nodes; i++) {
        struct ept *ept = &pmap->ept[i];
        enum ept_table_use use = ept->tables > tables_kept ? ept_table_use(ept, base) : EPT_NO_TABLE;
        struct hpa table;

        tables_in_use |= use == EPT_TABLE_USED;
        if (use != EPT_TABLE_IDLE)
            continue;
        table = ept_unhook(ept, base);
        ept_flush(ept);
        page_free(table, PAGE_ORDER_4K);
        n++;
    }
    return n;
}

/* What is in use the first time round may be idle the second time, in another step, so that guests have run meanwhile. */
static bool from_tables(uint64_t pages, unsigned *effort, uint64_t *found)
{
    static struct way way = { .id = 1 };
    static bool again;
    bool over = go_round(&way, visit_tables, pages, effort, found), end = over && (again || !tables_in_use);

    if (over || *found) {
        again = over && !end;
        tables_in_use = false;
    }
    if (again)
        *effort = 0;
    return end;
}

/* A block that large pages were to be moved to. */
static bool from_moving(uint64_t pages, unsigned *effort, uint64_t *found)
{
    uint64_t n = gigantic_return();

    (void)pages;
    if (n == UINT64_MAX) {
        *effort = 0;
        return false;
    }
    *found += n;
    return !n;
}

/* Each adds to *found; true: there is nothing. False and nothing found: it is not through. */
static const struct {
    bool (*look)(uint64_t pages, unsigned *effort, uint64_t *found);
    uint64_t *sum;
} sources[] = {
    { from_moving, &found_so_far.moving },
    { from_copies, &found_so_far.replicas },
    { from_shared_copies, &found_so_far.replicas },
    { from_cache, &found_so_far.cached },
    { from_zeros, &found_so_far.zeros },
    { from_tables, &found_so_far.tables },
};

/* What there is at the first source that has some; 0 and source_at not past the last one: the search goes on there. */
static uint64_t reclaim(uint64_t pages)
{
    unsigned effort = step_effort;
    uint64_t found = 0;

    while (!found && source_at < ARRAY_SIZE(sources) && effort) {
        bool nothing = sources[source_at].look(pages, &effort, &found);

        *sources[source_at].sum += found;
        source_at += nothing;
    }
    return found;
}

enum reclaim_result reclaim_some(unsigned *tries)
{
    enum reclaim_result result;

    if (*tries >= RECLAIM_TRIES)
        return RECLAIM_NOTHING;
    spin_lock(&lock);
    found_so_far.calls += !searching;
    result = reclaim(RECLAIM_PAGES) ? RECLAIM_FOUND :
             source_at < ARRAY_SIZE(sources) ? RECLAIM_UNFINISHED : RECLAIM_NOTHING;
    searching = result == RECLAIM_UNFINISHED;
    if (!searching)
        source_at = 0;
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
