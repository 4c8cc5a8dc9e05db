// SPDX-License-Identifier: GPL-2.0
/* Copyright (C) 2026 The Mirrorball authors */
/*
 * A queue's ring: a batch of requests is one hypercall; what the hypervisor has at hand is done when that returns, so
 * there the results are taken from the ring. What has to wait for a disk of the machine is done later, and an interrupt
 * tells.
 */
#include <linux/delay.h>
#include <linux/gfp.h>

#include "mb_blk.h"

int mb_queue_open(struct mb_queue *q)
{
	int err;

	q->ring = (void *)get_zeroed_page(GFP_KERNEL);
	if (!q->ring)
		return -ENOMEM;
	err = mirrorball_call4(MIRRORBALL_CALL_BLK_RING, q->disk->index, q->index, virt_to_phys(q->ring), DEPTH);
	if (err) {
		free_page((unsigned long)q->ring);
		q->ring = NULL;
	}
	return err;
}

/* The hypervisor forgets a ring before its page is another's; after an error requests may still be under way. */
void mb_queue_close(struct mb_queue *q)
{
	while (mirrorball_call4(MIRRORBALL_CALL_BLK_RING, q->disk->index, q->index, 0, 0) == -EBUSY)
		msleep(20);
	free_page((unsigned long)q->ring);
	q->ring = NULL;
}

/* The first request of all, before Linux's come. */
int mb_queue_identify(struct mb_queue *q, struct mb_blk_identity *identity)
{
	struct {
		struct mb_blk_segment segment __aligned(16);
		struct mb_blk_identity identity __aligned(MB_BLK_SECTOR);
	} *to;
	const struct mb_blk_result *result = (const void *)&q->ring->request[DEPTH];
	long done;

	to = (void *)get_zeroed_page(GFP_KERNEL);
	if (!to)
		return -ENOMEM;
	to->segment.gpa = virt_to_phys(&to->identity);
	to->segment.bytes = sizeof(to->identity);
	q->ring->request[0] = (struct mb_blk_request){
		.op = MB_BLK_IDENTIFY, .segments = 1, .sectors = 1, .table = virt_to_phys(&to->segment),
	};
	q->ring->submitted = 1;
	done = mirrorball_call(MIRRORBALL_CALL_BLK_RUN, q->disk->index, q->index);
	if (done == 1) {
		done = result->status;
		*identity = to->identity;
	} else if (done >= 0) {
		done = -EPROTO;
	}
	q->submitted = 1;
	q->seen = 1;
	free_page((unsigned long)to);
	return done;
}

/* Queue locked. False: nobody waits for this tag. */
static bool retire(struct mb_queue *q, unsigned int tag, blk_status_t status, struct mb_over *over)
{
	return q->disk->bios ? mb_bio_retire(q, tag, status, over) : mb_rq_retire(q, tag, status, over);
}

/* Queue locked. The disk works no more: nobody will answer what is in the ring. */
static void give_up(struct mb_queue *q, long error, struct mb_over *over)
{
	unsigned int tag;

	if (!xchg(&q->disk->broken, true))
		dev_err(q->disk->dev, "disk %u has stopped (%ld)\n", q->disk->index, error);
	for (tag = 0; tag < DEPTH; tag++)
		retire(q, tag, BLK_STS_IOERR, over);
	q->seen = q->submitted;
}

/* Queue locked: takes the results that are there. */
static int take(struct mb_queue *q, struct mb_over *over)
{
	const struct mb_blk_result *results = (const void *)&q->ring->request[DEPTH];
	u32 completed = smp_load_acquire(&q->ring->completed); /* before the results */

	if (completed - q->seen > mb_queue_waiting(q))
		return -EPROTO;
	while (q->seen != completed) {
		struct mb_blk_result result = results[q->seen++ % DEPTH];

		if (result.tag >= DEPTH || !retire(q, result.tag, errno_to_blk_status(result.status), over))
			return -EPROTO;
	}
	return 0;
}

/*
 * Queue locked. One call for all that is in the ring. Does it take another one, because the hypervisor has paused, or
 * there is more in the ring now?
 */
bool mb_queue_call(struct mb_queue *q, struct mb_over *over)
{
	long done;
	int err;

	if (!mb_queue_waiting(q))
		return false;
	WRITE_ONCE(q->ring->submitted, q->submitted);
	done = mirrorball_call(MIRRORBALL_CALL_BLK_RUN, q->disk->index, q->index);
	err = done < 0 ? done : take(q, over);
	if (!err)
		return READ_ONCE(q->ring->taken) != q->submitted;
	give_up(q, err, over);
	return false;
}

void mb_end_all(struct mb_over *over)
{
	struct bio *bio;

	if (over->rq)
		mb_rq_end(&over->rq);
	while ((bio = bio_list_pop(&over->bio)))
		bio_endio(bio);
}

void mb_queue_run(struct mb_queue *q)
{
	unsigned long flags;
	bool again;

	do {
		struct mb_over over = { };

		spin_lock_irqsave(&q->lock, flags);
		again = mb_queue_call(q, &over);
		spin_unlock_irqrestore(&q->lock, flags);
		mb_end_all(&over);
	} while (again);
}

/* Results that came after the call; what they let go on goes on. */
void mb_queue_collect(struct mb_queue *q)
{
	struct mb_over over = { };
	unsigned long flags;
	u32 before;
	bool more;
	int err;

	spin_lock_irqsave(&q->lock, flags);
	before = q->submitted;
	err = q->ring && mb_queue_waiting(q) ? take(q, &over) : 0;
	if (err)
		give_up(q, err, &over);
	more = q->submitted != before;
	spin_unlock_irqrestore(&q->lock, flags);
	mb_end_all(&over);
	if (more)
		mb_queue_run(q);
}
