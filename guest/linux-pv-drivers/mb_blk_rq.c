// SPDX-License-Identifier: GPL-2.0
/* Copyright (C) 2026 The Mirrorball authors */
/* A disk with a request queue: blk-mq, with a hardware queue for each ring. */
#include "mb_blk.h"

/* Behind each request of Linux's. */
struct mb_rq {
	blk_status_t status;
	struct mb_blk_segment table[SEGMENTS + 1];	/* one more, to be aligned */
};

static struct mb_blk_segment *table_of(struct request *rq)
{
	struct mb_rq *r = blk_mq_rq_to_pdu(rq);

	return PTR_ALIGN(&r->table[0], sizeof(struct mb_blk_segment));
}

/* The block layer keeps to the limits that it was given. */
static unsigned int fill_table(struct request *rq)
{
	struct mb_blk_segment *table = table_of(rq);
	struct req_iterator iter;
	unsigned int n = 0;
	struct bio_vec bv;

	rq_for_each_bvec(bv, rq, iter)
		mb_fill_segment(&table[n++], &bv);
	return n;
}

static int translate(struct request *rq, struct mb_blk_request *r)
{
	r->tag = rq->tag;
	r->sector = blk_rq_pos(rq);
	r->sectors = blk_rq_sectors(rq);
	switch (req_op(rq)) {
	case REQ_OP_READ:
	case REQ_OP_WRITE:
		r->op = req_op(rq) == REQ_OP_READ ? MB_BLK_READ : MB_BLK_WRITE;
		r->segments = fill_table(rq);
		r->table = virt_to_phys(table_of(rq));
		return 0;
	case REQ_OP_FLUSH:
		r->op = MB_BLK_FLUSH;
		r->sector = 0;
		return 0;
	case REQ_OP_DISCARD:
		r->op = MB_BLK_DISCARD;
		return 0;
	case REQ_OP_WRITE_ZEROES:
		r->op = MB_BLK_WRITE_ZEROES;
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

/* Into the ring; the hypervisor is not told. */
static blk_status_t push(struct mb_queue *q, struct request *rq)
{
	blk_status_t status = BLK_STS_OK;
	struct mb_blk_request *r;
	unsigned long flags;

	spin_lock_irqsave(&q->lock, flags);
	r = mb_queue_next(q);
	if (!r) {
		status = BLK_STS_IOERR;
	} else if (translate(rq, r)) {
		status = BLK_STS_NOTSUPP;
	} else {
		blk_mq_start_request(rq);
		q->rq[rq->tag] = rq;
		q->submitted++;
	}
	spin_unlock_irqrestore(&q->lock, flags);
	return status;
}

/* Queue locked: this request is over, and is put before those that are. */
bool mb_rq_retire(struct mb_queue *q, unsigned int tag, blk_status_t status, struct mb_over *over)
{
	struct request *rq = q->rq[tag];
	struct mb_rq *r;

	if (!rq)
		return false;
	q->rq[tag] = NULL;
	r = blk_mq_rq_to_pdu(rq);
	r->status = status;
	rq_list_add(&over->rq, rq);
	return true;
}

void mb_rq_end(struct request **list)
{
	DEFINE_IO_COMP_BATCH(batch);
	struct request *rq;

	while ((rq = rq_list_pop(list))) {
		struct mb_rq *r = blk_mq_rq_to_pdu(rq);

		if (!blk_mq_add_to_batch(rq, &batch, r->status, blk_mq_end_request_batch))
			blk_mq_end_request(rq, r->status);
	}
	if (batch.complete)
		batch.complete(&batch);
}

/*
 * The hypervisor gives each request a result, an error too, and the machine's disk has its own time limits: a request
 * that takes long still has its data moved. So it is never given up; but an interrupt may have been lost.
 */
static enum blk_eh_timer_return mb_blk_timeout(struct request *rq)
{
	struct mb_queue *q = rq->mq_hctx->driver_data;

	mb_queue_collect(q);
	mb_queue_run(q);
	if (blk_mq_request_completed(rq))
		return BLK_EH_DONE;
	dev_warn_ratelimited(q->disk->dev, "disk %u: a request takes long\n", q->disk->index);
	return BLK_EH_RESET_TIMER;
}

static blk_status_t mb_blk_queue_rq(struct blk_mq_hw_ctx *hctx, const struct blk_mq_queue_data *bd)
{
	struct mb_queue *q = hctx->driver_data;
	blk_status_t status = push(q, bd->rq);

	if (bd->last && status == BLK_STS_OK)
		mb_queue_run(q);
	return status;
}

static void mb_blk_commit_rqs(struct blk_mq_hw_ctx *hctx)
{
	mb_queue_run(hctx->driver_data);
}

/* What stays in the list comes again through queue_rq. */
static void mb_blk_queue_rqs(struct request **list)
{
	struct request *rq, *left = NULL, **tail = &left;
	struct mb_queue *q = NULL;

	while ((rq = rq_list_pop(list))) {
		struct mb_queue *its = rq->mq_hctx->driver_data;

		if (q && q != its)
			mb_queue_run(q);
		q = its;
		if (push(q, rq) != BLK_STS_OK)
			rq_list_add_tail(&tail, rq);
	}
	if (q)
		mb_queue_run(q);
	*list = left;
}

static int mb_blk_init_hctx(struct blk_mq_hw_ctx *hctx, void *data, unsigned int index)
{
	struct mb_disk *d = data;

	hctx->driver_data = &d->queue[index];
	return 0;
}

static const struct blk_mq_ops mb_blk_mq_ops = {
	.queue_rq = mb_blk_queue_rq,
	.commit_rqs = mb_blk_commit_rqs,
	.queue_rqs = mb_blk_queue_rqs,
	.timeout = mb_blk_timeout,
	.init_hctx = mb_blk_init_hctx,
};

static const struct block_device_operations mb_blk_rq_fops = {
	.owner = THIS_MODULE,
};

struct gendisk *mb_rq_add(struct mb_disk *d)
{
	struct gendisk *gendisk;
	int err;

	d->tags.ops = &mb_blk_mq_ops;
	d->tags.nr_hw_queues = d->queues;
	d->tags.queue_depth = DEPTH;
	d->tags.numa_node = NUMA_NO_NODE;
	d->tags.cmd_size = sizeof(struct mb_rq);
	d->tags.flags = BLK_MQ_F_SHOULD_MERGE | BLK_MQ_F_NO_SCHED_BY_DEFAULT;
	d->tags.driver_data = d;
	err = blk_mq_alloc_tag_set(&d->tags);
	if (err)
		return ERR_PTR(err);
	gendisk = blk_mq_alloc_disk(&d->tags, d);
	if (IS_ERR(gendisk))
		blk_mq_free_tag_set(&d->tags);
	else
		gendisk->fops = &mb_blk_rq_fops;
	return gendisk;
}

void mb_rq_remove(struct mb_disk *d)
{
	blk_mq_free_tag_set(&d->tags);
}
