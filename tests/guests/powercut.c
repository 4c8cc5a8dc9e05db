/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "include/mirrorball/blk.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "tests/guests/rt/rt.h"

/*
 * Writes to its disks and flushes, for ever; the power may be cut at any time. Write n, from 1, goes to block
 * n * STRIDE % BLOCKS and fills it with what only n and the block give. At its start it looks what is there: "safe" is
 * the last write such that none up to it is missing, so it must be at least the last that was flushed before the cut.
 * Each sector begins with n, for a write that was under way may have reached some sectors of its block and not others.
 * A block that was never written has 0 there, and the word's number * STEP (tests/boot/power_cuts.py makes it).
 */
#define BLOCKS  256u
#define STRIDE  7u             /* odd: each block has its turn */
#define WORDS   512u
#define SECTOR_WORDS 64u
#define STEP    0x9e3779b97f4a7c15ull
#define ENTRIES 16u
#define BATCH   8u
#define SECTORS (BLOCKS * 8)
#define BUFFER  (4 * MIB)
#define VECTOR  0x60
#define PIN     17             /* MRBL0002's */

static struct disk {
    uint8_t ring_memory[MB_BLK_RING_SIZE(ENTRIES)] __attribute__((aligned(4096)));
    struct mb_blk_segment table[ENTRIES] __attribute__((aligned(16)));
    struct mb_blk_ring *ring;
    uint64_t next;             /* write */
    unsigned number;
} disks[4];

static uint64_t *const buffer = (uint64_t *)BUFFER;
static uint64_t seed = 1;
static volatile uint64_t interrupts;

static uint64_t pick(uint64_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % n;
}

static int64_t call(uint64_t number, uint64_t disk, uint64_t address, uint64_t entries)
{
    register uint64_t r10 __asm__("r10") = entries;
    int64_t result;

    __asm__ volatile("vmcall" : "=a"(result) : "a"(number), "D"(disk), "S"(0), "d"(address), "r"(r10) : "memory");
    return result;
}

static void on_disk(struct trap_frame *frame)
{
    (void)frame;
    interrupts++;
    apic_write(APIC_EOI, 0);
}

static void submit(struct disk *d, enum mb_blk_op op, uint64_t sector, uint64_t sectors, const void *at)
{
    uint32_t i = d->ring->submitted % ENTRIES;

    d->table[i] = (struct mb_blk_segment){ .gpa = (uint64_t)at, .bytes = (uint32_t)sectors * MB_BLK_SECTOR };
    d->ring->request[i] = (struct mb_blk_request){ .op = (uint8_t)op, .segments = at != NULL, .tag = i, .sector = sector,
                                                   .sectors = sectors, .table = at ? (uint64_t)&d->table[i] : 0 };
    d->ring->submitted++;
}

/* One call, and then only interrupts: until all is done. The sum of the results' status. */
static int64_t finish_all(struct disk *d)
{
    const struct mb_blk_result *results = (const struct mb_blk_result *)&d->ring->request[ENTRIES];
    uint32_t from = d->ring->completed;
    int64_t sum = 0;

    while (*(volatile uint32_t *)&d->ring->taken != d->ring->submitted)
        if (call(MIRRORBALL_CALL_BLK_RUN, d->number, 0, 0) < 0)
            return -EPROTO;
    __asm__ volatile("cli");
    while (*(volatile uint32_t *)&d->ring->completed != d->ring->submitted)
        __asm__ volatile("sti; hlt; cli" : : : "memory");
    __asm__ volatile("sti");
    for (; from != d->ring->completed; from++)
        sum += results[from % ENTRIES].status;
    return sum;
}

static uint64_t block_of(uint64_t n) { return n * STRIDE % BLOCKS; }

static uint64_t word_of(uint64_t n, uint64_t block, unsigned i)
{
    if (i % SECTOR_WORDS == 0)
        return n;
    return n ? (n * BLOCKS + block) * STEP + i : (block * WORDS + i) * STEP;
}

static bool is_right(uint64_t block)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < WORDS; i++) {
        uint64_t word = buffer[block * WORDS + i];

        if (i % SECTOR_WORDS == 0)
            n = word;
        if ((n && block_of(n) != block) || word != word_of(n, block, i))
            return false;
    }
    return true;
}

/* The oldest write that a sector of this block is from. */
static uint64_t oldest(uint64_t block)
{
    uint64_t n = UINT64_MAX;

    for (unsigned i = 0; i < WORDS; i += SECTOR_WORDS)
        n = MIN(n, buffer[block * WORDS + i]);
    return n;
}

/* The first write to a block that is not there. */
static uint64_t missing(uint64_t block)
{
    uint64_t n = oldest(block);

    if (n)
        return n + BLOCKS;
    for (n = 1; block_of(n) != block; n++)
        ;
    return n;
}

static void look(struct disk *d)
{
    uint64_t safe = UINT64_MAX, bad = 0, most = 0;

    for (unsigned part = 0; part < SECTORS; part += MB_BLK_MAX_SECTORS)
        submit(d, MB_BLK_READ, part, MIN(SECTORS - part, (unsigned)MB_BLK_MAX_SECTORS),
               (uint8_t *)buffer + part * MB_BLK_SECTOR);
    check("all can be read", (uint64_t)finish_all(d), 0);
    for (uint64_t b = 0; b < BLOCKS; b++) {
        bad += !is_right(b);
        safe = MIN(safe, missing(b) - 1);
        most = MAX(most, buffer[b * WORDS]);
    }
    print("powercut: disk %u: safe %lu, last %lu, %lu blocks are wrong\n", d->number, safe, most, bad);
    d->next = safe + 1;
}

static void write_some(struct disk *d)
{
    uint64_t n = 1 + pick(BATCH);

    for (uint64_t i = 0; i < n; i++) {
        uint64_t block = block_of(d->next + i), *at = buffer + i * WORDS;

        for (unsigned w = 0; w < WORDS; w++)
            at[w] = word_of(d->next + i, block, w);
        submit(d, MB_BLK_WRITE, block * 8, 8, at);
    }
    if (finish_all(d))
        print("powercut: disk %u: FAIL: a write has failed\n", d->number);
    d->next += n;
    if (pick(2))
        return;
    submit(d, MB_BLK_FLUSH, 0, 0, NULL);
    if (finish_all(d))
        print("powercut: disk %u: FAIL: a flush has failed\n", d->number);
    else
        print("powercut: disk %u: flushed %lu\n", d->number, d->next - 1);
}

void guest_main(const char *arguments)
{
    unsigned n = 0;

    (void)arguments;
    apic_set_mode(APIC_XAPIC);
    set_handler(VECTOR, on_disk);
    ioapic_route(PIN, VECTOR, apic_id(), 0);
    for (; n < ARRAY_SIZE(disks); n++) {
        struct disk *d = &disks[n];

        d->number = n;
        d->ring = (struct mb_blk_ring *)d->ring_memory;
        if (call(MIRRORBALL_CALL_BLK_RING, n, (uint64_t)d->ring, ENTRIES))
            break;
        look(d);
    }
    check_true("there is a disk", n > 0);
    check_true("what waited came with an interrupt", interrupts > 0);
    for (;;)
        for (unsigned i = 0; i < n; i++)
            write_some(&disks[i]);
}
