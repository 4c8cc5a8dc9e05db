/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "lib/errno.h"
#include "numa/topology.h"

enum { HEAD = 48, SLIT_HEAD = 44 };

static uint8_t srat[4096], slit[1024];
static size_t srat_len, slit_len;
static struct topology t;

static int setup(void **state)
{
    memset(srat, 0, sizeof(srat));
    memset(slit, 0, sizeof(slit));
    srat_len = HEAD;
    slit_len = 0;
    return 0;
}

static void put32(uint8_t *at, uint32_t v) { memcpy(at, &v, sizeof(v)); }
static void put64(uint8_t *at, uint64_t v) { memcpy(at, &v, sizeof(v)); }

static void apic(uint32_t domain, uint8_t id, uint32_t flags)
{
    uint8_t *e = srat + srat_len;

    e[1] = 16, e[2] = (uint8_t)domain, e[3] = id;
    put32(e + 4, flags);
    e[9] = (uint8_t)(domain >> 8), e[10] = (uint8_t)(domain >> 16), e[11] = (uint8_t)(domain >> 24);
    srat_len += 16;
}

static void memory(uint32_t domain, uint64_t base, uint64_t length, uint32_t flags)
{
    uint8_t *e = srat + srat_len;

    e[0] = 1, e[1] = 40;
    put32(e + 2, domain);
    put64(e + 8, base);
    put64(e + 16, length);
    put32(e + 28, flags);
    srat_len += 40;
}

static void x2apic(uint32_t domain, uint32_t id)
{
    uint8_t *e = srat + srat_len;

    e[0] = 2, e[1] = 24;
    put32(e + 4, domain);
    put32(e + 8, id);
    put32(e + 12, 1);
    srat_len += 24;
}

static void distances(unsigned n, const uint8_t *d)
{
    put64(slit + 36, n);
    memcpy(slit + SLIT_HEAD, d, n * n);
    slit_len = SLIT_HEAD + n * n;
}

/* From copies just as long as told: the sanitizer sees what is read behind them. */
static int reread(void)
{
    uint8_t *s = malloc(srat_len), *d = malloc(slit_len + 1);
    int err;

    memcpy(s, srat, srat_len);
    memcpy(d, slit, slit_len);
    err = topology_read(&t, s, srat_len, slit_len ? d : NULL, slit_len);
    free(s);
    free(d);
    return err;
}

static void two_nodes(void)
{
    apic(7, 0, 1);
    apic(7, 1, 0);             /* disabled */
    x2apic(0x01020304, 0x300);
    memory(7, 0, 0xa0000, 1);
    memory(7, MIB, GIB - MIB, 1);
    memory(0x01020304, GIB, GIB, 1);
    memory(9, 8 * GIB, GIB, 0); /* disabled */
}

static void test_two_nodes(void **state)
{
    uint64_t end;

    two_nodes();
    assert_int_equal(reread(), 0);
    assert_int_equal(t.nodes, 2);
    assert_int_equal(topology_cpu_node(&t, 0), 0);
    assert_int_equal(topology_cpu_node(&t, 0x300), 1);
    assert_int_equal(topology_cpu_node(&t, 99), 0);
    assert_int_equal(topology_memory_node(&t, 2 * MIB, &end), 0);
    assert_int_equal(end, GIB);
    assert_int_equal(topology_memory_node(&t, GIB, &end), 1);
    assert_int_equal(end, 2 * GIB);
    assert_int_equal(topology_memory_node(&t, 0xb0000, &end), 0); /* in no range, up to the next one */
    assert_int_equal(end, MIB);
    assert_int_equal(topology_memory_node(&t, 9 * GIB, &end), 0);
    assert_int_equal(end, UINT64_MAX);
    assert_int_equal(t.distance[0][1], DISTANCE_REMOTE);
}

static void test_distances(void **state)
{
    const uint8_t good[9] = { 10, 21, 31, 22, 10, 32, 33, 23, 10 };
    uint8_t bad[9];

    apic(0, 0, 1);
    apic(2, 1, 1);
    distances(3, good);
    assert_int_equal(reread(), 0);
    assert_int_equal(t.distance[0][1], 31);
    assert_int_equal(t.distance[1][0], 33);
    for (unsigned i = 0; i < 4; i++) { /* wrong at home, nearer than home, unreachable domain, too short */
        memcpy(bad, good, sizeof(bad));
        bad[i == 0 ? 8 : 2] = i == 0 ? 11 : i == 1 ? 9 : 31;
        distances(i == 2 ? 2 : 3, bad);
        slit_len -= i == 3;
        assert_int_equal(reread(), 0);
        assert_int_equal(t.distance[0][1], DISTANCE_REMOTE);
    }
    put64(slit + 36, 1ul << 32); /* its square overflows */
    assert_int_equal(reread(), 0);
}

static void test_damage(void **state)
{
    two_nodes();
    for (size_t whole = srat_len; srat_len > HEAD; srat_len--) {
        int err = reread();

        assert_true(err == 0 || err == -EINVAL);
        assert_true(err == 0 || t.nodes == 1);
        assert_true(t.nodes >= 1 || whole == 0);
    }
    assert_int_equal(reread(), 0); /* nothing in it */
    assert_int_equal(t.nodes, 1);
}

static void test_refused(void **state)
{
    memory(1, UINT64_MAX - 100, 4096, 1);
    assert_int_equal(reread(), -EINVAL);
    setup(state);
    memory(1, GIB, GIB, 1);
    memory(2, 2 * GIB - 4096, GIB, 1);
    assert_int_equal(reread(), -EINVAL);
    setup(state);
    for (uint32_t d = 0; d <= NUMA_MAX_NODES; d++)
        apic(d, (uint8_t)d, 1);
    assert_int_equal(reread(), -ENOSPC);
    assert_int_equal(t.nodes, 1);
    assert_int_equal(t.cpus, 0);
    setup(state);
    apic(1, 1, 1);
    srat[HEAD + 1] = 1; /* an entry shorter than its own head */
    assert_int_equal(reread(), -EINVAL);
}

/* Whatever is in the tables, what comes out is in order. */
static void test_mutations(void **state)
{
    const uint8_t good[4] = { 10, 20, 20, 10 };

    srand(1);
    for (unsigned i = 0; i < 20000; i++) {
        setup(state);
        two_nodes();
        distances(2, good);
        for (unsigned n = (unsigned)rand() % 8; n--;)
            srat[HEAD + (unsigned)rand() % (srat_len - HEAD)] = (uint8_t)rand();
        slit[36 + (unsigned)rand() % (slit_len - 36)] = (uint8_t)rand();
        (void)reread();
        assert_in_range(t.nodes, 1, NUMA_MAX_NODES);
        for (unsigned r = 0; r < t.ranges; r++)
            assert_true(t.range[r].base < t.range[r].end && t.range[r].node < t.nodes);
        for (unsigned c = 0; c < t.cpus; c++)
            assert_true(t.cpu[c].node < t.nodes);
        for (unsigned n = 0; n < t.nodes; n++)
            assert_int_equal(t.distance[n][n], DISTANCE_LOCAL);
    }
}

static void test_fake(void **state)
{
    const struct topology_part part[] = { { 2 * MIB, 98 * MIB }, { 200 * MIB, 202 * MIB } };
    const uint32_t id[] = { 0, 2, 4, 6 };

    for (unsigned nodes = 1; nodes <= NUMA_MAX_NODES; nodes++) {
        uint64_t size[NUMA_MAX_NODES] = { 0 };

        topology_fake(&t, nodes, part, 2, id, 4);
        assert_int_equal(t.nodes, nodes);
        for (unsigned i = 0; i < 2; i++)
            for (uint64_t at = part[i].base, end; at < part[i].base + part[i].size; at = end) {
                unsigned node = topology_memory_node(&t, at, &end);

                end = MIN(end, part[i].base + part[i].size);
                assert_int_equal(end % PAGE_SIZE_2M, 0);
                size[node] += end - at;
            }
        for (unsigned n = 0; n < nodes; n++)
            assert_in_range(size[n], 300 * MIB / nodes - 2 * MIB * nodes, 300 * MIB / nodes + 2 * MIB);
        assert_int_equal(topology_cpu_node(&t, 0), 0);
        assert_int_equal(topology_cpu_node(&t, 6), nodes * 3 / 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_two_nodes, setup),
        cmocka_unit_test_setup(test_distances, setup),
        cmocka_unit_test_setup(test_damage, setup),
        cmocka_unit_test_setup(test_refused, setup),
        cmocka_unit_test_setup(test_mutations, setup),
        cmocka_unit_test_setup(test_fake, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
