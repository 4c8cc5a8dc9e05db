/* SPDX-License-Identifier: GPL-2.0-only */
/* Time in ticks of the processor's time stamp counter. */
#ifndef TESTS_BENCH_TICKS_H
#define TESTS_BENCH_TICKS_H

#include <stdint.h>

/* The fences keep the measured code on its own side of the reading (SDM 2B, RDTSC). */
static inline uint64_t ticks_now(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

#endif
