/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "numa/pmap.h"
#include "arch/x86/cpu.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "numa/commons.h"
#include "numa/move.h"
#include "numa/pmap_parts.h"
#include "numa/reclaim.h"
#include "numa/segment.h"

/* The pmaps there are, by id. Its lock is outside of theirs. */
static struct spinlock registry_lock;
static struct pmap *registry[PMAP_MAX_ID + 1];

static struct hpa table_alloc(void *ctx)
{
    return page_alloc_zeroed((unsigned)(uintptr_t)ctx, PAGE_ORDER_4K, PAGE_TABLE);
}

static void table_free(void *ctx, struct hpa page)
{
    (void)ctx;
    page_free(page, PAGE_ORDER_4K);
}

uint64_t pmap_memory(const struct pmap *pmap) { return pmap->low + pmap->high; }

uint64_t pmap_chunk_count(const struct pmap *pmap)
{
    return (ALIGN_UP(pmap->low, PAGE_SIZE_2M) + ALIGN_UP(pmap->span, PAGE_SIZE_2M)) / PAGE_SIZE_2M;
}

bool pmap_is_ram(const struct pmap *pmap, struct gpa gpa, uint64_t n)
{
    const struct pmap_window *window;
    uint64_t end = gpa.v + n;

    if (end < gpa.v)
        return false;
    if (gpa.v >= pmap->windows_at) {
        window = pmap_window_of(pmap, gpa);
        return window && end <= window->base + window->size;
    }
    if (gpa.v >= PMAP_HIGH_BASE)
        return end <= PMAP_HIGH_BASE + pmap->high;
    return end <= pmap->low && (end <= PMAP_HOLE || gpa.v >= PMAP_HOLE_END);
}

struct gpa pmap_chunk_base(const struct pmap *pmap, uint64_t chunk)
{
    uint64_t offset = chunk * PAGE_SIZE_2M, low = ALIGN_UP(pmap->low, PAGE_SIZE_2M);

    return GPA(offset < low ? offset : offset - low + PMAP_HIGH_BASE);
}

int pmap_make_table(struct pmap *pmap, uint64_t *chunk)
{
    struct hpa page = table_alloc(NULL);

    if (!page.v)
        return -ENOMEM;
    pmap->tables++;
    *chunk = page.v | P_PRESENT;
    return 0;
}

static void set_registered(uint16_t id, struct pmap *pmap)
{
    spin_lock(&registry_lock);
    registry[id] = pmap;
    spin_unlock(&registry_lock);
}

struct pmap *pmap_get(uint16_t id)
{
    struct pmap *pmap;

    spin_lock(&registry_lock);
    pmap = id <= PMAP_MAX_ID ? registry[id] : NULL;
    if (pmap)
        spin_lock(&pmap->lock);
    spin_unlock(&registry_lock);
    return pmap;
}

static int make_epts(struct pmap *pmap)
{
    for (unsigned n = 0; n < pmap->nodes; n++) {
        const struct ept_pages pages = { .alloc = table_alloc, .free = table_free, .ctx = (void *)(uintptr_t)n };

        if (ept_init(&pmap->ept[n], &pages))
            return -ENOMEM;
    }
    return 0;
}

int pmap_make_chunks(struct pmap *pmap)
{
    unsigned order = page_order(pmap_chunk_count(pmap) * sizeof(uint64_t));
    struct hpa dir = page_alloc_zeroed(0, order, PAGE_TABLE);

    if (!dir.v)
        return -ENOMEM;
    if (pmap->chunks)
        page_free(ptr_hpa(pmap->chunks), pmap->chunks_order);
    pmap->chunks = hpa_ptr(dir);
    pmap->chunks_order = order;
    pmap->tables = BIT(order);
    return 0;
}

int pmap_init(struct pmap *pmap, uint16_t id, uint64_t memory, unsigned nodes)
{
    if (!memory || memory % MIB || memory > BIT(46) || nodes > NUMA_MAX_NODES || !id || id > PMAP_MAX_ID)
        return -EINVAL;
    memset(pmap, 0, sizeof(*pmap));
    pmap->id = id;
    pmap->low = MIN(memory, PMAP_LOW_MAX);
    pmap->high = pmap->span = memory - pmap->low;
    pmap->windows_at = UINT64_MAX;
    pmap->nodes = nodes;
    if (pmap_make_chunks(pmap))
        return -ENOMEM;
    if (make_epts(pmap)) {
        pmap_destroy(pmap);
        return -ENOMEM;
    }
    set_registered(id, pmap);
    return 0;
}

void pmap_let_go(struct pmap *pmap, uint64_t entry)
{
    if (entry & P_SHARED)
        commons_drop(HPA(entry & P_ADDR));
    else if (entry & P_PRESENT)
        page_free(move_drop_copies(pmap, entry), PAGE_ORDER_4K);
}

static void free_chunk(struct pmap *pmap, uint64_t chunk)
{
    uint64_t *pages = (uint64_t *)(chunk & P_ADDR);

    if (chunk & P_LARGE) {
        page_free(HPA(chunk & P_ADDR), PAGE_ORDER_2M);
        return;
    }
    for (unsigned i = 0; i < CHUNK_PAGES; i++)
        pmap_let_go(pmap, pages[i]);
    page_free(ptr_hpa(pages), PAGE_ORDER_4K);
}

void pmap_destroy(struct pmap *pmap)
{
    set_registered(pmap->id, NULL);
    spin_lock(&pmap->lock); /* whoever found it there before has finished */
    for (unsigned n = 0; n < pmap->nodes; n++)
        ept_destroy(&pmap->ept[n]);
    for (unsigned i = 0; i < pmap->segments; i++)
        segment_drop(pmap->segment[i].segment);
    for (uint64_t i = 0; i < pmap_chunk_count(pmap); i++)
        if (pmap->chunks[i] & P_PRESENT)
            free_chunk(pmap, pmap->chunks[i]);
    page_free(ptr_hpa(pmap->chunks), pmap->chunks_order);
    memset(pmap, 0, sizeof(*pmap));
}

bool pmap_destroy_chunk(struct pmap *pmap, uint64_t *chunk)
{
    uint64_t i = *chunk;

    while (i < pmap_chunk_count(pmap) && !pmap->chunks[i])
        i++;
    *chunk = i + 1;
    if (i == pmap_chunk_count(pmap))
        return false;
    spin_lock(&pmap->lock);
    pmap_detach_chunk(pmap, pmap_chunk_base(pmap, i));
    free_chunk(pmap, pmap->chunks[i]);
    pmap->chunks[i] = 0;
    spin_unlock(&pmap->lock);
    return true;
}

/* What is beside it in a large page stays mapped, if there is memory for the table. */
void pmap_unmap(struct ept *ept, struct gpa gpa)
{
    struct ept_mapping m;
    struct ept_slot slot;

    if (!ept_has_table(ept, gpa)) {
        m = ept_lookup(ept, gpa);
        if (m.level > EPT_4K && (m.prot & EPT_W))
            (void)ept_prepare(ept, gpa, EPT_4K, &slot);
    }
    ept_clear(ept, gpa);
}

void pmap_detach_pages(struct pmap *pmap, struct gpa gpa, uint64_t pages)
{
    for (unsigned n = 0; n < pmap->nodes; n++) {
        struct ept *ept = &pmap->ept[n];
        uint64_t before = ept->generation;

        for (uint64_t i = 0; i < pages; i++)
            pmap_unmap(ept, GPA(gpa.v + i * PAGE_SIZE));
        if (ept->generation != before)
            ept_flush(ept);
    }
}

void pmap_detach(struct pmap *pmap, struct gpa gpa)
{
    pmap_detach_pages(pmap, gpa, 1);
}

void pmap_detach_chunk(struct pmap *pmap, struct gpa gpa)
{
    for (unsigned n = 0; n < pmap->nodes; n++) {
        struct ept *ept = &pmap->ept[n];
        uint64_t before = ept->generation;
        struct hpa table = ept_unhook(ept, gpa);

        if (ept->generation != before)
            ept_flush(ept);
        if (table.v)
            page_free(table, PAGE_ORDER_4K);
    }
}

/* What the EPT is to say of a RAM page: the largest piece that holds gpa. Page HPA_NONE: it has to be backed first. */
static struct ept_mapping wanted(struct pmap *pmap, struct gpa gpa, unsigned node)
{
    uint64_t chunk = *pmap_chunk(pmap, gpa), e = 0;
    bool whole;

    if (chunk & P_LARGE)
        return (struct ept_mapping){ .level = EPT_2M, .hpa = HPA(chunk & P_ADDR), .prot = EPT_RWX };
    if (chunk)
        e = *pmap_entry(chunk, gpa);
    if (e & P_REPLICAS)
        return (struct ept_mapping){ .level = EPT_4K, .hpa = move_copy_on(e, node), .prot = EPT_R | EPT_X };
    if (e & P_SHARED)
        return (struct ept_mapping){ .level = EPT_4K, .hpa = commons_on(HPA(e & P_ADDR), node), .prot = EPT_R | EPT_X };
    if (e & P_PRESENT)
        return (struct ept_mapping){ .level = EPT_4K, .hpa = HPA(e & P_ADDR), .prot = EPT_RWX };
    whole = !chunk && pmap_is_ram(pmap, GPA(ALIGN_DOWN(gpa.v, PAGE_SIZE_2M)), PAGE_SIZE_2M);
    return (struct ept_mapping){
        .level = whole ? EPT_2M : EPT_4K, .hpa = commons_zero(node), .prot = EPT_R | EPT_X,
    };
}

/* Brings one node's EPT up to the pmap at gpa. Lock held. */
static int map(struct pmap *pmap, struct gpa gpa, unsigned node, struct ept_mapping m)
{
    struct ept_slot slot;
    int err = ept_prepare(&pmap->ept[node], gpa, m.level, &slot);

    if (!err)
        ept_commit(&pmap->ept[node], slot, m.hpa, m.prot);
    return err;
}

static int fault(struct pmap *pmap, struct gpa gpa, unsigned node, bool write)
{
    struct ept_mapping m;
    int err;

    err = pmap_fetch(pmap, gpa, 1);
    if (err)
        return err;
    spin_lock(&pmap->lock);
    pmap->counts.faults++;
    err = write ? pmap_own(pmap, gpa, node) : 0;
    m = wanted(pmap, gpa, node);
    if (!err && !m.hpa.v) { /* there are no zeros to map */
        err = pmap_own(pmap, gpa, node);
        m = wanted(pmap, gpa, node);
    }
    if (!err)
        err = map(pmap, gpa, node, m);
    spin_unlock(&pmap->lock);
    return err;
}

int pmap_add_segment(struct pmap *pmap, struct segment *segment, bool write, struct gpa *base)
{
    const struct pmap_segment *last = pmap->segments ? &pmap->segment[pmap->segments - 1] : NULL;
    uint64_t end = last ? last->base + last->size : PMAP_HIGH_BASE + pmap->span;

    if (pmap->segments == PMAP_SEGMENTS)
        return -ENOSPC;
    *base = GPA(ALIGN_UP(end, PMAP_WINDOW_ALIGN));
    pmap->segment[pmap->segments++] = (struct pmap_segment){ base->v, segment_size(segment), segment, write };
    return 0;
}

/* There is nothing to detach: what a segment has is mapped once, and until the VM's end. */
static int segment_fault(struct pmap *pmap, struct gpa gpa, unsigned node, bool write)
{
    const struct pmap_segment *s = pmap->segment, *end = s + pmap->segments;
    struct ept_mapping m;
    int err;

    while (s < end && gpa.v - s->base >= s->size)
        s++;
    if (s == end || (write && !s->write))
        return -EFAULT;
    err = segment_back(s->segment, gpa.v - s->base, node, &m);
    if (err)
        return err;
    m.prot = s->write ? EPT_RWX : EPT_R | EPT_X;
    spin_lock(&pmap->lock);
    pmap->counts.faults++;
    err = map(pmap, gpa, node, m);
    spin_unlock(&pmap->lock);
    return err;
}

/* One of the VM's own tables of EPTs, not for the 2 MiB at gpa, emptied; HPA_NONE: there is none. Lock held. */
static struct hpa reuse_table(struct pmap *pmap, struct gpa gpa)
{
    uint64_t count = pmap_chunk_count(pmap);

    for (uint64_t i = 0; i < count; i++) {
        struct gpa base = pmap_chunk_base(pmap, pmap->reuse_at = (pmap->reuse_at + 1) % count);

        for (unsigned n = 0; n < pmap->nodes && base.v != ALIGN_DOWN(gpa.v, PAGE_SIZE_2M); n++) {
            struct ept *ept = &pmap->ept[n];
            struct hpa table;

            if (ept_table_use(ept, base) == EPT_NO_TABLE)
                continue;
            table = ept_unhook(ept, base);
            ept_flush(ept);
            clear_memory(hpa_ptr(table), PAGE_SIZE);
            return table;
        }
    }
    return HPA_NONE;
}

/*
 * What the VM has it can use, though there is no page left for another table of an EPT: it gives up one of its own. They
 * go in turn, so that those come together which an instruction needs at once, if it has twice as many.
 */
static int fault_with_own_tables(struct pmap *pmap, struct gpa gpa, unsigned node, bool write)
{
    struct ept_mapping m;
    struct hpa table;
    int err = -ENOMEM;

    if (!pmap_has(pmap, gpa))
        return err;
    spin_lock(&pmap->lock);
    m = wanted(pmap, gpa, node);
    if (m.hpa.v && (!write || m.prot & EPT_W)) {
        while ((err = map(pmap, gpa, node, m)) == -ENOMEM && (table = reuse_table(pmap, gpa)).v)
            ept_keep(&pmap->ept[node], table);
    }
    spin_unlock(&pmap->lock);
    return err;
}

int pmap_fault(struct pmap *pmap, struct gpa gpa, unsigned node, bool write)
{
    int (*serve)(struct pmap *, struct gpa, unsigned, bool) = pmap_has(pmap, gpa) ? fault : segment_fault;
    enum reclaim_result found = RECLAIM_FOUND;
    unsigned tries = 0;
    int err;

    node = node < pmap->nodes ? node : 0;
    while ((err = serve(pmap, gpa, node, write)) == -ENOMEM && found == RECLAIM_FOUND)
        found = reclaim_some(&tries);
    if (err == -ENOMEM && found == RECLAIM_UNFINISHED)
        return -EAGAIN;
    return err == -ENOMEM ? fault_with_own_tables(pmap, gpa, node, write) : err;
}

int pmap_set_device(struct pmap *pmap, struct gpa gpa, struct hpa page)
{
    int err = 0;

    if (pmap_is_ram(pmap, gpa, PAGE_SIZE))
        return -EINVAL;
    spin_lock(&pmap->lock);
    for (unsigned n = 0; n < pmap->nodes && !err; n++) {
        struct ept *ept = &pmap->ept[n];
        struct ept_slot slot;

        if (!page.v)
            ept_clear(ept, gpa);
        else
            err = ept_prepare(ept, gpa, EPT_4K, &slot);
        if (page.v && !err)
            ept_commit(ept, slot, page, EPT_R | EPT_W);
    }
    spin_unlock(&pmap->lock);
    return err;
}

/* Copies a part of one page. Lock held. */
typedef int (*part_fn)(struct pmap *pmap, struct gpa gpa, char *arg, size_t n);

static int part_read(struct pmap *pmap, struct gpa gpa, char *arg, size_t n)
{
    const char *from = pmap_machine(pmap, gpa);

    if (from)
        memcpy(arg, from, n);
    else
        memset(arg, 0, n);
    return 0;
}

static int part_write(struct pmap *pmap, struct gpa gpa, char *arg, size_t n)
{
    int err = pmap_own(pmap, gpa, pmap->home);

    if (err)
        return err;
    memcpy(pmap_machine(pmap, gpa), arg, n);
    pmap_show_own(pmap, gpa);
    return 0;
}

static int part_set(struct pmap *pmap, struct gpa gpa, char *arg, size_t n)
{
    int err = pmap_own(pmap, gpa, pmap->home);

    (void)n;
    if (err)
        return err;
    __atomic_fetch_or(pmap_machine(pmap, gpa), *arg, __ATOMIC_RELAXED);
    pmap_show_own(pmap, gpa);
    return 0;
}

static int part_zero(struct pmap *pmap, struct gpa gpa, char *arg, size_t n)
{
    int err = pmap_machine(pmap, gpa) ? pmap_own(pmap, gpa, pmap->home) : 0;

    (void)arg;
    if (!err && pmap_machine(pmap, gpa))
        memset(pmap_machine(pmap, gpa), 0, n);
    return err;
}

static int part_load(struct pmap *pmap, struct gpa gpa, char *arg, size_t n)
{
    if (n == PAGE_SIZE && pmap_adopt(pmap, gpa, arg))
        return 0;
    return part_write(pmap, gpa, arg, n);
}

/* What is left to do of a range. */
struct rest { struct gpa gpa; size_t n; char *arg; };

/* As far as it goes without an error. */
static int run_parts(struct pmap *pmap, struct rest *r, part_fn part)
{
    int err = pmap_fetch(pmap, r->gpa, r->n);

    spin_lock(&pmap->lock);
    while (r->n && !err) {
        size_t step = MIN(r->n, PAGE_SIZE - r->gpa.v % PAGE_SIZE);

        err = part(pmap, r->gpa, r->arg, step);
        if (err)
            break;
        r->gpa.v += step;
        if (r->arg)
            r->arg += step;
        r->n -= step;
    }
    spin_unlock(&pmap->lock);
    return err;
}

/* Runs over [gpa, gpa + n) page by page. */
static int each_part(struct pmap *pmap, struct gpa gpa, size_t n, part_fn part, char *arg)
{
    struct rest rest = { gpa, n, arg };
    unsigned tries = 0;
    int err;

    if (!pmap_is_ram(pmap, gpa, n))
        return -EFAULT;
    do {
        err = run_parts(pmap, &rest, part);
    } while (err == -ENOMEM && reclaim_again(&tries));
    return err;
}

/* Is this a part of one page of RAM? Then there is a short way, for rings and their like. */
static inline bool in_page(const struct pmap *pmap, struct gpa gpa, size_t n)
{
    return gpa.v % PAGE_SIZE + n <= PAGE_SIZE && gpa.v < pmap->windows_at && pmap_has(pmap, gpa);
}

int pmap_read(struct pmap *pmap, struct gpa from, void *to, size_t n)
{
    const char *page;

    if (!in_page(pmap, from, n))
        return each_part(pmap, from, n, part_read, to);
    spin_lock(&pmap->lock);
    page = pmap_machine(pmap, from);
    if (page)
        memcpy(to, page, n);
    else
        memset(to, 0, n);
    spin_unlock(&pmap->lock);
    return 0;
}

int pmap_write(struct pmap *pmap, struct gpa to, const void *from, size_t n)
{
    char *page = NULL;

    if (in_page(pmap, to, n)) {
        spin_lock(&pmap->lock);
        page = pmap_own_machine(pmap, to);
        if (page)
            memcpy(page, from, n);
        spin_unlock(&pmap->lock);
    }
    return page ? 0 : each_part(pmap, to, n, part_write, (char *)from);
}

void *pmap_hold(struct pmap *pmap, struct gpa gpa)
{
    void *page;

    if (!in_page(pmap, gpa, 1))
        return NULL;
    spin_lock(&pmap->lock);
    page = pmap_own_machine(pmap, gpa);
    if (!page)
        spin_unlock(&pmap->lock);
    return page;
}

int pmap_set_bits(struct pmap *pmap, struct gpa at, uint8_t bits)
{
    return each_part(pmap, at, 1, part_set, (char *)&bits);
}

int pmap_zero(struct pmap *pmap, struct gpa to, size_t n)
{
    return each_part(pmap, to, n, part_zero, NULL);
}

int pmap_load(struct pmap *pmap, struct gpa to, const void *from, size_t n)
{
    return each_part(pmap, to, n, part_load, (char *)from);
}
