/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "lib/errno.h"
#include "numa/pmap.h"
#include "tests/unit/machine.h"

static int setup(void **state)
{
    static uint64_t base;

    if (!base)
        base = machine_memory(96 * MIB, 0);
    return base ? 0 : -1;
}

static void test_ram_and_holes(void **state)
{
    struct pmap m;

    assert_int_equal(pmap_init(&m, 1, 16 * MIB, 1), 0);
    assert_int_equal(pmap_memory(&m), 16 * MIB);
    assert_true(pmap_is_ram(&m, GPA(0), PMAP_HOLE));
    assert_false(pmap_is_ram(&m, GPA(PMAP_HOLE - 1), 2));
    assert_false(pmap_is_ram(&m, GPA(PMAP_HOLE), 1));
    assert_true(pmap_is_ram(&m, GPA(PMAP_HOLE_END), 16 * MIB - PMAP_HOLE_END));
    assert_false(pmap_is_ram(&m, GPA(16 * MIB - 1), 2));
    assert_false(pmap_is_ram(&m, GPA(UINT64_MAX), 2));
    assert_int_equal(pmap_fault(&m, GPA(PMAP_HOLE), 0, true), -EFAULT);
    assert_int_equal(pmap_fault(&m, GPA(16 * MIB), 0, true), -EFAULT);
    assert_int_equal(pmap_fault(&m, GPA(PMAP_HIGH_BASE), 0, true), -EFAULT);
    pmap_destroy(&m);
}

static void test_high_ram_is_above_4g(void **state)
{
    struct pmap m;
    uint32_t x = 0x12345678, y = 0;

    assert_int_equal(pmap_init(&m, 1, PMAP_LOW_MAX + 4 * MIB, 1), 0);
    assert_false(pmap_is_ram(&m, GPA(PMAP_LOW_MAX), 1));
    assert_true(pmap_is_ram(&m, GPA(PMAP_HIGH_BASE), 4 * MIB));
    assert_int_equal(pmap_write(&m, GPA(PMAP_HIGH_BASE + 3 * MIB), &x, sizeof(x)), 0);
    assert_int_equal(pmap_read(&m, GPA(PMAP_HIGH_BASE + 3 * MIB), &y, sizeof(y)), 0);
    assert_int_equal(y, x);
    assert_int_equal(pmap_read(&m, GPA(PMAP_LOW_MAX - 4), &y, sizeof(y)), 0);
    assert_int_equal(y, 0);
    pmap_destroy(&m);
}

static void test_sizes_are_checked(void **state)
{
    struct pmap m;

    assert_int_equal(pmap_init(&m, 1, 0, 1), -EINVAL);
    assert_int_equal(pmap_init(&m, 1, MIB + 1, 1), -EINVAL);
    assert_int_equal(pmap_init(&m, 1, BIT(50), 1), -EINVAL);
    assert_int_equal(pmap_init(&m, 1, MIB, NUMA_MAX_NODES + 1), -EINVAL);
}

/* A fault maps what the pmap says: 2 MiB where the chunk is whole, 4 KiB beside the hole. */
static void test_fault_maps(void **state)
{
    struct pmap m;
    struct ept_mapping e;

    assert_int_equal(pmap_init(&m, 1, 8 * MIB, 1), 0);
    assert_int_equal(pmap_fault(&m, GPA(0x5123), 0, true), 0);
    e = ept_lookup(&m.ept[0], GPA(0x5123));
    assert_int_equal(e.level, EPT_4K);
    assert_int_equal(e.prot, EPT_RWX);
    assert_int_equal(ept_lookup(&m.ept[0], GPA(0x6000)).level, 0);
    assert_int_equal(pmap_fault(&m, GPA(4 * MIB + 5), 0, true), 0);
    e = ept_lookup(&m.ept[0], GPA(5 * MIB));
    assert_int_equal(e.level, EPT_2M);
    assert_int_equal(page_of(HPA(ALIGN_DOWN(e.hpa.v, PAGE_SIZE_2M)))->sharer, 1ul << 48 | (4 * MIB >> PAGE_SHIFT));
    assert_int_equal(m.counts.touched, 1 + 512);
    assert_int_equal(pmap_fault(&m, GPA(5 * MIB), 0, true), 0); /* once more changes nothing */
    assert_int_equal(m.counts.touched, 1 + 512);
    pmap_destroy(&m);
}

static void test_access_and_ept_agree(void **state)
{
    struct pmap m;
    char text[] = "across a page", back[sizeof(text)] = "";
    struct gpa at = GPA(3 * MIB - 5);

    assert_int_equal(pmap_init(&m, 1, 8 * MIB, 1), 0);
    assert_int_equal(pmap_write(&m, at, text, sizeof(text)), 0);
    assert_int_equal(pmap_fault(&m, at, 0, true), 0);
    assert_int_equal(*(char *)ept_lookup(&m.ept[0], at).hpa.v, 'a');
    assert_int_equal(pmap_read(&m, at, back, sizeof(back)), 0);
    assert_string_equal(back, text);
    assert_int_equal(pmap_zero(&m, at, 4), 0);
    assert_int_equal(pmap_read(&m, at, back, sizeof(back)), 0);
    assert_memory_equal(back, "\0\0\0\0ss a page", sizeof(back));
    assert_int_equal(pmap_write(&m, GPA(8 * MIB - 2), text, 3), -EFAULT);
    assert_int_equal(pmap_write(&m, GPA(PMAP_HOLE - 2), text, 3), -EFAULT);
    pmap_destroy(&m);
}

static void test_zero_touches_nothing(void **state)
{
    struct pmap m;

    assert_int_equal(pmap_init(&m, 1, 8 * MIB, 1), 0);
    assert_int_equal(pmap_zero(&m, GPA(MIB), 4 * MIB), 0);
    assert_int_equal(m.counts.touched, 0);
    pmap_destroy(&m);
}

/* Fresh memory is zero even if the machine page held another VM's data, and everything comes back. */
static void test_nothing_leaks(void **state)
{
    uint64_t before = free_pages();
    uint8_t page[PAGE_SIZE];
    struct pmap m;

    for (unsigned round = 0; round < 3; round++) {
        assert_int_equal(pmap_init(&m, 1, 32 * MIB, 2), 0);
        for (uint64_t a = 0; a < 32 * MIB; a += PAGE_SIZE) {
            if (!pmap_is_ram(&m, GPA(a), PAGE_SIZE))
                continue;
            assert_int_equal(pmap_fault(&m, GPA(a), a / PAGE_SIZE % 2, true), 0);
            assert_int_equal(pmap_read(&m, GPA(a), page, sizeof(page)), 0);
            for (unsigned i = 0; i < PAGE_SIZE; i += 64)
                assert_int_equal(page[i], 0);
            memset(page, 0xee, sizeof(page));
            assert_int_equal(pmap_write(&m, GPA(a), page, sizeof(page)), 0);
        }
        pmap_destroy(&m);
        assert_int_equal(free_pages(), before);
    }
}

/* When the machine has no more, the fault says so and what was there stays. */
static void test_out_of_memory(void **state)
{
    uint64_t before = free_pages(), a;
    struct pmap m;
    int err = 0;

    assert_int_equal(pmap_init(&m, 1, 128 * MIB, 1), 0);
    assert_int_equal(pmap_fault(&m, GPA(0), 0, true), 0);
    for (a = 0; a < 128 * MIB && !err; a += PAGE_SIZE)
        if (pmap_is_ram(&m, GPA(a), PAGE_SIZE))
            err = pmap_write(&m, GPA(a), "data", 4);
    assert_int_equal(err, -ENOMEM);
    assert_true(a > 80 * MIB);
    assert_int_equal(pmap_fault(&m, GPA(0), 0, true), 0);
    pmap_destroy(&m);
    assert_int_equal(free_pages(), before);
}

/* Reading what was never written costs the tables of the EPT only, and goes over into a page of one's own. */
static void test_zeros_cost_nothing(void **state)
{
    struct ept_mapping e;
    struct page_counts before, after;
    struct pmap m;

    assert_int_equal(pmap_init(&m, 1, 8 * MIB, 1), 0);
    page_count(NUMA_MAX_NODES, &before);
    assert_int_equal(pmap_fault(&m, GPA(5 * MIB), 0, false), 0);
    assert_int_equal(pmap_fault(&m, GPA(PMAP_HOLE_END), 0, false), 0);
    page_count(NUMA_MAX_NODES, &after);
    assert_int_equal(after.by_kind[PAGE_PRIVATE], before.by_kind[PAGE_PRIVATE]);
    assert_int_equal(m.counts.touched, 0);
    e = ept_lookup(&m.ept[0], GPA(5 * MIB));
    assert_int_equal(e.level, EPT_2M);
    assert_int_equal(e.prot, EPT_R | EPT_X);
    assert_int_equal(*(uint64_t *)e.hpa.v, 0);
    assert_int_equal(ept_lookup(&m.ept[0], GPA(PMAP_HOLE_END)).level, EPT_4K);
    assert_int_equal(pmap_fault(&m, GPA(5 * MIB), 0, true), 0);
    assert_int_equal(ept_lookup(&m.ept[0], GPA(5 * MIB)).prot, EPT_RWX);
    assert_int_equal(m.counts.touched, 512);
    pmap_destroy(&m);
}

static uint64_t kind_pages(enum page_kind kind)
{
    struct page_counts c;

    page_count(NUMA_MAX_NODES, &c);
    return c.by_kind[kind];
}

/* Two VMs load the same file: its whole pages are there once, until one is written. */
static void test_files_are_there_once(void **state)
{
    static uint8_t file[5 * PAGE_SIZE + 100];
    uint64_t before = free_pages();
    struct gpa at = GPA(3 * PAGE_SIZE + 7 * PAGE_SIZE_2M);
    uint8_t back[sizeof(file)];
    struct pmap m[2];

    for (size_t i = 0; i < sizeof(file); i++)
        file[i] = (uint8_t)(i * 31 + i / PAGE_SIZE);
    for (unsigned v = 0; v < 2; v++) {
        assert_int_equal(pmap_init(&m[v], (uint16_t)(v + 1), 32 * MIB, 1), 0);
        assert_int_equal(pmap_load(&m[v], at, file, sizeof(file)), 0);
        assert_int_equal(m[v].counts.files, 5);
        assert_int_equal(kind_pages(PAGE_ORIGIN), 5);
    }
    assert_int_equal(pmap_fault(&m[0], at, 0, false), 0);
    assert_int_equal(ept_lookup(&m[0].ept[0], at).prot, EPT_R | EPT_X);
    assert_int_equal(pmap_fault(&m[0], at, 0, true), 0);
    assert_int_equal(m[0].counts.breaks, 1);
    assert_int_equal(ept_lookup(&m[0].ept[0], at).prot, EPT_RWX);
    assert_int_equal(pmap_write(&m[0], at, "mine", 4), 0);
    assert_int_equal(pmap_read(&m[1], at, back, sizeof(back)), 0);
    assert_memory_equal(back, file, sizeof(file));
    assert_int_equal(pmap_write(&m[1], at, "yours", 5), 0); /* the last one has it: no copy */
    assert_int_equal(m[1].counts.breaks, 0);
    assert_int_equal(kind_pages(PAGE_ORIGIN), 4);
    pmap_destroy(&m[0]);
    pmap_destroy(&m[1]);
    assert_int_equal(free_pages(), before);
}

/* No memory for the copy: the page stays shared, and the fault says so. */
static void test_break_without_memory(void **state)
{
    static uint8_t file[PAGE_SIZE] = { 1 };
    uint64_t before = free_pages();
    struct hpa taken[32], p;
    struct pmap m[2];
    unsigned n = 0;

    for (unsigned v = 0; v < 2; v++) {
        assert_int_equal(pmap_init(&m[v], (uint16_t)(v + 1), 32 * MIB, 1), 0);
        assert_int_equal(pmap_load(&m[v], GPA(PAGE_SIZE_2M), file, sizeof(file)), 0);
        assert_int_equal(pmap_fault(&m[v], GPA(PAGE_SIZE_2M), 0, false), 0);
    }
    for (int order = PAGE_ORDER_1G; order >= 0; order--)
        while (n < ARRAY_SIZE(taken) && (p = page_alloc(0, (unsigned)order, PAGE_HYPERVISOR)).v)
            taken[n++] = p;
    assert_int_equal(free_pages(), 0);
    assert_int_equal(pmap_fault(&m[0], GPA(PAGE_SIZE_2M), 0, true), -ENOMEM);
    assert_int_equal(m[0].counts.files, 1);
    while (n--)
        page_free(taken[n], page_of(taken[n])->order);
    assert_int_equal(pmap_fault(&m[0], GPA(PAGE_SIZE_2M), 0, true), 0);
    pmap_destroy(&m[0]);
    pmap_destroy(&m[1]);
    assert_int_equal(free_pages(), before);
}

/* Large, small, shared, mapped: each chunk with something comes back by itself, and reads as zero then. */
static void test_destroyed_in_parts(void **state)
{
    static const uint8_t file[PAGE_SIZE] __attribute__((aligned(4096))) = { 1 };
    const struct gpa large = GPA(4 * MIB), small = GPA(8 * MIB + 3 * PAGE_SIZE), shared = GPA(12 * MIB);
    uint64_t before = free_pages(), chunk = 0, last, parts = 0;
    struct pmap m;
    uint8_t byte;

    assert_int_equal(pmap_init(&m, 1, 16 * MIB, 1), 0);
    assert_int_equal(pmap_fault(&m, large, 0, true), 0);
    assert_int_equal(pmap_load(&m, GPA(8 * MIB), file, sizeof(file)), 0);
    assert_int_equal(pmap_fault(&m, small, 0, true), 0);
    assert_int_equal(pmap_load(&m, shared, file, sizeof(file)), 0);
    assert_int_equal(pmap_fault(&m, shared, 0, false), 0);
    for (last = free_pages(); pmap_destroy_chunk(&m, &chunk); last = free_pages(), parts++)
        assert_true(free_pages() > last);
    assert_int_equal(parts, 3);
    assert_int_equal(kind_pages(PAGE_ORIGIN), 0);
    assert_int_equal(ept_lookup(&m.ept[0], large).level, 0);
    assert_int_equal(ept_lookup(&m.ept[0], small).level, 0);
    assert_int_equal(ept_lookup(&m.ept[0], shared).level, 0);
    assert_int_equal(pmap_read(&m, shared, &byte, 1), 0);
    assert_int_equal(byte, 0);
    pmap_destroy(&m);
    assert_int_equal(free_pages(), before);
}

/* A window's pages: of the commons, each with its number in it; the source has the first reference. */
static struct hpa sources[1024];
static unsigned fetched;

static int source_page(void *ctx, uint64_t n, struct hpa *page)
{
    fetched++;
    if (n == *(uint64_t *)ctx)
        return -EIO;
    if (!sources[n].v) {
        sources[n] = page_alloc(0, PAGE_ORDER_4K, PAGE_PRIVATE);
        memset(hpa_ptr(sources[n]), (int)(n % 251 + 1), PAGE_SIZE);
        commons_add(sources[n], COMMONS_FILES, (uint32_t)n + 1);
    }
    commons_hold(sources[n]);
    *page = sources[n];
    return 0;
}

/* A shared page that is zeroed goes without a copy, for this VM alone; any other page stays as it is. */
static void test_shared_page_is_cleared(void **state)
{
    static uint8_t file[PAGE_SIZE] = { 1 };
    const struct gpa at = GPA(PAGE_SIZE_2M), own = GPA(PAGE_SIZE_2M + PAGE_SIZE);
    uint64_t before = free_pages(), none = 99;
    const struct pmap_source source = { source_page, &none };
    struct gpa window;
    struct pmap m[2];
    uint8_t byte;

    for (unsigned v = 0; v < 2; v++) {
        assert_int_equal(pmap_init(&m[v], (uint16_t)(v + 1), 32 * MIB, 1), 0);
        assert_int_equal(pmap_add_window(&m[v], 0, 4 * MIB, source, &window), 0);
        assert_int_equal(pmap_load(&m[v], at, file, sizeof(file)), 0);
        assert_int_equal(pmap_fault(&m[v], at, 0, false), 0);
        assert_int_equal(pmap_write(&m[v], own, "own", 3), 0);
        assert_int_equal(pmap_fault(&m[v], window, 0, false), 0);
    }
    assert_true(pmap_clear_shared(&m[0], at));
    assert_int_equal(ept_lookup(&m[0].ept[0], at).level, 0);
    assert_int_equal(m[0].counts.cleared, 1);
    assert_int_equal(m[0].counts.breaks, 0);
    assert_int_equal(m[0].counts.zeros, 1);
    assert_int_equal(m[0].counts.files, 1);          /* the window's */
    assert_int_equal(pmap_read(&m[0], at, &byte, 1), 0);
    assert_int_equal(byte, 0);
    assert_int_equal(pmap_read(&m[1], at, &byte, 1), 0);
    assert_int_equal(byte, 1);
    assert_false(pmap_clear_shared(&m[0], at));
    assert_false(pmap_clear_shared(&m[0], own));
    assert_false(pmap_clear_shared(&m[0], window));  /* what it has then comes from its source */
    assert_false(pmap_clear_shared(&m[0], GPA(PMAP_HOLE)));
    assert_false(pmap_clear_shared(&m[0], GPA(20 * MIB)));
    assert_true(pmap_clear_shared(&m[1], at));
    assert_int_equal(kind_pages(PAGE_ORIGIN), 1);
    assert_int_equal(pmap_fault(&m[0], at, 0, true), 0);
    assert_int_equal(m[0].counts.zeros, 0);
    pmap_destroy(&m[0]);
    pmap_destroy(&m[1]);
    commons_drop(sources[0]);
    sources[0] = HPA_NONE;
    assert_int_equal(free_pages(), before);
}

/* Bits in any byte that the VM can write; a shared page becomes its own first. */
static void test_bits_are_set(void **state)
{
    static uint8_t file[PAGE_SIZE] = { 0x81 };
    const struct gpa at[] = { GPA(PAGE_SIZE_2M), GPA(5 * PAGE_SIZE + 8) };
    const uint8_t bits[] = { 0x81 | 0x42, 0x42 };
    struct pmap m[2];
    uint8_t byte;

    for (unsigned v = 0; v < 2; v++) {
        assert_int_equal(pmap_init(&m[v], (uint16_t)(v + 1), 32 * MIB, 1), 0);
        assert_int_equal(pmap_load(&m[v], at[0], file, sizeof(file)), 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pmap_set_bits(&m[0], at[i], 0x42), 0);
        assert_int_equal(pmap_read(&m[0], at[i], &byte, 1), 0);
        assert_int_equal(byte, bits[i]);
    }
    assert_int_equal(pmap_read(&m[1], at[0], &byte, 1), 0);
    assert_int_equal(byte, 0x81);
    assert_int_equal(pmap_set_bits(&m[0], GPA(PMAP_HOLE), 1), -EFAULT);
    pmap_destroy(&m[0]);
    pmap_destroy(&m[1]);
}

static void test_windows(void **state)
{
    uint64_t before = free_pages(), broken = 9;
    const struct pmap_source source = { source_page, &broken };
    struct gpa at[2], second;
    struct pmap m[2];
    uint8_t bytes[2];

    fetched = 0;
    for (unsigned v = 0; v < 2; v++) {
        assert_int_equal(pmap_init(&m[v], (uint16_t)(v + 1), 16 * MIB, 1), 0);
        assert_int_equal(pmap_add_window(&m[v], 0, PAGE_SIZE, source, &at[v]), -EINVAL);
        assert_int_equal(pmap_add_window(&m[v], 0, 4 * MIB, source, &at[v]), 0);
        assert_int_equal(at[v].v, PMAP_HIGH_BASE);
        assert_int_equal(pmap_memory(&m[v]), 16 * MIB);
    }
    assert_int_equal(pmap_add_window(&m[0], PAGE_SIZE, 2 * MIB, source, &second), -EINVAL);
    assert_int_equal(pmap_add_window(&m[0], 2 * MIB, 2 * MIB, source, &second), 0);
    assert_int_equal(second.v, PMAP_HIGH_BASE + PMAP_WINDOW_ALIGN);

    /* Where it is, and where nothing is. */
    assert_true(pmap_is_ram(&m[0], at[0], 4 * MIB));
    assert_false(pmap_is_ram(&m[0], at[0], 4 * MIB + 1));
    assert_false(pmap_is_ram(&m[0], GPA(at[0].v + 4 * MIB), 1));
    assert_int_equal(pmap_fault(&m[0], GPA(at[0].v + 4 * MIB), 0, false), -EFAULT);
    assert_int_equal(pmap_fault(&m[0], GPA(second.v + 4 * MIB), 0, false), -EFAULT);
    assert_int_equal(fetched, 0);

    /* Read: the source's page in both VMs, mapped read-only. By the hypervisor too, over a border. */
    assert_int_equal(pmap_fault(&m[0], GPA(at[0].v + 5 * PAGE_SIZE + 7), 0, false), 0);
    assert_int_equal(ept_lookup(&m[0].ept[0], GPA(at[0].v + 5 * PAGE_SIZE)).hpa.v, sources[5].v);
    assert_int_equal(ept_lookup(&m[0].ept[0], GPA(at[0].v + 5 * PAGE_SIZE)).prot, EPT_R | EPT_X);
    assert_int_equal(pmap_read(&m[1], GPA(at[1].v + 6 * PAGE_SIZE - 1), bytes, 2), 0);
    assert_int_equal(bytes[0] << 8 | bytes[1], 6 << 8 | 7);
    assert_int_equal(m[1].counts.files, 2);

    /* The first access is a write, the short way first; then it is the VM's own, and nobody else's. */
    assert_false(pmap_touch(&m[0], GPA(at[0].v + 7 * PAGE_SIZE), 0));
    assert_int_equal(pmap_fault(&m[0], GPA(at[0].v + 7 * PAGE_SIZE), 0, true), 0);
    assert_int_equal(pmap_write(&m[0], GPA(at[0].v + 7 * PAGE_SIZE), "x", 1), 0);
    assert_int_equal(pmap_read(&m[0], GPA(at[0].v + 7 * PAGE_SIZE), bytes, 2), 0);
    assert_int_equal(bytes[0] << 8 | bytes[1], 'x' << 8 | 8);
    assert_int_equal(pmap_zero(&m[0], GPA(at[0].v + 8 * PAGE_SIZE + 1), 1), 0);
    assert_int_equal(pmap_read(&m[0], GPA(at[0].v + 8 * PAGE_SIZE), bytes, 2), 0);
    assert_int_equal(bytes[0] << 8 | bytes[1], 9 << 8);
    assert_int_equal(pmap_read(&m[1], GPA(at[1].v + 7 * PAGE_SIZE), bytes, 1), 0);
    assert_int_equal(bytes[0], 8);

    /* The other window has memory of its own first, then the source's; a page that cannot be read is an error each time. */
    assert_int_equal(pmap_write(&m[0], GPA(second.v + 2 * MIB - 1), "l", 1), 0);
    assert_int_equal(pmap_read(&m[0], GPA(second.v + 2 * MIB - 1), bytes, 2), 0);
    assert_int_equal(bytes[0] << 8 | bytes[1], 'l' << 8 | 1);
    assert_int_equal(pmap_read(&m[0], second, bytes, 1), 0);
    assert_int_equal(bytes[0], 0);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pmap_fault(&m[0], GPA(at[0].v + 9 * PAGE_SIZE), 0, false), -EIO);
    assert_int_equal(pmap_write(&m[0], GPA(at[0].v + 9 * PAGE_SIZE - 1), "xx", 2), -EIO);
    for (unsigned v = 0; v < 2; v++)
        pmap_destroy(&m[v]);
    for (unsigned i = 0; i < ARRAY_SIZE(sources); i++)
        if (sources[i].v)
            commons_drop(sources[i]); /* the last reference, or this is a panic */
    memset(sources, 0, sizeof(sources));
    assert_int_equal(free_pages(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_zeros_cost_nothing, setup),
        cmocka_unit_test_setup(test_files_are_there_once, setup),
        cmocka_unit_test_setup(test_break_without_memory, setup),
        cmocka_unit_test_setup(test_shared_page_is_cleared, setup),
        cmocka_unit_test_setup(test_bits_are_set, setup),
        cmocka_unit_test_setup(test_ram_and_holes, setup),
        cmocka_unit_test_setup(test_high_ram_is_above_4g, setup),
        cmocka_unit_test_setup(test_sizes_are_checked, setup),
        cmocka_unit_test_setup(test_fault_maps, setup),
        cmocka_unit_test_setup(test_access_and_ept_agree, setup),
        cmocka_unit_test_setup(test_zero_touches_nothing, setup),
        cmocka_unit_test_setup(test_nothing_leaks, setup),
        cmocka_unit_test_setup(test_out_of_memory, setup),
        cmocka_unit_test_setup(test_destroyed_in_parts, setup),
        cmocka_unit_test_setup(test_windows, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
