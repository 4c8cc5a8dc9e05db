/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/transfer.h"
#include "lib/errno.h"
#include "lib/spinlock.h"

static struct spinlock lock;    /* guards the next three; nothing is taken inside */
static struct transfer transfers[TRANSFERS], *free_ones;
static unsigned touched, in_use; /* those beyond touched were never used */
static _Atomic uint64_t ended;

struct transfer *transfer_get(bool spare)
{
    struct transfer *t = NULL;

    spin_lock(&lock);
    if (in_use < (spare ? TRANSFERS / 2 : TRANSFERS)) {
        t = free_ones;
        if (t)
            free_ones = t->next;
        else
            t = &transfers[touched++];
        in_use++;
    }
    spin_unlock(&lock);
    if (t) {
        t->pages = t->at = 0;
        t->image = NULL;
        t->owner = t->wait = NULL;
    }
    return t;
}

void transfer_put(struct transfer *t)
{
    spin_lock(&lock);
    t->next = free_ones;
    free_ones = t;
    in_use--;
    spin_unlock(&lock);
}

static void (*wake)(void);

void transfer_set_wake(void (*fn)(void)) { wake = fn; }

void transfer_wake(void)
{
    if (wake)
        wake();
}

static void done(struct storage_request *r, int err)
{
    struct transfer *t = container_of(r, struct transfer, r);

    t->over(t, err);
    atomic_fetch_add(&ended, 1);
    transfer_wake();
}

int transfer_submit(struct transfer *t)
{
    t->r.done = done;
    t->r.next = NULL;
    return storage_submit(t->storage, &t->r) ? -EIO : 0;
}

unsigned transfer_count(void)
{
    unsigned n;

    spin_lock(&lock);
    n = in_use;
    spin_unlock(&lock);
    return n;
}

uint64_t transfer_ended(void) { return atomic_load(&ended); }
