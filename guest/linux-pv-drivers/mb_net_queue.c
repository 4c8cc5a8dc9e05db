// SPDX-License-Identifier: GPL-2.0
/* Copyright (C) 2026 The Mirrorball authors */
/* Packets there and back: docs/net.md of Mirrorball's tree tells of the ring. */
#include <linux/etherdevice.h>
#include <linux/pagemap.h>
#include <linux/sched/stat.h>
#include <linux/virtio_net.h>
#include <net/busy_poll.h>
#include <net/tcp.h>

#include "mb_net.h"

static void give_up(struct mb_nic *nic, long error)
{
	if (xchg(&nic->broken, true))
		return;
	netdev_err(nic->dev, "has stopped (%ld)\n", error);
	netif_carrier_off(nic->dev);
}

/* ---- sending; the netdev queue's lock is held */

static struct netdev_queue *txq_of(const struct mb_queue *q)
{
	return netdev_get_tx_queue(q->nic->dev, q->index);
}

/* What the hypervisor has taken; it may have done so when this vCPU was idle. */
static void reclaim(struct mb_queue *q, int budget)
{
	u32 taken = smp_load_acquire(&q->ring->taken); /* before their memory is used again */

	for (; q->done != taken; q->done++)
		napi_consume_skb(q->skb[q->done % PACKETS], budget);
	if (q->done == q->submitted) {
		q->waiting_bytes = 0;
		q->haste = HASTE_ACKS;
	}
	if (netif_tx_queue_stopped(txq_of(q)) && q->submitted - q->done < PACKETS)
		netif_tx_wake_queue(txq_of(q));
}

/* A busy poll has just sent and waited, and one more is likely to come. */
static bool is_polled(const struct mb_queue *q)
{
	return jiffies - q->polled < 2;
}

static void call_later(struct mb_queue *q, u64 ns)
{
	if (!hrtimer_active(&q->timer) || ktime_to_ns(hrtimer_get_remaining(&q->timer)) > (s64)ns)
		hrtimer_start(&q->timer, ns_to_ktime(ns), HRTIMER_MODE_REL_PINNED);
}

static void after_call(struct mb_queue *q, long result, int budget)
{
	if (result < 0)
		give_up(q->nic, result);
	q->waiting_bytes = 0;
	reclaim(q, budget);
	if (q->done != q->submitted)
		call_later(q, RETRY_NS);
}

/* Until all is taken, or nothing more is for now: then an interrupt or the timer tells when to try again. */
static void call(struct mb_queue *q, int budget)
{
	long n;

	do {
		n = mirrorball_call(MIRRORBALL_CALL_NET_RUN, q->nic->index, q->index);
		q->calls++;
	} while (n > 0 && READ_ONCE(q->ring->taken) != q->submitted);
	q->called = ktime_get_ns();
	after_call(q, n, budget);
}

/*
 * Packets that follow closely on each other share a call: at the latest the timer makes it, earlier the hypervisor
 * looks itself when the vCPU has nothing to do. Urgent is who comes a while after the last call. A stream's first
 * packet waits for more of it. Acknowledgements wait, too, and the timer gives them more time: mostly the vCPU halts
 * before, when it has read what they are for. A queue that is polled busily leaves the call to the poll to come.
 */
static void call_or_wait(struct mb_queue *q, int budget)
{
	static const unsigned int times[] = { [HASTE_ACKS] = 1, [HASTE_BULK] = 2, [HASTE_URGENT] = 1 };
	u64 later = READ_ONCE(q->nic->later_us) * NSEC_PER_USEC * times[q->haste], since = 0;

	if (!is_polled(q))
		since = ktime_get_ns() - (q->haste == HASTE_URGENT ? q->called : q->waiting_since);

	if (since >= later || q->waiting_bytes >= LATER_BYTES || q->submitted - q->done >= PACKETS / 2) {
		call(q, budget);
		return;
	}
	q->later++;
	call_later(q, q->haste == HASTE_ACKS ? 10 * later : later - since);
}

enum hrtimer_restart mb_net_timer(struct hrtimer *timer)
{
	struct mb_queue *q = container_of(timer, struct mb_queue, timer);

	napi_schedule(&q->napi);
	return HRTIMER_NORESTART;
}

/* File pages will not be written soon: they are shared with the receiver, not copied. */
static void set_segment(struct mb_net_segment *s, u64 gpa, u32 bytes, struct page *page)
{
	s->gpa = gpa;
	s->bytes = bytes;
	s->flags = page && page_mapping(page) ? MB_NET_STAYS : 0;
}

static unsigned int fill_table(struct mb_queue *q, const struct sk_buff *skb, struct mb_net_segment *table)
{
	unsigned int n = 0, i;

	set_segment(&table[n++], virt_to_phys(skb->data), skb_headlen(skb), NULL);
	for (i = 0; i < skb_shinfo(skb)->nr_frags; i++) {
		const skb_frag_t *frag = &skb_shinfo(skb)->frags[i];

		set_segment(&table[n++], page_to_phys(skb_frag_page(frag)) + skb_frag_off(frag), skb_frag_size(frag),
			    skb_frag_page(frag));
	}
	return n;
}

static void set_offload(const struct sk_buff *skb, struct mb_net_offload *o)
{
	unsigned int type = skb_shinfo(skb)->gso_type;

	*o = (struct mb_net_offload){ 0 };
	if (skb->ip_summed != CHECKSUM_PARTIAL)
		return;
	o->flags = MB_NET_PARTIAL;
	o->csum_start = skb_checksum_start_offset(skb);
	o->csum_offset = skb->csum_offset;
	if (!skb_is_gso(skb))
		return;
	o->gso = type & SKB_GSO_TCPV4 ? MB_NET_GSO_TCP4 : MB_NET_GSO_TCP6;
	o->gso_bytes = skb_shinfo(skb)->gso_size;
	if (type & SKB_GSO_TCP_ECN)
		o->flags |= MB_NET_ECN;
}

static enum mb_haste haste_of(const struct sk_buff *skb)
{
	if (skb_is_gso(skb))
		return HASTE_BULK;
	return skb_is_tcp_pure_ack(skb) ? HASTE_ACKS : HASTE_URGENT;
}

static void push(struct mb_queue *q, struct sk_buff *skb)
{
	u32 place = q->submitted % PACKETS;
	struct mb_net_packet *p = &q->ring->packet[place];

	p->bytes = skb->len;
	if (skb_is_nonlinear(skb)) {
		p->segments = fill_table(q, skb, q->table[place]);
		p->address = virt_to_phys(q->table[place]);
	} else {
		p->segments = 0;
		p->address = virt_to_phys(skb->data);
	}
	set_offload(skb, &p->offload);
	if (q->submitted == q->done && !is_polled(q))
		q->waiting_since = ktime_get_ns();
	q->haste = max(q->haste, haste_of(skb));
	q->skb[place] = skb;
	q->waiting_bytes += skb->len;
	u64_stats_update_begin(&q->sent_sync);
	q->sent.packets++;
	q->sent.bytes += skb->len;
	u64_stats_update_end(&q->sent_sync);
	smp_store_release(&q->ring->submitted, ++q->submitted); /* after the packet */
}

netdev_tx_t mb_net_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct mb_nic *nic = mb_nic_of(dev);
	struct mb_queue *q = &nic->queue[skb_get_queue_mapping(skb)];

	if (unlikely(READ_ONCE(nic->broken))) {
		dev_kfree_skb_any(skb);
		q->sent.dropped++;
		return NETDEV_TX_OK;
	}
	skb_tx_timestamp(skb);
	reclaim(q, 0);
	/*
	 * What TCP may have under way in a device is two large packets, so every one would wait for a reclaim and its
	 * CPU go idle in between. Of smaller ones it waits rightly: it makes larger ones of them meanwhile.
	 */
	if (skb->len >= LARGE_BYTES)
		skb_orphan(skb);
	push(q, skb);
	if (q->submitted - q->done >= PACKETS)
		netif_tx_stop_queue(txq_of(q));
	if (!netdev_xmit_more() || netif_tx_queue_stopped(txq_of(q)))
		call_or_wait(q, 0);
	return NETDEV_TX_OK;
}

/* ---- receiving; in NAPI */

/* Those of a clump's places that are still there. */
static void drop_pages(struct mb_queue *q, struct page **page)
{
	unsigned int i;

	for (i = 0; i < CLUMP; i++) {
		if (page[i] && PageCompound(page[i]))
			page_pool_put_full_page(q->pool, compound_head(page[i]), false);
		else if (page[i])
			put_page(page[i]);
		page[i] = NULL;
	}
}

void mb_net_free_pages(struct mb_queue *q)
{
	unsigned int i;

	for (i = 0; i < PAGES; i += CLUMP)
		drop_pages(q, &q->page[i]);
}

/*
 * What fills pages that lie together is one fragment of an skb: so they come in clumps, each a compound page of which
 * every place has a share. Where there is none, single pages do. If all packets were copied, the pages stay; if not,
 * none does: the few that were would keep the rest of their clump from being used again. False: no memory.
 */
static bool fill_places(struct mb_queue *q, struct page **page)
{
	unsigned int i, there = 0;
	struct page *clump;

	for (i = 0; i < CLUMP; i++)
		there += !!page[i];
	if (there == CLUMP)
		return true;
	drop_pages(q, page);
	clump = page_pool_dev_alloc_pages(q->pool);
	if (clump)
		page_pool_fragment_page(clump, CLUMP);
	for (i = 0; i < CLUMP; i++) {
		page[i] = clump ? clump + i : dev_alloc_page();
		if (!page[i])
			return false;
	}
	return true;
}

static bool is_short_of_pages(const struct mb_queue *q)
{
	return q->posted - q->seen < PAGES / 2;
}

/* Pages for the places that were seen, by clumps. */
static void refill(struct mb_queue *q)
{
	u32 before = q->posted;

	for (; q->posted - q->seen <= PAGES - CLUMP; q->posted += CLUMP) {
		u32 place = q->posted % PAGES;
		unsigned int i;

		if (!fill_places(q, &q->page[place]))
			break;
		for (i = 0; i < CLUMP; i++)
			q->address[place + i] = page_to_phys(q->page[place + i]);
	}
	if (is_short_of_pages(q))
		call_later(q, RETRY_NS); /* no memory for more; nothing that comes would tell when there is */
	if (q->posted == before)
		return;
	smp_store_release(&q->ring->posted, q->posted); /* after the addresses */
	smp_mb(); /* posted, then hungry; the hypervisor does it the other way round */
	if (READ_ONCE(q->ring->hungry))
		mirrorball_call(MIRRORBALL_CALL_NET_RUN, q->nic->index, q->index);
}

static u32 bytes_in(const struct mb_queue *q, u32 n)
{
	return min_t(u32, READ_ONCE(q->filled[n % PAGES].bytes), PAGE_SIZE);
}

/* Takes the page out of its place, and with it those behind it, up to `most` in all, that go on where it ends. */
static struct page *take_pages(struct mb_queue *q, u32 n, unsigned int most, unsigned int *pages, u32 *bytes)
{
	struct page *first = q->page[n % PAGES];
	unsigned int taken = 0;

	*bytes = 0;
	do {
		q->page[(n + taken) % PAGES] = NULL;
		*bytes += bytes_in(q, n + taken);
		taken++;
	} while (taken < most && *bytes == taken * PAGE_SIZE && q->page[(n + taken) % PAGES] == first + taken &&
		 PageTail(first + taken));
	if (taken > 1)
		page_pool_defrag_page(compound_head(first), taken - 1); /* the fragment has one share for all */
	*pages = taken;
	return first;
}

/* The headers, copied; all of the first page, if that is not much: *copied. */
static struct sk_buff *begin_skb(struct mb_queue *q, u32 *copied)
{
	u32 bytes = bytes_in(q, q->seen);
	struct page *page = q->page[q->seen % PAGES];
	struct sk_buff *skb = napi_alloc_skb(&q->napi, COPY_BYTES);

	if (!skb)
		return NULL;
	*copied = bytes;
	if (bytes > COPY_BYTES)
		*copied = eth_get_headlen(q->nic->dev, page_address(page), COPY_BYTES);
	skb_put_data(skb, page_address(page), *copied);
	skb_mark_for_recycle(skb);
	return skb;
}

/* More fragments than an skb can have are in others behind it. */
static struct sk_buff *next_skb(struct mb_queue *q, struct sk_buff *skb, struct sk_buff *last)
{
	struct sk_buff *next = napi_alloc_skb(&q->napi, 0);

	if (!next)
		return NULL;
	skb_mark_for_recycle(next);
	if (last == skb)
		skb_shinfo(skb)->frag_list = next;
	else
		last->next = next;
	return next;
}

/* What was not copied, the first page's only if there is something left in it. */
static bool add_rest(struct mb_queue *q, struct sk_buff *skb, unsigned int pages, u32 copied)
{
	struct sk_buff *last = skb;
	unsigned int i = 0, taken;

	if (copied == bytes_in(q, q->seen)) {
		q->copied++;
		copied = 0;
		i = 1;
	}
	for (; i < pages; i += taken, copied = 0) {
		struct page *page;
		u32 bytes;

		if (skb_shinfo(last)->nr_frags == MAX_SKB_FRAGS) {
			last = next_skb(q, skb, last);
			if (!last)
				return false;
		}
		page = take_pages(q, q->seen + i, pages - i, &taken, &bytes);
		skb_add_rx_frag(last, skb_shinfo(last)->nr_frags, page, copied, bytes - copied, taken * PAGE_SIZE);
		if (last != skb) {
			skb->len += bytes;
			skb->data_len += bytes;
			skb->truesize += taken * PAGE_SIZE;
		}
	}
	return true;
}

/* The sender's word for it is checked, as that of any tap device's user. */
static bool apply_offload(struct sk_buff *skb, const struct mb_net_offload *o)
{
	static const u8 gso[] = {
		[MB_NET_GSO_TCP4] = VIRTIO_NET_HDR_GSO_TCPV4,
		[MB_NET_GSO_TCP6] = VIRTIO_NET_HDR_GSO_TCPV6,
	};
	struct virtio_net_hdr h = { 0 };

	if (o->gso >= ARRAY_SIZE(gso))
		return false;
	if (o->flags & MB_NET_PARTIAL) {
		h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		h.csum_start = o->csum_start;
		h.csum_offset = o->csum_offset;
	} else if (o->flags & MB_NET_CHECKED) {
		skb->ip_summed = CHECKSUM_UNNECESSARY;
	}
	h.gso_type = gso[o->gso] | (o->flags & MB_NET_ECN ? VIRTIO_NET_HDR_GSO_ECN : 0);
	h.gso_size = o->gso_bytes;
	h.hdr_len = skb_headlen(skb);
	return !virtio_net_hdr_to_skb(skb, &h, true);
}

/* One that comes alone is spared the search for others that it might be merged with. */
static void pass_on(struct mb_queue *q, struct sk_buff *skb, bool alone)
{
	if (!alone || q->napi.gro_bitmask || q->napi.rx_count) {
		napi_gro_receive(&q->napi, skb);
		return;
	}
	skb_mark_napi_id(skb, &q->napi);
	netif_receive_skb(skb);
}

/* The next packet; what is wrong with it loses it alone. */
static void receive_one(struct mb_queue *q, const struct mb_net_filled *first, unsigned int pages, bool alone)
{
	u32 copied = 0;
	struct sk_buff *skb = begin_skb(q, &copied);
	bool good = skb && add_rest(q, skb, pages, copied) && apply_offload(skb, &first->offload);
	unsigned int bytes = good ? skb->len : 0;

	u64_stats_update_begin(&q->received_sync);
	if (good) {
		q->received.packets++;
		q->received.bytes += bytes;
	} else {
		q->received.dropped++;
	}
	u64_stats_update_end(&q->received_sync);
	if (!good) {
		kfree_skb(skb);
		return;
	}
	skb->protocol = eth_type_trans(skb, q->nic->dev);
	skb_record_rx_queue(skb, q->index);
	pass_on(q, skb, alone);
}

static int receive(struct mb_queue *q, int budget)
{
	u32 filled = smp_load_acquire(&q->ring->filled); /* before what is in the pages */
	int n;

	for (n = 0; n < budget && q->seen != filled; n++) {
		struct mb_net_filled first = q->filled[q->seen % PAGES];

		if (!first.pages || first.pages > filled - q->seen || filled - q->seen > PAGES) {
			give_up(q->nic, -EPROTO);
			q->seen = filled;
			break;
		}
		receive_one(q, &first, first.pages, q->seen + first.pages == filled);
		q->seen += first.pages;
	}
	refill(q);
	return n;
}

/*
 * What waits to be sent: what came may have been answered, or the timer or room for it is why we are here. Of urgent
 * packets the timer stays when they have been taken: it is soon, and the next round trip would set it again. So it does
 * while a program runs, which is likely to send more: to cancel it and to set it again is an exit each.
 */
static void send_waiting(struct mb_queue *q, int budget)
{
	enum mb_haste haste;

	__netif_tx_lock(txq_of(q), smp_processor_id());
	haste = q->haste;
	reclaim(q, budget);
	if (q->done != q->submitted && !READ_ONCE(q->nic->broken))
		call_or_wait(q, budget);
	else if (haste != HASTE_URGENT && !is_short_of_pages(q) && !is_polled(q) && is_idle_task(current))
		hrtimer_try_to_cancel(&q->timer); /* it would wake the vCPU for nothing */
	__netif_tx_unlock(txq_of(q));
}

static bool has_news(const struct mb_queue *q)
{
	return READ_ONCE(q->ring->filled) != q->seen;
}

static void want(struct mb_queue *q, u32 more)
{
	WRITE_ONCE(q->ring->want, MB_NET_WANT_ROOM | more);
}

/*
 * MIRRORBALL_CALL_NET_WAIT, with interrupts on: as before a HLT, STI lets none in before the instruction behind it, and
 * one that is pending then ends the wait.
 */
static long enable_irqs_and_wait(struct mb_queue *q, u32 us)
{
	register unsigned long r10 asm("r10");
	long result;

	trace_hardirqs_on();
	r10 = us;
	asm volatile("sti; vmcall" : "=a" (result)
		     : "a" (MIRRORBALL_CALL_NET_WAIT), "D" ((unsigned long)q->nic->index),
		       "S" ((unsigned long)q->index), "d" ((unsigned long)q->seen), "r" (r10)
		     : "memory", "cc");
	return result;
}

/*
 * One call sends, and lets the vCPU wait until something comes: a packet, an interrupt, the end of the time. There must
 * be nothing else for this CPU to do, and what an interrupt brings after that was looked at has to end the wait.
 * False: it cannot wait, and has not sent.
 */
static bool call_and_wait(struct mb_queue *q, long *result)
{
	u32 us = READ_ONCE(mb_net_poll_us);

	if (!us || q->nic->no_wait)
		return false;
	local_irq_disable();
	if (!single_task_running() || need_resched() || local_softirq_pending()) {
		local_irq_enable();
		return false;
	}
	q->waits++;
	*result = enable_irqs_and_wait(q, us);
	q->nic->no_wait = *result == -ENOSYS;
	return !q->nic->no_wait;
}

/* What was left to the poll that was to come is sent now. */
static void send_and_wait(struct mb_queue *q, int budget)
{
	long result;
	bool waited = call_and_wait(q, &result);

	__netif_tx_lock(txq_of(q), smp_processor_id());
	if (waited) {
		q->polled = jiffies;
		after_call(q, result, budget);
	} else if (q->done != q->submitted) {
		call(q, budget);
	}
	__netif_tx_unlock(txq_of(q));
}

/*
 * A socket has nothing to read and polls, again and again while it may wait: who may not polls once only, so the first
 * time does not. Interrupts are off (not wanted) until the last poll after it, which is an ordinary one.
 */
static int poll_busily(struct mb_queue *q, int budget)
{
	int n;

	if (!q->polls_again) {
		q->polls_again = true;
		want(q, 0);
	} else if (!has_news(q) && !READ_ONCE(q->nic->broken)) {
		send_and_wait(q, budget);
	}
	if (!has_news(q))
		return 0;
	n = receive(q, budget);
	if (q->napi.gro_bitmask)
		napi_gro_flush(&q->napi, false);	/* the next poll may be one that waits */
	return n;
}

int mb_net_poll(struct napi_struct *napi, int budget)
{
	struct mb_queue *q = container_of(napi, struct mb_queue, napi);
	int n;

	if (test_bit(NAPI_STATE_IN_BUSY_POLL, &napi->state))
		return poll_busily(q, budget);
	q->polls_again = false;
	n = receive(q, budget);
	send_waiting(q, budget);
	if (n == budget || !napi_complete_done(napi, n))
		return n;
	want(q, MB_NET_WANT_PACKETS);
	smp_mb(); /* want, then filled; the hypervisor does it the other way round */
	if (has_news(q) && napi_schedule_prep(napi)) {
		want(q, 0);
		__napi_schedule(napi);
	}
	return n;
}

void mb_net_schedule(void *queue)
{
	struct mb_queue *q = queue;

	if (napi_schedule_prep(&q->napi)) {
		want(q, 0);
		__napi_schedule_irqoff(&q->napi);
	}
}

/* The device has one interrupt: each queue goes to its own CPU. */
static void wake(struct mb_queue *q)
{
	if (q->index == smp_processor_id() || smp_call_function_single_async(q->index, &q->csd))
		mb_net_schedule(q);
}

void mb_net_look_at(struct mb_nic *nic)
{
	unsigned int i;

	if (!netif_running(nic->dev))
		return;
	for (i = 0; i < nic->queues; i++) {
		struct mb_queue *q = &nic->queue[i];

		if (q->ring && (has_news(q) || READ_ONCE(q->submitted) != READ_ONCE(q->ring->taken)))
			wake(q);
	}
}
