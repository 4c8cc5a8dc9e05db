/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "include/mirrorball/hypercall.h"
#include "tests/guests/rt/rt.h"

/*
 * For entries of 1 GiB: the second GiB of its RAM comes in large pages, each of which holds its number; then it is idle but
 * for looking at them. Keys on the serial line: 'g', it gives two pages back in the middle of one; 'w', it has the whole
 * of that one anew; 'c', it says that all is right. Never ends.
 */
#define UART       0x3f8
#define RECEIVED   BIT(0)
#define PARTS      512u
#define THIS       77u         /* the large page that things happen to */
#define PIT_VECTOR 0x20

static volatile uint64_t *part(unsigned i) { return (volatile uint64_t *)(GIB + i * PAGE_SIZE_2M); }

static void tick(struct trap_frame *frame)
{
    (void)frame;
    pic_eoi(0);
}

/* Its first and its last word. */
static void fill(unsigned i)
{
    *part(i) = i + 1;
    part(i)[PAGE_SIZE_2M / 8 - 1] = ~(uint64_t)i;
}

static unsigned wrong(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < PARTS; i++)
        n += *part(i) != i + 1 || part(i)[PAGE_SIZE_2M / 8 - 1] != ~(uint64_t)i;
    return n;
}

static void give_back(uint64_t from, uint64_t pages)
{
    static struct mirrorball_range range;
    int64_t given;

    range = (struct mirrorball_range){ from, pages };
    __asm__ volatile("vmcall" : "=a"(given) : "a"(MIRRORBALL_CALL_FREE_PAGES), "D"(&range), "S"(1ul) : "memory");
    check("pages are given back", (uint64_t)given, 1);
}

static void obey(uint8_t key)
{
    uint64_t middle = (uint64_t)part(THIS) + PAGE_SIZE_2M / 2;

    if (key == 'g') {
        *(volatile uint64_t *)middle = 1;
        give_back(middle, 2);
        check("they are zero", *(volatile uint64_t *)middle, 0);
    } else if (key == 'w') {
        give_back((uint64_t)part(THIS), PAGE_SIZE_2M / PAGE_SIZE);
        check("all of it is zero", *part(THIS), 0);
        fill(THIS);
    }
    check("every part is what it was", wrong(), 0);
    print("gigantic: %c done\n", key);
}

void guest_main(const char *arguments)
{
    (void)arguments;
    check_true("there is a second GiB", ram_above_1m >= 2 * GIB - MIB);
    for (unsigned i = 0; i < PARTS; i++)
        fill(i);
    pic_init();
    set_handler(PIT_VECTOR, tick);
    pit_start(2, 0xffff);
    pic_mask((uint16_t)~BIT(0));
    print("gigantic: filled\n");
    for (;;) {
        __asm__ volatile("sti; hlt; cli");
        if (inb(UART + 5) & RECEIVED)
            obey(inb(UART));
    }
}
