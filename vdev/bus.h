/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * A dispatch table of addresses: I/O ports or device memory. A device answers accesses up to its width; a wider one, or
 * one that only touches a device with some of its bytes, is split into single bytes as a PC's ISA bridge does. A device
 * that is `exact` is never reached by such pieces. Bytes nobody owns read as ones and vanish when written; every access
 * with such a byte is counted. No locks: the board holds its own.
 */
struct bus_range {
    uint64_t first, last;       /* inclusive */
    unsigned width;             /* bytes of the widest access the device takes: 1, 2, 4 or 8 */
    bool exact;
    void *device;
    uint64_t (*read)(void *device, uint64_t addr, unsigned size);
    void (*write)(void *device, uint64_t addr, unsigned size, uint64_t value);
    /* Optional: reads what changes nothing by being read. False: not this one. Without the board's lock. */
    bool (*peek)(const void *device, uint64_t addr, unsigned size, uint64_t *value);
};

#define BUS_MAX_RANGES 24

struct bus {
    struct bus_range ranges[BUS_MAX_RANGES];
    unsigned count;
    uint64_t filter;            /* bit n: some device has addresses whose bits 9:4 are n */
    _Atomic uint64_t unowned;
};

/* -ENOSPC when the table is full, -EEXIST when the range overlaps another. */
int bus_add(struct bus *bus, const struct bus_range *range);

/* Is there, perhaps, a device at one of these addresses? If not, an access would only give ones and be counted. */
static inline bool bus_may_have(const struct bus *bus, uint64_t addr, unsigned size)
{
    return (bus->filter >> (addr >> 4 & 63) | bus->filter >> ((addr + size - 1) >> 4 & 63)) & 1;
}

/* Reads without the board's lock, if this can be (bus_range.peek). size 1, 2, 4 or 8. */
bool bus_peek(const struct bus *bus, uint64_t addr, unsigned size, uint64_t *value);
/* size 1, 2, 4 or 8. */
uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned size);
void bus_write(struct bus *bus, uint64_t addr, unsigned size, uint64_t value);

/* An access of this many bytes gives ones. */
static inline uint64_t bus_ones(unsigned size)
{
    return size >= 8 ? UINT64_MAX : BIT(8 * size) - 1;
}
