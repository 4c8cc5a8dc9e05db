/* SPDX-License-Identifier: GPL-2.0 */
/* Copyright (C) 2026 The Mirrorball authors */
#ifndef _MB_BLK_H
#define _MB_BLK_H

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/blk-mq.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/wait.h>
#include <mirrorball/blk.h>

#include "mirrorball.h"

/* Between the parts of mb_blk. */
#define DEPTH		64		/* requests in flight on a queue: their ring fits into a page */
#define SEGMENTS	128		/* of a request */

static_assert(MB_BLK_RING_SIZE(DEPTH) <= PAGE_SIZE);
static_assert(SEGMENTS <= MB_BLK_MAX_SEGMENTS);

/* A place for a bio, if there is no request queue; its index is the tag. */
struct mb_bio {
	struct mb_bio *next;		/* of those that are free */
	struct bio *bio;
	struct mb_blk_segment *table;
	unsigned long start;		/* for the statistics */
	unsigned int steps;		/* that are left */
};

struct mb_queue {
	spinlock_t lock;		/* all below */
	struct mb_disk *disk;
	unsigned int index;
	struct mb_blk_ring *ring;
	u32 submitted;			/* requests that are in the ring */
	u32 seen;			/* results that were taken */

	/* By tag: of blk-mq, which has as many of them as the ring has entries; or what is in their place. */
	struct request *rq[DEPTH];
	struct mb_bio bio[DEPTH];
	struct mb_bio *free;
	unsigned int plugs;		/* tasks that put bios into the ring, and will make the call for them */
	wait_queue_head_t wait;		/* for one that is free, or for all to be */
	struct timer_list timer;
};

struct mb_disk {
	struct device *dev;
	unsigned int index;
	bool bios;			/* it has no request queue */
	bool broken;			/* the hypervisor refuses its rings */
	struct mb_blk_identity identity;
	struct gendisk *gendisk;
	struct blk_mq_tag_set tags;
	unsigned int queues;
	struct mb_queue queue[];
};

/* What is over, and is ended without the lock: who waits may go on to the next request at once. */
struct mb_over {
	struct request *rq;
	struct bio_list bio;
};

/* mb_blk_ring.c */
int mb_queue_open(struct mb_queue *q);
void mb_queue_close(struct mb_queue *q);
int mb_queue_identify(struct mb_queue *q, struct mb_blk_identity *identity);
bool mb_queue_call(struct mb_queue *q, struct mb_over *over);
void mb_queue_run(struct mb_queue *q);
void mb_queue_collect(struct mb_queue *q);
void mb_end_all(struct mb_over *over);

/* Queue locked. The request to put into the ring next, all zero; q->submitted is raised then. NULL: it is broken. */
static inline struct mb_blk_request *mb_queue_next(struct mb_queue *q)
{
	struct mb_blk_request *r = &q->ring->request[q->submitted % DEPTH];

	if (READ_ONCE(q->disk->broken))
		return NULL;
	*r = (struct mb_blk_request){ };
	return r;
}

/* Queue locked. Requests that have no result yet. */
static inline u32 mb_queue_waiting(const struct mb_queue *q)
{
	return q->submitted - q->seen;
}

static inline void mb_fill_segment(struct mb_blk_segment *s, const struct bio_vec *bv)
{
	s->gpa = page_to_phys(bv->bv_page) + bv->bv_offset;
	s->bytes = bv->bv_len;
	s->zero = 0;
}

/* mb_blk_rq.c: with a request queue. */
struct gendisk *mb_rq_add(struct mb_disk *d);
void mb_rq_remove(struct mb_disk *d);
bool mb_rq_retire(struct mb_queue *q, unsigned int tag, blk_status_t status, struct mb_over *over);
void mb_rq_end(struct request **list);

/* mb_blk_bio.c: without. */
struct gendisk *mb_bio_add(struct mb_disk *d);
void mb_bio_drain(struct mb_disk *d);
void mb_bio_remove(struct mb_disk *d);
bool mb_bio_retire(struct mb_queue *q, unsigned int tag, blk_status_t status, struct mb_over *over);

#endif
