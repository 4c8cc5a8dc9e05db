// SPDX-License-Identifier: GPL-2.0
/* Copyright (C) 2026 The Mirrorball authors */
/*
 * Sending: SMC moves data into the peer's buffer and then its own short message, which says how far they go, or how far
 * its own buffer was read. What is short may wait for more, or for a CPU that has nothing to do (docs/ism.md).
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/stat.h>
#include <linux/slab.h>

#include "mb_ism.h"

#define KEEP_BYTES	1024		/* of data that may be kept a while, as a copy */
#define TEXT_BYTES	(16 * 1024)	/* of all copies that are kept */
#define SHORT_BYTES	1024		/* of data that may be one half of a round trip */
#define LATER_BYTES	(1024 * 1024)	/* moved, and not told: so much is told at once */
#define MAX_LATER_US	10000U
#define FLOW_TRUSTED	2		/* quick answers in a row, then they are waited for */
#define FLOW_PUNISHED	(-32)		/* one did not come */

/* Who has the queue's lock, beside MB_ISM_HYPERVISOR. */
enum { LOCK_FREE, LOCK_GUEST };

static unsigned int poll_us = 50;
module_param(poll_us, uint, 0644);
MODULE_PARM_DESC(poll_us, "microseconds for which a send waits for the answer where answers have been quick (0: never)");

static unsigned int later_us = 100;
module_param(later_us, uint, 0644);
MODULE_PARM_DESC(later_us, "microseconds within which the other end is told once, if no idle CPU tells it earlier (0: always at once)");

/*
 * What a CPU has to move at once, without softirqs from the first move to the call: large data, which are read where
 * they lie, since SMC holds its connection's send_lock until it has said how far they go; or all of a short message.
 */
struct mb_ism_batch {
	struct mb_ism_move move[MB_ISM_MAX_MOVES];
	u8 text[SHORT_BYTES + 2 * MESSAGE_BYTES];
	struct mb_ism *m;
	unsigned int count;
	u32 bytes;			/* of data since SMC's last message, also those that are kept elsewhere */
};

static struct mb_ism_batch *batches[NR_CPUS];

/* One answer to what was sent last. */
void mb_ism_judge_answer(struct mb_ism *m)
{
	unsigned int f = m->last_flow;

	if (f == FLOWS)
		return;
	m->last_flow = FLOWS;
	if (ktime_get_ns() - m->last_sent > READ_ONCE(poll_us) * NSEC_PER_USEC)
		m->flow[f] = 0;
	else if (m->flow[f] < FLOW_TRUSTED)
		m->flow[f]++;
}

static long call(struct mb_ism *m, const struct mb_ism_move *move, unsigned int count, unsigned int us)
{
	return mirrorball_call5(MIRRORBALL_CALL_ISM_MOVE, m->index, virt_to_phys((void *)move), count, us,
				READ_ONCE(m->seen));
}

/* What follows data that were lost would say that they are there. */
static bool is_broken(const struct mb_ism *m, u64 token)
{
	int i;

	for (i = 0; i < min(atomic_read(&m->breaks), BROKEN); i++)
		if (READ_ONCE(m->broken[i]) == token)
			return true;
	return false;
}

/* A buffer that is not there any more has nothing to follow. */
static void set_broken(struct mb_ism *m, u64 token, long why)
{
	if (why != -ENOENT && !is_broken(m, token))
		WRITE_ONCE(m->broken[(atomic_inc_return(&m->breaks) - 1) % BROKEN], token);
}

/* Moves that cannot be done do not keep others from it. Returns the error of those into this buffer. */
static int run(struct mb_ism *m, const struct mb_ism_move *move, unsigned int count, u64 token)
{
	int err = 0;

	while (count) {
		long done = call(m, move, count, 0);

		if (done <= 0) {
			if (move->token == token)
				err = done ?: -EIO;
			set_broken(m, move->token, done);
			done = 1;
		}
		move += done;
		count -= done;
	}
	WRITE_ONCE(m->told, ktime_get_ns());
	return err;
}

/* Softirqs are off. The hypervisor has it only as long as it moves for an idle CPU. */
static void lock_later(struct mb_ism *m)
{
	while (cmpxchg(&m->queue->head.lock, LOCK_FREE, LOCK_GUEST) != LOCK_FREE)
		cpu_relax();
	if (!m->queue->head.later) {
		m->text_used = 0;
		m->messages = 0;
		m->untold = 0;
	}
}

static void unlock_later(struct mb_ism *m)
{
	smp_store_release(&m->queue->head.lock, LOCK_FREE); /* after what was kept, for whoever has it next */
}

/* Locked. */
static int run_later(struct mb_ism *m, u64 token)
{
	unsigned int count = m->queue->head.later;
	int err = count ? run(m, m->queue->move, count, token) : 0;

	m->queue->head.later = 0;
	m->text_used = 0;
	m->messages = 0;
	m->untold = 0;
	return err;
}

/* The last of what is kept for this buffer; -1: nothing is. Locked. */
static int find_later(const struct mb_ism *m, u64 token, u32 flags)
{
	int i = m->queue->head.later;

	while (--i >= 0)
		if (m->queue->move[i].token == token && m->queue->move[i].flags == flags)
			break;
	return i;
}

static void append(struct mb_ism *m, const struct mb_ism_move *as, void *text, const void *data)
{
	struct mb_ism_move *move = &m->queue->move[m->queue->head.later];

	memcpy(text, data, as->bytes);
	*move = *as;
	move->gpa = virt_to_phys(text);
	m->queue->head.later++;
}

/* Data that go on where the last ones end, there and here, are one move with them. Locked. */
static int keep_data(struct mb_ism *m, const struct mb_ism_move *as, const void *data)
{
	int err = 0, i;

	if (m->text_used + as->bytes > TEXT_BYTES || m->queue->head.later == MB_ISM_LATER)
		err = run_later(m, as->token);
	i = find_later(m, as->token, 0);
	if (i >= 0) {
		struct mb_ism_move *last = &m->queue->move[i];

		if (last->gpa + last->bytes == virt_to_phys(m->text) + m->text_used &&
		    last->offset + last->bytes == as->offset) {
			memcpy(m->text + m->text_used, data, as->bytes);
			m->text_used += as->bytes;
			last->bytes += as->bytes;
			return err;
		}
	}
	append(m, as, m->text + m->text_used, data);
	m->text_used += as->bytes;
	return err;
}

/* Behind all data of its buffer; the one that it had before is not needed. Locked. */
static int keep_message(struct mb_ism *m, const struct mb_ism_move *as, const void *data)
{
	struct mb_ism_queue *q = m->queue;
	int err = 0, i = find_later(m, as->token, as->flags);
	struct mb_ism_move move;

	if (i >= 0 && find_later(m, as->token, 0) < i) {
		memcpy(phys_to_virt(q->move[i].gpa), data, as->bytes);
		return 0;
	}
	if (i >= 0) {
		move = q->move[i];
		memmove(q->move + i, q->move + i + 1, (q->head.later - i - 1) * sizeof(move));
		q->head.later--;
		append(m, as, phys_to_virt(move.gpa), data);
		return 0;
	}
	if (q->head.later == MB_ISM_LATER)
		err = run_later(m, as->token);
	append(m, as, m->message[m->messages++], data);
	return err;
}

static void soon_or_at_the_tick(struct mb_ism *m, const struct mb_ism_batch *b)
{
	if (b->bytes && b->bytes <= KEEP_BYTES) {
		if (!hrtimer_is_queued(&m->soon))
			hrtimer_start(&m->soon, ns_to_ktime(READ_ONCE(later_us) * NSEC_PER_USEC),
				      HRTIMER_MODE_REL_PINNED_SOFT);
	} else if (!timer_pending(&m->tick)) {
		mod_timer(&m->tick, jiffies + 1);
	}
}

static void end_wait(struct mb_ism *m)
{
	local_bh_disable();
	lock_later(m);
	run_later(m, 0);
	unlock_later(m);
	local_bh_enable();
}

static enum hrtimer_restart mb_ism_soon(struct hrtimer *timer)
{
	end_wait(container_of(timer, struct mb_ism, soon));
	return HRTIMER_NORESTART;
}

static void mb_ism_tick(struct timer_list *timer)
{
	end_wait(container_of(timer, struct mb_ism, tick));
}

/*
 * Has the other end been told just now? Then the next time may be a bit later, or when this CPU has nothing to do. That
 * data were read may always be: mostly that is soon.
 */
static bool may_wait(struct mb_ism *m, const struct mb_ism_batch *b)
{
	u64 later = min(READ_ONCE(later_us), MAX_LATER_US) * NSEC_PER_USEC, now = ktime_get_ns();

	if (b->bytes)
		return now - READ_ONCE(m->told) < later && READ_ONCE(m->untold) + b->bytes < LATER_BYTES;
	if (!READ_ONCE(m->queue->head.later))
		WRITE_ONCE(m->kept, now);
	return now - READ_ONCE(m->kept) < later;
}

/* Would a wait for the answer be shorter than to go to sleep and be woken, and hinder nobody? */
static unsigned int wait_us(struct mb_ism *m, const struct mb_ism_batch *b, u64 token)
{
	unsigned int f = token % FLOWS;

	if (!READ_ONCE(poll_us) || !b->bytes || b->bytes > SHORT_BYTES)
		return 0;
	m->last_flow = f;
	m->last_sent = ktime_get_ns();
	if (m->flow[f] < FLOW_TRUSTED || in_serving_softirq() || irqs_disabled() || need_resched() ||
	    !single_task_running())
		return 0;
	return READ_ONCE(poll_us);
}

/* All that is kept, for this CPU's call; false: it is for several buffers, or too much. Locked. */
static bool take_later(struct mb_ism *m, struct mb_ism_batch *b, u64 token)
{
	unsigned int i, used = 0, count = m->queue->head.later;

	for (i = 0; i < count; i++) {
		struct mb_ism_move *move = &b->move[i];

		*move = m->queue->move[i];
		if (move->token != token || used + move->bytes > sizeof(b->text))
			return false;
		memcpy(b->text + used, phys_to_virt(move->gpa), move->bytes);
		move->gpa = virt_to_phys(b->text + used);
		used += move->bytes;
	}
	b->count = count;
	m->queue->head.later = 0;
	return true;
}

/* The call, and what it has waited for is taken. */
static int run_and_wait(struct mb_ism *m, struct mb_ism_batch *b, unsigned int us)
{
	u32 seen = READ_ONCE(m->seen);
	unsigned int f = m->last_flow, count = b->count;
	atomic_t *quiet = (atomic_t *)&m->queue->head.quiet; /* other CPUs may wait, too */
	long done;

	b->count = 0;
	atomic_inc(quiet);
	done = call(m, b->move, count, us);
	atomic_dec(quiet);
	smp_mb__after_atomic(); /* news that came with no interrupt are looked for below */
	WRITE_ONCE(m->told, ktime_get_ns());
	mb_ism_take_news(m);
	if (done != count)
		set_broken(m, b->move[0].token, done);
	if (READ_ONCE(m->seen) == seen && f < FLOWS && m->told - m->last_sent > us * NSEC_PER_USEC / 2)
		m->flow[f] = FLOW_PUNISHED; /* else an interrupt has ended it */
	return done == count ? 0 : done < 0 ? done : -EIO;
}

/* What the CPU has for it, then what is kept, by one call. Locked. */
static int run_all(struct mb_ism *m, struct mb_ism_batch *b, u64 token)
{
	unsigned int later = m->queue->head.later, count = b->count;

	b->count = 0;
	if (!count)
		return run_later(m, token);
	if (count + later > MB_ISM_MAX_MOVES)
		return run(m, b->move, count, token) ?: run_later(m, token);
	memcpy(b->move + count, m->queue->move, later * sizeof(b->move[0]));
	m->queue->head.later = 0;
	return run(m, b->move, count + later, token);
}

static int run_held(struct mb_ism_batch *b, u64 token)
{
	unsigned int count = b->count;

	b->count = 0;
	return count ? run(b->m, b->move, count, token) : 0;
}

/* Data of some length are held until SMC's message follows: they are not copied. */
static int hold(struct mb_ism *m, struct mb_ism_batch *b, const struct mb_ism_move *as, void *data)
{
	int err = 0;

	if (!virt_addr_valid(data))
		return -EIO;
	if (b->m != m || b->count == MB_ISM_MAX_MOVES / 2)
		err = run_held(b, as->token);
	b->m = m;
	b->move[b->count] = *as;
	b->move[b->count++].gpa = virt_to_phys(data);
	return err;
}

static int send_message(struct mb_ism *m, struct mb_ism_batch *b, const struct mb_ism_move *as, const void *data)
{
	unsigned int us = b->count ? 0 : wait_us(m, b, as->token);
	bool later = !us && may_wait(m, b);
	int err = 0;

	if (later && b->count)
		err = run_held(b, as->token); /* before somebody else may move what says that they are there */
	lock_later(m);
	err = err ?: keep_message(m, as, data);
	if (us && !err && take_later(m, b, as->token)) {
		unlock_later(m);
		return run_and_wait(m, b, us);
	}
	if (later) {
		m->untold += b->bytes;
		soon_or_at_the_tick(m, b);
	} else {
		err = run_all(m, b, as->token) ?: err;
	}
	unlock_later(m);
	return err;
}

int mb_ism_move_data(struct smcd_dev *smcd, u64 token, unsigned int idx, bool signal, unsigned int offset, void *data,
		     unsigned int size)
{
	struct mb_ism_move move = { .token = token, .bytes = size, .offset = offset,
				    .flags = signal ? MB_ISM_SIGNAL : 0 };
	struct mb_ism *m = smcd->priv;
	bool holds = in_softirq(); /* as SMC's lock for sending does: what it sends is followed by its message */
	struct mb_ism_batch *b;
	int err;

	if (unlikely(atomic_read(&m->breaks)) && is_broken(m, token))
		return -EIO;
	if (signal && size > MESSAGE_BYTES)
		return -EINVAL;
	local_bh_disable();
	b = batches[smp_processor_id()];
	if (signal) {
		err = send_message(m, b, &move, data);
		b->bytes = 0;
	} else if (size <= KEEP_BYTES) {
		b->bytes += size;
		lock_later(m);
		err = keep_data(m, &move, data);
		unlock_later(m);
	} else {
		b->bytes += size;
		err = hold(m, b, &move, data);
		if (!err && !holds)
			err = run_held(b, token);
	}
	local_bh_enable();
	return err;
}

int mb_ism_init_sending(struct mb_ism *m)
{
	m->last_flow = FLOWS;
	hrtimer_init(&m->soon, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_SOFT);
	m->soon.function = mb_ism_soon;
	timer_setup(&m->tick, mb_ism_tick, TIMER_PINNED);
	m->text = kmalloc(TEXT_BYTES, GFP_KERNEL);
	m->message = kmalloc_array(MB_ISM_LATER, MESSAGE_BYTES, GFP_KERNEL);
	if (m->text && m->message)
		return 0;
	mb_ism_end_sending(m);
	return -ENOMEM;
}

void mb_ism_end_sending(struct mb_ism *m)
{
	hrtimer_cancel(&m->soon);
	del_timer_sync(&m->tick);
	kfree(m->text);
	kfree(m->message);
}

void mb_ism_free_batches(void)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu)
		kfree(batches[cpu]);
}

int mb_ism_init_batches(void)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		batches[cpu] = kzalloc(roundup_pow_of_two(sizeof(struct mb_ism_batch)), GFP_KERNEL); /* lies together */
		if (!batches[cpu]) {
			mb_ism_free_batches();
			return -ENOMEM;
		}
	}
	return 0;
}
