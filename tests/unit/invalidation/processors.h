/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "tests/unit/invalidation/code.h"
#include "tests/unit/invalidation/mutations.h"

/* The state of the model, and processors inside guests: they keep what they have read from an EPT. */
enum {
    VMS = 3, NODES = 3, PAGES = 48, SEGMENT_PAGES = 6, ALL_PAGES = PAGES + SEGMENT_PAGES, VALUES = 4, CHECK_EVERY = 16,
    SHORT_STEPS = 300000, MUTATION_STEPS = 400000, STEPS_AFTER_VM = 20000,
};

/* table: of small pages, that the processor may go on to walk. */
struct cached { bool valid; uint64_t page, table; unsigned prot; };

static struct pmap vm[VMS];
static uint64_t expected[VMS][PAGES], expected_segment[SEGMENT_PAGES];
static struct {
    int vm;                    /* inside which, -1: outside */
    uint64_t seen[VMS];
    struct cached tlb[VMS][ALL_PAGES];
} cpu[FAKE_CPUS];
static unsigned current;       /* the processor that runs the hypervisor's code */
static enum mutation mutation;
static const char *violation;
static struct { struct ept *ept; struct gpa gpa; bool clear, chunk; } late[256];
static unsigned lates;
static uint64_t ticks, seed, touches;
static bool placing[VMS][PAGES]; /* a page comes there: what the guest finds meanwhile is not said */
static bool places, lends, clears;
static bool withdrawing;       /* a page is private again, its copies are not let go yet */

static uint64_t machine_first, machine_end;

void panic(const char *fmt, ...)
{
    violation = "panic";
    if (getenv("MODEL_VERBOSE"))
        fprintf(stderr, "panic: %s\n", fmt);
    _exit(mutation == NONE ? 2 : 1);
}

static unsigned pick(unsigned n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

static void violate(const char *what)
{
    if (!violation)
        violation = what;
}

/*
 * A third of the pages are beside the video hole, where memory is mapped in small pages from the start. The last ones
 * are of a segment that all VMs have.
 */
static struct gpa gpa_of(unsigned page)
{
    if (page >= PAGES)
        return GPA(PMAP_HIGH_BASE + (page - PAGES) * 100 * PAGE_SIZE);
    return GPA(page < 16 ? (PMAP_HOLE_END + page * PAGE_SIZE) : PAGE_SIZE_2M + page * 7 * PAGE_SIZE);
}

static uint64_t *expected_of(unsigned v, unsigned page)
{
    return page < PAGES ? &expected[v][page] : &expected_segment[page - PAGES];
}

static bool is_placing(unsigned v, unsigned page) { return page < PAGES && placing[v][page]; }

static unsigned node_of(unsigned c) { return c % NODES; }

static void become(unsigned c)
{
    current = c;
    fake_percpu_enter(c);
}

static void leave(unsigned c)
{
    unsigned was = current;

    become(c);
    ept_leave();
    become(was);
    cpu[c].vm = -1;
}

static void enter(unsigned c, int which)
{
    become(c);
    if (ept_enter(&vm[which].ept[node_of(c)], &cpu[c].seen[which]))
        memset(cpu[c].tlb[which], 0, sizeof(cpu[c].tlb[which]));
    cpu[c].vm = which;
}

/* The table of small pages that an EPT has for gpa, 0: none (SDM vol. 3, 29.3.2). */
static uint64_t table_of(const struct ept *ept, struct gpa gpa)
{
    uint64_t t = ept->root.v;

    for (unsigned shift = 39; t && shift > PAGE_SHIFT; shift -= 9) {
        uint64_t e = ((const uint64_t *)t)[gpa.v >> shift & 511];

        t = e & EPT_RWX && !(e & BIT(7)) ? e & P_ADDR : 0;
    }
    return t;
}

/* The translation that this processor uses now; it keeps what it reads. */
static struct cached *translate(unsigned c, unsigned page)
{
    struct cached *t = &cpu[c].tlb[cpu[c].vm][page];
    struct ept_mapping m;

    if (t->valid)
        return t;
    m = ept_lookup(&vm[cpu[c].vm].ept[node_of(c)], gpa_of(page));
    if (m.level)
        *t = (struct cached){ true, m.hpa.v, table_of(&vm[cpu[c].vm].ept[node_of(c)], gpa_of(page)), m.prot };
    return t;
}

/* False: an EPT violation. */
static bool try_access(unsigned c, unsigned page, bool write, uint64_t value)
{
    struct cached *t = translate(c, page);

    if (!t->valid || (write && !(t->prot & EPT_W))) {
        t->valid = false; /* as the violation does (SDM vol. 3, 29.4.3.1) */
        return false;
    }
    if (write) {
        *(uint64_t *)t->page = value;
        *expected_of((unsigned)cpu[c].vm, page) = value;
    } else if (!is_placing((unsigned)cpu[c].vm, page) &&
               *(uint64_t *)t->page != *expected_of((unsigned)cpu[c].vm, page)) {
        violate("a guest has read what is not there");
    }
    return true;
}

static void guest_access(unsigned c, unsigned page, bool write, uint64_t value)
{
    int which = cpu[c].vm;

    while (!violation && !try_access(c, page, write, value)) {
        if (write && pmap_touch(&vm[which], gpa_of(page), node_of(c))) {
            touches++;
            continue; /* it has never left */
        }
        leave(c);
        become(c);
        if (pmap_fault(&vm[which], gpa_of(page), node_of(c), write))
            violate("a fault has failed");
        enter(c, which);
    }
}

/* Any page, but mostly one that this processor keeps a translation of: there is the danger. */
static unsigned pick_page(unsigned c)
{
    unsigned start = pick(ALL_PAGES), p = start;

    if (cpu[c].vm >= 0 && pick(4))
        while (!cpu[c].tlb[cpu[c].vm][p].valid && (p + 1) % ALL_PAGES != start)
            p = (p + 1) % ALL_PAGES;
    return p;
}

/* What the others do meanwhile. One that needs the hypervisor waits for its lock, outside. */
static void others_run(void)
{
    for (unsigned c = 0; c < FAKE_CPUS; c++)
        for (unsigned i = pick(3); i-- && c != current && cpu[c].vm >= 0;)
            if (!try_access(c, pick_page(c), pick(2), pick(VALUES)))
                leave(c);
}
