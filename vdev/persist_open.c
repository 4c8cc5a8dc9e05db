/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/persist_parts.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"
#include "numa/commons.h"

/* Reading a log. All that is in it is checked before it is used: it may be anything. */

#define EMPTY_BLOCKS 32u       /* that are zero in a new log */
#define SAMPLES      64u       /* blocks of the image that identify it */
#define AT_ONCE      16u       /* blocks of the journal */
#define DATA_LEAST   64u

struct opening {
    struct persist *p;
    char *why;
    size_t size;
    struct hpa pages;          /* AT_ONCE of them */
};

static int say(struct opening *o, int err, const char *what)
{
    format(o->why, o->size, "%s", what);
    return err;
}

/* --- with the processor waiting --------------------------------------------------------------------------------- */

static void waits_over(struct transfer *t, int err)
{
    struct persist *p = t->owner;

    p->waits_err = err;
    p->waits_over = true;
}

static int wait_for(struct persist *p, struct storage *storage, enum storage_op op, uint64_t at, uint32_t sectors,
                    struct hpa pages)
{
    struct transfer *t = &p->t;

    t->storage = storage;
    t->owner = p;
    t->over = waits_over;
    t->r.op = op;
    t->r.sector = at * (PAGE_SIZE / STORAGE_SECTOR);
    t->r.sectors = sectors;
    for (unsigned i = 0; i * (PAGE_SIZE / STORAGE_SECTOR) < sectors; i++)
        t->r.page[i] = HPA(pages.v + i * PAGE_SIZE);
    p->waits_over = false;
    if (transfer_submit(t))
        return -EIO;
    while (!*(volatile bool *)&p->waits_over)
        p->wait();
    return p->waits_err ? -EIO : 0;
}

static int read_log(struct persist *p, uint64_t at, unsigned blocks, struct hpa pages)
{
    return wait_for(p, p->area->storage, STORAGE_READ, at, blocks * (uint32_t)(PAGE_SIZE / STORAGE_SECTOR), pages);
}

static int read_image(struct persist *p, struct image *image, uint64_t block, struct hpa *page)
{
    bool again = false;
    int err;

    while ((err = image_page(image, block, 1, again, page)) == -EAGAIN || err == -EBUSY) {
        again = err == -EAGAIN;
        p->wait();
    }
    return err;
}

/* --- which image, and where everything is ----------------------------------------------------------------------- */

static uint64_t image_blocks(const struct persist *p) { return (p->l->image->size + IMAGE_BLOCK - 1) / IMAGE_BLOCK; }

/* What mounting it or installing something would change is among the first blocks; the others are spread. */
static int identify(struct opening *o)
{
    struct persist *p = o->p;
    uint64_t n = image_blocks(p), sum = p->l->image->size;

    for (uint64_t i = 0; i < MIN(n, (uint64_t)SAMPLES); i++) {
        uint64_t block = i < SAMPLES / 8 || n <= SAMPLES ? i : n / SAMPLES * i;
        struct hpa page;

        if (read_image(p, p->l->image, block, &page))
            return say(o, -EIO, "the image cannot be read");
        sum = persist_sum(sum, hpa_ptr(page));
        commons_drop(page);
    }
    p->identity = sum;
    return 0;
}

static int lay_out(struct opening *o)
{
    struct persist *p = o->p;

    p->blocks = storage_sectors(p->area->storage) / (PAGE_SIZE / STORAGE_SECTOR);
    p->leaves = (image_blocks(p) + BLOCK_MAP_LEAF - 1) / BLOCK_MAP_LEAF;
    p->map[0] = HEADERS + PERSIST_JOURNAL;
    p->map[1] = p->map[0] + p->leaves;
    p->data = p->map[1] + p->leaves;
    if (p->leaves > PERSIST_LEAVES)
        return say(o, -EINVAL, "the image is too large for a log (at most 60 GiB)");
    if (p->blocks >= p->data + DATA_LEAST)
        return 0;
    format(o->why, o->size, "its log is too small: expected at least %lu KiB, found %lu",
           (p->data + DATA_LEAST) * (PAGE_SIZE / KIB), p->blocks * (PAGE_SIZE / KIB));
    return -ENOSPC;
}

static bool is_zero(const void *page)
{
    const uint64_t *word = page;

    for (unsigned i = 0; i < PAGE_SIZE / sizeof(*word); i++)
        if (word[i])
            return false;
    return true;
}

/* The sum field counts as 0. */
static bool sum_is_right(void *page, uint64_t *field)
{
    uint64_t sum = *field;

    *field = 0;
    return persist_sum(0, page) == sum;
}

static bool is_header(struct persist_header *h, unsigned place)
{
    return h->magic == PERSIST_MAGIC && sum_is_right(h, &h->sum) && h->generation % HEADERS == place && h->generation;
}

/* The first header ever goes to place 1: if power was lost meanwhile, that one may be anything. */
static int is_new(struct opening *o)
{
    for (unsigned at = 0; at < EMPTY_BLOCKS; at++) {
        if (at == 1)
            continue;
        if (read_log(o->p, at, 1, o->pages))
            return say(o, -EIO, "its log cannot be read");
        if (!is_zero(hpa_ptr(o->pages)))
            return say(o, -EINVAL, "its log is damaged, or none (a new one begins with 128 KiB of zeros)");
    }
    return 0;
}

/* Of the headers that of the highest generation, or one of generation 0 if the log is new. */
static int find_header(struct opening *o)
{
    struct persist *p = o->p;
    struct persist_header *h = hpa_ptr(o->pages);

    memset(p->header, 0, sizeof(*p->header));
    if (read_log(p, 0, HEADERS, o->pages))
        return say(o, -EIO, "its log cannot be read");
    for (unsigned i = 0; i < HEADERS; i++)
        if (is_header(&h[i], i) && h[i].generation > p->header->generation)
            memcpy(p->header, &h[i], sizeof(*h));
    p->generation = p->header->generation;
    return p->generation ? 0 : is_new(o);
}

/* --- what it says ----------------------------------------------------------------------------------------------- */

static bool is_entry(const struct persist *p, uint64_t block, uint64_t at)
{
    return block < image_blocks(p) && (at == LAYER_ZERO || persist_is_data(p, at));
}

static int take_leaf(struct opening *o, uint64_t leaf, const uint64_t *entry)
{
    for (uint64_t i = 0; i < BLOCK_MAP_LEAF; i++) {
        uint64_t block = leaf * BLOCK_MAP_LEAF + i, *slot;

        if (!entry[i])
            continue;
        if (!is_entry(o->p, block, entry[i]))
            return say(o, -EINVAL, "its log is damaged: its map makes no sense");
        slot = block_map_slot(&o->p->stable, block);
        if (!slot)
            return -ENOMEM;
        *slot = entry[i];
    }
    return 0;
}

static int read_map(struct opening *o)
{
    struct persist *p = o->p;
    uint64_t sum = 0;

    for (uint64_t leaf = 0; leaf < p->leaves; leaf++) {
        int err;

        if (!(p->header->leaf[leaf / 8] & BIT(leaf % 8)))
            continue;
        if (read_log(p, persist_map_at(p, p->generation) + leaf, 1, o->pages))
            return say(o, -EIO, "its log cannot be read");
        sum = persist_sum(sum, hpa_ptr(o->pages));
        err = take_leaf(o, leaf, hpa_ptr(o->pages));
        if (err)
            return err;
    }
    return sum == p->header->map_sum ? 0 : say(o, -EINVAL, "its log is damaged: its map has changed");
}

static bool is_record(const struct persist *p, struct persist_record *r, uint64_t number)
{
    return r->magic == PERSIST_RECORD && r->generation == p->generation && r->number == number &&
           r->entries && r->entries <= PERSIST_ENTRIES && sum_is_right(r, &r->sum);
}

static int take_record(struct opening *o, const struct persist_record *r)
{
    for (uint64_t i = 0; i < r->entries; i++) {
        uint64_t *slot;

        if (!is_entry(o->p, r->entry[i].block, r->entry[i].at))
            return say(o, -EINVAL, "its log is damaged: a record makes no sense");
        slot = block_map_slot(&o->p->stable, r->entry[i].block);
        if (!slot)
            return -ENOMEM;
        *slot = r->entry[i].at;
    }
    return 0;
}

/* Up to the first that is none: what follows was never answered for. */
static int read_journal(struct opening *o)
{
    struct persist_record *r = hpa_ptr(o->pages);

    for (uint64_t n = 0; n < PERSIST_JOURNAL; n++) {
        int err = 0;

        if (n % AT_ONCE == 0 && read_log(o->p, HEADERS + n, AT_ONCE, o->pages))
            return say(o, -EIO, "its log cannot be read");
        if (!is_record(o->p, &r[n % AT_ONCE], n))
            return 0;
        err = take_record(o, &r[n % AT_ONCE]);
        if (err)
            return err;
    }
    return 0;
}

static int read_all(struct opening *o, enum persist_how how)
{
    const struct persist_header *h = o->p->header;
    int err;

    if (!h->generation)
        return 0;
    if (h->unfinished && how == PERSIST_OPEN)
        return say(o, -EINVAL, "writing its log into the image was cut short, and has to be done again: disk commit");
    if (h->sectors != o->p->l->image->size / STORAGE_SECTOR || (h->identity != o->p->identity && !h->unfinished))
        return say(o, -EINVAL, "its log is another image's, or the image has changed (disk reset would empty the log)");
    if (h->blocks != o->p->blocks || h->journal != PERSIST_JOURNAL)
        return say(o, -EINVAL, "its log was made for another length");
    err = read_map(o);
    return err ? err : read_journal(o);
}

/* --- from what it says to what the layer has -------------------------------------------------------------------- */

static int take_entry(struct opening *o, uint64_t block, uint64_t at)
{
    struct persist *p = o->p;
    uint64_t *slot = block_map_slot(&p->l->own, block), data = at / PAGE_SIZE;

    if (!slot)
        return -ENOMEM;
    *slot = at;
    if (at == LAYER_ZERO)
        return 0;
    if (p->used[data / 64] & BIT(data % 64))
        return say(o, -EINVAL, "its log is damaged: two blocks are in one place");
    p->used[data / 64] |= BIT(data % 64);
    p->used_count++;
    p->l->pages++;
    return 0;
}

static int fill_layer(struct opening *o)
{
    struct persist *p = o->p;
    uint64_t at = 0, *leaf;

    memset(p->used, 0xff, PAGE_SIZE << p->used_order);
    for (uint64_t i = p->data; i < p->blocks; i++)
        p->used[i / 64] &= ~BIT(i % 64);
    for (; (leaf = block_map_leaf(&p->stable, &at)); at += BLOCK_MAP_LEAF) {
        for (uint64_t i = 0; i < BLOCK_MAP_LEAF; i++) {
            int err = leaf[i] ? take_entry(o, at + i, leaf[i]) : 0;

            if (err)
                return err;
        }
    }
    return 0;
}

static int commit_block(struct opening *o, uint64_t block, uint64_t at)
{
    struct persist *p = o->p;
    struct hpa page = HPA_NONE;
    int err;

    if (at == LAYER_ZERO)
        memset(hpa_ptr(o->pages), 0, PAGE_SIZE);
    else if (read_image(p, p->area, at / PAGE_SIZE, &page))
        return say(o, -EIO, "a block of its log cannot be read; the image has some of them now, the log still has all");
    if (page.v) {
        memcpy(hpa_ptr(o->pages), hpa_ptr(page), PAGE_SIZE);
        commons_drop(page);
    }
    err = image_prepare(p->l->image, block);
    if (!err)
        err = wait_for(p, p->l->image->storage, STORAGE_WRITE, block, image_sectors(p->l->image, block, 1), o->pages);
    if (err)
        return say(o, err, "the image cannot be written; it has some of the blocks now, the log still has all");
    image_put(p->l->image, block, HPA_NONE);
    return 0;
}

/* The map goes to the log as a whole, with a new header and an empty journal. */
static int write_anew(struct opening *o)
{
    struct persist *p = o->p;
    enum stage stage;

    spin_lock(&p->l->lock);
    persist_begin(p, true);
    spin_unlock(&p->l->lock);
    do {
        p->wait();
        spin_lock(&p->l->lock);
        stage = p->stage;
        spin_unlock(&p->l->lock);
    } while (stage != IDLE);
    return p->failures ? say(o, -EIO, "its log cannot be written") : 0;
}

/*
 * The log keeps all until the image has it for good, and says meanwhile that the image is neither the old one nor the
 * new: after a power cut it is done once more.
 */
static int commit_all(struct opening *o)
{
    struct persist *p = o->p;
    uint64_t at = 0, *leaf;
    int err;

    p->unfinished = true;
    err = write_anew(o);
    for (; !err && (leaf = block_map_leaf(&p->stable, &at)); at += BLOCK_MAP_LEAF)
        for (uint64_t i = 0; i < BLOCK_MAP_LEAF && !err; i++)
            err = leaf[i] ? commit_block(o, at + i, leaf[i]) : 0;
    if (!err && wait_for(p, p->l->image->storage, STORAGE_FLUSH, 0, 0, o->pages))
        err = say(o, -EIO, "the image's disk does not flush; the log still has all");
    p->unfinished = false;
    return err;
}

static int open(struct opening *o, enum persist_how how)
{
    struct persist *p = o->p;
    int err = lay_out(o);

    if (!err)
        err = identify(o);
    if (!err)
        err = find_header(o);
    if (!err && how != PERSIST_RESET)
        err = read_all(o, how);
    if (!err && how == PERSIST_COMMIT)
        err = commit_all(o);
    if (!err && how != PERSIST_OPEN) {
        block_map_clear(&p->stable, NULL);
        err = identify(o); /* after a commit it is another image */
    }
    if (!err)
        err = fill_layer(o);
    return err ? err : write_anew(o);
}

/* --- memory ----------------------------------------------------------------------------------------------------- */

static void *new_pages(unsigned order)
{
    struct hpa pages = page_alloc_zeroed(0, order, PAGE_HYPERVISOR);

    return pages.v ? hpa_ptr(pages) : NULL;
}

static void free_pages_of(void *at, unsigned order)
{
    if (at)
        page_free(ptr_hpa(at), order);
}

static struct persist *make(struct layer *l, struct image *area, persist_wait_fn wait)
{
    unsigned order = page_order(sizeof(struct persist));
    struct persist *p = new_pages(order);

    if (!p)
        return NULL;
    p->l = l;
    p->area = area;
    p->wait = wait;
    p->order = order;
    p->used_order = page_order(area->size / PAGE_SIZE / 8 + 8);
    p->used = new_pages(p->used_order);
    p->gather = new_pages(page_order(CHANGES * sizeof(struct change)));
    p->commit = new_pages(page_order(CHANGES * sizeof(struct change)));
    p->header = new_pages(0);
    p->record = new_pages(page_order(RECORDS * PAGE_SIZE));
    return p;
}

void persist_close(struct persist *p)
{
    free_pages_of(p->used, p->used_order);
    free_pages_of(p->gather, page_order(CHANGES * sizeof(struct change)));
    free_pages_of(p->commit, page_order(CHANGES * sizeof(struct change)));
    free_pages_of(p->header, 0);
    free_pages_of(p->record, page_order(RECORDS * PAGE_SIZE));
    block_map_clear(&p->stable, NULL);
    image_release(p->area, true);
    page_free(ptr_hpa(p), p->order);
}

int persist_open(struct layer *l, struct storage *storage, enum persist_how how, persist_wait_fn wait, char *why,
                 size_t size)
{
    struct opening o = { .why = why, .size = size };
    struct image *area = image_on(storage);
    int err = area ? image_claim(area, true) : -ENOSPC;

    if (err)
        return say(&o, err, err == -EBUSY ? "its log is in use" : err == -EROFS ? "its log cannot be written" :
                   "there are too many images");
    o.p = make(l, area, wait);
    if (!o.p) {
        image_release(area, true);
        return say(&o, -ENOMEM, "no memory for its log");
    }
    o.pages = page_alloc(0, page_order(AT_ONCE * PAGE_SIZE), PAGE_HYPERVISOR);
    say(&o, 0, "no memory for its log");
    err = o.pages.v && o.p->used && o.p->gather && o.p->commit && o.p->header && o.p->record ? open(&o, how) : -ENOMEM;
    if (o.pages.v)
        page_free(o.pages, page_order(AT_ONCE * PAGE_SIZE));
    if (err) {
        block_map_clear(&l->own, NULL);
        l->pages = 0;
        persist_close(o.p);
        return err;
    }
    l->log = o.p;
    return 0;
}
