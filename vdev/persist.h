/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vdev/layer.h"

/*
 * A layer that outlives its VM and a power cut, on a storage of its own, the log. The image below is never written.
 *
 * The log's blocks of 4 KiB: two headers, the journal, two maps, data. A block that the guest writes goes to a free
 * data block, never over one that counts. A flush makes the disk keep the data (a flush of the storage), then writes
 * records to the journal that say which block is where, each with a checksum, the log's generation and a number, and
 * flushes again; only then are the data blocks free that they replace. When the journal is full the map is written as a
 * whole to the place that is not in use, and after a flush a header of the next generation, which makes it the one in
 * use and the journal empty. So at each moment the header with the highest generation, its map and the unbroken row
 * of records of that generation tell all; and all that a flush was answered for is among it.
 *
 * Headers say which image they belong to: its size, and a checksum of some of its blocks.
 */
#define PERSIST_MAGIC   0x31726579616c424dull /* "MBlayer1" */
#define PERSIST_RECORD  0x316472636572424dull /* "MBrecrd1" */
#define PERSIST_JOURNAL 256u   /* blocks */
#define PERSIST_LEAVES  30720u /* of the map; each is for 512 blocks */
#define PERSIST_ENTRIES 252u   /* of a record */

struct persist_header {
    uint64_t magic, sum;       /* sum: of the block, with 0 here */
    uint64_t generation;       /* odd: header 1, map 1; even: 0 */
    uint64_t sectors;          /* of the image */
    uint64_t identity;
    uint64_t blocks;           /* of the log's storage */
    uint64_t journal;          /* blocks */
    uint64_t map_sum;          /* of the leaves that are there, in their order */
    uint64_t unfinished;       /* 1: what it says is being written into the image, which is neither old nor new */
    uint64_t zero[7];
    uint8_t leaf[PERSIST_LEAVES / 8]; /* bits: which are there; others have no entry */
    uint8_t rest[PAGE_SIZE - 128 - PERSIST_LEAVES / 8];
};

struct persist_entry {
    uint64_t block;            /* of the disk */
    uint64_t at;               /* data block * 4096, or LAYER_ZERO: as in a leaf */
};

struct persist_record {
    uint64_t magic, sum;
    uint64_t generation;
    uint64_t number;           /* from 0: its place in the journal */
    uint64_t entries;
    uint64_t zero[3];
    struct persist_entry entry[PERSIST_ENTRIES];
};

/* A processor that waits for a storage does this meanwhile; the boot processor must poll then. */
typedef void (*persist_wait_fn)(void);

/* What is to be done with a log when it is opened. */
enum persist_how { PERSIST_OPEN, PERSIST_RESET, PERSIST_COMMIT };

/*
 * Opens the log for a layer that has its image, and reads what is in it; a storage that begins with 128 KiB of zeros
 * becomes an empty one. PERSIST_RESET: it is empty afterwards, whatever it held, also if it is another image's.
 * PERSIST_COMMIT: what is in it is written into the image, which the layer has claimed to write, and it is empty.
 * Waits for storages. 0, or why not in `why`: -EINVAL, -EIO, -ENOMEM, -ENOSPC, -EBUSY. No lock is held.
 */
int persist_open(struct layer *l, struct storage *storage, enum persist_how how, persist_wait_fn wait, char *why,
                 size_t size);
/* The layer is quiet: forgets it. */
void persist_close(struct persist *p);

/* The log's storage. */
struct image *persist_image(const struct persist *p);

/* All below: the layer's lock is held. */

/*
 * A data block for a disk's block. -EAGAIN: a commit has to make room first, and is on its way; -ENOSPC; -ENOMEM; -EIO.
 * *ticket: the request's, 0 at first.
 */
int persist_take(struct persist *p, uint64_t block, uint64_t *ticket, uint64_t *at);
/* It is not needed. */
void persist_cancel(struct persist *p, uint64_t at);
/* The data is there, or (err) is not. */
void persist_wrote(struct persist *p, uint64_t block, uint64_t at, int err);
/* The block is zero from now on. As persist_take. */
int persist_zero(struct persist *p, uint64_t block, uint64_t *ticket);
/* 0: what was written before *ticket was set (0 at first) survives a power cut; -EAGAIN; -EIO. */
int persist_flush(struct persist *p, uint64_t *ticket);
/* Has the log all, or has it failed? Starts a commit if not. */
bool persist_quiet(struct persist *p);

struct persist_figures { uint64_t blocks, used, commits, checkpoints, generation; bool failed; };
void persist_count(const struct persist *p, struct persist_figures *out);
