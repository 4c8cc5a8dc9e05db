/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "drivers/ata_identity.h"
#include "drivers/native.h"

#include "arch/x86/cpu.h"
#include "arch/x86/world.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "numa/page.h"

/*
 * SATA disks on an AHCI controller: Serial ATA AHCI 1.3.1, ATA/ATAPI-8 ACS. Interrupts are off, ports are polled. With
 * native command queuing as many commands at a time as controller and disk take. After an error a port is stopped and
 * started again, and storage.c starts what was under way one by one.
 */
#define PORTS          32u
#define ABAR           5u

#define HBA_CAP        0x00u
#define HBA_GHC        0x04u
#define HBA_IS         0x08u
#define HBA_PI         0x0cu
#define HBA_CAP2       0x24u
#define HBA_BOHC       0x28u
#define CAP_64         BIT(31)
#define CAP_NCQ        BIT(30)
#define CAP_STAGGERED  BIT(27)
#define GHC_AHCI       BIT(31)
#define GHC_INTERRUPTS BIT(1)
#define CAP2_HANDOFF   BIT(0)
#define BOHC_BIOS      BIT(0)
#define BOHC_OS        BIT(1)

#define PORT(n)        (0x100u + 0x80u * (n))
#define P_CLB          0x00u
#define P_CLBU         0x04u
#define P_FB           0x08u
#define P_FBU          0x0cu
#define P_IS           0x10u
#define P_IE           0x14u
#define P_CMD          0x18u
#define P_TFD          0x20u
#define P_SSTS         0x28u
#define P_SCTL         0x2cu
#define P_SERR         0x30u
#define P_SACT         0x34u
#define P_CI           0x38u
#define CMD_ST         BIT(0)
#define CMD_SPIN_UP    BIT(1)
#define CMD_POWER_ON   BIT(2)
#define CMD_FRE        BIT(4)
#define CMD_FR         BIT(14)
#define CMD_CR         BIT(15)
#define CMD_ATAPI      BIT(24)
#define IS_ERRORS      0x7d000010u /* task file, host bus, interface, overflow; unknown FIS */
#define TFD_BUSY       0x88u       /* BSY, DRQ */
#define SSTS_DET       0xfu
#define SSTS_READY     0x3u
#define SCTL_RESET     0x1u

#define FIS_H2D        0x27u
#define FIS_COMMAND    0x80u
#define FIS_WORDS      5u
#define HEADER_WRITE   BIT(6)
#define DEVICE_LBA     0x40u

#define ATA_READ_DMA   0x25u
#define ATA_WRITE_DMA  0x35u
#define ATA_READ_FPDMA 0x60u
#define ATA_WRITE_FPDMA 0x61u
#define ATA_FLUSH_EXT  0xeau
#define ATA_IDENTIFY   0xecu

#define PRDS           72u     /* a multiple of 8 keeps tables aligned */
#define COMMAND_MAX    (STORAGE_MAX_PAGES * 8)

#define STOP_MS        500u
#define LINK_MS        50u
#define READY_MS       1000u
#define IDENTIFY_MS    2000u
#define HANDOFF_MS     2000u

struct header { uint32_t options, bytes, table, table_high, reserved[4]; };
struct region { uint32_t address, address_high, reserved, bytes; };
struct table { uint32_t fis[16], atapi[4], reserved[12]; struct region region[PRDS]; };
_Static_assert(sizeof(struct table) % 128 == 0, "AHCI 4.2.2: command tables are aligned to 128 bytes");

/* All that the controller reads and writes of a port. */
struct port_memory {
    struct header header[DISK_SLOTS];
    uint8_t received[256] __attribute__((aligned(256)));
    struct table table[DISK_SLOTS] __attribute__((aligned(128)));
    uint8_t identity[512];
};

struct port {
    uint64_t base;             /* of its registers */
    struct port_memory *memory;
    bool queued;               /* NCQ */
    uint32_t issued;           /* slots */
};

struct ahci { uint64_t base; uint32_t cap; struct port port[PORTS]; };

static uint32_t get(const struct port *p, unsigned reg) { return mmio_read32(p->base + reg); }
static void put(const struct port *p, unsigned reg, uint32_t value) { mmio_write32(p->base + reg, value); }

static bool wait_clear(const struct port *p, unsigned reg, uint32_t bits, unsigned ms)
{
    uint64_t since = rdtsc();

    while (get(p, reg) & bits)
        if (!native_wait(since, ms))
            return false;
    return true;
}

/* AHCI 10.1.2: the port runs nothing and receives nothing. */
static bool stop_port(const struct port *p)
{
    put(p, P_CMD, get(p, P_CMD) & ~(uint32_t)CMD_ST);
    if (!wait_clear(p, P_CMD, CMD_CR, STOP_MS))
        return false;
    put(p, P_CMD, get(p, P_CMD) & ~(uint32_t)CMD_FRE);
    return wait_clear(p, P_CMD, CMD_FR, STOP_MS);
}

static bool start_port(const struct port *p)
{
    put(p, P_SERR, UINT32_MAX);
    put(p, P_IS, UINT32_MAX);
    put(p, P_CMD, get(p, P_CMD) | CMD_FRE);
    if (!wait_clear(p, P_TFD, TFD_BUSY, READY_MS))
        return false;
    put(p, P_CMD, get(p, P_CMD) | CMD_ST);
    return true;
}

/* --- a command -------------------------------------------------------------------------------------------------- */

static void put_fis(struct table *t, uint8_t command, uint64_t lba, uint32_t count, uint32_t features)
{
    memset(t->fis, 0, sizeof(t->fis));
    t->fis[0] = FIS_H2D | FIS_COMMAND << 8 | (uint32_t)command << 16 | (features & 0xff) << 24;
    t->fis[1] = (uint32_t)(lba & 0xffffff) | DEVICE_LBA << 24;
    t->fis[2] = (uint32_t)(lba >> 24 & 0xffffff) | (features >> 8 & 0xff) << 24;
    t->fis[3] = count & 0xffff;
}

static void put_header(struct port *p, unsigned slot, unsigned regions, bool write)
{
    uint64_t table = (uint64_t)(uintptr_t)&p->memory->table[slot];

    p->memory->header[slot] = (struct header){
        .options = FIS_WORDS | (write ? HEADER_WRITE : 0) | regions << 16,
        .table = (uint32_t)table,
        .table_high = (uint32_t)(table >> 32),
    };
}

/* Of whole pages, so that every region has an even address and size (AHCI 4.2.3.3). */
static unsigned put_regions(struct table *t, const struct disk_command *c)
{
    uint32_t size = c->sectors * STORAGE_SECTOR, n;
    unsigned used = 0;

    for (uint32_t at = 0; at < size; at += n) {
        struct hpa data;

        n = disk_piece(c, at, &data);
        t->region[used++] = (struct region){ (uint32_t)data.v, (uint32_t)(data.v >> 32), 0, n - 1 };
    }
    return used;
}

static void issue(struct port *p, unsigned slot, bool queued)
{
    p->issued |= (uint32_t)BIT(slot);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the controller reads what was written before */
    if (queued)
        put(p, P_SACT, (uint32_t)BIT(slot));
    put(p, P_CI, (uint32_t)BIT(slot));
}

static void start(struct disk *d, unsigned slot)
{
    struct port *p = d->driver;
    const struct disk_command *c = &d->slot[slot];
    struct table *t = &p->memory->table[slot];
    bool write = c->op == STORAGE_WRITE, queued = p->queued && c->op != STORAGE_FLUSH;
    uint32_t per_block = d->block / STORAGE_SECTOR, count = c->sectors / per_block;
    uint64_t lba = c->sector / per_block;

    if (c->op == STORAGE_FLUSH)
        put_fis(t, ATA_FLUSH_EXT, 0, 0, 0);
    else if (queued) /* the count is where features are, and the tag is where the count is */
        put_fis(t, write ? ATA_WRITE_FPDMA : ATA_READ_FPDMA, lba, slot << 3, count);
    else
        put_fis(t, write ? ATA_WRITE_DMA : ATA_READ_DMA, lba, count, 0);
    put_header(p, slot, c->op == STORAGE_FLUSH ? 0 : put_regions(t, c), write);
    issue(p, slot, queued);
}

/* One that was alone has failed itself; of several nobody knows which it was. */
static void fail(struct disk *d, struct port *p)
{
    if (d->busy == 1)
        disk_done(d, (unsigned)__builtin_ctz(p->issued), -EIO);
    disk_lost(d);
}

static void poll(struct disk *d)
{
    struct port *p = d->driver;
    uint32_t under_way, over;

    if (get(p, P_IS) & IS_ERRORS) {
        fail(d, p);
        return;
    }
    under_way = get(p, P_CI) | (p->queued ? get(p, P_SACT) : 0);
    over = p->issued & ~under_way;
    if (over && get(p, P_IS) & IS_ERRORS) { /* it came between the two */
        fail(d, p);
        return;
    }
    p->issued &= ~over;
    put(p, P_IS, get(p, P_IS) & ~(uint32_t)IS_ERRORS);
    for (unsigned i = 0; i < d->depth; i++)
        if (over & BIT(i))
            disk_done(d, i, 0);
}

/* AHCI 6.2.2.1 and 10.4.2: the port stops, the link is trained again if the disk is not ready, the port starts. */
static int reset(struct disk *d)
{
    struct port *p = d->driver;
    uint64_t since;
    bool stopped = stop_port(p);

    p->issued = 0;
    if (!stopped || get(p, P_TFD) & TFD_BUSY || !(get(p, P_IS) & IS_ERRORS)) {
        put(p, P_SCTL, (get(p, P_SCTL) & ~(uint32_t)SSTS_DET) | SCTL_RESET);
        for (since = rdtsc(); native_wait(since, 1);)
            ;
        put(p, P_SCTL, get(p, P_SCTL) & ~(uint32_t)SSTS_DET);
        for (since = rdtsc(); (get(p, P_SSTS) & SSTS_DET) != SSTS_READY;)
            if (!native_wait(since, LINK_MS))
                return -EIO;
        if (!stop_port(p))
            return -EIO;
    }
    return start_port(p) ? 0 : -EIO;
}

static void stop(struct disk *d)
{
    (void)stop_port(d->driver);
}

static const struct disk_ops ops = { .start = start, .poll = poll, .reset = reset, .stop = stop };

/* --- finding them ----------------------------------------------------------------------------------------------- */

static bool link_up(const struct port *p)
{
    uint64_t since = rdtsc();

    put(p, P_CMD, get(p, P_CMD) | CMD_SPIN_UP | CMD_POWER_ON);
    while ((get(p, P_SSTS) & SSTS_DET) != SSTS_READY)
        if (!native_wait(since, LINK_MS))
            return false;
    return true;
}

static void give_memory(const struct port *p)
{
    uint64_t list = (uint64_t)(uintptr_t)p->memory->header, received = (uint64_t)(uintptr_t)p->memory->received;

    put(p, P_CLB, (uint32_t)list);
    put(p, P_CLBU, (uint32_t)(list >> 32));
    put(p, P_FB, (uint32_t)received);
    put(p, P_FBU, (uint32_t)(received >> 32));
}

static bool identify(struct port *p)
{
    struct table *t = &p->memory->table[0];
    uint64_t since = rdtsc(), data = (uint64_t)(uintptr_t)p->memory->identity;

    put_fis(t, ATA_IDENTIFY, 0, 0, 0);
    t->region[0] = (struct region){ (uint32_t)data, (uint32_t)(data >> 32), 0, sizeof(p->memory->identity) - 1 };
    put_header(p, 0, 1, false);
    issue(p, 0, false);
    while (get(p, P_CI) & 1)
        if (get(p, P_IS) & IS_ERRORS || !native_wait(since, IDENTIFY_MS))
            return false;
    p->issued = 0;
    return !(get(p, P_IS) & IS_ERRORS);
}

/* A port with nothing on it, or with what is no disk, is left alone. */
static int add_port(struct native *n, struct ahci *a, unsigned i)
{
    struct port *p = &a->port[i];
    struct ata_identity id;
    struct disk *d;

    p->base = a->base + PORT(i);
    put(p, P_IE, 0);
    if (!stop_port(p) || !link_up(p))
        return 0;
    p->memory = native_memory(sizeof(*p->memory));
    if (!p->memory)
        return -ENOMEM;
    give_memory(p);
    put(p, P_CMD, get(p, P_CMD) & ~(uint32_t)CMD_ATAPI);
    if (!start_port(p) || !identify(p) || !ata_identity((const uint16_t *)p->memory->identity, &id) || !id.ext) {
        (void)stop_port(p);
        return 0;
    }
    d = native_disk(n, "ahci", i);
    if (!d)
        return -ENOMEM;
    p->queued = a->cap & CAP_NCQ && id.queue;
    d->ops = &ops;
    d->driver = p;
    d->sectors = id.sectors;
    d->block = id.block;
    d->depth = p->queued ? MIN(MIN((a->cap >> 8 & 31) + 1, id.queue), DISK_SLOTS) : 1;
    d->max_sectors = COMMAND_MAX;
    d->flush_alone = true;
    return 0;
}

static void take_from_bios(const struct ahci *a)
{
    uint64_t since = rdtsc();

    if (!(mmio_read32(a->base + HBA_CAP2) & CAP2_HANDOFF))
        return;
    mmio_write32(a->base + HBA_BOHC, mmio_read32(a->base + HBA_BOHC) | BOHC_OS);
    while (mmio_read32(a->base + HBA_BOHC) & BOHC_BIOS && native_wait(since, HANDOFF_MS))
        ;
}

static int attach(struct native *n)
{
    struct ahci *a = native_memory(sizeof(*a));
    struct pci_bar bar;
    uint32_t ports;
    int err = a ? 0 : -ENOMEM;

    if (!err && (pci_bar(&n->pci, ABAR, &bar) || bar.io || bar.size < PORT(1)))
        err = -ENODEV;
    if (!err)
        err = paging_map(ALIGN_DOWN(bar.base, PAGE_SIZE), ALIGN_UP(bar.base % PAGE_SIZE + bar.size, PAGE_SIZE),
                         MAP_DEVICE);
    if (err)
        return err;
    pci_enable(&n->pci, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    n->state = a;
    a->base = bar.base;
    take_from_bios(a);
    mmio_write32(a->base + HBA_GHC, GHC_AHCI);
    a->cap = mmio_read32(a->base + HBA_CAP);
    if (!(a->cap & CAP_64)) /* what lies above 4 GiB is out of its reach */
        return -ENOTSUP;
    ports = mmio_read32(a->base + HBA_PI);
    for (unsigned i = 0; i < PORTS && !err; i++)
        if (ports >> i & 1 && PORT(i + 1) <= bar.size)
            err = add_port(n, a, i);
    return err;
}

static void detach(struct native *n)
{
    struct ahci *a = n->state;

    for (unsigned i = 0; a && i < PORTS; i++)
        if (a->port[i].memory)
            (void)stop_port(&a->port[i]);
}

const struct native_driver ahci_driver = {
    .class = 0x010601, .mask = 0xffffff, .attach = attach, .detach = detach,
};
