/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "numa/page.h"

/* Which memory and which processors are near each other: ACPI's SRAT and SLIT (ACPI 6.5, 5.2.16 and 5.2.17). */
#define TOPOLOGY_MAX_RANGES 128u
#define TOPOLOGY_MAX_CPUS   256u
#define DISTANCE_LOCAL      10u
#define DISTANCE_REMOTE     20u

struct topology {
    unsigned nodes;            /* at least 1 */
    uint8_t distance[NUMA_MAX_NODES][NUMA_MAX_NODES]; /* 10: here */
    unsigned ranges, cpus;     /* what is not listed is of node 0 */
    struct { uint64_t base, end; uint8_t node; } range[TOPOLOGY_MAX_RANGES];
    struct { uint32_t apic_id; uint8_t node; } cpu[TOPOLOGY_MAX_CPUS];
};

/* One node. */
void topology_flat(struct topology *t);

/*
 * What the tables say; slit may be NULL. Nothing in them is trusted. -EINVAL: the SRAT is damaged, or its memory ranges
 * overlap; -ENOSPC: it has more than we can hold. In both cases *t has one node. A SLIT that makes no sense is ignored.
 */
int topology_read(struct topology *t, const void *srat, size_t srat_len, const void *slit, size_t slit_len);

/* Pretends: processors and memory in this many equal parts (2 MiB aligned). nodes: 1 to NUMA_MAX_NODES. */
struct topology_part { uint64_t base, size; };
void topology_fake(struct topology *t, unsigned nodes, const struct topology_part *memory, unsigned parts,
                   const uint32_t *apic_id, unsigned cpus);

unsigned topology_cpu_node(const struct topology *t, uint32_t apic_id);
/* The node of an address, and in *end where that may change; UINT64_MAX: nowhere. */
unsigned topology_memory_node(const struct topology *t, uint64_t at, uint64_t *end);
