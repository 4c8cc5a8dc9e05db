/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "drivers/device.h"
#include "drivers/native.h"
#include "tests/unit/seam/fake_apic.h"
#include "tests/unit/seam/fake_cpu.h"

/* What the tests of native drivers have in common: a machine without devices, and requests to one storage. */
static struct storage *storage;

/* The test's own: a request has ended. */
static void done(struct storage_request *r, int err);

static inline void no_devices(void)
{
    devices_stop();
    native_detach_all();
    fake_cpu_reset();
    fake_cpu.tsc_step = 100;
    fake_apic.khz = 1000;
}

static inline void submit(struct storage_request *r, enum storage_op op, uint64_t sector, uint32_t sectors)
{
    *r = (struct storage_request){ .op = op, .sector = sector, .sectors = sectors, .done = done };
    for (unsigned i = 0; i < (sectors + 7) / 8; i++)
        r->page[i] = page_alloc(0, 0, PAGE_HYPERVISOR);
    assert_int_equal(storage_submit(storage, r), 0);
}

static inline void finish(void)
{
    while (storage_poll())
        fake_cpu.tsc += 100000;
}

/* What was read is what the device has. */
static inline void same(const uint8_t *media, const struct storage_request *r)
{
    for (unsigned i = 0; i < r->sectors / 8; i++)
        assert_memory_equal(hpa_ptr(r->page[i]), media + r->sector * 512 + i * 4096, 4096);
}
