/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <stdlib.h>

#include "include/mirrorball/blk.h"
#include "lib/errno.h"
#include "tests/unit/machine.h"
#include "tests/unit/random.h"
#include "tests/unit/seam/fake_percpu.h"
#include "vdev/blk.h"

/* Two VMs with one image, 64 blocks and a half, each with a disk over it and two queues. */
#define BLOCKS   64u
#define SECTORS  (BLOCKS * 8 + 4)
#define ENTRIES  8u
#define RING     0x10000ul
#define TABLE    0x20000ul
#define BUFFER   0x200000ul
#define MEMORY   (8 * MIB)

static uint8_t file[SECTORS * 512];
static uint8_t buffer[MIB];
static struct pmap pmap[2];
static struct blk blk[2];
static struct image *image;
static uint32_t submitted[2];

static int setup(void **state)
{
    static uint64_t base;

    fake_percpu_enter(0);
    if (!base)
        base = machine_memory(96 * MIB, 0);
    for (size_t i = 0; i < sizeof(file); i++)
        file[i] = (uint8_t)(i / 512 * 7 + i);
    image = image_in_memory(file, sizeof(file) + 100); /* what is no whole sector is not there */
    for (unsigned i = 0; i < 2; i++) {
        if (pmap_init(&pmap[i], (uint16_t)(i + 1), MEMORY, 1))
            return -1;
        blk_init(&blk[i], &pmap[i], 2, "test");
        assert_int_equal(image_claim(image, false), 0);
        blk_add(&blk[i], image, "root.img-and-far-too-long")->share = true;
        submitted[i] = 0;
        if (blk_set_ring(&blk[i], 0, 1, GPA(RING), ENTRIES))
            return -1;
    }
    return base ? 0 : -1;
}

static int teardown(void **state)
{
    for (unsigned i = 0; i < 2; i++) {
        blk_destroy(&blk[i]);
        pmap_destroy(&pmap[i]);
    }
    return 0;
}

static void put(unsigned vm, uint64_t gpa, const void *from, size_t n)
{
    assert_int_equal(pmap_write(&pmap[vm], GPA(gpa), from, n), 0);
}

static void get(unsigned vm, uint64_t gpa, void *to, size_t n)
{
    assert_int_equal(pmap_read(&pmap[vm], GPA(gpa), to, n), 0);
}

static void submit(unsigned vm, const struct mb_blk_request *r)
{
    uint32_t n = submitted[vm]++;

    put(vm, RING + 64 + n % ENTRIES * 32, r, sizeof(*r));
    put(vm, RING, &submitted[vm], 4);
}

static int64_t run(unsigned vm) { return blk_run(&blk[vm], 0, 1, 0); }

static struct mb_blk_result result(unsigned vm, uint32_t n)
{
    struct mb_blk_result r;

    get(vm, RING + 64 + ENTRIES * 32 + n % ENTRIES * 8, &r, sizeof(r));
    return r;
}

/* One request with what segments are in the table; its status. */
static int request(unsigned vm, struct mb_blk_request r)
{
    uint32_t completed;

    r.tag = 1000 + submitted[vm];
    submit(vm, &r);
    assert_int_equal(run(vm), 1);
    get(vm, RING + 4, &completed, 4);
    assert_int_equal(completed, submitted[vm]);
    assert_int_equal(result(vm, completed - 1).tag, r.tag);
    return result(vm, completed - 1).status;
}

static int move(unsigned vm, enum mb_blk_op op, uint64_t sector, uint64_t sectors, uint64_t gpa)
{
    struct mb_blk_segment s = { .gpa = gpa, .bytes = (uint32_t)sectors * 512 };

    put(vm, TABLE, &s, sizeof(s));
    return request(vm, (struct mb_blk_request){ .op = (uint8_t)op, .segments = 1, .sector = sector, .sectors = sectors,
                                                .table = TABLE });
}

static int mark(unsigned vm, enum mb_blk_op op, uint64_t sector, uint64_t sectors)
{
    return request(vm, (struct mb_blk_request){ .op = (uint8_t)op, .sector = sector, .sectors = sectors });
}

static uint64_t private_pages(void)
{
    struct page_counts c;

    page_count(NUMA_MAX_NODES, &c);
    return c.by_kind[PAGE_PRIVATE];
}

static void test_identify(void **state)
{
    struct mb_blk_identity id;

    assert_int_equal(move(0, MB_BLK_IDENTIFY, 0, 1, BUFFER), 0);
    get(0, BUFFER, &id, sizeof(id));
    assert_int_equal(id.sectors, SECTORS);
    assert_int_equal(id.flags, 0);
    assert_int_equal(id.block, 4096);
    assert_int_equal(id.queues, 2);
    assert_memory_equal(id.serial, "root.img-and-far-too", 20);
    assert_int_equal(move(0, MB_BLK_IDENTIFY, 1, 1, BUFFER), -EINVAL);
    assert_int_equal(move(0, MB_BLK_IDENTIFY, 0, 2, BUFFER), -EINVAL);
}

/* Whole aligned pages are the image's own, one for both VMs; the writer gets a copy. */
static void test_reads_share(void **state)
{
    uint64_t before = image->pages, private;
    struct ept_mapping a, b;
    uint8_t byte = 0x55;

    put(0, BUFFER, &byte, 1);
    private = private_pages();
    for (unsigned vm = 0; vm < 2; vm++) {
        assert_int_equal(move(vm, MB_BLK_READ, 0, 16 * 8, BUFFER), 0);
        get(vm, BUFFER, buffer, 16 * 4096);
        assert_memory_equal(buffer, file, 16 * 4096);
    }
    assert_int_equal(image->pages, MAX(before, 16u));
    assert_true(private_pages() <= private + 8); /* the ring and the table of the second */
    a = ept_lookup(&pmap[0].ept[0], GPA(BUFFER + 4096));
    b = ept_lookup(&pmap[1].ept[0], GPA(BUFFER + 4096));
    assert_int_equal(a.hpa.v, b.hpa.v);
    assert_int_equal(a.prot, EPT_R | EPT_X);
    assert_int_equal(pmap[1].counts.files, 16);
    put(0, BUFFER + 4096, &byte, 1);
    get(1, BUFFER, buffer, 16 * 4096);
    assert_memory_equal(buffer, file, 16 * 4096);
    assert_int_equal(pmap[0].counts.files, 15);
    assert_int_equal(move(0, MB_BLK_READ, 8, 8, BUFFER + 4096), 0);
    get(0, BUFFER + 4096, buffer, 4096);
    assert_memory_equal(buffer, file + 4096, 4096);
}

/* What the page was before: nobody can reach it any more, and it is given back. */
static void test_what_was_there(void **state)
{
    uint64_t generation, before;

    assert_int_equal(move(0, MB_BLK_READ, 0, 1, BUFFER + MIB), 0);
    assert_int_equal(pmap_fault(&pmap[0], GPA(BUFFER), 0, true), 0);
    assert_int_equal(move(0, MB_BLK_READ, 0, 8, BUFFER), 0);      /* the large page is split */
    before = free_pages();
    generation = pmap[0].ept[0].generation;
    assert_int_equal(pmap_fault(&pmap[0], GPA(BUFFER + 4096), 0, true), 0);
    assert_int_equal(move(0, MB_BLK_READ, 0, 8, BUFFER + 4096), 0);
    assert_true(pmap[0].ept[0].generation > generation);
    assert_int_equal(free_pages(), before + 1);
    assert_int_equal(move(0, MB_BLK_READ, 0, 8, BUFFER + 4096), 0);
    assert_int_equal(free_pages(), before + 1);
    assert_int_equal(pmap[0].counts.files, 2);
}

static void test_no_sharing(void **state)
{
    blk[0].disk[0].share = false;
    assert_int_equal(move(0, MB_BLK_READ, 0, 8, BUFFER), 0);
    assert_int_equal(pmap[0].counts.files, 0);
    get(0, BUFFER, buffer, 4096);
    assert_memory_equal(buffer, file, 4096);
}

/* A model: what each VM wrote it reads, at any alignment; the other and the image stay as they were. */
static void test_layers(void **state)
{
    static uint8_t model[2][SECTORS * 512], whole[SECTORS * 512];

    memcpy(model[0], file, sizeof(file));
    memcpy(model[1], file, sizeof(file));
    memcpy(whole, file, sizeof(file));
    for (unsigned i = 0; i < 4000; i++) {
        unsigned vm = (unsigned)fake_below(2), n = 1 + (unsigned)fake_below(40);
        uint64_t sector = fake_below(SECTORS - n + 1), gpa = BUFFER + fake_below(64) * 512;
        uint8_t *m = model[vm] + sector * 512;

        switch (fake_below(4)) {
        case 0:
            memset(buffer, (int)i, n * 512);
            put(vm, gpa, buffer, n * 512);
            assert_int_equal(move(vm, MB_BLK_WRITE, sector, n, gpa), 0);
            memset(m, (int)i, n * 512);
            break;
        case 1:
            assert_int_equal(mark(vm, MB_BLK_WRITE_ZEROES, sector, n), 0);
            memset(m, 0, n * 512);
            break;
        default:
            assert_int_equal(move(vm, MB_BLK_READ, sector, n, gpa), 0);
            get(vm, gpa, buffer, n * 512);
            assert_memory_equal(buffer, m, n * 512);
        }
    }
    assert_int_equal(mark(0, MB_BLK_FLUSH, 0, 0), 0);
    assert_memory_equal(file, whole, sizeof(file));
    assert_true(blk[0].disk[0].layer.pages > 0);
}

/* Segments of a request, each somewhere else, most of them some pages; how many. */
static unsigned scatter(uint64_t bytes, struct mb_blk_segment *s)
{
    unsigned n = 0;

    for (uint64_t done = 0; done < bytes; done += s[n++].bytes) {
        bool page = done % 4096 == 0 && fake_below(8);

        s[n].gpa = BUFFER + n * 16384 + (fake_below(8) ? 0 : 512);
        s[n].bytes = (uint32_t)MIN(bytes - done, page ? 4096u * (1 + fake_below(3)) : 512 * (1 + fake_below(9)));
        s[n].zero = 0;
    }
    return n;
}

/* What is found in the cache at once goes to many places, with blocks of its own in between; some places are not RAM. */
static void test_scattered(void **state)
{
    static struct mb_blk_segment s[MB_BLK_MAX_SEGMENTS];
    static uint8_t model[SECTORS * 512];

    memcpy(model, file, sizeof(file));
    for (unsigned i = 0; i < 300; i++) {
        uint64_t sectors = 1 + fake_below(SECTORS - 32), first = fake_below(SECTORS - sectors + 1), at = first * 512;
        struct mb_blk_request r = { .op = MB_BLK_READ, .sector = first, .sectors = sectors, .table = TABLE };
        unsigned n = scatter(sectors * 512, s), bad = fake_below(4) ? n : (unsigned)fake_below(n);

        if (bad < n)
            s[bad].gpa |= BIT(40);
        r.segments = (uint16_t)n;
        put(0, TABLE, s, n * sizeof(*s));
        assert_int_equal(request(0, r), bad < n ? -EFAULT : 0);
        for (unsigned k = 0; k < bad; at += s[k++].bytes) {
            get(0, s[k].gpa, buffer, s[k].bytes);
            assert_memory_equal(buffer, model + at, s[k].bytes);
        }
        memset(buffer, (int)i, 4096);
        put(0, BUFFER + 4096, buffer, 4096);
        first = fake_below(SECTORS / 8) * 8;
        if (!fake_below(8))
            assert_int_equal(move(0, MB_BLK_WRITE, first, 4, BUFFER + 4096), 0);
        if (!fake_below(8))
            assert_int_equal(mark(0, MB_BLK_WRITE_ZEROES, first, 4), 0);
        assert_int_equal(move(0, MB_BLK_READ, first, 4, BUFFER + 8192), 0);
        get(0, BUFFER + 8192, model + first * 512, 2048);
    }
    pmap_destroy(&pmap[0]);
    assert_int_equal(pmap_init(&pmap[0], 1, MEMORY, 1), 0);
    for (uint64_t b = 0; b < BLOCKS; b++) {
        struct hpa page;

        assert_int_equal(image_page(image, b, 1, false, &page), 0);
        assert_int_equal(page_of(page)->refs, 2); /* the cache's and ours: none was left behind */
        commons_drop(page);
    }
}

/* Each segment is looked at, also if its block was found together with others. */
static void test_bad_segment_among_good(void **state)
{
    struct mb_blk_request r = { .op = MB_BLK_READ, .segments = 8, .sectors = 64, .table = TABLE };
    struct mb_blk_segment s[8];

    for (unsigned i = 0; i < 8; i++)
        s[i] = (struct mb_blk_segment){ .gpa = BUFFER + (8 - i) * PAGE_SIZE, .bytes = PAGE_SIZE };
    put(0, TABLE, s, sizeof(s));
    assert_int_equal(request(0, r), 0);
    s[4].zero = 1;
    put(0, TABLE, s, sizeof(s));
    assert_int_equal(request(0, r), -EINVAL);
    s[4] = (struct mb_blk_segment){ .gpa = BUFFER + 1, .bytes = PAGE_SIZE };
    put(0, TABLE, s, sizeof(s));
    assert_int_equal(request(0, r), -EINVAL);
    s[4] = (struct mb_blk_segment){ .gpa = BUFFER };
    s[5].bytes = 2 * PAGE_SIZE;
    put(0, TABLE, s, sizeof(s));
    assert_int_equal(request(0, r), -EINVAL);
    s[5].bytes = PAGE_SIZE;
    s[4] = (struct mb_blk_segment){ .gpa = BUFFER, .bytes = 0xfffff000 };
    put(0, TABLE, s, sizeof(s));
    assert_int_equal(request(0, r), -EINVAL);
    s[4] = (struct mb_blk_segment){ .gpa = pmap_memory(&pmap[0]), .bytes = PAGE_SIZE };
    put(0, TABLE, s, sizeof(s));
    assert_int_equal(request(0, r), -EFAULT);
}

/* A block in parts, the first of which begins a page: nothing beside them changes. */
static void test_parts_of_a_block(void **state)
{
    struct mb_blk_request r = { .op = MB_BLK_READ, .segments = 8, .sector = 8, .sectors = 8, .table = TABLE };
    struct mb_blk_segment s[8];

    (void)state;
    memset(buffer, 0xaa, 4096);
    for (uint64_t i = 0; i < 8; i++) {
        s[i] = (struct mb_blk_segment){ .gpa = BUFFER + i * 4096, .bytes = 512 };
        put(0, s[i].gpa, buffer, 4096);
    }
    put(0, TABLE, s, sizeof(s));
    assert_int_equal(request(0, r), 0);
    for (uint64_t i = 0; i < 8; i++) {
        get(0, s[i].gpa, buffer, 4096);
        assert_memory_equal(buffer, file + 4096 + i * 512, 512);
        for (unsigned b = 512; b < 4096; b++)
            assert_int_equal(buffer[b], 0xaa);
    }
}

static void test_discard(void **state)
{
    static const uint8_t zeros[4096];
    uint64_t before;

    assert_int_equal(move(0, MB_BLK_WRITE, 8, 24, BUFFER), 0);
    assert_int_equal(blk[0].disk[0].layer.pages, 3);
    before = free_pages();
    assert_int_equal(mark(0, MB_BLK_DISCARD, 12, 20), 0);  /* half a block, then two whole ones */
    assert_int_equal(blk[0].disk[0].layer.pages, 1);
    assert_int_equal(free_pages(), before + 2);
    assert_int_equal(move(0, MB_BLK_READ, 16, 8, BUFFER), 0);
    get(0, BUFFER, buffer, 4096);
    assert_memory_equal(buffer, zeros, 4096);
}

static void test_counts(void **state)
{
    struct blk_disk *d = &blk[0].disk[0];
    struct blk_counts c;

    assert_int_equal(move(0, MB_BLK_READ, 0, 16, BUFFER), 0);         /* two whole blocks */
    assert_int_equal(move(0, MB_BLK_READ, 1, 2, BUFFER), 0);          /* a part */
    assert_int_equal(move(0, MB_BLK_WRITE, 8, 8, BUFFER), 0);
    assert_int_equal(move(0, MB_BLK_READ, 8, 8, BUFFER), 0);          /* its own: copied */
    assert_int_equal(move(0, MB_BLK_READ, SECTORS, 1, BUFFER), -EINVAL);
    assert_int_equal(mark(0, MB_BLK_FLUSH, 0, 0), 0);
    blk_count(d, &c);
    assert_int_equal(c.requests, 6);
    assert_int_equal(c.errors, 1);
    assert_int_equal(c.read, 26);
    assert_int_equal(c.written, 8);
    assert_int_equal(d->layer.placed, 2);
    assert_int_equal(d->layer.copied, 2);
    assert_int_equal(d->layer.pages, 1);
    blk_count(&blk[1].disk[0], &c);
    assert_int_equal(c.requests, 0);
}

/* Up to the one that cannot be placed; no reference is left behind. */
static void test_place_stops(void **state)
{
    struct gpa to[] = { GPA(BUFFER), GPA(BUFFER + PAGE_SIZE), GPA(BUFFER + 1), GPA(BUFFER) };
    struct pmap_placed p[ARRAY_SIZE(to)];
    struct hpa page;

    assert_int_equal(image_page(image, 1, 1, false, &page), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++) {
        p[i] = (struct pmap_placed){ to[i], page };
        commons_hold(page);
    }
    assert_int_equal(page_of(page)->refs, 6);
    assert_int_equal(pmap_place_pages(&pmap[0], p, ARRAY_SIZE(p), 0), 2);
    assert_int_equal(pmap_place_pages(&pmap[0], p + 3, 1, 0), 1);     /* in its own place */
    assert_int_equal(page_of(page)->refs, 5);
    commons_drop(page);
    commons_drop(page);
    assert_int_equal(page_of(page)->refs, 3);                         /* the cache's, and the two places' */
    assert_int_not_equal(0, pmap_place(&pmap[0], GPA(pmap_memory(&pmap[0])), page, 0));
}

/* In any chunks, in any order, many at once. */
static void test_place_in_chunks(void **state)
{
    struct pmap_placed p[8];

    for (unsigned i = 0; i < ARRAY_SIZE(p); i++) {
        p[i].gpa = GPA(BUFFER + i % 3 * PAGE_SIZE_2M + i * PAGE_SIZE);
        assert_int_equal(image_page(image, i, 1, false, &p[i].page), 0);
    }
    assert_int_equal(pmap_place_pages(&pmap[0], p, ARRAY_SIZE(p), 0), ARRAY_SIZE(p));
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++) {
        get(0, p[i].gpa.v, buffer, PAGE_SIZE);
        assert_memory_equal(buffer, file + i * PAGE_SIZE, PAGE_SIZE);
        assert_int_equal(ept_lookup(&pmap[0].ept[0], p[i].gpa).hpa.v, p[i].page.v);
    }
}

/* A block over a page that was found to be equal to others: each kind is counted as what it is. */
static void test_place_over_content(void **state)
{
    struct hpa page = page_alloc(0, PAGE_ORDER_4K, PAGE_PRIVATE), origin;

    memset(hpa_ptr(page), 0x5a, PAGE_SIZE);
    commons_add(page, COMMONS_DOMAIN, 77);
    assert_int_equal(pmap_place(&pmap[0], GPA(BUFFER), page, 0), 0);
    assert_int_equal(pmap[0].counts.content, 1);
    assert_int_equal(pmap[0].counts.files, 0);
    for (unsigned i = 0; i < 2; i++) { /* then over its like */
        assert_int_equal(image_page(image, i, 1, false, &origin), 0);
        assert_int_equal(pmap_place(&pmap[0], GPA(BUFFER), origin, 0), 0);
        assert_int_equal(pmap[0].counts.content, 0);
        assert_int_equal(pmap[0].counts.files, 1);
    }
}

static void test_readonly(void **state)
{
    struct mb_blk_identity id;

    blk[0].disk[0].readonly = true;
    assert_int_equal(move(0, MB_BLK_WRITE, 0, 1, BUFFER), -EROFS);
    assert_int_equal(mark(0, MB_BLK_DISCARD, 0, 8), -EROFS);
    assert_int_equal(mark(0, MB_BLK_WRITE_ZEROES, 0, 8), -EROFS);
    assert_int_equal(move(0, MB_BLK_READ, 0, 1, BUFFER), 0);
    assert_int_equal(move(0, MB_BLK_IDENTIFY, 0, 1, BUFFER), 0);
    get(0, BUFFER, &id, sizeof(id));
    assert_int_equal(id.flags, MB_BLK_READONLY);
}

static void test_bad_requests(void **state)
{
    static const struct { uint64_t sector, sectors; } ranges[] = {
        { SECTORS, 1 }, { SECTORS - 1, 2 }, { 0, 0 }, { 0, MB_BLK_MAX_SECTORS + 1 }, { UINT64_MAX, 1 },
        { UINT64_MAX, 2 }, { 1, UINT64_MAX }, { BIT(55), 1 }, { 0, BIT(55) + 1 },
    };
    struct mb_blk_request r = { .op = MB_BLK_READ, .segments = 1, .sectors = 1, .table = TABLE };
    struct mb_blk_segment s = { .gpa = BUFFER, .bytes = 512 };

    for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
        for (unsigned op = MB_BLK_READ; op <= MB_BLK_WRITE_ZEROES; op++) {
            r = (struct mb_blk_request){ .op = (uint8_t)op, .segments = op <= MB_BLK_WRITE, .sector = ranges[i].sector,
                                         .sectors = ranges[i].sectors, .table = TABLE };
            put(0, TABLE, &s, sizeof(s));
            if (op != MB_BLK_FLUSH || r.sector || r.sectors)
                assert_int_equal(request(0, r), -EINVAL);
        }
    }
    r = (struct mb_blk_request){ .op = MB_BLK_READ, .segments = 1, .sectors = 1, .table = TABLE };
#define BAD(error, member, value) do { \
        struct mb_blk_request bad = r; \
        bad.member = value; \
        assert_int_equal(request(0, bad), -(error)); \
    } while (0)
    BAD(EINVAL, op, 6);
    BAD(EINVAL, op, 255);
    BAD(EINVAL, zero, 1);
    BAD(EINVAL, segments, 0);
    BAD(EINVAL, segments, MB_BLK_MAX_SEGMENTS + 1);
    BAD(EINVAL, table, TABLE + 8);
    BAD(EFAULT, table, MEMORY);
    BAD(EFAULT, table, 0xfffffffffffffff0);
    BAD(EINVAL, sectors, 2);              /* more than the segments have */
#define BAD_SEGMENT(error, member, value) do { \
        struct mb_blk_segment bad = s; \
        bad.member = value; \
        put(0, TABLE, &bad, sizeof(bad)); \
        assert_int_equal(request(0, r), -(error)); \
    } while (0)
    BAD_SEGMENT(EINVAL, bytes, 0);
    BAD_SEGMENT(EINVAL, bytes, 100);
    BAD_SEGMENT(EINVAL, bytes, 1024);     /* more than the request */
    BAD_SEGMENT(EINVAL, zero, 1);
    BAD_SEGMENT(EINVAL, gpa, BUFFER + 8);
    BAD_SEGMENT(EFAULT, gpa, MEMORY);
    BAD_SEGMENT(EFAULT, gpa, PMAP_HOLE);
    BAD_SEGMENT(EFAULT, gpa, PMAP_HIGH_BASE);
    BAD_SEGMENT(EFAULT, gpa, 0xfffffffffffffe00);
    put(0, TABLE, &s, sizeof(s));
    assert_int_equal(request(0, r), 0);   /* and the disk goes on */
    s.bytes = 1024;                       /* not a byte from behind the end */
    memset(buffer, 0xee, 1024);
    put(0, BUFFER, buffer, 1024);
    r.sector = SECTORS - 1;
    put(0, TABLE, &s, sizeof(s));
    assert_int_equal(request(0, r), -EINVAL);
    get(0, BUFFER, buffer, 1024);
    assert_int_equal(buffer[0], 0xee);
    assert_int_equal(buffer[512], 0xee);
}

static void test_batch(void **state)
{
    struct mb_blk_segment s[MB_BLK_MAX_SEGMENTS];
    struct mb_blk_request r = { .op = MB_BLK_READ, .segments = 40, .sectors = 40, .table = TABLE };

    for (unsigned i = 0; i < 40; i++)
        s[i] = (struct mb_blk_segment){ .gpa = BUFFER + (39 - i) * 512, .bytes = 512 };
    put(0, TABLE, s, sizeof(s));
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < ENTRIES; i++) {
            r.tag = i;
            submit(0, &r);
        }
        assert_int_equal(run(0), ENTRIES);
        assert_int_equal(run(0), 0);
        for (unsigned i = 0; i < ENTRIES; i++)
            assert_int_equal(result(0, i).tag, i);
    }
    get(0, BUFFER, buffer, 512);
    assert_memory_equal(buffer, file + 39 * 512, 512);
}

/* One call does not keep the processor for ever: discards are cheap, a mebibyte moved is enough. */
static void test_bounded(void **state)
{
    struct mb_blk_segment s = { .gpa = BUFFER, .bytes = BLOCKS * 4096 };
    struct mb_blk_request r = { .op = MB_BLK_READ, .segments = 1, .sectors = BLOCKS * 8, .table = TABLE };

    put(0, TABLE, &s, sizeof(s));
    for (unsigned i = 0; i < ENTRIES; i++)
        submit(0, &r);
    assert_int_equal(run(0), 4);
    assert_int_equal(run(0), 4);
    assert_int_equal(run(0), 0);
}

static void test_rings(void **state)
{
    static const uint64_t entries[] = { 1, 3, 6, MB_BLK_MAX_ENTRIES * 2, BIT(32), BIT(63), UINT64_MAX };

    for (size_t i = 0; i < ARRAY_SIZE(entries); i++)
        assert_int_equal(blk_set_ring(&blk[0], 0, 0, GPA(RING), entries[i]), -EINVAL);
    assert_int_equal(blk_set_ring(&blk[0], 0, 0, GPA(RING + 8), 8), -EINVAL);
    assert_int_equal(blk_set_ring(&blk[0], 0, 0, GPA(MEMORY - 4096), 256), -EFAULT);
    assert_int_equal(blk_set_ring(&blk[0], 0, 0, GPA(PMAP_HOLE - 4096), 128), -EFAULT);
    assert_int_equal(blk_set_ring(&blk[0], 0, 0, GPA(0xfffffffffffff000), 256), -EFAULT);
    assert_int_equal(blk_set_ring(&blk[0], 1, 0, GPA(RING), 8), -ENODEV);
    assert_int_equal(blk_set_ring(&blk[0], UINT64_MAX, 0, GPA(RING), 8), -ENODEV);
    assert_int_equal(blk_set_ring(&blk[0], 0, 2, GPA(RING), 8), -ENODEV);
    assert_int_equal(blk_set_ring(&blk[0], 0, BIT(32), GPA(RING), 8), -ENODEV);
    assert_int_equal(blk_run(&blk[0], 0, 0, 0), -ENXIO);
    assert_int_equal(blk_run(&blk[0], 0, 2, 0), -ENODEV);
    assert_int_equal(blk_run(&blk[0], 4, 0, 0), -ENODEV);
    assert_int_equal(blk_set_ring(&blk[0], 0, 1, GPA(0), 0), 0);
    assert_int_equal(run(0), -ENXIO);
}

/* A ring that makes no sense stops this disk, and nothing else. */
static void test_broken_ring(void **state)
{
    uint32_t lie = ENTRIES + 1;

    put(0, RING, &lie, 4);
    assert_int_equal(run(0), -EPROTO);
    lie = 0;
    put(0, RING, &lie, 4);
    assert_int_equal(run(0), -EPROTO);
    assert_int_equal(blk_set_ring(&blk[0], 0, 0, GPA(RING), 8), -EPROTO);
    assert_int_equal(move(1, MB_BLK_READ, 0, 8, BUFFER), 0);
}

/* A disk that reads onto its own ring and table hurts the guest alone. */
static void test_data_over_ring(void **state)
{
    struct mb_blk_segment s = { .gpa = RING, .bytes = 4096 };
    struct mb_blk_request r = { .op = MB_BLK_READ, .segments = 1, .sectors = 8, .table = TABLE };

    put(0, TABLE, &s, sizeof(s));
    submit(0, &r);
    submit(0, &r);
    assert_int_equal(run(0), 2);
    assert_int_equal(move(1, MB_BLK_READ, 0, 8, BUFFER), 0);
    get(1, BUFFER, buffer, 4096);
    assert_memory_equal(buffer, file, 4096);
}

/* Without memory a request fails, and nothing is lost but that. */
static void test_all_memory_comes_back(void **state)
{
    uint64_t before;

    teardown(NULL);
    before = free_pages();
    setup(NULL);
    for (unsigned i = 0; i < BLOCKS; i += 8) {
        assert_int_equal(move(0, MB_BLK_READ, i * 8, 64, BUFFER), 0);
        assert_int_equal(move(0, MB_BLK_WRITE, i * 8, 64, BUFFER), 0);
    }
    assert_int_equal(blk[0].disk[0].layer.pages, BLOCKS);
    teardown(NULL);
    assert_true(free_pages() >= before - BLOCKS - 1); /* what the cache keeps */
    before = free_pages();
    setup(NULL);
    assert_int_equal(move(0, MB_BLK_READ, 0, 64, BUFFER), 0);
    assert_int_equal(move(0, MB_BLK_WRITE, 0, 64, BUFFER), 0);
    teardown(NULL);
    assert_int_equal(free_pages(), before);
    setup(NULL);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_identify), T(test_reads_share), T(test_what_was_there), T(test_no_sharing), T(test_layers),
        T(test_scattered), T(test_bad_segment_among_good), T(test_parts_of_a_block), T(test_discard),
        T(test_counts), T(test_place_stops), T(test_place_in_chunks), T(test_place_over_content),
        T(test_readonly), T(test_bad_requests), T(test_batch), T(test_bounded), T(test_rings), T(test_broken_ring), T(test_data_over_ring),
        T(test_all_memory_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
