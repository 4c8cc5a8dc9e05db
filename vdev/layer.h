/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "numa/pmap.h"
#include "vdev/image.h"

/*
 * What a VM sees on a disk: an image that is never written, and over it the blocks that this VM has written, which are
 * in memory and gone when the layer is destroyed. A zeroed one with an image is a layer. One lock; the image's and the
 * pmap's are below it. Ranges lie inside the image (bytes, multiples of 512).
 */
struct layer {
    struct image *image;
    struct spinlock lock;      /* guards the next two */
    struct block_map own;
    uint64_t pages;            /* that it has of its own */
    _Atomic uint64_t placed, copied; /* what reads took: blocks of the image without a copy, parts of blocks by one */
};

/*
 * To and from guest memory. Whole blocks of the image that go to whole pages are not copied but placed there, if share
 * is set; they are mapped on that node. -EFAULT: not RAM; -EIO; -ENOMEM.
 */
int layer_read(struct layer *l, uint64_t at, struct pmap *pmap, struct gpa to, uint64_t n, bool share, unsigned node);
int layer_write(struct layer *l, uint64_t at, struct pmap *pmap, struct gpa from, uint64_t n);
/* Zeros, which take no memory where they are whole blocks. -EIO, -ENOMEM. */
int layer_zero(struct layer *l, uint64_t at, uint64_t n);
/* The whole blocks among these are not needed any more; they are zero. -ENOMEM. */
int layer_discard(struct layer *l, uint64_t at, uint64_t n);
/* Nobody uses it any more: its memory comes back. */
void layer_destroy(struct layer *l);
