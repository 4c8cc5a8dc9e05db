/* SPDX-License-Identifier: GPL-2.0 */
/* Copyright (C) 2026 The Mirrorball authors */
#ifndef _MIRRORBALL_H
#define _MIRRORBALL_H

#include <linux/types.h>
#include <asm/cpufeature.h>
#include <asm/processor.h>
#include <mirrorball/hypercall.h>

/* A hypercall: its result, or a negative errno. The hypervisor may read and write memory meanwhile. */
static inline long mirrorball_call5(unsigned long number, unsigned long a, unsigned long b, unsigned long c,
				    unsigned long d, unsigned long e)
{
	register unsigned long r10 asm("r10") = d;
	register unsigned long r8 asm("r8") = e;
	long result;

	asm volatile("vmcall" : "=a" (result) : "a" (number), "D" (a), "S" (b), "d" (c), "r" (r10), "r" (r8)
		     : "memory");
	return result;
}

static inline long mirrorball_call4(unsigned long number, unsigned long a, unsigned long b, unsigned long c,
				    unsigned long d)
{
	return mirrorball_call5(number, a, b, c, d, 0);
}

static inline long mirrorball_call(unsigned long number, unsigned long a, unsigned long b)
{
	return mirrorball_call4(number, a, b, 0, 0);
}

/* Does this machine run on Mirrorball, of a version that has what these drivers use? */
static inline bool mirrorball_present(void)
{
	if (!boot_cpu_has(X86_FEATURE_HYPERVISOR) || !hypervisor_cpuid_base(MIRRORBALL_SIGNATURE, 0))
		return false;
	return mirrorball_call(MIRRORBALL_CALL_VERSION, 0, 0) >> 16 == MIRRORBALL_ABI_VERSION >> 16;
}

#endif
