/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/layer.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "numa/commons.h"

/* In the map of own blocks: it is zero, and has no page. */
#define ALL_ZERO 1u

/* A part of one block, and what it is copied from or to. */
struct part {
    uint64_t block;
    size_t from, n;            /* bytes inside the block */
    struct pmap *pmap;         /* NULL: zeros */
    struct gpa gpa;
    bool share;
    unsigned node;
};

static char *frame_ptr(uint32_t frame) { return hpa_ptr(HPA((uint64_t)frame << PAGE_SHIFT)); }

static void free_frame(uint32_t frame)
{
    if (frame != ALL_ZERO)
        page_free(HPA((uint64_t)frame << PAGE_SHIFT), PAGE_ORDER_4K);
}

static void count(_Atomic uint64_t *n) { atomic_fetch_add_explicit(n, 1, memory_order_relaxed); }

static int read_image(struct layer *l, const struct part *p)
{
    struct hpa page;
    int err = image_page(l->image, p->block, &page);

    if (err)
        return err;
    if (p->share && p->n == IMAGE_BLOCK && !pmap_place(p->pmap, p->gpa, page, p->node)) {
        count(&l->placed);
        return 0;
    }
    count(&l->copied);
    err = pmap_write(p->pmap, p->gpa, (char *)hpa_ptr(page) + p->from, p->n);
    commons_drop(page);
    return err;
}

static int read_part(struct layer *l, const struct part *p)
{
    uint32_t frame;
    int err = 0;

    spin_lock(&l->lock);
    frame = block_map_get(&l->own, p->block);
    if (frame == ALL_ZERO)
        err = pmap_zero(p->pmap, p->gpa, p->n);
    else if (frame)
        err = pmap_write(p->pmap, p->gpa, frame_ptr(frame) + p->from, p->n);
    if (frame > ALL_ZERO)
        count(&l->copied);
    spin_unlock(&l->lock);
    return frame ? err : read_image(l, p);
}

static int fill_part(char *block, const struct part *p)
{
    if (p->pmap)
        return pmap_read(p->pmap, p->gpa, block + p->from, p->n);
    memset(block + p->from, 0, p->n);
    return 0;
}

/* What a block holds before its first write. */
static int fill_rest(struct layer *l, uint32_t frame, uint64_t block, char *to)
{
    struct hpa page;
    int err;

    if (frame == ALL_ZERO) {
        memset(to, 0, IMAGE_BLOCK);
        return 0;
    }
    err = image_page(l->image, block, &page);
    if (!err) {
        memcpy(to, hpa_ptr(page), IMAGE_BLOCK);
        commons_drop(page);
    }
    return err;
}

/* A block that has no page of its own gets one. */
static int write_new(struct layer *l, uint32_t *slot, const struct part *p)
{
    struct hpa page = page_alloc(p->node, PAGE_ORDER_4K, PAGE_HYPERVISOR);
    int err = page.v ? 0 : -ENOMEM;

    if (!err && p->n < IMAGE_BLOCK)
        err = fill_rest(l, *slot, p->block, hpa_ptr(page));
    if (!err)
        err = fill_part(hpa_ptr(page), p);
    if (!err) {
        *slot = (uint32_t)(page.v >> PAGE_SHIFT);
        l->pages++;
    } else if (page.v) {
        page_free(page, PAGE_ORDER_4K);
    }
    return err;
}

static int write_part(struct layer *l, const struct part *p)
{
    uint32_t *slot;
    int err;

    spin_lock(&l->lock);
    slot = block_map_slot(&l->own, p->block);
    if (!slot)
        err = -ENOMEM;
    else if (*slot > ALL_ZERO)
        err = fill_part(frame_ptr(*slot), p);
    else
        err = write_new(l, slot, p);
    spin_unlock(&l->lock);
    return err;
}

static int zero_block(struct layer *l, const struct part *p)
{
    uint32_t *slot;

    spin_lock(&l->lock);
    slot = block_map_slot(&l->own, p->block);
    if (slot && *slot > ALL_ZERO) {
        free_frame(*slot);
        l->pages--;
    }
    if (slot)
        *slot = ALL_ZERO;
    spin_unlock(&l->lock);
    return slot ? 0 : -ENOMEM;
}

static int zero_part(struct layer *l, const struct part *p)
{
    return p->n == IMAGE_BLOCK ? zero_block(l, p) : write_part(l, p);
}

static int discard_part(struct layer *l, const struct part *p)
{
    return p->n == IMAGE_BLOCK ? zero_block(l, p) : 0;
}

typedef int (*part_fn)(struct layer *l, const struct part *p);

/* Runs over n bytes in parts, each inside one block and one page. */
static int each_part(struct layer *l, uint64_t at, uint64_t n, struct part p, part_fn fn)
{
    int err = 0;

    while (n && !err) {
        p.block = at / IMAGE_BLOCK;
        p.from = at % IMAGE_BLOCK;
        p.n = MIN(n, IMAGE_BLOCK - MAX(p.from, p.gpa.v % PAGE_SIZE));
        err = fn(l, &p);
        at += p.n;
        p.gpa.v += p.pmap ? p.n : 0;
        n -= p.n;
    }
    return err;
}

int layer_read(struct layer *l, uint64_t at, struct pmap *pmap, struct gpa to, uint64_t n, bool share, unsigned node)
{
    return each_part(l, at, n, (struct part){ .pmap = pmap, .gpa = to, .share = share, .node = node }, read_part);
}

int layer_write(struct layer *l, uint64_t at, struct pmap *pmap, struct gpa from, uint64_t n)
{
    return each_part(l, at, n, (struct part){ .pmap = pmap, .gpa = from, .node = pmap->home }, write_part);
}

int layer_zero(struct layer *l, uint64_t at, uint64_t n)
{
    return each_part(l, at, n, (struct part){ .pmap = NULL }, zero_part);
}

int layer_discard(struct layer *l, uint64_t at, uint64_t n)
{
    return each_part(l, at, n, (struct part){ .pmap = NULL }, discard_part);
}

void layer_destroy(struct layer *l)
{
    block_map_clear(&l->own, free_frame);
    l->pages = 0;
}
