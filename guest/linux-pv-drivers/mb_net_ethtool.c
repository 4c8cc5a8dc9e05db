// SPDX-License-Identifier: GPL-2.0
/* Copyright (C) 2026 The Mirrorball authors */
/* What an interface has done, and how it may be set. */
#include <linux/net_tstamp.h>

#include "mb_net.h"

static void add_counts(struct mb_counts *sum, const struct mb_counts *c, const struct u64_stats_sync *sync)
{
	struct mb_counts now;
	unsigned int start;

	do {
		start = u64_stats_fetch_begin(sync);
		now = *c;
	} while (u64_stats_fetch_retry(sync, start));
	sum->packets += now.packets;
	sum->bytes += now.bytes;
	sum->dropped += now.dropped;
}

void mb_net_get_stats64(struct net_device *dev, struct rtnl_link_stats64 *s)
{
	struct mb_nic *nic = mb_nic_of(dev);
	struct mb_counts sent = { 0 }, received = { 0 };
	unsigned int i;

	for (i = 0; i < nic->queues; i++) {
		add_counts(&sent, &nic->queue[i].sent, &nic->queue[i].sent_sync);
		add_counts(&received, &nic->queue[i].received, &nic->queue[i].received_sync);
	}
	s->tx_packets = sent.packets;
	s->tx_bytes = sent.bytes;
	s->tx_dropped = sent.dropped;
	s->rx_packets = received.packets;
	s->rx_bytes = received.bytes;
	s->rx_dropped = received.dropped;
}

static const char names[][ETH_GSTRING_LEN] = {
	"tx_calls", "tx_later", "tx_packets", "tx_bytes", "rx_packets", "rx_bytes", "rx_copied",
	"rx_waits",
};

static int mb_net_get_sset_count(struct net_device *dev, int set)
{
	struct mb_nic *nic = mb_nic_of(dev);

	return set == ETH_SS_STATS ? nic->queues * ARRAY_SIZE(names) : -EOPNOTSUPP;
}

static void mb_net_get_strings(struct net_device *dev, u32 set, u8 *data)
{
	struct mb_nic *nic = mb_nic_of(dev);
	unsigned int i, n;

	for (i = 0; i < nic->queues; i++) {
		for (n = 0; n < ARRAY_SIZE(names); n++)
			ethtool_sprintf(&data, "queue%u_%s", i, names[n]);
	}
}

static void mb_net_get_ethtool_stats(struct net_device *dev, struct ethtool_stats *stats, u64 *data)
{
	struct mb_nic *nic = mb_nic_of(dev);
	unsigned int i;

	for (i = 0; i < nic->queues; i++) {
		const struct mb_queue *q = &nic->queue[i];

		*data++ = q->calls;
		*data++ = q->later;
		*data++ = q->sent.packets;
		*data++ = q->sent.bytes;
		*data++ = q->received.packets;
		*data++ = q->received.bytes;
		*data++ = q->copied;
		*data++ = q->waits;
	}
}

static void mb_net_get_drvinfo(struct net_device *dev, struct ethtool_drvinfo *info)
{
	struct mb_nic *nic = mb_nic_of(dev);

	strscpy(info->driver, KBUILD_MODNAME, sizeof(info->driver));
	snprintf(info->bus_info, sizeof(info->bus_info), "%.31s", nic->identity.network);
}

static int mb_net_get_coalesce(struct net_device *dev, struct ethtool_coalesce *c,
			       struct kernel_ethtool_coalesce *kernel, struct netlink_ext_ack *ack)
{
	struct mb_nic *nic = mb_nic_of(dev);

	c->tx_coalesce_usecs = nic->later_us;
	return 0;
}

static int mb_net_set_coalesce(struct net_device *dev, struct ethtool_coalesce *c,
			       struct kernel_ethtool_coalesce *kernel, struct netlink_ext_ack *ack)
{
	struct mb_nic *nic = mb_nic_of(dev);

	if (c->tx_coalesce_usecs > MAX_LATER_US)
		return -EINVAL;
	WRITE_ONCE(nic->later_us, c->tx_coalesce_usecs);
	return 0;
}

const struct ethtool_ops mb_net_ethtool_ops = {
	.supported_coalesce_params = ETHTOOL_COALESCE_TX_USECS,
	.get_drvinfo = mb_net_get_drvinfo,
	.get_link = ethtool_op_get_link,
	.get_sset_count = mb_net_get_sset_count,
	.get_strings = mb_net_get_strings,
	.get_ethtool_stats = mb_net_get_ethtool_stats,
	.get_coalesce = mb_net_get_coalesce,
	.set_coalesce = mb_net_set_coalesce,
	.get_ts_info = ethtool_op_get_ts_info,
};
