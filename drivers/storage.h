/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * The machine's disks, whoever drives them: the firmware's Block I/O through the world switch, or a driver of ours. A
 * request is submitted, the driver works on it while guests run, and storage_poll says that it is over. A storage is a
 * range of a disk, and nothing outside of it can be reached through it.
 */
#define STORAGE_SECTOR    512u /* the unit of all addresses, whatever the disk's own block is */
#define STORAGE_MAX_PAGES 64u  /* of a request */

enum storage_op {
    STORAGE_READ,
    STORAGE_WRITE,
    STORAGE_FLUSH,             /* all writes that were over before it was submitted survive a power cut; no pages */
};

struct storage_request {
    enum storage_op op;
    uint64_t sector;
    uint32_t sectors;          /* 1 to STORAGE_MAX_PAGES * 8; multiples of the storage's block, as is the first */
    struct hpa page[STORAGE_MAX_PAGES]; /* where the data is, from the first page's first byte on */
    /*
     * It is over: 0, -EIO, or -ETIMEDOUT. On the processor that polls, outside of the EPTs, no lock is held; it may
     * submit again.
     */
    void (*done)(struct storage_request *r, int err);
    /* The driver's, until it is over: */
    struct storage_request *next;
    const struct storage *storage;
    uint32_t issued, under_way; /* sectors, commands */
    int err;
};

/* A piece of a disk, in sectors. */
struct extent { uint64_t sector, sectors; };

struct storage;

/* Until `done` is called the request and its pages are the driver's. -EINVAL: its range; -EROFS. Any processor. */
int storage_submit(struct storage *s, struct storage_request *r);
/* What is over. Boot processor, outside of the EPTs, often. True while something is under way. */
bool storage_poll(void);

uint64_t storage_sectors(const struct storage *s);
/* Bytes: the least that can be read or written, 512 to 4096. */
uint32_t storage_block(const struct storage *s);
bool storage_readonly(const struct storage *s);
/* Do they have a sector in common? */
bool storage_overlaps(const struct storage *a, const struct storage *b);
