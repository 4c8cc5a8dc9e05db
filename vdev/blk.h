/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "include/mirrorball/blk.h"
#include "vdev/layer.h"

/* The paravirtual disks of a VM: rings and requests of include/mirrorball/blk.h. */
#define BLK_MAX_DISKS  4u
#define BLK_MAX_QUEUES 64u
#define BLK_SERIAL     20u
#define BLK_MAX_RESULTS 32u

/* What was done for a disk since its VM started. */
struct blk_counts {
    uint64_t requests, errors; /* errors: requests with a status that is not 0 */
    uint64_t read, written;    /* sectors, of requests without an error */
};

/* A request that was taken and has no result yet. */
struct blk_work {
    struct mb_blk_request r;
    struct layer_wait wait;
    uint32_t segment, offset;  /* where it goes on: bytes of that segment are done */
    uint64_t moved;            /* bytes */
    int status;                /* once issued: but for its transfers */
    bool issued;               /* all is done but for these */
    uint16_t next;             /* of those that wait, or that are free */
};

struct blk_queue {
    struct spinlock lock;      /* held while its requests are done; above the layer's */
    struct gpa ring;
    uint32_t entries;          /* 0: it has no ring */
    uint32_t taken, given;     /* requests, and results, since it has this ring */
    uint32_t told;             /* results that are in the ring; those behind it are in result */
    struct mb_blk_result result[BLK_MAX_RESULTS];
    struct blk_work *work;     /* as many as entries */
    uint16_t free;             /* one that is free; there is one while taken - given < entries */
    uint16_t first, last;      /* those that wait, in the order in which they were taken */
    _Atomic uint16_t waiting;  /* how many */
    struct blk_counts counts;
};

struct blk_disk {
    struct layer layer;
    bool readonly;
    bool share;                /* pages of the image with other VMs */
    char serial[BLK_SERIAL];   /* padded with zeros */
    _Atomic bool stopped;      /* its ring made no sense */
    struct blk_queue queue[BLK_MAX_QUEUES];
};

struct blk {
    struct pmap *pmap;
    const char *name;          /* the VM's, for the log */
    unsigned disks, queues;
    struct blk_disk disk[BLK_MAX_DISKS];
};

/* No disks yet. queues: 1 to BLK_MAX_QUEUES. */
void blk_init(struct blk *b, struct pmap *pmap, unsigned queues, const char *name);
/* One more, at most BLK_MAX_DISKS, whose layer has claimed the image; before the VM runs. */
struct blk_disk *blk_add(struct blk *b, struct image *image, const char *serial);
/* Is nothing under way any more? Starts what is needed for that. No vCPU of the VM runs any more. */
bool blk_quiet(struct blk *b);
/* Gives back what they hold; they are quiet. */
void blk_destroy(struct blk *b);
/*
 * Goes on with requests that wait. True: there are results that no call of the guest's has given, so it wants an
 * interrupt. *more: some still wait. Any processor, outside of the EPTs.
 */
bool blk_resume(struct blk *b, unsigned node, bool *more);

/* The sum of all queues; of each it is what it was a moment ago. Any processor. */
void blk_count(const struct blk_disk *d, struct blk_counts *sum);
/* Requests that wait for a storage, about. Any processor. */
unsigned blk_waiting(const struct blk_disk *d);

/* The hypercalls: see include/mirrorball/blk.h. Any processor, outside of the EPTs. */
int64_t blk_set_ring(struct blk *b, uint64_t disk, uint64_t queue, struct gpa ring, uint64_t entries);
int64_t blk_run(struct blk *b, uint64_t disk, uint64_t queue, unsigned node);
