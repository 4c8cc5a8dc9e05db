/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/spinlock.h"
#include "numa/pmap.h"
#include "vdev/block_map.h"
#include "vdev/transfer.h"

/*
 * Disk images and the buffer cache: which machine page holds which block of which image. All disks with the same image
 * share its pages, which are of the commons (numa/commons.h) and are never written: a block that changes gets another
 * page. An image is in memory as a whole, or on a storage, from which blocks are read when they are wanted.
 */
#define IMAGE_BLOCK PAGE_SIZE

struct image {
    const void *data;          /* in memory, or NULL */
    struct storage *storage;
    uint64_t size;             /* bytes, a multiple of 512 */
    struct spinlock lock;      /* guards the next three; above the commons' locks and the storage's */
    struct block_map cached;
    uint64_t pages;            /* in the cache */
    uint64_t hand;             /* where the search for pages to let go stands */
    unsigned users, writers;   /* disks that have it; image.c's lock guards them */
    _Atomic uint64_t errors;   /* blocks that could not be read or written */
    _Atomic unsigned reading;  /* blocks */
};

/* The image that is in memory there; the same for the same data. NULL: too many. Any processor. */
struct image *image_in_memory(const void *data, uint64_t size);
/* The same for a storage, of at most BLOCK_MAP_MAX blocks. */
struct image *image_on(struct storage *storage);

/*
 * A disk uses it, alone if it is to write it. -EBUSY: another one writes it, or (to write) has it, or has what overlaps
 * it on the machine's disk; -EROFS. Released when nothing of that disk's is under way any more. Any processor.
 */
int image_claim(struct image *image, bool write);
void image_release(struct image *image, bool write);

/*
 * The page with a block, and a reference to it for the caller: commons_drop. From a storage it is read first, with as
 * many of the `blocks` from there on as are not there yet: -EAGAIN, or -EBUSY if all transfers are in use; try again
 * when one has ended. again: that is what the caller does after -EAGAIN, so if the block could not be read the answer
 * is -EIO; else it is read once more. blocks 0: it is not read, -ENOENT. -ENOMEM. Any processor; no lock is held that
 * reclaim needs (numa/reclaim.h).
 */
int image_page(struct image *image, uint64_t block, uint64_t blocks, bool again, struct hpa *page);
/*
 * The same for up to n blocks from this one on that the cache has, each with a reference: how many there are until the
 * first that it has not. to[i].page is set. Locks of the caller's may be held.
 */
unsigned image_pages(struct image *image, uint64_t block, unsigned n, struct pmap_placed *to);
/*
 * Reads what is not there of these blocks, unless half of them are (so that many are read at once), and if the machine
 * can spare it; nobody waits for it. False: it cannot now. Any processor; locks of the caller's may be held.
 */
bool image_ahead(struct image *image, uint64_t block, uint64_t blocks);

/*
 * Before a block is written to its storage: 0, -EAGAIN (it is being read), -ENOMEM. One caller at a time for a block,
 * until image_put.
 */
int image_prepare(struct image *image, uint64_t block);
/*
 * It is written, with what this private page holds, which is the cache's from now on; or (HPA_NONE) may be, and what is
 * in the cache is of no use.
 */
void image_put(struct image *image, uint64_t block, struct hpa page);
/* Sectors of so many blocks from this one on, as far as the image goes. */
uint32_t image_sectors(const struct image *image, uint64_t block, unsigned blocks);

/* Lets blocks go that nobody has in memory but the cache: so many, or all there are; how many. Any processor. */
uint64_t image_let_go(uint64_t pages);
/* The same in parts, for reclaim_set_cache. */
bool image_look(uint64_t pages, unsigned *effort, uint64_t *found);
/* So many pages of storages may be in the cache before others are let go for them. Before the first VM. */
void image_set_limit(uint64_t pages);
