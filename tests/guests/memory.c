/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "include/mirrorball/hypercall.h"
#include "tests/guests/rt/rt.h"

/*
 * What a first touch of memory costs, and a write to a shared page (the machine has the file of both modules once), and
 * to write zeros to all of one, as kernels do before they use it anew.
 * Alone on a machine of one processor. Prints "bench: NAME TICKS". With the argument "dirty": what a first touch costs when
 * all that was zeroed ahead is used up; for that it has an odd number of MiB.
 */
#define SMALL_TRIES 24
#define LARGE_TRIES 12
#define ROUNDS      4          /* each of a MiB: more than the 2 MiB that may be left */

/* The least of what writes have cost. */
static void time_write(uint64_t *least, volatile uint64_t *at)
{
    uint64_t start = rdtsc(), ticks;

    *at = 1;
    ticks = rdtsc() - start;
    *least = MIN(*least, ticks);
}

static void time_zeroing(uint64_t *least, uint64_t page)
{
    uint64_t start = rdtsc(), ticks, to = page, count = PAGE_SIZE / 8;

    __asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(0ul) : "memory");
    ticks = rdtsc() - start;
    *least = MIN(*least, ticks);
    check("all of it was written", to - page, PAGE_SIZE);
    check("so often", count, 0);
}

static uint64_t sum_of(uint64_t page)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < PAGE_SIZE / 8; i++)
        sum |= ((volatile uint64_t *)page)[i];
    return sum;
}

/* The modules are one file; all was mapped by a read. */
static void measure_zeroing(uint64_t at, uint64_t end)
{
    uint64_t shared = UINT64_MAX, own = UINT64_MAX;

    for (; at + PAGE_SIZE <= end; at += PAGE_SIZE) {
        check_true("there is something in it", sum_of(at));
        time_zeroing(&shared, at);
        check("its zeros", sum_of(at), 0);
        *(volatile uint64_t *)at = 1;
        time_zeroing(&own, at);
        check("and again", sum_of(at), 0);
        check_true("the other module has its own still", sum_of(at - modules[0].start + modules[1].start));
    }
    print("bench: zero_shared %lu\nbench: zero_own %lu\n", shared, own);
}

static uint64_t first_free(void)
{
    uint64_t end = (uint64_t)image_end;

    for (unsigned i = 0; i < module_count; i++)
        end = MAX(end, modules[i].end);
    return ALIGN_UP(end, PAGE_SIZE);
}

/* The guest never idles, so nothing is zeroed ahead meanwhile, and what it gives back is not zeroed. */
static void use_up_zeroed(uint64_t start, uint64_t end)
{
    static struct mirrorball_range range;
    int64_t given;

    for (unsigned i = 0; i < ROUNDS; i++) {
        for (uint64_t at = start; at < end; at += PAGE_SIZE)
            *(volatile uint64_t *)at = 1;
        range = (struct mirrorball_range){ start, (end - start) / PAGE_SIZE };
        __asm__ volatile("vmcall" : "=a"(given) : "a"(MIRRORBALL_CALL_FREE_PAGES), "D"(&range), "S"(1ul) : "memory");
        check("the pages are given back", (uint64_t)given, 1);
    }
}

static void measure_dirty(void)
{
    uint64_t dirty = UINT64_MAX, again = UINT64_MAX, end = MIB + ram_above_1m, at;

    for (at = PAGE_SIZE_2M; at + PAGE_SIZE_2M <= end; at += PAGE_SIZE_2M)
        *(volatile uint64_t *)at = 1;
    check_true("the last MiB comes in small pages", at + MIB == end);
    use_up_zeroed(at, end);
    for (; at < end; at += PAGE_SIZE) {
        time_write(&dirty, (uint64_t *)at);
        time_write(&again, (uint64_t *)at);
    }
    print("bench: touch_dirty %lu\n", dirty - again);
    print("bench: done\n");
}

/* Beside the video hole memory comes in small pages, from 2 MiB on in large ones. */
void guest_main(const char *arguments)
{
    uint64_t small = UINT64_MAX, large = UINT64_MAX, zero = UINT64_MAX, copy = UINT64_MAX, again = UINT64_MAX;
    uint64_t at = first_free(), half;

    if (*arguments) {
        measure_dirty();
        return;
    }
    for (unsigned i = 0; i < SMALL_TRIES; i++, at += PAGE_SIZE)
        time_write(&small, (uint64_t *)at);
    for (unsigned i = 0; i < SMALL_TRIES; i++, at += PAGE_SIZE) {
        (void)*(volatile uint64_t *)at;
        time_write(&zero, (uint64_t *)at);
    }
    check_true("these were small pages", at <= PAGE_SIZE_2M);
    for (unsigned i = 1; i <= LARGE_TRIES; i++)
        time_write(&large, (uint64_t *)(i * PAGE_SIZE_2M));
    check("two modules", module_count, 2);
    half = modules[0].start + ALIGN_DOWN((modules[0].end - modules[0].start) / 2, PAGE_SIZE);
    for (at = modules[0].start; at < half; at += PAGE_SIZE) {
        (void)*(volatile uint64_t *)at;
        time_write(&copy, (uint64_t *)at);
        time_write(&again, (uint64_t *)at);
    }
    print("bench: touch_small %lu\n", small - again);
    print("bench: touch_zero %lu\n", zero - again);
    print("bench: touch_large %lu\n", large - again);
    print("bench: cow_break %lu\n", copy - again);
    measure_zeroing(half, modules[0].end);
    print("bench: done\n");
}
