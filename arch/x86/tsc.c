/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "lib/log.h"

/* The 8254's channel 2 and the port that gates it (82C54 data sheet; port 61H: bit 0 gate, 1 speaker, 5 output). */
#define PIT_CHANNEL2     0x42
#define PIT_COMMAND      0x43
#define PIT_READ_STATUS2 0xe8 /* latch the status of channel 2 */
#define PIT_MODE0_2      0xb0 /* channel 2, low then high byte, mode 0: output rises at the end of the count */
#define PIT_HZ           1193182u
#define PORT_61          0x61
#define P61_GATE         1u
#define P61_SPEAKER      2u
#define P61_OUTPUT       0x20u

#define RUN_MS           20u
#define RUN_COUNT        (PIT_HZ * RUN_MS / 1000)
#define RUNS             3
#define GIVE_UP_TICKS    (1ull << 29) /* 20 ms on any processor there will be */

#define KHZ_MIN          1000u
#define KHZ_MAX          20000000u

static uint64_t khz;

/* TSC ticks that one run of the counter takes, 0 if it does not end. */
static uint64_t time_one_run(uint8_t port61)
{
    uint64_t begin;

    outb(PORT_61, (uint8_t)(port61 & ~(P61_GATE | P61_SPEAKER)));
    outb(PIT_COMMAND, PIT_MODE0_2);
    outb(PIT_CHANNEL2, RUN_COUNT & 0xff);
    outb(PIT_CHANNEL2, RUN_COUNT >> 8);
    begin = rdtsc(); /* before the start: what comes between makes a run longer, never shorter */
    outb(PORT_61, (uint8_t)((port61 & ~P61_SPEAKER) | P61_GATE));
    while (!(inb(PORT_61) & P61_OUTPUT)) {
        if (rdtsc() - begin > GIVE_UP_TICKS)
            return 0;
    }
    return rdtsc() - begin;
}

/* The median of three runs: one that an SMI or a busy host drew out does not count. */
static uint64_t measure(uint8_t port61)
{
    uint64_t t[RUNS];

    for (unsigned i = 0; i < RUNS; i++) {
        t[i] = time_one_run(port61);
        if (!t[i])
            return 0;
    }
    return MAX(MIN(t[0], t[1]), MIN(MAX(t[0], t[1]), t[2]));
}

static uint64_t measure_khz(void)
{
    uint64_t flags = read_rflags(), ticks;
    uint8_t port61, status;

    cli();
    port61 = inb(PORT_61);
    outb(PIT_COMMAND, PIT_READ_STATUS2);
    status = inb(PIT_CHANNEL2);
    ticks = measure(port61);
    /* Its mode again, with the longest count (the one it had cannot be read), and the gate as it was. */
    outb(PIT_COMMAND, (uint8_t)(0x80 | (status & 0x3f)));
    outb(PIT_CHANNEL2, 0);
    if ((status & 0x30) == 0x30)
        outb(PIT_CHANNEL2, 0);
    outb(PORT_61, port61);
    if (flags & RFLAGS_IF)
        sti();
    return ticks / RUN_MS;
}

/* CPUID 15H: TSC/crystal ratio in EBX/EAX, crystal in Hz in ECX; 16H: base frequency in MHz. */
static uint64_t announced_khz(void)
{
    uint32_t max, a, b, c, d;

    cpuid(0, 0, &max, &b, &c, &d);
    if (max < 0x15)
        return 0;
    cpuid(0x15, 0, &a, &b, &c, &d);
    if (a && b && c)
        return muldiv64(c, b, a) / 1000;
    if (max < 0x16)
        return 0;
    cpuid(0x16, 0, &a, &b, &c, &d);
    return (a & 0xffff) * 1000ull;
}

uint64_t tsc_calibrate(void)
{
    khz = measure_khz();
    if (khz < KHZ_MIN || khz > KHZ_MAX) {
        khz = announced_khz();
        if (khz < KHZ_MIN || khz > KHZ_MAX)
            khz = 0;
        log_warn("the 8254 does not run: TSC frequency from CPUID");
    }
    log_info("TSC runs at %lu.%03lu MHz", khz / 1000, khz % 1000);
    return khz;
}

uint64_t tsc_khz(void)
{
    return khz;
}
