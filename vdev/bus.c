/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/bus.h"

#include "lib/errno.h"

int bus_add(struct bus *bus, const struct bus_range *range)
{
    if (bus->count == BUS_MAX_RANGES)
        return -ENOSPC;
    for (unsigned i = 0; i < bus->count; i++)
        if (range->first <= bus->ranges[i].last && bus->ranges[i].first <= range->last)
            return -EEXIST;
    bus->ranges[bus->count++] = *range;
    for (uint64_t block = range->first >> 4; block <= range->last >> 4 && ~bus->filter; block++)
        bus->filter |= BIT(block & 63);
    return 0;
}

static const struct bus_range *find(const struct bus *bus, uint64_t addr)
{
    for (unsigned i = 0; i < bus->count; i++)
        if (addr >= bus->ranges[i].first && addr <= bus->ranges[i].last)
            return &bus->ranges[i];
    return NULL;
}

/* The device that takes this access whole. */
static const struct bus_range *find_whole(const struct bus *bus, uint64_t addr, unsigned size)
{
    const struct bus_range *r = find(bus, addr);

    return r && size <= r->width && size - 1 <= r->last - addr ? r : NULL;
}

/* The device that takes one byte of a wider access. */
static const struct bus_range *find_piece(const struct bus *bus, uint64_t addr)
{
    const struct bus_range *r = find(bus, addr);

    return r && !r->exact ? r : NULL;
}

bool bus_peek(const struct bus *bus, uint64_t addr, unsigned size, uint64_t *value)
{
    const struct bus_range *r = find_whole(bus, addr, size);

    return r && r->peek && r->peek(r->device, addr, size, value);
}

uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned size)
{
    const struct bus_range *r = find_whole(bus, addr, size);
    uint64_t value = 0;
    bool missed = false;

    if (r)
        return r->read(r->device, addr, size) & bus_ones(size);
    for (unsigned i = 0; i < size; i++) {
        uint64_t byte = 0xff;

        r = size > 1 ? find_piece(bus, addr + i) : NULL;
        if (r)
            byte = r->read(r->device, addr + i, 1) & 0xff;
        else
            missed = true;
        value |= byte << (8 * i);
    }
    bus->unowned += missed;
    return value;
}

void bus_write(struct bus *bus, uint64_t addr, unsigned size, uint64_t value)
{
    const struct bus_range *r = find_whole(bus, addr, size);
    bool missed = false;

    if (r) {
        r->write(r->device, addr, size, value & bus_ones(size));
        return;
    }
    for (unsigned i = 0; i < size; i++) {
        r = size > 1 ? find_piece(bus, addr + i) : NULL;
        if (r)
            r->write(r->device, addr + i, 1, value >> (8 * i) & 0xff);
        else
            missed = true;
    }
    bus->unowned += missed;
}
