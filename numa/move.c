/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "numa/move.h"
#include "lib/string.h"
#include "numa/commons.h"

static struct hpa first_of(uint64_t e) { return HPA(e & P_ADDR); }
static struct hpa next_of(struct hpa copy) { return HPA((uint64_t)page_of(copy)->next << PAGE_SHIFT); }
static bool is_copy(struct hpa page) { return page_of(page)->kind == PAGE_REPLICA; }

struct hpa move_page(uint64_t e)
{
    struct hpa p = first_of(e);

    while (is_copy(p))
        p = next_of(p);
    return p;
}

uint8_t move_nodes(uint64_t e)
{
    struct hpa p = first_of(e);
    uint8_t nodes = 0;

    for (; is_copy(p); p = next_of(p))
        nodes |= (uint8_t)BIT(page_of(p)->node);
    return nodes | (uint8_t)BIT(page_of(p)->node);
}

struct hpa move_copy_on(uint64_t e, unsigned node)
{
    struct hpa p = first_of(e);

    while (is_copy(p) && page_of(p)->node != node)
        p = next_of(p);
    return p;
}

static struct hpa alloc_on(unsigned node, unsigned order, enum page_kind kind)
{
    struct hpa p = page_alloc(node, order, kind);

    if (!p.v || page_of(p)->node == node)
        return p;
    page_free(p, order); /* from another node: no help */
    return HPA_NONE;
}

/* What the memmap knows of a page goes on with its successor. */
static void succeed(struct hpa page, struct hpa old)
{
    struct mpage *to = page_of(page), *from = page_of(old);

    to->refs = from->refs;
    to->sharer = from->sharer;
    to->hash = from->hash;
    to->use = from->use;
}

/* All copies but one; returns the page itself. */
static struct hpa free_copies(struct pmap *pmap, uint64_t e, struct hpa but)
{
    struct hpa p = first_of(e), next;

    for (; is_copy(p); p = next) {
        next = next_of(p);
        if (p.v == but.v)
            continue;
        page_free(p, PAGE_ORDER_4K);
        pmap->moves.replicas--;
    }
    return p;
}

struct hpa move_drop_copies(struct pmap *pmap, uint64_t e)
{
    return free_copies(pmap, e, HPA_NONE);
}

void move_collapse(struct pmap *pmap, uint64_t *e, struct gpa gpa, unsigned node)
{
    uint64_t chain = *e;
    struct hpa stays = move_copy_on(chain, node), page;

    pmap_detach(pmap, gpa);
    *e = stays.v | P_PRESENT;
    pmap->moves.collapses++;
    page = free_copies(pmap, chain, stays);
    policy_collapsed(&page_of(page)->use);
    if (stays.v == page.v)
        return;
    succeed(stays, page);
    page_set_kind(stays, PAGE_PRIVATE);
    page_free(page, PAGE_ORDER_4K);
    pmap->moves.replicas--;
}

/* The entry that backs gpa, and the order of what it names. */
static uint64_t *backing(struct pmap *pmap, struct gpa gpa, unsigned *order)
{
    uint64_t *chunk = pmap_chunk(pmap, gpa);

    *order = *chunk & P_LARGE ? PAGE_ORDER_2M : PAGE_ORDER_4K;
    return *chunk & P_LARGE ? chunk : pmap_entry(*chunk, gpa);
}

/* What e names goes to another page of the same order, from which nobody reads yet. */
static void move_to(struct pmap *pmap, uint64_t *e, struct gpa gpa, struct hpa page, unsigned order)
{
    struct hpa old = first_of(*e);

    if (order == PAGE_ORDER_2M)
        pmap_detach_chunk(pmap, gpa);
    else
        pmap_detach(pmap, gpa);
    memcpy(hpa_ptr(page), hpa_ptr(old), PAGE_SIZE << order); /* only now: nobody can write any more */
    succeed(page, old);
    *e = page.v | (*e & ~P_ADDR);
    page_free(old, order);
}

void move_chunk(struct pmap *pmap, uint64_t *chunk, struct gpa base, struct hpa block)
{
    move_to(pmap, chunk, base, block, PAGE_ORDER_2M);
}

bool move_migrate(struct pmap *pmap, struct gpa gpa, unsigned node)
{
    unsigned order;
    uint64_t *e = backing(pmap, gpa, &order);
    struct hpa page;

    if (*e & P_REPLICAS)
        move_collapse(pmap, e, gpa, node);
    if (page_of(first_of(*e))->node == node)
        return true;
    page = alloc_on(node, order, PAGE_PRIVATE);
    if (!page.v)
        return false;
    move_to(pmap, e, gpa, page, order);
    pmap->moves.migrations += BIT(order);
    return true;
}

/* A chain with copies on these nodes, as far as there is memory, in front of the one there is. */
static uint64_t prepare_copies(struct pmap *pmap, uint64_t e, uint8_t nodes)
{
    for (unsigned n = 0; n < pmap->nodes; n++) {
        struct hpa copy = nodes & BIT(n) ? alloc_on(n, PAGE_ORDER_4K, PAGE_REPLICA) : HPA_NONE;

        if (!copy.v)
            continue;
        page_of(copy)->next = (uint32_t)(first_of(e).v >> PAGE_SHIFT);
        e = copy.v | P_PRESENT | P_REPLICAS;
        pmap->moves.replicas++;
        pmap->moves.replications++;
    }
    return e;
}

bool move_replicate(struct pmap *pmap, struct gpa gpa, uint8_t nodes)
{
    uint64_t *e = pmap_entry(*pmap_chunk(pmap, gpa), gpa);
    uint64_t chain = page_short() ? *e : prepare_copies(pmap, *e, nodes);
    struct hpa page = move_page(*e);

    if (chain == *e)
        return false;
    pmap_detach(pmap, gpa); /* from here on it is mapped read-only, and nobody can write any more */
    for (struct hpa p = first_of(chain); p.v != first_of(*e).v; p = next_of(p))
        memcpy(hpa_ptr(p), hpa_ptr(page), PAGE_SIZE);
    *e = chain;
    return true;
}

/* Does a node map another than the one it should, given that this is the page? */
static bool is_far(struct pmap *pmap, struct gpa gpa, struct hpa page, bool copies)
{
    for (unsigned n = 0; n < pmap->nodes; n++) {
        struct ept_mapping m = ept_lookup(&pmap->ept[n], gpa);

        if (m.level && m.hpa.v != (copies ? commons_on(page, n).v : page.v))
            return true;
    }
    return false;
}

void move_share(struct pmap *pmap, struct gpa gpa, struct hpa page, uint8_t nodes)
{
    pmap->moves.replications += page_short() ? 0 : commons_copy(page, nodes);
    nodes = commons_nodes(page);
    if (nodes & (nodes - 1) && is_far(pmap, gpa, page, true))
        pmap_detach(pmap, gpa);
}

void move_detach_taken(struct pmap *pmap, uint64_t number)
{
    struct gpa base = pmap_chunk_base(pmap, number);
    uint64_t chunk = pmap->chunks[number];
    bool found = false;

    for (uint64_t i = 0; chunk && !(chunk & P_LARGE) && i < CHUNK_PAGES && !found; i++) {
        struct gpa gpa = GPA(base.v + i * PAGE_SIZE);
        uint64_t e = *pmap_entry(chunk, gpa);

        found = e & P_SHARED && is_far(pmap, gpa, HPA(e & P_ADDR), false);
    }
    if (found)
        pmap_detach_chunk(pmap, base);
}

uint64_t move_drop_some(struct pmap *pmap, uint64_t number, uint64_t pages)
{
    struct gpa base = pmap_chunk_base(pmap, number);
    uint64_t chunk = pmap->chunks[number], before = pmap->moves.replicas, goal = before - MIN(before, pages);

    for (uint64_t i = 0; chunk && !(chunk & P_LARGE) && i < CHUNK_PAGES && pmap->moves.replicas > goal; i++) {
        struct gpa gpa = GPA(base.v + i * PAGE_SIZE);
        uint64_t *e = pmap_entry(chunk, gpa);

        if (*e & P_REPLICAS)
            move_collapse(pmap, e, gpa, page_of(move_page(*e))->node);
    }
    return before - pmap->moves.replicas;
}
