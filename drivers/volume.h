/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "drivers/storage.h"

/*
 * What is on a disk: partitions, and files on FAT. All of it is read before anything is opened, by whoever can read the
 * disk, and all of it is hostile: nothing outside of the disk is ever asked for or found, and every loop ends.
 */
#define VOLUME_CHUNK 4096u

/* A disk, or a part of one, to be read in chunks that begin at multiples of VOLUME_CHUNK bytes. */
struct volume {
    int (*read)(void *ctx, uint64_t sector, uint32_t sectors, void *data); /* within the bounds; -errno */
    void *ctx;
    uint64_t first, sectors;   /* of 512 bytes: where it begins on what read reads, and how many there are */
    /* Its own: the chunk that was read last. */
    bool valid;
    uint64_t chunk;
    uint8_t data[VOLUME_CHUNK];
};

/* n bytes at a byte offset. -EINVAL: not on the volume; or what read says. */
int volume_bytes(struct volume *v, uint64_t offset, void *to, size_t n);

/* A word of n bytes, lowest first. */
static inline uint64_t little(const uint8_t *p, unsigned n)
{
    uint64_t value = 0;

    while (n--)
        value = value << 8 | p[n];
    return value;
}

/*
 * The partition with a PARTUUID as Linux writes it: of a GPT (whose checksums must be right, else the second table's),
 * or XXXXXXXX-NN of an MBR, logical ones too. block: the disk's, in bytes. -ENOENT, -EINVAL (no UUID), -EIO.
 */
int partition_find(struct volume *disk, uint32_t block, const char *uuid, struct extent *out);

/*
 * A file on a volume with FAT12, FAT16 or FAT32, by its path: parts between '\\' or '/', in any case, long names or
 * short ones. found is called for each piece in order, sectors counted from the volume's first; what is behind the last
 * full sector is left out. -ENOENT; -EINVAL: no FAT, or damaged, or a directory; -EIO; what found says.
 */
int fat_find(struct volume *v, const char *path, int (*found)(void *ctx, struct extent e), void *ctx, uint64_t *bytes);
