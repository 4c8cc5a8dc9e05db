/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/guests/rt/rt.h"

/*
 * What a first touch of memory costs, and a write to a shared page (the machine has the file of both modules once). Alone
 * on a machine of one processor. Prints "bench: NAME TICKS".
 */
#define SMALL_TRIES 24
#define LARGE_TRIES 12

static uint64_t ticks_of_write(volatile uint64_t *at)
{
    uint64_t start = rdtsc();

    *at = 1;
    return rdtsc() - start;
}

static uint64_t first_free(void)
{
    uint64_t end = (uint64_t)image_end;

    for (unsigned i = 0; i < module_count; i++)
        end = MAX(end, modules[i].end);
    return ALIGN_UP(end, PAGE_SIZE);
}

/* Beside the video hole memory comes in small pages, from 2 MiB on in large ones. */
void guest_main(const char *arguments)
{
    uint64_t small = UINT64_MAX, large = UINT64_MAX, zero = UINT64_MAX, copy = UINT64_MAX, again = UINT64_MAX;
    uint64_t at = first_free();

    (void)arguments;
    for (unsigned i = 0; i < SMALL_TRIES; i++, at += PAGE_SIZE)
        small = MIN(small, ticks_of_write((uint64_t *)at));
    for (unsigned i = 0; i < SMALL_TRIES; i++, at += PAGE_SIZE) {
        (void)*(volatile uint64_t *)at;
        zero = MIN(zero, ticks_of_write((uint64_t *)at));
    }
    check_true("these were small pages", at <= PAGE_SIZE_2M);
    for (unsigned i = 1; i <= LARGE_TRIES; i++)
        large = MIN(large, ticks_of_write((uint64_t *)(i * PAGE_SIZE_2M)));
    check("two modules", module_count, 2);
    for (at = modules[0].start; at + PAGE_SIZE <= modules[0].end; at += PAGE_SIZE) {
        (void)*(volatile uint64_t *)at;
        copy = MIN(copy, ticks_of_write((uint64_t *)at));
        again = MIN(again, ticks_of_write((uint64_t *)at));
    }
    print("bench: touch_small %lu\n", small - again);
    print("bench: touch_zero %lu\n", zero - again);
    print("bench: touch_large %lu\n", large - again);
    print("bench: cow_break %lu\n", copy - again);
    print("bench: done\n");
}
