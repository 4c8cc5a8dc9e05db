/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_apic.h"
#include "tests/unit/seam/fake_cpu.h"

#include "drivers/e1000.c"

/* A card: its PCI function, its registers, and what it does with the rings when the driver rings its bells. */
#define REGS 0xfeb00000ul

static struct {
    uint32_t reg[0x8000 / 4];
    uint32_t address;          /* of PCI configuration space */
    uint32_t bar;
    uint16_t device, command;
    bool there, resets_never, jams; /* nothing is sent */
    unsigned resets, sent, bells;
    uint8_t last[CARD_MAX_FRAME];
    unsigned last_bytes;
    unsigned rx_head;
} model;

static const uint8_t mac[6] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };

static struct {
    unsigned frames, bytes, checked, news;
    uint8_t frame[BUFFER];
} seen;

static uint32_t *reg(unsigned at) { return &model.reg[at / 4]; }

static void model_reset(void)
{
    model.resets++;
    memset(model.reg, 0, sizeof(model.reg));
    *reg(E1000_STATUS) = (uint32_t)STATUS_LU;
    *reg(E1000_RAL0) = 0x12005452;
    *reg(E1000_RAH0) = (uint32_t)RAH_VALID | 0x5634;
    model.rx_head = 0;
    if (model.resets_never)
        *reg(E1000_CTRL) = (uint32_t)CTRL_RST;
}

static void model_send(void)
{
    struct e1000_tx *ring = (void *)(*reg(E1000_TDBAL) | (uint64_t)*reg(E1000_TDBAH) << 32);
    unsigned n = *reg(E1000_TDLEN) / 16;

    if (!(*reg(E1000_TCTL) & TCTL_EN))
        return;
    assert_true(*reg(E1000_TDT) < n);
    while (!model.jams && *reg(E1000_TDH) != *reg(E1000_TDT)) {
        struct e1000_tx *d = &ring[*reg(E1000_TDH)];

        assert_int_equal(d->command, TX_END | TX_FCS | TX_REPORT);
        assert_in_range(d->bytes, 60, CARD_MAX_FRAME);
        memcpy(model.last, (void *)d->address, d->bytes);
        model.last_bytes = d->bytes;
        model.sent++;
        d->status = TX_DONE;
        *reg(E1000_TDH) = (*reg(E1000_TDH) + 1) % n;
    }
}

static uint32_t mmio_read(uint64_t addr)
{
    uint32_t at = (uint32_t)(addr - REGS), value;

    assert_in_range(at, 0, 0x7ffc);
    if (!model.there)
        return UINT32_MAX;
    value = *reg(at);
    if (at == E1000_MPC)
        *reg(at) = 0;
    return value;
}

static void mmio_write(uint64_t addr, uint32_t value)
{
    uint32_t at = (uint32_t)(addr - REGS);

    assert_in_range(at, 0, 0x7ffc);
    *reg(at) = value;
    if (at == E1000_CTRL && value & CTRL_RST)
        model_reset();
    if (at == E1000_EERD)
        *reg(at) = (uint32_t)(value >> 8 == 0 ? 0x5452u : value >> 8 == 1 ? 0x1200u : 0x7777u) << 16 | 0x10;
    if (at == E1000_TDT) {
        model.bells++;
        model_send();
    }
}

static uint32_t port_in(uint16_t port, unsigned size)
{
    unsigned at = model.address & 0xfc;

    if ((model.address >> 8 & 0xffff) != 0x18)
        return UINT32_MAX;
    if (at == PCI_VENDOR)
        return 0x8086u | (uint32_t)model.device << 16;
    return at == PCI_BAR(0) ? model.bar : at == PCI_COMMAND ? model.command : 0;
}

static void port_out(uint16_t port, uint32_t value, unsigned size)
{
    if (port == 0xcf8)
        model.address = value;
    else if ((model.address & 0xfc) == PCI_COMMAND)
        model.command = (uint16_t)value;
    else if ((model.address & 0xfc) == PCI_BAR(0))
        model.bar = value & 0xfffe0000;
}

static uint64_t table_page(void)
{
    return page_alloc_zeroed(0, PAGE_ORDER_4K, PAGE_HYPERVISOR).v;
}

static void receives(struct card *c, const uint8_t *frame, uint32_t bytes, bool checked)
{
    memcpy(seen.frame, frame, bytes);
    seen.frames++;
    seen.bytes = bytes;
    seen.checked += checked;
}

static void news(struct card *c)
{
    seen.news++;
}

static int setup(void **state)
{
    static uint64_t machine;

    fake_cpu_reset();
    fake_cpuid_set(0x80000000, 0, 0x80000008, 0, 0, 0);
    if (!machine) {
        machine = machine_memory(64 * MIB, 0);
        if (paging_begin(table_page))
            return -1;
    }
    fake_cpu.in = port_in;
    fake_cpu.out = port_out;
    fake_cpu.mmio_read = mmio_read;
    fake_cpu.mmio_write = mmio_write;
    fake_cpu.tsc = 1000000000;
    fake_apic.khz = 1000000;
    memset(&model, 0, sizeof(model));
    memset(&seen, 0, sizeof(seen));
    model.there = true;
    model.device = 0x100e;
    model_reset();
    model.bar = REGS;
    count = 0;
    return 0;
}

static int try_open(struct card **card)
{
    struct pci_function f;

    assert_int_equal(pci_probe(PCI_ADDRESS(0, 3, 0), &f), 0);
    return card_open(&f, card);
}

static struct card *started(void)
{
    struct card *c = NULL;

    assert_int_equal(try_open(&c), 0);
    c->receive = receives;
    c->news = news;
    assert_int_equal(c->ops->start(c), 0);
    return c;
}

static int teardown(void **state)
{
    devices_stop();
    for (unsigned i = 0; i < count; i++) {
        page_free(ptr_hpa((void *)(uintptr_t)cards[i].rx), RX_RING_ORDER);
        page_free(ptr_hpa((void *)(uintptr_t)cards[i].tx), TX_RING_ORDER);
        page_free(ptr_hpa(cards[i].rx_buffer), RX_ORDER);
        page_free(ptr_hpa(cards[i].tx_buffer), TX_ORDER);
    }
    return 0;
}

static void test_open(void **state)
{
    struct card *c = started();

    assert_memory_equal(c->mac, mac, 6);
    assert_string_equal(c->name, "e1000 00:03.0");
    assert_true(c->up);
    assert_int_equal(model.command, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_NO_INTX);
    assert_int_equal(*reg(E1000_RDLEN), RX_COUNT * 16);
    assert_int_equal(*reg(E1000_RDT), RX_COUNT - 1);
    assert_int_equal(*reg(E1000_RCTL), RCTL_EN | RCTL_UPE | RCTL_MPE | RCTL_BAM | RCTL_SECRC);
    devices_stop();
    assert_int_equal(*reg(E1000_RCTL), 0);     /* it was reset */
    assert_int_equal(model.command, 0);        /* and is off the bus */
}

static void test_refuses(void **state)
{
    struct card *c;

    model.device = 0x1209;
    assert_int_equal(try_open(&c), -ENODEV);
    model.device = 0x100e;
    model.bar = 0;
    assert_int_equal(try_open(&c), -ENXIO);
    model.bar = REGS;
    model.there = false;
    assert_int_equal(try_open(&c), -EIO);
    assert_int_equal(model.command, 0);
    model.there = true;
    model.bar = REGS;
    model.resets_never = true;
    assert_int_equal(try_open(&c), -EIO);
    assert_int_equal(model.command, 0);
}

/* Where the card has not put its address into the register by itself it is read from the EEPROM, and may make no sense. */
static void test_eeprom(void **state)
{
    struct e1000 e = { .regs = REGS };
    static const uint8_t read[6] = { 0x52, 0x54, 0x00, 0x12, 0x77, 0x77 };

    *reg(E1000_RAH0) = 0;
    assert_int_equal(find_mac(&e), 0);
    assert_memory_equal(e.card.mac, read, 6);
    *reg(E1000_RAH0) = (uint32_t)RAH_VALID;
    *reg(E1000_RAL0) = 0x01;                   /* of a group */
    assert_int_equal(find_mac(&e), -EIO);
    *reg(E1000_RAL0) = 0;
    assert_int_equal(find_mac(&e), -EIO);
}

static void test_send(void **state)
{
    struct card *c = started();
    uint8_t frame[CARD_MAX_FRAME + 1];

    memset(frame, 0xab, sizeof(frame));
    assert_int_equal(c->ops->send(c, frame, 14), 0);
    assert_int_equal(model.sent, 0);
    c->ops->flush(c);
    assert_int_equal(model.sent, 1);
    assert_int_equal(model.last_bytes, 60);    /* padded, and not with what was there before */
    assert_int_equal(model.last[13], 0xab);
    assert_int_equal(model.last[14], 0);
    assert_int_equal(c->ops->send(c, frame, CARD_MAX_FRAME), 0);
    c->ops->flush(c);
    assert_int_equal(model.last_bytes, CARD_MAX_FRAME);
    assert_int_equal(c->ops->send(c, frame, CARD_MAX_FRAME + 1), -EINVAL);
    assert_int_equal(c->ops->send(c, frame, 13), -EINVAL);
    assert_int_equal(c->counts.sent, 2);
    assert_int_equal(c->counts.sent_bytes, 14 + CARD_MAX_FRAME);
}

/* Many with few bells; the ring goes round; without a flush nothing stays for good. */
static void test_send_many(void **state)
{
    struct card *c = started();
    uint8_t frame[100] = { 1 };

    for (unsigned i = 0; i < 3 * TX_COUNT; i++)
        assert_int_equal(c->ops->send(c, frame, sizeof(frame)), 0);
    assert_in_range(model.bells, 1, 3 * TX_COUNT / DOORBELL + 1);
    c->device.poll(&c->device, rdtsc());
    assert_int_equal(model.sent, 3 * TX_COUNT);
}

static void test_no_room(void **state)
{
    struct card *c = started();
    uint8_t frame[100] = { 1 };
    unsigned n = 0;

    model.jams = true;
    while (c->ops->send(c, frame, sizeof(frame)) == 0)
        n++;
    assert_int_equal(n, TX_COUNT - 1);
    assert_int_equal(c->ops->send(c, frame, sizeof(frame)), -EAGAIN);
    c->device.poll(&c->device, rdtsc());
    assert_int_equal(seen.news, 0);
    model.jams = false;
    model_send();
    c->device.poll(&c->device, rdtsc());
    assert_int_equal(seen.news, 1);
    assert_int_equal(c->ops->send(c, frame, sizeof(frame)), 0);
    c->device.poll(&c->device, rdtsc());
    assert_int_equal(seen.news, 1);            /* nobody waited */
}

/* A card that sends nothing for two seconds is reset, and goes on. */
static void test_hangs(void **state)
{
    struct card *c = started();
    uint8_t frame[100] = { 1 };
    unsigned resets;

    model.jams = true;
    assert_int_equal(c->ops->send(c, frame, sizeof(frame)), 0);
    c->ops->flush(c);
    resets = model.resets;
    for (unsigned ms = 0; ms < 1900; ms += 100) {
        fake_cpu.tsc += 100000000;
        c->device.poll(&c->device, fake_cpu.tsc);
    }
    assert_int_equal(model.resets, resets);
    for (unsigned ms = 0; ms < 1000; ms += 100) {
        fake_cpu.tsc += 100000000;
        c->device.poll(&c->device, fake_cpu.tsc);
    }
    assert_int_equal(model.resets, resets + 1);
    assert_int_equal(c->counts.resets, 1);
    model.jams = false;
    assert_int_equal(c->ops->send(c, frame, sizeof(frame)), 0);
    c->ops->flush(c);
    assert_int_equal(model.sent, 1);
}

/* What the card writes into a descriptor. */
static bool comes(unsigned bytes, uint8_t status, uint8_t errors)
{
    struct e1000_rx *ring = (void *)(*reg(E1000_RDBAL) | (uint64_t)*reg(E1000_RDBAH) << 32);
    struct e1000_rx *d = &ring[model.rx_head];

    if (model.rx_head == *reg(E1000_RDT))
        return false;
    memset((void *)d->address, (int)(model.rx_head & 0xff), MIN(bytes, BUFFER));
    d->bytes = (uint16_t)bytes;
    d->errors = errors;
    d->status = status;
    model.rx_head = (model.rx_head + 1) % RX_COUNT;
    return true;
}

static void test_receive(void **state)
{
    struct card *c = started();

    comes(60, RX_DONE | RX_END, 0);
    comes(1514, RX_DONE | RX_END | RX_TCP_CHECKED, 0);
    c->device.poll(&c->device, rdtsc());
    assert_int_equal(seen.frames, 2);
    assert_int_equal(seen.bytes, 1514);
    assert_int_equal(seen.frame[1513], 1);
    assert_int_equal(seen.checked, 1);
    comes(60, RX_DONE | RX_END | RX_TCP_CHECKED | RX_UNCHECKED, 0);
    comes(60, RX_DONE | RX_END | RX_TCP_CHECKED, 0x20); /* a wrong sum: its receiver sees to that */
    c->device.poll(&c->device, rdtsc());
    assert_int_equal(seen.frames, 4);
    assert_int_equal(seen.checked, 1);
    assert_int_equal(c->counts.received, 4);
}

/* Lengths and bits that a card should not write: nothing is read that is not in the buffer. */
static void test_receive_bad(void **state)
{
    struct card *c = started();

    comes(0xffff, RX_DONE | RX_END, 0);
    comes(0, RX_DONE | RX_END, 0);
    comes(CARD_MAX_FRAME + 1, RX_DONE | RX_END, 0);
    comes(60, RX_DONE | RX_END, 0x01);
    comes(60, RX_DONE | RX_END, 0x80);
    comes(2048, RX_DONE, 0);                   /* one in two parts */
    comes(60, RX_DONE | RX_END, 0);
    c->device.poll(&c->device, rdtsc());
    assert_int_equal(seen.frames, 0);
    assert_int_equal(c->counts.bad, 6);
    comes(60, RX_DONE | RX_END, 0);
    c->device.poll(&c->device, rdtsc());
    assert_int_equal(seen.frames, 1);
}

/* A flood: so many in one poll and no more, and then again soon; the ring goes round. */
static void test_receive_flood(void **state)
{
    struct card *c = started();
    unsigned n = 0;
    uint64_t now, next;

    while (comes(60, RX_DONE | RX_END, 0))
        n++;
    assert_int_equal(n, RX_COUNT - 1);
    now = rdtsc();
    next = c->device.poll(&c->device, now);
    assert_int_equal(seen.frames, BUDGET);
    assert_true(next <= now);
    for (unsigned round = 0; round < 20; round++) {
        c->device.poll(&c->device, rdtsc());
        while (comes(60, RX_DONE | RX_END, 0))
            n++;
    }
    while (seen.frames < n)
        c->device.poll(&c->device, rdtsc());
    assert_true(n > 3 * RX_COUNT);
    c->device.poll(&c->device, rdtsc());
    assert_int_equal(seen.frames, n);
}

/* Often while something comes or goes, and for a while after it; then not. */
static void test_intervals(void **state)
{
    struct card *c = started();
    uint64_t now = fake_cpu.tsc;

    comes(60, RX_DONE | RX_END, 0);
    assert_int_equal(c->device.poll(&c->device, now), now + BUSY_US * 1000);
    now += BUSY_FOR_US * 1000;
    assert_int_equal(c->device.poll(&c->device, now), now + BUSY_US * 1000);
    now += 1000;
    assert_int_equal(c->device.poll(&c->device, now), now + QUIET_US * 1000);
}

static void test_link(void **state)
{
    struct card *c = started();
    uint8_t frame[100] = { 1 };

    *reg(E1000_STATUS) = 0;
    *reg(E1000_MPC) = 7;
    fake_cpu.tsc += 600000000;
    c->device.poll(&c->device, fake_cpu.tsc);
    assert_false(c->up);
    assert_int_equal(seen.news, 1);
    assert_int_equal(c->counts.missed, 7);
    assert_int_equal(c->ops->send(c, frame, sizeof(frame)), -EIO);
    assert_int_equal(c->counts.down, 1);
    *reg(E1000_STATUS) = (uint32_t)STATUS_LU;
    fake_cpu.tsc += 600000000;
    c->device.poll(&c->device, fake_cpu.tsc);
    assert_true(c->up);
    assert_int_equal(c->ops->send(c, frame, sizeof(frame)), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_open), TEST(test_refuses), TEST(test_eeprom), TEST(test_send), TEST(test_send_many),
        TEST(test_no_room), TEST(test_hangs), TEST(test_receive), TEST(test_receive_bad), TEST(test_receive_flood),
        TEST(test_intervals), TEST(test_link),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
