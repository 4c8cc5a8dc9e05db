/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "numa/page.h"
#include "arch/x86/cpu.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/spinlock.h"
#include "lib/string.h"
#include "numa/spare.h"

#define MAX_RANGES 64

#define ZERO_STEP      (64 * KIB)
#define STOCK_FRACTION 8
#define SHORT_FRACTION 32

struct node {
    struct spinlock lock;
    uint32_t free_list[PAGE_ORDERS];
    struct page_counts counts;
    uint32_t stock;            /* zeroed 2 MiB blocks, linked by next and prev */
    uint32_t small_stock;      /* zeroed pages, from such a block */
    _Atomic bool zeroing;      /* a processor is at the block below */
    struct hpa half_zeroed;
    uint64_t zeroed;           /* bytes of it */
};

struct page_range page_ranges[MAX_RANGES];
static unsigned range_count;
static unsigned node_count = 1;
static uint8_t distances[NUMA_MAX_NODES][NUMA_MAX_NODES];
/* For each node all nodes, the nearest first. */
static uint8_t nearest[NUMA_MAX_NODES][NUMA_MAX_NODES] = {
    { 0, 1, 2, 3, 4, 5, 6, 7 }, { 1, 0, 2, 3, 4, 5, 6, 7 }, { 2, 0, 1, 3, 4, 5, 6, 7 }, { 3, 0, 1, 2, 4, 5, 6, 7 },
    { 4, 0, 1, 2, 3, 5, 6, 7 }, { 5, 0, 1, 2, 3, 4, 6, 7 }, { 6, 0, 1, 2, 3, 4, 5, 7 }, { 7, 0, 1, 2, 3, 4, 5, 6 },
};
static struct node nodes[NUMA_MAX_NODES];

static uint64_t frame_of(struct hpa p) { return p.v >> PAGE_SHIFT; }

static struct page_range *range_of(uint64_t frame)
{
    for (unsigned i = 0; i < range_count; i++)
        if (frame - page_ranges[i].first < page_ranges[i].count)
            return &page_ranges[i];
    return NULL;
}

struct mpage *page_of_far(uint64_t frame)
{
    for (const struct page_range *r = page_ranges + 2, *end = page_ranges + range_count; r < end; r++)
        if (frame - r->first < r->count)
            return &r->pages[frame - r->first];
    return NULL;
}

static inline struct mpage *entry(uint64_t frame) { return page_of(HPA(frame << PAGE_SHIFT)); }

static void list_push(struct node *n, unsigned order, uint64_t frame, struct mpage *p)
{
    uint32_t head = n->free_list[order];

    p->kind = PAGE_FREE;
    p->order = (uint8_t)order;
    p->head = true;
    p->next = head;
    p->prev = 0;
    if (head)
        entry(head)->prev = (uint32_t)frame;
    n->free_list[order] = (uint32_t)frame;
}

static void list_remove(struct node *n, struct mpage *p)
{
    if (p->prev)
        entry(p->prev)->next = p->next;
    else
        n->free_list[p->order] = p->next;
    if (p->next)
        entry(p->next)->prev = p->prev;
    p->head = false;
}

/* Joins the free block with its buddy as long as that is free too, and puts the result on its list. */
static void free_block(struct node *n, uint64_t frame, unsigned order)
{
    struct page_range *r = range_of(frame);

    while (order + 1 < PAGE_ORDERS) {
        uint64_t buddy = frame ^ BIT(order);
        struct mpage *b = buddy - r->first < r->count ? &r->pages[buddy - r->first] : NULL;

        if (!b || !b->head || b->kind != PAGE_FREE || b->order != order)
            break;
        list_remove(n, b);
        r->pages[frame - r->first].head = false;
        frame &= ~BIT(order);
        order++;
    }
    list_push(n, order, frame, &r->pages[frame - r->first]);
}

/* Order of the largest naturally aligned block that starts at frame and ends by end. */
static unsigned biggest_block(uint64_t frame, uint64_t end)
{
    unsigned order = 0;

    while (order + 1 < PAGE_ORDERS && !(frame & BIT(order)) && frame + BIT(order + 1) <= end)
        order++;
    return order;
}

static bool overlaps(uint64_t first, uint64_t count)
{
    for (unsigned i = 0; i < range_count; i++)
        if (first < page_ranges[i].first + page_ranges[i].count && page_ranges[i].first < first + count)
            return true;
    return false;
}

int page_add_range(uint64_t base, uint64_t size, unsigned node)
{
    uint64_t first = base >> PAGE_SHIFT, count = size >> PAGE_SHIFT;
    uint64_t map = ALIGN_UP(count * sizeof(struct mpage), PAGE_SIZE) >> PAGE_SHIFT;
    struct node *n = &nodes[node];
    struct page_range *r;

    if (range_count == MAX_RANGES)
        return -ENOSPC;
    if ((base | size) % PAGE_SIZE || !base || count <= map || node >= NUMA_MAX_NODES || overlaps(first, count) ||
        first + count > UINT32_MAX)
        return -EINVAL;
    for (r = &page_ranges[range_count++]; r > page_ranges && r[-1].count < count; r--)
        *r = r[-1]; /* the biggest first: it is looked for most often */
    *r = (struct page_range){ .first = first, .count = count, .pages = (struct mpage *)base };
    memset(r->pages, 0, map << PAGE_SHIFT);
    for (uint64_t i = 0; i < count; i++)
        r->pages[i] = (struct mpage){ .kind = PAGE_HYPERVISOR, .node = (uint8_t)node };

    spin_lock(&n->lock);
    n->counts.total += count;
    n->counts.by_kind[PAGE_HYPERVISOR] += map;
    n->counts.free += count - map;
    for (uint64_t f = first + map; f < first + count;) {
        unsigned order = biggest_block(f, first + count);

        list_push(n, order, f, entry(f));
        f += BIT(order);
    }
    spin_unlock(&n->lock);
    return 0;
}

/* Lock held. */
static void stock_remove(struct node *n, struct mpage *p)
{
    if (p->prev)
        entry(p->prev)->next = p->next;
    else
        n->stock = p->next;
    if (p->next)
        entry(p->next)->prev = p->prev;
    n->counts.by_kind[PAGE_ZEROED] -= BIT(PAGE_ORDER_2M);
}

/* Lock held. */
static struct hpa stock_pop(struct node *n)
{
    uint64_t frame = n->stock;

    if (frame)
        stock_remove(n, entry(frame));
    return HPA(frame << PAGE_SHIFT);
}

/* Breaks a zeroed block of the stock into zeroed pages. Lock held; false: there is none. */
static bool stock_break(struct node *n)
{
    struct hpa block = stock_pop(n);
    struct mpage *p = page_of(block);

    for (uint64_t i = BIT(PAGE_ORDER_2M); block.v && i-- > 0;) {
        p[i] = (struct mpage){ .kind = PAGE_ZEROED, .node = p->node, .head = true, .next = n->small_stock };
        n->small_stock = (uint32_t)(frame_of(block) + i);
    }
    n->counts.by_kind[PAGE_ZEROED] += block.v ? BIT(PAGE_ORDER_2M) : 0;
    return block.v;
}

/* Lock held. */
static struct hpa small_pop(struct node *n)
{
    uint64_t frame = n->small_stock;

    if (frame) {
        n->small_stock = entry(frame)->next;
        n->counts.by_kind[PAGE_ZEROED]--;
    }
    return HPA(frame << PAGE_SHIFT);
}

/* Gives the stock back to the free lists, for blocks of other sizes. Lock held; false: it was empty. */
static bool stock_dissolve(struct node *n)
{
    bool any = n->stock || n->small_stock;
    struct hpa p;

    while ((p = stock_pop(n)).v) {
        n->counts.free += BIT(PAGE_ORDER_2M);
        free_block(n, frame_of(p), PAGE_ORDER_2M);
    }
    while ((p = small_pop(n)).v) {
        n->counts.free++;
        free_block(n, frame_of(p), PAGE_ORDER_4K);
    }
    return any;
}

/* A block that is in no free list any more is allocated. Lock held. */
static inline void set_allocated(struct node *n, struct mpage *p, unsigned order, enum page_kind kind)
{
    p->kind = (uint8_t)kind;
    p->order = (uint8_t)order;
    p->head = true;
    p->refs = 0;
    p->sharer = 0;
    p->hash = 0;
    p->use = (struct page_use){ 0 };
    n->counts.free -= BIT(order);
    n->counts.by_kind[kind] += BIT(order);
}

static struct hpa alloc_from(struct node *n, unsigned order, enum page_kind kind)
{
    unsigned have;
    uint64_t frame;
    struct mpage *p;

    spin_lock(&n->lock);
    do {
        for (have = order; have < PAGE_ORDERS && !n->free_list[have];)
            have++;
    } while (have == PAGE_ORDERS && stock_dissolve(n));
    if (have == PAGE_ORDERS) {
        spin_unlock(&n->lock);
        return HPA_NONE;
    }
    frame = n->free_list[have];
    p = entry(frame);
    list_remove(n, p);
    while (have > order) {
        have--;
        list_push(n, have, frame + BIT(have), p + BIT(have));
    }
    set_allocated(n, p, order, kind);
    spin_unlock(&n->lock);
    return HPA(frame << PAGE_SHIFT);
}

/* The free block that this frame is in, of 2 MiB or more; 0: there is none. Lock held. */
static uint64_t find_free(uint64_t frame)
{
    for (unsigned order = PAGE_ORDER_2M; order < PAGE_ORDERS; order++) {
        uint64_t head = frame & ~(BIT(order) - 1);
        const struct mpage *p = entry(head);

        if (p && p->head && p->kind == PAGE_FREE && p->order == order)
            return head;
    }
    return 0;
}

/* Takes the 2 MiB at frame out of the free block at head, the rest of which stays free. Lock held. */
static void carve(struct node *n, uint64_t head, uint64_t frame, enum page_kind kind)
{
    unsigned have = entry(head)->order;

    list_remove(n, entry(head));
    while (have > PAGE_ORDER_2M) {
        uint64_t half = head + BIT(--have), other = frame < half ? half : head;

        list_push(n, have, other, entry(other));
        head = frame < half ? head : half;
    }
    set_allocated(n, entry(frame), PAGE_ORDER_2M, kind);
}

bool page_take(struct hpa block, enum page_kind kind)
{
    uint64_t frame = frame_of(block), head;
    struct mpage *p = entry(frame);
    struct node *n = &nodes[p ? p->node : 0];
    bool zeroed;

    spin_lock(&n->lock);
    head = p ? find_free(frame) : 0;
    /* One that is being zeroed just now is in no list. */
    zeroed = p && p->head && p->kind == PAGE_ZEROED && p->order == PAGE_ORDER_2M && (p->prev || n->stock == frame);
    if (head) {
        carve(n, head, frame, kind);
    } else if (zeroed) {
        stock_remove(n, p);
        *p = (struct mpage){ .kind = (uint8_t)kind, .order = PAGE_ORDER_2M, .node = p->node, .head = true };
        n->counts.by_kind[kind] += BIT(PAGE_ORDER_2M);
    }
    spin_unlock(&n->lock);
    return head || zeroed;
}

/* A zeroed block from the stock: 2 MiB or 4 KiB. */
static struct hpa stock_take(struct node *n, unsigned order, enum page_kind kind)
{
    struct hpa p;

    spin_lock(&n->lock);
    if (order == PAGE_ORDER_2M)
        p = stock_pop(n);
    else
        p = n->small_stock || stock_break(n) ? small_pop(n) : HPA_NONE;
    if (p.v) {
        struct mpage *e = page_of(p);

        *e = (struct mpage){ .kind = (uint8_t)kind, .order = (uint8_t)order, .node = e->node, .head = true };
        n->counts.by_kind[kind] += BIT(order);
    }
    spin_unlock(&n->lock);
    return p;
}

static void stock_put(struct node *n, struct hpa block)
{
    struct mpage *p = page_of(block);

    spin_lock(&n->lock);
    p->next = n->stock;
    p->prev = 0;
    if (n->stock)
        entry(n->stock)->prev = (uint32_t)frame_of(block);
    n->stock = (uint32_t)frame_of(block);
    spin_unlock(&n->lock);
}

static bool stock_wanted(struct node *n)
{
    return n->counts.by_kind[PAGE_ZEROED] < n->counts.total / STOCK_FRACTION &&
           n->counts.free > n->counts.total / STOCK_FRACTION;
}

bool page_zero_ahead(unsigned node)
{
    struct node *n = &nodes[node];
    bool work;

    if (atomic_exchange(&n->zeroing, true))
        return false;
    if (!n->half_zeroed.v && stock_wanted(n)) {
        n->half_zeroed = alloc_from(n, PAGE_ORDER_2M, PAGE_ZEROED);
        n->zeroed = 0;
    }
    work = n->half_zeroed.v;
    if (work) {
        clear_memory((char *)hpa_ptr(n->half_zeroed) + n->zeroed, ZERO_STEP);
        n->zeroed += ZERO_STEP;
        if (n->zeroed == PAGE_SIZE_2M) {
            stock_put(n, n->half_zeroed);
            n->half_zeroed = HPA_NONE;
        }
    }
    atomic_store(&n->zeroing, false);
    return work;
}

unsigned page_nodes(void) { return node_count; }
unsigned page_distance(unsigned from, unsigned to) { return distances[from][to]; }

void page_set_distances(unsigned count, uint8_t distance[NUMA_MAX_NODES][NUMA_MAX_NODES])
{
    node_count = count;
    memcpy(distances, distance, sizeof(distances));
    for (unsigned n = 0; n < count; n++) {
        uint8_t *order = nearest[n];

        for (unsigned i = 1; i < count; i++) { /* insertion sort: nodes as far as each other keep their order */
            for (unsigned j = i; j && distance[n][order[j]] < distance[n][order[j - 1]]; j--) {
                uint8_t o = order[j];

                order[j] = order[j - 1];
                order[j - 1] = o;
            }
        }
    }
}

static struct hpa alloc_nearest(unsigned node, unsigned order, enum page_kind kind)
{
    for (unsigned i = 0; i < NUMA_MAX_NODES; i++) {
        struct hpa p = alloc_from(&nodes[nearest[node % NUMA_MAX_NODES][i]], order, kind);

        if (p.v)
            return p;
    }
    return HPA_NONE;
}

struct hpa page_alloc(unsigned node, unsigned order, enum page_kind kind)
{
    struct hpa p = alloc_nearest(node, order, kind);

    return p.v || !spare_return() ? p : alloc_nearest(node, order, kind);
}

/* They are counted as private at once, so that taking one from a list counts nothing; page_count sets it right. */
unsigned page_alloc_spare(unsigned node, struct hpa *pages, unsigned n, bool *zeroed)
{
    struct node *from = &nodes[node];
    unsigned got = 0;

    spin_lock(&from->lock);
    *zeroed = from->small_stock || stock_break(from);
    while (*zeroed && got < n && from->small_stock)
        pages[got++] = small_pop(from);
    from->counts.by_kind[PAGE_PRIVATE] += got;
    spin_unlock(&from->lock);
    while (!*zeroed && got < n && (pages[got] = alloc_from(from, PAGE_ORDER_4K, PAGE_PRIVATE)).v)
        got++;
    for (unsigned i = 0; i < got; i++)
        page_of(pages[i])->kind = PAGE_SPARE;
    return got;
}

struct hpa page_alloc_zeroed(unsigned node, unsigned order, enum page_kind kind)
{
    bool stocked = order == PAGE_ORDER_2M || order == PAGE_ORDER_4K;
    struct hpa p = stocked ? stock_take(&nodes[node], order, kind) : HPA_NONE;

    if (p.v)
        return p;
    p = page_alloc(node, order, kind);
    if (p.v)
        clear_memory(hpa_ptr(p), PAGE_SIZE << order);
    return p;
}

static void give_back(struct hpa page, struct mpage *p, enum page_kind kind)
{
    struct node *n = &nodes[p->node];

    spin_lock(&n->lock);
    n->counts.free += BIT(p->order);
    n->counts.by_kind[kind] -= BIT(p->order);
    free_block(n, frame_of(page), p->order);
    spin_unlock(&n->lock);
}

void page_free(struct hpa page, unsigned order)
{
    struct mpage *p = page_of(page);

    if (page.v % (PAGE_SIZE << order) || !p || !p->head || p->kind == PAGE_FREE || p->kind >= PAGE_ZEROED ||
        p->order != order)
        panic("page_free: %#lx is no allocated block of order %u", page.v, order);
    give_back(page, p, p->kind);
}

void page_free_spare(struct hpa page)
{
    struct mpage *p = page_of(page);

    if (!p || p->kind != PAGE_SPARE)
        panic("page_free_spare: %#lx is no spare page", page.v);
    give_back(page, p, PAGE_PRIVATE);
}

void page_split(struct hpa page, unsigned order, unsigned parts)
{
    struct mpage *p = page_of(page);
    struct node *n = &nodes[p->node];

    spin_lock(&n->lock);
    for (uint64_t i = 0; i < BIT(order); i += BIT(parts)) {
        p[i].kind = p->kind;
        p[i].order = (uint8_t)parts;
        p[i].head = true;
        p[i].refs = p->refs;
        p[i].sharer = p->sharer + i;
        p[i].use = (struct page_use){ 0 };
    }
    spin_unlock(&n->lock);
}

void page_join(struct hpa page, unsigned order)
{
    struct mpage *p = page_of(page);
    struct node *n = &nodes[p->node];

    spin_lock(&n->lock);
    for (uint64_t i = 0; i < BIT(order); i++) {
        if (page.v % (PAGE_SIZE << order) || !p[i].head || p[i].order || p[i].kind != p->kind)
            panic("page_join: %#lx is no part of a block of order %u", page.v + i * PAGE_SIZE, order);
        p[i].head = i == 0;
    }
    p->order = (uint8_t)order;
    p->use = (struct page_use){ 0 };
    spin_unlock(&n->lock);
}

void page_set_kind(struct hpa page, enum page_kind kind)
{
    struct mpage *p = page_of(page);
    struct node *n = &nodes[p->node];

    spin_lock(&n->lock);
    n->counts.by_kind[p->kind] -= BIT(p->order);
    n->counts.by_kind[kind] += BIT(p->order);
    p->kind = (uint8_t)kind;
    spin_unlock(&n->lock);
}

/* Without the locks: it decides nothing that must be exact. */
bool page_short(void)
{
    uint64_t there = 0, total = 0;

    for (unsigned i = 0; i < NUMA_MAX_NODES; i++) {
        there += nodes[i].counts.free + nodes[i].counts.by_kind[PAGE_ZEROED];
        total += nodes[i].counts.total;
    }
    return there < total / SHORT_FRACTION;
}

bool page_has_block(unsigned node, unsigned order)
{
    while (order < PAGE_ORDERS && !nodes[node].free_list[order])
        order++;
    return order < PAGE_ORDERS;
}

void page_count(unsigned node, struct page_counts *out)
{
    memset(out, 0, sizeof(*out));
    for (unsigned i = 0; i < NUMA_MAX_NODES; i++) {
        struct node *n = &nodes[i];
        uint64_t spare;

        if (node != NUMA_MAX_NODES && node != i)
            continue;
        spare = spare_count(i);
        spin_lock(&n->lock);
        out->total += n->counts.total;
        out->free += n->counts.free + n->counts.by_kind[PAGE_ZEROED] + spare;
        for (unsigned k = 0; k < PAGE_KINDS; k++)
            out->by_kind[k] += n->counts.by_kind[k];
        spin_unlock(&n->lock);
        out->by_kind[PAGE_PRIVATE] -= spare;
        out->by_kind[PAGE_SPARE] += spare;
    }
}
