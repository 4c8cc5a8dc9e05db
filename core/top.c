/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "core/monitor_parts.h"
#include "core/sched.h"
#include "lib/string.h"

/* A page a second: what each vCPU has used of its pCPU and how often it left the guest, since the page before. */
#define PAGE_MS 1000ull
#define HOTTEST 3
#define CLEAR   "\033[H\033[J"  /* the cursor to the upper left, and all behind it away */

struct seen_vcpu { uint64_t ran, exits; };
struct seen_vm { struct seen_vcpu vcpu[CONFIG_MAX_VCPUS]; uint64_t count[EXIT_REASON_COUNT]; };

static struct seen_vm last[CONFIG_MAX_VMS], now;
static uint64_t page_at;       /* TSC of the last page */
static bool running;

bool top_running(void) { return running; }
void top_end(void) { running = false; }

static void see_vcpu(struct seen_vcpu *out, const struct slot *s)
{
    *out = (struct seen_vcpu){ .ran = sched_ran(s), .exits = s->vcpu.exit_count };
    for (unsigned r = 0; r < EXIT_REASON_COUNT; r++)
        now.count[r] += s->vcpu.exits.count[r];
}

/* It may have begun a new life meanwhile, and counts from zero then. */
static uint64_t since(uint64_t before, uint64_t value)
{
    return value >= before ? value - before : value;
}

static void print_hottest(const uint64_t *before, uint64_t ms)
{
    for (unsigned n = 0; n < HOTTEST; n++) {
        unsigned most = 0;

        for (unsigned r = 1; r < EXIT_REASON_COUNT; r++)
            if (since(before[r], now.count[r]) > since(before[most], now.count[most]))
                most = r;
        if (!since(before[most], now.count[most]))
            break;
        monitor_print("  %s %lu", exit_reason_name(most), since(before[most], now.count[most]) * 1000 / ms);
        now.count[most] = before[most];    /* printed */
    }
    monitor_print("\n");
}

static void print_vcpu(const struct slot *s, const struct seen_vcpu *before, const struct seen_vcpu *v, uint64_t ticks)
{
    uint64_t share = MIN(since(before->ran, v->ran) * 1000 / ticks, 1000ull), ms = ticks / tsc_khz();

    monitor_print("%-16s %4u %4u %3lu.%lu %9lu\n", s->vm->config->name, s->vcpu.index, s->vcpu.cpu, share / 10,
                  share % 10, since(before->exits, v->exits) * 1000 / ms);
}

/* What now becomes last is what was seen, not what print_hottest leaves of it. */
static void print_vm(struct vm *vm, struct seen_vm *before, uint64_t ticks)
{
    static uint64_t count[EXIT_REASON_COUNT];

    memset(&now, 0, sizeof(now));
    spin_lock(&vm->lock);
    for (unsigned i = 0; i < CONFIG_MAX_VCPUS && vm->slots[i]; i++) {
        see_vcpu(&now.vcpu[i], vm->slots[i]);
        if (ticks)
            print_vcpu(vm->slots[i], &before->vcpu[i], &now.vcpu[i], ticks);
    }
    spin_unlock(&vm->lock);
    memcpy(count, now.count, sizeof(count));
    if (ticks && now.vcpu[0].exits) {
        monitor_print("%-16s exits/s:", vm->config->name);
        print_hottest(before->count, ticks / tsc_khz());
    }
    memcpy(now.count, count, sizeof(count));
    *before = now;
}

static void page(uint64_t ticks)
{
    if (ticks)
        monitor_print(CLEAR "%-16s %4s %4s %5s %9s\n", "vm", "vcpu", "cpu", "cpu %", "exits/s");
    for (unsigned i = 0; i < vm_count(); i++)
        print_vm(vm_at(i), &last[i], ticks);
    if (ticks)
        monitor_print("(any key ends this)\n");
    page_at = rdtsc();
}

void monitor_top(int argc, char **argv)
{
    (void)argc, (void)argv;
    running = true;
    page(0);
}

bool top_poll(void)
{
    uint64_t ticks = rdtsc() - page_at;

    if (!running || ticks < PAGE_MS * tsc_khz())
        return false;
    page(ticks);
    return true;
}
