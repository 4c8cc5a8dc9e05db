/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "ept/ept.h"
#include "lib/spinlock.h"
#include "lib/types.h"
#include "numa/page.h"

/*
 * The pmap of a VM: what each guest-physical page is. Authoritative; the EPTs are caches of it. Filled at first touch.
 * Guest RAM is [0, 640 KiB), [768 KiB, low) and [4 GiB, 4 GiB + high): a PC's, with the video hole left out.
 * Everything else is not memory. A page that was never written reads as zero and costs nothing; a page of the commons
 * (numa/commons.h) is shared, and the first write to it makes a copy of the writer's own.
 */
#define PMAP_LOW_MAX    (3 * GIB)
#define PMAP_HIGH_BASE  (4 * GIB)
#define PMAP_HOLE       0xa0000ul
#define PMAP_HOLE_END   0xc0000ul
#define PMAP_MAX_ID     64u
#define PMAP_NO_NODE    NUMA_MAX_NODES
#define PMAP_WINDOWS    4u
#define PMAP_SEGMENTS   4u
#define PMAP_WINDOW_ALIGN (128 * MIB) /* Linux adds memory in sections of this size */

/* In 4 KiB pages. A VM's own machine memory is touched - files - content - zeros. */
struct pmap_counts {
    uint64_t touched;          /* that hold or held data: everything but what was never written */
    uint64_t files, content;   /* of these, shared by origin and by content */
    uint64_t zeros;            /* of these, found to be zero and given back */
    uint64_t faults, breaks;   /* EPT violations on RAM; writes to a shared page that made a copy */
    uint64_t cleared;          /* shared pages that the guest has written zeros to as a whole: no copy was made */
    uint64_t returned;         /* that the guest has given back (numa/hints.h), over its life */
};

/* Placement (numa/policy.h). Uses are sampled ones, in pages of 4 KiB; distances as the SLIT has them, summed up. */
struct pmap_use {
    uint64_t uses, local, distance;
    uint64_t interleaved;      /* distance if pages lay on all nodes in turn */
    uint64_t on[NUMA_MAX_NODES]; /* by the node on which the page lies, if there are no copies */
};
struct pmap_moves { uint64_t migrations, replications, collapses, splits, replicas; /* replicas: there are now */ };

/*
 * A window behind the RAM: memory whose pages come from a source when they are first touched, and are the VM's own once
 * it has written to them.
 */
struct pmap_source {
    /*
     * Page n behind the window's lead, of the commons; a reference to it is the caller's. -ENOMEM, -EIO. Any processor,
     * outside of the EPTs; no lock is held.
     */
    int (*page)(void *ctx, uint64_t n, struct hpa *page);
    void *ctx;
};
/* The first bytes, lead, are memory as RAM is. */
struct pmap_window { uint64_t base, size, lead; struct pmap_source source; };

/*
 * Memory that other VMs may have too and write at the same time (numa/segment.h), mapped behind RAM and windows. It is no
 * memory of the VM's own: pmap_is_ram, pmap_read and the like do not know it.
 */
struct segment;
struct pmap_segment { uint64_t base, size; struct segment *segment; bool write; };

struct pmap {
    struct spinlock lock;      /* guards all below; above the commons' and the nodes' locks */
    uint16_t id;
    uint16_t domain;           /* where it shares by content, 0: nowhere; set before the VM runs */
    unsigned home;             /* node of what the hypervisor writes first; set before the VM runs */
    enum placement_of placement; /* set before the VM has memory */
    _Atomic unsigned main_node; /* where most of what it uses lies, PMAP_NO_NODE: nowhere; first set as home */
    uint64_t low, high;        /* bytes */
    struct pmap_window window[PMAP_WINDOWS]; /* ascending; they are there before the VM runs */
    unsigned windows;
    uint64_t windows_at;       /* address of the first, UINT64_MAX: there is none */
    struct pmap_segment segment[PMAP_SEGMENTS]; /* ascending; they are there before the VM runs */
    unsigned segments;
    uint64_t span;             /* bytes from PMAP_HIGH_BASE to the end of all but segments */
    uint64_t *chunks;          /* per 2 MiB of RAM and windows: 0, large page, or a table of 512 entries */
    unsigned chunks_order;     /* pages of chunks */
    uint64_t tables;           /* pages of the pmap itself */
    struct pmap_counts counts;
    struct pmap_moves moves;
    struct pmap_use use, sampling; /* in the last sample of all pages; in the one that goes on */
    struct ept ept[NUMA_MAX_NODES];
    unsigned nodes;            /* EPTs in use */
    uint64_t reuse_at;         /* chunk whose tables of EPTs were used again last */
};

/* An empty pmap with this much RAM (a multiple of 1 MiB; at least 1 MiB); id: 1 to PMAP_MAX_ID, its own. -ENOMEM,
 * -EINVAL. */
int pmap_init(struct pmap *pmap, uint16_t id, uint64_t memory, unsigned nodes);
/*
 * One more window, at *base. Its lead and what its source has: multiples of 2 MiB. Before the VM runs, and before any
 * of its memory is touched, other windows' leads included. -EINVAL: the sizes, or one too many; -ENOMEM.
 */
int pmap_add_window(struct pmap *pmap, uint64_t lead, uint64_t size, struct pmap_source source, struct gpa *base);
/*
 * One more segment, at *base behind all else: after the last window, before the VM runs. The caller's reference to it is
 * the pmap's from now on. write: the VM may write there. -ENOSPC: one too many (the reference stays the caller's).
 */
int pmap_add_segment(struct pmap *pmap, struct segment *segment, bool write, struct gpa *base);
/* Gives all memory back. No vCPU of the VM runs any more. */
void pmap_destroy(struct pmap *pmap);
/*
 * The same in small parts, for a VM may have much: gives back one chunk, *chunk or a later one, and moves *chunk past
 * it; false: there is none left, and pmap_destroy has little to do.
 */
bool pmap_destroy_chunk(struct pmap *pmap, uint64_t *chunk);

/*
 * An EPT violation at gpa on a node: maps the page in that node's EPT, and if it is to be written, backs it with a page
 * of its own first. 0; -EFAULT: not RAM, a window, nor a segment that the VM may use so; -ENOMEM: the machine has no page
 * left; -EAGAIN: one is looked for, so the guest is to try again, when what waits for this processor has been done;
 * -EIO: of a window's source. Any processor, outside of the EPTs.
 */
int pmap_fault(struct pmap *pmap, struct gpa gpa, unsigned node, bool write);

/*
 * The first write to a page, without waiting for anyone: nothing was mapped there, so that there is nothing to
 * invalidate, and a spare page is at hand. False: it is not so, or the pmap is in use; nothing was done. The caller may
 * be inside an EPT (ept/ept.h). gpa: RAM or not.
 */
bool pmap_touch(struct pmap *pmap, struct gpa gpa, unsigned node);

/*
 * A machine page where there is no RAM, mapped for reading and writing on every node, or HPA_NONE to take it away. It
 * is not the VM's memory: pmap_read and the like do not see it. gpa: 4 KiB aligned. -EINVAL: RAM; -ENOMEM. Any
 * processor.
 */
int pmap_set_device(struct pmap *pmap, struct gpa gpa, struct hpa page);

/* Copies between the hypervisor and guest RAM, or a window. -EFAULT outside of these (nothing is copied), -ENOMEM when
 * the machine has no page left, -EIO. */
int pmap_read(struct pmap *pmap, struct gpa from, void *to, size_t n);
int pmap_write(struct pmap *pmap, struct gpa to, const void *from, size_t n);
/*
 * Where RAM at gpa is in machine memory, up to the page's end, for some reads and writes at once (of rings and their
 * like): the pmap is locked until pmap_release. NULL: it is not RAM, or the VM has no page of its own there (yet); nothing
 * is locked.
 */
void *pmap_hold(struct pmap *pmap, struct gpa gpa);
static inline void pmap_release(struct pmap *pmap) { spin_unlock(&pmap->lock); }
/* Sets bits of a byte, atomically for the VM's processors; else as pmap_write. */
int pmap_set_bits(struct pmap *pmap, struct gpa at, uint8_t bits);
/*
 * The guest writes zeros to all of a page: if it is a shared one of RAM, it is let go, and the VM has none there until
 * it is touched again. False: it is not so, nothing was done. gpa: 4 KiB aligned, RAM or not. Any processor, outside of
 * the EPTs.
 */
bool pmap_clear_shared(struct pmap *pmap, struct gpa gpa);
/* Writes n zero bytes; pages never touched are left untouched (they read as zero). */
int pmap_zero(struct pmap *pmap, struct gpa to, size_t n);
/* The same as pmap_write for a part of a file that stays where it is: its whole pages are shared with whoever loads the
 * same part. */
int pmap_load(struct pmap *pmap, struct gpa to, const void *from, size_t n);
/*
 * Pages of the commons, each with a reference, and where they are to be. They take the places of what was in RAM there,
 * in their order, and are mapped on that node. Returns how many, at most PMAP_PLACE_MOST: their references are the
 * pmap's from now on. The next one, if there is one, cannot be placed: it is misaligned, or not to be in RAM, or there
 * is no memory for a table. Any processor, outside of the EPTs.
 */
#define PMAP_PLACE_MOST 32u
struct pmap_placed { struct gpa gpa; struct hpa page; };
unsigned pmap_place_pages(struct pmap *pmap, const struct pmap_placed *p, unsigned n, unsigned node);
/* The same for one. 0, or it cannot be placed. */
static inline int pmap_place(struct pmap *pmap, struct gpa gpa, struct hpa page, unsigned node)
{
    return pmap_place_pages(pmap, &(struct pmap_placed){ gpa, page }, 1, node) ? 0 : -1;
}
/*
 * RAM pages that have one of their own or of the commons each: they join the commons, if they are not there yet; page[i]
 * gets a reference for the caller. Returns how many, at most PMAP_PLACE_MOST. The next one, if there is one, cannot be
 * shared: it has none, or copies on nodes, or is not RAM, or there is no memory for a table. Any processor, outside of
 * the EPTs.
 */
unsigned pmap_share_pages(struct pmap *pmap, const struct gpa *gpa, unsigned n, struct hpa *page);
/* The same for one. 0, or it cannot be shared. */
static inline int pmap_share(struct pmap *pmap, struct gpa gpa, struct hpa *page)
{
    return pmap_share_pages(pmap, &gpa, 1, page) ? 0 : -1;
}
/*
 * Copies from a VM's RAM or window to another's, or the same's; what overlaps goes as by memmove inside of a page, and
 * pages ascend. -EFAULT: outside of these (nothing is copied), -ENOMEM, -EIO. Any processor, outside of the EPTs.
 */
int pmap_copy(struct pmap *to, struct gpa to_at, struct pmap *from, struct gpa from_at, size_t n);
/* Bytes of RAM the VM has. */
uint64_t pmap_memory(const struct pmap *pmap);
/* Is [gpa, gpa + n) RAM throughout, or inside one window? */
bool pmap_is_ram(const struct pmap *pmap, struct gpa gpa, uint64_t n);
