/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "drivers/device.h"

#include "arch/x86/apic.h"

_Atomic uint64_t devices_due = DEVICE_NEVER;

static struct device *devices;
static void (*call_boot_processor)(void);

/* True if it was later before. */
static bool bring_forward(_Atomic uint64_t *due, uint64_t when)
{
    uint64_t before = atomic_load(due);

    while (when < before)
        if (atomic_compare_exchange_weak(due, &before, when))
            return true;
    return false;
}

void device_add(struct device *d)
{
    atomic_store(&d->due, 0);
    d->next = devices;
    devices = d;
    atomic_store(&devices_due, 0);
}

void device_wake(struct device *d, uint64_t when)
{
    if (!bring_forward(&d->due, when))
        return;
    if (bring_forward(&devices_due, when) && call_boot_processor)
        call_boot_processor();
}

void devices_set_call(void (*call)(void))
{
    call_boot_processor = call;
}

/* Who wakes it while it is polled is not forgotten: that was set before, and is only ever brought forward. */
static void poll(struct device *d, uint64_t now)
{
    uint64_t when;

    atomic_store(&d->due, DEVICE_NEVER);
    when = d->poll(d, now);
    if (when != DEVICE_NEVER)
        bring_forward(&d->due, MAX(when, now + tsc_khz() * DEVICE_GAP_US / 1000));
}

/* Who wakes a device meanwhile sets that device's time before the common one: the loop sees it, or it comes after. */
void devices_poll(uint64_t now)
{
    atomic_store(&devices_due, DEVICE_NEVER);
    for (struct device *d = devices; d; d = d->next) {
        if (atomic_load(&d->due) <= now)
            poll(d, now);
        bring_forward(&devices_due, atomic_load(&d->due));
    }
}

void devices_stop(void)
{
    while (devices) {
        struct device *d = devices;

        devices = d->next;
        if (d->stop)
            d->stop(d);
    }
    atomic_store(&devices_due, DEVICE_NEVER);
}
