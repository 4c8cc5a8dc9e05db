// SPDX-License-Identifier: GPL-2.0
/* Copyright (C) 2026 The Mirrorball authors */
/*
 * Mirrorball's paravirtual network interfaces (docs/net.md of its tree): a queue for each vCPU, each with a ring.
 * What is sent is in the receivers' pages when the hypercall returns, so its memory is free again at once. Packets are
 * as the stack made them: up to 512 KiB, without segmentation or checksums.
 */
#include <linux/acpi.h>
#include <linux/etherdevice.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/platform_device.h>

#include "mb_net.h"

struct mb_net {
	struct mb_nic *nic[MAX_NICS];
};

static unsigned int later_us = 100;
module_param(later_us, uint, 0444);
MODULE_PARM_DESC(later_us, "how close calls follow on each other, in microseconds; ethtool -C tx-usecs changes it");

unsigned int mb_net_poll_us = 50;
module_param_named(poll_us, mb_net_poll_us, uint, 0644);
MODULE_PARM_DESC(poll_us, "how long one busy poll of a socket lets the vCPU wait for a packet, in microseconds");

/* ---- up and down */

static void free_queue(struct mb_queue *q)
{
	for (; q->done != q->submitted; q->done++)
		dev_kfree_skb_any(q->skb[q->done % PACKETS]);
	if (q->pool) {
		mb_net_free_pages(q);
		page_pool_destroy(q->pool);
	}
	q->pool = NULL;
	if (q->table)
		free_pages_exact(q->table, PACKETS * sizeof(*q->table));
	if (q->ring)
		free_pages_exact(q->ring, RING_BYTES);
	q->table = NULL;
	WRITE_ONCE(q->ring, NULL);
}

static int alloc_queue(struct mb_queue *q)
{
	const struct page_pool_params params = {
		.flags = PP_FLAG_PAGE_FRAG,
		.order = CLUMP_ORDER,
		.pool_size = SPARE_CLUMPS,
		.nid = NUMA_NO_NODE,
		.dev = q->nic->parent,
	};
	struct page_pool *pool = page_pool_create(&params);

	if (IS_ERR(pool))
		return PTR_ERR(pool);
	q->pool = pool;
	q->table = alloc_pages_exact(PACKETS * sizeof(*q->table), GFP_KERNEL);
	q->ring = alloc_pages_exact(RING_BYTES, GFP_KERNEL | __GFP_ZERO);
	if (!q->table || !q->ring)
		return -ENOMEM;
	q->address = (u64 *)&q->ring->packet[PACKETS];
	q->filled = (struct mb_net_filled *)&q->address[PAGES];
	q->submitted = 0;
	q->done = 0;
	q->posted = 0;
	q->seen = 0;
	q->called = 0;
	q->polled = jiffies - 2;
	return 0;
}

static long set_ring(struct mb_queue *q, bool there)
{
	return mirrorball_call5(MIRRORBALL_CALL_NET_RING, q->nic->index, q->index,
				there ? virt_to_phys(q->ring) : 0, there ? PACKETS : 0, there ? PAGES : 0);
}

static int open_queue(struct mb_queue *q)
{
	int err = alloc_queue(q);

	if (!err)
		err = set_ring(q, true);
	if (err) {
		free_queue(q);
		return err;
	}
	napi_enable(&q->napi);
	local_bh_disable();
	napi_schedule(&q->napi);	/* posts pages */
	local_bh_enable();
	return 0;
}

/* The hypervisor forgets a ring before its pages are another's. */
static void close_queue(struct mb_queue *q)
{
	napi_disable(&q->napi);
	hrtimer_cancel(&q->timer);
	set_ring(q, false);
	free_queue(q);
}

static int mb_net_open(struct net_device *dev)
{
	struct mb_nic *nic = mb_nic_of(dev);
	unsigned int i;
	int err = 0;

	for (i = 0; i < nic->queues && !err; i++)
		err = open_queue(&nic->queue[i]);
	if (err) {
		while (--i > 0)
			close_queue(&nic->queue[i - 1]);
		return err;
	}
	netif_carrier_on(dev);
	netif_tx_start_all_queues(dev);
	return 0;
}

static int mb_net_stop(struct net_device *dev)
{
	struct mb_nic *nic = mb_nic_of(dev);
	unsigned int i;

	netif_tx_disable(dev);
	netif_carrier_off(dev);
	synchronize_irq(nic->irq);
	kick_all_cpus_sync();		/* what wake() asked other CPUs for is done */
	for (i = 0; i < nic->queues; i++)
		close_queue(&nic->queue[i]);
	return 0;
}

static const struct net_device_ops mb_net_ops = {
	.ndo_open = mb_net_open,
	.ndo_stop = mb_net_stop,
	.ndo_start_xmit = mb_net_xmit,
	.ndo_get_stats64 = mb_net_get_stats64,
	.ndo_validate_addr = eth_validate_addr,
	.ndo_features_check = passthru_features_check,
};

/* ---- coming and going */

static irqreturn_t mb_net_interrupt(int irq, void *data)
{
	struct mb_net *n = data;
	unsigned int i;

	for (i = 0; i < MAX_NICS; i++) {
		struct mb_nic *nic = READ_ONCE(n->nic[i]);

		if (nic)
			mb_net_look_at(nic);
	}
	return IRQ_HANDLED;
}

static void init_queue(struct mb_nic *nic, unsigned int index)
{
	struct mb_queue *q = &nic->queue[index];

	q->nic = nic;
	q->index = index;
	u64_stats_init(&q->sent_sync);
	u64_stats_init(&q->received_sync);
	hrtimer_init(&q->timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED);
	q->timer.function = mb_net_timer;
	INIT_CSD(&q->csd, mb_net_schedule, q);
	netif_napi_add(nic->dev, &q->napi, mb_net_poll);
	netif_set_xps_queue(nic->dev, cpumask_of(index), index);
}

static void init_dev(struct mb_nic *nic)
{
	struct net_device *dev = nic->dev;

	SET_NETDEV_DEV(dev, nic->parent);
	dev->netdev_ops = &mb_net_ops;
	dev->ethtool_ops = &mb_net_ethtool_ops;
	dev->hw_features = NETIF_F_SG | NETIF_F_HW_CSUM | NETIF_F_TSO | NETIF_F_TSO6 | NETIF_F_TSO_ECN |
			   NETIF_F_HIGHDMA;
	dev->features = dev->hw_features | NETIF_F_GSO_ROBUST;
	dev->vlan_features = dev->features;
	dev->max_mtu = ETH_MAX_MTU;
	netif_set_tso_max_size(dev, GSO_MAX_SIZE);
	eth_hw_addr_set(dev, nic->identity.mac);
	netif_carrier_off(dev);
}

static int identify(unsigned int index, struct mb_net_identity *identity)
{
	struct mb_net_identity *page = (void *)get_zeroed_page(GFP_KERNEL);
	long err;

	if (!page)
		return -ENOMEM;
	err = mirrorball_call(MIRRORBALL_CALL_NET_IDENTIFY, index, virt_to_phys(page));
	*identity = *page;
	free_page((unsigned long)page);
	return err;
}

static void free_nic(struct mb_nic *nic)
{
	free_netdev(nic->dev);
	kvfree(nic->queue);
	kfree(nic);
}

static struct mb_nic *alloc_nic(struct device *parent, unsigned int index, const struct mb_net_identity *identity)
{
	unsigned int queues = clamp_t(unsigned int, identity->queues, 1, num_possible_cpus());
	struct mb_nic *nic = kzalloc(sizeof(*nic), GFP_KERNEL);

	if (!nic)
		return NULL;
	nic->queue = kvcalloc(queues, sizeof(*nic->queue), GFP_KERNEL);
	nic->dev = alloc_etherdev_mqs(sizeof(nic), queues, queues);
	if (!nic->queue || !nic->dev) {
		if (nic->dev)
			free_netdev(nic->dev);
		kvfree(nic->queue);
		kfree(nic);
		return NULL;
	}
	*(struct mb_nic **)netdev_priv(nic->dev) = nic;
	nic->parent = parent;
	nic->index = index;
	nic->identity = *identity;
	nic->queues = queues;
	nic->later_us = min(later_us, MAX_LATER_US);
	return nic;
}

/* -ENODEV: there is no such interface. */
static struct mb_nic *add_nic(struct device *parent, unsigned int index, int irq)
{
	struct mb_net_identity identity;
	int err = identify(index, &identity);
	struct mb_nic *nic;
	unsigned int i;

	if (err)
		return ERR_PTR(err);
	nic = alloc_nic(parent, index, &identity);
	if (!nic)
		return ERR_PTR(-ENOMEM);
	nic->irq = irq;
	init_dev(nic);
	for (i = 0; i < nic->queues; i++)
		init_queue(nic, i);
	err = register_netdev(nic->dev);
	if (err) {
		free_nic(nic);
		return ERR_PTR(err);
	}
	return nic;
}

/* An interface that cannot be had does not keep the others away. */
static int add_all(struct device *dev, struct mb_net *n, int irq)
{
	unsigned int i, found = 0;

	for (i = 0; i < MAX_NICS; i++) {
		struct mb_nic *nic = add_nic(dev, i, irq);

		if (PTR_ERR(nic) == -ENODEV)
			break;
		if (IS_ERR(nic)) {
			dev_err(dev, "interface %u cannot be used (%ld)\n", i, PTR_ERR(nic));
			continue;
		}
		WRITE_ONCE(n->nic[i], nic);
		found++;
	}
	return found ? 0 : -ENODEV;
}

static int mb_net_probe(struct platform_device *pdev)
{
	struct mb_net *n;
	int irq, err;

	if (!mirrorball_present())
		return -ENODEV;
	irq = platform_get_irq(pdev, 0);
	if (irq < 0)
		return irq;
	n = devm_kzalloc(&pdev->dev, sizeof(*n), GFP_KERNEL);
	if (!n)
		return -ENOMEM;
	platform_set_drvdata(pdev, n);
	err = devm_request_irq(&pdev->dev, irq, mb_net_interrupt, 0, KBUILD_MODNAME, n);
	return err ? err : add_all(&pdev->dev, n, irq);
}

static int mb_net_remove(struct platform_device *pdev)
{
	struct mb_net *n = platform_get_drvdata(pdev);
	unsigned int i;

	for (i = 0; i < MAX_NICS; i++) {
		struct mb_nic *nic = n->nic[i];

		if (!nic)
			continue;
		WRITE_ONCE(n->nic[i], NULL);
		synchronize_irq(nic->irq);
		unregister_netdev(nic->dev);
		free_nic(nic);
	}
	return 0;
}

static const struct acpi_device_id mb_net_ids[] = {
	{ MIRRORBALL_ACPI_NETS, 0 },
	{ }
};
MODULE_DEVICE_TABLE(acpi, mb_net_ids);

static struct platform_driver mb_net_driver = {
	.driver = {
		.name = KBUILD_MODNAME,
		.acpi_match_table = mb_net_ids,
	},
	.probe = mb_net_probe,
	.remove = mb_net_remove,
};
module_platform_driver(mb_net_driver);

MODULE_DESCRIPTION("Paravirtual network interfaces of the Mirrorball hypervisor");
MODULE_AUTHOR("The Mirrorball authors");
MODULE_LICENSE("GPL");
