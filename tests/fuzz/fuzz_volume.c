/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdlib.h>
#include <string.h>

#include "drivers/volume.h"
#include "lib/errno.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * Any bytes as a disk: the first byte chooses what is looked for, and how large the disk says it is. What is found lies
 * on the disk, and the disk is never read beyond its end. Bytes that the input lacks are zeros.
 */
struct disk { const uint8_t *data; size_t size; uint64_t sectors; };

static int read_disk(void *ctx, uint64_t sector, uint32_t sectors, void *to)
{
    const struct disk *d = ctx;
    size_t at = sector * 512, n = sectors * 512ull;

    if (sector + sectors > d->sectors)
        abort();
    memset(to, 0, n);
    if (at < d->size)
        memcpy(to, d->data + at, d->size - at < n ? d->size - at : n);
    return 0;
}

static int found(void *ctx, struct extent e)
{
    const struct disk *d = ctx;

    if (!e.sectors || e.sector >= d->sectors || e.sectors > d->sectors - e.sector)
        abort();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const paths[] = { "\\guests\\deep\\Root File System.img", "\\F", "/A/B", "\\a long name x" };
    struct disk d = { data + 1, size - 1, 2880 };
    struct volume v = { .read = read_disk, .ctx = &d };
    struct extent e;
    uint64_t bytes;

    if (!size)
        return 0;
    if (data[0] & 8)
        d.sectors = 1u << (data[0] >> 4);
    v.sectors = d.sectors;
    if (data[0] & 4) {
        if (!partition_find(&v, 512, data[0] & 1 ? "deadbeef-06" : "4d69727f-6f72-4261-8c6c-0000000000ab", &e))
            found(&d, e);
    } else {
        fat_find(&v, paths[data[0] & 3], found, &d, &bytes);
    }
    return 0;
}
