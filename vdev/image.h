/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/spinlock.h"
#include "vdev/block_map.h"

/*
 * Disk images and the buffer cache: which machine page holds which block of which image. All disks with the same image
 * share its pages, which are of the commons (numa/commons.h) and are never written.
 */
#define IMAGE_BLOCK PAGE_SIZE

struct image;

/* Where an image is. */
struct image_backend {
    /* Reads a block; what is behind the image's end is zero. 0, -EIO. */
    int (*read)(const struct image *image, uint64_t block, void *page);
};

struct image {
    const struct image_backend *backend;
    const void *data;          /* the backend's */
    uint64_t size;             /* bytes, a multiple of 512 */
    struct spinlock lock;      /* guards the rest; above the commons' locks */
    struct block_map cached;
    uint64_t pages;            /* in the cache */
};

/* The image that is in memory there, at most 2 GiB; the same for the same data. NULL: too many. Any processor. */
struct image *image_in_memory(const void *data, uint64_t size);

/* The page with a block, and a reference to it for the caller: commons_drop. -EIO, -ENOMEM. Any processor. */
int image_page(struct image *image, uint64_t block, struct hpa *page);

/* Lets blocks go that nobody has in memory but the cache: so many, or all there are; how many. Any processor. */
uint64_t image_let_go(uint64_t pages);
