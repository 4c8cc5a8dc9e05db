/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"
#include "numa/policy.h"

/*
 * Machine memory: the memmap (one entry per machine page) and the page allocator, a buddy per node.
 * Any processor may call; each node has one lock, always the innermost.
 */
enum page_kind {
    PAGE_FREE,
    PAGE_HYPERVISOR,           /* the hypervisor's own data: per-CPU blocks, boards, VMCSs */
    PAGE_TABLE,                /* page tables: our own, EPT, pmap */
    PAGE_PRIVATE,              /* guest memory of one VM */
    PAGE_ZERO,                 /* mapped read-only where guests read what they never wrote */
    PAGE_ORIGIN,               /* guest memory, read-only, of all VMs that got it from the same file */
    PAGE_CONTENT,              /* guest memory, read-only, that was found to be equal */
    PAGE_REPLICA,              /* a node's own copy of a page of guest memory, read-only */
    PAGE_SEGMENT,              /* of a segment that several VMs write (numa/segment.h) */
    PAGE_ZEROED,               /* free, and zeroed ahead of need: counted as free */
    PAGE_SPARE,                /* free, on a processor's own list (numa/spare.h): counted as free */
    PAGE_KINDS,
};

#define PAGE_ORDER_4K  0u
#define PAGE_ORDER_2M  9u
#define PAGE_ORDER_1G  18u
#define PAGE_ORDERS    19u
#define NUMA_MAX_NODES 8u
#define HPA_NONE       HPA(0)  /* page 0 is never ours */

/* A memmap entry. Links are frame numbers (physical address / 4096); frame 0 ends a list. */
struct mpage {
    uint8_t kind;
    uint8_t order;             /* of the block this page heads, free or allocated */
    uint8_t node;
    bool head;                 /* first page of a block */
    _Atomic uint32_t refs;     /* pmap entries that name it */
    union {
        struct { uint32_t next, prev; };         /* free; replica: next (numa/move.c) */
        uint64_t sharer;                         /* private: pmap id << 48 | guest frame */
        /* origin, content: of the commons (numa/commons.h); a bit for each sharing domain that has read it */
        struct { uint32_t link; uint16_t space; _Atomic uint16_t domains; };
    };
    uint32_t hash;             /* of its content when it was scanned last; origin, content: its key */
    struct page_use use;       /* private: which nodes use it */
};
_Static_assert(sizeof(struct mpage) <= 32, "DESIGN: at most 32 bytes of memmap per machine page");

/*
 * Takes a range of machine memory (4 KiB aligned) into a node; its memmap lies at its start. At most 64 ranges,
 * ascending or not. -EINVAL: misaligned, overlapping or too small; -ENOSPC: too many.
 */
int page_add_range(uint64_t base, uint64_t size, unsigned node);

/* How many nodes there are and how far from each other (10: the same). Before the first page is asked for. */
void page_set_distances(unsigned nodes, uint8_t distance[NUMA_MAX_NODES][NUMA_MAX_NODES]);
unsigned page_nodes(void);
unsigned page_distance(unsigned from, unsigned to);

/* The order of the smallest block that holds so many bytes. */
static inline unsigned page_order(uint64_t bytes)
{
    unsigned order = 0;

    while ((PAGE_SIZE << order) < bytes)
        order++;
    return order;
}

/*
 * 2^order pages, naturally aligned, contents undefined; from the node asked for, else from the nearest that has some.
 * HPA_NONE: none left.
 */
struct hpa page_alloc(unsigned node, unsigned order, enum page_kind kind);
/* The same, zeroed: 4 KiB and 2 MiB from the stock zeroed ahead, if there is any. */
struct hpa page_alloc_zeroed(unsigned node, unsigned order, enum page_kind kind);
/* This very block of 2 MiB, contents undefined, if all of it is free or it was zeroed ahead. False: it is not so. */
bool page_take(struct hpa block, enum page_kind kind);
/*
 * Up to n 4 KiB pages of this node alone, for the list of a processor: their kind is PAGE_SPARE, all are zeroed or none
 * is. How many.
 */
unsigned page_alloc_spare(unsigned node, struct hpa *pages, unsigned n, bool *zeroed);
/* Gives one of them back unused. */
void page_free_spare(struct hpa page);
/* Gives a block back. Double free, a foreign address or a wrong order is a bug of ours: panic. */
void page_free(struct hpa page, unsigned order);

/*
 * Idle time's work: zeroes a little more (64 KiB) of a 2 MiB block for the node's stock. False: there is nothing to do,
 * the stock being full (an eighth of the node), memory short, or another processor at it.
 */
bool page_zero_ahead(unsigned node);

/* Is less than a 32nd of the machine free? Then no more large pages and copies: small ones go further. */
bool page_short(void);

/* Has this node a free block of this order or a larger one? Without the locks: about right. */
bool page_has_block(unsigned node, unsigned order);

/* An allocated block is something else from now on. */
void page_set_kind(struct hpa page, enum page_kind kind);

/* A range of machine memory, in frames. pages[0] describes the first page, which holds the memmap itself. */
struct page_range {
    uint64_t first, count;
    struct mpage *pages;
};
extern struct page_range page_ranges[]; /* the largest come first: nearly all pages are in two of them */
struct mpage *page_of_far(uint64_t frame);
/* The memmap entry of a machine page, NULL if it is not ours. */
static inline struct mpage *page_of(struct hpa page)
{
    uint64_t frame = page.v / PAGE_SIZE;

    for (const struct page_range *r = page_ranges; r < page_ranges + 2; r++)
        if (frame - r->first < r->count)
            return &r->pages[frame - r->first];
    return page_of_far(frame);
}
/* Splits an allocated block into smaller ones, of order parts each, that can be freed one by one. */
void page_split(struct hpa page, unsigned order, unsigned parts);
/* The other way round: 4 KiB blocks of one kind become parts of the block that the first one, aligned, heads now. */
void page_join(struct hpa page, unsigned order);

struct page_counts { uint64_t total, free, by_kind[PAGE_KINDS]; };
/* Pages of one node, or of all with node = NUMA_MAX_NODES. */
void page_count(unsigned node, struct page_counts *out);

/* Everything of ours is identity-mapped. */
static inline void *hpa_ptr(struct hpa p) { return (void *)p.v; }
static inline struct hpa ptr_hpa(const void *p) { return HPA((uint64_t)p); }
