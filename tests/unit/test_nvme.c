/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

/* The NVMe driver over a model of a controller with one namespace: queues, lists of pages, errors, time-outs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "arch/x86/world.h"
#include "lib/errno.h"
#include "tests/unit/machine.h"
#include "tests/unit/native_fake.h"

#define BDF      0x20u
#define BAR      0xfe000000u
#define BLOCKS   1024u         /* of 4096 bytes */
#define QUEUES   3u

struct sq_entry { uint32_t dword[16]; };
struct cq_entry { uint32_t result, reserved; uint16_t head, queue, id, status; };

static uint8_t media[BLOCKS * 4096];

static struct queue {
    struct sq_entry *sq;
    struct cq_entry *cq;
    unsigned size, head, tail, cq_tail;
    uint16_t phase;
} queues[QUEUES];

static struct {
    uint32_t config[64], address, cc, reg[0x40 / 4];
    int fail, hang;            /* so many commands to come */
    unsigned enables, flushes;
    bool backwards;            /* commands of the I/O queue are held, and then end in reverse */
    struct sq_entry held[64];
    unsigned helds;
} nvme;

static uint64_t word64(const uint32_t *p) { return p[0] | (uint64_t)p[1] << 32; }

static void complete(struct queue *q, uint16_t id, uint16_t status)
{
    q->cq[q->cq_tail] = (struct cq_entry){ .id = id, .status = (uint16_t)(status << 1 | q->phase) };
    q->cq_tail = (q->cq_tail + 1) % q->size;
    q->phase ^= q->cq_tail == 0;
}

static void identify(const struct sq_entry *c)
{
    uint8_t *page = (uint8_t *)word64(&c->dword[6]);

    memset(page, 0, 4096);
    if (c->dword[10] == 1) {
        page[77] = 5; /* 32 pages */
    } else if (c->dword[10] == 2) {
        page[0] = 1;
    } else {
        memcpy(page, &(uint32_t){ BLOCKS }, 4);
        page[26] = 1;
        page[128 + 4 + 2] = 12;
    }
}

static void admin(const struct sq_entry *c)
{
    unsigned number = c->dword[10] & 0xffff;
    struct queue *q = &queues[number % QUEUES];

    assert_true(number < QUEUES);
    if ((c->dword[0] & 0xff) == 6)
        identify(c);
    else if ((c->dword[0] & 0xff) == 5)
        *q = (struct queue){ .cq = (void *)word64(&c->dword[6]), .size = (c->dword[10] >> 16) + 1, .phase = 1 };
    else if ((c->dword[0] & 0xff) == 1)
        q->sq = (void *)word64(&c->dword[6]);
    complete(&queues[0], (uint16_t)(c->dword[0] >> 16), 0);
}

/* NVMe 4.3: only the first address may be within a page. */
static void move(const struct sq_entry *c, bool read)
{
    uint64_t at = word64(&c->dword[10]) * 4096, left = (c->dword[12] + 1) * 4096ull, page = word64(&c->dword[6]);
    uint64_t second = word64(&c->dword[8]), first = MIN(left, 4096 - page % 4096);
    bool listed = left - first > 4096;

    assert_true(at + left <= sizeof(media) && left <= 32 * 4096);
    for (unsigned i = 0; left; i++) {
        uint64_t n = MIN(left, 4096 - page % 4096);

        if (read)
            memcpy((void *)page, media + at, n);
        else
            memcpy(media + at, (void *)page, n);
        at += n;
        left -= n;
        page = listed ? ((const uint64_t *)second)[i] : second;
        assert_true(!left || page % 4096 == 0);
    }
}

static void run(const struct sq_entry *c)
{
    uint8_t op = (uint8_t)c->dword[0];

    if (nvme.hang) {
        nvme.hang--;
        return;
    }
    assert_int_equal(c->dword[1], 1);
    if (nvme.fail) {
        nvme.fail--;
        complete(&queues[1], (uint16_t)(c->dword[0] >> 16), 0x281);
        return;
    }
    nvme.flushes += op == 0;
    if (op)
        move(c, op == 2);
    complete(&queues[1], (uint16_t)(c->dword[0] >> 16), 0);
}

static void doorbell(unsigned n, uint32_t value)
{
    struct queue *q = &queues[n / 2];

    if (n % 2)
        return;
    for (; q->head != value; q->head = (q->head + 1) % q->size) {
        if (q == &queues[0])
            admin(&q->sq[q->head]);
        else if (nvme.backwards)
            nvme.held[nvme.helds++] = q->sq[q->head];
        else
            run(&q->sq[q->head]);
    }
}

static void enable(uint32_t value)
{
    if (value & 1 && !(nvme.cc & 1)) {
        nvme.enables++;
        queues[0] = (struct queue){ .sq = (void *)(uintptr_t)nvme.reg[0x28 / 4], .cq = (void *)(uintptr_t)nvme.reg[0x30 / 4],
                                    .size = (nvme.reg[0x24 / 4] & 0xfff) + 1, .phase = 1 };
    }
    if (!(value & 1))
        memset(queues, 0, sizeof(queues));
    nvme.cc = value;
}

static uint32_t mmio_in(uint64_t addr)
{
    switch (addr - BAR) {
    case 0x00: return 1023 | 2u << 24;
    case 0x04: return 1u << 5; /* the NVM command set; a doorbell every 4 bytes */
    case 0x14: return nvme.cc;
    case 0x1c: return (nvme.cc & 1) | (nvme.cc >> 14 & 3 ? 8 : 0);
    default: return 0;
    }
}

static void mmio_out(uint64_t addr, uint32_t value)
{
    if (addr - BAR >= 0x1000)
        doorbell((unsigned)(addr - BAR - 0x1000) / 4, value);
    else if (addr - BAR == 0x14)
        enable(value);
    else
        nvme.reg[(addr - BAR) / 4] = value;
}

static uint32_t in(uint16_t port, unsigned size)
{
    uint32_t value = (nvme.address >> 8 & 0xffff) != BDF ? UINT32_MAX : nvme.config[nvme.address >> 2 & 63];

    return size == 4 ? value : value >> 8 * (port & 3);
}

static void out(uint16_t port, uint32_t value, unsigned size)
{
    unsigned reg = nvme.address >> 2 & 63;

    if (port == 0xcf8)
        nvme.address = value;
    else if (reg == 4 && size == 4)
        nvme.config[4] = (value & 0xffffc000) | 4; /* 16 KiB, 64 bits */
    else if (reg == 5 && size == 4)
        nvme.config[5] = value;
}

static int result[64];
static unsigned ends;

static void done(struct storage_request *r, int err)
{
    (void)r;
    result[ends++] = err;
}

static uint64_t table_page(void)
{
    return page_alloc_zeroed(0, 0, PAGE_HYPERVISOR).v;
}

static int set_up(void **state)
{
    (void)state;
    no_devices();
    memset(&nvme, 0, sizeof(nvme));
    nvme.config[0] = 0x00101b36;
    nvme.config[2] = 0x01080200;
    nvme.config[4] = BAR | 4;
    fake_cpu.in = in;
    fake_cpu.out = out;
    fake_cpu.mmio_read = mmio_in;
    fake_cpu.mmio_write = mmio_out;
    for (size_t i = 0; i < sizeof(media); i++)
        media[i] = (uint8_t)(i * 7 + i / 512);
    fake_cpuid_set(0x80000000, 0, 0x80000008, 0, 0, 0);
    assert_int_equal(paging_begin(table_page), 0);
    assert_int_equal(native_attach(BDF), 0);
    assert_non_null(native_find(BDF, 1));
    assert_int_equal(native_find(BDF, 1)->sectors, BLOCKS * 8);
    assert_int_equal(native_find(BDF, 1)->block, 4096);
    assert_int_equal(disk_add(native_find(BDF, 1)), 0);
    storage = storage_open(native_find(BDF, 1), NULL, 0, false);
    ends = 0;
    return 0;
}

static void reads(void **state)
{
    static struct storage_request one, two, many;

    (void)state;
    submit(&one, STORAGE_READ, 8, 8);
    submit(&two, STORAGE_READ, 80, 16);
    submit(&many, STORAGE_READ, 800, 512); /* more than the controller takes at once */
    finish();
    assert_int_equal(ends, 3);
    assert_true(!result[0] && !result[1] && !result[2]);
    same(media, &one);
    same(media, &two);
    same(media, &many);
    for (unsigned i = 0; i < 100; i++) { /* round the queues */
        submit(&one, STORAGE_READ, i * 8, 8);
        ends = 0;
        finish();
        assert_int_equal(result[0], 0);
        same(media, &one);
    }
}

static void any_order(void **state)
{
    static struct storage_request r[20];

    (void)state;
    nvme.backwards = true;
    for (unsigned i = 0; i < 20; i++)
        submit(&r[i], STORAGE_READ, i * 16, 8);
    storage_poll();
    assert_int_equal(nvme.helds, 20);
    nvme.backwards = false;
    while (nvme.helds)
        run(&nvme.held[--nvme.helds]);
    finish();
    assert_int_equal(ends, 20);
    for (unsigned i = 0; i < 20; i++)
        same(media, &r[i]);
}

static void writes(void **state)
{
    static struct storage_request w, f;

    (void)state;
    submit(&w, STORAGE_WRITE, 160, 24);
    for (unsigned i = 0; i < 3; i++)
        memset(hpa_ptr(w.page[i]), 0x51 + (int)i, 4096);
    finish();
    submit(&f, STORAGE_FLUSH, 0, 0);
    finish();
    assert_int_equal(ends, 2);
    assert_int_equal(nvme.flushes, 1);
    same(media, &w);
}

static void errors(void **state)
{
    static struct storage_request a, b;

    (void)state;
    nvme.fail = 1;
    submit(&a, STORAGE_READ, 0, 8);
    submit(&b, STORAGE_READ, 80, 8);
    finish();
    assert_int_equal(result[0], -EIO);
    assert_int_equal(result[1], 0);
    same(media, &b);
    assert_int_equal(nvme.enables, 1);
}

static void time_out(void **state)
{
    static struct storage_request a, b;

    (void)state;
    nvme.hang = 1;
    submit(&a, STORAGE_READ, 0, 8);
    finish();
    assert_int_equal(result[0], -ETIMEDOUT);
    assert_int_equal(nvme.enables, 2);
    submit(&b, STORAGE_READ, 80, 8);
    finish();
    assert_int_equal(result[1], 0);
    same(media, &b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(reads, set_up), cmocka_unit_test_setup(any_order, set_up),
        cmocka_unit_test_setup(writes, set_up), cmocka_unit_test_setup(errors, set_up),
        cmocka_unit_test_setup(time_out, set_up),
    };

    if (!machine_memory(16 * MIB, 0))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
