// SPDX-License-Identifier: GPL-2.0
/* Copyright (C) 2026 The Mirrorball authors */
/*
 * Mirrorball's paravirtual disks (docs/blk.md of its tree): a queue for each vCPU, each with a ring (mb_blk_ring.c),
 * and before it Linux' own request queue (mb_blk_rq.c) or none (mb_blk_bio.c).
 */
#include <linux/acpi.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>

#include "mb_blk.h"

#define MAX_DISKS	26		/* mbda to mbdz */
/* Worth reading at a time; Linux reads ahead twice as much. */
#define GOOD_BYTES	(256 * 1024)

struct mb_blk {
	int irq;			/* negative: none */
	struct mb_disk *disk[MAX_DISKS];
};

static bool use_bio;
module_param(use_bio, bool, 0644);
MODULE_PARM_DESC(use_bio, "disks without a request queue: less time for each request, but no merging; when bound");

static irqreturn_t mb_blk_interrupt(int irq, void *data)
{
	struct mb_blk *b = data;
	unsigned int i, n;

	for (i = 0; i < MAX_DISKS; i++) {
		/* what is in it: see add_disk_number */
		struct mb_disk *d = smp_load_acquire(&b->disk[i]);

		for (n = 0; d && n < d->queues; n++)
			mb_queue_collect(&d->queue[n]);
	}
	return IRQ_HANDLED;
}

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

/* Its gendisk is gone. */
static void remove_queue(struct mb_disk *d)
{
	if (d->bios)
		mb_bio_remove(d);
	else
		mb_rq_remove(d);
}

static int add_gendisk(struct mb_disk *d)
{
	struct gendisk *gendisk = READ_ONCE(use_bio) ? mb_bio_add(d) : mb_rq_add(d);
	int err;

	if (IS_ERR(gendisk))
		return PTR_ERR(gendisk);
	d->gendisk = gendisk;
	gendisk->private_data = d;
	snprintf(gendisk->disk_name, sizeof(gendisk->disk_name), "mbd%c", 'a' + d->index);
	set_capacity(gendisk, d->identity.sectors);
	set_limits(d);
	err = device_add_disk(d->dev, gendisk, mb_blk_groups);
	if (err) {
		put_disk(gendisk);
		remove_queue(d);
	}
	return err;
}

static void free_disk(struct mb_disk *d)
{
	unsigned int i;

	for (i = 0; i < d->queues; i++) {
		if (d->queue[i].ring)
			mb_queue_close(&d->queue[i]);
	}
	kvfree(d);
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
	struct mb_disk *d = kvzalloc(struct_size(d, queue, cpus), GFP_KERNEL);
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
	err = mb_queue_open(&d->queue[0]);
	if (!err)
		err = mb_queue_identify(&d->queue[0], &d->identity);
	if (!err)
		d->queues = clamp(d->identity.queues, 1U, cpus);
	for (i = 1; i < d->queues && !err; i++)
		err = mb_queue_open(&d->queue[i]);
	if (err)
		goto free;
	smp_store_release(&b->disk[index], d);	/* partitions are looked for at once */
	err = add_gendisk(d);
	if (!err)
		return d;
	hide_disk(b, index);
free:
	free_disk(d);
	return ERR_PTR(err);
}

static void remove_disk(struct mb_blk *b, struct mb_disk *d)
{
	del_gendisk(d->gendisk);
	if (d->bios)
		mb_bio_drain(d);
	put_disk(d->gendisk);
	remove_queue(d);
	hide_disk(b, d->index);
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
