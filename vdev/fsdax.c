/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/fsdax.h"

#include "lib/string.h"

#define BLOCK_AT   0x1000u  /* in the lead; the block is a page, its checksum the last 8 bytes */
#define PAGES_RAM  1u       /* the system has the structures for the pages in its RAM */

struct block {
    char signature[16];
    uint8_t uuid[16], parent[16];
    uint32_t flags;
    uint16_t major, minor;
    uint64_t offset, pages;
    uint32_t mode, start_pad, end_cut, align, page_size;
    uint16_t page_struct_size, zero;
} __attribute__((packed));
_Static_assert(sizeof(struct block) == 96, "the rest of the page is zero");

/* Fletcher's sum of the page in 32-bit words, of which only the block's are not zero. */
static uint64_t checksum(const struct block *block)
{
    uint32_t words[sizeof(*block) / 4], low = 0;
    uint64_t high = 0;

    memcpy(words, block, sizeof(words));
    for (unsigned i = 0; i < PAGE_SIZE / 4; i++) {
        low += i < ARRAY_SIZE(words) ? words[i] : 0;
        high += low;
    }
    return high << 32 | low;
}

int fsdax_label(struct pmap *pmap, const struct pmap_window *window)
{
    const struct block block = {
        .signature = "NVDIMM_PFN_INFO", .major = 1, .minor = 4,
        .offset = FSDAX_LEAD, .pages = (window->size - FSDAX_LEAD) / PAGE_SIZE, .mode = PAGES_RAM,
        .align = (uint32_t)PAGE_SIZE_2M, .page_size = PAGE_SIZE, .page_struct_size = 64,
    };
    uint64_t sum = checksum(&block), at = window->base + BLOCK_AT;
    int err = pmap_write(pmap, GPA(at), &block, sizeof(block));

    return err ? err : pmap_write(pmap, GPA(at + PAGE_SIZE - sizeof(sum)), &sum, sizeof(sum));
}
