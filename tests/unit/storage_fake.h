/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

/*
 * Storages with a cache that a power cut empties, in place of drivers/storage.c. What is submitted waits until
 * storage_poll, which does a few requests, in an order of chance if fake_shuffle is set. A write goes to the cache, a
 * flush makes all that is in it stay.
 */
#include <stdlib.h>
#include <string.h>

#include "drivers/storage.h"
#include "lib/errno.h"
#include "tests/unit/random.h"

#define FAKE_PENDING 256u
#define FAKE_CACHED  65536u

struct cached_write { struct storage *s; uint64_t sector; uint8_t data[512]; };

struct storage {
    uint8_t *seen, *stays;     /* what reads give; what a power cut leaves */
    uint64_t sectors;
    bool readonly, broken;     /* broken: each request fails */
    uint64_t bad_from, bad_to; /* sectors that cannot be read or written */
    uint64_t reads, writes, flushes, refused;
};

static struct { struct storage *s; struct storage_request *r; } fake_pending[FAKE_PENDING];
static unsigned fake_waiting;
static bool fake_shuffle;
static bool fake_held;         /* storage_poll does nothing */
static struct cached_write *fake_cache; /* in the order in which they were written */
static unsigned fake_cached;
/* Each sector that is written; after a flush data is NULL. */
static void (*fake_step)(struct storage *s, const uint8_t *data, uint64_t sector);

static inline void fake_storage(struct storage *s, uint64_t sectors)
{
    free(s->seen);
    free(s->stays);
    *s = (struct storage){ .seen = calloc(sectors, 512), .stays = calloc(sectors, 512), .sectors = sectors };
    if (!fake_cache)
        fake_cache = malloc(FAKE_CACHED * sizeof(*fake_cache));
}

static inline void fake_storage_fill(struct storage *s, const void *from, size_t n)
{
    memcpy(s->seen, from, n);
    memcpy(s->stays, from, n);
}

uint64_t storage_sectors(const struct storage *s) { return s->sectors; }
uint32_t storage_block(const struct storage *s) { return 512; }
bool storage_readonly(const struct storage *s) { return s->readonly; }

bool storage_overlaps(const struct storage *a, const struct storage *b) { return a == b; }

int storage_submit(struct storage *s, struct storage_request *r)
{
    if (r->op != STORAGE_FLUSH && (!r->sectors || r->sectors > STORAGE_MAX_PAGES * 8 || r->sector >= s->sectors ||
                                   r->sectors > s->sectors - r->sector)) {
        s->refused++;
        return -EINVAL;
    }
    if (r->op == STORAGE_WRITE && s->readonly)
        return -EROFS;
    if (fake_waiting == FAKE_PENDING)
        abort();
    fake_pending[fake_waiting].s = s;
    fake_pending[fake_waiting++].r = r;
    return 0;
}

static inline void fake_write(struct storage *s, uint64_t sector, const uint8_t *from)
{
    struct cached_write *c = &fake_cache[fake_cached++];

    if (fake_cached == FAKE_CACHED)
        abort();
    memcpy(s->seen + sector * 512, from, 512);
    c->s = s;
    c->sector = sector;
    memcpy(c->data, from, 512);
    if (fake_step)
        fake_step(s, from, sector);
}

static inline void fake_flush(struct storage *s)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < fake_cached; i++) {
        if (fake_cache[i].s == s)
            memcpy(s->stays + fake_cache[i].sector * 512, fake_cache[i].data, 512);
        else
            fake_cache[kept++] = fake_cache[i];
    }
    fake_cached = kept;
    s->flushes++;
    if (fake_step)
        fake_step(s, NULL, 0);
}

static inline bool is_bad(const struct storage *s, const struct storage_request *r)
{
    return s->broken || (r->op != STORAGE_FLUSH && r->sector < s->bad_to && r->sector + r->sectors > s->bad_from);
}

static inline void fake_do(struct storage *s, struct storage_request *r)
{
    int err = is_bad(s, r) ? -EIO : 0;

    for (uint32_t i = 0; i < r->sectors && r->op != STORAGE_FLUSH && !err; i++) {
        uint8_t *at = (uint8_t *)r->page[i / 8].v + i % 8 * 512;

        if (r->op == STORAGE_READ)
            memcpy(at, s->seen + (r->sector + i) * 512, 512);
        else
            fake_write(s, r->sector + i, at);
    }
    if (r->op == STORAGE_FLUSH && !err)
        fake_flush(s);
    s->reads += r->op == STORAGE_READ;
    s->writes += r->op == STORAGE_WRITE;
    r->done(r, err);
}

bool storage_poll(void)
{
    unsigned n = fake_shuffle ? 1 + (unsigned)fake_below(4) : fake_waiting;

    for (; n && fake_waiting && !fake_held; n--) {
        unsigned i = fake_shuffle ? (unsigned)fake_below(fake_waiting) : 0;
        struct storage *s = fake_pending[i].s;
        struct storage_request *r = fake_pending[i].r;

        /* A flush is only for what was over before: it may pass others, and they it. */
        fake_waiting--;
        memmove(&fake_pending[i], &fake_pending[i + 1], (fake_waiting - i) * sizeof(fake_pending[0]));
        fake_do(s, r);
    }
    return fake_waiting;
}
