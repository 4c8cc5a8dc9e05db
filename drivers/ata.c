/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "drivers/ata_identity.h"
#include "drivers/native.h"

#include "arch/x86/cpu.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "numa/page.h"

/*
 * ATA disks on a PCI IDE controller with bus-master DMA, such as Intel's PIIX3 and PIIX4: ATA/ATAPI-8 ACS, and Intel's
 * "Programming Interface for Bus Master IDE Controller" 1.0. A channel does one command at a time, its interrupts are
 * off, and it is polled. A command's data may be anywhere: what the bus master does not reach goes by way of a buffer.
 */
#define CHANNELS       2u
#define DRIVES         2u

/* From the command block's first port. */
#define REG_DATA       0u
#define REG_FEATURES   1u
#define REG_COUNT      2u
#define REG_LBA_LOW    3u
#define REG_LBA_MID    4u
#define REG_LBA_HIGH   5u
#define REG_DEVICE     6u
#define REG_COMMAND    7u      /* read: status, which takes the interrupt back */

#define STATUS_ERR     0x01u
#define STATUS_DRQ     0x08u
#define STATUS_DF      0x20u
#define STATUS_BSY     0x80u

#define CONTROL_NIEN   0x02u
#define CONTROL_SRST   0x04u

#define DEVICE_LBA     0xe0u
#define DEVICE_1       0x10u

/* From the channel's first bus-master port. */
#define BM_COMMAND     0u
#define BM_STATUS      2u
#define BM_TABLE       4u
#define BM_START       0x01u
#define BM_TO_MEMORY   0x08u
#define BM_ACTIVE      0x01u
#define BM_ERROR       0x02u
#define BM_INTERRUPT   0x04u

#define CMD_READ       0xc8u
#define CMD_READ_EXT   0x25u
#define CMD_WRITE      0xcau
#define CMD_WRITE_EXT  0x35u
#define CMD_FLUSH      0xe7u
#define CMD_FLUSH_EXT  0xeau
#define CMD_IDENTIFY   0xecu
#define CMD_FEATURES   0xefu
#define FEATURE_MODE   0x03u

#define PRD_LAST       0x80000000u
#define PRD_BOUNDARY   0x10000u
#define PRDS           (STORAGE_MAX_PAGES + 1)

#define COMMAND_MAX    256u    /* sectors; LBA28 says 0 for it */
#define BUFFER_BYTES   (COMMAND_MAX * STORAGE_SECTOR)

#define READY_MS       100u    /* to be ready for a command */
#define IDENTIFY_MS    1000u
#define RESET_MS       2000u

struct prd { uint32_t address, bytes; };

struct channel {
    uint16_t command, control, master; /* ports */
    struct prd *prd;
    uint8_t *buffer;
    struct disk *drive[DRIVES];
    uint16_t identity[DRIVES][256];
    bool ext[DRIVES];          /* 48-bit addresses */
    struct disk *current;      /* whose command it does, NULL: none */
    bool buffered;             /* by way of the buffer */
};

struct ata { struct channel channel[CHANNELS]; };

static uint8_t status_of(const struct channel *c)
{
    return inb(c->control); /* leaves the interrupt as it is */
}

/* 400 ns, in which a drive that was chosen or told something may not show it yet. */
static void settle(const struct channel *c)
{
    for (unsigned i = 0; i < 5; i++)
        (void)status_of(c);
}

static bool wait_ready(const struct channel *c, unsigned ms)
{
    uint64_t since = rdtsc();

    while (status_of(c) & (STATUS_BSY | STATUS_DRQ))
        if (!native_wait(since, ms))
            return false;
    return true;
}

static bool choose(const struct channel *c, unsigned drive)
{
    if (!wait_ready(c, READY_MS))
        return false;
    outb(c->command + REG_DEVICE, (uint8_t)(DEVICE_LBA | (drive ? DEVICE_1 : 0)));
    settle(c);
    return wait_ready(c, READY_MS);
}

/* --- a command -------------------------------------------------------------------------------------------------- */

static struct channel *channel_of(const struct disk *d)
{
    return &((struct ata *)d->driver)->channel[d->number / DRIVES];
}

static unsigned drive_of(const struct disk *d)
{
    return d->number % DRIVES;
}

static bool is_far(const struct disk_command *c)
{
    struct hpa at;
    uint32_t n;

    for (uint32_t i = 0; i < c->sectors * STORAGE_SECTOR; i += n) {
        n = disk_piece(c, i, &at);
        if (at.v + n > BIT(32) || at.v % 2)
            return true;
    }
    return false;
}

static void copy_buffer(struct channel *ch, const struct disk_command *c, bool in)
{
    struct hpa at;
    uint32_t n;

    for (uint32_t i = 0; i < c->sectors * STORAGE_SECTOR; i += n) {
        n = disk_piece(c, i, &at);
        if (in)
            memcpy(ch->buffer + i, hpa_ptr(at), n);
        else
            memcpy(hpa_ptr(at), ch->buffer + i, n);
    }
}

/* A region goes on in the next piece, but not across 64 KiB, whose size is written as 0. */
static unsigned add_region(struct prd *prd, unsigned used, uint64_t at, uint32_t n)
{
    struct prd *last = used ? &prd[used - 1] : NULL;

    if (last && (uint64_t)last->address + last->bytes == at && at % PRD_BOUNDARY) {
        last->bytes += n;
        return used;
    }
    prd[used] = (struct prd){ (uint32_t)at, n };
    return used + 1;
}

static void describe(struct channel *ch, const struct disk_command *c)
{
    uint32_t size = c->sectors * STORAGE_SECTOR, n;
    unsigned used = 0;

    for (uint32_t i = 0; i < size; i += n) {
        struct hpa at = ptr_hpa(ch->buffer + i);

        if (ch->buffered)
            n = MIN((uint32_t)PRD_BOUNDARY, size - i);
        else
            n = disk_piece(c, i, &at);
        used = add_region(ch->prd, used, at.v, n);
    }
    for (unsigned i = 0; i < used; i++)
        ch->prd[i].bytes &= PRD_BOUNDARY - 1;
    ch->prd[used - 1].bytes |= PRD_LAST;
    outl(ch->master + BM_TABLE, (uint32_t)(uintptr_t)ch->prd);
}

static void put_address(const struct channel *ch, const struct disk *d, const struct disk_command *c)
{
    uint64_t lba = c->sector;

    if (ch->ext[drive_of(d)]) {
        outb(ch->command + REG_COUNT, (uint8_t)(c->sectors >> 8));
        outb(ch->command + REG_LBA_LOW, (uint8_t)(lba >> 24));
        outb(ch->command + REG_LBA_MID, (uint8_t)(lba >> 32));
        outb(ch->command + REG_LBA_HIGH, (uint8_t)(lba >> 40));
    } else {
        outb(ch->command + REG_DEVICE,
             (uint8_t)(DEVICE_LBA | (drive_of(d) ? DEVICE_1 : 0) | (lba >> 24 & 0xf)));
    }
    outb(ch->command + REG_COUNT, (uint8_t)c->sectors);
    outb(ch->command + REG_LBA_LOW, (uint8_t)lba);
    outb(ch->command + REG_LBA_MID, (uint8_t)(lba >> 8));
    outb(ch->command + REG_LBA_HIGH, (uint8_t)(lba >> 16));
}

static uint8_t opcode(bool ext, enum storage_op op)
{
    if (op == STORAGE_FLUSH)
        return ext ? CMD_FLUSH_EXT : CMD_FLUSH;
    if (op == STORAGE_READ)
        return ext ? CMD_READ_EXT : CMD_READ;
    return ext ? CMD_WRITE_EXT : CMD_WRITE;
}

static void begin(struct channel *ch, struct disk *d)
{
    const struct disk_command *c = &d->slot[0];
    uint8_t direction = c->op == STORAGE_READ ? BM_TO_MEMORY : 0;

    if (!choose(ch, drive_of(d))) {
        disk_lost(d);
        return;
    }
    ch->current = d;
    if (c->op == STORAGE_FLUSH) {
        outb(ch->command + REG_COMMAND, opcode(ch->ext[drive_of(d)], c->op));
        settle(ch);
        return;
    }
    ch->buffered = is_far(c);
    if (ch->buffered && c->op == STORAGE_WRITE)
        copy_buffer(ch, c, true);
    describe(ch, c);
    outb(ch->master + BM_COMMAND, direction);
    outb(ch->master + BM_STATUS, inb(ch->master + BM_STATUS) | BM_ERROR | BM_INTERRUPT);
    put_address(ch, d, c);
    outb(ch->command + REG_COMMAND, opcode(ch->ext[drive_of(d)], c->op));
    settle(ch);
    outb(ch->master + BM_COMMAND, direction | BM_START);
}

static void start(struct disk *d, unsigned slot)
{
    struct channel *ch = channel_of(d);

    (void)slot;
    if (!ch->current) /* else when the other drive is done */
        begin(ch, d);
}

/* The command is over in one way or the other. */
static void finish(struct channel *ch, struct disk *d, int err)
{
    const struct disk_command *c = &d->slot[0];

    if (c->op != STORAGE_FLUSH)
        outb(ch->master + BM_COMMAND, 0);
    (void)inb(ch->command + REG_COMMAND);
    outb(ch->master + BM_STATUS, inb(ch->master + BM_STATUS) | BM_ERROR | BM_INTERRUPT);
    if (!err && ch->buffered && c->op == STORAGE_READ)
        copy_buffer(ch, c, false);
    ch->current = NULL;
    disk_done(d, 0, err);
}

static void poll(struct disk *d)
{
    struct channel *ch = channel_of(d);
    uint8_t status, master;

    if (!ch->current)
        begin(ch, d);
    if (ch->current != d)
        return;
    status = status_of(ch);
    if (status & STATUS_BSY)
        return;
    if (status & (STATUS_ERR | STATUS_DF)) {
        finish(ch, d, -EIO);
        return;
    }
    if (d->slot[0].op == STORAGE_FLUSH) {
        finish(ch, d, 0);
        return;
    }
    master = inb(ch->master + BM_STATUS);
    if (master & BM_ERROR)
        finish(ch, d, -EIO);
    else if (!(master & BM_ACTIVE) && !(status & STATUS_DRQ))
        finish(ch, d, 0);
}

/* --- finding them, and bringing them back ----------------------------------------------------------------------- */

/* The transfer mode that the firmware had chosen, for a reset may lose it (ACS, SET FEATURES 03h). */
static void set_mode(const struct channel *ch, unsigned drive)
{
    const uint16_t *id = ch->identity[drive];
    unsigned ultra = id[53] & 4 ? id[88] >> 8 & 0x7f : 0, multi = id[63] >> 8 & 7, mode = 0;

    if (!ultra && !multi)
        return;
    for (unsigned i = 0; i < 7; i++)
        if ((ultra ? ultra : multi) >> i & 1)
            mode = i;
    if (!choose(ch, drive))
        return;
    outb(ch->command + REG_FEATURES, FEATURE_MODE);
    outb(ch->command + REG_COUNT, (uint8_t)((ultra ? 0x40 : 0x20) | mode));
    outb(ch->command + REG_COMMAND, CMD_FEATURES);
    settle(ch);
    wait_ready(ch, READY_MS);
}

static int reset(struct disk *d)
{
    struct channel *ch = channel_of(d);
    uint64_t since = rdtsc();

    outb(ch->master + BM_COMMAND, 0);
    outb(ch->control, CONTROL_NIEN | CONTROL_SRST);
    settle(ch);
    while (native_wait(since, 1))
        ;
    outb(ch->control, CONTROL_NIEN);
    since = rdtsc();
    while (native_wait(since, 2)) /* ACS: status is not valid before */
        ;
    if (ch->current && ch->current != d)
        disk_lost(ch->current);
    ch->current = NULL;
    if (!wait_ready(ch, RESET_MS))
        return -EIO;
    for (unsigned i = 0; i < DRIVES; i++)
        if (ch->drive[i])
            set_mode(ch, i);
    return 0;
}

static void stop(struct disk *d)
{
    struct channel *ch = channel_of(d);

    if (!ch->current)
        return;
    (void)reset(d);
}

static const struct disk_ops ops = { .start = start, .poll = poll, .reset = reset, .stop = stop };

/* A disk answers with its data; what is no disk has another signature, and nobody leaves the bus as it is. */
static bool identify(struct channel *ch, unsigned drive)
{
    uint64_t since = rdtsc();
    uint8_t status;

    if (status_of(ch) == 0xff || !choose(ch, drive))
        return false;
    outb(ch->command + REG_COUNT, 0);
    outb(ch->command + REG_LBA_MID, 0);
    outb(ch->command + REG_LBA_HIGH, 0);
    outb(ch->command + REG_COMMAND, CMD_IDENTIFY);
    settle(ch);
    do {
        status = status_of(ch);
        if (!status || status & (STATUS_ERR | STATUS_DF) || (!(status & STATUS_BSY) && status & STATUS_DRQ))
            break;
    } while (native_wait(since, IDENTIFY_MS));
    if (status & (STATUS_BSY | STATUS_ERR | STATUS_DF) || !(status & STATUS_DRQ))
        return false;
    for (unsigned i = 0; i < 256; i++)
        ch->identity[drive][i] = inw(ch->command + REG_DATA);
    (void)inb(ch->command + REG_COMMAND);
    return true;
}

static int add_drive(struct native *n, struct ata *ata, unsigned unit)
{
    struct channel *ch = &ata->channel[unit / DRIVES];
    unsigned drive = unit % DRIVES;
    struct ata_identity id;
    struct disk *d;

    if (!identify(ch, drive) || !ata_identity(ch->identity[drive], &id) || id.block != STORAGE_SECTOR)
        return 0;
    d = native_disk(n, "ata", unit);
    if (!d)
        return -ENOMEM;
    ch->ext[drive] = id.ext;
    d->ops = &ops;
    d->driver = ata;
    d->sectors = id.sectors;
    d->block = STORAGE_SECTOR;
    d->depth = 1;
    d->max_sectors = COMMAND_MAX;
    d->flush_alone = true;
    ch->drive[drive] = d;
    return 0;
}

/* Ports of a channel in compatibility mode, or as the BARs say (the class code's lowest byte tells). */
static int find_ports(struct native *n, struct ata *ata, unsigned i)
{
    static const uint16_t command[CHANNELS] = { 0x1f0, 0x170 }, control[CHANNELS] = { 0x3f6, 0x376 };
    struct channel *ch = &ata->channel[i];
    struct pci_bar master, block, other;

    if (pci_bar(&n->pci, 4, &master) || !master.io || master.size < 16)
        return -ENODEV;
    ch->master = (uint16_t)(master.base + 8 * i);
    ch->command = command[i];
    ch->control = control[i];
    if (n->pci.class >> 2 * i & 1) {
        if (pci_bar(&n->pci, 2 * i, &block) || !block.io || pci_bar(&n->pci, 2 * i + 1, &other) || !other.io)
            return -ENODEV;
        ch->command = (uint16_t)block.base;
        ch->control = (uint16_t)(other.base + 2);
    }
    ch->prd = native_low(PRDS * sizeof(struct prd));
    ch->buffer = native_low(BUFFER_BYTES);
    return ch->prd && ch->buffer ? 0 : -ENOMEM;
}

static int attach(struct native *n)
{
    struct ata *ata = native_memory(sizeof(*ata));
    int err = ata ? 0 : -ENOMEM;

    for (unsigned i = 0; i < CHANNELS && !err; i++)
        err = find_ports(n, ata, i);
    if (err)
        return err;
    n->state = ata;
    pci_enable(&n->pci, PCI_COMMAND_IO | PCI_COMMAND_MASTER);
    for (unsigned i = 0; i < CHANNELS; i++)
        outb(ata->channel[i].control, CONTROL_NIEN);
    for (unsigned i = 0; i < CHANNELS * DRIVES && !err; i++)
        err = add_drive(n, ata, i);
    return err;
}

/* The firmware's driver begins with a reset of its own; it polls, and finds the interrupts as after power-on. */
static void detach(struct native *n)
{
    struct ata *ata = n->state;

    for (unsigned i = 0; ata && i < CHANNELS; i++) {
        outb(ata->channel[i].master + BM_COMMAND, 0);
        outb(ata->channel[i].control, 0);
    }
}

const struct native_driver ata_driver = {
    .class = 0x010180, .mask = 0xffff80, .attach = attach, .detach = detach,
};
