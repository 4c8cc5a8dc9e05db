/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "include/mirrorball/blk.h"
#include "lib/string.h"
#include "tests/guests/rt/rt.h"

/*
 * Reads its disk, whose word n (64 bits) is (n + seed) * STEP, once from end to end, and computes while it waits; the
 * argument is the seed. Then it computes the same without a disk. "diskload: done: TICKS ticks, UNITS units of work, of
 * UNIT ticks each", which tells what the disk has left to it.
 */
#define STEP     0x9e3779b97f4a7c15ull
#define ENTRIES  16u
#define DEPTH    4u            /* requests under way */
#define SECTORS  128u          /* of a request: 64 KiB */
#define WORDS    (SECTORS * 64u)
#define BUFFER   (4 * MIB)
#define ROUNDS   1000u         /* of a unit of work */

static uint8_t ring_memory[MB_BLK_RING_SIZE(ENTRIES)] __attribute__((aligned(4096)));
static struct mb_blk_segment table[ENTRIES] __attribute__((aligned(16)));
static struct mb_blk_ring *const ring = (struct mb_blk_ring *)ring_memory;
static struct mb_blk_identity identity __attribute__((aligned(512)));
static uint64_t seed, wrong, sum = 1;

static int64_t call(uint64_t number, uint64_t address, uint64_t entries)
{
    register uint64_t r10 __asm__("r10") = entries;
    int64_t result;

    __asm__ volatile("vmcall" : "=a"(result) : "a"(number), "D"(0), "S"(0), "d"(address), "r"(r10) : "memory");
    return result;
}

static void work(void)
{
    for (unsigned i = 0; i < ROUNDS; i++)
        sum = sum * 6364136223846793005u + i;
}

static void submit(enum mb_blk_op op, uint64_t sector, uint64_t sectors, uint64_t at)
{
    uint32_t i = ring->submitted % ENTRIES;

    table[i] = (struct mb_blk_segment){ .gpa = at, .bytes = (uint32_t)sectors * MB_BLK_SECTOR };
    ring->request[i] = (struct mb_blk_request){ .op = (uint8_t)op, .segments = 1, .tag = i, .sector = sector,
                                                .sectors = sectors, .table = (uint64_t)&table[i] };
    ring->submitted++;
    (void)call(MIRRORBALL_CALL_BLK_RUN, 0, 0);
}

/* What one request has brought; they may end in any order, so each has a place of its own in memory. */
static void look_at(uint64_t request)
{
    const uint64_t *words = (const uint64_t *)(BUFFER + request * SECTORS * MB_BLK_SECTOR);

    for (uint64_t i = 0; i < WORDS; i++)
        wrong += words[i] != (request * WORDS + i + seed) * STEP;
}

/* Units of work that were done meanwhile. */
static uint64_t read_all(uint64_t requests)
{
    const struct mb_blk_result *results = (const struct mb_blk_result *)&ring->request[ENTRIES];
    uint64_t started = 0, units = 0, first = ring->submitted;

    for (uint64_t ended = 0; ended < requests;) {
        for (; started < requests && started - ended < DEPTH; started++)
            submit(MB_BLK_READ, started * SECTORS, SECTORS, BUFFER + started * SECTORS * MB_BLK_SECTOR);
        if (*(volatile uint32_t *)&ring->completed != (uint32_t)(first + ended)) {
            wrong += results[(first + ended) % ENTRIES].status != 0;
            ended++;
        } else {
            work();
            units++;
        }
    }
    return units;
}

/* The least of some: others run on the processor too. */
static uint64_t time_unit(void)
{
    uint64_t least = UINT64_MAX;

    for (unsigned i = 0; i < 20; i++) {
        uint64_t start = rdtsc(), ticks;

        work();
        ticks = rdtsc() - start;
        least = ticks < least ? ticks : least;
    }
    return least;
}

void guest_main(const char *arguments)
{
    uint64_t start, ticks, units, requests;

    seed = (uint64_t)arguments[0];
    check("a ring", (uint64_t)call(MIRRORBALL_CALL_BLK_RING, (uint64_t)ring, ENTRIES), 0);
    submit(MB_BLK_IDENTIFY, 0, 1, (uint64_t)&identity);
    check("its length is known", ring->completed, 1);
    requests = identity.sectors / SECTORS;
    start = rdtsc();
    units = read_all(requests);
    ticks = rdtsc() - start;
    for (uint64_t i = 0; i < requests; i++)
        look_at(i);
    check("all is as it is on the disk", wrong, 0);
    print("diskload: done: %lu ticks, %lu units of work, of %lu ticks each\n", ticks, units, time_unit());
    finish();
}
