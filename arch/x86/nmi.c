/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/nmi.h"

#include "arch/x86/cpu.h"
#include "arch/x86/percpu.h"
#include "lib/log.h"

#include <stdatomic.h>

/* NMI status and control register of the chip sets: bits 0 to 3 are written, 4 to 7 only read. */
#define PORT_61    0x61
#define P61_CONTROL 0x0fu

struct source {
    uint8_t status, off; /* bits of port 61H */
    const char *name;
};

enum { KNOWN_SOURCES = 2 };

static const struct source sources[KNOWN_SOURCES + 1] = {
    { 0x80, 0x04, "memory parity or SERR#" },
    { 0x40, 0x08, "IOCHK#" },
    { 0, 0, "unknown source" },
};

static _Atomic unsigned counts[KNOWN_SOURCES + 1], last_cpu;

void nmi_handle(void)
{
    uint8_t port = inb(PORT_61), off = 0;

    for (unsigned i = 0; i < KNOWN_SOURCES; i++) {
        if ((port & sources[i].status) && !(port & sources[i].off)) {
            off |= sources[i].off;
            atomic_fetch_add(&counts[i], 1);
        }
    }
    if (off)
        outb(PORT_61, (uint8_t)((port & P61_CONTROL) | off));
    else
        atomic_fetch_add(&counts[KNOWN_SOURCES], 1);
    atomic_store(&last_cpu, cpu_index());
}

void nmi_report(void)
{
    uint8_t on = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(sources); i++) {
        unsigned n = atomic_exchange(&counts[i], 0);

        if (!n)
            continue;
        log_warn("%u NMI%s of the machine: %s; last on cpu %u", n, n == 1 ? "" : "s", sources[i].name,
                 atomic_load(&last_cpu));
        on |= sources[i].off;
    }
    if (on)
        outb(PORT_61, (uint8_t)(inb(PORT_61) & P61_CONTROL & ~on));
}
