/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "tests/unit/invalidation/processors.h"

/* What must be true between steps, and of a page that is let go. */
/* Could this processor use what it keeps for this VM? */
static bool usable(unsigned c, unsigned v)
{
    return cpu[c].vm == (int)v || cpu[c].seen[v] == vm[v].ept[node_of(c)].generation;
}

static void check_not_walked(struct hpa table)
{
    for (unsigned c = 0; c < FAKE_CPUS; c++)
        for (unsigned v = 0; v < VMS; v++)
            for (unsigned p = 0; p < ALL_PAGES; p++)
                if (cpu[c].tlb[v][p].valid && cpu[c].tlb[v][p].table == table.v && usable(c, v))
                    violate("a table was let go that a processor may walk");
}

static void check_unreachable(struct hpa page, uint64_t size)
{
    for (unsigned c = 0; c < FAKE_CPUS; c++)
        for (unsigned v = 0; v < VMS; v++)
            for (unsigned p = 0; p < ALL_PAGES; p++)
                if (cpu[c].tlb[v][p].valid && cpu[c].tlb[v][p].page - page.v < size && usable(c, v))
                    violate("a page was let go that a processor can reach");
}

static struct cached truth(unsigned v, unsigned page, unsigned node)
{
    struct ept_mapping m = wanted(&vm[v], gpa_of(page), node);
    uint64_t offset = gpa_of(page).v % (m.level == EPT_2M ? PAGE_SIZE_2M : PAGE_SIZE);

    return (struct cached){ true, m.hpa.v + ALIGN_DOWN(offset, PAGE_SIZE), 0, m.prot };
}

static void check_content(unsigned v, unsigned p, const struct cached *is)
{
    for (unsigned n = 0; n < NODES; n++) {
        if (*(uint64_t *)is[n].page != expected[v][p])
            violate("a page does not hold what was written to it");
        if (is[n].page != is[0].page && (is[n].prot | is[0].prot) & EPT_W)
            violate("a page with copies can be written");
    }
}

/* What can be written has no copies. */
static void check_owners(const struct cached *a, const struct cached *b)
{
    for (unsigned n = 0; (a[0].prot | b[0].prot) & EPT_W && n < NODES; n++)
        if ((a[n].page == b[0].page && b[0].prot & EPT_W) || (a[0].page == b[n].page && a[0].prot & EPT_W))
            violate("a writable page has two owners");
}

/* A processor may go on with a shared page when its node has got a copy. 0: gpa has none. */
static uint64_t shared_page(unsigned v, unsigned page)
{
    uint64_t chunk = *pmap_chunk(&vm[v], gpa_of(page));
    uint64_t e = chunk && !(chunk & P_LARGE) ? *pmap_entry(chunk, gpa_of(page)) : 0;

    return e & P_SHARED ? e & P_ADDR : 0;
}

/* A copy of a shared page that nobody finds any more stays until nobody reaches it: model_free_copies sees to that. */
static bool is_taken(unsigned v, unsigned page, const struct cached *t)
{
    struct hpa p = taken_copies;

    while (p.v && p.v != t->page)
        p = frame_page(page_of(p)->link);
    return p.v && shared_page(v, page) && *(uint64_t *)t->page == expected[v][page];
}

static bool is_allowed(unsigned v, unsigned page, const struct cached *t, const struct cached *now)
{
    if (t->prot & ~now->prot)
        return false;
    return t->page == now->page || t->page == shared_page(v, page) || is_taken(v, page, t);
}

static void check_all(void)
{
    struct cached is[VMS][PAGES][NODES];

    for (unsigned v = 0; v < VMS; v++) {
        for (unsigned p = 0; p < PAGES; p++) {
            for (unsigned n = 0; n < NODES; n++)
                is[v][p][n] = truth(v, p, n);
            check_content(v, p, is[v][p]);
            for (unsigned w = 0; w <= v; w++)
                for (unsigned q = 0; q < (w == v ? p : PAGES); q++)
                    check_owners(is[w][q], is[v][p]);
        }
    }
    for (unsigned c = 0; c < FAKE_CPUS; c++)
        for (unsigned v = 0; v < VMS; v++)
            for (unsigned p = 0; p < PAGES && usable(c, v); p++) {
                const struct cached *t = &cpu[c].tlb[v][p], *now = &is[v][p][node_of(c)];

                if (t->valid && !is_allowed(v, p, t, now))
                    violate("a processor keeps a translation that is not allowed");
            }
}
