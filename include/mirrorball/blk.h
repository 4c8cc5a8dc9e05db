/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0 */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdint.h>
#endif

/*
 * Paravirtual disks, numbered from 0. Each queue of a disk has a ring in guest memory. The guest fills requests, raises
 * `submitted` and makes one call for as many as it likes; the hypervisor does them, writes a result for each, and
 * raises `completed`. What has to wait for a disk of the machine gets its result later, and then there is an interrupt:
 * an edge on the input of the I/O APIC that the ACPI device MRBL0002 names, for all disks. See docs/blk.md.
 *
 * All counters run freely from 0. Request number n is request[n % entries], result number n is result[n % entries];
 * results need not come in the order of the requests: the tag tells whose they are. A request is read once, and its
 * place is free when `taken` is beyond it; its table and its data must not change before its result is there. There are
 * never more requests without a result than the ring has entries.
 */
#define MB_BLK_SECTOR        512
#define MB_BLK_MAX_ENTRIES   256    /* of a ring: a power of two from 2 to this */
#define MB_BLK_MAX_SEGMENTS  256    /* of a request */
#define MB_BLK_MAX_SECTORS   2048   /* of a request, of any kind: 1 MiB */

struct mb_blk_segment {
    uint64_t gpa;       /* multiple of 512 */
    uint32_t bytes;     /* multiple of 512, not 0; may cross pages */
    uint32_t zero;
};

enum mb_blk_op {
    MB_BLK_READ,
    MB_BLK_WRITE,
    MB_BLK_FLUSH,           /* all that has a result is where the disk's mode keeps it; sector, sectors, segments 0 */
    MB_BLK_DISCARD,         /* not needed any more: what it reads as afterwards is not said; segments 0 */
    MB_BLK_WRITE_ZEROES,    /* segments 0 */
    MB_BLK_IDENTIFY,        /* reads struct mb_blk_identity as if it were a disk of one sector */
};

struct mb_blk_request {
    uint8_t op;             /* enum mb_blk_op */
    uint8_t zero;
    uint16_t segments;      /* in the table */
    uint32_t tag;           /* the guest's own */
    uint64_t sector;        /* the first, of 512 bytes */
    uint64_t sectors;       /* how many: as many bytes as the segments have together */
    uint64_t table;         /* guest-physical address of struct mb_blk_segment[segments], multiple of 16 */
};

struct mb_blk_result {
    uint32_t tag;
    int32_t status;         /* 0 or a negative Linux errno */
};

struct mb_blk_ring {        /* 4 KiB aligned, in RAM throughout */
    uint32_t submitted;     /* written by the guest */
    uint32_t completed;     /* written by the hypervisor, after the results */
    uint32_t taken;         /* the same: requests that need no further call for their results */
    uint32_t zero[13];
    struct mb_blk_request request[];
    /* struct mb_blk_result result[entries] follows */
};
#define MB_BLK_RING_SIZE(entries) \
    (sizeof(struct mb_blk_ring) + (entries) * (sizeof(struct mb_blk_request) + sizeof(struct mb_blk_result)))

#define MB_BLK_READONLY      1u
struct mb_blk_identity {
    uint64_t sectors;
    uint32_t flags;         /* MB_BLK_READONLY */
    uint32_t block;         /* bytes: whole aligned ones are read without being copied */
    uint32_t queues;        /* numbered from 0, as many as the VM has vCPUs */
    char serial[20];        /* padded with zeros */
    uint32_t zero[118];
};

/*
 * rdi: disk, rsi: queue, rdx: guest-physical address of a ring, r10: its entries, 0: the queue has no ring any more.
 * The counters begin at 0. -ENODEV: no such disk or queue (a guest counts its disks with this); -EINVAL: misaligned, or
 * no such number of entries; -EFAULT: not RAM; -EPROTO: the disk has stopped; -EBUSY: requests of the ring it has are
 * still under way, call again later.
 */
#define MIRRORBALL_CALL_BLK_RING 5

/*
 * rdi: disk, rsi: queue. Does what was submitted, at least one request, and returns for how many there is a result now
 * that was not there before. `taken` is less than `submitted` afterwards: call again. -ENODEV; -ENXIO: the queue has no
 * ring; -EPROTO: `submitted` is further than the ring is long. Then the disk has stopped, all its queues, until the VM
 * is reset.
 */
#define MIRRORBALL_CALL_BLK_RUN  6
