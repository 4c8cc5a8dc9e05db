/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "drivers/storage.h"
#include "lib/spinlock.h"

/*
 * Between storage.c and who drives a disk. storage.c keeps what was submitted, cuts it to commands that are within one
 * extent and not longer than the disk takes, starts as many as fit, and gives up on those that take too long. A driver
 * knows one command in each slot. All of it runs on the boot processor.
 */
#define DISKS_MAX       16u
#define DISK_SLOTS      32u
#define DISK_NAME       48u
#define EXTENTS_MAX     65536u /* of a storage */
#define STORAGES_MAX    160u

struct disk_command {
    enum storage_op op;
    uint64_t sector;           /* of 512 bytes; both are multiples of the disk's block */
    uint32_t sectors;
    const struct hpa *page;    /* the data begins offset bytes into the first, and goes on at the start of the next */
    uint32_t offset;           /* a multiple of 512 */
    struct storage_request *request; /* NULL: the slot is free */
    bool running;              /* else it waits to be started again */
    uint64_t started;          /* TSC */
    unsigned resets;           /* it has lived through */
};

struct disk;

struct disk_ops {
    /* The command of a slot; it may be over at once (disk_done). */
    void (*start)(struct disk *d, unsigned slot);
    /* Tells with disk_done what is over, or with disk_lost that the controller has stopped for an error of one. */
    void (*poll)(struct disk *d);
    /* Brings the controller back after a time-out or disk_lost; commands that were under way are forgotten. -EIO. */
    int (*reset)(struct disk *d);
    /* It touches our memory no more, and the firmware may have it back. May be NULL. */
    void (*stop)(struct disk *d);
};

struct disk_counts {
    uint64_t commands, errors, timeouts, resets;
    uint64_t sectors, ticks;   /* of commands that are over, from the start of each to its end */
    uint64_t work;             /* TSC ticks that the driver has had the processor */
};

struct disk {
    char name[DISK_NAME];      /* such as "ata 00:01.1 0" */
    const struct disk_ops *ops;
    void *driver;
    unsigned number;           /* within the controller: position, port, namespace */
    uint64_t sectors;          /* of 512 bytes */
    uint32_t block;            /* bytes: 512 to 4096 */
    bool readonly;
    bool flush_alone;          /* a flush is not done beside other commands */
    unsigned depth;            /* commands at a time, up to DISK_SLOTS */
    uint32_t max_sectors;      /* of a command: a multiple of the block */

    /* storage.c's: */
    struct spinlock lock;      /* of the two: any processor submits */
    struct storage_request *first, *last;
    struct disk_command slot[DISK_SLOTS];
    unsigned busy, waiting;    /* slots: with a command that runs, that has to be started again */
    bool alone;                /* what runs was started again, and nothing beside it */
    bool lost, dead;
    uint64_t rest_until;       /* TSC: the driver does not want to be polled before */
    struct disk_counts counts;
};

/* One more disk of the machine; filled in above the line. -ENOSPC, -EINVAL: its sizes make no sense. */
int disk_add(struct disk *d);
unsigned disk_count(void);
struct disk *disk_at(unsigned n);

/* From poll or start: the command is over. */
void disk_done(struct disk *d, unsigned slot, int err);
/* From poll: one of those that are under way has failed, and nobody knows which. */
void disk_lost(struct disk *d);

/*
 * A storage of these pieces of a disk, one after the other. The array is not needed afterwards; NULL and 0: the whole
 * disk. NULL: a piece is not on the disk, or its bounds are no multiples of the block; or there is no room. Boot
 * processor, before the first request.
 */
struct storage *storage_open(struct disk *d, const struct extent *extent, unsigned extents, bool readonly);
const struct disk *storage_disk(const struct storage *s);

/* Bytes of the command's data in a row from byte `at` on, up to a page's end; *to: where. */
uint32_t disk_piece(const struct disk_command *c, uint32_t at, struct hpa *to);
