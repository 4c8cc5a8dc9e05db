/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/blk.h"
#include "include/mirrorball/blk.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"

/*
 * All that a guest writes is read once, into memory of ours, and only then looked at. One call ends after the request
 * with which it has moved so many bytes: interrupts are off meanwhile. What is only marked costs less.
 */
#define ENOUGH_BYTES (1u << 20)
#define MARK_COST    64u
#define TABLE_PART   16u       /* segments read at a time */

_Static_assert(sizeof(struct mb_blk_request) == 32 && sizeof(struct mb_blk_ring) == 64, "ABI");
_Static_assert(!offsetof(struct mb_blk_ring, submitted), "ABI");
_Static_assert(sizeof(struct mb_blk_identity) == MB_BLK_SECTOR, "ABI");

/* The request that is being done. */
struct job {
    const struct blk *blk;
    struct blk_disk *disk;
    struct mb_blk_request r;
    unsigned node;
};

void blk_init(struct blk *b, struct pmap *pmap, unsigned queues, const char *name)
{
    memset(b, 0, sizeof(*b));
    b->pmap = pmap;
    b->queues = queues;
    b->name = name;
}

struct blk_disk *blk_add(struct blk *b, struct image *image, const char *serial)
{
    struct blk_disk *d = &b->disk[b->disks++];

    d->layer.image = image;
    memcpy(d->serial, serial, MIN(strlen(serial), (size_t)BLK_SERIAL));
    return d;
}

void blk_destroy(struct blk *b)
{
    for (unsigned i = 0; i < b->disks; i++)
        layer_destroy(&b->disk[i].layer);
    b->disks = 0;
}

/* A request that moves data: each segment in its turn. at: bytes from the disk's start. */
typedef int (*segment_fn)(const struct job *j, uint64_t at, const struct mb_blk_segment *s);

static int read_segment(const struct job *j, uint64_t at, const struct mb_blk_segment *s)
{
    return layer_read(&j->disk->layer, at, j->blk->pmap, GPA(s->gpa), s->bytes, j->disk->share, j->node);
}

static int write_segment(const struct job *j, uint64_t at, const struct mb_blk_segment *s)
{
    return layer_write(&j->disk->layer, at, j->blk->pmap, GPA(s->gpa), s->bytes);
}

static int identify_segment(const struct job *j, uint64_t at, const struct mb_blk_segment *s)
{
    struct mb_blk_identity id = {
        .sectors = j->disk->layer.image->size / MB_BLK_SECTOR, .flags = j->disk->readonly ? MB_BLK_READONLY : 0,
        .block = IMAGE_BLOCK, .queues = j->blk->queues,
    };

    (void)at;
    memcpy(id.serial, j->disk->serial, BLK_SERIAL);
    return pmap_write(j->blk->pmap, GPA(s->gpa), &id, sizeof(id));
}

static int each_segment(const struct job *j, segment_fn fn)
{
    struct mb_blk_segment part[TABLE_PART];
    uint64_t at = j->r.sector * MB_BLK_SECTOR, left = j->r.sectors * MB_BLK_SECTOR;

    for (unsigned i = 0; i < j->r.segments; i++) {
        const struct mb_blk_segment *s = &part[i % TABLE_PART];
        size_t n = MIN(j->r.segments - i, TABLE_PART);
        int err = 0;

        if (i % TABLE_PART == 0)
            err = pmap_read(j->blk->pmap, GPA(j->r.table + i * sizeof(*s)), part, n * sizeof(*s));
        if (err)
            return err;
        if (s->gpa % MB_BLK_SECTOR || s->bytes % MB_BLK_SECTOR || !s->bytes || s->zero || s->bytes > left)
            return -EINVAL;
        if (!pmap_is_ram(j->blk->pmap, GPA(s->gpa), s->bytes))
            return -EFAULT;
        err = fn(j, at, s);
        if (err)
            return err;
        at += s->bytes;
        left -= s->bytes;
    }
    return left ? -EINVAL : 0;
}

static int do_read(const struct job *j) { return each_segment(j, read_segment); }
static int do_write(const struct job *j) { return each_segment(j, write_segment); }
static int do_identify(const struct job *j) { return each_segment(j, identify_segment); }

static int do_flush(const struct job *j)
{
    (void)j; /* what a layer has, it has in memory */
    return 0;
}

static int do_discard(const struct job *j)
{
    return layer_discard(&j->disk->layer, j->r.sector * MB_BLK_SECTOR, j->r.sectors * MB_BLK_SECTOR);
}

static int do_zeroes(const struct job *j)
{
    return layer_zero(&j->disk->layer, j->r.sector * MB_BLK_SECTOR, j->r.sectors * MB_BLK_SECTOR);
}

static const struct op {
    int (*run)(const struct job *j);
    bool moves;                /* data, so there are segments */
    bool writes;
} ops[] = {
    [MB_BLK_READ]         = { do_read, true, false },
    [MB_BLK_WRITE]        = { do_write, true, true },
    [MB_BLK_FLUSH]        = { do_flush, false, false },
    [MB_BLK_DISCARD]      = { do_discard, false, true },
    [MB_BLK_WRITE_ZEROES] = { do_zeroes, false, true },
    [MB_BLK_IDENTIFY]     = { do_identify, true, false },
};

/* What may be wrong with a request, but for its segments. */
static int check(const struct job *j)
{
    const struct mb_blk_request *r = &j->r;
    uint64_t sectors = j->disk->layer.image->size / MB_BLK_SECTOR, least = r->op != MB_BLK_FLUSH, most;

    if (r->op >= ARRAY_SIZE(ops) || r->zero || r->table % sizeof(struct mb_blk_segment))
        return -EINVAL;
    if (ops[r->op].moves ? !r->segments || r->segments > MB_BLK_MAX_SEGMENTS : r->segments)
        return -EINVAL;
    most = r->op == MB_BLK_FLUSH ? 0 : r->op == MB_BLK_IDENTIFY ? 1 : MB_BLK_MAX_SECTORS;
    if (r->op == MB_BLK_FLUSH || r->op == MB_BLK_IDENTIFY)
        sectors = most;
    if (r->sectors < least || r->sectors > most || r->sector > sectors || r->sectors > sectors - r->sector)
        return -EINVAL;
    return ops[r->op].writes && j->disk->readonly ? -EROFS : 0;
}

static void count(struct blk_counts *c, const struct mb_blk_request *r, int status)
{
    c->requests++;
    if (status)
        c->errors++;
    else if (r->op == MB_BLK_READ)
        c->read += r->sectors;
    else if (r->op == MB_BLK_WRITE)
        c->written += r->sectors;
}

void blk_count(const struct blk_disk *d, struct blk_counts *sum)
{
    *sum = (struct blk_counts){ 0 };
    for (unsigned i = 0; i < BLK_MAX_QUEUES; i++) {
        sum->requests += d->queue[i].counts.requests;
        sum->errors += d->queue[i].counts.errors;
        sum->read += d->queue[i].counts.read;
        sum->written += d->queue[i].counts.written;
    }
}

/* Does the next request of a queue and gives its result; *work is what it was worth. */
static int run_one(struct job *j, struct blk_queue *q, uint64_t *work)
{
    uint64_t i = q->taken % q->entries, requests = q->ring.v + sizeof(struct mb_blk_ring);
    uint64_t results = requests + q->entries * sizeof(struct mb_blk_request);
    struct mb_blk_result result;
    int err = pmap_read(j->blk->pmap, GPA(requests + i * sizeof(j->r)), &j->r, sizeof(j->r));

    if (err)
        return err;
    result = (struct mb_blk_result){ .tag = j->r.tag, .status = check(j) };
    if (!result.status) {
        *work += j->r.sectors * MB_BLK_SECTOR / (ops[j->r.op].moves ? 1 : MARK_COST);
        result.status = ops[j->r.op].run(j);
    }
    count(&q->counts, &j->r, result.status);
    err = pmap_write(j->blk->pmap, GPA(results + i * sizeof(result)), &result, sizeof(result));
    if (!err)
        q->taken++;
    return err;
}

static int stop(const struct blk *b, struct blk_disk *d, int error, const char *why)
{
    if (!atomic_exchange(&d->stopped, true))
        log_warn("vm %s: disk %u has stopped: %s", b->name, (unsigned)(d - b->disk), why);
    return error;
}

/* Queue locked. */
static int64_t run(struct blk *b, struct blk_disk *d, struct blk_queue *q, unsigned node)
{
    struct job j = { .blk = b, .disk = d, .node = node };
    uint32_t submitted, before = q->taken;
    uint64_t work = 0;
    int err = pmap_read(b->pmap, q->ring, &submitted, sizeof(submitted));

    if (!err && submitted - q->taken > q->entries)
        return stop(b, d, -EPROTO, "more requests were submitted than its ring has");
    while (!err && q->taken != submitted && work < ENOUGH_BYTES)
        err = run_one(&j, q, &work);
    if (!err)
        err = pmap_write(b->pmap, GPA(q->ring.v + offsetof(struct mb_blk_ring, completed)), &q->taken,
                         sizeof(q->taken));
    return err ? stop(b, d, err, "no memory is left for its results") : (int64_t)(q->taken - before);
}

static struct blk_queue *find(struct blk *b, uint64_t disk, uint64_t queue)
{
    return disk < b->disks && queue < b->queues ? &b->disk[disk].queue[queue] : NULL;
}

static int check_ring(const struct blk *b, struct gpa ring, uint64_t entries)
{
    if (ring.v % PAGE_SIZE || entries < 2 || entries > MB_BLK_MAX_ENTRIES || (entries & (entries - 1)))
        return -EINVAL;
    return pmap_is_ram(b->pmap, ring, MB_BLK_RING_SIZE(entries)) ? 0 : -EFAULT;
}

int64_t blk_set_ring(struct blk *b, uint64_t disk, uint64_t queue, struct gpa ring, uint64_t entries)
{
    struct blk_queue *q = find(b, disk, queue);
    int err = !q ? -ENODEV : entries ? check_ring(b, ring, entries) : 0;

    if (err)
        return err;
    if (atomic_load(&b->disk[disk].stopped))
        return -EPROTO;
    spin_lock(&q->lock);
    q->ring = ring;
    q->entries = (uint32_t)entries;
    q->taken = 0;
    spin_unlock(&q->lock);
    return 0;
}

int64_t blk_run(struct blk *b, uint64_t disk, uint64_t queue, unsigned node)
{
    struct blk_queue *q = find(b, disk, queue);
    int64_t result;

    if (!q)
        return -ENODEV;
    spin_lock(&q->lock);
    if (atomic_load(&b->disk[disk].stopped))
        result = -EPROTO;
    else
        result = q->entries ? run(b, &b->disk[disk], q, node) : -ENXIO;
    spin_unlock(&q->lock);
    return result;
}
