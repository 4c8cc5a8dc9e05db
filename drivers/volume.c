/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "drivers/volume.h"

#include "lib/errno.h"
#include "lib/string.h"

/* Chunks are counted on the disk, so that a disk of larger blocks can be read; the last one may be short. */
static int load(struct volume *v, uint64_t chunk)
{
    const uint32_t per_chunk = VOLUME_CHUNK / STORAGE_SECTOR;
    uint64_t from = chunk * per_chunk, end = v->first + v->sectors;
    int err;

    if (v->valid && v->chunk == chunk)
        return 0;
    v->valid = false;
    err = v->read(v->ctx, from, (uint32_t)MIN((uint64_t)per_chunk, end - from), v->data);
    v->valid = !err;
    v->chunk = chunk;
    return err;
}

int volume_bytes(struct volume *v, uint64_t offset, void *to, size_t n)
{
    uint64_t size = v->sectors * STORAGE_SECTOR;
    uint8_t *out = to;

    if (offset > size || n > size - offset)
        return -EINVAL;
    offset += v->first * STORAGE_SECTOR;
    while (n) {
        size_t in = offset % VOLUME_CHUNK, part = MIN(n, (size_t)VOLUME_CHUNK - in);
        int err = load(v, offset / VOLUME_CHUNK);

        if (err)
            return err;
        memcpy(out, v->data + in, part);
        out += part;
        offset += part;
        n -= part;
    }
    return 0;
}
