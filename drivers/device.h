/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <stdatomic.h>

#include "lib/types.h"

/*
 * The machine's own devices that a driver here looks after. They raise no interrupts: the boot processor polls each at
 * the time that it asked for, whatever runs there, and sleeps or runs a guest until then.
 */
#define DEVICE_NEVER  UINT64_MAX
#define DEVICE_GAP_US 50u      /* between two looks at a device at least, so that guests there get on */

struct device {
    const char *name;
    /*
     * Looks what the device has done. Returns the TSC at which it wants to be called again at the latest: some 100 us
     * from now while something is under way, DEVICE_NEVER when there is nothing until device_wake. Boot processor, our
     * world, outside of the EPTs, interrupts off, no lock is held.
     */
    uint64_t (*poll)(struct device *d, uint64_t now);
    /*
     * All ends, and the device goes back to the firmware: returns when it touches our memory no more. Boot processor,
     * the firmware's world, where nobody polls any more. May be NULL.
     */
    void (*stop)(struct device *d);
    struct device *next;       /* the registry's, as is the next one */
    _Atomic uint64_t due;
};

/* One more device, to be polled soon. It stays until devices_stop. Firmware's world, or boot processor. */
void device_add(struct device *d);
/* It is to be polled at TSC when, or earlier (0: at once): something has been submitted. Any processor. */
void device_wake(struct device *d, uint64_t when);

/* How device_wake reaches the boot processor when that has to look earlier than it knows. Once, before the first. */
void devices_set_call(void (*call)(void));
/* TSC at which the next device is to be polled, DEVICE_NEVER: none. */
extern _Atomic uint64_t devices_due;
/* Polls those that are due. Boot processor. */
void devices_poll(uint64_t now);
/* Stops all, the last one added first, and forgets them. Firmware's world; no other processor is in ours. */
void devices_stop(void);
