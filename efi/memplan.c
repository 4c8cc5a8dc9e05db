/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "efi/memplan.h"

#define FIRMWARE_MIN   (64 * MIB)
#define FIRMWARE_MAX   GIB
#define FIRMWARE_SHARE 16

static uint64_t total(const struct boot_range *r, unsigned n)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < n; i++)
        sum += r[i].size;
    return sum;
}

static uint64_t end_of(const struct boot_range *r)
{
    return r->base + r->size;
}

/* The part of r between whole 2 MiB, above 1 MiB; size 0 if there is none. */
static struct boot_range aligned_part(const struct boot_range *r)
{
    uint64_t base = MAX(ALIGN_UP(r->base, PAGE_SIZE_2M), PAGE_SIZE_2M);
    uint64_t end = ALIGN_DOWN(end_of(r), PAGE_SIZE_2M);

    return (struct boot_range){ base, end > base ? end - base : 0 };
}

/* The highest range that is not empty and, if low, ends below 4 GiB. */
static struct boot_range *highest(struct boot_range *r, unsigned n, bool low)
{
    struct boot_range *best = NULL;

    for (unsigned i = 0; i < n; i++)
        if (r[i].size && (!low || end_of(&r[i]) <= 4 * GIB) && (!best || r[i].base > best->base))
            best = &r[i];
    return best;
}

/* Cuts bytes from the top, of low ranges or of all; returns what could not be cut. */
static uint64_t leave(struct boot_range *r, unsigned n, uint64_t bytes, bool low)
{
    struct boot_range *at;

    while (bytes && (at = highest(r, n, low)) != NULL) {
        uint64_t cut = MIN(bytes, at->size);

        at->size -= cut;
        bytes -= cut;
    }
    return bytes;
}

static void swap(struct boot_range *a, struct boot_range *b)
{
    struct boot_range t = *a;

    *a = *b;
    *b = t;
}

/* Insertion sorts: firmware gives some dozens of ranges. */
static void sort_by_size(struct boot_range *r, unsigned n)
{
    for (unsigned i = 1; i < n; i++)
        for (unsigned j = i; j > 0 && r[j].size > r[j - 1].size; j--)
            swap(&r[j], &r[j - 1]);
}

static void sort_by_base(struct boot_range *r, unsigned n)
{
    for (unsigned i = 1; i < n; i++)
        for (unsigned j = i; j > 0 && r[j].base < r[j - 1].base; j--)
            swap(&r[j], &r[j - 1]);
}

unsigned memory_plan(struct boot_range *free, unsigned n, struct boot_range *out, unsigned max)
{
    uint64_t whole = total(free, n), share, left;
    unsigned taken = 0;

    for (unsigned i = 0; i < n; i++)
        free[i] = aligned_part(&free[i]);
    share = MIN(MAX(whole / FIRMWARE_SHARE, FIRMWARE_MIN), FIRMWARE_MAX);
    left = whole - total(free, n);
    if (left < share)
        leave(free, n, leave(free, n, ALIGN_UP(share - left, PAGE_SIZE_2M), true), false);
    sort_by_size(free, n);
    while (taken < n && taken < max && free[taken].size) {
        out[taken] = free[taken];
        taken++;
    }
    sort_by_base(out, taken);
    return taken;
}
