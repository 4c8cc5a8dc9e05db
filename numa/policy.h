/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * Where a guest's pages had better be: which of them move to another node, and which get a copy there. The decision
 * only, after Disco (section 4): it knows no page tables and no clock but what it is told. Evidence comes in samples
 * that say which nodes have read and written a page since the last one; who takes them does not matter (numa/sample.h
 * takes them from the accessed and dirty bits of each node's EPT).
 */
#define POLICY_MAX_COUNT 15u   /* what window and page_moves can be at most */

/* Where a VM's memory goes. */
enum placement_of {
    PLACEMENT_FOLLOW,          /* where it is touched first, then where it is used */
    PLACEMENT_FIRST_TOUCH,     /* where it is touched first, and there it stays */
    PLACEMENT_INTERLEAVE,      /* all nodes in turn, 2 MiB each, and there it stays */
};

struct policy_settings {
    bool on;
    unsigned interval_ms;      /* from the end of one sample of all pages to the next */
    unsigned rate;             /* pages of 4 KiB that are sampled in a second at most */
    unsigned window;           /* samples in which a page must have been used before it is judged; 1 to 15 */
    unsigned moves;            /* pages of 4 KiB that are moved or copied in a second at most */
    unsigned page_moves;       /* how often one page moves, is copied or collapses in a reset interval; 0 to 15 */
    unsigned reset_s;          /* after so many seconds that is forgotten */
};

/* What is kept of each page, in its memmap entry. Sets of nodes are bit masks. */
struct page_use {
    uint8_t readers, writers;  /* since the window began */
    uint8_t samples : 4;
    uint8_t apart : 1;         /* in the window before this one several nodes used it, or the large page it was part of */
    uint8_t moves : 4, epoch : 4;
};

struct placement {
    struct policy_settings set;
    uint64_t epoch;            /* reset intervals since the start */
    uint64_t epoch_end;        /* TSC */
    uint64_t credit, last;     /* for moves: pages * ticks per second; TSC of the last payment */
};

/* A page as it is: the nodes that have a copy of it (one, if it is not replicated); shared: others have it too. */
struct policy_page { uint8_t copies; bool large, shared; };

enum policy_move {
    POLICY_STAY,
    POLICY_MIGRATE,            /* to the one node in the set; its copies elsewhere go */
    POLICY_REPLICATE,          /* to the nodes in the set as well */
    POLICY_SPLIT,              /* into small pages, for more evidence: several nodes use this large one */
};
struct policy_choice { enum policy_move move; uint8_t nodes; };

/* Before a sample: what time it is. hz: ticks per second. */
void policy_time(struct placement *p, uint64_t tsc, uint64_t hz);

/* One sample of one page; what to do now. A choice other than to stay is a move of that page, and paid for. */
struct policy_choice policy_judge(struct placement *p, struct page_use *use, struct policy_page page, uint8_t readers,
                                  uint8_t writers, uint64_t hz);

/* A part of a large page that is split because several nodes use it. */
void policy_part(const struct placement *p, struct page_use *use);
/* Have several nodes used it in this reset interval, or since the window began? Then it is not for a large page. */
bool policy_apart(const struct placement *p, const struct page_use *use);

/* The page was written to and lost its copies: a move that nobody has decided. */
void policy_collapsed(struct page_use *use);
