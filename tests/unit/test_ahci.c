/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

/* The AHCI driver over a model of a controller with one disk: queued commands in any order, errors, time-outs. */
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

#define BDF      0xfau
#define BAR      0xfd000000u
#define PORT     (BAR + 0x100u)
#define SECTORS  8192u
#define TFES     (1u << 30)

static uint8_t media[SECTORS * 512];

static struct {
    uint32_t config[64], address;
    uint32_t clb, fb, is, cmd, tfd, sctl, sact, ci, ssts;
    int64_t bad;               /* a read of this sector fails, -1: none */
    bool hold, queue;          /* nothing is done while it holds */
    unsigned commands, queued, comresets, flushes;
} hba;

static void identify(uint16_t *word)
{
    memset(word, 0, 512);
    word[49] = 0x300;
    word[60] = SECTORS;
    word[75] = 15;
    word[76] = hba.queue ? 0x100 : 0;
    word[83] = 0x7400;
    word[100] = SECTORS;
}

static void move(const uint32_t *header, const uint8_t *table, uint64_t lba, uint32_t sectors, bool write)
{
    uint64_t at = lba * 512;

    for (unsigned i = 0; i < header[0] >> 16; i++) {
        const uint32_t *r = (const uint32_t *)(table + 0x80 + 16 * i);
        void *memory = (void *)(r[0] | (uint64_t)r[1] << 32);
        uint32_t n = (r[3] & 0x3fffff) + 1;

        assert_true(n % 2 == 0 && at + n <= sizeof(media));
        if (write)
            memcpy(media + at, memory, n);
        else
            memcpy(memory, media + at, n);
        at += n;
    }
    assert_int_equal(at, (lba + sectors) * 512);
}

/* A command of a slot; false: it fails, and the port stops there. */
static bool run(unsigned slot)
{
    const uint32_t *header = (const uint32_t *)(uintptr_t)(hba.clb + 32 * slot);
    const uint8_t *table = (const uint8_t *)(header[2] | (uint64_t)header[3] << 32), *fis = table;
    uint64_t lba = fis[4] | fis[5] << 8 | fis[6] << 16 | (uint64_t)fis[8] << 24 | (uint64_t)fis[9] << 32;
    bool queued = fis[2] == 0x60 || fis[2] == 0x61;
    uint32_t sectors = queued ? fis[3] | fis[11] << 8 : fis[12] | fis[13] << 8;

    assert_true(fis[0] == 0x27 && fis[1] == 0x80 && (header[0] & 31) == 5);
    hba.commands++;
    hba.queued += queued;
    if (fis[2] == 0xec)
        identify((uint16_t *)(uintptr_t)*(const uint32_t *)(table + 0x80));
    else if (fis[2] == 0xea)
        hba.flushes++;
    else if (hba.bad >= 0 && lba <= (uint64_t)hba.bad && (uint64_t)hba.bad < lba + sectors)
        return false;
    else
        move(header, table, lba, sectors, fis[2] == 0x61 || fis[2] == 0x35);
    assert_true(!queued || fis[12] >> 3 == slot);
    hba.ci &= ~(1u << slot);
    hba.sact &= ~(1u << slot);
    return true;
}

/* The last slot first. */
static void run_all(void)
{
    for (int slot = 31; slot >= 0 && !hba.hold && hba.cmd & 1 && !(hba.is & TFES); slot--) {
        if (!(hba.ci >> slot & 1) || run((unsigned)slot))
            continue;
        hba.is |= TFES;
        hba.tfd = 0x51;
    }
}

static void command_out(uint32_t value)
{
    if (!(value & 1))
        hba.ci = hba.sact = 0;
    if (value & 1 && !(hba.cmd & 1))
        assert_false(hba.tfd & 0x88);
    hba.cmd = (value & ~0xc000u) | (value & 1 ? 0x8000 : 0) | (value & 0x10 ? 0x4000 : 0);
}

static uint32_t mmio_in(uint64_t addr)
{
    switch (addr) {
    case BAR: return 1u << 31 | 1u << 30 | 31u << 8;
    case BAR + 0x0c: return 1;
    case PORT + 0x10: run_all(); return hba.is;
    case PORT + 0x18: return hba.cmd;
    case PORT + 0x20: return hba.tfd;
    case PORT + 0x28: return hba.ssts;
    case PORT + 0x2c: return hba.sctl;
    case PORT + 0x34: return hba.sact;
    case PORT + 0x38: run_all(); return hba.ci;
    default: return 0;
    }
}

static void mmio_out(uint64_t addr, uint32_t value)
{
    switch (addr) {
    case PORT: hba.clb = value; break;
    case PORT + 0x08: hba.fb = value; break;
    case PORT + 0x10: hba.is &= ~value; break;
    case PORT + 0x18: command_out(value); break;
    case PORT + 0x2c:
        if (value & 1)
            hba.comresets++, hba.tfd = 0x50, hba.hold = false;
        hba.sctl = value;
        break;
    case PORT + 0x34: assert_true(hba.cmd & 1); hba.sact |= value; break;
    case PORT + 0x38: assert_true(hba.cmd & 1); hba.ci |= value; break;
    }
}

static uint32_t in(uint16_t port, unsigned size)
{
    uint32_t value = (hba.address >> 8 & 0xffff) != BDF ? UINT32_MAX : hba.config[hba.address >> 2 & 63];

    return size == 4 ? value : value >> 8 * (port & 3);
}

static void out(uint16_t port, uint32_t value, unsigned size)
{
    if (port == 0xcf8)
        hba.address = value;
    else if ((hba.address >> 2 & 63) == 9 && size == 4)
        hba.config[9] = value & 0xfffff000;
}

static int result[64];
static const struct storage_request *whose[64];
static unsigned ends;

static void done(struct storage_request *r, int err)
{
    whose[ends] = r;
    result[ends++] = err;
}

static int result_of(const struct storage_request *r)
{
    for (unsigned i = 0; i < ends; i++)
        if (whose[i] == r)
            return result[i];
    return 1;
}

static uint64_t table_page(void)
{
    return page_alloc_zeroed(0, 0, PAGE_HYPERVISOR).v;
}

static int begin(bool queue)
{
    no_devices();
    memset(&hba, 0, sizeof(hba));
    hba.config[0] = 0x29228086;
    hba.config[2] = 0x01060100;
    hba.config[9] = BAR;
    hba.ssts = 0x123;
    hba.tfd = 0x50;
    hba.bad = -1;
    hba.queue = queue;
    fake_cpu.in = in;
    fake_cpu.out = out;
    fake_cpu.mmio_read = mmio_in;
    fake_cpu.mmio_write = mmio_out;
    for (size_t i = 0; i < sizeof(media); i++)
        media[i] = (uint8_t)(i * 7 + i / 512);
    fake_cpuid_set(0x80000000, 0, 0x80000008, 0, 0, 0);
    assert_int_equal(paging_begin(table_page), 0);
    assert_int_equal(native_attach(BDF), 0);
    assert_non_null(native_find(BDF, 0));
    assert_int_equal(native_find(BDF, 0)->sectors, SECTORS);
    assert_int_equal(native_find(BDF, 0)->depth, queue ? 16 : 1);
    assert_int_equal(disk_add(native_find(BDF, 0)), 0);
    storage = storage_open(native_find(BDF, 0), NULL, 0, false);
    ends = 0;
    return 0;
}

static int with_queue(void **state) { (void)state; return begin(true); }
static int without_queue(void **state) { (void)state; return begin(false); }

static void came(const struct storage_request *r)
{
    assert_int_equal(result_of(r), 0);
    same(media, r);
}

static void reads_and_writes(void **state)
{
    static struct storage_request r[20], w, f;

    (void)state;
    hba.hold = true;
    for (unsigned i = 0; i < 20; i++)
        submit(&r[i], STORAGE_READ, i * 160 + 3, i == 7 ? 512 : 16);
    storage_poll();
    assert_int_equal(__builtin_popcount(hba.ci), native_find(BDF, 0)->depth);
    hba.hold = false;
    finish();
    for (unsigned i = 0; i < 20; i++)
        came(&r[i]);
    submit(&w, STORAGE_WRITE, 800, 24);
    memset(hpa_ptr(w.page[1]), 0x51, 4096);
    submit(&f, STORAGE_FLUSH, 0, 0);
    finish();
    came(&w);
    assert_int_equal(result_of(&f), 0);
    assert_int_equal(hba.flushes, 1);
    assert_int_equal(hba.queued, hba.queue ? 21 : 0);
    assert_int_equal(hba.comresets, 0);
}

/* One of several commands fails, and nobody knows which: the error is its own, the others' data is right. */
static void error_of_one(void **state)
{
    static struct storage_request r[6];

    (void)state;
    hba.bad = 3 * 160 + 2;
    hba.hold = true;
    for (unsigned i = 0; i < 6; i++)
        submit(&r[i], STORAGE_READ, i * 160, 8);
    storage_poll();
    hba.hold = false;
    finish();
    assert_int_equal(ends, 6);
    for (unsigned i = 0; i < 6; i++) {
        if (i == 3)
            assert_int_equal(result_of(&r[i]), -EIO);
        else
            came(&r[i]);
    }
    hba.bad = -1;
    ends = 0;
    submit(&r[0], STORAGE_READ, 480, 8);
    finish();
    came(&r[0]);
}

static void time_out(void **state)
{
    static struct storage_request a, b;

    (void)state;
    hba.hold = true;
    submit(&a, STORAGE_READ, 0, 8);
    finish();
    assert_int_equal(result_of(&a), -ETIMEDOUT);
    assert_int_equal(hba.comresets, 1);
    submit(&b, STORAGE_READ, 80, 8);
    finish();
    came(&b);
}

/* The link does not come back: the disk is given up, and everything gets an error. */
static void dead(void **state)
{
    static struct storage_request a, b;

    (void)state;
    hba.hold = true;
    submit(&a, STORAGE_READ, 0, 8);
    storage_poll();
    hba.ssts = 0;
    finish();
    assert_true(result_of(&a) < 0);
    submit(&b, STORAGE_READ, 80, 8);
    finish();
    assert_int_equal(result_of(&b), -EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(reads_and_writes, with_queue), cmocka_unit_test_setup(reads_and_writes, without_queue),
        cmocka_unit_test_setup(error_of_one, with_queue), cmocka_unit_test_setup(error_of_one, without_queue),
        cmocka_unit_test_setup(time_out, with_queue), cmocka_unit_test_setup(dead, with_queue),
    };

    if (!machine_memory(16 * MIB, 0))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
