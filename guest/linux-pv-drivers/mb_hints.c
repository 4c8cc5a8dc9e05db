// SPDX-License-Identifier: GPL-2.0
/* Copyright (C) 2026 The Mirrorball authors */
/*
 * Tells Mirrorball which memory this system does not need: what is free (page reporting), and what the hypervisor asks
 * for (a balloon). Pages that were given back read as zero when they are touched again, so taking one back is no call.
 */
#include <linux/acpi.h>
#include <linux/gfp.h>
#include <linux/interrupt.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/oom.h>
#include <linux/page_reporting.h>
#include <linux/platform_device.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "mirrorball.h"

/* Blocks of the balloon: as large as a page of the hypervisor's at most. */
#define BLOCK_ORDER	9
#define BLOCK_GFP	(GFP_HIGHUSER | __GFP_NORETRY | __GFP_NOWARN | __GFP_NOMEMALLOC)
/* Given back when the system is out of memory. */
#define OOM_PAGES	1024
/* Until what did not work is tried again. */
#define RETRY_DELAY	(5 * HZ)

/* Ranges to be given back; what holds them is read by the hypervisor. */
struct batch {
	struct mirrorball_range range[MIRRORBALL_MAX_RANGES];
	unsigned int count;
};

struct mb_hints {
	int irq;			/* negative: none */
	struct page_reporting_dev_info reporting;
	struct batch reported;		/* page_reporting's own work */
	struct delayed_work work;	/* the balloon's, all but deflating */
	struct batch inflating;
	struct list_head fresh;		/* blocks of that batch */
	struct notifier_block oom;
	spinlock_t lock;		/* the two below */
	struct list_head blocks;	/* by page->lru, the last one first; page_private is the order */
	unsigned long pages;		/* in them */
};

static int batch_flush(struct batch *b)
{
	struct mirrorball_range *range = b->range;
	unsigned int left = b->count;

	b->count = 0;
	while (left) {
		long done = mirrorball_call(MIRRORBALL_CALL_FREE_PAGES, virt_to_phys(range), left);

		if (done <= 0)
			return done ? done : -EIO;
		range += done;
		left -= done;
	}
	return 0;
}

static int batch_add(struct batch *b, phys_addr_t start, unsigned long pages)
{
	while (pages) {
		unsigned long count = min_t(unsigned long, pages, MIRRORBALL_MAX_RANGE_PAGES);

		b->range[b->count].gpa = start;
		b->range[b->count++].count = count;
		start += count << PAGE_SHIFT;
		pages -= count;
		if (b->count == ARRAY_SIZE(b->range)) {
			int err = batch_flush(b);

			if (err)
				return err;
		}
	}
	return 0;
}

/* These pages are free, and isolated while this runs. */
static int mb_hints_report(struct page_reporting_dev_info *info, struct scatterlist *sgl, unsigned int nents)
{
	struct mb_hints *h = container_of(info, struct mb_hints, reporting);
	struct scatterlist *sg;
	unsigned int i;

	h->reported.count = 0;
	for_each_sg(sgl, sg, nents, i) {
		int err = batch_add(&h->reported, sg_phys(sg), sg->length >> PAGE_SHIFT);

		if (err)
			return err;
	}
	return batch_flush(&h->reported);
}

/* The largest block that there is without effort, of at most so many pages. */
static struct page *alloc_block(unsigned long pages)
{
	int order = min_t(int, BLOCK_ORDER, ilog2(pages));

	for (; order >= 0; order--) {
		struct page *page = alloc_pages(BLOCK_GFP, order);

		if (page) {
			set_page_private(page, order);
			return page;
		}
	}
	return NULL;
}

static void free_block(struct page *page)
{
	unsigned int order = page_private(page);

	set_page_private(page, 0);
	adjust_managed_page_count(page, 1L << order);
	__free_pages(page, order);
}

/* Blocks that the hypervisor has now, and only those, may be found by others. */
static int keep_fresh(struct mb_hints *h)
{
	int err = batch_flush(&h->inflating);
	struct page *page, *next;

	list_for_each_entry_safe(page, next, &h->fresh, lru) {
		unsigned int order = page_private(page);

		list_del(&page->lru);
		adjust_managed_page_count(page, -(1L << order));
		if (err) {
			free_block(page);
			continue;
		}
		spin_lock(&h->lock);
		list_add(&page->lru, &h->blocks);
		h->pages += 1UL << order;
		spin_unlock(&h->lock);
	}
	return err;
}

/* Until it holds so many pages, or there is no memory that is not needed. */
static int inflate(struct mb_hints *h, unsigned long target)
{
	unsigned long held = READ_ONCE(h->pages);
	int err = 0;

	while (!err && held < target) {
		struct page *page = alloc_block(target - held);
		unsigned int order;

		if (!page)
			break;
		order = page_private(page);
		held += 1UL << order;
		list_add(&page->lru, &h->fresh);
		h->inflating.range[h->inflating.count].gpa = page_to_phys(page);
		h->inflating.range[h->inflating.count++].count = 1UL << order;
		if (h->inflating.count == ARRAY_SIZE(h->inflating.range))
			err = keep_fresh(h);
		cond_resched();
	}
	return err ?: keep_fresh(h);
}

/* Blocks are given back whole: it may come out a little below the target. */
static void deflate(struct mb_hints *h, unsigned long target)
{
	struct page *page;

	do {
		spin_lock(&h->lock);
		page = h->pages > target ? list_first_entry_or_null(&h->blocks, struct page, lru) : NULL;
		if (page) {
			list_del(&page->lru);
			h->pages -= 1UL << page_private(page);
		}
		spin_unlock(&h->lock);
		if (page)
			free_block(page);
		cond_resched();
	} while (page);
}

static void mb_hints_work(struct work_struct *work)
{
	struct mb_hints *h = container_of(to_delayed_work(work), struct mb_hints, work);
	long target = mirrorball_call(MIRRORBALL_CALL_BALLOON, READ_ONCE(h->pages), 0);

	if (target < 0)
		return;
	deflate(h, target);
	if (inflate(h, target) || READ_ONCE(h->pages) < target)
		queue_delayed_work(system_freezable_wq, &h->work, RETRY_DELAY);
	mirrorball_call(MIRRORBALL_CALL_BALLOON, READ_ONCE(h->pages), 0);
}

/* What was taken back for want of memory is not tried for again until the target changes. */
static int mb_hints_oom(struct notifier_block *nb, unsigned long unused, void *freed)
{
	struct mb_hints *h = container_of(nb, struct mb_hints, oom);
	unsigned long held = READ_ONCE(h->pages);

	cancel_delayed_work(&h->work);
	deflate(h, held > OOM_PAGES ? held - OOM_PAGES : 0);
	*(unsigned long *)freed += held - READ_ONCE(h->pages);
	return NOTIFY_OK;
}

static irqreturn_t mb_hints_interrupt(int irq, void *data)
{
	struct mb_hints *h = data;

	mod_delayed_work(system_freezable_wq, &h->work, 0);
	return IRQ_HANDLED;
}

/* Free pages that have to keep a pattern cannot be given away. */
static int start_reporting(struct mb_hints *h)
{
	if (!want_init_on_free() && page_poisoning_enabled_static())
		return -EOPNOTSUPP;
	h->reporting.report = mb_hints_report;
	return page_reporting_register(&h->reporting);
}

/* Without an interrupt, or with another's page reporting, the rest still works. */
static int mb_hints_probe(struct platform_device *pdev)
{
	struct mb_hints *h;
	int err;

	if (!mirrorball_present())
		return -ENODEV;
	h = kzalloc(sizeof(*h), GFP_KERNEL);
	if (!h)
		return -ENOMEM;
	spin_lock_init(&h->lock);
	INIT_LIST_HEAD(&h->blocks);
	INIT_LIST_HEAD(&h->fresh);
	INIT_DELAYED_WORK(&h->work, mb_hints_work);
	h->oom.notifier_call = mb_hints_oom;
	platform_set_drvdata(pdev, h);

	err = register_oom_notifier(&h->oom);
	if (err) {
		kfree(h);
		return err;
	}
	h->irq = platform_get_irq_optional(pdev, 0);
	err = h->irq < 0 ? h->irq : request_irq(h->irq, mb_hints_interrupt, 0, KBUILD_MODNAME, h);
	if (err) {
		h->irq = -1;
		dev_warn(&pdev->dev, "no interrupt (%d): the balloon does not follow\n", err);
	}
	err = start_reporting(h);
	if (err) {
		h->reporting.report = NULL;
		dev_warn(&pdev->dev, "free pages are not reported (%d)\n", err);
	}
	queue_delayed_work(system_freezable_wq, &h->work, 0);
	return 0;
}

static int mb_hints_remove(struct platform_device *pdev)
{
	struct mb_hints *h = platform_get_drvdata(pdev);

	if (h->irq >= 0)
		free_irq(h->irq, h);
	if (h->reporting.report)
		page_reporting_unregister(&h->reporting);
	unregister_oom_notifier(&h->oom);
	cancel_delayed_work_sync(&h->work);
	deflate(h, 0);
	mirrorball_call(MIRRORBALL_CALL_BALLOON, 0, 0);
	kfree(h);
	return 0;
}

static const struct acpi_device_id mb_hints_ids[] = {
	{ MIRRORBALL_ACPI_HINTS, 0 },
	{ }
};
MODULE_DEVICE_TABLE(acpi, mb_hints_ids);

static struct platform_driver mb_hints_driver = {
	.driver = {
		.name = KBUILD_MODNAME,
		.acpi_match_table = mb_hints_ids,
	},
	.probe = mb_hints_probe,
	.remove = mb_hints_remove,
};
module_platform_driver(mb_hints_driver);

MODULE_DESCRIPTION("Memory hints and balloon for the Mirrorball hypervisor");
MODULE_AUTHOR("The Mirrorball authors");
MODULE_LICENSE("GPL");
