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
#include "vdev/persist_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * Any bytes as a disk's log: the input is the first blocks of the headers, the journal and one of the maps, 512 bytes
 * each, in turn. Where it has the magic number, the checksum is made right, for else nothing gets behind it. If the log
 * is taken, all of the disk can be read, and it can be opened again; nothing is read or written beyond the storages.
 */
#define BLOCKS 64u
#define LOG    400u

static struct storage disk, logs;
static struct layer layer;
static struct pmap pmap;

static void wait_a_little(void) { storage_poll(); }

static void mend(uint64_t block)
{
    struct persist_header *h = (struct persist_header *)(logs.seen + block * 4096);

    if (h->magic != PERSIST_MAGIC && h->magic != PERSIST_RECORD)
        return;
    if (h->magic == PERSIST_MAGIC) {
        struct persist p = { .l = &layer };
        uint64_t sum = disk.sectors * 512;

        (void)p;
        for (unsigned b = 0; b < BLOCKS; b++)
            sum = persist_sum(sum, disk.seen + b * 4096);
        h->identity = sum;
        h->sectors = disk.sectors;
        h->blocks = LOG;
        h->journal = PERSIST_JOURNAL;
        h->map_sum = h->leaf[0] & 1 ? persist_sum(0, logs.seen + (HEADERS + PERSIST_JOURNAL + h->generation % 2) * 4096)
                                    : 0;
    }
    h->sum = 0;
    h->sum = persist_sum(0, h);
}

static void forget(struct storage *s, uint64_t blocks)
{
    for (uint64_t b = 0; b < blocks; b++)
        if (!image_prepare(image_on(s), b))
            image_put(image_on(s), b, HPA_NONE);
}

static bool read_all(void)
{
    char why[160];

    layer = (struct layer){ .image = image_on(&disk) };
    if (image_claim(layer.image, false))
        abort();
    if (persist_open(&layer, &logs, PERSIST_OPEN, wait_a_little, why, sizeof(why))) {
        layer_destroy(&layer);
        return false;
    }
    for (uint64_t at = 0; at < BLOCKS * 4096; at += 4096) {
        struct layer_wait wait = { .pending = 0 };
        struct layer_io io = { .pmap = &pmap, .wait = &wait, .ahead = 4096 };
        uint64_t done = 0;
        int err;

        while ((err = layer_read(&layer, at, GPA(0), 4096, &io, &done)) == -EAGAIN)
            storage_poll();
        if (err)
            abort();
    }
    layer_destroy(&layer);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t places[] = { 0, 1, HEADERS + PERSIST_JOURNAL, HEADERS + PERSIST_JOURNAL + 1, 2, 3, 4, 5 };

    if (!disk.seen) {
        fake_percpu_enter(0);
        machine_memory(32 * MIB, 0);
        fake_storage(&disk, BLOCKS * 8);
        fake_storage(&logs, LOG * 8);
        if (pmap_init(&pmap, 1, MIB, 1))
            abort();
    }
    memset(logs.seen, 0, LOG * 4096);
    fake_cached = 0;
    for (size_t at = 0, i = 0; at < size && i < ARRAY_SIZE(places); at += 512, i++)
        memcpy(logs.seen + places[i] * 4096, data + at, MIN(size - at, (size_t)512));
    for (size_t i = ARRAY_SIZE(places); i--;)
        mend(places[i]);
    forget(&logs, LOG);
    if (read_all() && (forget(&logs, LOG), !read_all()))
        abort(); /* what it has written itself it takes */
    if (logs.refused || disk.refused || disk.writes)
        abort();
    return 0;
}
