/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0 */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdint.h>
#endif

/*
 * Internal shared memory: what SMC-D needs to carry TCP's data without TCP (docs/ism.md). An interface of the VM
 * (include/mirrorball/net.h) opens a buffer in its memory to one other interface of its network, its peer, whose VM may
 * then have data moved into it, and nobody else. The peer learns the buffer's token from its owner by other ways.
 *
 * An interface is known to others by its id, which is its MAC address: byte n in bits 8 n.
 */
#define MB_ISM_BUFFERS   256        /* that an interface can have open; a token's low byte is a buffer's number */
#define MB_ISM_MAX_BYTES (1u << 20) /* of a buffer; the moves of a call end with the one that reaches as much */
#define MB_ISM_MAX_MOVES 32         /* of a call */

enum mb_ism_kind {
    MB_ISM_WRITTEN,                 /* buffer `number` was written by a move with MB_ISM_SIGNAL */
    MB_ISM_EVENT,                   /* the peer says `number` and `info` */
    MB_ISM_GONE,                    /* the peer can no longer be reached; what is open to it is of no use to it */
};

struct mb_ism_news {
    uint32_t kind;                  /* enum mb_ism_kind */
    uint32_t number;
    uint64_t peer;
    uint64_t info;
    uint64_t zero;
};

#define MB_ISM_SIGNAL    1u         /* tell the buffer's owner */
struct mb_ism_move {
    uint64_t token;
    uint64_t gpa;                   /* the data; RAM */
    uint32_t bytes;                 /* not 0 */
    uint32_t offset;                /* where it goes in the buffer */
    uint32_t flags;                 /* MB_ISM_SIGNAL */
    uint32_t zero;
};

/*
 * Of an interface. What it hears is in `news`, number n at news[n % MB_ISM_NEWS]. A buffer's MB_ISM_WRITTEN is there
 * once until the guest has counted it as seen, however often it is written: so `seen` goes first, then comes a full
 * barrier, then the buffer is looked at. An interrupt comes when there are news, the guest has seen all that there were
 * before, and it is not quiet; whoever ends the quiet looks at the queue after it, with a barrier between.
 *
 * `move` has what may wait for others. When a vCPU of the VM has nothing to do (HLT, a call that waits or idles), the
 * first `later` of them are done in their order, and `later` is 0 then; if one cannot be done all of them stay, and who
 * calls for them learns why. All of that only while `lock` is 0, which is made MB_ISM_HYPERVISOR meanwhile; who has it
 * else is the guest's own affair.
 */
#define MB_ISM_NEWS       512
#define MB_ISM_LATER      16
#define MB_ISM_HYPERVISOR 2u
struct mb_ism_head {
    uint32_t seen;                  /* written by the guest */
    uint32_t quiet;                 /* likewise; not 0: no interrupts */
    uint32_t lock;
    uint32_t later;
    uint32_t zero[12];
    uint32_t written;               /* written by the hypervisor, after the news themselves */
    uint32_t network;               /* a number of the interface's network; written at the start */
    uint64_t id;                    /* of the interface; likewise */
    uint32_t zero2[12];
};

struct mb_ism_queue {               /* 4 KiB aligned, in RAM throughout */
    struct mb_ism_head head;
    struct mb_ism_move move[MB_ISM_LATER];
    struct mb_ism_news news[MB_ISM_NEWS];
};

/*
 * rdi: interface, rsi: guest-physical address of its queue, which begins empty, or 0: it takes no part any more. What
 * was open is closed. 0; -ENODEV: no such interface; -EOPNOTSUPP: its rate is limited; -EINVAL: misaligned; -EFAULT:
 * not RAM; -ENOMEM.
 */
#define MIRRORBALL_CALL_ISM_START 16

/*
 * rdi: interface, rsi: another's id. 0: it takes part; -EHOSTUNREACH: no such one does; -ENODEV; -ENXIO: not started.
 */
#define MIRRORBALL_CALL_ISM_PEER 17

/*
 * Opens a buffer. rdi: interface, rsi: its guest-physical address, a multiple of 4096, rdx: bytes, a multiple of 4096
 * up to MB_ISM_MAX_BYTES, r10: the peer. Returns its token, or -ENODEV; -ENXIO: not started; -EINVAL; -EFAULT: not RAM;
 * -EHOSTUNREACH: there is no such peer; -ENOSPC: MB_ISM_BUFFERS are open.
 */
#define MIRRORBALL_CALL_ISM_OPEN 18

/* Closes it: nobody writes to it any more. rdi: interface, rsi: token. 0; -ENODEV; -ENXIO; -ENOENT: it is not open. */
#define MIRRORBALL_CALL_ISM_CLOSE 19

/*
 * rdi: interface, rsi: guest-physical address of struct mb_ism_move[rdx], a multiple of 16, rdx: 1 to MB_ISM_MAX_MOVES,
 * r10: microseconds, MB_ISM_WAIT_MOST if it is more, r8: `written` as the guest knows it. Does the moves in their
 * order; the data are there when it returns. Returns how many were done, fewer: call again for the others. An error is
 * that of the first: -ENOENT: no such buffer is open to this interface; -EINVAL; -EFAULT; -ENOMEM: of either VM;
 * -ENODEV; -ENXIO.
 *
 * With r10 the vCPU then waits, unless not all were done, its processor being others' meanwhile: until `written` is no
 * longer what the guest knows, or an interrupt is pending, whatever RFLAGS.IF says, or so much time is over; it may end
 * earlier. What it has to send elsewhere is sent, too, as when it halts.
 */
#define MIRRORBALL_CALL_ISM_MOVE 20
#define MB_ISM_WAIT_MOST 10000u

/*
 * Tells another, which has a buffer open to this interface, something. rdi: interface, rsi: its id, rdx: number, r10:
 * info. 0; -EHOSTUNREACH: there is no such one; -EAGAIN: it has not seen three that it was told before; -ENODEV;
 * -ENXIO.
 */
#define MIRRORBALL_CALL_ISM_TELL 21
