/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * A model of processors that cache translations as badly as they may: a processor inside a guest keeps whatever it has
 * once read from the EPT until it must invalidate, and reads and writes guest memory through it at every moment between
 * two steps of the hypervisor. The hypervisor's part is the real code, included here so that its steps can be watched,
 * and left out one at a time: each of these mutations must be noticed.
 */
#include "arch/x86/apic.h"
#include "ept/ept.h"
#include "lib/errno.h"
#include "numa/commons.h"
#include "numa/hash.h"
#include "numa/join.h"
#include "numa/move.h"
#include "numa/reclaim.h"
#include "numa/sample.h"
#include "numa/scan.h"
#include "numa/segment.h"
#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_percpu.h"

static void model_ipi(uint32_t apic_id, uint8_t vector);
static void model_pause(void);
static void model_clear(struct ept *ept, struct gpa gpa);
static void model_commit(struct ept *ept, struct ept_slot slot, struct hpa hpa, enum ept_prot prot);
static struct hpa model_unhook(struct ept *ept, struct gpa gpa);
static void model_flush(struct ept *ept);
static void model_free(struct hpa page, unsigned order);
static void model_drop(struct hpa page);
static uint64_t model_free_copies(struct hpa first);
static void model_detach_copies(struct pmap *pmap, struct gpa gpa);
static bool model_withdraw(struct hpa page, struct hpa *copies);
static struct hpa model_get(uint16_t space, uint32_t key, const void *bytes);
static uint32_t model_hash(const void *page);
static struct ept_mapping model_lookup(const struct ept *ept, struct gpa gpa);
static void model_detach(struct pmap *pmap, struct gpa gpa);
static void model_detach_chunk(struct pmap *pmap, struct gpa gpa);
static void model_detach_joined(struct pmap *pmap, struct gpa gpa);
static bool model_is_zero(const void *page);
static void *model_copy(void *to, const void *from, size_t n);
static void *model_copy_part(void *to, const void *from, size_t n);
static void model_sample(struct ept *ept, struct gpa gpa, struct ept_use *use);

/* Order matters: what a file defines is defined before calls of it are diverted. */
#define memcpy     model_copy
#define is_copy    is_shared_copy
#include "numa/commons.c"
#undef is_copy
#undef memcpy
#define apic_ipi   model_ipi
#define cpu_pause  model_pause
#include "ept/flush.c"
#undef cpu_pause
#define ept_clear    model_clear
#define ept_unhook   model_unhook
#define ept_flush    model_flush
#define page_free    model_free
#define fill         segment_fill
#define make         segment_make
#define find         segment_find
#define free_chunk   segment_free_chunk
#include "numa/segment.c"
#undef fill
#undef make
#undef find
#undef free_chunk
#define commons_drop model_drop
#define commons_get  model_get
#define commons_withdraw    model_withdraw
#define commons_free_copies model_free_copies
#define page_hash    model_hash
#define ept_lookup   model_lookup
#include "numa/pmap.c"
#include "numa/cow.c"
#define ept_commit   model_commit
#include "numa/place.c"
#undef ept_commit
#include "numa/scan.c"
#include "numa/hints.c"
#define pmap_detach_chunk model_detach_chunk
#define page_is_zero      model_is_zero
#include "numa/reclaim.c"
#undef pmap_detach_chunk
#undef page_is_zero
#undef commons_withdraw
#define pmap_detach  model_detach
#define pmap_detach_chunk model_detach_copies
#define memcpy       model_copy
#include "numa/move.c"
#undef pmap_detach
#undef pmap_detach_chunk
#undef commons_free_copies
#undef memcpy
#define memcpy       model_copy_part
#define pmap_detach_chunk model_detach_joined
#define look         join_look
#define next_pmap    join_next_pmap
#define at           join_at
#define busy         join_busy
#define figures      join_so_far
#include "numa/join.c"
#undef pmap_detach_chunk
#undef look
#undef next_pmap
#undef at
#undef busy
#undef figures
#undef memcpy
#define step         sample_step
#define at           sample_at
#define busy         sample_busy
#define last         sample_last
#define ept_sample   model_sample
#include "numa/sample.c"
#undef step
#undef at
#undef busy
#undef last
#undef ept_sample
#undef ept_clear
#undef ept_unhook
#undef ept_flush
#undef page_free
#undef commons_drop
#undef commons_get
#undef page_hash
#undef ept_lookup

enum {
    VMS = 3, NODES = 3, PAGES = 48, SEGMENT_PAGES = 6, ALL_PAGES = PAGES + SEGMENT_PAGES, VALUES = 4, CHECK_EVERY = 16,
    SHORT_STEPS = 300000, MUTATION_STEPS = 400000, STEPS_AFTER_VM = 20000,
};

enum mutation {
    NONE,
    NO_CLEAR,                  /* the EPTs are not told */
    NO_CLEAR_ON_NODE_1,
    NO_FLUSH,                  /* nobody is sent out */
    NO_GENERATION,             /* those who come in later are not told */
    LATE_FLUSH,                /* the page is let go first */
    LATE_DETACH,               /* compared, copied and committed while others can still write */
    NO_COMPARE,                /* equal hash taken for equal content */
    NO_LOOK,                   /* a first write does not see that another node maps zeros there */
    MOVE_NO_FLUSH,             /* a page moves while processors inside go on with the old one */
    MOVE_LATE_FLUSH,           /* the old page is let go before they are sent out */
    MOVE_LATE_DETACH,          /* copied while it can be written */
    STALE_REPLICA,             /* a move or a collapse leaves another node's EPT as it was */
    NO_COPY,                   /* a replica is mapped before it is filled */
    RECLAIM_NO_FLUSH,          /* zeros are taken while processors inside go on with the large page */
    RECLAIM_LATE_DETACH,       /* found to be zero while they can be written */
    RECLAIM_NO_LOOK,           /* what was zero before the detach is taken for zero after it */
    SHARED_STAYS_MAPPED,       /* copies of shared pages are let go while VMs map them */
    WITHDRAWN_STAYS_MAPPED,    /* a page becomes private while nodes map copies */
    PLACE_NO_FLUSH,            /* what was there is let go while processors inside go on with it */
    PLACE_STALE_NODE,          /* other nodes go on with it */
    JOIN_NO_FLUSH,             /* small pages become a large one while processors inside go on with them */
    JOIN_LATE_DETACH,          /* copied into the large page while they can be written */
    SEGMENT_GOES_EARLY,        /* its memory is let go while another VM has it */
    MUTATIONS,
};

static const char *const mutation_names[] = {
    "none", "no clear", "no clear on node 1", "no flush", "no generation", "late flush", "late detach", "no compare",
    "no look",
    "move without flush", "move with a late flush", "move with a late detach", "stale replica", "no copy",
    "reclaim without flush", "reclaim with a late detach", "reclaim without a second look",
    "shared copies stay mapped", "copies of a withdrawn page stay mapped",
    "place without flush", "a place keeps a stale node",
    "join without flush", "join with a late detach", "segment goes early",
};

struct cached { bool valid; uint64_t page; unsigned prot; };

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
static bool placing[VMS][PAGES], places; /* a page is read from a disk: what the guest finds there meanwhile is not said */
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

/* --- a processor in a guest ----------------------------------------------------------------------------------- */

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

/* The translation that this processor uses now; it keeps what it reads. */
static struct cached *translate(unsigned c, unsigned page)
{
    struct cached *t = &cpu[c].tlb[cpu[c].vm][page];
    struct ept_mapping m;

    if (t->valid)
        return t;
    m = ept_lookup(&vm[cpu[c].vm].ept[node_of(c)], gpa_of(page));
    if (m.level)
        *t = (struct cached){ true, m.hpa.v, m.prot };
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

/* --- the hypervisor's steps, watched ---------------------------------------------------------------------------- */

static void model_ipi(uint32_t apic_id, uint8_t vector)
{
    unsigned c = apic_id / 2;

    assert_int_equal(vector, VECTOR_KICK);
    for (unsigned i = pick(4); i-- && cpu[c].vm >= 0;)
        (void)try_access(c, pick(ALL_PAGES), pick(2), pick(VALUES)); /* the interrupt takes its time */
    leave(c);
}

static void model_pause(void)
{
    violate("a flush waits for ever");
    _exit(1);
}

static void model_clear(struct ept *ept, struct gpa gpa)
{
    if (mutation == NO_CLEAR || (mutation == NO_CLEAR_ON_NODE_1 && ept->pages.ctx) ||
        (mutation == WITHDRAWN_STAYS_MAPPED && withdrawing) || (mutation == PLACE_STALE_NODE && places))
        return;
    others_run();
    if (mutation == LATE_DETACH)
        late[lates++] = (typeof(late[0])){ ept, gpa, .clear = true };
    else
        ept_clear(ept, gpa);
    others_run();
}

static void model_commit(struct ept *ept, struct ept_slot slot, struct hpa hpa, enum ept_prot prot)
{
    others_run();
    ept_commit(ept, slot, hpa, prot);
    others_run();
}

static struct hpa model_unhook(struct ept *ept, struct gpa gpa)
{
    struct hpa table;

    if (mutation == NO_CLEAR || mutation == LATE_DETACH || (mutation == NO_CLEAR_ON_NODE_1 && ept->pages.ctx))
        return HPA_NONE;
    others_run();
    table = ept_unhook(ept, gpa);
    others_run();
    return table;
}

static void model_flush(struct ept *ept)
{
    uint64_t generation = ept->generation;

    if (mutation == NO_FLUSH || (mutation == PLACE_NO_FLUSH && places))
        return;
    if (mutation == LATE_FLUSH) {
        late[lates++] = (typeof(late[0])){ ept, GPA(0), .clear = false };
        return;
    }
    ept_flush(ept);
    if (mutation == NO_GENERATION)
        ept->generation = generation - 1;
    others_run();
}

/* What numa/move.c does. */
static void model_detach(struct pmap *pmap, struct gpa gpa)
{
    for (unsigned n = 0; n < NODES; n++) {
        struct ept *ept = &pmap->ept[n];
        bool late_clear = mutation == MOVE_LATE_DETACH, late_flush = late_clear || mutation == MOVE_LATE_FLUSH;

        if (mutation == STALE_REPLICA && n == 1)
            continue;
        if (late_flush)
            late[lates++] = (typeof(late[0])){ ept, gpa, .clear = late_clear };
        if (!late_clear)
            model_clear(ept, gpa);
        if (!late_flush && mutation != MOVE_NO_FLUSH)
            model_flush(ept);
    }
}

/* Nobody is sent out, until it is too late; nor are the EPTs told before. */
static void detach_badly(struct pmap *pmap, struct gpa gpa, bool detach_late)
{
    for (unsigned n = 0; n < NODES; n++) {
        struct hpa table = detach_late ? HPA_NONE : ept_unhook(&pmap->ept[n], gpa);

        if (table.v)
            page_free(table, PAGE_ORDER_4K);
        late[lates++] = (typeof(late[0])){ &pmap->ept[n], gpa, .chunk = detach_late };
    }
    others_run();
}

/* What numa/reclaim.c does. */
static bool looked_again;

static void model_detach_chunk(struct pmap *pmap, struct gpa gpa)
{
    looked_again = true;
    if (mutation != RECLAIM_NO_FLUSH && mutation != RECLAIM_LATE_DETACH)
        pmap_detach_chunk(pmap, gpa);
    else
        detach_badly(pmap, gpa, mutation == RECLAIM_LATE_DETACH);
}

/* What numa/join.c does. */
static void model_detach_joined(struct pmap *pmap, struct gpa gpa)
{
    if (mutation != JOIN_NO_FLUSH && mutation != JOIN_LATE_DETACH)
        pmap_detach_chunk(pmap, gpa);
    else
        detach_badly(pmap, gpa, mutation == JOIN_LATE_DETACH);
}

static bool model_is_zero(const void *page)
{
    static bool first[CHUNK_PAGES];
    unsigned i = (unsigned)((uint64_t)page / PAGE_SIZE % CHUNK_PAGES);

    if (!looked_again)
        first[i] = page_is_zero(page);
    else if (i == CHUNK_PAGES - 1)
        looked_again = false;
    if (!pick(CHUNK_PAGES / 2))
        others_run();
    return mutation == RECLAIM_NO_LOOK ? first[i] : page_is_zero(page);
}

static void *model_copy(void *to, const void *from, size_t n)
{
    if (mutation != NO_COPY)
        memcpy(to, from, n);
    others_run();
    return to;
}

/* One of 512 in a row: between most of them nothing happens, or nobody would be inside before the end. */
static void *model_copy_part(void *to, const void *from, size_t n)
{
    memcpy(to, from, n);
    if (!pick(CHUNK_PAGES / 2))
        others_run();
    return to;
}

static void model_detach_copies(struct pmap *pmap, struct gpa gpa)
{
    if (mutation != SHARED_STAYS_MAPPED || (*pmap_chunk(pmap, gpa) & P_LARGE))
        pmap_detach_chunk(pmap, gpa);
}

static bool model_withdraw(struct hpa page, struct hpa *copies)
{
    return withdrawing = commons_withdraw(page, copies);
}

/* Evidence as wild as it may be, of a few pages at a time: no processor need have used them. */
static unsigned hot[3];

static void model_sample(struct ept *ept, struct gpa gpa, struct ept_use *use)
{
    *use = (struct ept_use){ .level = EPT_4K };
    for (unsigned i = 0; i < ARRAY_SIZE(hot); i++) {
        unsigned bit = (unsigned)((gpa_of(hot[i]).v - gpa.v) / PAGE_SIZE);

        if (gpa_of(hot[i]).v - gpa.v >= PAGE_SIZE_2M)
            continue;
        use->accessed[bit / 64] |= pick(2) ? BIT(bit % 64) : 0;
        use->dirty[bit / 64] |= pick(8) ? 0 : BIT(bit % 64);
    }
    use->accessed[0] |= pick(2); /* of a large page */
}

static void sample_some(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(hot); i++)
        hot[i] = pick_page(pick(FAKE_CPUS));
    sample_poll(ticks += 1000000, 1);
}

static void do_late(void)
{
    for (unsigned i = 0; i < lates; i++) {
        struct hpa table = late[i].chunk ? ept_unhook(late[i].ept, late[i].gpa) : HPA_NONE;

        if (late[i].clear)
            ept_clear(late[i].ept, late[i].gpa);
        ept_flush(late[i].ept);
        if (table.v)
            page_free(table, PAGE_ORDER_4K);
    }
    lates = 0;
}

/* Could this processor use what it keeps for this VM? */
static bool usable(unsigned c, unsigned v)
{
    return cpu[c].vm == (int)v || cpu[c].seen[v] == vm[v].ept[node_of(c)].generation;
}

static void check_unreachable(struct hpa page, uint64_t size)
{
    for (unsigned c = 0; c < FAKE_CPUS; c++)
        for (unsigned v = 0; v < VMS; v++)
            for (unsigned p = 0; p < ALL_PAGES; p++)
                if (cpu[c].tlb[v][p].valid && cpu[c].tlb[v][p].page - page.v < size && usable(c, v))
                    violate("a page was let go that a processor can reach");
}

static void model_free(struct hpa page, unsigned order)
{
    enum page_kind kind = page_of(page)->kind;

    if (kind == PAGE_PRIVATE || kind == PAGE_REPLICA || kind == PAGE_SEGMENT)
        check_unreachable(page, PAGE_SIZE << order);
    page_free(page, order);
    others_run();
}

static void model_drop(struct hpa page)
{
    for (unsigned n = 0; n < NODES && page_of(page)->refs == 1; n++)
        check_unreachable(commons_on(page, n), PAGE_SIZE);
    commons_drop(page);
    others_run();
}

static uint64_t model_free_copies(struct hpa first)
{
    withdrawing = false;
    for (struct hpa p = first; p.v; p = frame_page(page_of(p)->link))
        check_unreachable(p, PAGE_SIZE);
    return commons_free_copies(first);
}

static struct hpa model_get(uint16_t space, uint32_t key, const void *bytes)
{
    struct hpa found = HPA_NONE;

    if (mutation != NO_COMPARE) {
        found = commons_get(space, key, bytes);
        others_run();
        return found;
    }
    for (uint64_t p = machine_first; p < machine_end && !found.v; p += PAGE_SIZE) {
        struct mpage *m = page_of(HPA(p));

        if (m && m->kind == PAGE_CONTENT && m->space == space && m->hash == key) {
            m->refs++;
            found = HPA(p);
        }
    }
    return found;
}

/* Only the first write asks (numa/cow.c). */
static struct ept_mapping model_lookup(const struct ept *ept, struct gpa gpa)
{
    return mutation == NO_LOOK ? (struct ept_mapping){ 0 } : ept_lookup(ept, gpa);
}

/* Weak on purpose: different pages have the same hash all the time. */
static uint32_t model_hash(const void *page)
{
    return page_is_zero(page) ? HASH_ZERO : 2 + (uint32_t)(*(const uint64_t *)page % 2);
}

/* --- what must be true between steps ------------------------------------------------------------------------------ */

static struct cached truth(unsigned v, unsigned page, unsigned node)
{
    struct ept_mapping m = wanted(&vm[v], gpa_of(page), node);
    uint64_t offset = gpa_of(page).v % (m.level == EPT_2M ? PAGE_SIZE_2M : PAGE_SIZE);

    return (struct cached){ true, m.hpa.v + ALIGN_DOWN(offset, PAGE_SIZE), m.prot };
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

                if (t->valid && ((t->page != now->page && t->page != shared_page(v, p)) || (t->prot & ~now->prot)))
                    violate("a processor keeps a translation that is not allowed");
            }
}

/* --- the run ------------------------------------------------------------------------------------------------------ */

static void new_vm(unsigned v)
{
    struct segment *s = NULL;
    struct gpa base;

    assert_int_equal(pmap_init(&vm[v], (uint16_t)(v + 1), 4 * MIB, NODES), 0);
    vm[v].domain = v < 2 ? COMMONS_DOMAIN : COMMONS_DOMAIN + 1;
    memset(expected[v], 0, sizeof(expected[v]));
    assert_int_equal(segment_get("shared", PAGE_SIZE_2M, &s), 0);
    assert_int_equal(pmap_add_segment(&vm[v], s, true, &base), 0);
    assert_int_equal(base.v, gpa_of(PAGES).v);
}

static void another_vm(unsigned v)
{
    for (unsigned c = 0; c < FAKE_CPUS; c++) {
        if (cpu[c].vm == (int)v)
            leave(c);
        cpu[c].seen[v] = 0; /* its vCPU is gone; what the processors keep of the VM stays */
    }
    if (mutation == SEGMENT_GOES_EARLY)
        vm[v].segment[0].segment->users = 1;
    pmap_destroy(&vm[v]);
    new_vm(v);
}

/* The hypervisor itself reads and writes guest memory. */
static void hypervisor_access(unsigned v, unsigned page, unsigned what)
{
    uint64_t value = pick(VALUES), got = 0;

    if (what == 0 && (pmap_read(&vm[v], gpa_of(page), &got, sizeof(got)) || got != expected[v][page]))
        violate("the hypervisor has read what is not there");
    if (what == 1 && pmap_write(&vm[v], gpa_of(page), &value, sizeof(value)))
        violate("a write has failed");
    if (what == 2 && pmap_zero(&vm[v], gpa_of(page), sizeof(value)))
        violate("a write of zeros has failed");
    if (what)
        expected[v][page] = what == 1 ? value : 0;
}

/* The guest gives back a page, a few, or all around one. */
static void give_back_some(unsigned v, unsigned page)
{
    uint64_t many[] = { 1, 1, 1, 15, 15, 15, 15, CHUNK_PAGES }, n = many[pick(ARRAY_SIZE(many))];
    struct gpa from = n == CHUNK_PAGES ? GPA(PAGE_SIZE_2M) : gpa_of(page);

    if (!pmap_is_ram(&vm[v], from, n * PAGE_SIZE))
        return;
    if (pick(4))
        pmap_give_back(&vm[v], from, n);
    else
        pmap_renew(&vm[v], from, n, node_of(current));
    for (unsigned p = 0; p < PAGES; p++)
        if (gpa_of(p).v - from.v < n * PAGE_SIZE)
            expected[v][p] = 0;
}

/* A page of a disk, which is shared from the beginning. */
static struct hpa disk_page(uint64_t value)
{
    struct hpa page = page_alloc(pick(NODES), PAGE_ORDER_4K, PAGE_PRIVATE);

    assert_true(page.v);
    memset(hpa_ptr(page), 0, PAGE_SIZE);
    *(uint64_t *)hpa_ptr(page) = value;
    commons_add(page, COMMONS_FILES, 2 + (uint32_t)(value % 2));
    return page;
}

/* A guest reads from a disk, into a few pages. */
static void place_some(unsigned v)
{
    unsigned n = 1 + pick(3), first = pick(PAGES - n);
    struct pmap_placed p[4];
    uint64_t value[4];

    for (unsigned i = 0; i < n; i++) {
        value[i] = pick(VALUES);
        p[i] = (struct pmap_placed){ gpa_of(first + i), disk_page(value[i]) };
        placing[v][first + i] = true;
    }
    places = true;
    if (pmap_place_pages(&vm[v], p, n, node_of(current)) != n)
        violate("pages were not placed");
    places = false;
    for (unsigned i = 0; i < n; i++) {
        placing[v][first + i] = false;
        expected[v][first + i] = value[i];
    }
}

static void gives_back(unsigned v, struct gpa from, uint64_t pages)
{
    pmap_give_back(&vm[v], from, pages);
    for (unsigned p = 0; p < PAGES; p++)
        if (gpa_of(p).v - from.v < pages * PAGE_SIZE)
            expected[v][p] = 0;
}

/* Everyone uses this VM for a while. */
static void all_use(unsigned v)
{
    unsigned c = current;

    for (unsigned i = pick(PAGES); i--;) {
        unsigned other = pick(FAKE_CPUS);

        if (other != c && cpu[other].vm < 0)
            enter(other, (int)v);
        if (other != c)
            guest_access(other, pick(PAGES), !pick(4), pick(VALUES));
    }
    become(c);
}

/* A large page was split, some of its parts are now elsewhere, everyone uses it; then it is to be a large one again. */
static void join_some(unsigned v)
{
    uint64_t *chunk = pmap_chunk(&vm[v], GPA(PAGE_SIZE_2M));
    struct gpa some = gpa_of(16 + pick(PAGES - 17));

    gives_back(v, GPA(PAGE_SIZE_2M), CHUNK_PAGES);
    if (pmap_fault(&vm[v], some, node_of(current), true) || !(*chunk & P_LARGE) || pmap_split(&vm[v], chunk))
        return;
    if (pick(3)) {
        gives_back(v, some, 8);
        for (unsigned i = 8; i--;)
            (void)pmap_fault(&vm[v], GPA(some.v + i * PAGE_SIZE), node_of(current), true);
    }
    all_use(v);
    spin_lock(&vm[v].lock);
    (void)pmap_join(&vm[v], chunk, GPA(PAGE_SIZE_2M));
    spin_unlock(&vm[v].lock);
}

/* No memory is left, for some soon after this guest has got a large page and everyone uses it. */
static void run_short(unsigned v)
{
    if (pick(2))
        gives_back(v, GPA(PAGE_SIZE_2M), CHUNK_PAGES);
    all_use(v);
    reclaim_again(&(unsigned){ 0 });
}

static void one_step(void)
{
    unsigned c = pick(FAKE_CPUS), v = pick(VMS), what = pick(100);

    become(c);
    if (cpu[c].vm >= 0 && what < 60) {
        guest_access(c, pick(ALL_PAGES), pick(3) == 0, pick(VALUES));
    } else if (cpu[c].vm < 0 && what < 60) {
        enter(c, (int)v);
    } else {
        if (cpu[c].vm >= 0)
            leave(c);
        if (what < 64)
            hypervisor_access(v, pick(PAGES), what % 3);
        else if (what == 64 && !pick(8)) /* seldom: what is scanned is to become shared */
            give_back_some(v, pick(PAGES));
        else if (what == 65)
            sample_some();
        else if (what == 67 && !pick(4))
            place_some(v);
        else if (what == 66 && !pick(20))
            run_short(v);
        else if (what == 68 && !pick(20))
            join_some(v);
        else
            scan_step(ticks += 1000000, 1);
    }
    do_late();
}

static const struct policy_settings eager = {
    .on = true, .interval_ms = 1, .rate = 1000000, .window = 1, .moves = 1000000, .page_moves = 15, .reset_s = 1,
};

static const char *run_model(enum mutation m, uint64_t start, uint64_t steps)
{
    mutation = m;
    seed = start;
    for (unsigned c = 0; c < FAKE_CPUS; c++)
        cpu[c].vm = -1;
    for (unsigned v = 0; v < VMS; v++)
        new_vm(v);
    scan_set_rate(1000000);
    sample_init(&eager, true);
    for (uint64_t i = 0; i < steps && !violation; i++) {
        one_step();
        if (i % CHECK_EVERY == 0)
            check_all();
        if (i % STEPS_AFTER_VM == STEPS_AFTER_VM - 1)
            another_vm(pick(VMS));
    }
    return violation;
}

static int setup(void **state)
{
    static uint8_t distance[NUMA_MAX_NODES][NUMA_MAX_NODES] = { { 10, 20, 30 }, { 20, 10, 20 }, { 30, 20, 10 } };
    static bool ready;

    if (!ready) {
        become(0);
        machine_first = machine_memory(64 * MIB, 0);
        ready = machine_first && machine_memory(32 * MIB, 1) && machine_memory(32 * MIB, 2);
        page_set_distances(NODES, distance);
        machine_end = machine_first + 192 * MIB;
    }
    return ready ? 0 : -1;
}

/* In a process of its own: a mutation leaves a wreck. 0: nothing was noticed. */
static int outcome(enum mutation m, uint64_t start, uint64_t steps)
{
    pid_t pid = fork();
    int status = 0;

    if (!pid) {
        const char *what = run_model(m, start, steps);

        if (what && getenv("MODEL_VERBOSE"))
            fprintf(stderr, "%s: %s\n", mutation_names[m], what);
        if (!what && getenv("MODEL_VERBOSE"))
            for (unsigned v = 0; v < VMS; v++)
                fprintf(stderr, "vm %u: faults %lu touches %lu breaks %lu touched %lu content %lu zeros %lu, migrations %lu "
                        "replications %lu collapses %lu splits %lu, reclaimed %lu, joined %lu, copied %lu\n", v, vm[v].counts.faults, touches, vm[v].counts.breaks,
                        vm[v].counts.touched, vm[v].counts.content, vm[v].counts.zeros, vm[v].moves.migrations,
                        vm[v].moves.replications, vm[v].moves.collapses, vm[v].moves.splits,
                        reclaim_count().zeros, join_count().joined, join_count().copied);
        _exit(what ? 1 : 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_real_code(void **state)
{
    const char *soak = getenv("SOAK_STEPS");
    uint64_t steps = soak ? strtoull(soak, NULL, 0) : SHORT_STEPS;

    for (uint64_t s = 1; s <= 4; s++)
        assert_int_equal(outcome(NONE, s, steps / 4), 0);
}

static void test_every_mutation_is_noticed(void **state)
{
    for (enum mutation m = NONE + 1; m < MUTATIONS; m++)
        if (outcome(m, 1, MUTATION_STEPS) != 1)
            fail_msg("not noticed: %s", mutation_names[m]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_real_code, setup),
        cmocka_unit_test_setup(test_every_mutation_is_noticed, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
