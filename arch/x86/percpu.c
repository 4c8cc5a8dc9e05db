/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/percpu.h"

#include "arch/x86/percpu_private.h"
#include "arch/x86/traps.h"
#include "arch/x86/world.h"
#include "lib/errno.h"
#include "lib/string.h"

#define MAIN_STACK_PAGES 8u
#define IST_STACK_PAGES  2u

/* Each stack has its guard page below. */
#define STACK_PAGES (1 + MAIN_STACK_PAGES + (IST_COUNT - 1) * (1 + IST_STACK_PAGES))

struct cpu_block {
    struct percpu percpu;
    struct cpu_private private;
};

_Static_assert(sizeof(struct cpu_block) <= PAGE_SIZE, "one page");

static struct percpu *processors[PERCPU_MAX];
static unsigned processor_count;

struct percpu *cpu_of(unsigned index)
{
    return index < processor_count ? processors[index] : NULL;
}

unsigned cpu_count(void)
{
    return processor_count;
}

static int init_stacks(struct cpu_private *p, uint64_t base)
{
    for (unsigned i = 0; i < IST_COUNT; i++) {
        int err = paging_unmap_page(base);

        if (err)
            return err;
        p->stack_base[i] = base + PAGE_SIZE;
        p->stack_top[i] = p->stack_base[i] + (i == IST_NONE ? MAIN_STACK_PAGES : IST_STACK_PAGES) * PAGE_SIZE;
        base = p->stack_top[i];
    }
    return 0;
}

static int init_one(unsigned index, uint32_t apic_id, page_source pages, uint64_t (*contiguous)(unsigned n))
{
    struct cpu_block *block = (struct cpu_block *)(uintptr_t)pages();
    uint64_t stacks = contiguous(STACK_PAGES);
    int err;

    if (!block || !stacks)
        return -ENOMEM;
    err = init_stacks(&block->private, stacks);
    if (err)
        return err;
    gdt_build(&block->private.gdt, &block->private.tss, block->private.stack_top);
    block->percpu = (struct percpu){
        .self = &block->percpu,
        .index = index,
        .apic_id = apic_id,
        .stack_top = (void *)(uintptr_t)block->private.stack_top[IST_NONE],
        .private = &block->private,
    };
    processors[index] = &block->percpu;
    return 0;
}

int percpu_init(unsigned cpus, const uint32_t *apic_id, page_source pages, uint64_t (*contiguous)(unsigned n))
{
    if (!cpus || cpus > PERCPU_MAX)
        return -EINVAL;
    traps_init();
    processor_count = 0; /* the program may be started again without being loaded again */
    for (unsigned i = 0; i < cpus; i++) {
        int err = init_one(i, apic_id[i], pages, contiguous);

        if (err)
            return err;
    }
    processor_count = cpus;
    return 0;
}

struct percpu *percpu_guard_hit(uint64_t addr, unsigned *ist)
{
    for (unsigned i = 0; i < processor_count; i++) {
        for (*ist = 0; *ist < IST_COUNT; ++*ist) {
            if (private_of(processors[i])->stack_base[*ist] - PAGE_SIZE == ALIGN_DOWN(addr, PAGE_SIZE))
                return processors[i];
        }
    }
    return NULL;
}

bool percpu_on_stack(const struct percpu *cpu, uint64_t addr, uint64_t n)
{
    const struct cpu_private *p = private_of(cpu);

    for (unsigned i = 0; i < IST_COUNT; i++) {
        if (addr >= p->stack_base[i] && addr < p->stack_top[i] && p->stack_top[i] - addr >= n)
            return true;
    }
    return false;
}
