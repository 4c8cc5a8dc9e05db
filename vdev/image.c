/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/image.h"
#include "arch/x86/percpu.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "numa/commons.h"
#include "numa/hash.h"
#include "numa/reclaim.h"

#define MAX_IMAGES 128u
#define LEAF_EFFORT 4u         /* numa/reclaim.h */
#define SWEEPS 3u              /* a part, and twice round: then nothing counts as used */

/* In the map: the page's address, and what it is to the cache. A page that is being read is not the commons' yet. */
#define READING 1u
#define USED    2u             /* since the hand came by last */
#define FAILED  4u             /* no page: it could not be read */
#define STALE   8u             /* being read, but it has changed since */
#define IS_PAGE(entry) ((entry) & ~(PAGE_SIZE - 1))

static struct spinlock lock;    /* guards which images there are, and who has them */
static struct image images[MAX_IMAGES];
static _Atomic uint64_t cached_pages; /* of storages */
static uint64_t limit = UINT64_MAX;

void image_set_limit(uint64_t pages) { limit = pages; }

static struct image *find(const void *data, struct storage *storage, uint64_t size)
{
    struct image *found = NULL;

    spin_lock(&lock);
    for (unsigned i = 0; i < MAX_IMAGES && !found; i++) {
        struct image *image = &images[i];

        if (!image->data && !image->storage)
            *image = (struct image){ .data = data, .storage = storage, .size = ALIGN_DOWN(size, 512) };
        if (image->data == data && image->storage == storage)
            found = image;
    }
    spin_unlock(&lock);
    return found;
}

struct image *image_in_memory(const void *data, uint64_t size) { return find(data, NULL, size); }

struct image *image_on(struct storage *storage)
{
    return find(NULL, storage, MIN(storage_sectors(storage), BLOCK_MAP_MAX * 8) * STORAGE_SECTOR);
}

/* Lock held: does a disk have it, or a part of it, that does not go with this? */
static bool is_taken(const struct image *image, bool write)
{
    for (unsigned i = 0; i < MAX_IMAGES && (images[i].data || images[i].storage); i++) {
        const struct image *other = &images[i];

        if (!(write ? other->users : other->writers))
            continue;
        if (other == image || (image->storage && other->storage && storage_overlaps(image->storage, other->storage)))
            return true;
    }
    return false;
}

int image_claim(struct image *image, bool write)
{
    int err;

    if (write && (!image->storage || storage_readonly(image->storage)))
        return -EROFS;
    spin_lock(&lock);
    err = is_taken(image, write) ? -EBUSY : 0;
    image->users += !err;
    image->writers += !err && write;
    spin_unlock(&lock);
    return err;
}

void image_release(struct image *image, bool write)
{
    spin_lock(&lock);
    image->users--;
    if (write)
        image->writers--;
    spin_unlock(&lock);
}

uint32_t image_sectors(const struct image *image, uint64_t block, unsigned blocks)
{
    uint64_t offset = block * IMAGE_BLOCK;

    return (uint32_t)(MIN(blocks * IMAGE_BLOCK, image->size - offset) / STORAGE_SECTOR);
}

static uint64_t count_blocks(const struct image *image) { return (image->size + IMAGE_BLOCK - 1) / IMAGE_BLOCK; }

/*
 * By the hash of what is in it a page is found by those who have its content from elsewhere (commons_has_read). Only one
 * of equals is, so that no chain becomes long, and none of zeros, which need no page.
 */
static uint32_t key_of(const struct image *image, uint64_t block, struct hpa page)
{
    uint32_t hash = page_hash(hpa_ptr(page));

    if (hash != HASH_ZERO && !commons_has(COMMONS_FILES, hash))
        return hash;
    return (uint32_t)(((uint64_t)image + block) * 0x9e3779b97f4a7c15 >> 32) | 1;
}

/* Lock held. The page becomes the commons', its first reference the cache's. */
static void publish(struct image *image, uint64_t block, uint64_t *slot, struct hpa page)
{
    commons_add(page, COMMONS_FILES, key_of(image, block, page));
    *slot = page.v | USED;
    image->pages++;
    if (image->storage)
        atomic_fetch_add(&cached_pages, 1);
}

/* Lock held. */
static void withdraw(struct image *image, uint64_t *slot)
{
    *slot = 0;
    image->pages--;
    if (image->storage)
        atomic_fetch_sub(&cached_pages, 1);
}

/* What is behind the image's end is zero. */
static int copy_block(struct image *image, uint64_t block, uint64_t *slot)
{
    uint64_t offset = block * IMAGE_BLOCK, n = offset < image->size ? MIN(IMAGE_BLOCK, image->size - offset) : 0;
    struct hpa page = page_alloc(cpu_this()->node, PAGE_ORDER_4K, PAGE_PRIVATE);

    if (!page.v)
        return -ENOMEM;
    memcpy(hpa_ptr(page), (const char *)image->data + offset, n);
    memset((char *)hpa_ptr(page) + n, 0, IMAGE_BLOCK - n);
    publish(image, block, slot, page);
    return 0;
}

/* One page of a transfer has come, or has not. */
static void land(struct image *image, uint64_t block, struct hpa page, int err)
{
    uint64_t *slot;
    bool keep;

    spin_lock(&image->lock);
    slot = block_map_slot(&image->cached, block); /* it is there */
    keep = !err && !(*slot & STALE);
    *slot = err ? FAILED : 0;
    if (keep)
        publish(image, block, slot, page);
    spin_unlock(&image->lock);
    atomic_fetch_sub(&image->reading, 1);
    if (err)
        atomic_fetch_add(&image->errors, 1);
    if (!keep)
        page_free(page, PAGE_ORDER_4K);
}

/* After an error each block is read for itself: whoever wants another one shall not suffer. */
static bool read_next(struct transfer *t)
{
    for (; t->at < t->pages; t->at++) {
        t->r.sector = t->block[t->at] * (IMAGE_BLOCK / STORAGE_SECTOR);
        t->r.sectors = image_sectors(t->image, t->block[t->at], 1);
        t->r.page[0] = t->page[t->at];
        if (!transfer_submit(t))
            return true;
        land(t->image, t->block[t->at], t->page[t->at], -EIO);
    }
    return false;
}

static void single_over(struct transfer *t, int err)
{
    land(t->image, t->block[t->at], t->page[t->at], err);
    t->at++;
    if (!read_next(t))
        transfer_put(t);
}

static void fill_over(struct transfer *t, int err)
{
    if (err && t->pages > 1) {
        t->over = single_over;
        if (read_next(t))
            return;
    } else {
        for (unsigned i = 0; i < t->pages; i++)
            land(t->image, t->block[i], t->page[i], err);
    }
    transfer_put(t);
}

/* Lock held: pages for blocks that are neither there nor on their way, as many as follow each other. */
static void gather(struct image *image, struct transfer *t, uint64_t block, uint64_t blocks)
{
    while (t->pages < STORAGE_MAX_PAGES && t->pages < blocks) {
        uint64_t *slot = block_map_slot(&image->cached, block + t->pages);
        struct hpa page;

        if (!slot || (*slot && *slot != FAILED))
            return;
        page = page_alloc(cpu_this()->node, PAGE_ORDER_4K, PAGE_PRIVATE);
        if (!page.v)
            return;
        *slot = page.v | READING;
        t->block[t->pages] = block + t->pages;
        t->page[t->pages] = t->r.page[t->pages] = page;
        t->pages++;
    }
}

static void undo(struct image *image, struct transfer *t)
{
    for (unsigned i = 0; i < t->pages; i++) {
        *block_map_slot(&image->cached, t->block[i]) = FAILED;
        page_free(t->page[i], PAGE_ORDER_4K);
    }
    atomic_fetch_sub(&image->reading, t->pages);
    transfer_put(t);
}

/* Lock held: starts to read from this block on; how many blocks, or -EBUSY (no transfer), -ENOMEM, -EIO. */
static int64_t read_some(struct image *image, uint64_t block, uint64_t blocks, bool spare)
{
    struct transfer *t = transfer_get(spare);
    uint32_t sectors;

    if (!t)
        return -EBUSY;
    gather(image, t, block, MIN(blocks, count_blocks(image) - block));
    if (!t->pages) {
        transfer_put(t);
        return -ENOMEM;
    }
    t->image = image;
    t->storage = image->storage;
    t->over = fill_over;
    sectors = image_sectors(image, block, t->pages);
    if (sectors % 8) /* the image ends inside the last page */
        memset(hpa_ptr(t->page[t->pages - 1]), 0, IMAGE_BLOCK);
    t->r.op = STORAGE_READ;
    t->r.sector = block * (IMAGE_BLOCK / STORAGE_SECTOR);
    t->r.sectors = sectors;
    atomic_fetch_add(&image->reading, t->pages);
    if (transfer_submit(t)) {
        undo(image, t);
        return -EIO;
    }
    return t->pages;
}

/* Lock held: all that is missing of these blocks. -EAGAIN: the first is on its way. */
static int read_blocks(struct image *image, uint64_t block, uint64_t blocks, bool spare)
{
    uint64_t end = MIN(block + blocks, count_blocks(image)), at = block;
    int64_t n = 0;

    while (at < end) {
        uint64_t entry = block_map_get(&image->cached, at);

        if (IS_PAGE(entry)) {
            at++;
            continue;
        }
        n = read_some(image, at, end - at, spare || at > block);
        if (n < 0)
            break;
        at += (uint64_t)n;
    }
    return at == block ? (int)n : -EAGAIN;
}

static int find_page(struct image *image, uint64_t block, uint64_t blocks, bool again, struct hpa *page)
{
    uint64_t *slot;
    int err = 0;

    spin_lock(&image->lock);
    slot = block_map_slot(&image->cached, block);
    if (!slot)
        err = -ENOMEM;
    else if (*slot & READING)
        err = -EAGAIN;
    else if (!IS_PAGE(*slot) && image->data)
        err = copy_block(image, block, slot);
    else if (*slot == FAILED && again)
        err = -EIO;
    else if (!IS_PAGE(*slot) && !blocks)
        err = -ENOENT;
    else if (!IS_PAGE(*slot))
        err = read_blocks(image, block, blocks, false);
    if (!err) {
        *slot |= USED;
        *page = HPA(IS_PAGE(*slot));
        commons_hold(*page);
    }
    spin_unlock(&image->lock);
    return err;
}

int image_page(struct image *image, uint64_t block, uint64_t blocks, bool again, struct hpa *page)
{
    unsigned tries = 0;
    int err;

    do {
        err = find_page(image, block, blocks, again, page);
    } while (err == -ENOMEM && reclaim_again(&tries));
    if ((err == -EAGAIN || err == -EBUSY) && atomic_load(&cached_pages) > limit)
        image_let_go(STORAGE_MAX_PAGES);
    return err;
}

unsigned image_pages(struct image *image, uint64_t block, unsigned n, struct pmap_placed *to)
{
    unsigned found = 0;
    uint64_t *slot;

    spin_lock(&image->lock);
    slot = block_map_find(&image->cached, block);
    n = slot ? MIN(n, (unsigned)(BLOCK_MAP_LEAF - block % BLOCK_MAP_LEAF)) : 0;
    for (; found < n && IS_PAGE(*slot) && !(*slot & READING); slot++) {
        *slot |= USED;
        to[found].page = HPA(IS_PAGE(*slot));
        commons_hold(to[found++].page);
    }
    spin_unlock(&image->lock);
    return found;
}

bool image_ahead(struct image *image, uint64_t block, uint64_t blocks)
{
    int err = 0;

    if (!image->storage || block >= count_blocks(image))
        return true;
    if (page_short() || atomic_load(&cached_pages) > limit)
        return false;
    spin_lock(&image->lock);
    if (!IS_PAGE(block_map_get(&image->cached, MIN(block + blocks / 2, count_blocks(image) - 1))))
        err = read_blocks(image, block, blocks, true);
    spin_unlock(&image->lock);
    return !err || err == -EAGAIN;
}

int image_prepare(struct image *image, uint64_t block)
{
    uint64_t *slot;
    int err;

    spin_lock(&image->lock);
    slot = block_map_slot(&image->cached, block);
    err = !slot ? -ENOMEM : *slot & READING ? -EAGAIN : 0;
    spin_unlock(&image->lock);
    return err;
}

void image_put(struct image *image, uint64_t block, struct hpa page)
{
    struct hpa old = HPA_NONE;
    uint64_t *slot;

    spin_lock(&image->lock);
    slot = block_map_slot(&image->cached, block); /* it is there: image_prepare */
    if (*slot & READING) {
        *slot |= STALE; /* who reads may have got what was there before */
    } else {
        old = HPA(IS_PAGE(*slot));
        if (old.v)
            withdraw(image, slot);
        *slot = 0;
        if (page.v)
            publish(image, block, slot, page);
        page = HPA_NONE;
    }
    spin_unlock(&image->lock);
    if (old.v)
        commons_drop(old);
    if (page.v)
        page_free(page, PAGE_ORDER_4K);
}

/* If the cache has the only reference, and nobody has asked for it since the hand came by. Lock held. */
static bool let_go(struct image *image, uint64_t *slot)
{
    struct hpa page = HPA(IS_PAGE(*slot)), copies;

    if (!page.v || (*slot & READING))
        return false;
    if (*slot & USED) {
        *slot &= ~(uint64_t)USED;
        return false;
    }
    if (!commons_withdraw(page, &copies))
        return false;
    commons_free_copies(copies); /* no guest has the page, so none maps them */
    page_free(page, PAGE_ORDER_4K);
    withdraw(image, slot);
    return true;
}

/* The hand goes on to the map's end at most; true: it was there. Lock held. */
static bool sweep(struct image *image, uint64_t pages, unsigned *effort, uint64_t *found)
{
    uint64_t *leaf = NULL;

    while (*found < pages && *effort && (leaf = block_map_leaf(&image->cached, &image->hand))) {
        for (unsigned i = 0; i < BLOCK_MAP_LEAF; i++)
            *found += let_go(image, &leaf[i]);
        image->hand += BLOCK_MAP_LEAF;
        *effort -= MIN(*effort, LEAF_EFFORT);
    }
    if (*found >= pages || !*effort)
        return false;
    image->hand = 0;
    return true;
}

/* Where the looking goes on. */
struct look { unsigned image, sweeps, images; /* images: gone through in vain */ };

/* An image's part, and the step to the next one. Lock of all held. */
static void look_on(struct look *at, uint64_t pages, unsigned *effort, uint64_t *found)
{
    struct image *image = &images[at->image];
    bool is_one = image->data || image->storage, end = true;

    if (is_one) {
        spin_lock(&image->lock);
        end = sweep(image, pages, effort, found);
        spin_unlock(&image->lock);
    }
    if (!end || (is_one && ++at->sweeps < SWEEPS))
        return;
    at->image = is_one ? (at->image + 1) % MAX_IMAGES : 0;
    at->images += is_one;
    at->sweeps = 0;
}

bool image_look(uint64_t pages, unsigned *effort, uint64_t *found)
{
    static struct look at;
    unsigned count = 0;
    bool over;

    spin_lock(&lock);
    while (count < MAX_IMAGES && (images[count].data || images[count].storage))
        count++;
    while (*found < pages && *effort && at.images < count)
        look_on(&at, pages, effort, found);
    over = at.images >= count;
    if (over || *found)
        at.images = 0;
    spin_unlock(&lock);
    return over && !*found;
}

uint64_t image_let_go(uint64_t pages)
{
    uint64_t sum = 0;
    bool over;

    do {
        unsigned effort = UINT32_MAX;
        uint64_t found = 0;

        over = image_look(pages - sum, &effort, &found);
        sum += found;
    } while (!over && sum < pages);
    return sum;
}
