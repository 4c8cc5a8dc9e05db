/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "numa/hash.h"

#define XXH_INLINE_ALL
#define XXH_NO_STDLIB
#define XXH_VECTOR XXH_SCALAR
#define XXH_FORCE_MEMORY_ACCESS 1 /* no call of memcpy for each eight bytes */
#include <xxhash.h>

bool page_is_zero(const void *page)
{
    const uint64_t *w = page;

    for (unsigned i = 0; i < PAGE_SIZE / sizeof(*w); i++)
        if (w[i])
            return false;
    return true;
}

/* Zero and the hash of zeros are taken: two other values stand for them. */
uint32_t page_hash(const void *page)
{
    uint32_t h;

    if (page_is_zero(page))
        return HASH_ZERO;
    h = (uint32_t)XXH64(page, PAGE_SIZE, 0);
    return h > HASH_ZERO ? h : h + 2;
}
