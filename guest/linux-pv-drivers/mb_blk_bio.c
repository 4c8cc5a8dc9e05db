// SPDX-License-Identifier: GPL-2.0
/* Copyright (C) 2026 The Mirrorball authors */
/*
 * A disk without a request queue: what submits a bio puts it into the ring of its CPU and makes the call. Most are over
 * when that returns, so there is nothing to merge, to sort or to wait for. A task that has a plug, for it submits
 * several, makes one call for all of them, when it unplugs.
 */
#include <linux/slab.h>

#include "mb_blk.h"

#define LATE	(30 * HZ)

static_assert(PAGE_SIZE % (SEGMENTS * sizeof(struct mb_blk_segment)) == 0);

/* Of a bio, in this order; its tag stays its own meanwhile. */
enum { FLUSH_BEFORE = 1, ITSELF = 2, FLUSH_BEHIND = 4 };

struct mb_plug {
	struct blk_plug_cb cb;		/* the first: the block layer allocates it so */
	bool counted;
};

static unsigned int steps_of(const struct bio *bio)
{
	unsigned int steps = bio->bi_opf & REQ_PREFLUSH ? FLUSH_BEFORE : 0;

	if (!bio->bi_iter.bi_size)
		return steps;
	return steps | ITSELF | (bio->bi_opf & REQ_FUA ? FLUSH_BEHIND : 0);
}

/* Reads and writes that are within the limits by the look of it: to go through their segments for that takes time. */
static bool fits(struct bio *bio)
{
	return (bio_op(bio) == REQ_OP_READ || bio_op(bio) == REQ_OP_WRITE) && !bio_flagged(bio, BIO_CLONED) &&
	       bio->bi_vcnt <= SEGMENTS &&
	       bio_sectors(bio) <= queue_max_sectors(bdev_get_queue(bio->bi_bdev));
}

/* It keeps to the limits. */
static unsigned int fill_table(struct mb_blk_segment *table, struct bio *bio)
{
	struct bvec_iter iter;
	unsigned int n = 0;
	struct bio_vec bv;

	bio_for_each_bvec(bv, bio, iter)
		mb_fill_segment(&table[n++], &bv);
	return n;
}

static void translate(const struct mb_bio *b, struct mb_blk_request *r)
{
	struct bio *bio = b->bio;

	r->sector = bio->bi_iter.bi_sector;
	r->sectors = bio_sectors(bio);
	switch (bio_op(bio)) {
	case REQ_OP_DISCARD:
		r->op = MB_BLK_DISCARD;
		break;
	case REQ_OP_WRITE_ZEROES:
		r->op = MB_BLK_WRITE_ZEROES;
		break;
	default:
		r->op = bio_op(bio) == REQ_OP_READ ? MB_BLK_READ : MB_BLK_WRITE;
		r->segments = fill_table(b->table, bio);
		r->table = virt_to_phys(b->table);
	}
}

/* Queue locked: the first of its steps goes into the ring. */
static int put_step(struct mb_queue *q, struct mb_bio *b)
{
	struct mb_blk_request *r = mb_queue_next(q);
	unsigned int step = b->steps & -b->steps;

	if (!r)
		return -EIO;
	b->steps &= ~step;
	r->op = MB_BLK_FLUSH;
	r->tag = b - q->bio;
	if (step == ITSELF)
		translate(b, r);
	q->submitted++;
	return 0;
}

static void put_tag(struct mb_queue *q, struct mb_bio *b)
{
	b->bio = NULL;
	b->next = q->free;
	q->free = b;
	if (wq_has_sleeper(&q->wait))
		wake_up(&q->wait);
}

/* Queue locked: one step of it is over. */
bool mb_bio_retire(struct mb_queue *q, unsigned int tag, blk_status_t status, struct mb_over *over)
{
	struct mb_bio *b = &q->bio[tag];
	struct bio *bio = b->bio;

	if (!bio)
		return false;
	if (!status && b->steps) {
		if (!put_step(q, b))
			return true;
		status = BLK_STS_IOERR;
	}
	bio->bi_status = status;
	if (b->start)
		bio_end_io_acct(bio, b->start);
	bio_list_add(&over->bio, bio);
	put_tag(q, b);
	return true;
}

/* Before the task sleeps, or at the end of its batch. The queue stays while q->plugs counts this one. */
static void mb_blk_unplug(struct blk_plug_cb *cb, bool from_schedule)
{
	struct mb_queue *q = cb->data;
	unsigned long flags;

	mb_queue_run(q);
	spin_lock_irqsave(&q->lock, flags);
	q->plugs--;
	if (wq_has_sleeper(&q->wait))
		wake_up(&q->wait);
	spin_unlock_irqrestore(&q->lock, flags);
	kfree(container_of(cb, struct mb_plug, cb));
}

/* Linux plugs around a single write, too, that a task then sleeps for: that is dearer than a call. */
static bool is_one_of_several(const struct bio *bio)
{
	return current->plug && !(op_is_write(bio->bi_opf) && op_is_sync(bio->bi_opf));
}

/* Takes the lock. Will this task unplug the queue? */
static bool lock_plugged(struct mb_queue *q, const struct bio *bio)
{
	struct blk_plug_cb *cb = is_one_of_several(bio) ?
				 blk_check_plugged(mb_blk_unplug, q, sizeof(struct mb_plug)) : NULL;
	struct mb_plug *plug = container_of(cb, struct mb_plug, cb);

	spin_lock_irq(&q->lock);
	if (cb && !plug->counted) {
		plug->counted = true;
		q->plugs++;
	}
	return cb;
}

/* Queue locked, but not while it waits for a tag. What is over is then ended without. A plug leaves a tag to others. */
static bool start(struct mb_queue *q, struct bio *bio, bool plugged, struct mb_over *over)
{
	struct mb_bio *b;

	wait_event_lock_irq(q->wait, q->free, q->lock);
	b = q->free;
	q->free = b->next;
	b->bio = bio;
	b->steps = steps_of(bio);
	b->start = blk_queue_io_stat(bdev_get_queue(bio->bi_bdev)) ? bio_start_io_acct(bio) : 0;
	if (put_step(q, b)) {
		mb_bio_retire(q, b - q->bio, BLK_STS_IOERR, over);
		return false;
	}
	return (!plugged || !q->free) && mb_queue_call(q, over);
}

static void mb_blk_submit_bio(struct bio *bio)
{
	struct mb_disk *d = bio->bi_bdev->bd_disk->private_data;
	struct mb_queue *q = &d->queue[raw_smp_processor_id() % d->queues];
	struct mb_over over = { };
	bool plugged, again;

	if (!fits(bio))
		bio = bio_split_to_limits(bio);
	if (!bio)
		return;
	if (!steps_of(bio)) {
		bio_endio(bio);
		return;
	}
	plugged = lock_plugged(q, bio);
	if (!q->free && (bio->bi_opf & REQ_NOWAIT)) {
		spin_unlock_irq(&q->lock);
		bio_wouldblock_error(bio);
		return;
	}
	/* To wait for a tag unplugs. */
	again = start(q, bio, plugged && q->free, &over);
	if (mb_queue_waiting(q) && !timer_pending(&q->timer))
		mod_timer(&q->timer, jiffies + LATE);
	spin_unlock_irq(&q->lock);
	mb_end_all(&over);
	if (again)
		mb_queue_run(q);
}

static bool is_idle(struct mb_queue *q)
{
	bool idle;

	spin_lock_irq(&q->lock);
	idle = !mb_queue_waiting(q);
	spin_unlock_irq(&q->lock);
	return idle;
}

static void look_again(struct mb_queue *q)
{
	mb_queue_collect(q);
	mb_queue_run(q);
}

/* As blk-mq's time limit: an interrupt may have been lost. */
static void mb_blk_late(struct timer_list *t)
{
	struct mb_queue *q = from_timer(q, t, timer);

	look_again(q);
	if (is_idle(q))
		return;
	dev_warn_ratelimited(q->disk->dev, "disk %u: a request takes long\n", q->disk->index);
	mod_timer(&q->timer, jiffies + LATE);
}

static const struct block_device_operations mb_blk_bio_fops = {
	.owner = THIS_MODULE,
	.submit_bio = mb_blk_submit_bio,
};

/* A table crosses no page: kmalloc aligns what is a power of two to its size. */
static int init_queue(struct mb_queue *q)
{
	unsigned int tag;

	init_waitqueue_head(&q->wait);
	timer_setup(&q->timer, mb_blk_late, 0);
	for (tag = 0; tag < DEPTH; tag++) {
		q->bio[tag].table = kmalloc_array(SEGMENTS, sizeof(struct mb_blk_segment), GFP_KERNEL);
		if (!q->bio[tag].table)
			return -ENOMEM;
		put_tag(q, &q->bio[tag]);
	}
	return 0;
}

void mb_bio_remove(struct mb_disk *d)
{
	unsigned int i, tag;

	for (i = 0; i < d->queues; i++) {
		for (tag = 0; tag < DEPTH; tag++)
			kfree(d->queue[i].bio[tag].table);
	}
}

struct gendisk *mb_bio_add(struct mb_disk *d)
{
	struct gendisk *gendisk = NULL;
	unsigned int i;
	int err = 0;

	d->bios = true;
	for (i = 0; i < d->queues && !err; i++)
		err = init_queue(&d->queue[i]);
	if (!err)
		gendisk = blk_alloc_disk(NUMA_NO_NODE);
	if (!gendisk) {
		mb_bio_remove(d);
		return ERR_PTR(-ENOMEM);
	}
	gendisk->fops = &mb_blk_bio_fops;
	blk_queue_flag_set(QUEUE_FLAG_NOWAIT, gendisk->queue);
	return gendisk;
}

/*
 * Nothing comes any more; but what came may not be over, for the block layer does not count it. Who has counted its
 * plug down lets the lock go before is_idle() takes it.
 */
void mb_bio_drain(struct mb_disk *d)
{
	unsigned int i;

	for (i = 0; i < d->queues; i++) {
		struct mb_queue *q = &d->queue[i];

		while (!wait_event_timeout(q->wait, !READ_ONCE(q->plugs) && is_idle(q), HZ))
			look_again(q);
		del_timer_sync(&q->timer);
	}
}

