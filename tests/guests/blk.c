/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "include/mirrorball/blk.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "tests/guests/rt/rt.h"

/*
 * Disk 0 has an image of 1 MiB whose word n (64 bits) is n * STEP, disk 1 the same read-only. Reads, writes, measures,
 * then lies. The argument is a digit: what this VM writes. "blk: done", and it halts, so that memory can be looked at.
 */
#define STEP     0x9e3779b97f4a7c15ull
#define SIZE     MIB
#define ENTRIES  64u
#define WORDS    (SIZE / sizeof(uint64_t))
#define LIES     2000u
#define BUFFER   (4 * MIB)

static uint8_t ring_memory[MB_BLK_RING_SIZE(ENTRIES)] __attribute__((aligned(4096)));
static struct mb_blk_segment tables[ENTRIES][MB_BLK_MAX_SEGMENTS] __attribute__((aligned(4096)));
static struct mb_blk_ring *const ring = (struct mb_blk_ring *)ring_memory;
static struct mb_blk_result *const results =
    (struct mb_blk_result *)&((struct mb_blk_ring *)ring_memory)->request[ENTRIES];
static uint64_t *const buffer = (uint64_t *)BUFFER;
static uint64_t seed = 1;

static uint64_t pick(uint64_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % n;
}

static int64_t call(uint64_t number, uint64_t disk, uint64_t queue, uint64_t address, uint64_t entries)
{
    register uint64_t r10 __asm__("r10") = entries;
    int64_t result;

    __asm__ volatile("vmcall" : "=a"(result) : "a"(number), "D"(disk), "S"(queue), "d"(address), "r"(r10) : "memory");
    return result;
}

static int64_t run(uint64_t disk) { return call(MIRRORBALL_CALL_BLK_RUN, disk, 0, 0, 0); }

static int64_t set_ring(uint64_t disk)
{
    memset(ring_memory, 0, sizeof(ring_memory));
    return call(MIRRORBALL_CALL_BLK_RING, disk, 0, (uint64_t)ring, ENTRIES);
}

/* Adds a request with one segment. */
static void submit(enum mb_blk_op op, uint64_t sector, uint64_t sectors, const void *at)
{
    uint32_t i = ring->submitted % ENTRIES;

    tables[i][0] = (struct mb_blk_segment){ .gpa = (uint64_t)at, .bytes = (uint32_t)sectors * MB_BLK_SECTOR };
    ring->request[i] = (struct mb_blk_request){
        .op = (uint8_t)op, .segments = at ? 1 : 0, .tag = i, .sector = sector, .sectors = sectors,
        .table = (uint64_t)tables[i],
    };
    ring->submitted++;
}

static int64_t request(uint64_t disk, enum mb_blk_op op, uint64_t sector, uint64_t sectors, const void *at)
{
    uint32_t i = ring->submitted % ENTRIES;

    submit(op, sector, sectors, at);
    while (*(volatile uint32_t *)&ring->completed != ring->submitted) /* the machine's disk may take its time */
        if (run(disk) < 0)
            return -ENODEV;
    return results[i].status;
}

/* Words of the buffer that are not the image's. */
static uint64_t wrong_words(uint64_t first, uint64_t n)
{
    uint64_t wrong = 0;

    for (uint64_t i = 0; i < n; i++)
        wrong += buffer[i] != (first + i) * STEP;
    return wrong;
}

static void reads_and_writes(uint64_t mine)
{
    const struct mb_blk_identity *id = (const struct mb_blk_identity *)buffer;

    check("disk 0 has a ring", (uint64_t)set_ring(0), 0);
    check("no third disk", (uint64_t)call(MIRRORBALL_CALL_BLK_RING, 2, 0, (uint64_t)ring, ENTRIES), (uint64_t)-ENODEV);
    check("identify", (uint64_t)request(0, MB_BLK_IDENTIFY, 0, 1, buffer), 0);
    check("sectors", id->sectors, SIZE / MB_BLK_SECTOR);
    check_true("serial", !strcmp(id->serial, "image"));
    check("one request reads it all", (uint64_t)request(0, MB_BLK_READ, 0, SIZE / MB_BLK_SECTOR, buffer), 0);
    check("it is the image", wrong_words(0, WORDS), 0);
    for (uint64_t i = 0; i < WORDS; i += 512)
        buffer[i] = mine;
    check("a write", (uint64_t)request(0, MB_BLK_WRITE, 64, 64, buffer), 0);
    check("a read", (uint64_t)request(0, MB_BLK_READ, 0, SIZE / MB_BLK_SECTOR, buffer), 0);
    check_true("what was written is there", buffer[64 * 64] == mine && buffer[72 * 64] == mine);
    buffer[64 * 64] = 0;
    check("zeroes", (uint64_t)request(0, MB_BLK_WRITE_ZEROES, 100, 20, NULL), 0);
    check("flush", (uint64_t)request(0, MB_BLK_FLUSH, 0, 0, NULL), 0);
    check("a read of some sectors", (uint64_t)request(0, MB_BLK_READ, 128, 5, (char *)buffer + 512), 0);
    memcpy(buffer, buffer + 64, 5 * MB_BLK_SECTOR);
    check("they are the image's", wrong_words(128 * 64, 5 * 64), 0);
    check("disk 1 has a ring", (uint64_t)set_ring(1), 0);
    check("it is read-only", (uint64_t)request(1, MB_BLK_WRITE, 0, 8, buffer), (uint64_t)-EROFS);
    check("a read of it", (uint64_t)request(1, MB_BLK_READ, 0, SIZE / MB_BLK_SECTOR, buffer), 0);
    check("it is as it was", wrong_words(0, WORDS), 0);
}

#define ROUNDS 8u

/* All are in the cache. The least of some rounds: other VMs run on the processor too. */
static uint64_t time_reads(uint64_t disk, unsigned requests, uint64_t sectors, bool own)
{
    uint64_t least = UINT64_MAX;

    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t start, ticks;
        int64_t done;

        if (own)
            memset(buffer, 1, SIZE);
        start = rdtsc();
        for (unsigned i = 0; i < requests; i++)
            submit(MB_BLK_READ, i * sectors, sectors, (char *)buffer + i * sectors * MB_BLK_SECTOR);
        done = run(disk);
        ticks = rdtsc() - start;
        check("all in one exit", (uint64_t)done, requests);
        least = ticks < least ? ticks : least;
    }
    return least;
}

/* A page that was placed is written: the least of some. */
static uint64_t time_break(void)
{
    uint64_t least = UINT64_MAX;

    (void)time_reads(1, 1, SIZE / MB_BLK_SECTOR, false);
    for (uint64_t i = 0; i < WORDS; i += 512) {
        uint64_t start = rdtsc(), ticks;

        *(volatile uint64_t *)&buffer[i] = 1;
        ticks = rdtsc() - start;
        least = ticks < least ? ticks : least;
    }
    return least;
}

/* The same as one request whose blocks go to pages in another order, as an operating system's do. */
static uint64_t time_scattered(uint32_t blocks)
{
    uint64_t least = UINT64_MAX;

    for (unsigned round = 0; round < ROUNDS; round++) {
        uint32_t i = ring->submitted % ENTRIES;
        uint64_t start, ticks;
        int64_t done;

        submit(MB_BLK_READ, 0, blocks * 8, buffer);
        for (uint32_t n = 0; n < blocks; n++)
            tables[i][n] = (struct mb_blk_segment){ .gpa = BUFFER + (blocks - 1 - n) * PAGE_SIZE, .bytes = PAGE_SIZE };
        ring->request[i].segments = (uint16_t)blocks;
        start = rdtsc();
        done = run(1);
        ticks = rdtsc() - start;
        check("one request", (uint64_t)done, 1);
        least = ticks < least ? ticks : least;
    }
    return least;
}

/* Reads of n blocks that are placed, where shared pages are or the guest's own; and of its own blocks, which are copied. */
static void measure(void)
{
    static const unsigned blocks[] = { 1, 2, 4, 8, 16, 32, 64, 256 };

    (void)set_ring(1);
    print("bench: blk_break %lu\n", time_break());
    for (size_t i = 0; i < sizeof(blocks) / sizeof(*blocks); i++) {
        print("bench: blk_placed_%u %lu\n", blocks[i], time_reads(1, 1, blocks[i] * 8, false));
        print("bench: blk_placed_own_%u %lu\n", blocks[i], time_reads(1, 1, blocks[i] * 8, true));
    }
    print("bench: blk_requests_32 %lu\n", time_reads(1, 32, 8, false));
    print("bench: blk_scattered_32 %lu\n", time_scattered(32));
    print("bench: blk_sectors_1 %lu\n", time_reads(1, 1, 1, true));
    print("bench: blk_sectors_4 %lu\n", time_reads(1, 1, 4, true));
    (void)set_ring(0);
    memset(buffer, 1, SIZE);
    check("all blocks are written", (uint64_t)request(0, MB_BLK_WRITE, 0, SIZE / MB_BLK_SECTOR, buffer), 0);
    for (size_t i = 0; i < sizeof(blocks) / sizeof(*blocks); i++)
        print("bench: blk_copied_%u %lu\n", blocks[i], time_reads(0, 1, blocks[i] * 8, true));
}

/* Requests of nothing but noise, some near the truth. What they may change is this guest's disk and the buffer. */
static void lies(void)
{
    uint64_t answers = 0;

    (void)set_ring(0);
    for (unsigned i = 0; i < LIES; i++) {
        uint32_t n = ring->submitted % ENTRIES;

        submit((enum mb_blk_op)pick(8), pick(4) ? pick(2100) : pick(BIT(31)) << 33,
               pick(4) ? pick(64) : pick(BIT(31)) << 33, (char *)buffer + pick(2048) * MB_BLK_SECTOR);
        ring->request[n].segments = (uint16_t)(pick(4) ? 1 : pick(300));
        tables[n][0].gpa = pick(4) ? tables[n][0].gpa : pick(2) ? pick(BIT(31)) << 9 : pick(BIT(31)) << 33;
        if (tables[n][0].gpa < BUFFER || tables[n][0].gpa + tables[n][0].bytes > BUFFER + 2 * MIB)
            tables[n][0].gpa |= BIT(40);
        if (!pick(16))
            ring->request[n].table = pick(BIT(31)) << (pick(2) ? 4 : 33) | BIT(45);
        answers += run(0) == 1;
    }
    check("every lie has an answer", answers, LIES);
    check("the other disk goes on", (uint64_t)set_ring(1), 0);
    check("and reads", (uint64_t)request(1, MB_BLK_READ, 0, SIZE / MB_BLK_SECTOR, buffer), 0);
    check("what it did", wrong_words(0, WORDS), 0);
}

static void broken_ring(void)
{
    (void)set_ring(0);
    ring->submitted = ENTRIES + 1;
    check("a ring that lies stops the disk", (uint64_t)run(0), (uint64_t)-EPROTO);
    check("for good", (uint64_t)set_ring(0), (uint64_t)-EPROTO);
    check("the other disk goes on", (uint64_t)set_ring(1), 0);
    check("and reads", (uint64_t)request(1, MB_BLK_READ, 0, 8, buffer), 0);
    check("a ring outside of memory", (uint64_t)call(MIRRORBALL_CALL_BLK_RING, 1, 0, BIT(40), ENTRIES),
          (uint64_t)-EFAULT);
}

void guest_main(const char *arguments)
{
    uint64_t mine = (uint64_t)arguments[0];

    reads_and_writes(mine);
    measure();
    lies();
    broken_ring();
    (void)set_ring(1);
    check("all of it once more", (uint64_t)request(1, MB_BLK_READ, 0, SIZE / MB_BLK_SECTOR, buffer), 0);
    print("blk: done\n");
    for (;;)
        __asm__ volatile("hlt");
}
