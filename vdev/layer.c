/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/layer.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "numa/commons.h"
#include "numa/reclaim.h"
#include "vdev/persist.h"

#define AHEAD_MAX 128u         /* blocks */

/* A part of one block, and what it is copied from or to. */
struct part {
    uint64_t block;
    size_t from, n;            /* bytes inside the block */
    struct gpa gpa;
    bool zeros;                /* instead of guest memory */
    struct layer_io *io;
};

static void *page_ptr(uint64_t entry) { return hpa_ptr(HPA(LAYER_AT(entry))); }

static void count(_Atomic uint64_t *n, uint64_t more) { atomic_fetch_add_explicit(n, more, memory_order_relaxed); }

/* Where a block that is not zero is read from, if not from a page of the layer's. */
static struct image *where(const struct layer *l, uint64_t entry, uint64_t *block)
{
    if (!l->log || !LAYER_AT(entry))
        return l->image;
    *block = LAYER_AT(entry) / IMAGE_BLOCK;
    return persist_image(l->log);
}

/* Lock held: of so many blocks, how many follow each other on a storage. */
static uint64_t run_of(const struct layer *l, uint64_t block, uint64_t most)
{
    uint64_t first = block, at = block, n = 1;
    const uint64_t *leaf = block_map_leaf(&l->own, &at);
    const struct image *image;

    if (!leaf || at >= block + most) /* nothing of it was written */
        return most;
    for (image = where(l, block_map_get(&l->own, block), &first); n < most; n++) {
        uint64_t entry = block_map_get(&l->own, block + n);

        at = block + n;
        if ((entry & (LAYER_ZERO | LAYER_BUSY)) || where(l, entry, &at) != image || at != first + n)
            break;
    }
    return n;
}

/* A block of a storage or of an image in memory, with those that the request wants behind it. */
static int fetch(struct image *image, uint64_t block, uint64_t blocks, struct layer_wait *w, struct hpa *page)
{
    int err = image_page(image, block, blocks, w->image == image && w->block == block, page);

    w->image = err == -EAGAIN ? image : NULL;
    w->block = block;
    return err == -EBUSY ? -EAGAIN : err;
}

/* The page is the image's or the log's; its reference is used up. */
static int copy_from(struct layer *l, struct hpa page, struct pmap *pmap, struct gpa to, size_t from, size_t n)
{
    int err = pmap_write(pmap, to, (char *)hpa_ptr(page) + from, n);

    count(&l->copied, 1);
    commons_drop(page);
    return err;
}

/* What was found and is not wanted after all. */
static void drop_found(struct layer_io *io)
{
    while (io->found > io->gathered)
        commons_drop(io->page[--io->found].page);
}

/* All that is gathered takes its places; what cannot be placed is copied. The first error. */
static int place_gathered(struct layer *l, struct layer_io *io)
{
    unsigned n = io->gathered, done = 0;
    int err = 0;

    drop_found(io);
    io->gathered = io->found = 0;
    while (done < n) {
        unsigned placed = pmap_place_pages(io->pmap, &io->page[done], n - done, io->node);

        count(&l->placed, placed);
        done += placed;
        if (done < n) {
            const struct pmap_placed *p = &io->page[done++];
            int failed = copy_from(l, p->page, io->pmap, p->gpa, 0, IMAGE_BLOCK);

            err = err ? err : failed;
        }
    }
    return err;
}

/* The page is the image's or the log's; its reference is used up. */
static int give(struct layer *l, struct hpa page, const struct part *p)
{
    struct layer_io *io = p->io;

    if (!io->share || p->n < IMAGE_BLOCK)
        return copy_from(l, page, io->pmap, p->gpa, p->from, p->n);
    drop_found(io);
    io->page[io->gathered++] = (struct pmap_placed){ p->gpa, page };
    io->found = io->gathered;
    return io->gathered == PMAP_PLACE_MOST ? place_gathered(l, io) : 0;
}

/* One that is zero, or that it has in memory. */
static int read_own(struct layer *l, uint64_t entry, const struct part *p)
{
    if (entry & LAYER_ZERO)
        return pmap_zero(p->io->pmap, p->gpa, p->n);
    count(&l->copied, 1);
    return pmap_write(p->io->pmap, p->gpa, (char *)page_ptr(entry) + p->from, p->n);
}

/* Lock held, so that a block of the log is not another's meanwhile. */
static int find_block(struct layer *l, uint64_t entry, const struct part *p, struct hpa *page)
{
    uint64_t block = p->block, blocks;
    struct image *image = where(l, entry, &block);
    int err;

    if (entry & LAYER_BUSY)
        return -EAGAIN;
    err = fetch(image, block, 0, p->io->wait, page);
    if (err != -ENOENT)
        return err;
    blocks = run_of(l, p->block, (p->from + p->io->ahead + IMAGE_BLOCK - 1) / IMAGE_BLOCK);
    return fetch(image, block, blocks, p->io->wait, page);
}

static int read_part(struct layer *l, const struct part *p)
{
    struct hpa page = HPA_NONE;
    uint64_t entry;
    int err;

    spin_lock(&l->lock);
    entry = block_map_get(&l->own, p->block);
    if ((entry & LAYER_ZERO) || (LAYER_AT(entry) && !l->log))
        err = read_own(l, entry, p);
    else
        err = find_block(l, entry, p, &page);
    spin_unlock(&l->lock);
    return page.v ? give(l, page, p) : err;
}

static int fill_part(char *block, const struct part *p)
{
    if (!p->zeros)
        return pmap_read(p->io->pmap, p->gpa, block + p->from, p->n);
    memset(block + p->from, 0, p->n);
    return 0;
}

/* What a block holds before it is written. */
static int fill_rest(struct layer *l, uint64_t entry, uint64_t block, struct layer_wait *w, char *to)
{
    struct hpa page;
    struct image *image = where(l, entry, &block);
    int err;

    if (entry & LAYER_ZERO) {
        memset(to, 0, IMAGE_BLOCK);
        return 0;
    }
    err = fetch(image, block, 1, w, &page);
    if (!err) {
        memcpy(to, hpa_ptr(page), IMAGE_BLOCK);
        commons_drop(page);
    }
    return err;
}

/* A page with the block as it will be. The layer's lock is above all that reclaim takes. */
static int new_content(struct layer *l, uint64_t entry, const struct part *p, enum page_kind kind, struct hpa *page)
{
    unsigned tries = 0;
    int err = 0;

    do {
        *page = page_alloc(p->io->pmap->home, PAGE_ORDER_4K, kind);
    } while (!page->v && reclaim_again(&tries));
    if (!page->v)
        return -ENOMEM;
    if (p->n < IMAGE_BLOCK)
        err = fill_rest(l, entry, p->block, p->io->wait, hpa_ptr(*page));
    if (!err)
        err = fill_part(hpa_ptr(*page), p);
    if (err)
        page_free(*page, PAGE_ORDER_4K);
    return err;
}

/* --- in memory -------------------------------------------------------------------------------------------------- */

static int write_memory(struct layer *l, uint64_t *slot, const struct part *p)
{
    struct hpa page;
    int err;

    if (LAYER_AT(*slot))
        return fill_part(page_ptr(*slot), p);
    err = new_content(l, *slot, p, PAGE_HYPERVISOR, &page);
    if (err)
        return err;
    *slot = page.v;
    l->pages++;
    return 0;
}

static void free_entry(uint64_t entry)
{
    if (LAYER_AT(entry))
        page_free(HPA(LAYER_AT(entry)), PAGE_ORDER_4K);
}

static void zero_memory(struct layer *l, uint64_t *slot)
{
    free_entry(*slot);
    l->pages -= LAYER_AT(*slot) != 0;
    *slot = LAYER_ZERO;
}

/* --- to a storage ----------------------------------------------------------------------------------------------- */

/* Lock held. All blocks of a transfer are where they were to go, or may be. */
static void wrote(struct layer *l, struct transfer *t, int err)
{
    struct layer_wait *w = t->wait;
    uint64_t first = t->r.sector / (IMAGE_BLOCK / STORAGE_SECTOR);

    for (unsigned i = 0; i < t->pages; i++) {
        uint64_t *slot = block_map_slot(&l->own, t->block[i]); /* it is there */

        *slot &= ~(uint64_t)LAYER_BUSY;
        image_put(t->image, first + i, err ? HPA_NONE : t->page[i]);
        if (err)
            page_free(t->page[i], PAGE_ORDER_4K);
        if (l->log)
            persist_wrote(l->log, t->block[i], first + i, err);
    }
    if (err) {
        atomic_fetch_add(&t->image->errors, t->pages);
        atomic_store(&w->error, -EIO);
    }
    l->in_flight--;
    transfer_put(t);
    atomic_fetch_sub(&w->pending, 1);
}

static void write_over(struct transfer *t, int err)
{
    struct layer *l = t->owner;

    spin_lock(&l->lock);
    wrote(l, t, err);
    spin_unlock(&l->lock);
}

/* Lock held. */
static void issue(struct layer *l, struct layer_io *io)
{
    struct transfer *t = io->open;

    io->open = NULL;
    if (!t)
        return;
    if (!t->pages) {
        transfer_put(t);
        return;
    }
    t->r.op = STORAGE_WRITE;
    t->r.sectors = image_sectors(t->image, t->r.sector / (IMAGE_BLOCK / STORAGE_SECTOR), t->pages);
    t->owner = l;
    t->wait = io->wait;
    t->over = write_over;
    l->in_flight++;
    atomic_fetch_add(&io->wait->pending, 1);
    if (transfer_submit(t))
        wrote(l, t, -EIO);
}

int layer_end(struct layer *l, struct layer_io *io)
{
    if (io->open) {
        spin_lock(&l->lock);
        issue(l, io);
        spin_unlock(&l->lock);
    }
    return io->found ? place_gathered(l, io) : 0;
}

/* Lock held: a transfer to which a block at this place can be added. */
static int open_at(struct layer *l, struct layer_io *io, struct image *image, uint64_t at)
{
    struct transfer *t = io->open;

    if (t && (t->image != image || t->pages == STORAGE_MAX_PAGES ||
              t->r.sector + t->pages * (IMAGE_BLOCK / STORAGE_SECTOR) != at * (IMAGE_BLOCK / STORAGE_SECTOR)))
        issue(l, io);
    if (io->open)
        return 0;
    t = io->open = transfer_get(false);
    if (!t)
        return -EAGAIN;
    t->image = image;
    t->storage = image->storage;
    t->r.sector = at * (IMAGE_BLOCK / STORAGE_SECTOR);
    return 0;
}

/* Lock held. The block goes to its place in image. */
static int send(struct layer *l, uint64_t *slot, const struct part *p, struct image *image, uint64_t at)
{
    struct transfer *t;
    struct hpa page;
    int err = image_prepare(image, at);

    if (!err)
        err = new_content(l, *slot, p, PAGE_PRIVATE, &page);
    if (err)
        return err;
    err = open_at(l, p->io, image, at);
    if (err) {
        page_free(page, PAGE_ORDER_4K);
        return err;
    }
    t = p->io->open;
    t->block[t->pages] = p->block;
    t->page[t->pages] = t->r.page[t->pages] = page;
    t->pages++;
    *slot |= LAYER_BUSY;
    return 0;
}

/* Two segments may each have a part of a block. */
static bool add_to_last(const struct part *p, int *err)
{
    const struct transfer *t = p->io->open;

    if (!t || !t->pages || t->block[t->pages - 1] != p->block)
        return false;
    *err = fill_part(hpa_ptr(t->page[t->pages - 1]), p);
    return true;
}

static int write_storage(struct layer *l, uint64_t *slot, const struct part *p)
{
    uint64_t at = p->block;
    int err = -EAGAIN;

    if ((*slot & LAYER_BUSY) && !add_to_last(p, &err))
        return -EAGAIN;
    if (*slot & LAYER_BUSY)
        return err;
    if (!l->log)
        return send(l, slot, p, l->image, at);
    err = persist_take(l->log, p->block, &p->io->wait->ticket, &at);
    if (err)
        return err;
    err = send(l, slot, p, persist_image(l->log), at);
    if (err)
        persist_cancel(l->log, at);
    return err;
}

/* --- requests --------------------------------------------------------------------------------------------------- */

static bool in_memory(const struct layer *l) { return !l->exclusive && !l->log; }

static int write_part(struct layer *l, const struct part *p)
{
    uint64_t *slot;
    int err;

    spin_lock(&l->lock);
    slot = block_map_make(&l->own, p->block);
    err = !slot ? -ENOMEM : in_memory(l) ? write_memory(l, slot, p) : write_storage(l, slot, p);
    spin_unlock(&l->lock);
    return err;
}

static int zero_block(struct layer *l, const struct part *p)
{
    uint64_t *slot;
    int err = 0;

    spin_lock(&l->lock);
    slot = block_map_make(&l->own, p->block);
    if (!slot)
        err = -ENOMEM;
    else if (!l->log)
        zero_memory(l, slot);
    else
        err = *slot & LAYER_BUSY ? -EAGAIN : persist_zero(l->log, p->block, &p->io->wait->ticket);
    spin_unlock(&l->lock);
    return err;
}

static int zero_part(struct layer *l, const struct part *p)
{
    return p->n == IMAGE_BLOCK && !l->exclusive ? zero_block(l, p) : write_part(l, p);
}

/* A log only forgets what it has: to say it of all that was never written would fill it. */
static bool has_own(struct layer *l, uint64_t block)
{
    bool own;

    spin_lock(&l->lock);
    own = block_map_get(&l->own, block) & ~(uint64_t)LAYER_ZERO;
    spin_unlock(&l->lock);
    return own;
}

static int discard_part(struct layer *l, const struct part *p)
{
    if (p->n < IMAGE_BLOCK || l->exclusive || (l->log && !has_own(l, p->block)))
        return 0;
    return zero_block(l, p);
}

typedef int (*part_fn)(struct layer *l, const struct part *p);

/* Runs over n bytes in parts, each inside one block and one page. */
static int each_part(struct layer *l, uint64_t at, uint64_t n, struct part p, part_fn fn, uint64_t *done)
{
    int err = 0;

    for (*done = 0; *done < n; *done += p.n) {
        p.block = (at + *done) / IMAGE_BLOCK;
        p.from = (at + *done) % IMAGE_BLOCK;
        p.n = MIN(n - *done, IMAGE_BLOCK - MAX(p.from, p.gpa.v % PAGE_SIZE));
        err = fn(l, &p);
        if (err)
            break;
        p.gpa.v += p.zeros ? 0 : p.n;
        p.io->ahead -= p.n;
    }
    return err;
}

/* Lock held: of so many blocks, how many follow each other in the image or the log, none of them in memory. */
static unsigned run_to_place(const struct layer *l, uint64_t block, unsigned most, struct image **image, uint64_t *at)
{
    uint64_t start = block;
    const uint64_t *leaf = block_map_leaf(&l->own, &start);
    unsigned n = 0;

    *image = l->image;
    *at = block;
    if (!leaf || start > block) /* no word for any of them, or for those behind start only */
        return leaf ? (unsigned)MIN(most, start - block) : most;
    for (most = MIN(most, (unsigned)(start + BLOCK_MAP_LEAF - block)); n < most; n++) {
        uint64_t entry = leaf[block - start + n], next = block + n;

        if ((entry & (LAYER_ZERO | LAYER_BUSY)) || (LAYER_AT(entry) && !l->log))
            break;
        if (n == 0)
            *image = where(l, entry, at);
        else if (where(l, entry, &next) != *image || next != *at + n)
            break;
    }
    return n;
}

/* Looks for blocks from this one on in the cache, as many as the request wants and there is room for. */
static void find(struct layer *l, uint64_t block, struct layer_io *io)
{
    unsigned most = (unsigned)MIN(io->ahead / IMAGE_BLOCK, PMAP_PLACE_MOST - io->gathered), n;
    struct image *image;
    uint64_t first;

    drop_found(io);
    spin_lock(&l->lock);
    n = run_to_place(l, block, most, &image, &first);
    io->found += image_pages(image, first, n, &io->page[io->found]);
    spin_unlock(&l->lock);
    io->next = block;
}

/* Blocks that were found go to whole pages, from this one on: how many bytes. */
static uint64_t gather(struct layer *l, uint64_t block, struct gpa to, uint64_t n, struct layer_io *io)
{
    uint64_t done = 0;

    if (io->gathered == io->found || io->next != block)
        find(l, block, io);
    for (; io->gathered < io->found && n - done >= IMAGE_BLOCK; done += IMAGE_BLOCK, io->next++)
        io->page[io->gathered++].gpa = GPA(to.v + done);
    return done;
}

bool layer_gather_many(struct layer_io *io, uint64_t at, struct gpa to, uint64_t n)
{
    uint64_t blocks = n / IMAGE_BLOCK;

    if (!n || n % IMAGE_BLOCK || io->gathered + blocks >= io->found || io->next * IMAGE_BLOCK != at ||
        to.v % IMAGE_BLOCK)
        return false;
    io->next += blocks;
    for (; blocks; blocks--, to.v += IMAGE_BLOCK)
        io->page[io->gathered++].gpa = to;
    return true;
}

/* One block alone that the cache has is to take the place of a page. False: look again. */
static bool find_one(struct layer *l, uint64_t block, struct gpa to, struct layer_io *io)
{
    struct pmap_placed *placed = &io->page[io->gathered];
    struct image *image;
    unsigned found = 0;
    uint64_t entry;

    spin_lock(&l->lock);
    entry = block_map_get(&l->own, block);
    image = where(l, entry, &block);
    if (!entry || (l->log && !(entry & (LAYER_ZERO | LAYER_BUSY))))
        found = image_pages(image, block, 1, placed);
    spin_unlock(&l->lock);
    placed->gpa = to;
    io->found = io->gathered += found;
    return found;
}

/* What the cache has many blocks at a time, also if each goes elsewhere; then what it has not, or cannot be placed. */
int layer_read(struct layer *l, uint64_t at, struct gpa to, uint64_t n, struct layer_io *io, uint64_t *done)
{
    bool whole = io->share && !((at | to.v) % IMAGE_BLOCK);
    uint64_t more;
    int err = 0;

    if (whole && n == IMAGE_BLOCK && io->ahead == n && io->found == io->gathered &&
        io->gathered + 1 < PMAP_PLACE_MOST && find_one(l, at / IMAGE_BLOCK, to, io)) {
        *done = IMAGE_BLOCK;
        return 0;
    }
    for (*done = 0; *done < n && !err; *done += more) {
        struct part p = { .gpa = GPA(to.v + *done), .io = io };

        more = whole && n - *done >= IMAGE_BLOCK ? gather(l, (at + *done) / IMAGE_BLOCK, p.gpa, n - *done, io) : 0;
        io->ahead -= more;
        if (io->gathered == PMAP_PLACE_MOST)
            err = place_gathered(l, io);
        else if (!more)
            err = each_part(l, at + *done, MIN(n - *done, whole ? IMAGE_BLOCK : n), p, read_part, &more);
    }
    return err;
}

int layer_write(struct layer *l, uint64_t at, struct gpa from, uint64_t n, struct layer_io *io, uint64_t *done)
{
    return each_part(l, at, n, (struct part){ .gpa = from, .io = io }, write_part, done);
}

int layer_zero(struct layer *l, uint64_t at, uint64_t n, struct layer_io *io, uint64_t *done)
{
    return each_part(l, at, n, (struct part){ .zeros = true, .io = io }, zero_part, done);
}

int layer_discard(struct layer *l, uint64_t at, uint64_t n, struct layer_io *io, uint64_t *done)
{
    return each_part(l, at, n, (struct part){ .zeros = true, .io = io }, discard_part, done);
}

static void flush_over(struct transfer *t, int err)
{
    struct layer *l = t->owner;
    struct layer_wait *w = t->wait;

    spin_lock(&l->lock);
    l->in_flight--;
    if (err)
        atomic_store(&w->error, -EIO);
    transfer_put(t);
    atomic_fetch_sub(&w->pending, 1);
    spin_unlock(&l->lock);
}

/* Lock held. What was over was written through: the disk has it, and is to keep it. */
static int flush_storage(struct layer *l, struct layer_wait *w)
{
    struct transfer *t = transfer_get(false);

    if (!t)
        return -EAGAIN;
    t->storage = l->image->storage;
    t->r.op = STORAGE_FLUSH;
    t->r.sector = 0;
    t->r.sectors = 0;
    t->owner = l;
    t->wait = w;
    t->over = flush_over;
    l->in_flight++;
    atomic_fetch_add(&w->pending, 1);
    if (!transfer_submit(t))
        return 0;
    l->in_flight--;
    atomic_fetch_sub(&w->pending, 1);
    transfer_put(t);
    return -EIO;
}

int layer_flush(struct layer *l, struct layer_io *io)
{
    int err;

    if (in_memory(l) || l->fleeting)
        return 0;
    spin_lock(&l->lock);
    err = l->log ? persist_flush(l->log, &io->wait->ticket) : flush_storage(l, io->wait);
    spin_unlock(&l->lock);
    return err;
}

/* Lock held: the stream that comes to block and goes on at end; one with no window is new. */
static struct layer_stream *stream_of(struct layer *l, uint64_t block, uint64_t end)
{
    struct layer_stream *s = l->stream, *last = s + LAYER_STREAMS;

    while (s < last && s->next != block)
        s++;
    if (s == last) {
        s = &l->stream[l->stream_turn++ % LAYER_STREAMS];
        s->window = 0;
        s->ahead = 0;
    } else {
        s->window = MIN(MAX(s->window * 2, (end - block) * 2), AHEAD_MAX);
    }
    s->next = end;
    return s;
}

void layer_expect(struct layer *l, uint64_t at, uint64_t n)
{
    uint64_t end = (at + n) / IMAGE_BLOCK, block = end, run, entry;
    struct layer_stream *s;
    struct image *image;

    if (!layer_waits(l))
        return;
    spin_lock(&l->lock);
    s = stream_of(l, at / IMAGE_BLOCK, end);
    if (s->window && end + s->window / 2 > s->ahead) { /* seldom, for it takes long */
        entry = block_map_get(&l->own, end);
        run = run_of(l, end, s->window);
        image = where(l, entry, &block);
        if (!(entry & (LAYER_ZERO | LAYER_BUSY)) && image_ahead(image, block, run))
            s->ahead = end + run;
    }
    spin_unlock(&l->lock);
}

bool layer_quiet(struct layer *l)
{
    bool quiet;

    spin_lock(&l->lock);
    quiet = !l->in_flight && (!l->log || persist_quiet(l->log));
    spin_unlock(&l->lock);
    return quiet;
}

void layer_destroy(struct layer *l)
{
    block_map_clear(&l->own, in_memory(l) ? free_entry : NULL);
    if (l->log)
        persist_close(l->log);
    if (l->image)
        image_release(l->image, l->exclusive);
    l->log = NULL;
    l->image = NULL;
    l->pages = 0;
}
