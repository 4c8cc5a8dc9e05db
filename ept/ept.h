/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * Extended page tables (SDM vol. 3, 29.3): mechanism only. What is mapped where is numa/'s decision; an EPT is a cache
 * of the pmap. A change has two steps: prepare (may fail, visible to no guest) and commit (cannot fail). The caller
 * serialises changes to one EPT; processors may walk it meanwhile. Invalidation is the caller's too (ept_invalidate).
 */
enum ept_prot { EPT_R = 1, EPT_W = 2, EPT_X = 4, EPT_RWX = 7 };
enum ept_level { EPT_4K = 1, EPT_2M = 2, EPT_1G = 3, EPT_ROOT = 4 };

/* Where tables come from; pages are zeroed and identity-mapped. */
struct ept_pages {
    struct hpa (*alloc)(void *ctx);
    void (*free)(void *ctx, struct hpa page);
    void *ctx;
};

struct ept {
    struct hpa root;
    struct ept_pages pages;
    uint64_t tables;           /* pages in use, the root included */
    uint64_t generation;       /* counts changes that need invalidation */
};

/* -ENOMEM. */
int ept_init(struct ept *ept, const struct ept_pages *pages);
/* Frees all tables; no processor may use this EPT any more. */
void ept_destroy(struct ept *ept);

/*
 * Makes the tables above the entry that maps gpa at this level, splitting a larger mapping on the way without changing
 * any translation. -ENOMEM; -EEXIST if a table of smaller pages is there already.
 */
int ept_prepare(struct ept *ept, struct gpa gpa, enum ept_level level);
/* Sets the entry that ept_prepare made ready. Write-back memory. gpa and hpa aligned to the level's size. */
void ept_commit(struct ept *ept, struct gpa gpa, enum ept_level level, struct hpa hpa, enum ept_prot prot);
/* Clears the entry at this level if it is there. */
void ept_clear(struct ept *ept, struct gpa gpa, enum ept_level level);

/* What gpa translates to: level 0 if not mapped. */
struct ept_mapping { enum ept_level level; struct hpa hpa; unsigned prot; bool accessed, dirty; };
struct ept_mapping ept_lookup(const struct ept *ept, struct gpa gpa);

/* The EPT pointer for the VMCS (SDM vol. 3, 25.6.11): write-back, 4 levels, accessed/dirty bits if asked. */
static inline uint64_t ept_pointer(const struct ept *ept, bool access_bits)
{
    return ept->root.v | (EPT_ROOT - 1) << 3 | 6 | (access_bits ? BIT(6) : 0);
}
