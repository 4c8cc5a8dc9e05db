/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>

#include <cmocka.h>

#include "lib/errno.h"
#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_percpu.h"
#include "tests/unit/storage_fake.h"
#include "vdev/blk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * Any bytes as a disk's ring and its tables, with calls in between that run it, let transfers end, or give it another
 * ring: the first byte is the disk's kind, then come pieces of a command byte and up to 64 bytes for the guest's
 * memory. Afterwards nothing is under way, all memory is back, and no block outside of the image was reached.
 */
#define SECTORS 1004u
#define MEMORY  MIB
#define ENTRIES 8u

static struct storage disk;
static struct pmap pmap;
static struct blk blk;

static void begin(uint8_t kind)
{
    struct image *image = image_on(&disk);
    struct blk_disk *d;

    disk.bad_from = 100;
    disk.bad_to = kind & 4 ? 108 : 0;
    fake_cached = 0;
    if (pmap_init(&pmap, 1, MEMORY, 1) || image_claim(image, kind & 1))
        abort();
    blk_init(&blk, &pmap, 1, "fuzz");
    d = blk_add(&blk, image, "disk");
    d->layer.exclusive = kind & 1;
    d->readonly = kind & 2;
    d->share = kind & 8;
    if (blk_set_ring(&blk, 0, 0, GPA(0), ENTRIES))
        abort();
}

static void command(uint8_t what)
{
    bool more = false;

    switch (what % 4) {
    case 0:
        blk_run(&blk, 0, 0, 0);
        break;
    case 1:
        storage_poll();
        break;
    case 2:
        blk_resume(&blk, 0, &more);
        break;
    case 3:
        if (what & 0x80)
            blk_set_ring(&blk, 0, 0, GPA((what & 0x70) << 8), BIT(what >> 2 & 3));
    }
    if (fake_cached > FAKE_CACHED / 2)
        fake_cached = 0;
}

static void end(void)
{
    while (!blk_quiet(&blk) || storage_poll())
        storage_poll();
    blk_destroy(&blk);
    pmap_destroy(&pmap);
    if (transfer_count() || disk.refused)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint64_t base;

    if (!base) {
        fake_percpu_enter(0);
        base = machine_memory(32 * MIB, 0);
        fake_storage(&disk, SECTORS);
    }
    begin(size ? data[0] : 0);
    for (size_t at = 1; at < size;) {
        uint8_t what = data[at++];
        size_t n = MIN(size - at, (size_t)(what >> 2 & 15) * 4);

        if (n >= 4) { /* two bytes say where, in words of 8 */
            uint64_t gpa = (data[at] | data[at + 1] << 8) * 8 % 0x8000;

            (void)pmap_write(&pmap, GPA(gpa), data + at + 2, n - 2);
        }
        at += n;
        command(what);
    }
    end();
    return 0;
}
