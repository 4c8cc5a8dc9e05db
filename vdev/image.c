/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/image.h"
#include "arch/x86/percpu.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "numa/commons.h"
#include "numa/reclaim.h"

#define MAX_IMAGES 64u

static struct spinlock lock;    /* guards which images there are */
static struct image images[MAX_IMAGES];

static int read_memory(const struct image *image, uint64_t block, void *page)
{
    uint64_t offset = block * IMAGE_BLOCK, n = offset < image->size ? MIN(IMAGE_BLOCK, image->size - offset) : 0;

    memcpy(page, (const char *)image->data + offset, n);
    memset((char *)page + n, 0, IMAGE_BLOCK - n);
    return 0;
}

static const struct image_backend in_memory = { .read = read_memory };

struct image *image_in_memory(const void *data, uint64_t size)
{
    struct image *found = NULL;

    spin_lock(&lock);
    for (unsigned i = 0; i < MAX_IMAGES && !found; i++) {
        struct image *image = &images[i];

        if (!image->backend)
            *image = (struct image){ .backend = &in_memory, .data = data, .size = ALIGN_DOWN(size, 512) };
        if (image->data == data)
            found = image;
    }
    spin_unlock(&lock);
    return found;
}

/* Brings a block into the cache, which has the page's first reference. Lock held. */
static int fill(struct image *image, uint64_t block, uint32_t *slot)
{
    uint32_t key = (uint32_t)(((uint64_t)image + block) * 0x9e3779b97f4a7c15 >> 32) | 1;
    struct hpa page = page_alloc(cpu_this()->node, PAGE_ORDER_4K, PAGE_PRIVATE);
    int err;

    if (!page.v)
        return -ENOMEM;
    err = image->backend->read(image, block, hpa_ptr(page));
    if (err) {
        page_free(page, PAGE_ORDER_4K);
        return err;
    }
    commons_add(page, COMMONS_FILES, key);
    *slot = (uint32_t)(page.v >> PAGE_SHIFT);
    image->pages++;
    return 0;
}

static int find_page(struct image *image, uint64_t block, struct hpa *page)
{
    uint32_t *slot;
    int err = 0;

    spin_lock(&image->lock);
    slot = block_map_slot(&image->cached, block);
    if (!slot)
        err = -ENOMEM;
    else if (!*slot)
        err = fill(image, block, slot);
    if (!err) {
        *page = HPA((uint64_t)*slot << PAGE_SHIFT);
        commons_hold(*page);
    }
    spin_unlock(&image->lock);
    return err;
}

int image_page(struct image *image, uint64_t block, struct hpa *page)
{
    unsigned tries = 0;
    int err;

    do {
        err = find_page(image, block, page);
    } while (err == -ENOMEM && reclaim_again(&tries));
    return err;
}

/* If the cache has the only reference. */
static bool let_go(uint32_t frame)
{
    struct hpa page = HPA((uint64_t)frame << PAGE_SHIFT), copies;

    if (!commons_withdraw(page, &copies))
        return false;
    commons_free_copies(copies); /* no guest has the page, so none maps them */
    page_free(page, PAGE_ORDER_4K);
    return true;
}

uint64_t image_let_go(uint64_t pages)
{
    uint64_t sum = 0;

    spin_lock(&lock);
    for (unsigned i = 0; i < MAX_IMAGES && images[i].backend && sum < pages; i++) {
        struct image *image = &images[i];
        uint64_t gone;

        spin_lock(&image->lock);
        gone = block_map_prune(&image->cached, let_go, pages - sum);
        image->pages -= gone;
        spin_unlock(&image->lock);
        sum += gone;
    }
    spin_unlock(&lock);
    return sum;
}
