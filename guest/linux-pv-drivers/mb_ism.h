/* SPDX-License-Identifier: GPL-2.0 */
/* Copyright (C) 2026 The Mirrorball authors */
#ifndef _MB_ISM_H
#define _MB_ISM_H

#include <linux/hrtimer.h>
#include <linux/pci.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <net/smc.h>
#include <mirrorball/ism.h>

#include "mirrorball.h"

/* Between the parts of mb_ism. */
#define MESSAGE_BYTES	64		/* of SMC's own messages, which say how far a buffer is filled, or read */
#define FLOWS		64
#define BROKEN		16

struct mb_ism {
	unsigned int index;
	struct mb_ism_queue *queue;
	spinlock_t lock;		/* taking news */
	u32 seen;
	struct smcd_dev *smcd;
	struct pci_dev *stand_in;

	/* What may wait, in queue->move; under the queue's lock. */
	u8 *text;			/* data that are kept, one behind the other */
	unsigned int text_used;
	u8 (*message)[MESSAGE_BYTES];	/* SMC's, one for each buffer */
	unsigned int messages;
	u32 untold;			/* bytes moved */
	struct hrtimer soon;		/* data wait */
	struct timer_list tick;		/* only SMC's messages do: of what was read, or where large data end */
	u64 broken[BROKEN];		/* buffers whose data were lost: nothing may follow them */
	atomic_t breaks;

	/* Guesses, so without a lock. */
	u64 told, kept;			/* when the last call was, and the first of what waits came, ns */
	s8 flow[FLOWS];			/* who answers quickly */
	unsigned int last_flow;		/* FLOWS: something came since */
	u64 last_sent;
};

/* mb_ism_main.c: takes what the queue has. Any context. */
void mb_ism_take_news(struct mb_ism *m);

/* mb_ism_send.c: memory and timers for what may wait; before there is a device, and when it is gone. */
int mb_ism_init_sending(struct mb_ism *m);
void mb_ism_end_sending(struct mb_ism *m);
/* Something came: was it a quick answer to what was sent last? */
void mb_ism_judge_answer(struct mb_ism *m);
/* Of struct smcd_ops. */
int mb_ism_move_data(struct smcd_dev *smcd, u64 token, unsigned int idx, bool signal, unsigned int offset, void *data,
		     unsigned int size);
/* The CPUs' memory, for all ports. */
int mb_ism_init_batches(void);
void mb_ism_free_batches(void);

#endif
