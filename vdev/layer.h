/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "numa/pmap.h"
#include "vdev/image.h"

/*
 * What a VM sees on a disk: an image, and what becomes of the blocks that it writes. A zeroed layer with an image keeps
 * them in memory until it is destroyed; one that is exclusive writes them to the image's own storage; one with a log
 * (vdev/persist.h) to that. One lock; the images' and the pmap's are below it. Ranges lie inside the image (bytes,
 * multiples of 512).
 *
 * What has to wait for a storage ends with -EAGAIN, and is to be called again for the rest when a transfer has ended.
 */
struct persist;

/* A block's word in the map of own blocks: a page's address, or its block in the log's storage * 4096, and: */
#define LAYER_ZERO 1u          /* it is zero, and has no page */
#define LAYER_BUSY 2u          /* it is being written */
#define LAYER_AT(entry) ((entry) & ~(PAGE_SIZE - 1))

/* Reads in a row, in blocks: where they go on, how far ahead is read, and up to where it has been. */
#define LAYER_STREAMS 4u
struct layer_stream { uint64_t next, window, ahead; };

struct layer {
    struct image *image;
    bool exclusive;
    struct persist *log;
    bool fleeting;             /* with a log, which need not outlive a power cut: flushes have nothing to do */
    struct spinlock lock;      /* guards the rest, and the log */
    struct block_map own;
    uint64_t pages;            /* blocks that it has of its own */
    unsigned in_flight;        /* transfers */
    struct layer_stream stream[LAYER_STREAMS];
    unsigned stream_turn;
    _Atomic uint64_t placed, copied; /* what reads took: blocks of the image without a copy, parts of blocks by one */
};

/* A request that may have to wait; zeroed at its start. */
struct layer_wait {
    _Atomic uint32_t pending;  /* transfers of its own that are under way: until 0 it must not go */
    _Atomic int error;         /* 0, or -EIO: of one of these */
    const struct image *image; /* it waits until this block is read; NULL: no */
    uint64_t block;
    uint64_t ticket;           /* the log's, of a flush */
};

/* What the parts of a request have in common. */
struct layer_io {
    struct pmap *pmap;
    bool share;                /* whole blocks are placed, not copied */
    unsigned node;             /* where they are mapped */
    uint64_t ahead;            /* bytes from the part's start on that the request wants */
    struct layer_wait *wait;
    struct transfer *open;     /* what is being put together: layer_end sends it off */
    /* Blocks of a read that take their places together, in layer_end at the latest; then up to found the next ones. */
    unsigned gathered, found;
    uint64_t next;             /* the block that was found first and is not gathered */
    struct pmap_placed page[PMAP_PLACE_MOST];
};

/*
 * To and from guest memory; *done: so many bytes are. -EFAULT: not RAM; -EIO; -ENOMEM; -ENOSPC; -EAGAIN. Writes have
 * been issued, and are over when wait->pending is 0. What was read is there after layer_end.
 */
int layer_read(struct layer *l, uint64_t at, struct gpa to, uint64_t n, struct layer_io *io, uint64_t *done);
/*
 * The same in a few instructions for a whole block, if it was found together with those before it and is not the last of
 * these; and for several. n: any number of bytes. False: it is not so, and nothing was done.
 */
static inline bool layer_gather(struct layer_io *io, uint64_t at, struct gpa to)
{
    if (io->gathered + 1 >= io->found || io->next * IMAGE_BLOCK != at || to.v % IMAGE_BLOCK)
        return false;
    io->page[io->gathered++].gpa = to;
    io->next++;
    return true;
}
bool layer_gather_many(struct layer_io *io, uint64_t at, struct gpa to, uint64_t n);
int layer_write(struct layer *l, uint64_t at, struct gpa from, uint64_t n, struct layer_io *io, uint64_t *done);
/* Zeros, which in a layer take no memory where they are whole blocks. As layer_write. */
int layer_zero(struct layer *l, uint64_t at, uint64_t n, struct layer_io *io, uint64_t *done);
/* The whole blocks among these are not needed any more. As layer_write. */
int layer_discard(struct layer *l, uint64_t at, uint64_t n, struct layer_io *io, uint64_t *done);
/* After any of these, whatever it returned. -EFAULT, -ENOMEM: of a read, if that had no error of its own. */
int layer_end(struct layer *l, struct layer_io *io);
/* What was written and is over stays so through a power cut, if the layer is not of memory alone. -EIO, -EAGAIN. */
int layer_flush(struct layer *l, struct layer_io *io);
/* The guest has read these blocks: if it reads on, more are read ahead. */
void layer_expect(struct layer *l, uint64_t at, uint64_t n);

/* Does it touch a storage at all? */
static inline bool layer_waits(const struct layer *l) { return l->image->storage || l->log; }
/* Is nothing under way, and nothing written that the log does not have? Starts what is needed for that. */
bool layer_quiet(struct layer *l);
/* Nobody uses it any more, and it is quiet: its memory comes back. */
void layer_destroy(struct layer *l);
