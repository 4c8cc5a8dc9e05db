/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/net.h"
#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vdev/net_filter.h"
#include "vdev/net_parts.h"

/* Addresses that were seen behind uplinks: the place is the address' hash, and a new one takes it. */
#define LEARNED 256u
#define NOWHERE 0xffu
#define BURST_SHARE 20u        /* of a second */
#define MAC_MASK (BIT(48) - 1)

struct net {
    char name[NET_NAME_MAX];
    struct spinlock lock;      /* guards the rest; nothing is called under it */
    struct net_port *port[NET_MAX_PORTS];
    uint64_t mac[NET_MAX_PORTS]; /* of the ports, UINT64_MAX: none or an uplink */
    uint64_t uplinks, vifs;    /* ports by index */
    struct { uint64_t mac; unsigned port; } learned[LEARNED];
};

static struct spinlock names_lock;
static struct net networks[NET_MAX];

static uint64_t mac_of(const uint8_t *at)
{
    uint64_t mac = 0;

    memcpy(&mac, at, NET_MAC);
    return mac;
}

static unsigned hash_of(uint64_t mac) { return (unsigned)(mac * 0x9e3779b97f4a7c15 >> 56) % LEARNED; }

struct net *net_named(const char *name)
{
    struct net *found = NULL;

    spin_lock(&names_lock);
    for (unsigned i = 0; i < NET_MAX && !found; i++) {
        struct net *n = &networks[i];

        if (!n->name[0]) {
            memcpy(n->name, name, MIN(strlen(name), (size_t)NET_NAME_MAX - 1));
            memset(n->mac, 0xff, sizeof(n->mac));
        }
        if (!strncmp(n->name, name, NET_NAME_MAX - 1))
            found = n;
    }
    spin_unlock(&names_lock);
    return found;
}

struct net *net_at(unsigned index)
{
    return index < NET_MAX && networks[index].name[0] ? &networks[index] : NULL;
}

const char *net_name(const struct net *n) { return n->name; }

/* Lock held. */
static int add_port(struct net *n, struct net_port *p)
{
    uint64_t mac = p->uplink ? UINT64_MAX : mac_of(p->mac);
    unsigned index = NET_MAX_PORTS;

    for (unsigned i = NET_MAX_PORTS; i-- > 0;) {
        if (!n->port[i])
            index = i;
        else if (!p->uplink && n->mac[i] == mac)
            return -EEXIST;
    }
    if (index == NET_MAX_PORTS)
        return -ENOSPC;
    n->port[index] = p;
    n->mac[index] = mac;
    *(p->uplink ? &n->uplinks : &n->vifs) |= BIT(index);
    p->index = index;
    p->net = n;
    return 0;
}

int net_attach(struct net *n, struct net_port *p)
{
    struct hpa page = HPA_NONE;
    int err;

    if (p->wire) {
        page = page_alloc(0, PAGE_ORDER_4K, PAGE_HYPERVISOR);
        if (!page.v)
            return -ENOMEM;
        p->wire_buffer = hpa_ptr(page);
    }
    p->rate.last = rdtsc();
    spin_lock(&n->lock);
    err = add_port(n, p);
    spin_unlock(&n->lock);
    if (err && page.v)
        page_free(page, PAGE_ORDER_4K);
    return err;
}

/* Others no longer wait for this port, nor it for them. */
static void forget(struct net *n, const struct net_port *p)
{
    n->port[p->index] = NULL;
    n->mac[p->index] = UINT64_MAX;
    n->uplinks &= ~BIT(p->index);
    n->vifs &= ~BIT(p->index);
    for (unsigned i = 0; i < LEARNED; i++)
        if (n->learned[i].port == p->index)
            n->learned[i].mac = 0;
}

void net_detach(struct net_port *p)
{
    struct net *n = p->net;

    if (!n)
        return;
    spin_lock(&n->lock);
    forget(n, p);
    spin_unlock(&n->lock);
    net_room(p);
    while (atomic_load(&p->users))
        __builtin_ia32_pause();
    if (p->wire)
        page_free(ptr_hpa(p->wire_buffer), PAGE_ORDER_4K);
    p->net = NULL;
}

/* The port stays until put: others' indices are only good while they are looked up under the lock. */
static struct net_port *get(struct net *n, unsigned index)
{
    struct net_port *p;

    spin_lock(&n->lock);
    p = n->port[index];
    if (p)
        atomic_fetch_add(&p->users, 1);
    spin_unlock(&n->lock);
    return p;
}

static void put(struct net_port *p) { atomic_fetch_sub(&p->users, 1); }

/* The port of a VM that has this address, by its index; NET_MAX_PORTS: none has. Lock held. */
static unsigned vif_with(const struct net *n, uint64_t mac)
{
    for (uint64_t left = n->vifs; left; left &= left - 1)
        if (n->mac[__builtin_ctzll(left)] == mac)
            return (unsigned)__builtin_ctzll(left);
    return NET_MAX_PORTS;
}

/* Which ports are to get what this one sends to that address. Lock held. */
static uint64_t targets(struct net *n, const struct net_port *from, uint64_t to)
{
    const uint64_t others = ~BIT(from->index);
    unsigned h = hash_of(to), i;

    if (to & 1)
        return (n->vifs | n->uplinks) & others;
    i = vif_with(n, to);
    if (i < NET_MAX_PORTS)
        return BIT(i) & others;
    if (to && n->learned[h].mac == to)
        return BIT(n->learned[h].port) & others;
    return n->uplinks & others;
}

/* False: the address is another port's. Lock held. */
static bool learn(struct net *n, const struct net_port *from, uint64_t mac)
{
    unsigned h = hash_of(mac);

    if (vif_with(n, mac) < NET_MAX_PORTS)
        return false;
    n->learned[h].mac = mac;
    n->learned[h].port = from->index;
    return true;
}

/* Has the port credit for so much? Then it is used. */
static bool has_credit(struct net_rate *r, uint32_t bytes)
{
    uint64_t hz = tsc_khz() * 1000, most = MAX(r->per_second / BURST_SHARE, (uint64_t)MB_NET_MAX_BYTES), now, elapsed;
    bool enough;

    if (!r->per_second)
        return true;
    spin_lock(&r->lock);
    now = rdtsc();
    elapsed = MIN(now - r->last, hz); /* a second fills it */
    r->credit = MIN(r->credit + muldiv64(elapsed, r->per_second, hz), most);
    r->last = now;
    enough = r->credit >= bytes;
    if (enough)
        r->credit -= bytes;
    spin_unlock(&r->lock);
    return enough;
}

static void return_credit(struct net_rate *r, uint32_t bytes)
{
    if (!r->per_second)
        return;
    spin_lock(&r->lock);
    r->credit += bytes;
    spin_unlock(&r->lock);
}

static int give_once(struct net_port *to, const struct net_frame *f)
{
    return to->wire ? net_give_wire(to, f) : to->ops->frame(to, f);
}

/* Whoever waits is noted before the last try: room that comes after it is told. */
static int give(struct net_port *from, struct net_port *to, const struct net_frame *f, bool waits)
{
    int err = give_once(to, f);

    if (err == -EAGAIN && waits) {
        atomic_fetch_or(&to->waiters, BIT(from->index));
        err = give_once(to, f);
        if (err == -EAGAIN)
            return err;
    }
    if (err) {
        net_count(&to->counts.full, 1);
    } else {
        net_count(&to->counts.out, 1);
        net_count(&to->counts.out_bytes, f->bytes);
    }
    return 0;
}

/* One target is waited for, several are not: the slowest would hold up the others. */
static int give_all(struct net_port *from, const struct net_frame *f, uint64_t to, struct net_batch *batch)
{
    bool waits = from->ops->room && !(to & (to - 1));
    int err = 0;

    for (; to && !err; to &= to - 1) {
        struct net_port *p = get(from->net, (unsigned)__builtin_ctzll(to));

        if (!p)
            continue;
        err = give(from, p, f, waits);
        batch->given |= to & -to;
        batch->bytes += f->bytes;
        put(p);
    }
    return err;
}

static bool makes_sense(const struct net_frame *f)
{
    const struct net_piece *first = f->piece;

    if (first->pmap || first->bytes < NET_ETH || f->bytes > (first->at[0] & 1 ? NET_MAX_MULTICAST : MB_NET_MAX_BYTES))
        return false;
    return net_offload_fits(&f->offload, first->at, net_head_bytes(f), f->bytes);
}

/* Where it goes; 0: nowhere (it was counted). */
static uint64_t route(struct net_port *p, const struct net_frame *f)
{
    const uint8_t *head = f->piece->at;
    bool may = net_may_send(p, head, net_head_bytes(f));
    uint64_t to = 0;

    if (may) {
        spin_lock(&p->net->lock);
        may = !p->uplink || learn(p->net, p, mac_of(head + NET_MAC));
        to = may ? targets(p->net, p, mac_of(head)) : 0;
        spin_unlock(&p->net->lock);
    }
    if (!to)
        net_count(may ? &p->counts.nowhere : &p->counts.spoofed, 1);
    return to;
}

int net_send(struct net_port *p, const struct net_frame *f, struct net_batch *batch)
{
    uint64_t to;
    int err;

    if (!makes_sense(f)) {
        net_count(&p->counts.bad, 1);
        return 0;
    }
    to = route(p, f);
    if (!to)
        return 0;
    if (!has_credit(&p->rate, f->bytes))
        return -EAGAIN;
    err = give_all(p, f, to, batch);
    if (err) {
        return_credit(&p->rate, f->bytes);
        return err;
    }
    net_count(&p->counts.in, 1);
    net_count(&p->counts.in_bytes, f->bytes);
    return 0;
}

void net_flush(struct net_port *p, struct net_batch *batch)
{
    for (; batch->given; batch->given &= batch->given - 1) {
        struct net_port *to = get(p->net, (unsigned)__builtin_ctzll(batch->given));

        if (!to)
            continue;
        if (to->ops->flush)
            to->ops->flush(to);
        put(to);
    }
}

void net_send_bytes(struct net_port *p, const void *frame, uint32_t bytes, uint8_t flags)
{
    const struct net_piece piece = { .at = frame, .bytes = bytes };
    const struct net_frame f = { .piece = &piece, .pieces = 1, .bytes = bytes, .offload = { .flags = flags } };
    struct net_batch batch = { 0 };

    (void)net_send(p, &f, &batch);
    net_flush(p, &batch);
}

void net_room(struct net_port *p)
{
    uint64_t waiters = atomic_exchange(&p->waiters, 0);

    for (; waiters; waiters &= waiters - 1) {
        struct net_port *w = get(p->net, (unsigned)__builtin_ctzll(waiters));

        if (!w)
            continue;
        if (w->ops->room)
            w->ops->room(w);
        put(w);
    }
}

struct net_port *net_get_port(struct net_port *p, unsigned index)
{
    struct net_port *other = index < NET_MAX_PORTS ? get(p->net, index) : NULL;

    if (other && other->uplink) {
        put(other);
        other = NULL;
    }
    return other;
}

struct net_port *net_find_port(struct net_port *p, uint64_t mac)
{
    struct net *n = p->net;
    struct net_port *found = NULL;
    unsigned i;

    spin_lock(&n->lock);
    i = vif_with(n, mac);
    if (i < NET_MAX_PORTS) {
        found = n->port[i];
        atomic_fetch_add(&found->users, 1);
    }
    spin_unlock(&n->lock);
    return found;
}

void net_put_port(struct net_port *p) { put(p); }

uint64_t net_port_mac(const struct net_port *p) { return mac_of(p->mac); }

unsigned net_number(const struct net_port *p) { return (unsigned)(p->net - networks); }

void net_each_port(struct net *n, void (*fn)(struct net_port *p, void *ctx), void *ctx)
{
    for (unsigned i = 0; i < NET_MAX_PORTS; i++) {
        struct net_port *p = get(n, i);

        if (!p)
            continue;
        fn(p, ctx);
        put(p);
    }
}

int net_frame_read(const struct net_frame *f, uint32_t at, void *to, uint32_t n)
{
    int err = 0;

    for (const struct net_piece *p = f->piece; n && !err; p++) {
        uint32_t step;

        if (at >= p->bytes) {
            at -= p->bytes;
            continue;
        }
        step = MIN(n, p->bytes - at);
        if (p->pmap)
            err = pmap_read(p->pmap, GPA(p->gpa.v + at), to, step);
        else
            memcpy(to, p->at + at, step);
        to = (char *)to + step;
        n -= step;
        at = 0;
    }
    return err;
}
