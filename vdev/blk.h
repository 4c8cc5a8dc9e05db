/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vdev/layer.h"

/* The paravirtual disks of a VM: rings and requests of include/mirrorball/blk.h. */
#define BLK_MAX_DISKS  4u
#define BLK_MAX_QUEUES 64u
#define BLK_SERIAL     20u

/* What was done for a disk since its VM started. */
struct blk_counts {
    uint64_t requests, errors; /* errors: requests with a status that is not 0 */
    uint64_t read, written;    /* sectors, of requests without an error */
};

struct blk_queue {
    struct spinlock lock;      /* held while its requests are done; above the layer's */
    struct gpa ring;
    uint32_t entries;          /* 0: it has no ring */
    uint32_t taken;            /* requests that were taken, and results that were given, since it has this ring */
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
/* One more, at most BLK_MAX_DISKS; before the VM runs. */
struct blk_disk *blk_add(struct blk *b, struct image *image, const char *serial);
/* Gives back what they hold. No vCPU of the VM runs any more. */
void blk_destroy(struct blk *b);

/* The sum of all queues; of each it is what it was a moment ago. Any processor. */
void blk_count(const struct blk_disk *d, struct blk_counts *sum);

/* The hypercalls: see include/mirrorball/blk.h. Any processor, outside of the EPTs. */
int64_t blk_set_ring(struct blk *b, uint64_t disk, uint64_t queue, struct gpa ring, uint64_t entries);
int64_t blk_run(struct blk *b, uint64_t disk, uint64_t queue, unsigned node);
