/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/pressure.h"
#include "core/vm.h"
#include "numa/page.h"

/* Parts of the machine's memory that are free: below the first it is asked for, above the other it is given back. */
#define SHORT_PART  16u
#define ENOUGH_PART 8u
#define STEP_PART   16u        /* of a VM's memory, each second */
#define LEFT_PART   4u         /* of a VM's memory that is never asked for */

static uint64_t next_look;

static void squeeze(struct vm *vm, bool more)
{
    uint64_t memory = vm->config->memory_mib, step = memory / STEP_PART + 1, is = atomic_load(&vm->squeezed_mib);
    uint64_t most = memory - MAX(memory / LEFT_PART, 1ul);
    uint64_t now = more ? MIN(is + step, most) : is - MIN(is, step);

    if (now != is)
        vm_squeeze(vm, now);
}

void pressure_poll(uint64_t tsc, uint64_t tsc_khz)
{
    struct page_counts c;
    bool less;

    if (tsc < next_look)
        return;
    next_look = tsc + 1000 * tsc_khz;
    page_count(NUMA_MAX_NODES, &c);
    less = c.free < c.total / SHORT_PART;
    for (unsigned i = 0; (less || c.free > c.total / ENOUGH_PART) && i < vm_count(); i++)
        if (vm_at(i)->has_balloon)
            squeeze(vm_at(i), less);
}
