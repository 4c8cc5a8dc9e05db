/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "numa/topology.h"
#include "arch/x86/acpi.h"
#include "lib/errno.h"
#include "lib/string.h"

#define SRAT_FIRST   (sizeof(struct acpi_header) + 12)
#define SLIT_MATRIX  (sizeof(struct acpi_header) + 8)
#define SRAT_ENABLED BIT(0)

enum { SRAT_APIC = 0, SRAT_MEMORY = 1, SRAT_X2APIC = 2 };

struct entry { uint8_t type, length; } __attribute__((packed));

struct srat_apic {
    struct entry head;
    uint8_t domain_low, id;
    uint32_t flags;
    uint8_t eid, domain_high[3];
    uint32_t clock;
} __attribute__((packed));

struct srat_memory {
    struct entry head;
    uint32_t domain;
    uint16_t reserved;
    uint64_t base, length;
    uint32_t reserved2, flags;
    uint64_t reserved3;
} __attribute__((packed));

struct srat_x2apic {
    struct entry head;
    uint16_t reserved;
    uint32_t domain, id, flags;
} __attribute__((packed));

_Static_assert(sizeof(struct srat_apic) == 16 && sizeof(struct srat_memory) == 40, "ACPI 6.5, tables 5.58 and 5.59");

/* While the table is read: proximity domains in the order in which they come are our nodes. */
struct reader {
    struct topology *t;
    uint32_t domain[NUMA_MAX_NODES];
};

void topology_flat(struct topology *t)
{
    memset(t, 0, sizeof(*t));
    t->nodes = 1;
    for (unsigned i = 0; i < NUMA_MAX_NODES; i++)
        for (unsigned j = 0; j < NUMA_MAX_NODES; j++)
            t->distance[i][j] = i == j ? DISTANCE_LOCAL : DISTANCE_REMOTE;
}

/* -ENOSPC: one too many. */
static int node_of(struct reader *r, uint32_t domain)
{
    for (unsigned i = 0; i < r->t->nodes; i++)
        if (r->domain[i] == domain)
            return (int)i;
    if (r->t->nodes == NUMA_MAX_NODES)
        return -ENOSPC;
    r->domain[r->t->nodes] = domain;
    return (int)r->t->nodes++;
}

static int add_cpu(struct reader *r, uint32_t domain, uint32_t apic_id, uint32_t flags)
{
    struct topology *t = r->t;
    int node;

    if (!(flags & SRAT_ENABLED))
        return 0;
    node = node_of(r, domain);
    if (node < 0 || t->cpus == TOPOLOGY_MAX_CPUS)
        return -ENOSPC;
    t->cpu[t->cpus].apic_id = apic_id;
    t->cpu[t->cpus++].node = (uint8_t)node;
    return 0;
}

static int add_memory(struct reader *r, const struct srat_memory *m)
{
    struct topology *t = r->t;
    uint64_t end = m->base + m->length;
    int node;

    if (!(m->flags & SRAT_ENABLED) || !m->length)
        return 0;
    if (end < m->base)
        return -EINVAL;
    for (unsigned i = 0; i < t->ranges; i++)
        if (m->base < t->range[i].end && t->range[i].base < end)
            return -EINVAL;
    node = node_of(r, m->domain);
    if (node < 0 || t->ranges == TOPOLOGY_MAX_RANGES)
        return -ENOSPC;
    t->range[t->ranges].base = m->base;
    t->range[t->ranges].end = end;
    t->range[t->ranges++].node = (uint8_t)node;
    return 0;
}

static int read_entry(struct reader *r, const struct entry *e)
{
    struct srat_apic a = { 0 };
    struct srat_memory m = { 0 };
    struct srat_x2apic x = { 0 };

    switch (e->type) {
    case SRAT_APIC:
        memcpy(&a, e, MIN(sizeof(a), (size_t)e->length));
        return add_cpu(r, a.domain_low | (uint32_t)a.domain_high[0] << 8 | (uint32_t)a.domain_high[1] << 16 |
                       (uint32_t)a.domain_high[2] << 24, a.id, a.flags);
    case SRAT_MEMORY:
        memcpy(&m, e, MIN(sizeof(m), (size_t)e->length));
        return add_memory(r, &m);
    case SRAT_X2APIC:
        memcpy(&x, e, MIN(sizeof(x), (size_t)e->length));
        return add_cpu(r, x.domain, x.id, x.flags);
    default:
        return 0;
    }
}

static int read_srat(struct reader *r, const uint8_t *srat, size_t len)
{
    int err = 0;

    for (size_t at = SRAT_FIRST; at < len && !err;) {
        const struct entry *e = (const struct entry *)(srat + at);

        if (len - at < sizeof(*e) || e->length < sizeof(*e) || e->length > len - at)
            return -EINVAL;
        err = read_entry(r, e);
        at += e->length;
    }
    return err;
}

/* The distance between two domains; 0: the table has none that makes sense. */
static uint8_t distance(const uint8_t *slit, uint64_t count, uint32_t from, uint32_t to)
{
    uint8_t d = from < count && to < count ? slit[SLIT_MATRIX + from * count + to] : 0;

    if (from == to)
        return d == DISTANCE_LOCAL ? d : 0;
    return d > DISTANCE_LOCAL ? d : 0;
}

static void read_slit(struct reader *r, const uint8_t *slit, size_t len)
{
    uint8_t found[NUMA_MAX_NODES][NUMA_MAX_NODES];
    uint64_t count;

    if (len < SLIT_MATRIX)
        return;
    memcpy(&count, slit + sizeof(struct acpi_header), sizeof(count));
    if (count > UINT16_MAX || len - SLIT_MATRIX < count * count)
        return;
    memcpy(found, r->t->distance, sizeof(found));
    for (unsigned i = 0; i < r->t->nodes; i++) {
        for (unsigned j = 0; j < r->t->nodes; j++) {
            found[i][j] = distance(slit, count, r->domain[i], r->domain[j]);
            if (!found[i][j])
                return;
        }
    }
    memcpy(r->t->distance, found, sizeof(found));
}

int topology_read(struct topology *t, const void *srat, size_t srat_len, const void *slit, size_t slit_len)
{
    struct reader r = { .t = t };
    int err;

    topology_flat(t);
    t->nodes = 0;
    err = read_srat(&r, srat, srat_len);
    if (err || !t->nodes) {
        topology_flat(t);
        return err;
    }
    if (slit)
        read_slit(&r, slit, slit_len);
    return 0;
}

void topology_fake(struct topology *t, unsigned nodes, const struct topology_part *memory, unsigned parts,
                   const uint32_t *apic_id, unsigned cpus)
{
    uint64_t sum = 0, before = 0, share;

    topology_flat(t);
    t->nodes = nodes;
    for (unsigned i = 0; i < parts; i++)
        sum += memory[i].size;
    share = MAX(ALIGN_UP(sum / nodes, PAGE_SIZE_2M), PAGE_SIZE_2M);
    for (unsigned i = 0; i < parts; i++) {
        uint64_t at = memory[i].base, end = at + memory[i].size;

        while (at < end && t->ranges < TOPOLOGY_MAX_RANGES) {
            uint64_t node = MIN(before / share, nodes - 1ul);
            uint64_t left = node == nodes - 1ul ? end - at : MIN(end - at, (node + 1) * share - before);

            t->range[t->ranges].base = at;
            t->range[t->ranges].end = at + left;
            t->range[t->ranges++].node = (uint8_t)node;
            at += left;
            before += left;
        }
    }
    for (; t->cpus < MIN(cpus, TOPOLOGY_MAX_CPUS); t->cpus++) {
        t->cpu[t->cpus].apic_id = apic_id[t->cpus];
        t->cpu[t->cpus].node = (uint8_t)(t->cpus * nodes / cpus);
    }
}

unsigned topology_cpu_node(const struct topology *t, uint32_t apic_id)
{
    for (unsigned i = 0; i < t->cpus; i++)
        if (t->cpu[i].apic_id == apic_id)
            return t->cpu[i].node;
    return 0;
}

unsigned topology_memory_node(const struct topology *t, uint64_t at, uint64_t *end)
{
    *end = UINT64_MAX;
    for (unsigned i = 0; i < t->ranges; i++) {
        if (at >= t->range[i].base && at < t->range[i].end) {
            *end = t->range[i].end;
            return t->range[i].node;
        }
        if (t->range[i].base > at)
            *end = MIN(*end, t->range[i].base);
    }
    return 0;
}
