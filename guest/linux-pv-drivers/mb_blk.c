// SPDX-License-Identifier: GPL-2.0
/* Copyright (C) 2026 The Mirrorball authors */
/*
 * Mirrorball's paravirtual disks (docs/blk.md of its tree): a hardware queue for each vCPU, each with a ring. A batch
 * of requests is one hypercall; what the hypervisor has at hand is done when that returns, so there the results are
 * taken from the ring. What has to wait for a disk of the machine is done later, and an interrupt tells.
 */
#include <linux/acpi.h>
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <mirrorball/blk.h>

#include "mirrorball.h"

#define MAX_DISKS	26		/* mbda to mbdz */
#define DEPTH		64		/* requests in flight on a queue: their ring fits into a page */
#define SEGMENTS	128		/* of a request */
/* Worth reading at a time; Linux reads ahead twice as much. */
#define GOOD_BYTES	(256 * 1024)

static_assert(MB_BLK_RING_SIZE(DEPTH) <= PAGE_SIZE);
static_assert(SEGMENTS <= MB_BLK_MAX_SEGMENTS);

struct mb_queue {
	spinlock_t lock;		/* all below */
	struct mb_disk *disk;
	unsigned int index;
	struct mb_blk_ring *ring;
	u32 submitted;			/* requests that are in the ring */
	u32 seen;			/* results that were taken */
	struct request *pending[DEPTH];	/* by tag: blk-mq has as many of them as the ring has entries */
};

struct mb_disk {
	struct device *dev;
	unsigned int index;
	bool broken;			/* the hypervisor refuses its rings */
	struct mb_blk_identity identity;
	struct gendisk *gendisk;
	struct blk_mq_tag_set tags;
	unsigned int queues;
	struct mb_queue queue[];
};

struct mb_blk {
	int irq;			/* negative: none */
	struct mb_disk *disk[MAX_DISKS];
};

/* Behind each request of Linux's. */
struct mb_request {
	blk_status_t status;
	struct mb_blk_segment table[SEGMENTS + 1];	/* one more, to be aligned */
};

static struct mb_blk_segment *table_of(struct request *rq)
{
	struct mb_request *r = blk_mq_rq_to_pdu(rq);

	return PTR_ALIGN(&r->table[0], sizeof(struct mb_blk_segment));
}

/* The block layer keeps to the limits that it was given. */
static unsigned int fill_table(struct request *rq)
{
	struct mb_blk_segment *table = table_of(rq);
	struct req_iterator iter;
	unsigned int n = 0;
	struct bio_vec bv;

	rq_for_each_bvec(bv, rq, iter) {
		table[n].gpa = page_to_phys(bv.bv_page) + bv.bv_offset;
		table[n].bytes = bv.bv_len;
		table[n++].zero = 0;
	}
	return n;
}

static int translate(struct request *rq, struct mb_blk_request *r)
{
	*r = (struct mb_blk_request){ .sector = blk_rq_pos(rq), .sectors = blk_rq_sectors(rq) };
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
	struct mb_blk_request r;
	unsigned long flags;

	if (translate(rq, &r))
		return BLK_STS_NOTSUPP;
	spin_lock_irqsave(&q->lock, flags);
	if (READ_ONCE(q->disk->broken)) {
		status = BLK_STS_IOERR;
	} else {
		blk_mq_start_request(rq);
		r.tag = rq->tag;
		q->ring->request[q->submitted++ % DEPTH] = r;
		q->pending[rq->tag] = rq;
	}
	spin_unlock_irqrestore(&q->lock, flags);
	return status;
}

/* Queue locked: this request is over, and is put before those that are. */
static void retire(struct mb_queue *q, unsigned int tag, blk_status_t status, struct request **over)
{
	struct request *rq = q->pending[tag];
	struct mb_request *r = blk_mq_rq_to_pdu(rq);

	q->pending[tag] = NULL;
	r->status = status;
	rq_list_add(over, rq);
}

/* Queue locked. The disk works no more: nobody will answer what is in the ring. */
static void give_up(struct mb_queue *q, long error, struct request **over)
{
	unsigned int tag;

	if (!xchg(&q->disk->broken, true))
		dev_err(q->disk->dev, "disk %u has stopped (%ld)\n", q->disk->index, error);
	for (tag = 0; tag < DEPTH; tag++) {
		if (q->pending[tag])
			retire(q, tag, BLK_STS_IOERR, over);
	}
	q->seen = q->submitted;
}

/* Queue locked: takes the results that are there. */
static int take(struct mb_queue *q, struct request **over)
{
	const struct mb_blk_result *results = (const void *)&q->ring->request[DEPTH];
	u32 completed = smp_load_acquire(&q->ring->completed); /* before the results */

	if (completed - q->seen > q->submitted - q->seen)
		return -EPROTO;
	for (; q->seen != completed; q->seen++) {
		struct mb_blk_result result = results[q->seen % DEPTH];

		if (result.tag >= DEPTH || !q->pending[result.tag])
			return -EPROTO;
		retire(q, result.tag, errno_to_blk_status(result.status), over);
	}
	return 0;
}

/* One call for all that is in the ring. Does it take another one, because the hypervisor has paused? */
static bool call(struct mb_queue *q, struct request **over)
{
	bool again = false;
	unsigned long flags;
	long done;
	int err;

	spin_lock_irqsave(&q->lock, flags);
	if (q->seen != q->submitted) {
		WRITE_ONCE(q->ring->submitted, q->submitted);
		done = mirrorball_call(MIRRORBALL_CALL_BLK_RUN, q->disk->index, q->index);
		err = done < 0 ? done : take(q, over);
		if (err)
			give_up(q, err, over);
		else
			again = READ_ONCE(q->ring->taken) != q->submitted;
	}
	spin_unlock_irqrestore(&q->lock, flags);
	return again;
}

/* Without the lock: who waits may go on to the next request at once. */
static void end_all(struct request **over)
{
	DEFINE_IO_COMP_BATCH(batch);
	struct request *rq;

	while ((rq = rq_list_pop(over))) {
		struct mb_request *r = blk_mq_rq_to_pdu(rq);

		if (!blk_mq_add_to_batch(rq, &batch, r->status, blk_mq_end_request_batch))
			blk_mq_end_request(rq, r->status);
	}
	if (batch.complete)
		batch.complete(&batch);
}

static void run(struct mb_queue *q)
{
	bool again;

	do {
		struct request *over = NULL;

		again = call(q, &over);
		end_all(&over);
	} while (again);
}

/* Results that came after the call. */
static void collect(struct mb_queue *q)
{
	struct request *over = NULL;
	unsigned long flags;
	int err;

	spin_lock_irqsave(&q->lock, flags);
	err = q->ring && q->seen != q->submitted ? take(q, &over) : 0;
	if (err)
		give_up(q, err, &over);
	spin_unlock_irqrestore(&q->lock, flags);
	end_all(&over);
}

static irqreturn_t mb_blk_interrupt(int irq, void *data)
{
	struct mb_blk *b = data;
	unsigned int i, n;

	for (i = 0; i < MAX_DISKS; i++) {
		/* what is in it: see add_disk_number */
		struct mb_disk *d = smp_load_acquire(&b->disk[i]);

		for (n = 0; d && n < d->queues; n++)
			collect(&d->queue[n]);
	}
	return IRQ_HANDLED;
}

/*
 * The hypervisor gives each request a result, an error too, and the machine's disk has its own time limits: a request
 * that takes long still has its data moved. So it is never given up; but an interrupt may have been lost.
 */
static enum blk_eh_timer_return mb_blk_timeout(struct request *rq)
{
	struct mb_queue *q = rq->mq_hctx->driver_data;

	collect(q);
	run(q);
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
		run(q);
	return status;
}

static void mb_blk_commit_rqs(struct blk_mq_hw_ctx *hctx)
{
	run(hctx->driver_data);
}

/* What stays in the list comes again through queue_rq. */
static void mb_blk_queue_rqs(struct request **list)
{
	struct request *rq, *left = NULL, **tail = &left;
	struct mb_queue *q = NULL;

	while ((rq = rq_list_pop(list))) {
		struct mb_queue *its = rq->mq_hctx->driver_data;

		if (q && q != its)
			run(q);
		q = its;
		if (push(q, rq) != BLK_STS_OK)
			rq_list_add_tail(&tail, rq);
	}
	if (q)
		run(q);
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

static const struct block_device_operations mb_blk_fops = {
	.owner = THIS_MODULE,
};

static ssize_t serial_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	const struct mb_disk *d = dev_to_disk(dev)->private_data;

	return sysfs_emit(buf, "%.*s\n", (int)sizeof(d->identity.serial), d->identity.serial);
}
static DEVICE_ATTR_RO(serial);

static struct attribute *mb_blk_attrs[] = {
	&dev_attr_serial.attr,
	NULL
};
ATTRIBUTE_GROUPS(mb_blk);

static int open_queue(struct mb_queue *q)
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
static void close_queue(struct mb_queue *q)
{
	while (mirrorball_call4(MIRRORBALL_CALL_BLK_RING, q->disk->index, q->index, 0, 0) == -EBUSY)
		msleep(20);
	free_page((unsigned long)q->ring);
	q->ring = NULL;
}

/* The first request of all, before Linux's come. */
static int identify(struct mb_queue *q, struct mb_blk_identity *identity)
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

static void set_limits(const struct mb_disk *d)
{
	struct request_queue *q = d->gendisk->queue;

	blk_queue_physical_block_size(q, d->identity.block);
	blk_queue_io_min(q, d->identity.block);
	blk_queue_io_opt(q, GOOD_BYTES);
	blk_queue_max_hw_sectors(q, MB_BLK_MAX_SECTORS);
	blk_queue_max_segments(q, SEGMENTS);
	blk_queue_max_segment_size(q, UINT_MAX);
	blk_queue_flag_set(QUEUE_FLAG_NONROT, q);
	if (d->identity.flags & MB_BLK_READONLY) {
		set_disk_ro(d->gendisk, true);
		return;
	}
	q->limits.discard_granularity = d->identity.block;
	blk_queue_max_discard_sectors(q, MB_BLK_MAX_SECTORS);
	blk_queue_max_write_zeroes_sectors(q, MB_BLK_MAX_SECTORS);
	blk_queue_write_cache(q, true, false);
}

static int add_gendisk(struct mb_disk *d)
{
	struct gendisk *gendisk = blk_mq_alloc_disk(&d->tags, d);
	int err;

	if (IS_ERR(gendisk))
		return PTR_ERR(gendisk);
	d->gendisk = gendisk;
	gendisk->private_data = d;
	gendisk->fops = &mb_blk_fops;
	snprintf(gendisk->disk_name, sizeof(gendisk->disk_name), "mbd%c", 'a' + d->index);
	set_capacity(gendisk, d->identity.sectors);
	set_limits(d);
	err = device_add_disk(d->dev, gendisk, mb_blk_groups);
	if (err)
		put_disk(gendisk);
	return err;
}

static int add_tags(struct mb_disk *d)
{
	d->tags.ops = &mb_blk_mq_ops;
	d->tags.nr_hw_queues = d->queues;
	d->tags.queue_depth = DEPTH;
	d->tags.numa_node = NUMA_NO_NODE;
	d->tags.cmd_size = sizeof(struct mb_request);
	d->tags.flags = BLK_MQ_F_SHOULD_MERGE | BLK_MQ_F_NO_SCHED_BY_DEFAULT;
	d->tags.driver_data = d;
	return blk_mq_alloc_tag_set(&d->tags);
}

static void free_disk(struct mb_disk *d)
{
	unsigned int i;

	for (i = 0; i < d->queues; i++) {
		if (d->queue[i].ring)
			close_queue(&d->queue[i]);
	}
	kfree(d);
}

/* From the interrupt. */
static void hide_disk(struct mb_blk *b, unsigned int index)
{
	WRITE_ONCE(b->disk[index], NULL);
	if (b->irq >= 0)
		synchronize_irq(b->irq);
}

/* -ENODEV: there is no such disk. */
static struct mb_disk *add_disk_number(struct mb_blk *b, struct device *dev, unsigned int index)
{
	unsigned int cpus = num_possible_cpus(), i;
	struct mb_disk *d = kzalloc(struct_size(d, queue, cpus), GFP_KERNEL);
	int err;

	if (!d)
		return ERR_PTR(-ENOMEM);
	d->dev = dev;
	d->index = index;
	d->queues = cpus;
	for (i = 0; i < cpus; i++) {
		spin_lock_init(&d->queue[i].lock);
		d->queue[i].disk = d;
		d->queue[i].index = i;
	}
	err = open_queue(&d->queue[0]);
	if (!err)
		err = identify(&d->queue[0], &d->identity);
	if (!err)
		d->queues = clamp(d->identity.queues, 1U, cpus);
	for (i = 1; i < d->queues && !err; i++)
		err = open_queue(&d->queue[i]);
	if (!err)
		err = add_tags(d);
	if (err)
		goto free;
	smp_store_release(&b->disk[index], d);	/* partitions are looked for at once */
	err = add_gendisk(d);
	if (!err)
		return d;
	hide_disk(b, index);
	blk_mq_free_tag_set(&d->tags);
free:
	free_disk(d);
	return ERR_PTR(err);
}

static void remove_disk(struct mb_blk *b, struct mb_disk *d)
{
	del_gendisk(d->gendisk);
	put_disk(d->gendisk);
	hide_disk(b, d->index);
	blk_mq_free_tag_set(&d->tags);
	free_disk(d);
}

/* A disk that cannot be had does not keep the others away. */
static int mb_blk_probe(struct platform_device *pdev)
{
	unsigned int i, found = 0;
	struct mb_blk *b;
	int err;

	if (!mirrorball_present())
		return -ENODEV;
	b = devm_kzalloc(&pdev->dev, sizeof(*b), GFP_KERNEL);
	if (!b)
		return -ENOMEM;
	b->irq = platform_get_irq_optional(pdev, 0);
	err = b->irq < 0 ? b->irq : request_irq(b->irq, mb_blk_interrupt, 0, KBUILD_MODNAME, b);
	if (err)	/* an earlier hypervisor, where nothing waits; or what waits is found at its time limit */
		b->irq = -1;
	for (i = 0; i < MAX_DISKS; i++) {
		struct mb_disk *d = add_disk_number(b, &pdev->dev, i);

		if (PTR_ERR(d) == -ENODEV)
			break;
		if (IS_ERR(d)) {
			dev_err(&pdev->dev, "disk %u cannot be used (%ld)\n", i, PTR_ERR(d));
			continue;
		}
		found++;
	}
	platform_set_drvdata(pdev, b);
	if (!found && b->irq >= 0)
		free_irq(b->irq, b);
	return found ? 0 : -ENODEV;
}

static int mb_blk_remove(struct platform_device *pdev)
{
	struct mb_blk *b = platform_get_drvdata(pdev);
	unsigned int i;

	for (i = 0; i < MAX_DISKS; i++) {
		if (b->disk[i])
			remove_disk(b, b->disk[i]);
	}
	if (b->irq >= 0)
		free_irq(b->irq, b);
	return 0;
}

static const struct acpi_device_id mb_blk_ids[] = {
	{ MIRRORBALL_ACPI_DISKS, 0 },
	{ }
};
MODULE_DEVICE_TABLE(acpi, mb_blk_ids);

static struct platform_driver mb_blk_driver = {
	.driver = {
		.name = KBUILD_MODNAME,
		.acpi_match_table = mb_blk_ids,
	},
	.probe = mb_blk_probe,
	.remove = mb_blk_remove,
};
module_platform_driver(mb_blk_driver);

MODULE_DESCRIPTION("Paravirtual disks of the Mirrorball hypervisor");
MODULE_AUTHOR("The Mirrorball authors");
MODULE_LICENSE("GPL");
