/* SPDX-License-Identifier: GPL-2.0 */
/* Copyright (C) 2026 The Mirrorball authors */
#ifndef _MB_NET_H
#define _MB_NET_H

#include <linux/ethtool.h>
#include <linux/hrtimer.h>
#include <linux/netdevice.h>
#include <linux/smp.h>
#include <net/page_pool.h>
#include <mirrorball/net.h>

#include "mirrorball.h"

/* Between the parts of mb_net. */
#define MAX_NICS	16
#define PACKETS		256		/* of a ring */
#define PAGES		512
#define CLUMP_ORDER	3		/* PAGES are posted so many together, in one compound page */
#define CLUMP		BIT(CLUMP_ORDER)
#define SPARE_CLUMPS	64		/* kept for the next ones to be posted: memory that nobody else has */
#define SEGMENTS	(MAX_SKB_FRAGS + 1)
#define COPY_BYTES	256		/* that a packet's first page may have to be copied, and used again */
#define RETRY_NS	(1000 * 1000)	/* until a packet is tried again for which there was no room */
#define MAX_LATER_US	10000U
#define LATER_BYTES	(1024 * 1024)	/* so much does not wait */
#define LARGE_BYTES	(16 * 1024)	/* of a packet that TCP need not put more into */

#define RING_BYTES	MB_NET_RING_SIZE(PACKETS, PAGES)

/* Of a queue, for ethtool; each is written by one side only. */
struct mb_counts {
	u64 packets, bytes, dropped;
};

/* What waits for others to share its call; the most urgent one of them decides how long. */
enum mb_haste {
	HASTE_ACKS,			/* acknowledgements of TCP, without data */
	HASTE_BULK,			/* packets as long as TCP makes them: parts of a stream */
	HASTE_URGENT,
};

struct mb_queue {
	struct mb_nic *nic;
	unsigned int index;
	struct mb_net_ring *ring;
	u64 *address;			/* behind its header: of pages, and what is in them */
	struct mb_net_filled *filled;
	struct hrtimer timer;		/* calls later */
	call_single_data_t csd;		/* schedules NAPI on the queue's CPU */

	/* Sending, under the netdev queue's lock. */
	u32 submitted, done;		/* packets that are in the ring, that are free again */
	u32 waiting_bytes;		/* of those that were not called for yet */
	u64 called;			/* when the last call was, ns */
	u64 waiting_since;		/* the first of those that wait, ns */
	enum mb_haste haste;		/* of those */
	unsigned long polled;		/* when a busy poll made one, jiffies */
	struct sk_buff *skb[PACKETS];
	struct mb_net_segment (*table)[SEGMENTS];
	struct mb_counts sent;
	u64 calls, later;

	/* Receiving, in NAPI. */
	struct napi_struct napi ____cacheline_aligned_in_smp;
	struct page_pool *pool;
	u32 posted, seen;
	struct page *page[PAGES];
	struct mb_counts received;
	u64 copied, waits;
	bool polls_again;		/* a socket's busy poll, not for the first time since it began */
	struct u64_stats_sync sent_sync, received_sync;
};

struct mb_nic {
	struct net_device *dev;
	struct device *parent;
	unsigned int index;
	int irq;
	bool broken;			/* the hypervisor refuses its rings */
	bool no_wait;			/* it has no MIRRORBALL_CALL_NET_WAIT */
	unsigned int later_us;
	unsigned int queues;
	struct mb_net_identity identity;
	struct mb_queue *queue;
};

static inline struct mb_nic *mb_nic_of(const struct net_device *dev)
{
	return *(struct mb_nic **)netdev_priv(dev);
}

/* mb_net_queue.c: packets there and back. */
extern unsigned int mb_net_poll_us;
netdev_tx_t mb_net_xmit(struct sk_buff *skb, struct net_device *dev);
int mb_net_poll(struct napi_struct *napi, int budget);
enum hrtimer_restart mb_net_timer(struct hrtimer *timer);
/* On the queue's CPU; for csd. */
void mb_net_schedule(void *queue);
/* Those that are posted, when nothing comes any more. */
void mb_net_free_pages(struct mb_queue *q);
/* After the device's interrupt: whatever has news is polled. */
void mb_net_look_at(struct mb_nic *nic);

/* mb_net_ethtool.c */
void mb_net_get_stats64(struct net_device *dev, struct rtnl_link_stats64 *s);
extern const struct ethtool_ops mb_net_ethtool_ops;

#endif
