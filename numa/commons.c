/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "numa/commons.h"
#include "lib/errno.h"
#include "lib/spinlock.h"
#include "lib/string.h"

/* Locks by stripe of buckets; a pmap's lock may be held outside, a node's is taken inside. */
#define STRIPES 64u
#define PAGES_PER_BUCKET 4
/* Pages that may have equals: so many buckets have so many places in common. */
#define MEETING_BUCKETS 2
#define MEETING_PLACES 4

static uint32_t *buckets;      /* first frame of each chain */
static uint32_t *meeting;      /* frames left by commons_meet */
static uint64_t mask;
static struct spinlock stripes[STRIPES];
static struct hpa zeros[NUMA_MAX_NODES];

int commons_init(void)
{
    struct page_counts c;
    unsigned order = 0;
    struct hpa b, m;

    page_count(NUMA_MAX_NODES, &c);
    while ((PAGE_SIZE << order) / sizeof(uint32_t) < c.total / PAGES_PER_BUCKET)
        order++;
    b = page_alloc_zeroed(0, order, PAGE_HYPERVISOR);
    m = page_alloc_zeroed(0, order + 1, PAGE_HYPERVISOR); /* two places a bucket */
    if (!b.v || !m.v)
        return -ENOMEM;
    buckets = hpa_ptr(b);
    meeting = hpa_ptr(m);
    mask = (PAGE_SIZE << order) / sizeof(uint32_t) - 1;
    for (unsigned n = 0; n < page_nodes(); n++)
        zeros[n] = page_alloc_zeroed(n, PAGE_ORDER_2M, PAGE_ZERO);
    return 0;
}

struct hpa commons_zero(unsigned node)
{
    return zeros[node].v ? zeros[node] : zeros[0];
}

static struct hpa frame_page(uint32_t frame) { return HPA((uint64_t)frame << PAGE_SHIFT); }

static uint64_t bucket_of(uint16_t space, uint32_t key) { return (key ^ space * 0x9e3779b1u) & mask; }

static struct spinlock *lock_of(uint64_t bucket) { return &stripes[bucket % STRIPES]; }

/* A reference to a page that somebody else still holds; false: its last one is just being dropped. */
static bool take(struct mpage *p)
{
    uint32_t refs = atomic_load(&p->refs);

    while (refs && !atomic_compare_exchange_weak(&p->refs, &refs, refs + 1))
        ;
    return refs;
}

static bool same(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    for (unsigned i = 0; i < PAGE_SIZE / sizeof(*x); i++)
        if (x[i] != y[i])
            return false;
    return true;
}

struct hpa commons_get(uint16_t space, uint32_t key, const void *bytes)
{
    uint64_t b = bucket_of(space, key);
    struct hpa found = HPA_NONE;

    spin_lock(lock_of(b));
    for (uint32_t f = buckets[b]; f && !found.v; f = page_of(frame_page(f))->link) {
        struct mpage *p = page_of(frame_page(f));

        if (p->space == space && p->hash == key && same(hpa_ptr(frame_page(f)), bytes) && take(p))
            found = frame_page(f);
    }
    spin_unlock(lock_of(b));
    return found;
}

bool commons_has(uint16_t space, uint32_t key)
{
    uint64_t b = bucket_of(space, key);
    bool found = false;

    spin_lock(lock_of(b));
    for (uint32_t f = buckets[b]; f && !found; f = page_of(frame_page(f))->link) {
        const struct mpage *p = page_of(frame_page(f));

        found = p->space == space && p->hash == key;
    }
    spin_unlock(lock_of(b));
    return found;
}

void commons_add(struct hpa page, uint16_t space, uint32_t key)
{
    uint64_t b = bucket_of(space, key);
    struct mpage *p = page_of(page);

    page_set_kind(page, space == COMMONS_FILES ? PAGE_ORIGIN : PAGE_CONTENT);
    spin_lock(lock_of(b));
    p->space = space;
    p->hash = key;
    p->refs = 1;
    p->link = buckets[b];
    buckets[b] = (uint32_t)(page.v >> PAGE_SHIFT);
    spin_unlock(lock_of(b));
}

void commons_hold(struct hpa page)
{
    atomic_fetch_add(&page_of(page)->refs, 1);
}

/* Lock held. */
static void unlink_page(uint64_t b, struct hpa page)
{
    uint32_t *f = &buckets[b], frame = (uint32_t)(page.v >> PAGE_SHIFT);

    while (*f != frame)
        f = &page_of(frame_page(*f))->link;
    *f = page_of(page)->link;
}

/* If n references are left: takes the page out of its chain, where nobody can find it any more. */
static bool remove_if(struct hpa page, uint32_t n)
{
    struct mpage *p = page_of(page);
    uint64_t b = bucket_of(p->space, p->hash);
    bool last;

    spin_lock(lock_of(b));
    last = atomic_load(&p->refs) == n;
    if (last)
        unlink_page(b, page);
    spin_unlock(lock_of(b));
    return last;
}

void commons_drop(struct hpa page)
{
    if (atomic_fetch_sub(&page_of(page)->refs, 1) > 1)
        return;
    remove_if(page, 0); /* whoever has dropped the last one is alone: nobody takes it from 0 */
    page_free(page, PAGE_ORDER_4K);
}

bool commons_withdraw(struct hpa page)
{
    struct mpage *p = page_of(page);

    if (atomic_load(&p->refs) != 1 || !remove_if(page, 1))
        return false;
    p->hash = 0;
    page_set_kind(page, PAGE_PRIVATE);
    return true;
}

static uint64_t meeting_of(uint16_t space, uint32_t key)
{
    return bucket_of(space, key) / MEETING_BUCKETS * MEETING_PLACES;
}

/* The place where a page of this key was left, or the best one to leave it at. Lock held. */
static uint32_t *place(uint16_t space, uint32_t key)
{
    static _Atomic unsigned turn; /* which one has to go is not always the same: all meet in the end */
    uint64_t first = meeting_of(space, key), best = MEETING_PLACES;

    for (unsigned i = 0; i < MEETING_PLACES; i++) {
        uint32_t frame = meeting[first + i], hash = frame ? page_of(frame_page(frame))->hash : 0;

        if (hash == key)
            return &meeting[first + i];
        if (!frame || meeting_of(space, hash) != first) /* nothing, or something else by now */
            best = i;
    }
    return &meeting[first + (best < MEETING_PLACES ? best : turn++ % MEETING_PLACES)];
}

struct hpa commons_meet(uint16_t space, uint32_t key, struct hpa page, bool leave)
{
    struct spinlock *lock = lock_of(meeting_of(space, key) / MEETING_PLACES);
    struct hpa met;
    uint32_t *at;

    spin_lock(lock);
    at = place(space, key);
    met = frame_page(*at);
    if (!met.v || met.v == page.v || page_of(met)->hash != key)
        met = HPA_NONE;
    if (leave || !met.v)
        *at = (uint32_t)(page.v >> PAGE_SHIFT);
    spin_unlock(lock);
    return met;
}
