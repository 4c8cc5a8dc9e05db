/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/string.h"
#include "tests/guests/rt/rt.h"

/*
 * For the placement of memory: all processors use memory in one of these ways, which a key on the serial line chooses.
 * Processor 0 touches everything first. Never ends. No interrupt comes, but they are on, for Bochs 2.7 keeps those of
 * the machine from ending the run of a guest that has them off.
 */
#define MAX_CPUS     8u
#define OWN_PAGES    1024u     /* each processor's share of what one uses alone */
#define TABLE_PAGES  512u
#define QUEUE_PAGES  64u
#define TURN_MS      300u      /* in ping-pong: how long one keeps the pages, if the command line does not say it */
#define REGION(n)    ((volatile uint64_t *)(8 * MIB + (n) * 4 * MIB))
#define TABLE        REGION(0)
#define QUEUE        ((volatile uint64_t *)(14 * MIB))
#define OWN(n)       REGION(2 + (n))

static volatile unsigned phase = 'i';
static volatile unsigned cpus = 1;
static volatile uint64_t ticks_per_ms = 1;
static volatile uint64_t turn_ms = TURN_MS;
static uint64_t sink[MAX_CPUS];

static volatile uint64_t *word(volatile uint64_t *region, unsigned page) { return region + page * (PAGE_SIZE / 8); }

static void write_all(volatile uint64_t *region, unsigned pages)
{
    for (unsigned i = 0; i < pages; i++)
        ++*word(region, i);
}

static void read_all(volatile uint64_t *region, unsigned pages, uint64_t *sum)
{
    for (unsigned i = 0; i < pages; i++)
        *sum += *word(region, i);
}

/* Once through the memory of this phase. */
static void work(unsigned number, uint64_t *sum)
{
    unsigned last = cpus - 1;

    switch (phase) {
    case 'o': /* one node: each has its own, from processor 0 */
        write_all(OWN(number), OWN_PAGES);
        break;
    case 'c': /* the same memory changes hands */
        write_all(OWN(last - number), OWN_PAGES);
        break;
    case 't': /* a table that all read */
        read_all(TABLE, TABLE_PAGES, sum);
        break;
    case 'q': /* a queue that all write */
        write_all(QUEUE, QUEUE_PAGES);
        break;
    case 'p': /* to and fro */
        if (rdtsc() / (ticks_per_ms * turn_ms) % cpus == number)
            write_all(QUEUE, QUEUE_PAGES);
        break;
    case 'a': /* everything */
        write_all(OWN(number), OWN_PAGES);
        read_all(TABLE, TABLE_PAGES, sum);
        write_all(QUEUE, QUEUE_PAGES / 2);
        break;
    default:
        break;
    }
}

static void work_for_ever(unsigned number)
{
    uint64_t sum = 0;

    sti();
    for (;;) {
        work(number, &sum);
        if (phase == 's')
            sink[number % MAX_CPUS] = sum;
        __builtin_ia32_pause();
    }
}

static void find_rate(void)
{
    uint64_t start;

    pit_start(0, 11932); /* 10 ms */
    start = rdtsc();
    while (pit_count() - 1u < 11932)
        ;
    ticks_per_ms = (rdtsc() - start) / 10;
}

static void find_turn(const char *arguments)
{
    uint64_t n = 0;

    for (; *arguments >= '0' && *arguments <= '9'; arguments++)
        n = n * 10 + (uint64_t)(*arguments - '0');
    turn_ms = n ? n : TURN_MS;
}

static int key(void)
{
    return inb(0x3fd) & 1 ? inb(0x3f8) : 0;
}

/* Processor 0 looks at the line between its rounds. */
void guest_main(const char *arguments)
{
    uint32_t ids[MAX_CPUS];
    uint64_t sum = 0;

    find_rate();
    find_turn(arguments);
    write_all(REGION(0), 2048);
    cpus = acpi_cpus(ids, MAX_CPUS);
    for (unsigned n = 0; n < cpus; n++)
        write_all(OWN(n), OWN_PAGES);
    start_cpus(work_for_ever);
    print("numa: %u processors, %lu ticks a millisecond\n", cpus, ticks_per_ms);
    sti();
    for (;;) {
        int k = key();

        if (k) {
            phase = (unsigned)k;
            print("numa: phase %c\n", (char)k);
        }
        work(0, &sum);
    }
}
