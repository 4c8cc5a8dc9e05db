/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/percpu.h"
#include "core/monitor_parts.h"
#include "numa/page.h"
#include "numa/sample.h"

static uint64_t mib(uint64_t pages) { return pages * PAGE_SIZE / MIB; }
static uint64_t tenths(uint64_t n, uint64_t of) { return of ? n * 10 / of : 0; }

static void print_node(unsigned n)
{
    struct page_counts c;

    page_count(n, &c);
    monitor_print("%4u %9lu %9lu ", n, mib(c.free), mib(c.total - c.free));
    for (unsigned to = 0; to < page_nodes(); to++)
        monitor_print(" %u", page_distance(n, to));
    monitor_print("\n      cpus");
    for (unsigned i = 0; i < cpu_count(); i++)
        if (cpu_of(i)->node == n)
            monitor_print(" %u", i);
    monitor_print("\n");
}

/* A mean distance in tenths, so that one digit can be printed behind the point. */
static void print_vm(const struct vm *vm)
{
    const struct pmap_moves *m = &vm->pmap.moves;
    const struct pmap_use *u = &vm->pmap.use;
    uint64_t local = tenths(u->local * 100, u->uses), mean = tenths(u->distance, u->uses);
    uint64_t interleaved = tenths(u->interleaved, u->uses);

    monitor_print("  vm %-12s migrations %lu, replications %lu, collapses %lu, splits %lu; replicas %lu\n",
                  vm->config->name, m->migrations, m->replications, m->collapses, m->splits, m->replicas);
    monitor_print("  vm %-12s uses %lu, local %lu.%lu%%; mean distance %lu.%lu, if interleaved %lu.%lu\n",
                  vm->config->name, u->uses, local / 10, local % 10, mean / 10, mean % 10, interleaved / 10,
                  interleaved % 10);
}

void monitor_numa(int argc, char **argv)
{
    (void)argc, (void)argv;
    monitor_print("node  free MiB  used MiB  distances\n");
    for (unsigned n = 0; n < page_nodes(); n++)
        print_node(n);
    if (page_nodes() == 1)
        return;
    monitor_print("sample %lu of all pages; uses in the last one, in pages of 4 KiB:\n", sample_rounds());
    for (unsigned i = 0; i < vm_count(); i++)
        if (vm_at(i)->pmap.nodes)
            print_vm(vm_at(i));
}
