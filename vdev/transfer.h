/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "drivers/storage.h"

/*
 * What is under way between storages and pages of ours. There are so many at most, for all disks together: who gets
 * none is tried again when one is over, and something is over soon if all are in use. Pages belong to a transfer until
 * it is over, whatever becomes of the VM that wanted it.
 */
#define TRANSFERS 64u

struct image;

struct transfer {
    struct storage_request r;
    struct storage *storage;
    /* It is over. Boot processor, no lock held; gives the transfer back (transfer_put) or submits it again. */
    void (*over)(struct transfer *t, int err);
    struct image *image;
    void *owner, *wait;        /* over's */
    unsigned pages, at;
    uint64_t block[STORAGE_MAX_PAGES]; /* of the image, or of the disk above it: over's */
    struct hpa page[STORAGE_MAX_PAGES];
    struct transfer *next;
};

/* NULL: all are in use, or with spare less than half are free. Any processor. */
struct transfer *transfer_get(bool spare);
void transfer_put(struct transfer *t);
/* Submits t->r to t->storage. -EIO: it was refused, nothing is under way. Locks of the caller's may be held. */
int transfer_submit(struct transfer *t);
/* How many are not free, and how many were over so far. Any processor. */
unsigned transfer_count(void);
uint64_t transfer_ended(void);
/* Somebody waits for a transfer, or one has ended: what is to be called then, on any processor. Before the first VM. */
void transfer_set_wake(void (*fn)(void));
void transfer_wake(void);
