/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/percpu.h"
#include "core/monitor_parts.h"
#include "lib/string.h"

static uint64_t total(const struct exit_stats *s)
{
    uint64_t sum = 0;

    for (unsigned r = 0; r < EXIT_REASON_COUNT; r++)
        sum += s->count[r];
    return sum;
}

/* "<2^12 7": seven took less than 4096 ticks, and not less than half of it. */
static void print_histogram(const struct exit_stats *s, unsigned reason)
{
    uint64_t timed = exit_stats_timed(s, reason);

    if (s->count[reason] > timed)
        monitor_print("  short %lu", s->count[reason] - timed);
    if (timed)
        monitor_print("  mean %lu ", s->ticks[reason] / timed);
    for (unsigned b = 0; b < EXIT_BUCKETS - 1; b++)
        if (s->by_time[reason][b])
            monitor_print(" <2^%u %lu", EXIT_BUCKET_BITS + b, s->by_time[reason][b]);
    if (s->by_time[reason][EXIT_BUCKETS - 1])
        monitor_print(" more %lu", s->by_time[reason][EXIT_BUCKETS - 1]);
}

static void print_exits(const struct exit_stats *s, bool histogram)
{
    for (unsigned r = 0; r < EXIT_REASON_COUNT; r++) {
        if (!s->count[r])
            continue;
        monitor_print("  %-24s %12lu", exit_reason_name(r), s->count[r]);
        if (histogram)
            print_histogram(s, r);
        monitor_print("\n");
    }
}

static void print_line(const char *text)
{
    monitor_print("%s\n", text);
}

static void stat_vm(struct vm *vm, bool histogram)
{
    static struct exit_stats stats;

    vm_exits(vm, &stats);
    monitor_print("vm %s: %lu exits\n", vm->config->name, total(&stats));
    vm_shares(vm, print_line);
    print_exits(&stats, histogram);
}

static void stat_vcpu(struct vm *vm, const char *number)
{
    static struct exit_stats stats;
    unsigned vcpu = monitor_number(number, vm->config->vcpus);

    if (vm_vcpu_exits(vm, vcpu, &stats)) {
        monitor_print("vm %s has no vCPU %s now\n", vm->config->name, number);
        return;
    }
    monitor_print("vm %s, vCPU %u: %lu exits\n", vm->config->name, vcpu, total(&stats));
    print_exits(&stats, true);
}

void monitor_stat(int argc, char **argv)
{
    struct vm *vm = argc > 1 ? monitor_find_vm(argv[1]) : NULL;

    if (vm && argc > 2)
        stat_vcpu(vm, argv[2]);
    else if (vm)
        stat_vm(vm, true);
    for (unsigned i = 0; argc == 1 && i < vm_count(); i++)
        stat_vm(vm_at(i), false);
}

void monitor_trace(int argc, char **argv)
{
    unsigned cpu = TRACE_ALL_CPUS;
    struct vm *vm = NULL;

    if (argc == 3 && !strcmp(argv[1], "cpu")) {
        cpu = monitor_number(argv[2], cpu_count());
        if (cpu == cpu_count()) {
            monitor_print("usage: trace cpu CPU, 0 to %u\n", cpu_count() - 1);
            return;
        }
    } else if (argc > 1) {
        vm = monitor_find_vm(argv[1]);
        if (!vm)
            return;
    }
    vm_trace(vm, cpu, print_line);
}
