/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/log.h"
#include "tests/unit/ism_fake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * Any bytes as what A, B, C and ELSEWHERE do with direct buffers: a step's first byte says who does what, then come its
 * operands, mostly bytes that choose among what makes sense, now and then whole words. After each step the others have
 * nothing new in their memory but in buffers that are open to the caller, and news where their queues have them; no
 * port is held, and nobody is woken who never waited. In the end no page of the machine is missing.
 */
#define ARENA  QUEUE           /* so much of each VM's memory is looked at; queues, buffers and data are mostly there */
#define PAGES  12u
#define BYTES  (PAGES * PAGE_SIZE)
#define LIST   (ARENA + 6 * PAGE_SIZE) /* of moves */
#define VIFS   2u
#define ISSUED 16u

static struct { const uint8_t *at; size_t left; } input;

static struct open { bool is; uint64_t token, at, bytes, peer; } open[VMS][VIFS][MB_ISM_BUFFERS]; /* as it is to be */
static unsigned places;        /* none behind these was ever used */
static uint64_t issued[ISSUED]; /* tokens, most of them closed again */
static unsigned issues;
static uint8_t kept[VMS][BYTES]; /* the arenas after the last step */
static uint32_t heard[VMS][VIFS]; /* news there were then */
static uint64_t asked[VMS];    /* vCPUs that have ever waited */

static void must(bool so)
{
    if (!so)
        abort();
}

/* n bytes of the input, which goes on with zeros when there are no more. */
static uint64_t take(size_t n)
{
    uint64_t word = 0;
    size_t has = MIN(n, input.left);

    memcpy(&word, input.at, has);
    input.at += has;
    input.left -= has;
    return word;
}

static unsigned below(unsigned n) { return (unsigned)take(1) % n; }

static uint64_t some_token(void)
{
    unsigned which = below(256);

    if (which >= 0xf0)
        return take(8);
    return issued[which % ISSUED] ^ (which >= 0xe0 ? BIT(below(64)) : 0);
}

/* Of a page. */
static uint64_t some_page(void)
{
    unsigned which = below(256);

    if (which >= 0xf8)
        return take(8);
    return which >= 0xf0 ? MEMORY - (which - 0xf0) * PAGE_SIZE : ARENA + which % PAGES * PAGE_SIZE;
}

static uint64_t some_place(void)
{
    uint64_t page = some_page();

    return page + take(2) % PAGE_SIZE;
}

static uint64_t some_id(void)
{
    unsigned which = below(256);
    const uint64_t ids[] = { id_of(A), id_of(B), id_of(C), SECOND, id_of(LIMITED) };

    return which >= 0xf0 ? take(8) : ids[which % ARRAY_SIZE(ids)];
}

static struct mb_ism_move some_move(void)
{
    struct mb_ism_move m = { .token = some_token(), .gpa = some_place() };
    unsigned how = below(256);

    if (how & 0x80) {
        m.bytes = (uint32_t)take(4);
        m.offset = (uint32_t)take(4);
        m.flags = below(4);
        m.zero = below(2);
    } else {
        m.bytes = (uint32_t)take(1) << (how & 7);
        m.offset = (uint32_t)take(1) << (how >> 3 & 7);
        m.flags = how >> 6 & MB_ISM_SIGNAL;
    }
    return m;
}

static void known(int64_t answer)
{
    static const int errors[] = { 0, ENODEV, ENXIO, ENOTSUP, EINVAL, EFAULT, EHOSTUNREACH, ENOSPC, ENOENT, EAGAIN };
    bool is = answer > 0;

    for (unsigned i = 0; i < ARRAY_SIZE(errors); i++)
        is |= answer == -errors[i];
    must(is);
}

/* Who calls. v: NULL if there is no such interface. */
struct caller { unsigned vm; uint64_t vif; struct vif *v; };

static bool same_network(const struct vif *a, const struct vif *b) { return a->port.net == b->port.net; }

/* Nothing is open of this interface any more, nor to it. */
static void shut(unsigned vm, unsigned vif)
{
    const struct vif *gone = vifs[vm].vif[vif];

    for (unsigned i = 0; i < places; i++)
        open[vm][vif][i].is = false;
    for (unsigned o = 0; o < VMS; o++)
        for (unsigned n = 0; n < vifs[o].count; n++)
            for (unsigned i = 0; i < places && same_network(vifs[o].vif[n], gone); i++)
                if (open[o][n][i].peer == net_port_mac(&gone->port))
                    open[o][n][i].peer = ISM_NOBODY;
}

static void step_start(const struct caller *c)
{
    uint64_t at = some_page();
    int64_t err = ism_start(&vifs[c->vm], c->vif, GPA(at));

    known(err);
    if (err)
        return;
    shut(c->vm, (unsigned)c->vif);
    heard[c->vm][c->vif] = 0;
}

static void step_stop(const struct caller *c)
{
    int64_t err = ism_start(&vifs[c->vm], c->vif, GPA(0));

    must(err == (c->v ? 0 : -ENODEV));
    if (c->v)
        shut(c->vm, (unsigned)c->vif);
}

static void step_peer(const struct caller *c) { known(ism_peer(&vifs[c->vm], c->vif, some_id())); }

static void step_open(const struct caller *c)
{
    struct open now = { .is = true, .at = some_page() };
    unsigned pages = below(256);
    struct open *o;
    int64_t token;

    now.bytes = pages >= 0xf0 ? take(8) : (1 + pages % 4) * PAGE_SIZE;
    now.peer = some_id();
    token = ism_open(&vifs[c->vm], c->vif, GPA(now.at), now.bytes, now.peer);
    known(token);
    if (token < 0)
        return;
    now.token = (uint64_t)token;
    o = &open[c->vm][c->vif][now.token % MB_ISM_BUFFERS];
    must(!o->is && o->token != now.token);
    *o = now;
    places = MAX(places, (unsigned)(now.token % MB_ISM_BUFFERS) + 1);
    issued[issues++ % ISSUED] = now.token;
}

static void step_close(const struct caller *c)
{
    uint64_t token = some_token();
    int64_t err = ism_close(&vifs[c->vm], c->vif, token);
    struct open *o;

    known(err);
    if (!c->v)
        return;
    o = &open[c->vm][c->vif][token % MB_ISM_BUFFERS];
    must(!err == (o->is && o->token == token));
    if (!err)
        o->is = false;
}

static void list_moves(unsigned vm, uint64_t at, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const struct mb_ism_move m = some_move();

        (void)pmap_write(&pmap[vm], GPA(at + i * sizeof(m)), &m, sizeof(m));
    }
}

static void step_move(const struct caller *c)
{
    unsigned n = 1 + below(6);

    list_moves(c->vm, LIST, n);
    known(ism_move(&vifs[c->vm], c->vif, GPA(LIST), n));
}

/* What happens to lie there. */
static void step_move_any(const struct caller *c)
{
    uint64_t at = some_place(), count = below(256);

    known(ism_move(&vifs[c->vm], c->vif, GPA(at), count < 0xf0 ? count : take(8)));
}

static void step_tell(const struct caller *c)
{
    uint64_t id = some_id(), info = take(2);

    known(ism_tell(&vifs[c->vm], c->vif, id, (uint32_t)info, info));
}

static void step_wait(const struct caller *c)
{
    unsigned which = below(256), vcpu = which & 7;

    asked[c->vm] |= BIT(vcpu);
    must(!ism_waits(&vifs[c->vm], vcpu, c->vif, (c->v ? c->v->ism->written : 0) + (which >> 7)) || c->v);
}

static void step_idle(const struct caller *c)
{
    if (c->v)
        ism_idle(c->v);
}

static void step_write(const struct caller *c)
{
    uint64_t at = some_place();
    size_t n = MIN((size_t)below(128), input.left);

    (void)pmap_write(&pmap[c->vm], GPA(at), input.at, n);
    input.at += n;
    input.left -= n;
}

/* One of those in the queue's head that are the guest's: seen, quiet, lock, later. */
static void step_word(const struct caller *c)
{
    unsigned which = below(256);
    uint32_t word = (uint32_t)take(which & 0x80 ? 4 : 1);

    if (!c->v || !c->v->ism->started)
        return;
    if (!(which & 0x83))
        word = c->v->ism->written - word;
    put32(c->vm, c->v->ism->queue.v + which % 4 * sizeof(word), word);
}

static void step_later(const struct caller *c)
{
    uint64_t at = c->v && c->v->ism->started ? c->v->ism->queue.v : ARENA;
    unsigned n = 1 + below(6);

    list_moves(c->vm, at + offsetof(struct mb_ism_queue, move), n);
    put32(c->vm, at + offsetof(struct mb_ism_head, lock), 0);
    put32(c->vm, at + offsetof(struct mb_ism_head, later), n);
}

/* Two of its pages become one. */
static void step_share(const struct caller *c)
{
    struct gpa from = GPA(some_page()), to = GPA(some_page());
    struct hpa page;

    if (pmap_share(&pmap[c->vm], from, &page))
        return;
    if (pmap_place(&pmap[c->vm], to, page, 0))
        commons_drop(page);
}

/* Noise, not the same in any two. */
static void fill(unsigned vm)
{
    static uint8_t noise[VMS][BYTES];

    for (size_t i = 0; i < BYTES && !noise[vm][BYTES - 1]; i++)
        noise[vm][i] = (uint8_t)(i * 7 + i / 256 + vm * 77);
    put(vm, ARENA, noise[vm], BYTES);
    memcpy(kept[vm], noise[vm], BYTES);
    memset(heard[vm], 0, sizeof(heard[vm]));
    memset(open[vm], 0, sizeof(open[vm]));
}

/* Another VM comes after it, with its addresses. */
static void step_replace(const struct caller *c)
{
    for (unsigned i = 0; i < vifs[c->vm].count; i++)
        shut(c->vm, i);
    end_vm(c->vm);
    make_vm(c->vm);
    fill(c->vm);
}

static void allow(unsigned vm, const uint8_t *now, uint64_t from, uint64_t bytes)
{
    uint64_t to = MIN(from + bytes, ARENA + BYTES);

    from = MAX(from, ARENA);
    if (from < to)
        memcpy(&kept[vm][from - ARENA], &now[from - ARENA], to - from);
}

static void allow_news(unsigned vm, unsigned vif, const uint8_t *now)
{
    const struct ism *m = vifs[vm].vif[vif]->ism;
    uint32_t *n = &heard[vm][vif];

    if (!m->started || m->written == *n)
        return;
    must(m->written - *n <= MB_ISM_MAX_MOVES);
    allow(vm, now, m->queue.v + offsetof(struct mb_ism_head, written), sizeof(*n));
    for (; *n != m->written; ++*n)
        allow(vm, now, m->queue.v + AT_NEWS(*n) - QUEUE, sizeof(struct mb_ism_news));
}

static void allow_open(unsigned vm, unsigned vif, const uint8_t *now, const struct vif *to)
{
    for (unsigned i = 0; i < places && same_network(vifs[vm].vif[vif], to); i++) {
        const struct open *o = &open[vm][vif][i];

        if (o->is && o->peer == net_port_mac(&to->port))
            allow(vm, now, o->at, o->bytes);
    }
}

/* first, end: the interfaces that the call may have been for. */
static void check(unsigned caller, unsigned first, unsigned end)
{
    static uint8_t now[BYTES];

    for (unsigned vm = 0; vm < VMS; vm++) {
        get(vm, ARENA, now, BYTES);
        for (unsigned i = 0; i < vifs[vm].count; i++) {
            allow_news(vm, i, now);
            for (unsigned n = first; n < end; n++)
                allow_open(vm, i, now, vifs[caller].vif[n]);
            must(!vifs[vm].vif[i]->port.users);
        }
        if (vm == caller)
            memcpy(kept[vm], now, BYTES);
        must(!memcmp(now, kept[vm], BYTES));
        must(!(woken[vm] & ~asked[vm]));
    }
}

static void step(void)
{
    static void (*const kinds[16])(const struct caller *) = {
        step_start, step_stop, step_peer, step_open, step_close, step_move, step_move_any, step_tell,
        step_wait, step_idle, step_write, step_word, step_later, step_share, step_replace, step_move,
    };
    unsigned what = below(256), all;
    struct caller c = { .vm = what >> 4 & 3, .vif = what >> 7 };

    if (what >> 6 == 3)
        c.vif = take(1);
    c.v = vifs_at(&vifs[c.vm], c.vif);
    kinds[what & 15](&c);
    all = vifs[c.vm].count;
    if (kinds[what & 15] == step_wait)
        check(c.vm, 0, all);
    else
        check(c.vm, (unsigned)MIN(c.vif, (uint64_t)all), (unsigned)MIN(c.vif + 1, (uint64_t)all));
}

static void begin(void)
{
    must(!setup_idle(NULL));
    memset(asked, 0, sizeof(asked));
    memset(issued, 0, sizeof(issued));
    issues = places = 0;
    for (unsigned vm = 0; vm < VMS; vm++) {
        fill(vm);
        must(vm == LIMITED || !start(vm));
        get(vm, ARENA, kept[vm], BYTES);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint64_t before;

    log_set_level(LOG_ERROR);
    if (!before) {
        begin();
        teardown(NULL);
        before = free_pages();
    }
    input.at = data;
    input.left = size;
    begin();
    while (input.left)
        step();
    teardown(NULL);
    must(free_pages() == before);
    return 0;
}
