/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/vm.h"
#include "lib/format.h"
#include "lib/string.h"

/*
 * Each vCPU records its own exits, so that this costs no more than a few stores on the way; what happened on a pCPU, or
 * everywhere, is put together here by the TSC, which is the same on all of them.
 */
struct entry {
    const char *vm;
    unsigned vcpu, cpu;
    struct exit_record record;
};

static struct entry latest[TRACE_LINES];  /* by time */
static unsigned entries;

static void add(const struct entry *e)
{
    unsigned at;

    if (entries == TRACE_LINES && e->record.tsc <= latest[0].record.tsc)
        return;
    if (entries == TRACE_LINES)
        memmove(latest, latest + 1, --entries * sizeof(*latest));
    for (at = entries++; at && latest[at - 1].record.tsc > e->record.tsc; at--)
        latest[at] = latest[at - 1];
    latest[at] = *e;
}

/* Its own pCPU may be recording: an entry or two may be torn. */
static void add_vcpu(const char *vm, const struct vcpu *v)
{
    for (uint64_t i = 0; i < MIN(v->exit_count, (uint64_t)EXIT_RING); i++)
        add(&(struct entry){ vm, v->index, v->cpu, v->ring[i] });
}

static void add_vm(struct vm *vm, unsigned cpu)
{
    spin_lock(&vm->lock);
    for (unsigned i = 0; i < CONFIG_MAX_VCPUS && vm->slots[i]; i++)
        if (cpu == TRACE_ALL_CPUS || vm->slots[i]->vcpu.cpu == cpu)
            add_vcpu(vm->config->name, &vm->slots[i]->vcpu);
    spin_unlock(&vm->lock);
}

void vm_trace(struct vm *vm, unsigned cpu, void (*print)(const char *line))
{
    char text[128], line[192];

    entries = 0;
    for (unsigned i = 0; i < vm_count(); i++)
        if (!vm || vm == vm_at(i))
            add_vm(vm_at(i), cpu);
    for (unsigned i = 0; i < entries; i++) {
        exit_record_text(&latest[i].record, latest[i].vcpu, text, sizeof(text));
        format(line, sizeof(line), "  cpu %u  %s%s", latest[i].cpu, latest[i].vm, text);
        print(line);
    }
}
