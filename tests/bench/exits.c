// SPDX-License-Identifier: GPL-2.0-only
/*
 * What one VM exit costs: CPUID always exits in VMX non-root operation (SDM 3C 26.1.2).
 * Prints "bench: cpuid TICKS", the mean of many; on the bare machine, CPUID's own time.
 */
#include <cpuid.h>
#include <stdio.h>

#include "ticks.h"

enum { TURNS = 10000 };

int main(void)
{
	unsigned int eax, ebx, ecx, edx;
	uint64_t start = ticks_now(), end;

	for (int i = 0; i < TURNS; i++)
		__cpuid(0, eax, ebx, ecx, edx);
	end = ticks_now();
	printf("bench: cpuid %llu\n", (unsigned long long)((end - start) / TURNS));
	return 0;
}
