/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/apic.h"
#include "core/monitor_parts.h"
#include "lib/string.h"
#include "numa/gigantic.h"
#include "numa/join.h"
#include "numa/page.h"
#include "numa/reclaim.h"
#include "numa/scan.h"
#include "numa/segment.h"
#include "numa/survey.h"

static uint64_t kib(uint64_t pages) { return pages * PAGE_SIZE / KIB; }
static uint64_t mib(uint64_t pages) { return pages * PAGE_SIZE / MIB; }

static uint64_t ept_pages(const struct vm *vm)
{
    uint64_t sum = 0;

    for (unsigned n = 0; n < vm->pmap.nodes; n++)
        sum += vm->pmap.ept[n].tables;
    return sum;
}

static void print_kinds(const struct page_counts *c)
{
    static const char *const kinds[] = { "free", "hypervisor", "tables", "private", "zeros", "origin", "content",
                                          "replicas", "segments" };

    monitor_print("machine memory: %lu pages (%lu MiB), %lu free (%lu MiB)\n", c->total, mib(c->total), c->free,
                  mib(c->free));
    monitor_print("  of the free, zeroed ahead: %lu, at hand for faults: %lu\n", c->by_kind[PAGE_ZEROED],
                  c->by_kind[PAGE_SPARE]);
    for (unsigned k = PAGE_HYPERVISOR; k < ARRAY_SIZE(kinds); k++)
        monitor_print("  %-12s %9lu pages %9lu KiB\n", kinds[k], c->by_kind[k], kib(c->by_kind[k]));
    monitor_print("  of the hypervisor's, memmap: %lu KiB\n", c->total * sizeof(struct mpage) / KIB);
}

static void print_vm(const struct vm *vm)
{
    const struct pmap_counts *p = &vm->pmap.counts;

    monitor_print("  vm %-12s %6lu MiB, touched %lu pages, %lu faults, EPT %lu pages, pmap %lu pages\n",
                  vm->config->name, vm->config->memory_mib, p->touched, p->faults, ept_pages(vm), vm->pmap.tables);
    if (p->returned || vm->has_balloon)
        monitor_print("  vm %-12s gave back %lu pages; is to keep %lu MiB, its balloon has %lu pages\n",
                      vm->config->name, p->returned, vm->target_mib, vm->balloon);
    if (vm->squeezed_mib)
        monitor_print("  vm %-12s is asked for %lu MiB more while memory is short\n", vm->config->name,
                      vm->squeezed_mib);
    if (p->touched)
        monitor_print("  vm %-12s shares by origin %lu, by content %lu, zeros %lu; breaks %lu, cleared %lu\n",
                      vm->config->name, p->files, p->content, p->zeros, p->breaks, p->cleared);
}

/* Each page once more than it is there; the buffer cache keeps some that no VM has. */
static uint64_t saved(uint64_t shares, uint64_t pages) { return shares > pages ? kib(shares - pages) : 0; }

/* V and M: what the guests have touched, and what the machine gives for it. */
static void print_sum(const struct page_counts *c)
{
    struct pmap_counts sum = { 0 };
    uint64_t has = 0;

    for (unsigned i = 0; i < vm_count(); i++) {
        const struct pmap_counts *p = &vm_at(i)->pmap.counts;

        has += pmap_memory(&vm_at(i)->pmap) / MIB;
        sum.touched += p->touched;
        sum.files += p->files;
        sum.content += p->content;
        sum.zeros += p->zeros;
    }
    monitor_print("guests have %lu MiB, touched %lu KiB, the machine gives %lu KiB\n", has, kib(sum.touched),
                  kib(c->by_kind[PAGE_PRIVATE] + c->by_kind[PAGE_ORIGIN] + c->by_kind[PAGE_CONTENT]));
    monitor_print("saved: by origin %lu KiB, by content %lu KiB, zeros %lu KiB\n",
                  saved(sum.files, c->by_kind[PAGE_ORIGIN]), saved(sum.content, c->by_kind[PAGE_CONTENT]),
                  kib(sum.zeros));
}

static const struct segment *shown;

static void print_user(const struct vm *vm)
{
    for (unsigned i = 0; i < vm->pmap.segments; i++)
        if (vm->pmap.segment[i].segment == shown)
            monitor_print(" %s%s", vm->config->name, vm->pmap.segment[i].write ? "" : " (ro)");
}

/* The boot processor alone is here. */
static void print_segment(const struct segment *s)
{
    shown = s;
    monitor_print("  segment %-7s %6lu MiB, touched %lu pages; VMs that have it:", segment_name(s),
                  segment_size(s) / MIB, segment_pages(s));
    for (unsigned i = 0; i < vm_count(); i++)
        print_user(vm_at(i));
    monitor_print("\n");
}

static void print_reclaimed(void)
{
    struct reclaim_figures f = reclaim_count();

    if (f.calls)
        monitor_print("no page was left %lu times; found %lu copies on other nodes, %lu disk blocks, "
                      "%lu tables of EPTs, %lu zeros, %lu kept for a GiB in one piece\n",
                      f.calls, f.replicas, f.cached, f.tables, f.zeros, f.moving);
}

static void print_scanner(void)
{
    struct scan_figures f;

    scan_count(&f);
    if (!f.rounds)
        return;
    monitor_print("scanner: %lu rounds, looked at %lu pages, gave back %lu\n", f.rounds, f.looked, f.given);
    monitor_print("  last round: looked at %lu pages in %lu ms, %lu had changed, gave back %lu; then a rest of %lu s\n",
                  f.last_looked, f.last_ticks / tsc_khz(), f.last_changed, f.last_given, f.rest / tsc_khz() / 1000);
}

static void print_joined(void)
{
    struct join_figures f = join_count();

    if (f.joined)
        monitor_print("small pages joined to %lu large ones, %lu of these copied\n", f.joined, f.copied);
}

static void print_gigantic(void)
{
    struct gigantic_figures f = gigantic_count();

    if (f.merged || f.given_up)
        monitor_print("one EPT entry for a GiB: %lu times; %lu large pages moved for that, %lu times begun in vain\n",
                      f.merged, f.moved, f.given_up);
}

/* At least 1 MiB, at most all that it has. */
static void set_target(const char *name, const char *number)
{
    struct vm *vm = monitor_find_vm(name);
    unsigned mib, limit;

    if (!vm)
        return;
    limit = (unsigned)vm->config->memory_mib + 1;
    mib = monitor_number(number, limit);
    if (!mib || mib == limit)
        monitor_print("%s can keep 1 to %u MiB\n", name, limit - 1);
    else
        vm_set_target(vm, mib);
}

/* A line for each run of pages of one kind; what was never touched is left out. */
static void print_pages(const char *name)
{
    static const char *const kinds[SURVEY_KINDS] = { "", "zero", "large", "private", "replicas", "origin", "content" };
    struct vm *vm = monitor_find_vm(name);
    struct survey run = { 0 };

    while (vm && survey_next(&vm->pmap, &run))
        monitor_print("  %09lx %6lu %s\n", run.gpa.v, run.pages, kinds[run.kind]);
}

void monitor_mem(int argc, char **argv)
{
    struct page_counts c;

    if (argc == 3 && !strcmp(argv[2], "pages"))
        print_pages(argv[1]);
    else if (argc == 3)
        set_target(argv[1], argv[2]);
    else if (argc != 1)
        monitor_print("usage: mem | mem NAME MIB | mem NAME pages\n");
    if (argc != 1)
        return;
    page_count(NUMA_MAX_NODES, &c);
    print_kinds(&c);
    for (unsigned i = 0; i < vm_count(); i++)
        print_vm(vm_at(i));
    segment_each(print_segment);
    print_sum(&c);
    print_reclaimed();
    print_scanner();
    print_joined();
    print_gigantic();
}
