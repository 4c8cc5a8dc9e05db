/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "numa/commons.h"
#include "numa/page.h"

/* Machine memory for a test, below 2 GiB: frame numbers fit the memmap's links and ASan keeps its shadow above. */
static inline uint64_t machine_memory(size_t size, unsigned node)
{
    static uint64_t next = 0x10000000ul;
    uint64_t base = (uint64_t)mmap((void *)next, size, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    next += ALIGN_UP(size, PAGE_SIZE_2M) + PAGE_SIZE_2M;
    if (page_add_range(base, size, node))
        return 0;
    memset((void *)(base + size - PAGE_SIZE), 0xa5, PAGE_SIZE); /* memory is not zero when it comes */
    if (!commons_zero(0).v && commons_init())
        return 0;
    return base;
}

static inline uint64_t free_pages(void)
{
    struct page_counts c;

    page_count(NUMA_MAX_NODES, &c);
    return c.free;
}
