/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/firmware_visit.h"

#include "arch/x86/world.h"
#include "core/console.h"
#include "core/sched.h"

#define KEYS_MAX 32u

/* Only the boot processor visits, and never in a visit. */
static struct {
    const struct boot_info *boot;
    void (*fn)(void *arg);
    void *arg;
    uint8_t key[KEYS_MAX];
    unsigned keys, typed;      /* that it took, and those of them that our console has */
} visit;

static void there(void *arg)
{
    (void)arg;
    visit.fn(visit.arg);
    visit.keys += visit.boot->read_keys(visit.key + visit.keys, KEYS_MAX - visit.keys);
}

void firmware_visit(const struct boot_info *boot, void (*fn)(void *arg), void *arg)
{
    if (!world_ours()) {
        fn(arg);
        return;
    }
    visit.boot = boot;
    visit.fn = fn;
    visit.arg = arg;
    sched_visit(there, NULL);
}

void firmware_typed(void)
{
    while (visit.typed < visit.keys)
        console_typed(visit.key[visit.typed++]);
    visit.typed = visit.keys = 0;
}
