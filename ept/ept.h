/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

#include <stdatomic.h>

/*
 * Extended page tables (SDM vol. 3, 29.3): mechanism only. What is mapped where is numa/'s decision; an EPT is a cache
 * of the pmap. A change has two steps: prepare (may fail, visible to no guest) and commit (cannot fail). The caller
 * serialises changes to one EPT; processors may walk it meanwhile, and keep what they have read until ept_flush.
 */
enum ept_prot { EPT_R = 1, EPT_W = 2, EPT_X = 4, EPT_RWX = 7 };
#define EPT_WRITE_BACK (6ull << 3)
#define EPT_ADDRESS    0x000ffffffffff000ull
enum ept_level { EPT_4K = 1, EPT_2M = 2, EPT_1G = 3, EPT_ROOT = 4 };

/* Where tables come from; pages are zeroed and identity-mapped. */
struct ept_pages {
    struct hpa (*alloc)(void *ctx);
    void (*free)(void *ctx, struct hpa page);
    void *ctx;
};

#define EPT_RECENT 8u          /* tables that are remembered: neighbours have places of their own */

struct ept {
    struct hpa root;
    struct ept_pages pages;
    uint64_t tables;           /* pages in use, the root included */
    struct hpa kept;           /* the next table (ept_keep) */
    uint64_t *recent[EPT_RECENT]; /* such tables that were used lately, by 2 MiB modulo their number */
    uint64_t recent_region[EPT_RECENT]; /* the 2 MiB each is for; UINT64_MAX: there is none */
    _Atomic uint64_t generation; /* counts changes that make a translation wrong that a processor may have kept */
};

/* -ENOMEM. */
int ept_init(struct ept *ept, const struct ept_pages *pages);
/* Frees all tables; no processor may use this EPT any more. */
void ept_destroy(struct ept *ept);

/* An entry made ready: good until the next change to this EPT. */
struct ept_slot { uint64_t *entry; enum ept_level level; };

/*
 * Makes the tables above the entry that maps gpa at this level, splitting a larger mapping on the way without changing
 * any translation. -ENOMEM; -EEXIST if a table of smaller pages is there already.
 */
int ept_prepare(struct ept *ept, struct gpa gpa, enum ept_level level, struct ept_slot *slot);
/*
 * Sets the entry that ept_prepare made ready. Write-back memory. hpa aligned to the level's size. To add rights needs no
 * flush: a processor that finds a right missing looks again (SDM vol. 3, 29.4.3.1).
 */
void ept_commit(struct ept *ept, struct ept_slot slot, struct hpa hpa, enum ept_prot prot);
/*
 * The same in a few instructions for a 4 KiB page: the entry, where all tables are there and nothing is mapped, else
 * NULL; and what is to be in it.
 */
uint64_t *ept_find_empty(struct ept *ept, struct gpa gpa);
static inline void ept_fill(uint64_t *entry, struct hpa hpa, enum ept_prot prot)
{
    *(volatile uint64_t *)entry = hpa.v | prot | EPT_WRITE_BACK; /* processors may read it at any time: one store */
}
/* Is there a table of 4 KiB pages for gpa? The next entries in it are found at once. */
bool ept_has_table(struct ept *ept, struct gpa gpa);
/* ept_prepare and ept_commit in one for a 4 KiB page, if there is a table for it. False: there is none. */
static inline bool ept_replace(struct ept *ept, struct gpa gpa, struct hpa hpa, enum ept_prot prot)
{
    uint64_t region = gpa.v / PAGE_SIZE_2M, *entry, old;

    if (region != ept->recent_region[region % EPT_RECENT] && !ept_has_table(ept, gpa))
        return false;
    entry = &ept->recent[region % EPT_RECENT][gpa.v / PAGE_SIZE % 512];
    old = *entry;
    ept_fill(entry, hpa, prot);
    if ((old & EPT_RWX) && ((old & EPT_ADDRESS) != hpa.v || (old & EPT_RWX & ~(uint64_t)prot)))
        ept->generation++;
    return true;
}
/* Clears the entry that maps gpa, whatever its level, if there is one. */
void ept_clear(struct ept *ept, struct gpa gpa);
/*
 * Takes away what maps the 2 MiB around gpa: a large page, or the table of small ones (not the tables above). The table,
 * or HPA_NONE; after ept_flush it is the caller's to free. If an entry of 1 GiB cannot be split, for want of a page, all
 * that it maps goes.
 */
struct hpa ept_unhook(struct ept *ept, struct gpa gpa);
/*
 * One entry for the GiB at gpa, aligned as hpa is, in place of all that mapped parts of it; *table, if not HPA_NONE, is
 * for ept_free_tables after ept_flush. -ENOMEM: nothing was changed.
 */
int ept_merge(struct ept *ept, struct gpa gpa, struct hpa hpa, enum ept_prot prot, struct hpa *table);
void ept_free_tables(struct ept *ept, struct hpa table);

/*
 * Has a processor used the table of small pages around gpa, if there is one, since this was asked last (or since it was
 * made)? It begins anew, and processors that enter from now on set it again.
 */
enum ept_table_use { EPT_NO_TABLE, EPT_TABLE_IDLE, EPT_TABLE_USED };
enum ept_table_use ept_table_use(struct ept *ept, struct gpa gpa);
/* This zeroed page is what the next table is made of, if no other is kept; for who must not be refused one. */
void ept_keep(struct ept *ept, struct hpa page);

/*
 * Accessed and dirty bits, where the processor has them: of what is mapped in the 2 MiB at gpa, one bit for each 4 KiB
 * page at level EPT_4K, bit 0 alone for a larger one; level 0: nothing. They are cleared, but a processor that has kept
 * a translation sets them again only after ept_sample_again. Processors may walk the EPT meanwhile.
 */
struct ept_use { enum ept_level level; uint64_t accessed[8], dirty[8]; };
void ept_sample(struct ept *ept, struct gpa gpa, struct ept_use *use);
/* No processor keeps translations of this EPT: each next use sets its bit. As for ept_flush. */
void ept_sample_again(struct ept *ept);

/*
 * Invalidation without broadcasts. Whoever enters a guest calls ept_enter as the last thing before, and ept_leave after
 * an exit that is more than a few instructions' work; in between it takes no lock whose holder may wait for a flush, as
 * the pmap's may. What a processor has kept it uses only inside, and ept_enter says when it must be thrown away
 * (INVEPT) first. So ept_flush waits for those only that are inside with this EPT: it sends them out. After it, no
 * processor uses what the EPT said before.
 */

/* *seen: the generation at which this processor last invalidated, 0: never. True: it must do so now. */
bool ept_enter(struct ept *ept, uint64_t *seen);
void ept_leave(void);
/* After commits and clears; the caller is not inside. Locks may be held. */
void ept_flush(struct ept *ept);

/* What gpa translates to: level 0 if not mapped. */
struct ept_mapping { enum ept_level level; struct hpa hpa; unsigned prot; bool accessed, dirty; };
struct ept_mapping ept_lookup(const struct ept *ept, struct gpa gpa);

/* The EPT pointer for the VMCS (SDM vol. 3, 25.6.11): write-back, 4 levels, accessed/dirty bits if asked. */
static inline uint64_t ept_pointer(const struct ept *ept, bool access_bits)
{
    return ept->root.v | (EPT_ROOT - 1) << 3 | 6 | (access_bits ? BIT(6) : 0);
}
