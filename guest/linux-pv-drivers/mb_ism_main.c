// SPDX-License-Identifier: GPL-2.0
/* Copyright (C) 2026 The Mirrorball authors */
/*
 * Internal shared memory of Mirrorball's network interfaces (docs/ism.md of its tree), which Linux' SMC-D uses: sockets
 * of AF_SMC, whose programs otherwise speak TCP, move their data into the other machine's buffer by one call.
 */
#include <linux/acpi.h>
#include <linux/gfp.h>
#include <linux/interrupt.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>

#include "mb_ism.h"

#define MAX_PORTS	16
/* SMC tries a smaller one if there is none of this size. */
#define BUFFER_GFP	(GFP_KERNEL | __GFP_COMP | __GFP_ZERO | __GFP_NOWARN | __GFP_NORETRY | __GFP_NOMEMALLOC)

struct mb_isms {
	struct mb_ism *port[MAX_PORTS];
	unsigned int count;
	int irq;
};

static void take(struct mb_ism *m, const struct mb_ism_news *news)
{
	struct smcd_event event = { .code = news->number, .tok = news->peer, .info = news->info };

	switch (news->kind) {
	case MB_ISM_WRITTEN:
		mb_ism_judge_answer(m);
		if (news->number < MB_ISM_BUFFERS)
			smcd_handle_irq(m->smcd, news->number, 0);
		return;
	case MB_ISM_EVENT:
		event.type = ISM_EVENT_SWR;
		break;
	default:
		event.type = ISM_EVENT_GID;
		break;
	}
	smcd_handle_event(m->smcd, &event);
}

/* What is seen is counted first: what is written after that is told again. */
void mb_ism_take_news(struct mb_ism *m)
{
	struct mb_ism_queue *q = m->queue;
	unsigned long flags;

	spin_lock_irqsave(&m->lock, flags);
	while (m->seen != READ_ONCE(q->head.written)) {
		struct mb_ism_news news;

		smp_rmb(); /* the news are there before they are counted */
		news = q->news[m->seen % MB_ISM_NEWS];
		WRITE_ONCE(q->head.seen, ++m->seen);
		smp_mb(); /* what is written after this is told again */
		take(m, &news);
	}
	spin_unlock_irqrestore(&m->lock, flags);
}

static irqreturn_t mb_ism_interrupt(int irq, void *data)
{
	struct mb_isms *all = data;
	unsigned int i;

	for (i = 0; i < all->count; i++)
		mb_ism_take_news(all->port[i]);
	return IRQ_HANDLED;
}

static int mb_ism_query_remote_gid(struct smcd_dev *smcd, u64 rgid, u32 vid_valid, u32 vid)
{
	struct mb_ism *m = smcd->priv;

	return mirrorball_call(MIRRORBALL_CALL_ISM_PEER, m->index, rgid);
}

static int mb_ism_register_dmb(struct smcd_dev *smcd, struct smcd_dmb *dmb)
{
	unsigned int order = get_order(dmb->dmb_len);
	struct mb_ism *m = smcd->priv;
	struct page *page;
	long token;

	if (dmb->dmb_len > MB_ISM_MAX_BYTES)
		return -EINVAL;
	page = alloc_pages(BUFFER_GFP, order);
	if (!page)
		return -ENOMEM;
	token = mirrorball_call4(MIRRORBALL_CALL_ISM_OPEN, m->index, page_to_phys(page), PAGE_SIZE << order, dmb->rgid);
	if (token < 0) {
		__free_pages(page, order);
		return token;
	}
	dmb->dmb_tok = token;
	dmb->sba_idx = token % MB_ISM_BUFFERS;
	dmb->cpu_addr = page_address(page);
	dmb->dma_addr = page_to_phys(page);
	return 0;
}

static int mb_ism_unregister_dmb(struct smcd_dev *smcd, struct smcd_dmb *dmb)
{
	struct mb_ism *m = smcd->priv;

	mirrorball_call(MIRRORBALL_CALL_ISM_CLOSE, m->index, dmb->dmb_tok);
	__free_pages(virt_to_page(dmb->cpu_addr), compound_order(virt_to_page(dmb->cpu_addr)));
	return 0;
}

/* Networks are kept apart by the hypervisor; one has no parts. */
static int mb_ism_vlan_id(struct smcd_dev *smcd, u64 vlan_id)
{
	return 0;
}

static int mb_ism_vlan_required(struct smcd_dev *smcd)
{
	return 0;
}

static int mb_ism_signal_event(struct smcd_dev *smcd, u64 rgid, u32 trigger_irq, u32 event_code, u64 info)
{
	struct mb_ism *m = smcd->priv;

	return mirrorball_call4(MIRRORBALL_CALL_ISM_TELL, m->index, rgid, event_code, info);
}

/* The system that can share memory, and, by places 24 and 28 that are not '0', that SMC's version 2 may be spoken. */
static u8 *mb_ism_get_system_eid(void)
{
	static u8 eid[] = "MIRRORBALL-ISM-EID-V001-10001000";

	BUILD_BUG_ON(sizeof(eid) != 32 + 1);
	return eid;
}

/* Both ends of a connection are on the same network, which is known by this: not 0. */
static u16 mb_ism_get_chid(struct smcd_dev *smcd)
{
	struct mb_ism *m = smcd->priv;

	return 0x100 + m->queue->head.network;
}

static const struct smcd_ops mb_ism_ops = {
	.query_remote_gid = mb_ism_query_remote_gid,
	.register_dmb = mb_ism_register_dmb,
	.unregister_dmb = mb_ism_unregister_dmb,
	.add_vlan_id = mb_ism_vlan_id,
	.del_vlan_id = mb_ism_vlan_id,
	.set_vlan_required = mb_ism_vlan_required,
	.reset_vlan_required = mb_ism_vlan_required,
	.signal_event = mb_ism_signal_event,
	.move_data = mb_ism_move_data,
	.get_system_eid = mb_ism_get_system_eid,
	.get_chid = mb_ism_get_chid,
};

static void release_stand_in(struct device *dev)
{
	kfree(to_pci_dev(dev));
}

/* SMC takes its devices' parents for PCI functions when it lists them: so there is one, on no bus, all zero. */
static struct pci_dev *add_stand_in(struct device *parent, unsigned int index)
{
	struct pci_dev *pci = kzalloc(sizeof(*pci), GFP_KERNEL);
	int err;

	if (!pci)
		return ERR_PTR(-ENOMEM);
	pci->dev.parent = parent;
	pci->dev.release = release_stand_in;
	device_initialize(&pci->dev);
	err = dev_set_name(&pci->dev, "mbism%u", index);
	if (!err)
		err = device_add(&pci->dev);
	if (err) {
		put_device(&pci->dev);
		return ERR_PTR(err);
	}
	return pci;
}

static void stop(struct mb_ism *m)
{
	mirrorball_call(MIRRORBALL_CALL_ISM_START, m->index, 0);
	mb_ism_end_sending(m);
	free_pages_exact(m->queue, sizeof(*m->queue));
}

/* -ENODEV: there is no such interface; -EOPNOTSUPP: it may not. */
static int start(struct mb_ism *m)
{
	int err;

	m->queue = alloc_pages_exact(sizeof(*m->queue), GFP_KERNEL | __GFP_ZERO);
	if (!m->queue)
		return -ENOMEM;
	err = mb_ism_init_sending(m);
	if (err)
		goto free;
	err = mirrorball_call(MIRRORBALL_CALL_ISM_START, m->index, virt_to_phys(m->queue));
	if (err)
		goto end;
	return 0;
end:
	mb_ism_end_sending(m);
free:
	free_pages_exact(m->queue, sizeof(*m->queue));
	return err;
}

static int add_smcd(struct mb_ism *m, struct device *parent)
{
	int err;

	m->stand_in = add_stand_in(parent, m->index);
	if (IS_ERR(m->stand_in))
		return PTR_ERR(m->stand_in);
	m->smcd = smcd_alloc_dev(&m->stand_in->dev, dev_name(&m->stand_in->dev), &mb_ism_ops, MB_ISM_BUFFERS);
	if (!m->smcd) {
		device_unregister(&m->stand_in->dev);
		return -ENOMEM;
	}
	m->smcd->priv = m;
	m->smcd->local_gid = m->queue->head.id;
	err = smcd_register_dev(m->smcd);
	if (err) {
		smcd_free_dev(m->smcd);
		device_unregister(&m->stand_in->dev);
	}
	return err;
}

static struct mb_ism *add_port(struct device *parent, unsigned int index)
{
	struct mb_ism *m = kzalloc(sizeof(*m), GFP_KERNEL);
	int err;

	if (!m)
		return ERR_PTR(-ENOMEM);
	m->index = index;
	spin_lock_init(&m->lock);
	err = start(m);
	if (err)
		goto free;
	err = add_smcd(m, parent);
	if (err)
		goto stop;
	return m;
stop:
	stop(m);
free:
	kfree(m);
	return ERR_PTR(err);
}

static void remove_ports(struct mb_isms *all)
{
	unsigned int i;

	for (i = 0; i < all->count; i++) {
		struct mb_ism *m = all->port[i];

		smcd_unregister_dev(m->smcd);
		smcd_free_dev(m->smcd);
		device_unregister(&m->stand_in->dev);
		stop(m);
		kfree(m);
	}
}

static int mb_ism_probe(struct platform_device *pdev)
{
	struct mb_isms *all;
	unsigned int i;
	int err;

	if (!mirrorball_present())
		return -ENODEV;
	all = devm_kzalloc(&pdev->dev, sizeof(*all), GFP_KERNEL);
	if (!all)
		return -ENOMEM;
	all->irq = platform_get_irq(pdev, 0);
	if (all->irq < 0)
		return all->irq;
	for (i = 0; i < MAX_PORTS; i++) {
		struct mb_ism *m = add_port(&pdev->dev, i);

		if (PTR_ERR(m) == -ENODEV)
			break;
		if (PTR_ERR(m) == -EOPNOTSUPP)
			continue;
		if (IS_ERR(m)) {
			dev_err(&pdev->dev, "interface %u cannot be used (%ld)\n", i, PTR_ERR(m));
			continue;
		}
		all->port[all->count++] = m;
	}
	if (!all->count)
		return -ENODEV;
	err = request_irq(all->irq, mb_ism_interrupt, 0, KBUILD_MODNAME, all);
	if (err) {
		remove_ports(all);
		return err;
	}
	platform_set_drvdata(pdev, all);
	mb_ism_interrupt(all->irq, all); /* what came before it could */
	return 0;
}

static int mb_ism_remove(struct platform_device *pdev)
{
	struct mb_isms *all = platform_get_drvdata(pdev);

	free_irq(all->irq, all); /* it looks at the ports */
	remove_ports(all);
	return 0;
}

static const struct acpi_device_id mb_ism_ids[] = {
	{ MIRRORBALL_ACPI_ISM, 0 },
	{ }
};

static struct platform_driver mb_ism_driver = {
	.driver = {
		.name = KBUILD_MODNAME,
		.acpi_match_table = mb_ism_ids,
	},
	.probe = mb_ism_probe,
	.remove = mb_ism_remove,
};

static int __init mb_ism_init(void)
{
	int err = mb_ism_init_batches();

	if (err)
		return err;
	err = platform_driver_register(&mb_ism_driver);
	if (err)
		mb_ism_free_batches();
	return err;
}
module_init(mb_ism_init);

static void __exit mb_ism_exit(void)
{
	platform_driver_unregister(&mb_ism_driver);
	mb_ism_free_batches();
}
module_exit(mb_ism_exit);

MODULE_DESCRIPTION("SMC-D between guests of the Mirrorball hypervisor");
MODULE_AUTHOR("The Mirrorball authors");
MODULE_LICENSE("GPL");
