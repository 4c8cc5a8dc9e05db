/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "drivers/disk.h"

#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "drivers/device.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "numa/page.h"

#define POLL_US        100u
#define COMMAND_MS     15000u  /* a disk that has to spin up takes that long */
#define FLUSH_MS       60000u
#define RESETS_MAX     2u      /* that a command lives through */

struct piece { uint64_t first, sector; }; /* where it begins in the storage, and on the disk */

struct storage {
    struct disk *disk;
    struct piece *piece;       /* ascending, as many as pieces; the next one's first is its end */
    unsigned pieces;
    uint64_t sectors;
    bool readonly;
    struct piece whole;
};

static struct disk *disks[DISKS_MAX];
static unsigned disks_used;
static struct storage storages[STORAGES_MAX];
static unsigned storages_used;

static uint64_t poll_disks(struct device *d, uint64_t now);
static void stop_disks(struct device *d);
static struct device device = { .name = "disks", .poll = poll_disks, .stop = stop_disks };

unsigned disk_count(void) { return disks_used; }
struct disk *disk_at(unsigned n) { return n < disks_used ? disks[n] : NULL; }
uint64_t storage_sectors(const struct storage *s) { return s->sectors; }
uint32_t storage_block(const struct storage *s) { return s->disk->block; }
bool storage_readonly(const struct storage *s) { return s->readonly; }
const struct disk *storage_disk(const struct storage *s) { return s->disk; }

static bool is_block(uint32_t n)
{
    return n >= STORAGE_SECTOR && n <= PAGE_SIZE && !(n & (n - 1));
}

int disk_add(struct disk *d)
{
    uint32_t per_block = d->block / STORAGE_SECTOR;

    if (!is_block(d->block) || !d->sectors || d->sectors % per_block || d->sectors > UINT64_MAX / STORAGE_SECTOR ||
        !d->depth || d->depth > DISK_SLOTS || !d->max_sectors || d->max_sectors % per_block)
        return -EINVAL;
    if (disks_used == DISKS_MAX)
        return -ENOSPC;
    if (!disks_used)
        device_add(&device);
    disks[disks_used++] = d;
    return 0;
}

/* --- storages --------------------------------------------------------------------------------------------------- */

static bool fits(const struct disk *d, const struct extent *e)
{
    uint32_t per_block = d->block / STORAGE_SECTOR;

    return e->sectors && e->sector % per_block == 0 && e->sectors % per_block == 0 && e->sector < d->sectors &&
           e->sectors <= d->sectors - e->sector;
}

static struct piece *piece_room(unsigned extents)
{
    struct hpa at = page_alloc(0, page_order(extents * sizeof(struct piece)), PAGE_HYPERVISOR);

    return at.v ? hpa_ptr(at) : NULL;
}

/* What follows on the disk too is one piece. */
static int add_piece(struct storage *s, const struct extent *e)
{
    struct piece *last = s->pieces ? &s->piece[s->pieces - 1] : NULL;

    if (!fits(s->disk, e) || e->sectors > s->disk->sectors - s->sectors)
        return -EINVAL;
    if (!last || last->sector + (s->sectors - last->first) != e->sector)
        s->piece[s->pieces++] = (struct piece){ s->sectors, e->sector };
    s->sectors += e->sectors;
    return 0;
}

struct storage *storage_open(struct disk *d, const struct extent *extent, unsigned extents, bool readonly)
{
    const struct extent all = { 0, d->sectors };
    struct storage *s = storages_used < STORAGES_MAX ? &storages[storages_used] : NULL;

    if (!s || extents > EXTENTS_MAX)
        return NULL;
    if (!extents) {
        extent = &all;
        extents = 1;
    }
    *s = (struct storage){ .disk = d, .readonly = readonly || d->readonly };
    s->piece = extents > 1 ? piece_room(extents) : &s->whole;
    for (unsigned i = 0; s->piece && i < extents; i++)
        if (add_piece(s, &extent[i]))
            return NULL; /* the room stays taken: it is a start that fails */
    if (!s->piece)
        return NULL;
    storages_used++;
    return s;
}

static uint64_t piece_end(const struct storage *s, unsigned n)
{
    uint64_t next = n + 1 < s->pieces ? s->piece[n + 1].first : s->sectors;

    return s->piece[n].sector + (next - s->piece[n].first);
}

bool storage_overlaps(const struct storage *a, const struct storage *b)
{
    if (a->disk != b->disk)
        return false;
    for (unsigned i = 0; i < a->pieces; i++)
        for (unsigned n = 0; n < b->pieces; n++)
            if (a->piece[i].sector < piece_end(b, n) && b->piece[n].sector < piece_end(a, i))
                return true;
    return false;
}

/* The last one that begins at or before sector. */
static unsigned piece_at(const struct storage *s, uint64_t sector)
{
    unsigned low = 0, high = s->pieces;

    while (high - low > 1) {
        unsigned middle = (low + high) / 2;

        if (s->piece[middle].first <= sector)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* --- requests --------------------------------------------------------------------------------------------------- */

static int check(const struct storage *s, const struct storage_request *r)
{
    uint32_t per_block = s->disk->block / STORAGE_SECTOR;

    if (r->op == STORAGE_FLUSH)
        return 0;
    if ((r->op != STORAGE_READ && r->op != STORAGE_WRITE) || !r->sectors ||
        r->sectors > STORAGE_MAX_PAGES * (PAGE_SIZE / STORAGE_SECTOR) || r->sector % per_block ||
        r->sectors % per_block || r->sector >= s->sectors || r->sectors > s->sectors - r->sector)
        return -EINVAL;
    return r->op == STORAGE_WRITE && s->readonly ? -EROFS : 0;
}

int storage_submit(struct storage *s, struct storage_request *r)
{
    struct disk *d = s->disk;
    int err = check(s, r);

    if (err)
        return err;
    r->next = NULL;
    r->storage = s;
    r->issued = r->under_way = 0;
    r->err = 0;
    spin_lock(&d->lock);
    if (d->first)
        d->last->next = r;
    else
        d->first = r;
    d->last = r;
    spin_unlock(&d->lock);
    device_wake(&device, 0);
    return 0;
}

static bool all_issued(const struct storage_request *r)
{
    return r->op == STORAGE_FLUSH ? r->issued : r->issued == r->sectors;
}

/* Removes the first one; the list's other end belongs to whoever submits. */
static void take_first(struct disk *d)
{
    spin_lock(&d->lock);
    d->first = d->first->next;
    spin_unlock(&d->lock);
}

static struct storage_request *first_of(struct disk *d)
{
    struct storage_request *r;

    spin_lock(&d->lock);
    r = d->first;
    spin_unlock(&d->lock);
    return r;
}

/* The next command of a request. */
static void cut(const struct storage_request *r, struct disk_command *c)
{
    const struct storage *s = r->storage;
    uint64_t at = r->sector + r->issued, end;
    unsigned n;

    *c = (struct disk_command){ .op = r->op, .request = (struct storage_request *)r };
    if (r->op == STORAGE_FLUSH)
        return;
    n = piece_at(s, at);
    end = n + 1 < s->pieces ? s->piece[n + 1].first : s->sectors;
    c->sector = s->piece[n].sector + (at - s->piece[n].first);
    c->sectors = (uint32_t)MIN(end - at, (uint64_t)MIN(r->sectors - r->issued, s->disk->max_sectors));
    c->page = &r->page[r->issued / (PAGE_SIZE / STORAGE_SECTOR)];
    c->offset = r->issued * STORAGE_SECTOR % PAGE_SIZE;
}

uint32_t disk_piece(const struct disk_command *c, uint32_t at, struct hpa *to)
{
    uint32_t from = c->offset + at;

    *to = HPA(c->page[from / PAGE_SIZE].v + from % PAGE_SIZE);
    return (uint32_t)MIN(PAGE_SIZE - from % PAGE_SIZE, (uint64_t)c->sectors * STORAGE_SECTOR - at);
}

/* --- commands --------------------------------------------------------------------------------------------------- */

static void start(struct disk *d, unsigned slot)
{
    d->slot[slot].started = rdtsc();
    d->slot[slot].running = true;
    d->counts.commands++;
    d->busy++;
    d->ops->start(d, slot);
}

/* The slot is free. A request whose rest was not started yet is first in the list, and ends there. */
static void end(struct disk *d, unsigned slot, int err)
{
    struct storage_request *r = d->slot[slot].request;

    d->slot[slot].request = NULL;
    d->counts.errors += err != 0;
    if (err && !r->err)
        r->err = err;
    r->under_way--;
    if (!r->under_way && all_issued(r))
        r->done(r, r->err);
}

void disk_done(struct disk *d, unsigned slot, int err)
{
    struct disk_command *c = &d->slot[slot];

    c->running = false;
    d->busy--;
    d->alone = false;
    d->counts.ticks += rdtsc() - c->started;
    d->counts.sectors += c->sectors;
    end(d, slot, err);
}

void disk_lost(struct disk *d)
{
    d->lost = true;
}

static int free_slot(const struct disk *d)
{
    for (unsigned i = 0; i < d->depth; i++)
        if (!d->slot[i].request)
            return (int)i;
    return -1;
}

static bool flushing(const struct disk *d)
{
    for (unsigned i = 0; i < d->depth; i++)
        if (d->slot[i].request && d->slot[i].op == STORAGE_FLUSH)
            return true;
    return false;
}

static bool may_start(const struct disk *d, enum storage_op op)
{
    if (!d->busy)
        return true;
    return !d->alone && (!d->flush_alone || (op != STORAGE_FLUSH && !flushing(d)));
}

/* A part of the first request has failed, or the disk is gone: its rest is not tried. False: parts are under way. */
static bool drop_first(struct disk *d, struct storage_request *r)
{
    if (r->under_way)
        return false;
    take_first(d);
    r->done(r, r->err ? r->err : -EIO);
    return true;
}

/* Starts a command again that a reset has cut short, alone: an error is its own then. */
static bool start_again(struct disk *d)
{
    if (d->busy)
        return false;
    for (unsigned i = 0; i < d->depth; i++) {
        if (!d->slot[i].request)
            continue;
        d->waiting--;
        d->alone = true;
        start(d, i);
        return true;
    }
    return false;
}

/* Starts one command; false: nothing to start, or not now. */
static bool start_next(struct disk *d)
{
    struct storage_request *r;
    int slot;

    if (d->waiting)
        return start_again(d);
    r = first_of(d);
    if (!r)
        return false;
    if (r->err || d->dead)
        return drop_first(d, r);
    slot = free_slot(d);
    if (slot < 0 || !may_start(d, r->op))
        return false;
    cut(r, &d->slot[slot]);
    r->under_way++;
    r->issued += r->op == STORAGE_FLUSH ? 1 : d->slot[slot].sectors;
    if (all_issued(r))
        take_first(d);
    start(d, (unsigned)slot);
    return true;
}

static bool overdue(const struct disk_command *c, uint64_t now)
{
    uint64_t ms = c->op == STORAGE_FLUSH ? FLUSH_MS : COMMAND_MS;

    return c->running && now - c->started > ms * tsc_khz();
}

static bool any_overdue(const struct disk *d, uint64_t now)
{
    for (unsigned i = 0; i < d->depth; i++)
        if (overdue(&d->slot[i], now))
            return true;
    return false;
}

/* What was under way waits to be started again, unless it was what took too long, or has had its chances. */
static void after_reset(struct disk *d, unsigned slot, uint64_t now)
{
    struct disk_command *c = &d->slot[slot];
    bool late = overdue(c, now);

    if (!c->running)
        return;
    d->counts.timeouts += late;
    if (late || d->dead || c->resets++ == RESETS_MAX) {
        disk_done(d, slot, late ? -ETIMEDOUT : -EIO);
        return;
    }
    c->running = false;
    d->busy--;
    d->waiting++;
}

static void reset(struct disk *d, uint64_t now)
{
    d->lost = d->alone = false;
    d->counts.resets++;
    if (d->ops->reset(d)) {
        log_warn("disk %s does not come back after an error: it is given up", d->name);
        d->dead = true;
    }
    for (unsigned i = 0; i < d->depth; i++)
        after_reset(d, i, now);
    for (unsigned i = 0; i < d->depth && d->dead; i++)
        if (d->slot[i].request)
            end(d, i, -EIO);
    d->waiting = d->dead ? 0 : d->waiting;
}

static bool is_busy(struct disk *d)
{
    return d->busy || d->waiting || first_of(d);
}

/* True while something is under way. */
static bool poll_disk(struct disk *d, uint64_t now)
{
    if (now < d->rest_until || !is_busy(d))
        return is_busy(d);
    if (d->busy)
        d->ops->poll(d);
    if (d->lost || (d->busy && any_overdue(d, now)))
        reset(d, now);
    /* No more than fit: who submits again when one is over does not keep the processor. */
    for (unsigned i = 0; i < 2 * DISK_SLOTS && start_next(d); i++)
        ;
    d->counts.work += rdtsc() - now;
    return is_busy(d);
}

bool storage_poll(void)
{
    bool more = false;

    for (unsigned i = 0; i < disks_used; i++)
        more |= poll_disk(disks[i], rdtsc());
    return more;
}

static uint64_t poll_disks(struct device *d, uint64_t now)
{
    uint64_t soon = now + POLL_US * tsc_khz() / 1000, when = DEVICE_NEVER;

    (void)d;
    (void)storage_poll();
    for (unsigned i = 0; i < disks_used; i++)
        if (is_busy(disks[i]))
            when = MIN(when, MAX(soon, disks[i]->rest_until));
    return when;
}

/* Nobody waits for an answer any more. */
static void stop_disks(struct device *d)
{
    (void)d;
    for (unsigned i = 0; i < disks_used; i++)
        if (disks[i]->ops->stop)
            disks[i]->ops->stop(disks[i]);
    disks_used = storages_used = 0;
}
