/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "numa/commons.h"
#include "numa/pmap.h"

/*
 * Inside of the pmap; numa/ only. Every change of what backs a page goes the same way: prepare (allocate, copy; may
 * fail, visible to nobody), detach (no processor reaches the old page any more), commit (one store in the pmap), and
 * only then is the old page let go. The EPTs are filled again by faults. The pmap's lock is held throughout.
 */

/* A chunk entry: address with PRESENT, and LARGE if that is one 2 MiB page and not a table of page entries. */
/*
 * A page entry: address with PRESENT, and SHARED if that page belongs to the commons or REPLICAS if nodes have copies;
 * or ZERO alone; or 0.
 */
#define P_PRESENT BIT(0)
#define P_LARGE   BIT(1)
#define P_SHARED  BIT(2)
#define P_ZERO    BIT(3)       /* had a page of its own, which was zero */
#define P_REPLICAS BIT(4)      /* the page is the first of a chain: copies, then the page itself (numa/move.c) */
#define P_ADDR    0x000ffffffffff000ull

#define CHUNK_PAGES 512u

/* The window that has this address, or NULL. */
const struct pmap_window *pmap_window_of(const struct pmap *pmap, struct gpa gpa);
/*
 * Before the pages in [gpa, gpa + n) are looked at, without the lock: those of a window that are not there yet are
 * brought in. Nothing to do for RAM. -ENOMEM, -EIO.
 */
int pmap_fetch(struct pmap *pmap, struct gpa gpa, uint64_t n);

/* Is this an address in RAM, or in a window? */
static inline bool pmap_has(const struct pmap *pmap, struct gpa gpa)
{
    if (gpa.v < pmap->low)
        return gpa.v - PMAP_HOLE >= PMAP_HOLE_END - PMAP_HOLE;
    return gpa.v - PMAP_HIGH_BASE < pmap->high || (gpa.v >= pmap->windows_at && pmap_window_of(pmap, gpa));
}

/* The chunk entry of a RAM address, and the page entry of one whose chunk is a table. */
static inline uint64_t *pmap_chunk(struct pmap *pmap, struct gpa gpa)
{
    uint64_t offset = gpa.v;

    if (gpa.v >= PMAP_HIGH_BASE)
        offset -= PMAP_HIGH_BASE - ALIGN_UP(pmap->low, PAGE_SIZE_2M);
    return &pmap->chunks[offset / PAGE_SIZE_2M];
}

static inline uint64_t *pmap_entry(uint64_t chunk, struct gpa gpa)
{
    return &((uint64_t *)(chunk & P_ADDR))[gpa.v / PAGE_SIZE % CHUNK_PAGES];
}

/* The node whose memory backs gpa if a processor of this one touches it first. */
static inline unsigned pmap_first_node(const struct pmap *pmap, struct gpa gpa, unsigned node)
{
    return pmap->placement == PLACEMENT_INTERLEAVE ? (unsigned)(gpa.v / PAGE_SIZE_2M % pmap->nodes) : node;
}

uint64_t pmap_chunk_count(const struct pmap *pmap);
/* The first address of a chunk by its number. */
struct gpa pmap_chunk_base(const struct pmap *pmap, uint64_t chunk);
/* The directory for all that the VM has, in place of the one there is, if any, which is empty. -ENOMEM. */
int pmap_make_chunks(struct pmap *pmap);
/* Makes an empty chunk a table. -ENOMEM. */
int pmap_make_table(struct pmap *pmap, uint64_t *chunk);

/* This EPT does not map the page any more; what is beside it in a large page may stay mapped. */
void pmap_unmap(struct ept *ept, struct gpa gpa);
/* After this no processor reaches what these pages were mapped to, until the next fault there. */
void pmap_detach_pages(struct pmap *pmap, struct gpa gpa, uint64_t pages);
void pmap_detach(struct pmap *pmap, struct gpa gpa);

/* The same for all of a chunk; the EPTs' tables for it are freed. */
void pmap_detach_chunk(struct pmap *pmap, struct gpa gpa);

/* The counter of pages shared like this one. */
static inline uint64_t *pmap_shared_like(struct pmap *pmap, const struct mpage *page)
{
    return page->kind == PAGE_ORIGIN ? &pmap->counts.files : &pmap->counts.content;
}

/* What the entry of a page named is let go; no processor reaches it any more. */
void pmap_let_go(struct pmap *pmap, uint64_t entry);

/* Where a byte is, if its page has of these flags P_PRESENT alone. A large page is always the VM's own. Lock held. */
static inline char *pmap_machine_if(struct pmap *pmap, struct gpa gpa, uint64_t flags)
{
    uint64_t chunk = *pmap_chunk(pmap, gpa), e;

    if (chunk & P_LARGE)
        return (char *)(chunk & P_ADDR) + gpa.v % PAGE_SIZE_2M;
    e = chunk ? *pmap_entry(chunk, gpa) : 0;
    return (e & flags) == P_PRESENT ? (char *)(e & P_ADDR) + gpa.v % PAGE_SIZE : NULL;
}

/* Where a byte of RAM is in machine memory; NULL: nowhere, its page reads as zero. */
static inline char *pmap_machine(struct pmap *pmap, struct gpa gpa)
{
    return pmap_machine_if(pmap, gpa, P_PRESENT);
}

/* The same for one whose page is the VM's own already; NULL: it has to become that first (pmap_own). */
static inline char *pmap_own_machine(struct pmap *pmap, struct gpa gpa)
{
    return pmap_machine_if(pmap, gpa, P_PRESENT | P_SHARED | P_REPLICAS);
}

/* Backs a RAM page with one of its own: first touch, or a write to a shared page. -ENOMEM. */
int pmap_own(struct pmap *pmap, struct gpa gpa, unsigned node);

/*
 * What is written for a guest it reads soon: a page that has just become its own is mapped at once, which saves it the
 * fault. On several nodes the fault tells who uses it. Lock held.
 */
void pmap_show_own(struct pmap *pmap, struct gpa gpa);

/* Shares a page of a file, at a page that was never touched; false: it was, or there is no memory. */
bool pmap_adopt(struct pmap *pmap, struct gpa gpa, const void *from);

/* The entry that names a page is changed to that of a shared one; what it named is let go. -ENOMEM. */
int pmap_replace(struct pmap *pmap, struct gpa gpa, struct hpa page);
/* The last step of that: an entry was old, which no processor reaches any more, and names a shared page now. */
static inline void pmap_replaced(struct pmap *pmap, struct hpa page, uint64_t old)
{
    struct mpage *p = page_of(page), *was;

    commons_read_in(p, pmap->domain);
    if (old & P_SHARED) {
        was = page_of(HPA(old & P_ADDR));
        if (p->kind != was->kind) {
            ++*pmap_shared_like(pmap, p);
            --*pmap_shared_like(pmap, was);
        }
        commons_drop_from(was, HPA(old & P_ADDR));
        return;
    }
    ++*pmap_shared_like(pmap, p);
    if (!old)
        pmap->counts.touched++;
    if (old & P_ZERO)
        pmap->counts.zeros--;
    pmap_let_go(pmap, old);
}

/* A large page becomes 512 small ones. -ENOMEM. */
int pmap_split(struct pmap *pmap, uint64_t *chunk);

/*
 * The other way round, if all are the VM's own, on one node, and not used by several: where they are, if they are side
 * by side, else as a copy. base: the chunk's first address. False: it is not so, or memory is short.
 */
bool pmap_join(struct pmap *pmap, uint64_t *chunk, struct gpa base);

/*
 * Content sharing, each for a small private page of this pmap; false: it is not what it was thought to be (no harm
 * done).
 * Gives the page back, if it is zero.
 */
bool pmap_merge_zero(struct pmap *pmap, struct gpa gpa);
/* Gives the page back for an equal one of the commons: of a file that its domain has read, or of the domain's own. */
bool pmap_merge(struct pmap *pmap, struct gpa gpa, uint32_t key);
/* Puts the page into the commons, if gpa still has it and it still has this hash. */
bool pmap_publish(struct pmap *pmap, struct gpa gpa, struct hpa page, uint32_t key);

/* The pmap with this id, its lock taken, or NULL. It stays while the lock is held. */
struct pmap *pmap_get(uint16_t id);
