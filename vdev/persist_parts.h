/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vdev/persist.h"

/* Between persist.c, which changes a log, and persist_open.c, which reads one. */

#define RECORDS  8u            /* of a commit at most */
#define CHANGES  (RECORDS * PERSIST_ENTRIES)
#define HEADERS  2u

struct change {
    uint64_t block, at;        /* as in struct persist_entry */
    uint64_t old;              /* the data block that is free after the commit, or 0 */
};

/* What a commit is at. From DATA on it waits for a transfer. */
enum stage { IDLE, DATA, RECORD, LEAVES, FLUSH, HEADER, HEADER_FLUSH };

struct persist {
    struct layer *l;
    struct image *area;        /* the log's storage, whose data blocks are cached */
    persist_wait_fn wait;
    unsigned order;            /* of the memory that this is in */

    /* The log's blocks: headers, journal, maps, data. */
    uint64_t blocks, map[2], leaves, data;

    uint64_t generation, identity;
    uint64_t number;           /* records in the journal */
    struct block_map stable;   /* what the log says, with the commit that is under way */
    uint64_t *used;            /* bits: data blocks that are not free */
    unsigned used_order;
    uint64_t used_count, rotor; /* rotor: the word of `used` where the search goes on */

    struct change *gather, *commit;
    unsigned gathered, reserved, committing, dying; /* dying: changes of both with an old block */
    enum stage stage;
    bool checkpoint;           /* the commit writes the map, not records */
    bool unfinished;           /* as in the header */
    bool failed;               /* nobody knows which header counts */
    uint64_t swaps, good;      /* times that commit was gather; the last that is in the log */
    uint64_t failures, commits, checkpoints;
    unsigned tries;            /* of persist_quiet */
    uint64_t leaf;             /* the first block of the leaf that is next */
    struct persist_header *header;
    struct persist_record *record;
    struct transfer t;         /* its own: a commit never waits for one */
    bool waits_over;           /* of persist_open.c: the transfer is over */
    int waits_err;
};

/* A commit with what was gathered, if none is under way; or (checkpoint) with all. Lock held. */
void persist_begin(struct persist *p, bool checkpoint);
/* Of a page whose sum field is 0, or of a leaf; before: of those before it. */
uint64_t persist_sum(uint64_t before, const void *page);
/* Where the header, the map and the journal's record are. */
static inline uint64_t persist_map_at(const struct persist *p, uint64_t generation) { return p->map[generation % 2]; }
static inline bool persist_is_data(const struct persist *p, uint64_t at)
{
    return at % PAGE_SIZE == 0 && at / PAGE_SIZE >= p->data && at / PAGE_SIZE < p->blocks;
}
