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
static _Atomic uint64_t copy_count; /* of all pages, on other nodes */
static struct hpa zeros[NUMA_MAX_NODES];

int commons_init(void)
{
    struct page_counts c;
    unsigned order;
    struct hpa b, m;

    page_count(NUMA_MAX_NODES, &c);
    order = page_order(c.total / PAGES_PER_BUCKET * sizeof(uint32_t));
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

static uint16_t domain_bit(uint16_t domain) { return domain ? (uint16_t)BIT(domain - COMMONS_DOMAIN) : 0; }

/* Is this a page of the space and key, which the domains have read (0: whoever has)? */
static bool fits(const struct mpage *p, uint16_t space, uint32_t key, uint16_t domains)
{
    return p->space == space && p->hash == key && (atomic_load(&p->domains) & domains) == domains;
}

static struct hpa chain_get(uint16_t space, uint32_t key, uint16_t domains, const void *bytes)
{
    uint64_t b = bucket_of(space, key);
    struct hpa found = HPA_NONE;

    spin_lock(lock_of(b));
    for (uint32_t f = buckets[b]; f && !found.v; f = page_of(frame_page(f))->link) {
        struct mpage *p = page_of(frame_page(f));

        if (fits(p, space, key, domains) && same(hpa_ptr(frame_page(f)), bytes) && take(p))
            found = frame_page(f);
    }
    spin_unlock(lock_of(b));
    return found;
}

struct hpa commons_get(uint16_t space, uint32_t key, const void *bytes)
{
    return chain_get(space, key, 0, bytes);
}

struct hpa commons_get_read(uint16_t domain, uint32_t key, const void *bytes)
{
    return chain_get(COMMONS_FILES, key, domain_bit(domain), bytes);
}

static bool chain_has(uint16_t space, uint32_t key, uint16_t domains)
{
    uint64_t b = bucket_of(space, key);
    bool found = false;

    spin_lock(lock_of(b));
    for (uint32_t f = buckets[b]; f && !found; f = page_of(frame_page(f))->link)
        found = fits(page_of(frame_page(f)), space, key, domains);
    spin_unlock(lock_of(b));
    return found;
}

bool commons_has(uint16_t space, uint32_t key) { return chain_has(space, key, 0); }
bool commons_has_read(uint16_t domain, uint32_t key) { return chain_has(COMMONS_FILES, key, domain_bit(domain)); }

void commons_add(struct hpa page, uint16_t space, uint32_t key)
{
    uint64_t b = bucket_of(space, key);
    struct mpage *p = page_of(page);

    page_set_kind(page, space == COMMONS_FILES ? PAGE_ORIGIN : PAGE_CONTENT);
    spin_lock(lock_of(b));
    p->space = space;
    p->domains = 0;
    p->hash = key;
    p->refs = 1;
    p->link = buckets[b];
    buckets[b] = (uint32_t)(page.v >> PAGE_SHIFT);
    spin_unlock(lock_of(b));
}

static bool is_copy(uint32_t frame) { return frame && page_of(frame_page(frame))->kind == PAGE_REPLICA; }

/* Takes the copies behind *f out of the chain, as a list of their own in front of rest; returns the list. Lock held. */
static uint32_t cut_copies(uint32_t *f, uint32_t rest)
{
    uint32_t first = *f, *end = f;

    if (!is_copy(first))
        return rest;
    while (is_copy(*end))
        end = &page_of(frame_page(*end))->link;
    *f = *end;
    *end = rest;
    return first;
}

/* The page stays the head of a list with its copies. Lock held. */
static void unlink_page(uint64_t b, struct hpa page)
{
    uint32_t *f = &buckets[b], frame = (uint32_t)(page.v >> PAGE_SHIFT), copies;

    while (*f != frame)
        f = &page_of(frame_page(*f))->link;
    copies = cut_copies(&page_of(page)->link, 0);
    *f = page_of(page)->link;
    page_of(page)->link = copies;
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

uint64_t commons_free_copies(struct hpa first)
{
    uint64_t n = 0;

    for (struct hpa next; first.v; first = next, n++) {
        next = frame_page(page_of(first)->link);
        copy_count -= page_of(first)->kind == PAGE_REPLICA;
        page_free(first, PAGE_ORDER_4K);
    }
    return n;
}

/* Whoever has dropped the last reference is alone: nobody takes it from 0. */
void commons_drop_last(struct hpa page)
{
    remove_if(page, 0);
    commons_free_copies(page);
}

bool commons_withdraw(struct hpa page, struct hpa *copies)
{
    struct mpage *p = page_of(page);

    if (atomic_load(&p->refs) != 1 || !remove_if(page, 1))
        return false;
    *copies = frame_page(p->link);
    p->hash = 0;
    page_set_kind(page, PAGE_PRIVATE);
    return true;
}

/* The copy of a page on a node; HPA_NONE: there is none. Lock held. */
static struct hpa copy_on(struct hpa page, unsigned node)
{
    uint32_t f = page_of(page)->link;

    while (is_copy(f) && page_of(frame_page(f))->node != node)
        f = page_of(frame_page(f))->link;
    return is_copy(f) ? frame_page(f) : HPA_NONE;
}

struct hpa commons_on(struct hpa page, unsigned node)
{
    struct mpage *p = page_of(page);
    struct spinlock *lock = lock_of(bucket_of(p->space, p->hash));
    struct hpa copy;

    if (p->node == node)
        return page;
    spin_lock(lock);
    copy = copy_on(page, node);
    spin_unlock(lock);
    return copy.v ? copy : page;
}

uint8_t commons_nodes(struct hpa page)
{
    struct mpage *p = page_of(page);
    struct spinlock *lock = lock_of(bucket_of(p->space, p->hash));
    uint8_t nodes = (uint8_t)BIT(p->node);

    spin_lock(lock);
    for (uint32_t f = p->link; is_copy(f); f = page_of(frame_page(f))->link)
        nodes |= (uint8_t)BIT(page_of(frame_page(f))->node);
    spin_unlock(lock);
    return nodes;
}

/* Filled before anybody can find it. */
static bool add_copy(struct hpa page, unsigned node)
{
    struct mpage *p = page_of(page);
    struct spinlock *lock = lock_of(bucket_of(p->space, p->hash));
    struct hpa copy = page_alloc(node, PAGE_ORDER_4K, PAGE_REPLICA);

    if (!copy.v || page_of(copy)->node != node) {
        if (copy.v)
            page_free(copy, PAGE_ORDER_4K); /* from another node: no help */
        return false;
    }
    memcpy(hpa_ptr(copy), hpa_ptr(page), PAGE_SIZE);
    page_of(copy)->hash = 0; /* nobody's key */
    spin_lock(lock);
    page_of(copy)->link = p->link;
    p->link = (uint32_t)(copy.v >> PAGE_SHIFT);
    spin_unlock(lock);
    copy_count++;
    return true;
}

unsigned commons_copy(struct hpa page, uint8_t nodes)
{
    unsigned n = 0;

    for (unsigned i = 0; i < page_nodes(); i++)
        n += nodes & BIT(i) && add_copy(page, i);
    return n;
}

static uint64_t take_from(uint64_t b, uint32_t *list)
{
    uint64_t n = 0;

    for (uint32_t *f = &buckets[b]; *f; f = &page_of(frame_page(*f))->link) {
        uint32_t before = *list;

        *list = cut_copies(&page_of(frame_page(*f))->link, before);
        for (uint32_t c = *list; c != before; c = page_of(frame_page(c))->link)
            n++;
    }
    return n;
}

struct hpa commons_take_copies(uint64_t pages, uint64_t *bucket, uint64_t n_buckets)
{
    uint64_t b = *bucket, end = copy_count ? MIN(b + n_buckets, mask + 1) : b, n = 0;
    uint32_t list = 0;

    for (; b < end && n < pages; b++) {
        spin_lock(lock_of(b));
        n += take_from(b, &list);
        spin_unlock(lock_of(b));
    }
    *bucket = copy_count && b <= mask ? b : 0;
    return frame_page(list);
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
