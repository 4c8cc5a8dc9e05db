/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "drivers/native.h"

#include "arch/x86/cpu.h"
#include "arch/x86/world.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "numa/page.h"

/*
 * NVMe (NVM Express base specification 1.4): an admin queue, and a queue of each kind for each namespace. Interrupts
 * are off, completions are polled for. A command's identifier is its slot; a reset of the controller makes all
 * namespaces begin again.
 */
#define REG_CAP        0x00u
#define REG_INTMS      0x0cu
#define REG_CC         0x14u
#define REG_CSTS       0x1cu
#define REG_AQA        0x24u
#define REG_ASQ        0x28u
#define REG_ACQ        0x30u
#define REG_DOORBELLS  0x1000u
#define CC_ENABLE      BIT(0)
#define CC_SHUTDOWN    BIT(14)
#define CC_ENTRIES     (6u << 16 | 4u << 20) /* of 64 and 16 bytes */
#define CSTS_READY     BIT(0)
#define CSTS_FATAL     BIT(1)
#define CSTS_SHUT      (2u << 2)
#define CSTS_SHUT_MASK (3u << 2)

#define OP_FLUSH       0x00u
#define OP_WRITE       0x01u
#define OP_READ        0x02u
#define ADMIN_NEW_SQ   0x01u
#define ADMIN_NEW_CQ   0x05u
#define ADMIN_IDENTIFY 0x06u
#define IDENTIFY_NS    0u
#define IDENTIFY_CTRL  1u
#define IDENTIFY_LIST  2u
#define CONTIGUOUS     1u

#define ENTRIES        64u     /* of a queue: more than DISK_SLOTS, so none is ever full */
#define NAMESPACES     8u
#define COMMAND_MAX    (STORAGE_MAX_PAGES * 8)
#define ADMIN_MS       5000u
#define SHUTDOWN_MS    2000u

struct command { uint32_t dword[16]; };
struct completion { uint32_t result, reserved; uint16_t head, queue; uint16_t id, status; };

struct queue {
    struct command *submission; /* a page each */
    volatile struct completion *completion;
    unsigned number, tail, head;
    uint16_t phase;
};

struct nvme;

struct namespace {
    struct nvme *nvme;
    struct disk *disk;
    uint32_t id;
    unsigned shift;            /* log2 of sectors of 512 bytes in a block */
    struct queue queue;
    uint64_t *list;            /* a page of addresses for each slot */
    unsigned generation;       /* the controller's, when it was last brought up for this one */
};

struct nvme {
    uint64_t base, stride;
    unsigned ready_ms, max_shift; /* largest transfer: pages, as a power of two; 0: no limit */
    unsigned generation;
    struct queue admin;
    uint8_t *page;             /* what is identified goes here */
    struct namespace space[NAMESPACES];
    unsigned spaces;
};

static uint64_t get64(const struct nvme *n, unsigned reg)
{
    return mmio_read32(n->base + reg) | (uint64_t)mmio_read32(n->base + reg + 4) << 32;
}

static void put64(const struct nvme *n, unsigned reg, uint64_t value)
{
    mmio_write32(n->base + reg, (uint32_t)value);
    mmio_write32(n->base + reg + 4, (uint32_t)(value >> 32));
}

/* --- queues ----------------------------------------------------------------------------------------------------- */

static int make_queue(struct queue *q, unsigned number)
{
    q->submission = native_memory(ENTRIES * sizeof(struct command));
    q->completion = native_memory(ENTRIES * sizeof(struct completion));
    q->number = number;
    return q->submission && q->completion ? 0 : -ENOMEM;
}

static void clear_queue(struct queue *q)
{
    memset(q->submission, 0, ENTRIES * sizeof(struct command));
    memset((void *)q->completion, 0, ENTRIES * sizeof(struct completion));
    q->tail = q->head = 0;
    q->phase = 1;
}

static void submit(const struct nvme *n, struct queue *q, const struct command *c)
{
    q->submission[q->tail] = *c;
    q->tail = (q->tail + 1) % ENTRIES;
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the controller reads what was written before the doorbell */
    mmio_write32(n->base + REG_DOORBELLS + 2 * q->number * n->stride, q->tail);
}

/* The next completion, if there is one: what it is of, and its status without the phase. */
static bool completed(const struct nvme *n, struct queue *q, uint16_t *id, uint16_t *status)
{
    volatile struct completion *c = &q->completion[q->head];
    uint16_t word = c->status;

    if ((word & 1) != q->phase)
        return false;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    *id = c->id;
    *status = word >> 1;
    q->head = (q->head + 1) % ENTRIES;
    q->phase ^= q->head == 0;
    mmio_write32(n->base + REG_DOORBELLS + (2 * q->number + 1) * n->stride, q->head);
    return true;
}

static int admin(struct nvme *n, const struct command *c)
{
    uint64_t since = rdtsc();
    uint16_t id, status;

    submit(n, &n->admin, c);
    while (!completed(n, &n->admin, &id, &status))
        if (!native_wait(since, ADMIN_MS))
            return -EIO;
    return status & 0x7ff ? -EIO : 0;
}

static int identify(struct nvme *n, uint32_t what, uint32_t space)
{
    uint64_t page = (uint64_t)(uintptr_t)n->page;
    const struct command c = { { ADMIN_IDENTIFY, space, 0, 0, 0, 0, (uint32_t)page, (uint32_t)(page >> 32), 0, 0,
                                 what } };

    return admin(n, &c);
}

static int new_queues(struct nvme *n, struct queue *q)
{
    uint64_t cq = (uint64_t)(uintptr_t)q->completion, sq = (uint64_t)(uintptr_t)q->submission;
    const uint32_t size = (ENTRIES - 1) << 16 | q->number;
    const struct command completion = { { ADMIN_NEW_CQ, 0, 0, 0, 0, 0, (uint32_t)cq, (uint32_t)(cq >> 32), 0, 0, size,
                                          CONTIGUOUS } };
    const struct command submission = { { ADMIN_NEW_SQ, 0, 0, 0, 0, 0, (uint32_t)sq, (uint32_t)(sq >> 32), 0, 0, size,
                                          q->number << 16 | CONTIGUOUS } };
    int err;

    clear_queue(q);
    err = admin(n, &completion);
    return err ? err : admin(n, &submission);
}

/* --- the controller --------------------------------------------------------------------------------------------- */

static int wait_ready(const struct nvme *n, bool ready)
{
    uint64_t since = rdtsc();

    for (;;) {
        uint32_t status = mmio_read32(n->base + REG_CSTS);

        if (status == UINT32_MAX)
            return -EIO;
        if (!(status & CSTS_READY) == !ready)
            return 0;
        if (!native_wait(since, n->ready_ms))
            return -EIO;
    }
}

static int disable(const struct nvme *n)
{
    mmio_write32(n->base + REG_CC, mmio_read32(n->base + REG_CC) & ~(uint32_t)CC_ENABLE);
    return wait_ready(n, false);
}

/* NVMe 7.6.1. What was under way is forgotten. */
static int bring_up(struct nvme *n)
{
    int err = disable(n);

    if (err)
        return err;
    clear_queue(&n->admin);
    mmio_write32(n->base + REG_INTMS, UINT32_MAX);
    mmio_write32(n->base + REG_AQA, (ENTRIES - 1) << 16 | (ENTRIES - 1));
    put64(n, REG_ASQ, (uint64_t)(uintptr_t)n->admin.submission);
    put64(n, REG_ACQ, (uint64_t)(uintptr_t)n->admin.completion);
    mmio_write32(n->base + REG_CC, CC_ENABLE | CC_ENTRIES);
    err = wait_ready(n, true);
    for (unsigned i = 0; i < n->spaces && !err; i++)
        err = new_queues(n, &n->space[i].queue);
    n->generation++;
    return err;
}

static void put64_words(uint32_t *word, uint64_t value)
{
    word[0] = (uint32_t)value;
    word[1] = (uint32_t)(value >> 32);
}

/* --- commands --------------------------------------------------------------------------------------------------- */

/* NVMe 4.3: the first address may lie within a page; what goes beyond a second page is listed. */
static void put_data(struct namespace *s, unsigned slot, const struct disk_command *c, struct command *out)
{
    uint64_t *list = s->list + slot * (PAGE_SIZE / sizeof(uint64_t)), second = 0;
    uint32_t size = c->sectors * STORAGE_SECTOR, n;
    unsigned used = 0;

    for (uint32_t at = 0; at < size; at += n) {
        struct hpa data;

        n = disk_piece(c, at, &data);
        if (at)
            list[used++] = data.v;
        else
            put64_words(&out->dword[6], data.v);
    }
    if (used)
        second = used == 1 ? list[0] : (uint64_t)(uintptr_t)list;
    put64_words(&out->dword[8], second);
}

static void start(struct disk *d, unsigned slot)
{
    struct namespace *s = d->driver;
    const struct disk_command *c = &d->slot[slot];
    struct command out = { { OP_FLUSH | slot << 16, s->id } };

    if (s->generation != s->nvme->generation) /* poll will tell, and it begins again */
        return;
    if (c->op != STORAGE_FLUSH) {
        out.dword[0] = (c->op == STORAGE_READ ? OP_READ : OP_WRITE) | slot << 16;
        put64_words(&out.dword[10], c->sector >> s->shift);
        out.dword[12] = (c->sectors >> s->shift) - 1;
        put_data(s, slot, c, &out);
    }
    submit(s->nvme, &s->queue, &out);
}

static void poll(struct disk *d)
{
    struct namespace *s = d->driver;
    uint16_t id, status;

    if (mmio_read32(s->nvme->base + REG_CSTS) & CSTS_FATAL || s->generation != s->nvme->generation) {
        disk_lost(d);
        return;
    }
    while (completed(s->nvme, &s->queue, &id, &status)) {
        if (id >= d->depth || !d->slot[id].running) {
            disk_lost(d); /* it makes no sense any more */
            return;
        }
        disk_done(d, id, status & 0x7ff ? -EIO : 0);
    }
}

/* Another namespace's time-out may have brought the controller up again already. */
static int reset(struct disk *d)
{
    struct namespace *s = d->driver;
    int err = s->generation == s->nvme->generation ? bring_up(s->nvme) : 0;

    s->generation = s->nvme->generation;
    return err;
}

static const struct disk_ops ops = { .start = start, .poll = poll, .reset = reset };

/* --- finding them ----------------------------------------------------------------------------------------------- */

static uint32_t word_at(const struct nvme *n, unsigned at)
{
    uint32_t value;

    memcpy(&value, n->page + at, sizeof(value));
    return value;
}

/* Figure 245: NSZE, FLBAS, LBA formats. A namespace with metadata or odd blocks is left out. */
static int add_space(struct native *n, struct nvme *v, uint32_t id)
{
    struct namespace *s = &v->space[v->spaces];
    uint32_t format, shift;
    struct disk *d;
    int err = identify(v, IDENTIFY_NS, id);

    if (err)
        return err;
    format = word_at(v, 128 + 4 * (v->page[26] & 15));
    shift = format >> 16 & 0xff;
    if (format & 0xffff || shift < 9 || shift > 12 || word_at(v, 4) >> 16 || !(word_at(v, 0) | word_at(v, 4)))
        return 0;
    *s = (struct namespace){ .nvme = v, .id = id, .shift = shift - 9 };
    s->list = native_memory(DISK_SLOTS * PAGE_SIZE);
    d = native_disk(n, "nvme", id);
    if (!s->list || !d || make_queue(&s->queue, v->spaces + 1))
        return -ENOMEM;
    d->ops = &ops;
    d->driver = s;
    d->sectors = ((uint64_t)word_at(v, 4) << 32 | word_at(v, 0)) << s->shift;
    d->block = 1u << shift;
    d->depth = DISK_SLOTS;
    d->max_sectors = v->max_shift && v->max_shift < 6 ? 8u << v->max_shift : COMMAND_MAX;
    s->disk = d;
    v->spaces++;
    return new_queues(v, &s->queue);
}

static int find_spaces(struct native *n, struct nvme *v)
{
    uint32_t id[NAMESPACES];
    int err = identify(v, IDENTIFY_CTRL, 0);

    if (err)
        return err;
    v->max_shift = v->page[77]; /* MDTS, in pages of CAP.MPSMIN, which is 4 KiB here */
    err = identify(v, IDENTIFY_LIST, 0);
    memcpy(id, v->page, sizeof(id));
    for (unsigned i = 0; i < NAMESPACES && !err && id[i]; i++)
        err = add_space(n, v, id[i]);
    for (unsigned i = 0; i < v->spaces; i++)
        v->space[i].generation = v->generation;
    return err;
}

static int find_registers(struct native *n, struct nvme *v)
{
    struct pci_bar bar;
    uint64_t cap;
    int err;

    if (pci_bar(&n->pci, 0, &bar) || bar.io || bar.size < 2 * PAGE_SIZE)
        return -ENODEV;
    err = paging_map(ALIGN_DOWN(bar.base, PAGE_SIZE), ALIGN_UP(bar.size, PAGE_SIZE), MAP_DEVICE);
    if (err)
        return err;
    pci_enable(&n->pci, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    v->base = bar.base;
    cap = get64(v, REG_CAP);
    v->stride = 4ull << (cap >> 32 & 15);
    v->ready_ms = MAX((unsigned)(cap >> 24 & 0xff) * 500, 500u);
    /* Pages of 4 KiB, the NVM command set, queues that are long enough, doorbells in the BAR. */
    if (cap >> 48 & 15 || !(cap & BIT(37)) || (cap & 0xffff) + 1 < ENTRIES ||
        REG_DOORBELLS + 2 * (NAMESPACES + 1) * v->stride > bar.size)
        return -ENOTSUP;
    return 0;
}

static int attach(struct native *n)
{
    struct nvme *v = native_memory(sizeof(*v));
    int err = v ? 0 : -ENOMEM;

    if (!err)
        err = find_registers(n, v);
    if (err)
        return err;
    n->state = v;
    v->page = native_memory(PAGE_SIZE);
    err = v->page ? make_queue(&v->admin, 0) : -ENOMEM;
    if (!err)
        err = bring_up(v);
    return err ? err : find_spaces(n, v);
}

/* NVMe 7.6.2: with notice, so that nothing is lost in a volatile cache. */
static void detach(struct native *n)
{
    struct nvme *v = n->state;
    uint64_t since = rdtsc();

    if (!v)
        return;
    if (mmio_read32(v->base + REG_CC) & CC_ENABLE) {
        mmio_write32(v->base + REG_CC, CC_ENABLE | CC_ENTRIES | CC_SHUTDOWN);
        while ((mmio_read32(v->base + REG_CSTS) & CSTS_SHUT_MASK) != CSTS_SHUT && native_wait(since, SHUTDOWN_MS))
            ;
    }
    (void)disable(v);
}

const struct native_driver nvme_driver = {
    .class = 0x010802, .mask = 0xffffff, .attach = attach, .detach = detach,
};
