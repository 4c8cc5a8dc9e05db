/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/ism.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vdev/net_parts.h"

/*
 * A token says where a buffer is: the port's index, the buffer's generation, its number. Who has it not may guess it,
 * and gains nothing: the buffer's owner has said who may write.
 */
#define TOKEN_PORT_SHIFT 40
#define TOKEN_GENERATION_SHIFT 8
#define UNSEEN_MOST 3u         /* that one peer may have told another; so there is always room for the news of all */
#define COPY_BYTES (64u * 1024) /* at a time: others wait for the VMs' memory meanwhile */

_Static_assert(MB_ISM_NEWS >= MB_ISM_BUFFERS + NET_MAX_PORTS * (UNSEEN_MOST + 1), "room for what was not seen");
_Static_assert(MB_ISM_BUFFERS <= BIT(TOKEN_GENERATION_SHIFT), "a token's low byte");
_Static_assert(sizeof(struct mb_ism_head) == 128 && sizeof(struct mb_ism_move) == 32, "ABI");

static uint64_t token_of(const struct vif *v, unsigned n)
{
    return (uint64_t)v->port.index << TOKEN_PORT_SHIFT |
           (uint64_t)v->ism->buffer[n].generation << TOKEN_GENERATION_SHIFT | n;
}

/* NULL: it is no token of this interface, or no more. Lock held. */
static struct ism_buffer *buffer_of(const struct vif *v, uint64_t token)
{
    struct ism_buffer *b = &v->ism->buffer[token % BIT(TOKEN_GENERATION_SHIFT)];

    return v->ism->started && b->peer && token_of(v, (unsigned)(b - v->ism->buffer)) == token ? b : NULL;
}

static struct gpa news_at(const struct ism *m, uint32_t n)
{
    return GPA(m->queue.v + offsetof(struct mb_ism_queue, news) + n % MB_ISM_NEWS * sizeof(struct mb_ism_news));
}

/* What the guest has written, after all that we have: it is quiet, and how many it has seen. Lock held. */
static int look(struct vif *v, uint32_t *seen, bool *quiet)
{
    uint32_t words[2] = { 0 };
    int err;

    atomic_thread_fence(memory_order_seq_cst);
    err = pmap_read(v->all->pmap, v->ism->queue, words, sizeof(words));
    *seen = words[0];
    *quiet = words[1];
    return err;
}

/*
 * Is it among what the guest has not seen? A count of it that makes no sense loses its own news only. Lock held.
 */
static bool unseen(const struct ism *m, uint32_t n, uint32_t seen) { return m->written - n <= m->written - seen; }

/* Whom to tell of news, once the lock is free. */
struct audience {
    uint64_t waiters;
    bool interrupt;
};

/* Lock held, started. */
static int add_news(struct vif *v, const struct mb_ism_news *news, struct audience *a)
{
    struct ism *m = v->ism;
    struct pmap *pmap = v->all->pmap;
    uint32_t seen, next = m->written + 1;
    bool quiet;
    int err = pmap_write(pmap, news_at(m, m->written), news, sizeof(*news));

    if (!err)
        err = pmap_write(pmap, GPA(m->queue.v + offsetof(struct mb_ism_head, written)), &next, sizeof(next));
    if (err)
        return err;
    m->said_by[m->written % MB_ISM_NEWS] = news->kind == MB_ISM_EVENT ? news->peer : 0;
    m->written = next;
    err = look(v, &seen, &quiet);
    a->interrupt |= !err && !quiet && seen == next - 1;
    a->waiters |= m->waiters;
    m->waiters = 0;
    return err;
}

static void tell(const struct vif *v, const struct audience *a)
{
    for (uint64_t left = a->waiters; left; left &= left - 1)
        v->all->wake(v->all->ctx, (unsigned)__builtin_ctzll(left));
    if (a->interrupt)
        v->all->ism_interrupt(v->all->ctx);
}

/* A peer's buffers are open to this id no more. */
static void part(struct net_port *p, void *ctx)
{
    uint64_t id = *(const uint64_t *)ctx;
    const struct mb_ism_news news = { .kind = MB_ISM_GONE, .peer = id };
    struct audience a = { 0 };
    struct vif *v = p->owner;
    bool knew = false;

    if (p->uplink)
        return;
    spin_lock(&v->ism->lock);
    for (unsigned i = 0; i < MB_ISM_BUFFERS; i++) {
        if (v->ism->buffer[i].peer != id)
            continue;
        v->ism->buffer[i].peer = ISM_NOBODY;
        knew = true;
    }
    if (knew)
        (void)add_news(v, &news, &a);
    spin_unlock(&v->ism->lock);
    tell(v, &a);
}

void ism_stop(struct vif *v)
{
    uint64_t id = net_port_mac(&v->port);
    bool was;

    if (!v->port.net)
        return;
    spin_lock(&v->ism->lock);
    was = v->ism->started;
    v->ism->started = false;
    v->ism->waiters = 0; /* their time will end */
    for (unsigned i = 0; i < MB_ISM_BUFFERS; i++)
        v->ism->buffer[i].peer = 0;
    spin_unlock(&v->ism->lock);
    if (was)
        net_each_port(v->port.net, part, &id);
}

static void begin(struct vif *v, struct gpa queue)
{
    struct ism *m = v->ism;

    spin_lock(&m->lock);
    m->queue = queue;
    m->written = 0;
    for (unsigned i = 0; i < MB_ISM_BUFFERS; i++)
        m->buffer[i].ever_told = false;
    memset(m->said_by, 0, sizeof(m->said_by));
    m->started = true;
    spin_unlock(&m->lock);
}

int64_t ism_start(struct vifs *all, uint64_t vif, struct gpa queue)
{
    struct vif *v = vifs_at(all, vif);
    struct mb_ism_head head = { 0 };
    int err;

    if (!v)
        return -ENODEV;
    if (!queue.v) {
        ism_stop(v);
        return 0;
    }
    if (v->port.rate.per_second)
        return -ENOTSUP;
    if (queue.v % PAGE_SIZE)
        return -EINVAL;
    if (!pmap_is_ram(all->pmap, queue, sizeof(struct mb_ism_queue)))
        return -EFAULT;
    ism_stop(v);
    head.network = net_number(&v->port);
    head.id = net_port_mac(&v->port);
    err = pmap_write(all->pmap, queue, &head, sizeof(head));
    if (!err)
        begin(v, queue);
    return err;
}

/* 0: the interface with that number may be used; *v is it. */
static int find(struct vifs *all, uint64_t vif, struct vif **v)
{
    *v = vifs_at(all, vif);
    if (!*v)
        return -ENODEV;
    return atomic_load(&(*v)->ism->started) ? 0 : -ENXIO;
}

/* The other interface with this id, if it takes part: it stays until put. */
static struct vif *get_peer(struct vif *v, uint64_t id)
{
    struct net_port *p = net_find_port(&v->port, id);
    struct vif *peer = p ? p->owner : NULL;

    if (peer && (peer == v || !atomic_load(&peer->ism->started))) {
        net_put_port(p);
        peer = NULL;
    }
    return peer;
}

static void put_peer(struct vif *peer) { net_put_port(&peer->port); }

int64_t ism_peer(struct vifs *all, uint64_t vif, uint64_t id)
{
    struct vif *v, *peer;
    int err = find(all, vif, &v);

    if (err)
        return err;
    peer = get_peer(v, id);
    if (!peer)
        return -EHOSTUNREACH;
    put_peer(peer);
    return 0;
}

static int64_t open_one(struct vif *v, const struct ism_buffer *as)
{
    struct ism *m = v->ism;
    int64_t token = -ENOSPC;

    spin_lock(&m->lock);
    for (unsigned i = 0; i < MB_ISM_BUFFERS && m->started && token < 0; i++) {
        struct ism_buffer *b = &m->buffer[i];

        if (b->peer)
            continue;
        b->at = as->at;
        b->bytes = as->bytes;
        b->peer = as->peer;
        b->generation++;
        token = (int64_t)token_of(v, i);
    }
    spin_unlock(&m->lock);
    return token;
}

int64_t ism_open(struct vifs *all, uint64_t vif, struct gpa at, uint64_t bytes, uint64_t id)
{
    struct vif *v, *peer;
    int64_t token;
    int err = find(all, vif, &v);

    if (err)
        return err;
    if (at.v % PAGE_SIZE || !bytes || bytes % PAGE_SIZE || bytes > MB_ISM_MAX_BYTES)
        return -EINVAL;
    if (!pmap_is_ram(all->pmap, at, bytes))
        return -EFAULT;
    peer = get_peer(v, id);
    if (!peer)
        return -EHOSTUNREACH;
    token = open_one(v, &(struct ism_buffer){ .at = at, .bytes = (uint32_t)bytes, .peer = id });
    if (token >= 0 && !atomic_load(&peer->ism->started)) { /* it has gone meanwhile, and perhaps not seen this one */
        (void)ism_close(all, vif, (uint64_t)token);
        token = -EHOSTUNREACH;
    }
    put_peer(peer);
    return token;
}

int64_t ism_close(struct vifs *all, uint64_t vif, uint64_t token)
{
    struct ism_buffer *b;
    struct vif *v;
    int err = find(all, vif, &v);

    if (err)
        return err;
    spin_lock(&v->ism->lock);
    b = buffer_of(v, token);
    if (b)
        b->peer = 0;
    spin_unlock(&v->ism->lock);
    return b ? 0 : -ENOENT;
}

/*
 * The buffer's owner is told, unless it has not seen yet that it was told before. What could not be told, for want of
 * memory, is told the next time. Lock held.
 */
static int signal(struct vif *v, struct ism_buffer *b, struct audience *a)
{
    struct mb_ism_news news = { .kind = MB_ISM_WRITTEN, .number = (uint32_t)(b - v->ism->buffer), .peer = b->peer };
    uint32_t seen, n = v->ism->written;
    bool quiet;
    int err = 0;

    if (b->ever_told)
        err = look(v, &seen, &quiet);
    if (err || (b->ever_told && unseen(v->ism, b->told, seen)))
        return err;
    err = add_news(v, &news, a);
    if (v->ism->written != n) {
        b->told = n;
        b->ever_told = true;
    }
    return err;
}

/* Into the buffer, which stays open meanwhile: its lock is held. */
static int copy(struct vif *to, const struct ism_buffer *b, struct vif *from, const struct mb_ism_move *m)
{
    int err = 0;

    for (uint32_t at = 0, n; at < m->bytes && !err; at += n) {
        n = MIN(m->bytes - at, COPY_BYTES);
        err = pmap_copy(to->all->pmap, GPA(b->at.v + m->offset + at), from->all->pmap, GPA(m->gpa + at), n);
    }
    return err;
}

static int move_into(struct vif *to, struct vif *from, const struct mb_ism_move *m)
{
    struct audience a = { 0 };
    struct ism_buffer *b;
    int err;

    spin_lock(&to->ism->lock);
    b = buffer_of(to, m->token);
    if (!b || b->peer != net_port_mac(&from->port))
        err = -ENOENT;
    else if (m->offset > b->bytes || m->bytes > b->bytes - m->offset)
        err = -EINVAL;
    else
        err = copy(to, b, from, m);
    if (!err && m->flags & MB_ISM_SIGNAL)
        err = signal(to, b, &a);
    spin_unlock(&to->ism->lock);
    tell(to, &a);
    return err;
}

static int move(struct vif *from, const struct mb_ism_move *m)
{
    struct net_port *p;
    int err;

    if (!m->bytes || m->flags & ~MB_ISM_SIGNAL || m->zero)
        return -EINVAL;
    p = m->token >> TOKEN_PORT_SHIFT < NET_MAX_PORTS ?
        net_get_port(&from->port, (unsigned)(m->token >> TOKEN_PORT_SHIFT)) : NULL;
    if (!p)
        return -ENOENT;
    err = move_into(p->owner, from, m);
    net_put_port(p);
    if (!err) {
        net_count(&from->port.counts.moves, 1);
        net_count(&from->port.counts.moved, m->bytes);
    }
    return err;
}

static int64_t do_moves(struct vif *v, struct gpa moves, uint64_t count)
{
    struct mb_ism_move m[MB_ISM_MAX_MOVES];
    uint64_t done = 0, bytes = 0;
    int err = pmap_read(v->all->pmap, moves, m, count * sizeof(m[0]));

    while (!err && done < count && bytes < MB_ISM_MAX_BYTES) {
        err = move(v, &m[done]);
        if (!err)
            bytes += m[done++].bytes;
    }
    return done ? (int64_t)done : err;
}

int64_t ism_move(struct vifs *all, uint64_t vif, struct gpa moves, uint64_t count)
{
    struct vif *v;
    int err = find(all, vif, &v);

    if (err)
        return err;
    if (moves.v % 16 || !count || count > MB_ISM_MAX_MOVES)
        return -EINVAL;
    return do_moves(v, moves, count);
}

static struct gpa lock_at(struct gpa queue) { return GPA(queue.v + offsetof(struct mb_ism_head, lock)); }

/* Nobody of the guest's is at it, nor will be until it is given back. */
static bool take_lock(struct pmap *pmap, struct gpa queue)
{
    char *page = pmap_hold(pmap, lock_at(queue));
    uint32_t none = 0;
    bool taken;

    if (!page)
        return false;
    taken = atomic_compare_exchange_strong((_Atomic uint32_t *)page, &none, MB_ISM_HYPERVISOR);
    pmap_release(pmap);
    return taken;
}

/* Its page may be a shared one by now. */
static void give_lock(struct pmap *pmap, struct gpa queue)
{
    const uint32_t none = 0;

    (void)pmap_write(pmap, lock_at(queue), &none, sizeof(none));
}

/* The queue's lock is ours. */
static void move_later(struct vif *v, struct gpa queue)
{
    struct gpa at = GPA(queue.v + offsetof(struct mb_ism_head, later));
    uint32_t later = 0, none = 0;

    if (pmap_read(v->all->pmap, at, &later, sizeof(later)) || !later || later > MB_ISM_LATER)
        return;
    if (do_moves(v, GPA(queue.v + offsetof(struct mb_ism_queue, move)), later) == (int64_t)later)
        (void)pmap_write(v->all->pmap, at, &none, sizeof(none));
}

void ism_idle(struct vif *v)
{
    uint32_t words[4] = { 0 };
    struct gpa queue;

    if (!atomic_load(&v->ism->started))
        return;
    spin_lock(&v->ism->lock);
    queue = v->ism->queue;
    spin_unlock(&v->ism->lock);
    if (pmap_read(v->all->pmap, queue, words, sizeof(words)) || words[2] || !words[3] ||
        !take_lock(v->all->pmap, queue))
        return;
    move_later(v, queue);
    give_lock(v->all->pmap, queue);
}

bool ism_waits(struct vifs *all, unsigned vcpu, uint64_t vif, uint32_t known)
{
    struct vif *v = vifs_at(all, vif);
    struct ism *m = v ? v->ism : NULL;
    bool nothing;

    if (!m)
        return false;
    spin_lock(&m->lock);
    nothing = m->started && m->written == known;
    if (nothing)
        m->waiters |= BIT(vcpu);
    spin_unlock(&m->lock);
    if (nothing)
        vifs_idle(all, vcpu);
    return nothing;
}

/* How many of what this one has told are still to be seen. Lock held. */
static unsigned unseen_of(const struct ism *m, uint64_t id, uint32_t seen)
{
    unsigned n = 0;

    for (uint32_t i = m->written - MIN(m->written - seen, MB_ISM_NEWS); i != m->written; i++)
        n += m->said_by[i % MB_ISM_NEWS] == id;
    return n;
}

static bool knows(const struct ism *m, uint64_t id)
{
    for (unsigned i = 0; i < MB_ISM_BUFFERS; i++)
        if (m->buffer[i].peer == id)
            return true;
    return false;
}

int64_t ism_tell(struct vifs *all, uint64_t vif, uint64_t id, uint32_t number, uint64_t info)
{
    struct mb_ism_news news = { .kind = MB_ISM_EVENT, .number = number, .info = info };
    struct audience a = { 0 };
    struct vif *v, *peer;
    uint32_t seen;
    bool quiet;
    int err = find(all, vif, &v);

    if (err)
        return err;
    news.peer = net_port_mac(&v->port);
    peer = get_peer(v, id);
    if (!peer)
        return -EHOSTUNREACH;
    spin_lock(&peer->ism->lock);
    err = peer->ism->started && knows(peer->ism, news.peer) ? look(peer, &seen, &quiet) : -EHOSTUNREACH;
    if (!err)
        err = unseen_of(peer->ism, news.peer, seen) < UNSEEN_MOST ? add_news(peer, &news, &a) : -EAGAIN;
    spin_unlock(&peer->ism->lock);
    tell(peer, &a);
    put_peer(peer);
    return err;
}
