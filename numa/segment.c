/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "numa/segment.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "numa/pmap_parts.h"

struct segment {
    char name[SEGMENT_NAME_MAX];
    uint64_t size;
    unsigned users;            /* references, 0: the place is free; guarded by list_lock */
    struct spinlock lock;      /* guards the chunks, which only ever gain entries */
    uint64_t *chunks;          /* per 2 MiB, as a pmap's: 0, a large page, or a table */
    unsigned order;            /* pages of chunks */
    _Atomic uint64_t pages;
};

static struct spinlock list_lock;
static struct segment segments[SEGMENTS_MAX];

const char *segment_name(const struct segment *s) { return s->name; }
uint64_t segment_size(const struct segment *s) { return s->size; }
uint64_t segment_pages(const struct segment *s) { return atomic_load(&s->pages); }

static uint64_t chunk_count(const struct segment *s) { return s->size / PAGE_SIZE_2M; }

static int make(struct segment *s, const char *name, uint64_t size)
{
    unsigned order = page_order(size / PAGE_SIZE_2M * sizeof(uint64_t));
    struct hpa dir = page_alloc_zeroed(0, order, PAGE_TABLE);

    if (!dir.v)
        return -ENOMEM;
    *s = (struct segment){ .size = size, .users = 1, .chunks = hpa_ptr(dir), .order = order };
    memcpy(s->name, name, strlen(name));
    return 0;
}

/* List locked. */
static struct segment *find(const char *name, struct segment **empty)
{
    *empty = NULL;
    for (unsigned i = 0; i < SEGMENTS_MAX; i++) {
        if (!segments[i].users)
            *empty = *empty ? *empty : &segments[i];
        else if (!strcmp(segments[i].name, name))
            return &segments[i];
    }
    return NULL;
}

int segment_get(const char *name, uint64_t size, struct segment **out)
{
    struct segment *empty, *s;
    int err = 0;

    if (!size || size % PAGE_SIZE_2M || size > BIT(46) || strlen(name) >= SEGMENT_NAME_MAX)
        return -EINVAL;
    spin_lock(&list_lock);
    s = find(name, &empty);
    if (s && s->size != size)
        err = -EINVAL;
    else if (s)
        s->users++;
    else
        err = empty ? make(s = empty, name, size) : -ENOSPC;
    spin_unlock(&list_lock);
    if (!err)
        *out = s;
    return err;
}

static void free_chunk(uint64_t chunk)
{
    const uint64_t *pages = (const uint64_t *)(chunk & P_ADDR);

    if (chunk & P_LARGE) {
        page_free(HPA(chunk & P_ADDR), PAGE_ORDER_2M);
        return;
    }
    for (unsigned i = 0; i < CHUNK_PAGES; i++)
        if (pages[i])
            page_free(HPA(pages[i] & P_ADDR), PAGE_ORDER_4K);
    page_free(ptr_hpa(pages), PAGE_ORDER_4K);
}

void segment_drop(struct segment *s)
{
    spin_lock(&list_lock);
    if (!--s->users) {
        for (uint64_t i = 0; i < chunk_count(s); i++)
            if (s->chunks[i])
                free_chunk(s->chunks[i]);
        page_free(ptr_hpa(s->chunks), s->order);
    }
    spin_unlock(&list_lock);
}

/* Memory, zeroed. Segment locked; false: there is none of this size. */
static bool fill(struct segment *s, uint64_t *entry, unsigned order, uint64_t flags, unsigned node)
{
    struct hpa page = page_alloc_zeroed(node, order, PAGE_SEGMENT);

    if (!page.v)
        return false;
    *entry = page.v | flags;
    atomic_fetch_add(&s->pages, BIT(order));
    return true;
}

/* Small pages go further where memory is short. */
static bool fill_chunk(struct segment *s, uint64_t *chunk, unsigned node)
{
    struct hpa table;

    if (!page_short() && fill(s, chunk, PAGE_ORDER_2M, P_PRESENT | P_LARGE, node))
        return true;
    table = page_alloc_zeroed(node, PAGE_ORDER_4K, PAGE_TABLE);
    if (table.v)
        *chunk = table.v | P_PRESENT;
    return table.v;
}

int segment_back(struct segment *s, uint64_t offset, unsigned node, struct ept_mapping *m)
{
    uint64_t *chunk = &s->chunks[offset / PAGE_SIZE_2M], *e = chunk;
    bool there;

    spin_lock(&s->lock);
    there = *chunk || fill_chunk(s, chunk, node);
    if (there && !(*chunk & P_LARGE)) {
        e = pmap_entry(*chunk, GPA(offset));
        there = *e || fill(s, e, PAGE_ORDER_4K, P_PRESENT, node);
    }
    if (there)
        *m = (struct ept_mapping){ .level = e == chunk ? EPT_2M : EPT_4K, .hpa = HPA(*e & P_ADDR) };
    spin_unlock(&s->lock);
    return there ? 0 : -ENOMEM;
}

void segment_each(void (*each)(const struct segment *s))
{
    spin_lock(&list_lock);
    for (unsigned i = 0; i < SEGMENTS_MAX; i++)
        if (segments[i].users)
            each(&segments[i]);
    spin_unlock(&list_lock);
}
