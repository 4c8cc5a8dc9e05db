/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

/* The ATA driver over a model of a PIIX with one disk of 48-bit addresses: its ports, its bus master, its errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/console.h"
#include "core/sched.h"
#include "core/selftest.h"
#include "lib/errno.h"
#include "tests/unit/machine.h"
#include "tests/unit/native_fake.h"

#define BDF      0x09u
#define MASTER   0xc000u
#define SECTORS  4096u

static uint8_t media[SECTORS * 512];

static struct {
    uint32_t config[64], address;
    uint8_t device, command, status, control, master_command, master_status;
    uint16_t count, low, mid, high; /* two bytes each: the register's last two values */
    uint32_t table;
    unsigned identify;         /* words that have been read */
    bool fail, hang, master_error;
    unsigned commands, flushes, resets;
    bool writable;
} piix;

static uint16_t identity(unsigned word)
{
    switch (word) {
    case 49: return 0x300;
    case 53: return 4;
    case 60: return SECTORS;
    case 83: return 0x7400;
    case 88: return 0x203f;
    case 100: return SECTORS;
    default: return 0;
    }
}

static uint32_t pci_in(void)
{
    unsigned bdf = piix.address >> 8 & 0xffff, reg = piix.address >> 2 & 63;

    return bdf != BDF ? UINT32_MAX : piix.config[reg];
}

static void pci_out(uint16_t port, uint32_t value, unsigned size)
{
    unsigned reg = piix.address >> 2 & 63;

    if ((piix.address >> 8 & 0xffff) != BDF)
        return;
    if (reg == 8 && size == 4)
        piix.config[8] = (value & 0xfff0) | 1; /* BAR 4: 16 ports */
    else if (reg == 1 && size == 2 && port == 0xcfc)
        piix.config[1] = (piix.config[1] & 0xffff0000) | value;
}

/* The whole transfer at once, through the table. */
static bool run_master(bool to_memory)
{
    uint64_t lba = (piix.low & 0xff) | (uint64_t)(piix.mid & 0xff) << 8 | (uint64_t)(piix.high & 0xff) << 16 |
                   (uint64_t)(piix.low >> 8) << 24;
    uint64_t at = lba * 512, left = (piix.count ? piix.count : 65536) * 512ull;

    for (const uint32_t *prd = (const uint32_t *)(uintptr_t)piix.table; left; prd += 2) {
        uint32_t n = prd[1] & 0xffff ? prd[1] & 0xffff : 65536;

        assert_true(n <= left && at + n <= sizeof(media));
        assert_true(prd[0] / 65536 == (prd[0] + n - 1) / 65536); /* no region crosses 64 KiB */
        if (to_memory)
            memcpy((void *)(uintptr_t)prd[0], media + at, n);
        else
            memcpy(media + at, (void *)(uintptr_t)prd[0], n);
        at += n;
        left -= n;
        if (prd[1] >> 31)
            break;
    }
    return !left;
}

static void end_command(void)
{
    bool read = piix.command == 0x25;

    piix.master_status &= ~1u;
    if (piix.master_error) {
        piix.master_status |= 2;
        piix.status = 0x50;
    } else if (piix.fail) {
        piix.status = 0x51;
    } else {
        assert_true(run_master(read));
        piix.status = 0x50;
    }
    piix.fail = piix.master_error = false;
}

static void command(uint8_t value)
{
    assert_false(piix.status & 0x80);
    piix.command = value;
    piix.commands++;
    if (piix.device & 0x10) /* there is no second drive */
        piix.status = 0;
    else if (value == 0xec)
        piix.status = 0x58, piix.identify = 0;
    else if (value == 0xea)
        piix.flushes++, piix.status = 0x50;
    else if (value == 0x25 || value == 0x35)
        piix.status = 0xd0;
    else
        piix.status = value == 0xef ? 0x50 : 0x51;
}

static uint32_t in(uint16_t port, unsigned size)
{
    if (port >= 0xcfc && port < 0xd00)
        return size == 4 ? pci_in() : pci_in() >> 8 * (port & 3);
    if (port == 0x1f0) {
        uint16_t w = identity(piix.identify++);

        if (piix.identify == 256)
            piix.status = 0x50;
        return w;
    }
    if (port == 0x1f7 || port == 0x3f6)
        return piix.device & 0x10 ? 0 : piix.status;
    if (port == MASTER)
        return piix.master_command;
    if (port == MASTER + 2)
        return piix.master_status;
    return UINT32_MAX; /* the second channel: nobody */
}

static void master_out(uint8_t value)
{
    piix.master_command = value;
    if (!(value & 1))
        return;
    piix.master_status |= 1;
    assert_int_equal(!(value & 8), piix.command == 0x35);
    if (!piix.hang)
        end_command();
}

static void control_out(uint8_t value)
{
    if (value & 4) {
        piix.resets++;
        piix.status = 0x50;
        piix.master_status &= ~1u;
    }
    piix.control = value;
}

static void shift_in(uint16_t *reg, uint32_t value)
{
    *reg = (uint16_t)(*reg << 8 | (value & 0xff));
}

static void out(uint16_t port, uint32_t value, unsigned size)
{
    switch (port) {
    case 0xcf8: piix.address = value; break;
    case 0xcfc: pci_out(port, value, size); break;
    case 0x1f2: shift_in(&piix.count, value); break;
    case 0x1f3: shift_in(&piix.low, value); break;
    case 0x1f4: shift_in(&piix.mid, value); break;
    case 0x1f5: shift_in(&piix.high, value); break;
    case 0x1f6: piix.device = (uint8_t)value; break;
    case 0x1f7: command((uint8_t)value); break;
    case 0x3f6: control_out((uint8_t)value); break;
    case MASTER: master_out((uint8_t)value); break;
    case MASTER + 2: piix.master_status &= ~(value & 6); break;
    case MASTER + 4: piix.table = value; break;
    }
}

static int result;
static unsigned ends;

static void done(struct storage_request *r, int err)
{
    (void)r;
    result = err;
    ends++;
}

static int set_up(void **state)
{
    static uint64_t low;

    (void)state;
    no_devices();
    memset(&piix, 0, sizeof(piix));
    piix.config[0] = 0x70108086;
    piix.config[2] = 0x01018000;
    piix.config[8] = MASTER | 1;
    piix.status = 0x50;
    fake_cpu.in = in;
    fake_cpu.out = out;
    for (size_t i = 0; i < sizeof(media); i++)
        media[i] = (uint8_t)(i * 7 + i / 512);
    low = low ? low : page_alloc(0, 8, PAGE_HYPERVISOR).v;
    native_set_low(low, MIB);
    assert_true(native_knows(BDF));
    assert_int_equal(native_attach(BDF), 0);
    assert_non_null(native_find(BDF, 0));
    assert_null(native_find(BDF, 1));
    assert_int_equal(native_find(BDF, 0)->sectors, SECTORS);
    assert_int_equal(disk_add(native_find(BDF, 0)), 0);
    storage = storage_open(native_find(BDF, 0), NULL, 0, false);
    ends = 0;
    return 0;
}

static int transfer(enum storage_op op, uint64_t sector, uint32_t sectors, uint8_t *const *page)
{
    static struct storage_request r;

    r = (struct storage_request){ .op = op, .sector = sector, .sectors = sectors, .done = done };
    for (unsigned i = 0; page && i < (sectors + 7) / 8; i++)
        r.page[i] = ptr_hpa(page[i]);
    assert_int_equal(storage_submit(storage, &r), 0);
    while (storage_poll())
        fake_cpu.tsc += 100000; /* 100 ms */
    return result;
}

static void reads(void **state)
{
    uint8_t *page[64];

    (void)state;
    for (unsigned i = 0; i < 64; i++) /* some next to each other, some not */
        page[i] = hpa_ptr(page_alloc(0, i % 3 ? 0 : 1, PAGE_HYPERVISOR));
    assert_int_equal(transfer(STORAGE_READ, 1003, 512, page), 0);
    for (unsigned i = 0; i < 64; i++)
        assert_memory_equal(page[i], media + (1003 + 8 * i) * 512, 4096);
    assert_int_equal(transfer(STORAGE_READ, SECTORS - 1, 1, page), 0);
    assert_memory_equal(page[0], media + (SECTORS - 1) * 512, 512);
    assert_int_equal(piix.resets, 0);
    assert_true(piix.control & 2); /* no interrupts */
}

/* Pages in a row, with a boundary of 64 KiB among them, which no region may cross, and one of exactly 64 KiB. */
static void in_a_row(void **state)
{
    uint8_t *first = hpa_ptr(page_alloc(0, 6, PAGE_HYPERVISOR)), *page[64];

    (void)state;
    for (unsigned i = 0; i < 60; i++)
        page[i] = first + (i + 4) * 4096;
    assert_int_equal(transfer(STORAGE_READ, 7, 480, page), 0);
    assert_memory_equal(page[0], media + 7 * 512, 480 * 512);
}

/* Pages above 4 GiB, where the bus master does not reach. */
static void far(void **state)
{
    uint8_t *page[2] = { aligned_alloc(4096, 4096), aligned_alloc(4096, 4096) };

    (void)state;
    assert_true((uint64_t)page[0] >> 32);
    assert_int_equal(transfer(STORAGE_READ, 5, 16, page), 0);
    assert_memory_equal(page[1], media + 13 * 512, 4096);
    memset(page[0], 0x5a, 4096);
    assert_int_equal(transfer(STORAGE_WRITE, 100, 8, page), 0);
    assert_memory_equal(media + 100 * 512, page[0], 4096);
    free(page[0]);
    free(page[1]);
}

static void flushes(void **state)
{
    (void)state;
    assert_int_equal(transfer(STORAGE_FLUSH, 0, 0, NULL), 0);
    assert_int_equal(piix.flushes, 1);
}

/* The drive's error and the bus master's are that request's alone. */
static void errors(void **state)
{
    uint8_t *page[1] = { hpa_ptr(page_alloc(0, 0, PAGE_HYPERVISOR)) };

    (void)state;
    piix.fail = true;
    assert_int_equal(transfer(STORAGE_READ, 0, 8, page), -EIO);
    assert_int_equal(transfer(STORAGE_READ, 0, 8, page), 0);
    piix.master_error = true;
    assert_int_equal(transfer(STORAGE_READ, 0, 8, page), -EIO);
    assert_int_equal(transfer(STORAGE_READ, 8, 8, page), 0);
    assert_memory_equal(page[0], media + 8 * 512, 4096);
}

static void time_out(void **state)
{
    uint8_t *page[1] = { hpa_ptr(page_alloc(0, 0, PAGE_HYPERVISOR)) };

    (void)state;
    piix.hang = true;
    assert_int_equal(transfer(STORAGE_READ, 0, 8, page), -ETIMEDOUT);
    assert_int_equal(piix.resets, 1);
    piix.hang = false;
    assert_int_equal(transfer(STORAGE_READ, 16, 8, page), 0);
    assert_memory_equal(page[0], media + 16 * 512, 4096);
}

/* --- the self-test, where the firmware is this --------------------------------------------------------------------- */

void sched_visit(void (*fn)(void *arg), void *arg) { fn(arg); }
void console_typed(uint8_t c) { (void)c; }

static unsigned releases, returns;
static bool lies;              /* the firmware reads something else after it had the disk back */

static int disk_read(unsigned number, uint64_t block, void *to, size_t size)
{
    assert_true(number == 0 && releases == returns && block * 512 + size <= sizeof(media));
    memcpy(to, media + block * 512, size);
    *(uint8_t *)to ^= lies && returns;
    return 0;
}

static int disk_write(unsigned number, uint64_t block, const void *from, size_t size)
{
    assert_true(number == 0 && releases == returns && block * 512 + size <= sizeof(media));
    memcpy(media + block * 512, from, size);
    return 0;
}

static int disk_flush(unsigned number) { return number == 0 && releases == returns ? 0 : -EIO; }
static int pci_release(uint16_t bdf) { releases++; return bdf == BDF ? 0 : -ENODEV; }

/* Our driver has left: no interrupts are off, and the bus master stands still. */
static void pci_take_back(uint16_t bdf)
{
    assert_int_equal(bdf, BDF);
    assert_false(piix.control & 2);
    assert_false(piix.master_command & 1);
    returns++;
}

static int run_selftest(struct extent scratch)
{
    static struct boot_info boot;
    static struct config config;
    static uint8_t before[sizeof(media)];
    const struct boot_selftest test = { .disks = true, .scratch = scratch };
    int err;

    devices_stop();
    native_detach_all();
    boot = (struct boot_info){ .config = &config, .disks = 1, .disk_read = disk_read, .disk_write = disk_write,
                               .disk_flush = disk_flush, .pci_release = pci_release, .pci_take_back = pci_take_back };
    boot.disk[0] = (struct boot_disk){ .sectors = SECTORS, .block = 512, .pci = true, .bdf = BDF };
    boot.low = (struct boot_range){ page_alloc(0, 8, PAGE_HYPERVISOR).v, MIB };
    releases = returns = 0;
    memcpy(before, media, sizeof(media));
    err = selftest_disks(&boot, &test);
    assert_int_equal(releases, 1);
    assert_int_equal(returns, 1);
    assert_memory_equal(media, before, sizeof(media));
    return err;
}

/* The scratch region lies where a sample does. */
static void selftest(void **state)
{
    (void)state;
    assert_int_equal(run_selftest((struct extent){ 64, 500 }), 0);
    assert_int_equal(piix.flushes, 1);
}

static void selftest_finds(void **state)
{
    (void)state;
    lies = true;
    assert_int_equal(run_selftest((struct extent){ 0, 0 }), -EIO);
    lies = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(reads, set_up), cmocka_unit_test_setup(in_a_row, set_up), cmocka_unit_test_setup(far, set_up),
        cmocka_unit_test_setup(flushes, set_up), cmocka_unit_test_setup(errors, set_up),
        cmocka_unit_test_setup(time_out, set_up), cmocka_unit_test_setup(selftest, set_up),
        cmocka_unit_test_setup(selftest_finds, set_up),
    };

    if (!machine_memory(16 * MIB, 0))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
