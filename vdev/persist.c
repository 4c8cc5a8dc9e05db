/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/persist_parts.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"

#define LAST_TRIES 3u          /* commits that are tried when the VM has stopped */

_Static_assert(sizeof(struct persist_header) == PAGE_SIZE, "a block");
_Static_assert(sizeof(struct persist_record) == PAGE_SIZE, "a block");

struct image *persist_image(const struct persist *p) { return p->area; }

uint64_t persist_sum(uint64_t before, const void *page)
{
    const uint64_t *word = page;
    uint64_t sum = before + 1;

    for (unsigned i = 0; i < PAGE_SIZE / sizeof(*word); i++) {
        sum = (sum ^ word[i]) * 0x9e3779b97f4a7c15;
        sum ^= sum >> 32;
    }
    return sum;
}

/* --- data blocks ------------------------------------------------------------------------------------------------ */

static void set_free(struct persist *p, uint64_t block)
{
    p->used[block / 64] &= ~BIT(block % 64);
    p->used_count--;
}

/* 0: none is free. */
static uint64_t find_free(struct persist *p)
{
    uint64_t words = (p->blocks + 63) / 64;

    for (uint64_t n = 0; n < words; n++) {
        uint64_t word = (p->rotor + n) % words, block;

        if (!~p->used[word])
            continue;
        block = word * 64 + (unsigned)__builtin_ctzll(~p->used[word]);
        p->rotor = word;
        p->used[word] |= BIT(block % 64);
        p->used_count++;
        return block;
    }
    return 0;
}

/* A commit has to be over first; one that has failed since the request began to wait is its error. */
static int blocked(struct persist *p, uint64_t *ticket)
{
    if (!*ticket)
        *ticket = p->failures + 1;
    else if (*ticket != p->failures + 1)
        return -EIO;
    persist_begin(p, false);
    return -EAGAIN;
}

/* Room for one more change, and for it in the map. */
static int reserve(struct persist *p, uint64_t block, uint64_t *ticket)
{
    if (p->failed)
        return -EIO;
    if (p->gathered + p->reserved >= CHANGES)
        return blocked(p, ticket);
    if (!block_map_make(&p->stable, block))
        return -ENOMEM;
    p->reserved++;
    return 0;
}

int persist_take(struct persist *p, uint64_t block, uint64_t *ticket, uint64_t *at)
{
    int err = reserve(p, block, ticket);

    if (err)
        return err;
    *at = find_free(p);
    if (*at)
        return 0;
    p->reserved--;
    if (p->dying)
        return blocked(p, ticket);
    return p->reserved ? -EAGAIN : -ENOSPC;
}

void persist_cancel(struct persist *p, uint64_t at)
{
    p->reserved--;
    set_free(p, at);
}

/* There is room: it was reserved. */
static void change(struct persist *p, uint64_t block, uint64_t at)
{
    uint64_t *own = block_map_slot(&p->l->own, block);
    struct change *c = &p->gather[p->gathered++];

    p->reserved--;
    *c = (struct change){ block, at, LAYER_AT(*own) / PAGE_SIZE };
    p->dying += c->old != 0;
    p->l->pages += (LAYER_AT(at) != 0) - (c->old != 0);
    *own = at;
}

void persist_wrote(struct persist *p, uint64_t block, uint64_t at, int err)
{
    if (err)
        persist_cancel(p, at);
    else
        change(p, block, at * PAGE_SIZE);
}

int persist_zero(struct persist *p, uint64_t block, uint64_t *ticket)
{
    int err;

    if (block_map_get(&p->l->own, block) & LAYER_ZERO)
        return 0;
    err = reserve(p, block, ticket);
    if (!err)
        change(p, block, LAYER_ZERO);
    return err;
}

/* --- commits ---------------------------------------------------------------------------------------------------- */

static void end_commit(struct persist *p, bool good)
{
    p->stage = IDLE;
    if (!good) {
        p->failures++;
        return;
    }
    for (unsigned i = 0; i < p->committing; i++) {
        if (!p->commit[i].old)
            continue;
        set_free(p, p->commit[i].old);
        p->dying--;
    }
    p->committing = 0;
    p->good = p->swaps;
    p->commits++;
}

static void fail(struct persist *p)
{
    if (p->stage >= HEADER) {
        p->failed = true;
        log_warn("a disk's log could not be given a new header: the disk cannot be written until its VM is reset");
    }
    end_commit(p, false);
}

static void advance(struct persist *p);

static void commit_over(struct transfer *t, int err)
{
    struct persist *p = t->owner;
    struct layer *l = p->l;

    spin_lock(&l->lock);
    l->in_flight--;
    if (err)
        fail(p);
    else
        advance(p);
    spin_unlock(&l->lock);
}

/* The next step is under way. blocks: pages in p->t, 0 for a flush. */
static void send(struct persist *p, enum stage stage, uint64_t at, unsigned blocks)
{
    p->stage = stage;
    p->t.storage = p->area->storage;
    p->t.over = commit_over;
    p->t.owner = p;
    p->t.r.op = blocks ? STORAGE_WRITE : STORAGE_FLUSH;
    p->t.r.sector = at * (PAGE_SIZE / STORAGE_SECTOR);
    p->t.r.sectors = blocks * (uint32_t)(PAGE_SIZE / STORAGE_SECTOR);
    p->l->in_flight++;
    if (!transfer_submit(&p->t))
        return;
    p->l->in_flight--;
    fail(p);
}

/* How many there are. */
static unsigned make_records(struct persist *p)
{
    unsigned n = 0;

    for (unsigned i = 0; i < p->committing; n++) {
        struct persist_record *r = &p->record[n];

        memset(r, 0, sizeof(*r));
        r->magic = PERSIST_RECORD;
        r->generation = p->generation;
        r->number = p->number + n;
        for (; r->entries < PERSIST_ENTRIES && i < p->committing; i++)
            r->entry[r->entries++] = (struct persist_entry){ p->commit[i].block, p->commit[i].at };
        r->sum = persist_sum(0, r);
        p->t.r.page[n] = ptr_hpa(r);
    }
    return n;
}

static void start_leaves(struct persist *p)
{
    struct persist_header *h = p->header;

    memset(h, 0, sizeof(*h));
    h->magic = PERSIST_MAGIC;
    h->generation = p->generation + 1;
    h->sectors = p->l->image->size / STORAGE_SECTOR;
    h->identity = p->identity;
    h->blocks = p->blocks;
    h->journal = PERSIST_JOURNAL;
    h->unfinished = p->unfinished;
    p->leaf = 0;
}

/* The next leaves that follow each other; false: there are none. */
static bool send_leaves(struct persist *p)
{
    struct persist_header *h = p->header;
    uint64_t *leaf = block_map_leaf(&p->stable, &p->leaf), first = p->leaf / BLOCK_MAP_LEAF, at = p->leaf;
    unsigned n = 0;

    while (leaf && at == p->leaf && n < STORAGE_MAX_PAGES) {
        h->leaf[(first + n) / 8] |= (uint8_t)BIT((first + n) % 8);
        h->map_sum = persist_sum(h->map_sum, leaf);
        p->t.r.page[n++] = ptr_hpa(leaf);
        p->leaf = at += BLOCK_MAP_LEAF;
        leaf = block_map_leaf(&p->stable, &at);
    }
    if (n)
        send(p, LEAVES, persist_map_at(p, h->generation) + first, n);
    return n;
}

static void send_header(struct persist *p)
{
    p->header->sum = persist_sum(0, p->header);
    p->t.r.page[0] = ptr_hpa(p->header);
    send(p, HEADER, p->header->generation % HEADERS, 1);
}

static void after_data(struct persist *p)
{
    unsigned records = (p->committing + PERSIST_ENTRIES - 1) / PERSIST_ENTRIES;

    p->checkpoint |= p->number + records > PERSIST_JOURNAL;
    if (!p->checkpoint) {
        send(p, RECORD, HEADERS + p->number, make_records(p));
        return;
    }
    start_leaves(p);
    if (!send_leaves(p))
        send(p, FLUSH, 0, 0);
}

static void after_flush(struct persist *p)
{
    if (p->checkpoint) {
        send_header(p);
        return;
    }
    p->number += (p->committing + PERSIST_ENTRIES - 1) / PERSIST_ENTRIES;
    end_commit(p, true);
}

/* The storage has done a step. */
static void advance(struct persist *p)
{
    switch (p->stage) {
    case IDLE:
        break;
    case DATA:
        after_data(p);
        break;
    case LEAVES:
        if (send_leaves(p))
            break;
        /* fall through */
    case RECORD:
        send(p, FLUSH, 0, 0);
        break;
    case FLUSH:
        after_flush(p);
        break;
    case HEADER:
        send(p, HEADER_FLUSH, 0, 0);
        break;
    case HEADER_FLUSH:
        p->generation++;
        p->number = 0;
        p->checkpoints++;
        end_commit(p, true);
        break;
    }
}

void persist_begin(struct persist *p, bool checkpoint)
{
    if (p->stage != IDLE || p->failed)
        return;
    if (!p->committing) { /* else the last one has failed, and is tried again */
        struct change *empty = p->commit;

        p->commit = p->gather;
        p->gather = empty;
        p->committing = p->gathered;
        p->gathered = 0;
        p->swaps++;
        for (unsigned i = 0; i < p->committing; i++)
            *block_map_slot(&p->stable, p->commit[i].block) = p->commit[i].at;
    }
    p->checkpoint = checkpoint;
    send(p, DATA, 0, 0);
}

/* A ticket: which swap it waits for, and how often commits had failed when it came. */
int persist_flush(struct persist *p, uint64_t *ticket)
{
    if (p->failed)
        return -EIO;
    if (!*ticket) {
        if (!p->gathered && !p->committing)
            return 0;
        *ticket = (p->swaps + (p->gathered != 0)) << 16 | (p->failures & 0xffff);
    }
    if (p->good >= *ticket >> 16)
        return 0;
    if ((p->failures & 0xffff) != (*ticket & 0xffff))
        return -EIO;
    persist_begin(p, false);
    return -EAGAIN;
}

bool persist_quiet(struct persist *p)
{
    if (p->stage != IDLE)
        return false;
    if (p->failed || (!p->gathered && !p->committing) || p->tries++ == LAST_TRIES)
        return true;
    persist_begin(p, false);
    return false;
}

void persist_count(const struct persist *p, struct persist_figures *out)
{
    *out = (struct persist_figures){
        .blocks = p->blocks - p->data, .used = p->used_count, .commits = p->commits, .checkpoints = p->checkpoints,
        .generation = p->generation, .failed = p->failed,
    };
}
