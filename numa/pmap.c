/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "numa/pmap.h"
#include "lib/errno.h"
#include "lib/string.h"

/* A chunk entry: address with one of these; a page entry: address with PRESENT. */
#define P_PRESENT BIT(0)
#define P_LARGE   BIT(1)       /* chunk: one 2 MiB page; else a table of page entries */
#define P_ADDR    0x000ffffffffff000ull

#define CHUNK_PAGES 512u

static struct hpa table_alloc(void *ctx)
{
    (void)ctx;
    return page_alloc_zeroed(0, PAGE_ORDER_4K, PAGE_TABLE);
}

static void table_free(void *ctx, struct hpa page)
{
    (void)ctx;
    page_free(page, PAGE_ORDER_4K);
}

static const struct ept_pages ept_source = { .alloc = table_alloc, .free = table_free };

uint64_t pmap_memory(const struct pmap *pmap) { return pmap->low + pmap->high; }

static uint64_t chunk_count(const struct pmap *pmap)
{
    return (ALIGN_UP(pmap->low, PAGE_SIZE_2M) + ALIGN_UP(pmap->high, PAGE_SIZE_2M)) / PAGE_SIZE_2M;
}

bool pmap_is_ram(const struct pmap *pmap, struct gpa gpa, uint64_t n)
{
    uint64_t end = gpa.v + n;

    if (end < gpa.v)
        return false;
    if (gpa.v >= PMAP_HIGH_BASE)
        return end <= PMAP_HIGH_BASE + pmap->high;
    return end <= pmap->low && (end <= PMAP_HOLE || gpa.v >= PMAP_HOLE_END);
}

/* The chunk entry of a RAM address. */
static uint64_t *chunk_of(struct pmap *pmap, struct gpa gpa)
{
    uint64_t offset = gpa.v < PMAP_HIGH_BASE ? gpa.v
                                             : gpa.v - PMAP_HIGH_BASE + ALIGN_UP(pmap->low, PAGE_SIZE_2M);

    return &pmap->chunks[offset / PAGE_SIZE_2M];
}

int pmap_init(struct pmap *pmap, uint16_t id, uint64_t memory, unsigned nodes)
{
    struct hpa dir;

    if (!memory || memory % MIB || memory > BIT(46) || nodes > NUMA_MAX_NODES)
        return -EINVAL;
    *pmap = (struct pmap){ .id = id, .low = MIN(memory, PMAP_LOW_MAX), .nodes = nodes };
    pmap->high = memory - pmap->low;
    while ((PAGE_SIZE << pmap->chunks_order) < chunk_count(pmap) * sizeof(uint64_t))
        pmap->chunks_order++;
    dir = page_alloc_zeroed(0, pmap->chunks_order, PAGE_TABLE);
    if (!dir.v)
        return -ENOMEM;
    pmap->chunks = hpa_ptr(dir);
    pmap->tables = BIT(pmap->chunks_order);
    for (unsigned n = 0; n < nodes; n++) {
        if (ept_init(&pmap->ept[n], &ept_source)) {
            pmap_destroy(pmap);
            return -ENOMEM;
        }
    }
    return 0;
}

static void destroy_chunk(uint64_t chunk)
{
    uint64_t *pages = (uint64_t *)(chunk & P_ADDR);

    if (chunk & P_LARGE) {
        page_free(HPA(chunk & P_ADDR), PAGE_ORDER_2M);
        return;
    }
    for (unsigned i = 0; i < CHUNK_PAGES; i++)
        if (pages[i] & P_PRESENT)
            page_free(HPA(pages[i] & P_ADDR), PAGE_ORDER_4K);
    page_free(ptr_hpa(pages), PAGE_ORDER_4K);
}

void pmap_destroy(struct pmap *pmap)
{
    for (unsigned n = 0; n < pmap->nodes; n++)
        ept_destroy(&pmap->ept[n]);
    for (uint64_t i = 0; i < chunk_count(pmap); i++)
        if (pmap->chunks[i] & P_PRESENT)
            destroy_chunk(pmap->chunks[i]);
    page_free(ptr_hpa(pmap->chunks), pmap->chunks_order);
    *pmap = (struct pmap){ 0 };
}

static void own(struct pmap *pmap, struct hpa page, struct gpa gpa)
{
    struct mpage *p = page_of(page);

    p->refs = 1;
    p->sharer = (uint64_t)pmap->id << 48 | gpa.v >> PAGE_SHIFT;
}

/* Backs a whole untouched chunk with one large page; false: not possible, take small ones. */
static bool fill_large(struct pmap *pmap, uint64_t *chunk, struct gpa gpa, unsigned node)
{
    struct gpa base = GPA(ALIGN_DOWN(gpa.v, PAGE_SIZE_2M));
    struct hpa page;

    if (!pmap_is_ram(pmap, base, PAGE_SIZE_2M))
        return false;
    page = page_alloc_zeroed(node, PAGE_ORDER_2M, PAGE_PRIVATE);
    if (!page.v)
        return false;
    own(pmap, page, base);
    pmap->touched += CHUNK_PAGES;
    *chunk = page.v | P_PRESENT | P_LARGE;
    return true;
}

static int fill_small(struct pmap *pmap, uint64_t *chunk, struct gpa gpa, unsigned node)
{
    struct hpa page;
    uint64_t *e;

    if (!*chunk) {
        page = table_alloc(NULL);
        if (!page.v)
            return -ENOMEM;
        pmap->tables++;
        *chunk = page.v | P_PRESENT;
    }
    e = &((uint64_t *)(*chunk & P_ADDR))[gpa.v / PAGE_SIZE % CHUNK_PAGES];
    if (*e)
        return 0;
    page = page_alloc_zeroed(node, PAGE_ORDER_4K, PAGE_PRIVATE);
    if (!page.v)
        return -ENOMEM;
    own(pmap, page, GPA(ALIGN_DOWN(gpa.v, PAGE_SIZE)));
    pmap->touched++;
    *e = page.v | P_PRESENT;
    return 0;
}

/* What a RAM page is: the machine page that backs gpa, at the largest size; HPA_NONE: never touched. */
static struct hpa lookup(struct pmap *pmap, struct gpa gpa, enum ept_level *level)
{
    uint64_t chunk = *chunk_of(pmap, gpa), e;

    if (!chunk)
        return HPA_NONE;
    if (chunk & P_LARGE) {
        *level = EPT_2M;
        return HPA(chunk & P_ADDR);
    }
    *level = EPT_4K;
    e = ((uint64_t *)(chunk & P_ADDR))[gpa.v / PAGE_SIZE % CHUNK_PAGES];
    return HPA(e & P_ADDR);
}

/* Backs a RAM page. Lock held. */
static int fill(struct pmap *pmap, struct gpa gpa, unsigned node)
{
    uint64_t *chunk = chunk_of(pmap, gpa);

    if ((*chunk & P_LARGE) || (!*chunk && fill_large(pmap, chunk, gpa, node)))
        return 0;
    return fill_small(pmap, chunk, gpa, node);
}

/* Brings one node's EPT up to the pmap at gpa. Lock held; the page is backed. */
static int map(struct pmap *pmap, struct gpa gpa, unsigned node)
{
    enum ept_level level = EPT_4K;
    struct hpa page = lookup(pmap, gpa, &level);
    struct gpa base = GPA(ALIGN_DOWN(gpa.v, level == EPT_2M ? PAGE_SIZE_2M : PAGE_SIZE));
    int err = ept_prepare(&pmap->ept[node], base, level);

    if (err)
        return err;
    if (ept_lookup(&pmap->ept[node], base).level != level)
        ept_commit(&pmap->ept[node], base, level, page, EPT_RWX);
    return 0;
}

int pmap_fault(struct pmap *pmap, struct gpa gpa, unsigned node)
{
    int err;

    if (!pmap_is_ram(pmap, GPA(ALIGN_DOWN(gpa.v, PAGE_SIZE)), PAGE_SIZE))
        return -EFAULT;
    if (node >= pmap->nodes)
        node = 0;
    spin_lock(&pmap->lock);
    pmap->faults++;
    err = fill(pmap, gpa, node);
    if (!err)
        err = map(pmap, gpa, node);
    spin_unlock(&pmap->lock);
    return err;
}

int pmap_set_device(struct pmap *pmap, struct gpa gpa, struct hpa page)
{
    int err = 0;

    if (pmap_is_ram(pmap, gpa, PAGE_SIZE))
        return -EINVAL;
    spin_lock(&pmap->lock);
    for (unsigned n = 0; n < pmap->nodes && !err; n++) {
        struct ept *ept = &pmap->ept[n];

        if (!page.v)
            ept_clear(ept, gpa, EPT_4K);
        else
            err = ept_prepare(ept, gpa, EPT_4K);
        if (page.v && !err)
            ept_commit(ept, gpa, EPT_4K, page, EPT_R | EPT_W);
    }
    spin_unlock(&pmap->lock);
    return err;
}

/* Runs over [gpa, gpa + n) page by page with the machine address of each part. */
static int each_part(struct pmap *pmap, struct gpa gpa, size_t n, bool touch,
                     void (*part)(void *machine, char *arg, size_t n), char *arg)
{
    int err = 0;

    if (!pmap_is_ram(pmap, gpa, n))
        return -EFAULT;
    spin_lock(&pmap->lock);
    while (n && !err) {
        enum ept_level level = EPT_4K;
        size_t step = MIN(n, PAGE_SIZE - gpa.v % PAGE_SIZE);
        struct hpa page = lookup(pmap, gpa, &level);

        if (!page.v && touch) {
            err = fill(pmap, gpa, 0);
            page = lookup(pmap, gpa, &level);
        }
        if (page.v)
            part((char *)hpa_ptr(page) + gpa.v % (level == EPT_2M ? PAGE_SIZE_2M : PAGE_SIZE), arg, step);
        gpa.v += step;
        arg += arg ? step : 0;
        n -= step;
    }
    spin_unlock(&pmap->lock);
    return err;
}

static void part_read(void *machine, char *arg, size_t n) { memcpy(arg, machine, n); }
static void part_write(void *machine, char *arg, size_t n) { memcpy(machine, arg, n); }

static void part_zero(void *machine, char *arg, size_t n)
{
    (void)arg;
    memset(machine, 0, n);
}

int pmap_read(struct pmap *pmap, struct gpa from, void *to, size_t n)
{
    return each_part(pmap, from, n, true, part_read, to);
}

int pmap_write(struct pmap *pmap, struct gpa to, const void *from, size_t n)
{
    return each_part(pmap, to, n, true, part_write, (char *)from);
}

int pmap_zero(struct pmap *pmap, struct gpa to, size_t n)
{
    return each_part(pmap, to, n, false, part_zero, NULL);
}
