/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "include/mirrorball/hypercall.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "tests/guests/rt/rt.h"

/*
 * Hints about memory: true ones, and every lie that a guest survives ("crash giveaway" tells those that it does not).
 * For two processors and at least 16 MiB.
 */
#define REGION   (4 * MIB)     /* two large pages */
#define WORDS    (PAGE_SIZE / sizeof(uint64_t))
#define MARK     0x6d61726b6d61726bull
#define LIES     3000u
#define TIMER    0x51

static struct mirrorball_range ranges[MIRRORBALL_MAX_RANGES] __attribute__((aligned(4096)));
static volatile bool stop_writing, wrote_wrong;
static volatile uint64_t rounds;
static uint64_t seed = 1;

static int64_t call(uint64_t number, const void *array, uint64_t n)
{
    int64_t result;

    __asm__ volatile("vmcall" : "=a"(result) : "a"(number), "D"(array), "S"(n) : "memory");
    return result;
}

static uint64_t pick(uint64_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % n;
}

static void fill(uint64_t at, uint64_t bytes)
{
    for (uint64_t *p = (uint64_t *)at; p < (uint64_t *)(at + bytes); p += WORDS / 4)
        *p = MARK;
}

/* Words that are not zero. */
static uint64_t left(uint64_t at, uint64_t bytes)
{
    uint64_t n = 0;

    for (uint64_t *p = (uint64_t *)at; p < (uint64_t *)(at + bytes); p += WORDS / 4)
        n += *p != 0;
    return n;
}

static int64_t one(uint64_t number, uint64_t gpa, uint64_t count)
{
    ranges[0] = (struct mirrorball_range){ gpa, count };
    return call(number, ranges, 1);
}

static void true_hints(void)
{
    for (uint64_t number = MIRRORBALL_CALL_FREE_PAGES; number <= MIRRORBALL_CALL_ZERO_PAGES; number++) {
        fill(REGION, 2 * PAGE_SIZE_2M);
        check("a large page and a half", one(number, REGION, 768), 1);
        check("they read as zero", left(REGION, 768 * PAGE_SIZE), 0);
        check("what is beside them stays", left(REGION + 768 * PAGE_SIZE, 256 * PAGE_SIZE), 1024);
        fill(REGION, PAGE_SIZE_2M);
        check("they can be written again", left(REGION, PAGE_SIZE_2M), 2048);
        check("a small page", one(number, 0x8000, 1), 1);
        check("memory that was never touched", one(number, REGION + 4 * MIB, 1024), 1);
    }
}

static void wrong_arguments(void)
{
    fill(REGION, PAGE_SIZE);
    check("a range that begins within a page", (uint64_t)one(MIRRORBALL_CALL_FREE_PAGES, REGION + 8, 1), (uint64_t)-EINVAL);
    check("an empty range", (uint64_t)one(MIRRORBALL_CALL_FREE_PAGES, REGION, 0), (uint64_t)-EINVAL);
    check("a range without end", (uint64_t)one(MIRRORBALL_CALL_FREE_PAGES, REGION, UINT64_MAX), (uint64_t)-EINVAL);
    check("the video hole", (uint64_t)one(MIRRORBALL_CALL_FREE_PAGES, 0xa0000, 1), (uint64_t)-EFAULT);
    check("the local APIC", (uint64_t)one(MIRRORBALL_CALL_ZERO_PAGES, 0xfee00000, 1), (uint64_t)-EFAULT);
    check("no memory at all", (uint64_t)one(MIRRORBALL_CALL_FREE_PAGES, BIT(45), 1), (uint64_t)-EFAULT);
    check("round the end of the addresses", (uint64_t)one(MIRRORBALL_CALL_FREE_PAGES, -PAGE_SIZE, 2), (uint64_t)-EFAULT);
    check("no ranges", (uint64_t)call(MIRRORBALL_CALL_FREE_PAGES, ranges, 0), (uint64_t)-EINVAL);
    check("too many", (uint64_t)call(MIRRORBALL_CALL_FREE_PAGES, ranges, 65), (uint64_t)-EINVAL);
    check("an array in a device", (uint64_t)call(MIRRORBALL_CALL_FREE_PAGES, (void *)0xfee00000, 1), (uint64_t)-EFAULT);
    check("an array nowhere", (uint64_t)call(MIRRORBALL_CALL_FREE_PAGES, (void *)(BIT(63) - 8), 64), (uint64_t)-EFAULT);
    check("all this has given nothing back", *(uint64_t *)REGION, MARK);
    check("the array's own page", one(MIRRORBALL_CALL_FREE_PAGES, (uint64_t)ranges, 1), 1);
    check("it is empty now", ranges[0].gpa | ranges[0].count, 0);
}

/* The other processor writes and reads what is given away under its hands, and the array while it is read. */
static void disturb(unsigned number)
{
    uint64_t x = number;

    while (!stop_writing) {
        volatile uint64_t *p = (uint64_t *)(REGION + (x = x * 69069 + 1) % 1024 * PAGE_SIZE);
        uint64_t was = *p;

        if (was && was != MARK)
            wrote_wrong = true;
        *p = MARK;
        ranges[x % ARRAY_SIZE(ranges)].gpa = x % 3 ? REGION + x % 1024 * PAGE_SIZE : x << 20;
        ranges[x % ARRAY_SIZE(ranges)].count = x % 5 ? x % 40 : x;
        rounds++;
    }
}

/* Good, bad and overlapping ranges, whatever the other processor makes of them meanwhile. */
static void tell_lies(void)
{
    uint64_t done = 0, refused = 0, odd = 0;

    for (unsigned i = 0; i < LIES; i++) {
        uint64_t n = pick(MIRRORBALL_MAX_RANGES) + 1, at = pick(MIRRORBALL_MAX_RANGES - n + 1);
        int64_t result;

        ranges[at].gpa = REGION + pick(512) * PAGE_SIZE;
        ranges[at].count = pick(8) ? pick(8) : pick(600);
        result = call(MIRRORBALL_CALL_FREE_PAGES + pick(2), &ranges[at], n);
        done += result > 0;
        refused += result == -EINVAL || result == -EFAULT;
        odd += result == 0 || result > (int64_t)n || (result < 0 && result != -EINVAL && result != -EFAULT);
    }
    stop_writing = true;
    print("hints: %lu calls did something, %lu were refused, %lu disturbances\n", done, refused, rounds);
    check_true("some were good, some bad", done > 100 && refused > 10);
    check("no other answer", odd, 0);
    check_true("the other processor has disturbed them", rounds > 1000);
    check_true("it found nothing but zeros and its own", !wrote_wrong);
}

static volatile unsigned interrupts;

static void on_timer(struct trap_frame *frame)
{
    (void)frame;
    interrupts++;
    apic_write(APIC_EOI, 0);
}

/* With interrupts off: it comes back when one waits, which HLT would not. */
static void idle(void)
{
    uint64_t start;

    apic_set_mode(has_x2apic() ? APIC_X2APIC : APIC_XAPIC);
    set_handler(TIMER, on_timer);
    apic_write(APIC_LVT_TIMER, APIC_DEADLINE | TIMER);
    start = rdtsc();
    wrmsr(MSR_TSC_DEADLINE, start + 2000000);
    check("idle", call(MIRRORBALL_CALL_IDLE, NULL, 0), 0);
    check_true("until an interrupt waits", rdtsc() - start >= 2000000);
    check("which is not taken yet", interrupts, 0);
    __asm__ volatile("sti; nop; nop; cli" : : : "memory");
    check("but then", interrupts, 1);
}

void guest_main(const char *arguments)
{
    uint64_t version = call(MIRRORBALL_CALL_VERSION, NULL, 0);

    (void)arguments;
    check_true("the hypervisor has hints", version >> 16 == 1 && (uint16_t)version >= 1);
    true_hints();
    wrong_arguments();
    check("no balloon is asked for", call(MIRRORBALL_CALL_BALLOON, (void *)UINT64_MAX, 0), 0);
    idle();
    check("there is another processor", start_cpus(disturb), 1);
    tell_lies();
}
