/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/percpu.h"
#include "lib/string.h"
#include "numa/commons.h"
#include "vdev/net_bytes.h"
#include "vdev/net_parts.h"
#include "vdev/vif_parts.h"

/*
 * A frame into the pages that a guest has posted. A whole page of the frame, aligned where it lies, has one of its own
 * here, too, so that it can be shared or mapped; what lies between is packed. The sender's memory may change meanwhile:
 * that is its own harm.
 */
#define WAIT_MS   10u          /* so long somebody may wait for pages, then frames are lost until some are posted */
#define AT_A_TIME 32u          /* entries of the ring that are read or written together */
#define RUN_BYTES (64u * 1024) /* copied together, at most: others wait for the VMs' memory meanwhile */

/* Where a frame is being read. */
struct cursor {
    const struct net_piece *piece, *end;
    uint32_t at;               /* bytes of the piece that were read */
    uint32_t fill;             /* of the page that is being filled */
};

/* What comes next: inside one page where it goes, or so many whole pages. */
struct step { const struct net_piece *piece; uint32_t at, bytes, to; bool whole; };

static bool next_step(struct cursor *c, struct step *s)
{
    const struct net_piece *p;
    uint32_t left, in_page;

    while (c->piece < c->end && c->at == c->piece->bytes) {
        c->piece++;
        c->at = 0;
    }
    if (c->piece == c->end)
        return false;
    p = c->piece;
    left = p->bytes - c->at;
    in_page = p->pmap ? (uint32_t)((p->gpa.v + c->at) % PAGE_SIZE) : 1;
    s->whole = !in_page && left >= PAGE_SIZE;
    if (s->whole || c->fill == PAGE_SIZE)
        c->fill = 0;
    if (p->pmap && !s->whole)
        left = MIN(left, (uint32_t)PAGE_SIZE - in_page);
    s->piece = p;
    s->at = c->at;
    s->to = c->fill;
    s->bytes = s->whole ? ALIGN_DOWN(left, (uint32_t)PAGE_SIZE) : MIN(left, (uint32_t)PAGE_SIZE - c->fill);
    c->at += s->bytes;
    c->fill = s->whole ? PAGE_SIZE : c->fill + s->bytes;
    return true;
}

static struct cursor begin(const struct net_frame *f)
{
    return (struct cursor){ .piece = f->piece, .end = f->piece + f->pieces };
}

static uint32_t pages_for(const struct net_frame *f)
{
    struct cursor c = begin(f);
    uint32_t pages = 0;
    struct step s;

    while (next_step(&c, &s))
        pages += s.whole ? s.bytes / PAGE_SIZE : !s.to;
    return pages;
}

/* The frame that is being written. */
struct writer {
    struct vif_queue *q;
    struct pmap *pmap;
    uint64_t page[AT_A_TIME];  /* addresses of pages, and what is to be said of them */
    struct mb_net_filled filled[AT_A_TIME];
    uint32_t n;                /* pages begun */
    uint32_t placed;
    /* Whole pages that are to be shared together, all of one sender. */
    struct pmap *sender;
    struct gpa from[PMAP_PLACE_MOST], to[PMAP_PLACE_MOST];
    unsigned held;
    /* What is to be copied together, from one piece: it lies together at both ends. */
    struct { const struct net_piece *piece; struct gpa from, to; uint32_t bytes; } run;
};

/* Those of the last pages, up to where the ring ends. */
static int write_filled(struct writer *w, uint32_t n)
{
    uint32_t first = w->q->filled + w->n - n, before_end = MIN(n, w->q->pages - first % w->q->pages);
    int err = pmap_write(w->pmap, vif_filled(w->q, first), w->filled, before_end * sizeof(w->filled[0]));

    if (!err && n > before_end)
        err = pmap_write(w->pmap, vif_filled(w->q, first + before_end), w->filled + before_end,
                         (n - before_end) * sizeof(w->filled[0]));
    return err;
}

static int read_pages(struct writer *w, uint32_t n)
{
    uint32_t first = w->q->filled + w->n, before_end = MIN(n, w->q->pages - first % w->q->pages);
    int err = pmap_read(w->pmap, vif_page(w->q, first), w->page, before_end * sizeof(w->page[0]));

    if (!err && n > before_end)
        err = pmap_read(w->pmap, vif_page(w->q, first + before_end), w->page + before_end,
                        (n - before_end) * sizeof(w->page[0]));
    return err;
}

/* One more page, of those that the frame needs. */
static int begin_page(struct writer *w, uint32_t needed)
{
    uint32_t i = w->n % AT_A_TIME;
    int err = 0;

    if (!i && w->n)
        err = write_filled(w, AT_A_TIME);
    if (!err && !i)
        err = read_pages(w, MIN(needed - w->n, AT_A_TIME));
    if (!err && (w->page[i] % PAGE_SIZE || !pmap_is_ram(w->pmap, GPA(w->page[i]), PAGE_SIZE)))
        err = -EPROTO;
    w->filled[i] = (struct mb_net_filled){ 0 };
    w->n++;
    return err;
}

/* As many as can be, from this one on, without copying them. Returns how many. */
static unsigned place(struct writer *w, unsigned first)
{
    struct pmap_placed p[PMAP_PLACE_MOST];
    struct hpa page[PMAP_PLACE_MOST];
    unsigned shared = pmap_share_pages(w->sender, w->from + first, w->held - first, page), placed;

    for (unsigned i = 0; i < shared; i++)
        p[i] = (struct pmap_placed){ w->to[first + i], page[i] };
    placed = pmap_place_pages(w->pmap, p, shared, cpu_this()->node);
    for (unsigned i = placed; i < shared; i++)
        commons_drop(page[i]);
    w->placed += placed;
    return placed;
}

static int place_held(struct writer *w)
{
    int err = 0;

    for (unsigned i = 0; i < w->held && !err; i++) {
        i += place(w, i);
        if (i < w->held) /* this one cannot be */
            err = pmap_copy(w->pmap, w->to[i], w->sender, w->from[i], PAGE_SIZE);
    }
    w->held = 0;
    return err;
}

static bool may_place(const struct writer *w, const struct step *s)
{
    return s->whole && s->piece->stays && w->q->vif->all->share;
}

static int hold(struct writer *w, const struct step *s, struct gpa to)
{
    int err = 0;

    if (w->held == PMAP_PLACE_MOST || (w->held && w->sender != s->piece->pmap))
        err = place_held(w);
    w->sender = s->piece->pmap;
    w->from[w->held] = GPA(s->piece->gpa.v + s->at);
    w->to[w->held++] = to;
    return err;
}

static int copy_run(struct writer *w)
{
    uint32_t n = w->run.bytes;

    w->run.bytes = 0;
    return n ? pmap_copy(w->pmap, w->run.to, w->run.piece->pmap, w->run.from, n) : 0;
}

/* Behind the run at both ends, and there still in one stretch of memory? */
static bool goes_on(const struct writer *w, const struct step *s, struct gpa to)
{
    uint32_t n = w->run.bytes;

    return n && n < RUN_BYTES && w->run.piece == s->piece && w->run.to.v + n == to.v &&
           pmap_is_ram(w->pmap, w->run.to, n + s->bytes);
}

static int copy(struct writer *w, const struct step *s, struct gpa to)
{
    struct gpa from = GPA(s->piece->gpa.v + s->at);
    int err = 0;

    if (!goes_on(w, s, to)) {
        err = copy_run(w);
        w->run.piece = s->piece;
        w->run.from = from;
        w->run.to = to;
    }
    w->run.bytes += s->bytes;
    return err;
}

static int move(struct writer *w, const struct step *s)
{
    struct gpa to = GPA(w->page[(w->n - 1) % AT_A_TIME] + s->to);

    if (may_place(w, s))
        return hold(w, s, to);
    if (!s->piece->pmap)
        return pmap_write(w->pmap, to, s->piece->at + s->at, s->bytes);
    return copy(w, s, to);
}

static int write_part(struct writer *w, const struct net_frame *f, const struct step *s, uint32_t needed)
{
    int err = s->to ? 0 : begin_page(w, needed);

    if (w->n == 1 && !s->to)
        w->filled[0] = (struct mb_net_filled){ .pages = (uint16_t)needed, .total = f->bytes, .offload = f->offload };
    w->filled[(w->n - 1) % AT_A_TIME].bytes += (uint16_t)s->bytes;
    return err ? err : move(w, s);
}

/* Page by page where it goes. */
static int write_step(struct writer *w, const struct net_frame *f, const struct step *s, uint32_t needed)
{
    struct step part = *s;
    int err = 0;

    for (uint32_t left = s->bytes; left && !err; left -= part.bytes, part.at += part.bytes) {
        part.bytes = MIN(left, (uint32_t)PAGE_SIZE);
        err = write_part(w, f, &part, needed);
    }
    return err;
}

static int write_frame(struct writer *w, const struct net_frame *f, uint32_t needed)
{
    struct cursor c = begin(f);
    struct step s;
    int err = 0;

    while (!err && next_step(&c, &s))
        err = write_step(w, f, &s, needed);
    if (!err)
        err = place_held(w);
    if (!err)
        err = copy_run(w);
    return err ? err : write_filled(w, (w->n - 1) % AT_A_TIME + 1);
}

/* All of it is ours already, one piece for one page. */
static bool is_short(const struct net_frame *f) { return f->pieces == 1 && !f->piece->pmap && f->bytes <= PAGE_SIZE; }

static int write_short(struct writer *w, const struct net_frame *f)
{
    int err = begin_page(w, 1);

    w->filled[0] = (struct mb_net_filled){ .bytes = (uint16_t)f->bytes, .pages = 1, .total = f->bytes,
                                           .offload = f->offload };
    if (!err)
        err = pmap_write(w->pmap, GPA(w->page[0]), f->piece->at, f->bytes);
    return err ? err : write_filled(w, 1);
}

/* Does the guest have so many pages for us? 0, -EAGAIN, or an error of the ring. receive locked. */
static int look_for_pages(struct vif_queue *q, uint32_t needed)
{
    int err;

    if (q->posted - q->filled >= needed)
        return 0;
    err = vif_get(q, offsetof(struct mb_net_ring, posted), &q->posted);
    if (err)
        return err;
    if (q->posted - q->filled > q->pages)
        return vif_stop(q->vif, -EPROTO, "more pages were posted than its ring has");
    return q->posted - q->filled >= needed ? 0 : -EAGAIN;
}

/* The first who finds no room starts the clock. */
static int no_room(struct vif_queue *q)
{
    uint64_t now = rdtsc();

    if (!q->full_since)
        q->full_since = now;
    if (now - q->full_since > WAIT_MS * tsc_khz())
        return -ENOSPC;
    if (!atomic_exchange(&q->hungry, true))
        (void)vif_put(q, offsetof(struct mb_net_ring, hungry), 1);
    return -EAGAIN;
}

static int give(struct vif_queue *q, const struct net_frame *f)
{
    uint32_t needed = is_short(f) ? 1 : pages_for(f);
    struct writer w;
    int err;

    if (needed > q->pages)
        return -ENOSPC;
    err = look_for_pages(q, needed);
    if (err)
        return err == -EAGAIN ? no_room(q) : err;
    q->full_since = 0;
    w.q = q;
    w.pmap = q->vif->all->pmap;
    w.n = w.placed = w.held = w.run.bytes = 0;
    err = is_short(f) ? write_short(&w, f) : write_frame(&w, f, needed);
    if (!err)
        err = vif_put(q, offsetof(struct mb_net_ring, filled), q->filled + needed);
    if (err) /* of its own memory: what was written so far is written over by the next */
        return err == -EPROTO ? vif_stop(q->vif, err, "what it has posted is no page of its memory") : -ENOSPC;
    q->filled += needed;
    net_count(&q->vif->port.counts.placed, w.placed);
    net_count(&q->vif->port.counts.copied, f->bytes - w.placed * (uint32_t)PAGE_SIZE);
    return 0;
}

/* Equal for all packets of a connection. */
static uint32_t flow_of(const uint8_t *head, uint32_t n)
{
    bool six = get16(head + 12) == NET_TYPE_IP6;
    uint32_t from = NET_ETH + (six ? 8 : 12), bytes = six ? 32 : 8, flow = 0;

    if ((!six && get16(head + 12) != NET_TYPE_IP4) || n < from + bytes + 4)
        return 0;
    for (uint32_t i = 0; i < bytes; i += 4)
        flow ^= get32(head + from + i);
    if (six ? head[20] == NET_TCP || head[20] == NET_UDP
            : head[14] == 0x45 && !(get16(head + 20) & 0x3fff) && (head[23] == NET_TCP || head[23] == NET_UDP))
        flow ^= get32(head + from + bytes);
    return flow * 0x9e3779b1u >> 16;
}

/* A queue that has a ring; NULL: none has. */
static struct vif_queue *choose(const struct vif *v, const struct net_frame *f)
{
    unsigned queues = v->all->queues, first = 0;

    if (queues > 1)
        first = flow_of(f->piece->at, net_head_bytes(f)) % queues;
    for (unsigned i = 0; i < queues; i++) {
        struct vif_queue *q = v->queue[(first + i) % queues];

        if (q->packets)
            return q;
    }
    return NULL;
}

int vif_frame(struct net_port *p, const struct net_frame *f)
{
    struct vif *v = p->owner;
    struct vif_queue *q = choose(v, f);
    int err = -ENOSPC;

    if (!q)
        return err;
    spin_lock(&q->receive);
    if (q->packets && !atomic_load(&v->stopped))
        err = give(q, f);
    spin_unlock(&q->receive);
    if (!err)
        atomic_fetch_or(&v->filled, BIT(q->index));
    return err;
}

/*
 * Who waits for its pages is woken; true: an interrupt is wanted, too. Guest: want, then filled; here: filled, then want.
 * One of them sees the other's.
 */
static bool tell(struct vif_queue *q)
{
    const struct vifs *all = q->vif->all;
    unsigned waiter;
    uint32_t want = 0;

    atomic_thread_fence(memory_order_seq_cst);
    spin_lock(&q->receive);
    waiter = q->waiter;
    q->waiter = 0;
    if (q->packets)
        (void)vif_get(q, offsetof(struct mb_net_ring, want), &want);
    spin_unlock(&q->receive);
    if (waiter)
        all->wake(all->ctx, waiter - 1);
    return want & MB_NET_WANT_PACKETS;
}

void vif_flush(struct net_port *p)
{
    struct vif *v = p->owner;
    bool wanted = false;

    for (uint64_t left = atomic_exchange(&v->filled, 0); left; left &= left - 1)
        wanted |= tell(v->queue[__builtin_ctzll(left)]);
    if (wanted)
        v->all->interrupt(v->all->ctx);
}
