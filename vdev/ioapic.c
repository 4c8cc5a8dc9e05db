/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/ioapic.h"

#include "lib/string.h"

/* Intel 82093AA data sheet; the EOI register as in later I/O APICs (version 0x20). */
#define REG_SELECT  0x00u
#define REG_WINDOW  0x10u
#define REG_EOI     0x40u

#define INDEX_ID      0x00u
#define INDEX_VERSION 0x01u
#define INDEX_ARBITER 0x02u
#define INDEX_ENTRIES 0x10u
#define VERSION       0x20u

#define ENTRY_VECTOR      0xffu
#define ENTRY_MODE(e)     ((e) >> 8 & 7)
#define ENTRY_LOGICAL     BIT(11)
#define ENTRY_REMOTE_IRR  BIT(14)
#define ENTRY_LEVEL       BIT(15)
#define ENTRY_MASKED      BIT(16)
#define ENTRY_DEST(e)     ((uint32_t)((e) >> 56))
#define ENTRY_WRITABLE_LOW  0x1afffu    /* all but delivery status and remote IRR */
#define ENTRY_WRITABLE_HIGH 0xff000000u

/* A level-triggered interrupt stands until its EOI; only the modes that end with one are level-triggered. */
static bool is_level(uint64_t e)
{
    return (e & ENTRY_LEVEL) && ENTRY_MODE(e) <= APIC_LOWEST;
}

static void send(struct ioapic *io, unsigned pin)
{
    uint64_t e = io->entry[pin];
    struct apic_message m = {
        .dest = ENTRY_DEST(e), .logical = e & ENTRY_LOGICAL, .mode = (enum apic_mode)ENTRY_MODE(e),
        .vector = e & ENTRY_VECTOR, .level = is_level(e),
    };

    if (e & (ENTRY_MASKED | ENTRY_REMOTE_IRR))
        return;
    if (io->deliver(io->ctx, &m) && is_level(e))
        io->entry[pin] |= ENTRY_REMOTE_IRR;
}

/* A level that stands and waits for nobody goes out now. */
static void send_level(struct ioapic *io, unsigned pin)
{
    if (is_level(io->entry[pin]) && (io->lines & BIT(pin)))
        send(io, pin);
}

void ioapic_init(struct ioapic *io, uint8_t id, unsigned (*deliver)(void *ctx, const struct apic_message *message),
                 void *ctx)
{
    memset(io, 0, sizeof(*io));
    io->initial_id = id;
    io->deliver = deliver;
    io->ctx = ctx;
    ioapic_reset(io);
}

void ioapic_reset(struct ioapic *io)
{
    io->id = io->initial_id;
    io->select = 0;
    for (unsigned i = 0; i < IOAPIC_PINS; i++)
        io->entry[i] = ENTRY_MASKED;
}

/* An edge at a masked input is lost, as on the chip. */
void ioapic_set_pin(struct ioapic *io, unsigned pin, bool level)
{
    bool rises;

    if (pin >= IOAPIC_PINS)
        return;
    rises = level && !(io->lines & BIT(pin));
    if (level)
        io->lines |= (uint32_t)BIT(pin);
    else
        io->lines &= (uint32_t)~BIT(pin);
    if (is_level(io->entry[pin]))
        send_level(io, pin);
    else if (rises)
        send(io, pin);
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        uint64_t e = io->entry[i];

        if (!is_level(e) || !(e & ENTRY_REMOTE_IRR) || (e & ENTRY_VECTOR) != vector)
            continue;
        io->entry[i] &= ~ENTRY_REMOTE_IRR;
        send_level(io, i);
    }
}

static uint32_t read_index(const struct ioapic *io)
{
    unsigned n = io->select - INDEX_ENTRIES;

    if (io->select == INDEX_ID || io->select == INDEX_ARBITER)
        return (uint32_t)io->id << 24;
    if (io->select == INDEX_VERSION)
        return (IOAPIC_PINS - 1) << 16 | VERSION;
    if (io->select < INDEX_ENTRIES || n >= 2 * IOAPIC_PINS)
        return 0;
    return (uint32_t)(io->entry[n / 2] >> (n & 1 ? 32 : 0));
}

/* Turning an entry to edge-triggered drops its remote IRR: so kernels end an interrupt without an EOI register. */
static void write_entry(struct ioapic *io, unsigned pin, bool high, uint32_t value)
{
    uint64_t e = io->entry[pin];

    if (high)
        e = (e & UINT32_MAX) | (uint64_t)(value & ENTRY_WRITABLE_HIGH) << 32;
    else
        e = (e & ~(uint64_t)ENTRY_WRITABLE_LOW) | (value & ENTRY_WRITABLE_LOW);
    if (!is_level(e))
        e &= ~ENTRY_REMOTE_IRR;
    io->entry[pin] = e;
    send_level(io, pin);
}

static void write_index(struct ioapic *io, uint32_t value)
{
    unsigned n = io->select - INDEX_ENTRIES;

    if (io->select == INDEX_ID)
        io->id = (uint8_t)(value >> 24);
    else if (io->select >= INDEX_ENTRIES && n < 2 * IOAPIC_PINS)
        write_entry(io, n / 2, n & 1, value);
}

uint64_t ioapic_read(void *ioapic, uint64_t addr, unsigned size)
{
    struct ioapic *io = ioapic;

    (void)size;
    switch (addr & 0xfff) {
    case REG_SELECT:
        return io->select;
    case REG_WINDOW:
        return read_index(io);
    default:
        return 0;
    }
}

void ioapic_write(void *ioapic, uint64_t addr, unsigned size, uint64_t value)
{
    struct ioapic *io = ioapic;

    switch (addr & 0xfff) {
    case REG_SELECT:
        io->select = (uint8_t)value;
        break;
    case REG_WINDOW:
        if (size >= 4)          /* the chip takes only whole registers */
            write_index(io, (uint32_t)value);
        break;
    case REG_EOI:
        ioapic_eoi(io, (uint8_t)value);
        break;
    default:
        break;
    }
}
