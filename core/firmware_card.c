/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/firmware_card.h"

#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "core/firmware_visit.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/spinlock.h"
#include "lib/string.h"
#include "numa/page.h"

#define ROOM     32u           /* frames, in each direction */
#define QUIET_US 5000u         /* between two visits while nothing comes or goes, and */
#define BUSY_US  200u          /* while it does; but as long as a visit took at least, so that guests get on */

struct frame {
    uint32_t bytes;
    uint8_t data[CARD_MAX_FRAME];
};

/* What a visit reads and writes. */
struct buffers { struct frame out[ROOM], in[ROOM]; };

struct firmware_card {
    struct card card;
    const struct boot_info *boot;
    unsigned number;
    struct buffers *buffers;
    struct spinlock lock;      /* guards kept and full */
    uint32_t kept;             /* frames, counted freely */
    bool full;                 /* somebody was told that there is no room */
    _Atomic uint32_t sent;     /* of the frames kept; written by the boot processor, as the rest is */
    uint32_t to_send, came;    /* of a visit: `kept` when it began; frames in `in` */
    bool up;
    _Atomic uint64_t rest_until;
};

static struct firmware_card cards[BOOT_MAX_CARDS];

static struct firmware_card *of(struct card *c) { return container_of(c, struct firmware_card, card); }
static struct firmware_card *of_device(struct device *d) { return of(container_of(d, struct card, device)); }

/* In the firmware's world. */
static void visit(void *arg)
{
    struct firmware_card *f = arg;
    int err = 0;

    while (f->sent != f->to_send) {
        const struct frame *out = &f->buffers->out[f->sent % ROOM];

        err = f->boot->card_send(f->number, out->data, out->bytes);
        if (err == -EAGAIN)
            break;
        f->sent++;
        atomic_fetch_add(err ? &f->card.counts.down : &f->card.counts.sent, 1);
        atomic_fetch_add(&f->card.counts.sent_bytes, err ? 0 : out->bytes);
    }
    for (f->came = 0; f->came < ROOM; f->came++) {
        struct frame *in = &f->buffers->in[f->came];
        size_t bytes = sizeof(in->data);

        err = f->boot->card_receive(f->number, in->data, &bytes);
        in->bytes = err ? 0 : (uint32_t)bytes;
        if (err == -EAGAIN)
            break;
    }
    f->up = f->boot->card_up(f->number);
}

/* Frames that came with an error, or have no length that can be, are only counted. */
static void deliver(struct firmware_card *f)
{
    struct card_counts *counts = &f->card.counts;

    for (uint32_t i = 0; i < f->came; i++) {
        const struct frame *in = &f->buffers->in[i];

        if (in->bytes < CARD_MIN_FRAME || in->bytes > CARD_MAX_FRAME) {
            atomic_fetch_add(&counts->bad, 1);
            continue;
        }
        atomic_fetch_add(&counts->received, 1);
        atomic_fetch_add(&counts->received_bytes, in->bytes);
        f->card.receive(&f->card, in->data, in->bytes, false);
    }
}

static bool has_news(struct firmware_card *f)
{
    bool news = f->up != atomic_exchange(&f->card.up, f->up);

    spin_lock(&f->lock);
    if (f->full && f->kept - f->sent < ROOM) {
        f->full = false;
        news = true;
    }
    spin_unlock(&f->lock);
    return news;
}

static uint64_t poll(struct device *d, uint64_t now)
{
    struct firmware_card *f = of_device(d);
    uint32_t before = f->sent;
    uint64_t end, rest;
    bool busy;

    spin_lock(&f->lock);
    f->to_send = f->kept;
    spin_unlock(&f->lock);
    firmware_visit(f->boot, visit, f);
    end = rdtsc();
    rest = MAX(end - now, BUSY_US * tsc_khz() / 1000);
    atomic_store(&f->rest_until, end + rest);
    busy = f->came || f->sent != before || f->sent != f->to_send;
    deliver(f);
    if (has_news(f))
        f->card.news(&f->card);
    firmware_typed();
    return end + (busy ? rest : MAX(rest, QUIET_US * tsc_khz() / 1000));
}

static void release(struct firmware_card *f)
{
    page_free(ptr_hpa(f->buffers), page_order(sizeof(struct buffers)));
    f->buffers = NULL;
}

static int start(struct card *c)
{
    struct firmware_card *f = of(c);
    int err = f->boot->card_start(f->number);

    if (err)
        release(f);
    else
        device_add(&c->device);
    return err;
}

static int send(struct card *c, const void *frame, uint32_t bytes)
{
    struct firmware_card *f = of(c);
    int err = 0;

    if (bytes < CARD_MIN_FRAME || bytes > CARD_MAX_FRAME)
        return -EINVAL;
    if (!atomic_load(&c->up)) {
        atomic_fetch_add(&c->counts.down, 1);
        return -EIO;
    }
    spin_lock(&f->lock);
    if (f->kept - f->sent == ROOM) {
        f->full = true;
        err = -EAGAIN;
    } else {
        struct frame *out = &f->buffers->out[f->kept++ % ROOM];

        out->bytes = bytes;
        memcpy(out->data, frame, bytes);
    }
    spin_unlock(&f->lock);
    if (err)
        atomic_fetch_add(&c->counts.full, 1);
    return err;
}

static void flush(struct card *c)
{
    struct firmware_card *f = of(c);

    device_wake(&c->device, atomic_load(&f->rest_until));
}

static void stop(struct device *d)
{
    struct firmware_card *f = of_device(d);

    f->boot->card_stop(f->number);
    release(f);
}

int firmware_card_open(const struct boot_info *boot, unsigned number, struct card **card)
{
    static const struct card_ops ops = { .start = start, .send = send, .flush = flush };
    const struct boot_card *b = &boot->card[number];
    struct firmware_card *f = &cards[number];
    struct hpa mem;

    if (f->buffers)
        return -EBUSY;
    mem = page_alloc(0, page_order(sizeof(struct buffers)), PAGE_HYPERVISOR);
    if (!mem.v)
        return -ENOMEM;
    *f = (struct firmware_card){ .boot = boot, .number = number, .buffers = hpa_ptr(mem), .up = b->up };
    f->card.ops = &ops;
    f->card.up = b->up;
    memcpy(f->card.mac, b->mac, sizeof(b->mac));
    format(f->card.name, sizeof(f->card.name), "firmware %02x:%02x.%x", b->bdf >> 8, b->bdf >> 3 & 31, b->bdf & 7);
    f->card.device = (struct device){ .name = f->card.name, .poll = poll, .stop = stop };
    *card = &f->card;
    return 0;
}
