/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "numa/sample.h"
#include "numa/commons.h"
#include "numa/move.h"

/* A part of the sample takes at most what is due for so long. */
#define BURST_MS 20u

/* Where the sample is. Only the processor that has set busy touches it. */
static struct {
    uint16_t id;
    uint64_t chunk;
    uint64_t rounds;
    uint64_t last;             /* TSC of the last payment */
    uint64_t credit;           /* pages * ticks per second */
} at = { .id = 1 };

static _Atomic bool busy;
_Atomic uint64_t sample_due = UINT64_MAX;
static struct placement policy;

bool sample_apart(struct hpa page) { return policy_apart(&policy, &page_of(page)->use); }
uint64_t sample_rounds(void) { return at.rounds; }

void sample_init(const struct policy_settings *set, bool access_bits)
{
    policy.set = *set;
    sample_due = set->on && access_bits && page_nodes() > 1 ? 0 : UINT64_MAX;
}

/* Counts what was used from where. A page counts as many times as it has parts. */
static void count_uses(struct pmap *pmap, uint8_t users, uint8_t copies, unsigned home, uint64_t pages)
{
    struct pmap_use *use = &pmap->sampling;

    for (unsigned n = 0; n < pmap->nodes; n++) {
        bool local = copies & BIT(n);
        uint64_t sum = 0;

        if (!(users & BIT(n)))
            continue;
        for (unsigned m = 0; m < pmap->nodes; m++)
            sum += page_distance(n, m);
        use->uses += pages;
        use->local += local ? pages : 0;
        use->distance += pages * page_distance(n, local ? n : home);
        use->interleaved += pages * sum / pmap->nodes;
        use->on[home] += copies & (copies - 1) ? 0 : pages;
    }
}

static void split_done(struct pmap *pmap, struct hpa page)
{
    pmap->moves.splits++;
    for (uint64_t i = 0; i < CHUNK_PAGES; i++)
        policy_part(&policy, &page_of(HPA(page.v + i * PAGE_SIZE))->use);
}

/* One sampled page: of 2 MiB if the chunk is one, else of 4 KiB. */
static void judge(struct pmap *pmap, struct gpa gpa, uint64_t e, uint8_t readers, uint8_t writers, uint64_t hz)
{
    bool large = e & P_LARGE, shared = e & P_SHARED;
    struct hpa p = large || shared ? HPA(e & P_ADDR) : move_page(e);
    struct policy_page page = { .large = large, .shared = shared };
    struct policy_choice c;

    page.copies = large ? (uint8_t)BIT(page_of(p)->node) : shared ? commons_nodes(p) : move_nodes(e);
    count_uses(pmap, readers | writers, page.copies, page_of(p)->node, large ? CHUNK_PAGES : 1);
    if (pmap->placement != PLACEMENT_FOLLOW)
        return;
    c = policy_judge(&policy, &page_of(p)->use, page, readers, writers, hz);
    if (shared)
        move_share(pmap, gpa, p, c.move == POLICY_REPLICATE ? c.nodes : 0);
    else if (c.move == POLICY_MIGRATE)
        (void)move_migrate(pmap, gpa, (unsigned)__builtin_ctz(c.nodes));
    else if (c.move == POLICY_REPLICATE)
        (void)move_replicate(pmap, gpa, c.nodes);
    else if (c.move == POLICY_SPLIT && !pmap_split(pmap, pmap_chunk(pmap, gpa)))
        split_done(pmap, p);
}

static uint8_t nodes_with(const struct ept_use *use, bool dirty, unsigned nodes, unsigned bit)
{
    unsigned set = 0;

    for (unsigned n = 0; n < nodes; n++)
        set |= (unsigned)((dirty ? use[n].dirty : use[n].accessed)[bit / 64] >> bit % 64 & 1) << n;
    return (uint8_t)set;
}

/* Takes all nodes' bits; false: some EPT has one mapping for what is many pages by now, and is split first. */
static bool take_bits(struct pmap *pmap, struct gpa base, bool large, struct ept_use *use)
{
    struct ept_slot slot;
    bool fit = true;

    for (unsigned n = 0; n < pmap->nodes; n++) {
        ept_sample(&pmap->ept[n], base, &use[n]);
        if (large || use[n].level <= EPT_4K)
            continue;
        (void)ept_prepare(&pmap->ept[n], base, EPT_4K, &slot);
        fit = false;
    }
    return fit;
}

static bool is_gigantic(const struct pmap *pmap, struct gpa base)
{
    bool found = false;

    for (unsigned n = 0; n < pmap->nodes; n++)
        found |= ept_lookup(&pmap->ept[n], base).level == EPT_1G;
    return found;
}

/*
 * One entry for a GiB has one bit for all of it, which is taken with its first chunk. If another node has used any, its
 * large pages have entries of their own again, so that the next sample tells which.
 */
static void sample_gigantic(struct pmap *pmap, struct gpa base, struct hpa page)
{
    unsigned home = page_of(page)->node;
    uint8_t users = 0;

    for (unsigned n = 0; n < pmap->nodes; n++) {
        struct ept_use use;

        ept_sample(&pmap->ept[n], base, &use);
        users |= (uint8_t)(use.accessed[0] << n);
    }
    count_uses(pmap, users, (uint8_t)BIT(home), home, GIB / PAGE_SIZE);
    if (!(users & ~BIT(home)))
        return;
    policy_part(&policy, &page_of(page)->use);
    for (unsigned n = 0; n < pmap->nodes; n++) {
        struct ept_slot slot;

        if (ept_lookup(&pmap->ept[n], base).level == EPT_1G)
            (void)ept_prepare(&pmap->ept[n], base, EPT_2M, &slot);
    }
}

/* Samples a chunk; returns how many pages that were. */
static unsigned sample_chunk(struct pmap *pmap, uint64_t *chunk, struct gpa base, uint64_t hz)
{
    struct ept_use use[NUMA_MAX_NODES];
    bool large = *chunk & P_LARGE, fit;

    if (large && is_gigantic(pmap, base)) {
        if (base.v % GIB == 0)
            sample_gigantic(pmap, base, HPA(*chunk & P_ADDR));
        return pmap->nodes;
    }
    fit = take_bits(pmap, base, large, use);
    for (unsigned i = 0; fit && i < (large ? 1 : CHUNK_PAGES); i++) {
        uint8_t readers = nodes_with(use, false, pmap->nodes, i), writers = nodes_with(use, true, pmap->nodes, i);
        struct gpa gpa = GPA(base.v + i * PAGE_SIZE);
        uint64_t e = large ? *chunk : *pmap_entry(*chunk, gpa);

        if ((readers | writers) && (e & P_PRESENT))
            judge(pmap, gpa, e, readers, writers, hz);
    }
    return (large ? 1 : CHUNK_PAGES) * pmap->nodes;
}

/* Where three quarters or more of the uses go, whoever they are of. */
static unsigned main_node(const struct pmap_use *use)
{
    uint64_t sum = 0;
    unsigned most = 0;

    for (unsigned n = 0; n < NUMA_MAX_NODES; n++) {
        sum += use->on[n];
        most = use->on[n] > use->on[most] ? n : most;
    }
    return sum && use->on[most] * 4 >= sum * 3 ? most : PMAP_NO_NODE;
}

/* The sample of this VM is complete. */
static void finish_pmap(struct pmap *pmap)
{
    for (unsigned n = 0; n < pmap->nodes; n++)
        ept_sample_again(&pmap->ept[n]);
    if (pmap->sampling.uses)
        pmap->main_node = main_node(&pmap->sampling);
    pmap->use = pmap->sampling;
    pmap->sampling = (struct pmap_use){ 0 };
}

/* The next chunk that has something; returns how many pages were sampled, 0: the sample of all is complete. */
static unsigned step(uint64_t hz)
{
    for (;; at.id++, at.chunk = 0) {
        struct pmap *pmap;

        if (at.id > PMAP_MAX_ID) {
            at.id = 1;
            at.rounds++;
            return 0;
        }
        pmap = pmap_get(at.id);
        if (!pmap)
            continue;
        while (at.chunk < pmap_chunk_count(pmap) && !pmap->chunks[at.chunk])
            at.chunk++;
        if (at.chunk < pmap_chunk_count(pmap)) {
            unsigned pages = sample_chunk(pmap, &pmap->chunks[at.chunk], pmap_chunk_base(pmap, at.chunk), hz);

            at.chunk++;
            spin_unlock(&pmap->lock);
            return pages;
        }
        finish_pmap(pmap);
        spin_unlock(&pmap->lock);
    }
}

static void sample_part(uint64_t tsc, uint64_t khz)
{
    uint64_t hz = khz * 1000, most = policy.set.rate * khz * BURST_MS;
    unsigned pages = 1;

    policy_time(&policy, tsc, hz);
    at.credit = MIN(at.credit + MIN(tsc - at.last, hz) * policy.set.rate, MAX(most, hz));
    at.last = tsc;
    sample_due = tsc + khz; /* in a millisecond */
    while (pages && at.credit >= hz) {
        pages = step(hz);
        at.credit -= MIN(at.credit, pages * hz);
    }
    if (!pages)
        sample_due = tsc + policy.set.interval_ms * khz;
}

void sample_now(uint64_t tsc, uint64_t tsc_khz)
{
    if (atomic_exchange(&busy, true))
        return;
    if (tsc >= sample_due)
        sample_part(tsc, tsc_khz);
    atomic_store(&busy, false);
}
