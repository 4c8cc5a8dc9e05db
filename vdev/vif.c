/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/vif.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vdev/ism.h"
#include "vdev/net_parts.h"
#include "vdev/vif_parts.h"

/*
 * All that a guest writes is read once, into memory of ours, and only then looked at; but for a packet's data behind
 * its headers, which nobody looks at. One call ends after the packet with which so many bytes were delivered:
 * interrupts are off meanwhile.
 */
#define ENOUGH_BYTES (1u << 20)
#define PACKET_COST  2048u
#define TABLE_PART   16u       /* segments read at a time */

_Static_assert(sizeof(struct mb_net_packet) == 32 && sizeof(struct mb_net_filled) == 16, "ABI");
_Static_assert(sizeof(struct mb_net_ring) == 128 && sizeof(struct mb_net_identity) == 64, "ABI");
_Static_assert(sizeof(struct mb_net_segment) == 16, "ABI");

static void *alloc(const struct vifs *v, size_t size)
{
    struct hpa mem = page_alloc_zeroed(v->pmap->home, page_order(size), PAGE_HYPERVISOR);

    return mem.v ? hpa_ptr(mem) : NULL;
}

static void release(void *mem, size_t size)
{
    if (mem)
        page_free(ptr_hpa(mem), page_order(size));
}

void vifs_init(struct vifs *v, unsigned queues)
{
    memset(v, 0, sizeof(*v));
    v->queues = queues;
}

static void free_vif(struct vif *vif, unsigned queues)
{
    for (unsigned i = 0; i < queues; i++)
        release(vif->queue[i], sizeof(struct vif_queue));
    release(vif->ism, sizeof(struct ism));
    release(vif, sizeof(*vif));
}

/* Others' room is of interest to those queues only whose packets did not go. */
static void room(struct net_port *p)
{
    struct vif *vif = p->owner;
    bool wanted = false;

    for (unsigned i = 0; i < vif->all->queues; i++) {
        struct vif_queue *q = vif->queue[i];
        uint32_t want = 0;

        if (!atomic_exchange(&q->waits, false))
            continue;
        spin_lock(&q->receive); /* the ring stays */
        if (q->packets)
            (void)vif_get(q, offsetof(struct mb_net_ring, want), &want);
        spin_unlock(&q->receive);
        wanted |= want & MB_NET_WANT_ROOM;
    }
    if (wanted)
        vif->all->interrupt(vif->all->ctx);
}

static const struct net_port_ops port_ops = { .frame = vif_frame, .flush = vif_flush, .room = room };

struct vif *vifs_add(struct vifs *v)
{
    struct vif *vif = alloc(v, sizeof(*vif));
    bool whole = vif;

    if (vif) {
        vif->ism = alloc(v, sizeof(*vif->ism));
        whole = vif->ism;
    }
    for (unsigned i = 0; i < v->queues && whole; i++) {
        struct vif_queue *q = alloc(v, sizeof(*q));

        whole = q;
        vif->queue[i] = q;
        if (q) {
            q->vif = vif;
            q->index = i;
        }
    }
    if (!whole) {
        if (vif)
            free_vif(vif, v->queues);
        return NULL;
    }
    vif->all = v;
    vif->port.ops = &port_ops;
    vif->port.owner = vif;
    v->vif[v->count++] = vif;
    return vif;
}

void vifs_destroy(struct vifs *v)
{
    for (unsigned i = 0; i < v->count; i++) {
        ism_stop(v->vif[i]);
        net_detach(&v->vif[i]->port);
        free_vif(v->vif[i], v->queues);
    }
    v->count = 0;
}

int vif_stop(struct vif *v, int error, const char *why)
{
    if (!atomic_exchange(&v->stopped, true))
        log_warn("vm %s: interface %s has stopped: %s", v->all->name, v->port.name, why);
    return error;
}

/* The packet's pieces: its headers, or all of a short one, which are ours from now on, then the guest's. */
struct builder {
    struct vif_queue *q;
    unsigned pieces;
    uint32_t left;             /* bytes that are still to come */
};

static int add_segment(struct builder *b, const struct mb_net_segment *s)
{
    struct pmap *pmap = b->q->vif->all->pmap;
    struct net_piece *head = b->q->piece;
    uint32_t n = 0;
    int err = 0;

    if (!b->pieces)
        *head = (struct net_piece){ .at = b->q->head };

    if (!s->bytes || s->bytes > b->left || s->flags & ~MB_NET_STAYS || !pmap_is_ram(pmap, GPA(s->gpa), s->bytes))
        return -EINVAL;
    b->left -= s->bytes;
    if (b->pieces <= 1 && (!b->pieces || head->bytes + s->bytes <= NET_HEAD)) {
        n = MIN(s->bytes, NET_HEAD - head->bytes);
        err = pmap_read(pmap, GPA(s->gpa), b->q->head + head->bytes, n);
        head->bytes += n;
        b->pieces = 1;
    }
    if (n < s->bytes)
        b->q->piece[b->pieces++] = (struct net_piece){
            .pmap = pmap, .gpa = GPA(s->gpa + n), .bytes = s->bytes - n,
            .stays = s->flags & MB_NET_STAYS && b->q->vif->all->share,
        };
    return err;
}

static int add_table(struct builder *b, const struct mb_net_packet *p)
{
    struct mb_net_segment part[TABLE_PART];
    int err = 0;

    for (unsigned i = 0; i < p->segments && !err; i++) {
        size_t n = MIN(p->segments - i, TABLE_PART);

        if (i % TABLE_PART == 0)
            err = pmap_read(b->q->vif->all->pmap, GPA(p->address + i * sizeof(part[0])), part, n * sizeof(part[0]));
        if (!err)
            err = add_segment(b, &part[i % TABLE_PART]);
    }
    return err;
}

/* -EINVAL, -EFAULT and the like: the packet makes no sense. */
static int build(struct vif_queue *q, const struct mb_net_packet *p, struct net_frame *f)
{
    const struct mb_net_segment one = { .gpa = p->address, .bytes = p->bytes };
    struct builder b = { .q = q, .left = p->bytes };
    int err;

    if (p->zero || p->zero2 || p->bytes < MB_NET_MIN_BYTES || p->bytes > MB_NET_MAX_BYTES ||
        p->segments > MB_NET_MAX_SEGMENTS)
        return -EINVAL;
    if (p->segments)
        err = p->address % sizeof(one) ? -EINVAL : add_table(&b, p);
    else
        err = add_segment(&b, &one);
    *f = (struct net_frame){ .piece = q->piece, .pieces = b.pieces, .bytes = p->bytes, .offload = p->offload };
    return err ? err : b.left ? -EINVAL : 0;
}

/* The next packet. -EAGAIN: it cannot go now. */
static int send_one(struct vif_queue *q, struct net_batch *batch)
{
    struct net_port *port = &q->vif->port;
    struct mb_net_packet packet;
    struct net_frame f;
    int err = pmap_read(q->vif->all->pmap, vif_packet(q, q->taken), &packet, sizeof(packet));

    if (err)
        return err;
    q->work += PACKET_COST;
    if (build(q, &packet, &f)) {
        net_count(&port->counts.bad, 1);
    } else if (net_send(port, &f, batch) == -EAGAIN) {
        atomic_store(&q->waits, true);
        if (net_send(port, &f, batch) == -EAGAIN) /* room that came meanwhile told nobody */
            return -EAGAIN;
        atomic_store(&q->waits, false);
    }
    q->taken++;
    return 0;
}

/* send locked. The flush is the caller's, without it. *left: packets were submitted that did not go. */
static int64_t run(struct vif_queue *q, struct net_batch *batch, bool *left)
{
    uint32_t words[2], before = q->taken;
    int err = pmap_read(q->vif->all->pmap, q->ring, words, sizeof(words));

    if (!err && words[0] - q->taken > q->packets)
        return vif_stop(q->vif, -EPROTO, "more packets were submitted than its ring has");
    q->work = 0;
    while (!err && q->taken != words[0] && q->work + batch->bytes < ENOUGH_BYTES)
        err = send_one(q, batch);
    if (err == -EAGAIN)
        err = 0;
    *left = q->taken != words[0];
    if (!err && q->taken != before)
        err = vif_put(q, offsetof(struct mb_net_ring, taken), q->taken);
    return err ? vif_stop(q->vif, err, "no memory is left for its ring") : (int64_t)(q->taken - before);
}

/* Pages may have been posted: who waits for them is told. Our word and the ring's change together, under the lock. */
static void feed(struct vif_queue *q)
{
    bool hungry;

    if (!atomic_load(&q->hungry))
        return;
    spin_lock(&q->receive);
    hungry = atomic_exchange(&q->hungry, false);
    if (hungry && q->packets)
        (void)vif_put(q, offsetof(struct mb_net_ring, hungry), 0);
    spin_unlock(&q->receive);
    if (hungry)
        net_room(&q->vif->port);
}

static struct vif_queue *find(struct vifs *v, uint64_t vif, uint64_t queue)
{
    return vif < v->count && queue < v->queues ? v->vif[vif]->queue[queue] : NULL;
}

static bool in_range(uint64_t n, uint64_t most) { return n >= 2 && n <= most && !(n & (n - 1)); }

static int check_ring(const struct vifs *v, struct gpa ring, uint64_t packets, uint64_t pages)
{
    if (ring.v % PAGE_SIZE || !in_range(packets, MB_NET_MAX_PACKETS) || !in_range(pages, MB_NET_MAX_PAGES))
        return -EINVAL;
    return pmap_is_ram(v->pmap, ring, MB_NET_RING_SIZE(packets, pages)) ? 0 : -EFAULT;
}

static void set_ring(struct vif_queue *q, struct gpa ring, uint32_t packets, uint32_t pages)
{
    spin_lock(&q->send);
    spin_lock(&q->receive);
    q->ring = ring;
    q->packets = packets;
    q->pages = pages;
    q->taken = q->filled = q->posted = 0;
    q->full_since = 0;
    q->waiter = 0; /* its time will end */
    spin_unlock(&q->receive);
    spin_unlock(&q->send);
}

int64_t vifs_set_ring(struct vifs *v, uint64_t vif, uint64_t queue, struct gpa ring, uint64_t packets, uint64_t pages)
{
    struct vif_queue *q = find(v, vif, queue);
    int err = !q ? -ENODEV : packets | pages ? check_ring(v, ring, packets, pages) : 0;

    if (err)
        return err;
    if (atomic_load(&q->vif->stopped))
        return -EPROTO;
    set_ring(q, ring, (uint32_t)packets, (uint32_t)pages);
    if (atomic_exchange(&q->hungry, false))
        net_room(&q->vif->port); /* it does not come back */
    return 0;
}

static int64_t call(struct vif_queue *q, bool *left)
{
    struct net_batch batch = { 0 };
    int64_t result;

    if (!q)
        return -ENODEV;
    spin_lock(&q->send);
    if (atomic_load(&q->vif->stopped))
        result = -EPROTO;
    else
        result = q->packets ? run(q, &batch, left) : -ENXIO;
    spin_unlock(&q->send);
    net_flush(&q->vif->port, &batch);
    if (result >= 0)
        feed(q);
    return result;
}

int64_t vifs_run(struct vifs *v, uint64_t vif, uint64_t queue)
{
    bool left;

    return call(find(v, vif, queue), &left);
}

/* What was submitted in the vCPU's queues, and moves that wait; but: this queue was looked at already. */
static void send_rest(struct vifs *v, unsigned vcpu, const struct vif_queue *but)
{
    for (unsigned i = 0; i < v->count; i++) {
        struct vif_queue *q = v->vif[i]->queue[vcpu];
        struct net_batch batch = { 0 };
        uint32_t submitted;
        bool left;

        if (q == but || !q->packets || atomic_load(&q->vif->stopped) || !spin_trylock(&q->send))
            continue; /* or another vCPU of it is at it */
        if (q->packets && !vif_get(q, offsetof(struct mb_net_ring, submitted), &submitted) && submitted != q->taken)
            (void)run(q, &batch, &left);
        spin_unlock(&q->send);
        net_flush(&q->vif->port, &batch);
    }
    for (unsigned i = 0; i < v->count; i++)
        ism_idle(v->vif[i]);
}

void vifs_idle(struct vifs *v, unsigned vcpu)
{
    send_rest(v, vcpu, NULL);
}

/* Whoever fills a page afterwards sees the waiter. */
static bool nothing_new(struct vif_queue *q, unsigned vcpu, uint32_t seen)
{
    bool nothing;

    spin_lock(&q->receive);
    nothing = q->packets && q->filled == seen;
    q->waiter = nothing ? vcpu + 1 : 0;
    spin_unlock(&q->receive);
    return nothing;
}

int64_t vifs_wait(struct vifs *v, unsigned vcpu, uint64_t vif, uint64_t queue, uint32_t seen, bool *waits)
{
    struct vif_queue *q = find(v, vif, queue);
    bool left = false;
    int64_t result = call(q, &left);

    *waits = *waits && result >= 0 && !left && nothing_new(q, vcpu, seen);
    if (*waits)
        send_rest(v, vcpu, q);
    return result;
}

int64_t vifs_identify(struct vifs *v, uint64_t vif, struct gpa to)
{
    struct mb_net_identity id = { .queues = (uint16_t)v->queues };
    const struct net_port *p;

    if (vif >= v->count)
        return -ENODEV;
    p = &v->vif[vif]->port;
    memcpy(id.mac, p->mac, sizeof(id.mac));
    memcpy(id.network, net_name(p->net), strlen(net_name(p->net)));
    return pmap_write(v->pmap, to, &id, sizeof(id));
}
