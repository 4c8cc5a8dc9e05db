/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "arch/x86/percpu.h"

/* The processors of a machine; the one that runs is chosen with fake_percpu_enter. APIC ids are 0, 2, 4... */
#define FAKE_CPUS 4

extern struct percpu fake_percpu[FAKE_CPUS];
extern unsigned fake_cpu_count;

/* From here on the caller is the processor with this index. Call it in each test's set-up. */
void fake_percpu_enter(unsigned index);
