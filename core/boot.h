/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/config.h"
#include "numa/topology.h"
#include "lib/types.h"

/* What the loader (efi/) hands to the hypervisor (core/), and what it takes back. */
#define BOOT_MAX_RANGES 64
#define BOOT_MAX_CPUS   256
#define BOOT_MAX_IOAPICS 16

struct boot_range {
    uint64_t base, size;       /* bytes, 4 KiB aligned; writable, allocated from the firmware: ours until the end */
};

struct boot_framebuffer {
    uint64_t base, size;       /* 0: none */
    uint32_t width, height, stride; /* pixels; 32 bits each */
    bool bgr;                  /* blue in the lowest byte, else red */
};

struct boot_info {
    const struct config *config;
    struct boot_range memory[BOOT_MAX_RANGES];
    unsigned memory_ranges;
    struct topology topology;  /* as ACPI tells it */
    struct boot_framebuffer framebuffer;
    uint64_t rsdp;             /* physical address of ACPI's root pointer, 0: none */
    uint64_t ioapic[BOOT_MAX_IOAPICS]; /* addresses of the I/O APICs as ACPI lists them */
    unsigned ioapics;
    unsigned cpus;             /* enabled processors; entry 0 of apic_id is the boot processor */
    uint32_t apic_id[BOOT_MAX_CPUS];
    int64_t unix_time;         /* seconds since 1970 at start, from the firmware's clock */

    /*
     * Starts fn(index) for index 1 to cpus - 1, each on its own processor, in the firmware's world (its page
     * tables, IDT, a small stack), and returns at once; wait_cpus returns when all have come back.
     */
    int (*start_cpus)(void (*fn)(unsigned index));
    int (*wait_cpus)(void);
};

/*
 * The hypervisor from the firmware's world and back: on the boot processor, interrupts on, boot services alive.
 * Returns 0 when the last VM has stopped or the user said exit, -errno when it could not start (it said why).
 */
int mirrorball_main(const struct boot_info *boot);
