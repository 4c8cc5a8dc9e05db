/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/string.h"
#include "tests/guests/rt/rt.h"

/*
 * For the scheduler: "compute" computes on all processors and never ends; "sleep" is woken by the 8254, works a little
 * and sleeps again, and tells now and then that its time went on as it should.
 */
static volatile uint64_t work;

static void compute(unsigned number)
{
    (void)number;
    for (;;)
        work++;
}

static volatile uint64_t ticks;

static void on_tick(struct trap_frame *frame)
{
    (void)frame;
    ticks++;
    pic_eoi(0);
}

/* 1193182 / 23864 = 50 wake-ups a second. */
static void sleep_and_wake(void)
{
    uint64_t last = 0, backwards = 0, now;

    pic_init();
    set_handler(0x20, on_tick);
    pit_start(2, 23864);
    pic_mask(0xfffe);
    for (;;) {
        __asm__ volatile("sti; hlt; cli" : : : "memory");
        now = rdtsc();
        backwards += now < last;
        last = now;
        for (unsigned i = 0; i < 10000; i++)
            work++;
        if (ticks % 25 == 0)
            print("share: %lu ticks, %lu backwards\n", ticks, backwards);
    }
}

void guest_main(const char *arguments)
{
    if (!strcmp(arguments, "sleep"))
        sleep_and_wake();
    start_cpus(compute);
    print("share: computes\n");
    compute(0);
}
