/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "drivers/device.h"

#include "arch/x86/apic.h"

static struct device *devices;
static void (*call_boot_processor)(void);

/* True if it was later before. */
static bool bring_forward(struct device *d, uint64_t when)
{
    uint64_t due = atomic_load(&d->due);

    while (when < due)
        if (atomic_compare_exchange_weak(&d->due, &due, when))
            return true;
    return false;
}

void device_add(struct device *d)
{
    atomic_store(&d->due, 0);
    d->next = devices;
    devices = d;
}

void device_wake(struct device *d, uint64_t when)
{
    if (bring_forward(d, when) && call_boot_processor)
        call_boot_processor();
}

void devices_set_call(void (*call)(void))
{
    call_boot_processor = call;
}

uint64_t devices_due(void)
{
    uint64_t due = DEVICE_NEVER;

    for (const struct device *d = devices; d; d = d->next)
        due = MIN(due, atomic_load(&d->due));
    return due;
}

/* Who wakes it while it is polled is not forgotten: that was set before, and is only ever brought forward. */
static void poll(struct device *d, uint64_t now)
{
    uint64_t when;

    atomic_store(&d->due, DEVICE_NEVER);
    when = d->poll(d, now);
    if (when != DEVICE_NEVER)
        bring_forward(d, MAX(when, now + tsc_khz() * DEVICE_GAP_US / 1000));
}

void devices_poll(uint64_t now)
{
    for (struct device *d = devices; d; d = d->next)
        if (atomic_load(&d->due) <= now)
            poll(d, now);
}

void devices_stop(void)
{
    while (devices) {
        struct device *d = devices;

        devices = d->next;
        if (d->stop)
            d->stop(d);
    }
}
