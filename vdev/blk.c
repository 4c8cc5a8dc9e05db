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

#define NONE         UINT16_MAX

/* The request that is being done. */
struct job {
    const struct blk *blk;
    struct blk_disk *disk;
    struct blk_work *w;
    struct layer_io io;
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

static unsigned work_order(uint32_t entries) { return page_order(entries * sizeof(struct blk_work)); }

/* Queue locked, or nobody uses it. */
static void drop_work(struct blk_queue *q)
{
    if (q->work)
        page_free(ptr_hpa(q->work), work_order(q->entries));
    q->work = NULL;
    q->entries = 0;
    q->waiting = 0;
}

bool blk_quiet(struct blk *b)
{
    bool quiet = true;

    for (unsigned i = 0; i < b->disks; i++)
        quiet &= layer_quiet(&b->disk[i].layer);
    return quiet;
}

void blk_destroy(struct blk *b)
{
    for (unsigned i = 0; i < b->disks; i++) {
        for (unsigned q = 0; q < b->queues; q++)
            drop_work(&b->disk[i].queue[q]);
        layer_destroy(&b->disk[i].layer);
    }
    b->disks = 0;
}

/*
 * A request that moves data: each segment in its turn, from where it stopped the last time. at: bytes from the disk's
 * start; *done: so many of the bytes are done.
 */
typedef int (*segment_fn)(struct job *j, uint64_t at, struct gpa gpa, uint64_t bytes, uint64_t *done);

static int read_segment(struct job *j, uint64_t at, struct gpa gpa, uint64_t bytes, uint64_t *done)
{
    return layer_read(&j->disk->layer, at, gpa, bytes, &j->io, done);
}

static int write_segment(struct job *j, uint64_t at, struct gpa gpa, uint64_t bytes, uint64_t *done)
{
    return layer_write(&j->disk->layer, at, gpa, bytes, &j->io, done);
}

static int identify_segment(struct job *j, uint64_t at, struct gpa gpa, uint64_t bytes, uint64_t *done)
{
    struct mb_blk_identity id = {
        .sectors = j->disk->layer.image->size / MB_BLK_SECTOR, .flags = j->disk->readonly ? MB_BLK_READONLY : 0,
        .block = IMAGE_BLOCK, .queues = j->blk->queues,
    };

    (void)at;
    *done = bytes;
    memcpy(id.serial, j->disk->serial, BLK_SERIAL);
    return pmap_write(j->blk->pmap, gpa, &id, sizeof(id));
}

/* left: bytes that the request still wants. Whether it is RAM the pmap looks at each page. */
static inline bool is_good(const struct mb_blk_segment *s, uint64_t offset, uint64_t left)
{
    return !((s->gpa | s->bytes) % MB_BLK_SECTOR) && !s->zero && s->bytes > offset && s->bytes - offset <= left;
}

/*
 * Of a read, segments from this one on that are whole blocks, and were found with those before, in a few instructions
 * each: the next one, which is another. What was found the request wants, so there is room for it.
 */
static const struct mb_blk_segment *gather(struct job *j, const struct mb_blk_segment *s,
                                           const struct mb_blk_segment *end)
{
    const struct mb_blk_segment *first = s;
    struct blk_work *w = j->w;
    uint64_t from = w->r.sector * MB_BLK_SECTOR + w->moved, at = from;

    if (w->offset || j->io.found == j->io.gathered)
        return s;
    for (; s < end && !s->zero; s++, at += s[-1].bytes)
        if (s->bytes == IMAGE_BLOCK ? !layer_gather(&j->io, at, GPA(s->gpa))
                                    : !layer_gather_many(&j->io, at, GPA(s->gpa), s->bytes))
            break;
    w->segment += (uint32_t)(s - first);
    w->moved += at - from;
    return s;
}

static int each_of(struct job *j, segment_fn fn, const struct mb_blk_segment *s, const struct mb_blk_segment *end)
{
    struct blk_work *w = j->w;
    uint64_t at = w->r.sector * MB_BLK_SECTOR, all = w->r.sectors * MB_BLK_SECTOR, done;
    int err = 0;

    for (; !err && (s = gather(j, s, end)) < end; s++) {
        if (!is_good(s, w->offset, all - w->moved))
            return -EINVAL;
        j->io.ahead = all - w->moved;
        err = fn(j, at + w->moved, GPA(s->gpa + w->offset), s->bytes - w->offset, &done);
        w->moved += done;
        w->offset = err ? w->offset + (uint32_t)done : 0;
        w->segment += !err;
    }
    return err;
}

static int each_segment(struct job *j, segment_fn fn)
{
    struct blk_work *w = j->w;
    struct mb_blk_segment part[TABLE_PART];

    while (w->segment < w->r.segments) {
        size_t n = MIN(w->r.segments - w->segment, TABLE_PART);
        int err = pmap_read(j->blk->pmap, GPA(w->r.table + w->segment * sizeof(*part)), part, n * sizeof(*part));

        if (!err)
            err = each_of(j, fn, part, part + n);
        if (err)
            return err;
    }
    return w->moved == w->r.sectors * MB_BLK_SECTOR ? 0 : -EINVAL;
}

static int do_read(struct job *j) { return each_segment(j, read_segment); }
static int do_write(struct job *j) { return each_segment(j, write_segment); }
static int do_identify(struct job *j) { return each_segment(j, identify_segment); }
static int do_flush(struct job *j) { return layer_flush(&j->disk->layer, &j->io); }

typedef int (*range_fn)(struct layer *l, uint64_t at, uint64_t n, struct layer_io *io, uint64_t *done);

static int do_range(struct job *j, range_fn fn)
{
    struct blk_work *w = j->w;
    uint64_t at = w->r.sector * MB_BLK_SECTOR + w->moved, left = w->r.sectors * MB_BLK_SECTOR - w->moved, done;
    int err;

    j->io.ahead = left;
    err = fn(&j->disk->layer, at, left, &j->io, &done);
    w->moved += done;
    return err;
}

static int do_discard(struct job *j) { return do_range(j, layer_discard); }
static int do_zeroes(struct job *j) { return do_range(j, layer_zero); }

static const struct op {
    int (*run)(struct job *j);
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
    const struct mb_blk_request *r = &j->w->r;
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

unsigned blk_waiting(const struct blk_disk *d)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < BLK_MAX_QUEUES; i++)
        sum += d->queue[i].waiting;
    return sum;
}

/* Does what can be done of a request now. Its status, or -EAGAIN: the rest has to wait. */
static int proceed(struct job *j)
{
    struct blk_work *w = j->w;

    j->io.wait = &w->wait;
    if (!w->issued) {
        int err = ops[w->r.op].run(j), last = layer_end(&j->disk->layer, &j->io);

        err = last ? last : err;
        if (err == -EAGAIN)
            return err;
        w->issued = true;
        w->status = err;
    }
    if (atomic_load(&w->wait.pending))
        return -EAGAIN;
    return w->status ? w->status : atomic_load(&w->wait.error);
}

static uint64_t request_at(const struct blk_queue *q, uint32_t n)
{
    return sizeof(struct mb_blk_ring) + n % q->entries * sizeof(struct mb_blk_request);
}

static uint64_t result_at(const struct blk_queue *q, uint32_t n)
{
    uint64_t results = request_at(q, 0) + q->entries * sizeof(struct mb_blk_request);

    return results + n % q->entries * sizeof(struct mb_blk_result);
}

/* Those results that are not in the ring yet go there, one by one, for their places may be on two pages. */
static int put_results(const struct blk *b, struct blk_queue *q)
{
    int err = 0;

    for (uint32_t i = 0; q->told != q->given && !err; i++) {
        err = pmap_write(b->pmap, GPA(q->ring.v + result_at(q, q->told)), &q->result[i], sizeof(q->result[i]));
        q->told += !err;
    }
    return err;
}

/* The next result. */
static int give(const struct blk *b, struct blk_queue *q, const struct blk_work *w, int status)
{
    int err = q->given - q->told == BLK_MAX_RESULTS ? put_results(b, q) : 0;

    count(&q->counts, &w->r, status);
    if (!err)
        q->result[q->given++ - q->told] = (struct mb_blk_result){ .tag = w->r.tag, .status = status };
    return err;
}

static void let_wait(struct blk_queue *q, struct blk_work *w)
{
    uint16_t i = (uint16_t)(w - q->work);

    q->free = w->next;
    w->next = NONE;
    if (q->waiting)
        q->work[q->last].next = i;
    else
        q->first = i;
    q->last = i;
    q->waiting++;
}

/*
 * `submitted`, and then the request that is next, if that has been submitted: a ring's first page is the VM's own, as a
 * rule, and has both.
 */
static int read_ring(const struct blk *b, const struct blk_queue *q, uint32_t *submitted, struct mb_blk_request *next)
{
    uint64_t at = request_at(q, q->taken);
    const char *page = at + sizeof(*next) <= PAGE_SIZE ? pmap_hold(b->pmap, q->ring) : NULL;
    int err;

    if (page) {
        *submitted = atomic_load_explicit((const _Atomic uint32_t *)page, memory_order_acquire);
        memcpy(next, page + at, sizeof(*next));
        pmap_release(b->pmap);
        return 0;
    }
    err = pmap_read(b->pmap, q->ring, submitted, sizeof(*submitted));
    return err ? err : pmap_read(b->pmap, GPA(q->ring.v + at), next, sizeof(*next));
}

/*
 * Does the next request of a queue, and gives its result if there is one; *work is what it was worth. It has been read
 * already if it is the call's first.
 */
static int run_one(struct job *j, struct blk_queue *q, const struct mb_blk_request *first, uint64_t *work)
{
    struct blk_work *w = j->w = &q->work[q->free];
    uint16_t next = w->next;
    int err = 0, status;

    *w = (struct blk_work){ .next = next };
    if (first)
        w->r = *first;
    else
        err = pmap_read(j->blk->pmap, GPA(q->ring.v + request_at(q, q->taken)), &w->r, sizeof(w->r));
    if (err)
        return err;
    q->taken++;
    status = check(j);
    if (!status) {
        *work += w->r.sectors * MB_BLK_SECTOR / (ops[w->r.op].moves ? 1 : MARK_COST);
        status = proceed(j);
        if (w->r.op == MB_BLK_READ)
            layer_expect(&j->disk->layer, w->r.sector * MB_BLK_SECTOR, w->r.sectors * MB_BLK_SECTOR);
    }
    if (status != -EAGAIN)
        return give(j->blk, q, w, status);
    let_wait(q, w);
    return 0;
}

/* Goes on with those that wait; enough is as for new ones. */
static int run_waiting(struct job *j, struct blk_queue *q, uint64_t *work)
{
    uint16_t before = NONE;
    int err = 0;

    for (uint16_t i = q->waiting ? q->first : NONE, next; i != NONE && *work < ENOUGH_BYTES && !err; i = next) {
        uint64_t moved = q->work[i].moved;
        int status;

        j->w = &q->work[i];
        next = j->w->next;
        status = proceed(j);
        *work += j->w->moved - moved;
        if (status == -EAGAIN) {
            before = i;
            continue;
        }
        err = give(j->blk, q, j->w, status);
        *(before == NONE ? &q->first : &q->work[before].next) = next;
        if (next == NONE)
            q->last = before;
        j->w->next = q->free;
        q->free = i;
        q->waiting--;
    }
    return err;
}

static int stop(const struct blk *b, struct blk_disk *d, int error, const char *why)
{
    if (!atomic_exchange(&d->stopped, true))
        log_warn("vm %s: disk %u has stopped: %s", b->name, (unsigned)(d - b->disk), why);
    return error;
}

/* Field by field: there is more room in it for what will be gathered than is worth clearing. */
static void init_job(struct job *j, const struct blk *b, struct blk_disk *d, unsigned node)
{
    j->blk = b;
    j->disk = d;
    j->io.pmap = b->pmap;
    j->io.share = d->share;
    j->io.node = node;
    j->io.open = NULL;
    j->io.gathered = 0;
    j->io.found = 0;
}

static int tell_ring(const struct blk *b, struct blk_queue *q)
{
    const uint32_t counters[2] = { q->given, q->taken };
    char *page = result_at(q, q->entries - 1) < PAGE_SIZE ? pmap_hold(b->pmap, q->ring) : NULL;
    int err;

    _Static_assert(offsetof(struct mb_blk_ring, taken) == offsetof(struct mb_blk_ring, completed) + 4, "ABI");
    if (page) {
        for (uint32_t i = 0; q->told != q->given; i++)
            memcpy(page + result_at(q, q->told++), &q->result[i], sizeof(q->result[i]));
        atomic_thread_fence(memory_order_release);
        memcpy(page + offsetof(struct mb_blk_ring, completed), counters, sizeof(counters));
        pmap_release(b->pmap);
        return 0;
    }
    err = put_results(b, q);
    return err ? err : pmap_write(b->pmap, GPA(q->ring.v + offsetof(struct mb_blk_ring, completed)), counters,
                                  sizeof(counters));
}

/* Queue locked. The results are there; how many. */
static int64_t tell(struct blk *b, struct blk_disk *d, struct blk_queue *q, int err, uint32_t before)
{
    if (!err)
        err = tell_ring(b, q);
    return err ? stop(b, d, err, "no memory is left for its results") : (int64_t)(q->given - before);
}

/* Queue locked. */
static int64_t run(struct blk *b, struct blk_disk *d, struct blk_queue *q, unsigned node)
{
    uint32_t submitted, before = q->given;
    uint64_t work = 0;
    struct mb_blk_request first;
    int err = read_ring(b, q, &submitted, &first);
    const struct mb_blk_request *next = &first;
    struct job j;

    init_job(&j, b, d, node);
    if (!err && submitted - q->given > q->entries)
        return stop(b, d, -EPROTO, "more requests were submitted than its ring has");
    if (!err && submitted - q->taken > q->entries)
        return stop(b, d, -EPROTO, "fewer requests were submitted than were taken");
    if (!err && q->waiting)
        err = run_waiting(&j, q, &work);
    for (; !err && q->taken != submitted && work < ENOUGH_BYTES; next = NULL)
        err = run_one(&j, q, next, &work);
    if (q->waiting)
        transfer_wake();
    return tell(b, d, q, err, before);
}

static bool resume(struct blk *b, struct blk_disk *d, struct blk_queue *q, unsigned node)
{
    struct job j;
    bool news = false;

    init_job(&j, b, d, node);
    spin_lock(&q->lock);
    if (q->waiting && !atomic_load(&d->stopped)) {
        uint32_t before = q->given;
        uint64_t work = 0;
        int err = run_waiting(&j, q, &work);

        if (err || q->given != before)
            news = tell(b, d, q, err, before) > 0;
    }
    spin_unlock(&q->lock);
    return news;
}

bool blk_resume(struct blk *b, unsigned node, bool *more)
{
    bool news = false;

    for (unsigned i = 0; i < b->disks; i++) {
        for (unsigned n = 0; n < b->queues; n++) {
            struct blk_queue *q = &b->disk[i].queue[n];

            if (!q->waiting)
                continue;
            news |= resume(b, &b->disk[i], q, node);
            *more |= q->waiting && !atomic_load(&b->disk[i].stopped);
        }
    }
    return news;
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

/* Queue locked: does a transfer still know one of its requests? */
static bool in_use(const struct blk_queue *q)
{
    for (uint16_t i = q->waiting ? q->first : NONE; i != NONE; i = q->work[i].next)
        if (atomic_load(&q->work[i].wait.pending))
            return true;
    return false;
}

/* Queue locked. */
static int set_ring(struct blk_queue *q, struct gpa ring, uint32_t entries)
{
    struct hpa work = HPA_NONE;

    if (in_use(q))
        return -EBUSY;
    if (entries)
        work = page_alloc(0, work_order(entries), PAGE_HYPERVISOR);
    if (entries && !work.v)
        return -ENOMEM;
    drop_work(q);
    q->ring = ring;
    q->entries = entries;
    q->taken = q->given = q->told = 0;
    q->free = 0;
    q->work = work.v ? hpa_ptr(work) : NULL;
    for (unsigned i = 0; i < entries; i++)
        q->work[i].next = (uint16_t)(i + 1);
    return 0;
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
    err = set_ring(q, ring, (uint32_t)entries);
    spin_unlock(&q->lock);
    return err;
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
