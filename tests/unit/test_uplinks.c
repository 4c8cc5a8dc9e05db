/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/uplinks.h"
#include "lib/errno.h"
#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_percpu.h"
#include "vdev/net.h"

/* Two cards that a driver knows and something else; what is done with them is recorded. */
static const struct pci_function functions[] = {
    { .at = { 0x0010 }, .vendor = 0x8086, .device = 0x1237 },
    { .at = { 0x0018 }, .vendor = 0x8086, .device = 0x100e },
    { .at = { 0x0020 }, .vendor = 0x8086, .device = 0x10d3 },
};

static struct card cards[2];
static struct { int release, open, start, send; unsigned sent, bytes, flushes, back; uint16_t bdf; } seen;

static struct { unsigned frames, rooms; uint32_t bytes; uint8_t flags; } got;

bool pci_each(bool (*fn)(const struct pci_function *f, void *arg), void *arg)
{
    for (unsigned i = 0; i < ARRAY_SIZE(functions); i++)
        if (fn(&functions[i], arg))
            return true;
    return false;
}

const char *card_driver(const struct pci_function *f)
{
    return f->device == 0x1237 ? NULL : "e1000";
}

static int start(struct card *c) { return seen.start; }
static void flush(struct card *c) { seen.flushes++; }

static int send(struct card *c, const void *frame, uint32_t bytes)
{
    if (seen.send)
        return seen.send;
    seen.sent++;
    seen.bytes = bytes;
    return 0;
}

int card_open(const struct pci_function *f, struct card **card)
{
    static const struct card_ops ops = { start, send, flush };
    struct card *c = &cards[f->at.bdf == 0x0020];

    if (seen.open)
        return seen.open;
    memset(c, 0, sizeof(*c));
    snprintf(c->name, sizeof(c->name), "card %x", f->at.bdf);
    c->ops = &ops;
    c->up = true;
    seen.bdf = f->at.bdf;
    *card = c;
    return 0;
}

static int release(uint16_t bdf) { return seen.release; }
static void take_back(uint16_t bdf) { seen.back++; }

/* The firmware's cards, of which the last is used: it sends as long as there is room, and one frame at a time has come. */
static struct {
    int start;
    bool started[2], up;
    unsigned number, room, sent, stops, come;
    uint8_t last[CARD_MAX_FRAME];
    size_t bytes;
    int receive;
} fw;

static int fw_start(unsigned n)
{
    fw.number = n;
    fw.started[n] = !fw.start;
    return fw.start;
}

static void fw_stop(unsigned n)
{
    assert_true(fw.started[n]);
    fw.started[n] = false;
    fw.stops++;
}

static int fw_send(unsigned n, const void *frame, size_t bytes)
{
    assert_true(fw.started[n]);
    if (!fw.room)
        return -EAGAIN;
    fw.room--;
    fw.sent++;
    memcpy(fw.last, frame, bytes);
    return 0;
}

static int fw_receive(unsigned n, void *frame, size_t *bytes)
{
    assert_true(fw.started[n] && *bytes >= CARD_MAX_FRAME);
    if (!fw.come)
        return -EAGAIN;
    fw.come--;
    memset(frame, 0, 64);
    memcpy(frame, fw.last, 12);
    *bytes = fw.bytes;
    return fw.receive;
}

static bool fw_up(unsigned n) { return fw.up; }

void sched_visit(void (*fn)(void *arg), void *arg) { fn(arg); }
void console_typed(uint8_t c) { }

static struct config config;
static struct boot_info boot = {
    .config = &config, .pci_release = release, .pci_take_back = take_back, .card_start = fw_start, .card_stop = fw_stop,
    .card_send = fw_send, .card_receive = fw_receive, .card_up = fw_up,
    .card = { { .bdf = 0x0018, .up = true }, { .bdf = 0x0028, .mac = { 2, 0, 0, 0, 0, 7 }, .up = true } },
};

static int takes(struct net_port *p, const struct net_frame *f)
{
    got.frames++;
    got.bytes = f->bytes;
    got.flags = f->offload.flags;
    return 0;
}

static void room(struct net_port *p) { got.rooms++; }

static const struct net_port_ops ops = { .frame = takes, .room = room };
static struct net_port guest;
static const uint8_t guest_mac[6] = { 0x52, 0x54, 0, 0, 0, 1 }, other_mac[6] = { 0x52, 0x54, 0, 0, 0, 9 };

static void wants(unsigned n, const char *net, enum config_uplink uplink, uint16_t bdf)
{
    snprintf(config.net[n].name, sizeof(config.net[n].name), "%s", net);
    config.net[n].uplink = uplink;
    config.net[n].bdf = bdf;
    config.nets = n + 1;
}

static int setup(void **state)
{
    static uint64_t machine;

    fake_percpu_enter(0);
    if (!machine)
        machine = machine_memory(16 * MIB, 0);
    memset(&seen, 0, sizeof(seen));
    memset(&got, 0, sizeof(got));
    memset(&config, 0, sizeof(config));
    memset(&guest, 0, sizeof(guest));
    memset(&fw, 0, sizeof(fw));
    fw.up = true;
    fw.bytes = 64;
    boot.cards = 0;
    guest.ops = &ops;
    memcpy(guest.mac, guest_mac, 6);
    return net_attach(net_named("lan0"), &guest);
}

static int teardown(void **state)
{
    devices_stop();
    uplinks_close(&boot);
    net_detach(&guest);
    return 0;
}

static void frame_of(uint8_t *frame, const uint8_t *to, const uint8_t *from)
{
    memset(frame, 0, 64);
    memcpy(frame, to, 6);
    memcpy(frame + 6, from, 6);
    frame[12] = 0x12;
}

static int guest_sends(const uint8_t *to)
{
    uint8_t frame[64];
    const struct net_piece piece = { .at = frame, .bytes = sizeof(frame) };
    const struct net_frame f = { .piece = &piece, .pieces = 1, .bytes = sizeof(frame) };
    struct net_batch batch = { 0 };
    int err;

    frame_of(frame, to, guest_mac);
    err = net_send(&guest, &f, &batch);
    net_flush(&guest, &batch);
    return err;
}

static void card_receives(struct card *c, const uint8_t *to, const uint8_t *from, bool checked)
{
    uint8_t frame[64];

    frame_of(frame, to, from);
    c->receive(c, frame, sizeof(frame), checked);
}

static void test_both_ways(void **state)
{
    const char *name;

    wants(0, "lan0", CONFIG_UPLINK_E1000, 0);
    assert_int_equal(uplinks_open(&boot), 0);
    assert_ptr_equal(uplinks_at(0, &name), &cards[0]);
    assert_string_equal(name, "lan0");
    assert_null(uplinks_at(1, &name));
    assert_int_equal(guest_sends(other_mac), 0);
    assert_int_equal(seen.sent, 1);
    assert_int_equal(seen.bytes, 64);
    assert_int_equal(seen.flushes, 1);
    card_receives(&cards[0], guest_mac, other_mac, true);
    assert_int_equal(got.frames, 1);
    assert_int_equal(got.flags, MB_NET_CHECKED);
    card_receives(&cards[0], guest_mac, other_mac, false);
    assert_int_equal(got.flags, 0);
    card_receives(&cards[0], other_mac, other_mac, false); /* of others on the wire */
    card_receives(&cards[0], guest_mac, guest_mac, false); /* the outside is not the guest */
    assert_int_equal(got.frames, 2);
}

/* A card that is full is waited for, and tells when it has room. */
static void test_no_room(void **state)
{
    wants(0, "lan0", CONFIG_UPLINK_AUTO, 0);
    assert_int_equal(uplinks_open(&boot), 0);
    seen.send = -EAGAIN;
    assert_int_equal(guest_sends(other_mac), -EAGAIN);
    cards[0].news(&cards[0]);
    assert_int_equal(got.rooms, 1);
    seen.send = -EIO;                          /* no link: it is lost */
    assert_int_equal(guest_sends(other_mac), 0);
}

static void test_another_network(void **state)
{
    wants(0, "lan1", CONFIG_UPLINK_AUTO, 0);
    assert_int_equal(uplinks_open(&boot), 0);
    assert_int_equal(guest_sends(other_mac), 0);
    assert_int_equal(seen.sent, 0);
    card_receives(&cards[0], guest_mac, other_mac, true);
    assert_int_equal(got.frames, 0);
}

/* Each network gets a card of its own, and the one that it names. */
static void test_choice(void **state)
{
    const char *name;

    wants(0, "lan0", CONFIG_UPLINK_PCI, 0x0020);
    wants(1, "lan1", CONFIG_UPLINK_AUTO, 0);
    wants(2, "lan2", CONFIG_UPLINK_AUTO, 0);
    wants(3, "lan3", CONFIG_UPLINK_NONE, 0);
    assert_int_equal(uplinks_open(&boot), 0);
    assert_ptr_equal(uplinks_at(0, &name), &cards[1]);
    assert_ptr_equal(uplinks_at(1, &name), &cards[0]);
    assert_string_equal(name, "lan1");
    assert_null(uplinks_at(2, &name));         /* there is none left, it goes without */
    uplinks_close(&boot);
    assert_int_equal(seen.back, 2);
    assert_null(uplinks_at(0, &name));
}

static void test_cannot_be_had(void **state)
{
    const char *name;

    wants(0, "lan0", CONFIG_UPLINK_PCI, 0x0010);
    assert_int_equal(uplinks_open(&boot), -ENODEV);
    wants(0, "lan0", CONFIG_UPLINK_E1000, 0);
    seen.release = -EBUSY;
    assert_int_equal(uplinks_open(&boot), -ENODEV);
    assert_int_equal(seen.back, 0);            /* the firmware has it still */
    seen.release = 0;
    seen.open = -EIO;
    assert_int_equal(uplinks_open(&boot), -ENODEV);
    assert_int_equal(seen.back, 2);
    seen.open = 0;
    seen.start = -EIO;
    assert_int_equal(uplinks_open(&boot), -ENODEV);
    assert_int_equal(seen.back, 4);
    assert_null(uplinks_at(0, &name));
    assert_int_equal(guest_sends(other_mac), 0);
    assert_int_equal(seen.sent, 0);            /* and is no port any more */
    seen.start = 0;
    seen.release = -ENODEV;                    /* the firmware never had it */
    assert_int_equal(uplinks_open(&boot), 0);
    uplinks_close(&boot);
    assert_int_equal(seen.back, 4);
}

/* Through the firmware: what is sent goes with the next visit, which brings what has come. */
static void test_firmware(void **state)
{
    const struct card *c;
    const char *name;

    boot.cards = 2;
    wants(0, "lan0", CONFIG_UPLINK_PCI, 0x0028);
    assert_int_equal(uplinks_open(&boot), 0);
    c = uplinks_at(0, &name);
    assert_string_equal(c->name, "firmware 00:05.0");
    assert_int_equal(c->mac[5], 7);
    assert_int_equal(fw.number, 1);
    assert_int_equal(guest_sends(other_mac), 0);
    assert_int_equal(fw.sent, 0);
    fw.room = 9;
    devices_poll(UINT64_MAX - 1);
    assert_int_equal(fw.sent, 1);
    assert_memory_equal(fw.last, other_mac, 6);
    assert_memory_equal(fw.last + 6, guest_mac, 6);

    frame_of(fw.last, guest_mac, other_mac);
    fw.come = 3;
    devices_poll(UINT64_MAX - 1);
    assert_int_equal(got.frames, 3);
    assert_int_equal(got.bytes, 64);
    fw.come = 1;
    fw.receive = -EIO;                         /* it was longer than any that can be */
    devices_poll(UINT64_MAX - 1);
    fw.come = 1;
    fw.receive = 0;
    fw.bytes = 13;
    devices_poll(UINT64_MAX - 1);
    assert_int_equal(got.frames, 3);
    assert_int_equal(c->counts.bad, 2);
    assert_int_equal(c->counts.received, 3);

    assert_int_equal(fw.stops, 0);
    devices_stop();
    assert_int_equal(fw.stops, 1);
}

/* It sends one now and then: those behind it are kept, as many as there is room for, and then the sender waits. */
static void test_firmware_is_slow(void **state)
{
    unsigned kept = 0;

    boot.cards = 2;
    wants(0, "lan0", CONFIG_UPLINK_FIRMWARE, 0);
    assert_int_equal(uplinks_open(&boot), 0);
    while (guest_sends(other_mac) == 0)
        kept++;
    assert_in_range(kept, 2, 1000);
    devices_poll(UINT64_MAX - 1);
    assert_int_equal(got.rooms, 0);
    fw.room = 1;
    devices_poll(UINT64_MAX - 1);
    assert_int_equal(fw.sent, 1);
    assert_int_equal(got.rooms, 1);
    assert_int_equal(guest_sends(other_mac), 0);
    assert_int_equal(guest_sends(other_mac), -EAGAIN);
    fw.room = 1000;
    fw.up = false;
    devices_poll(UINT64_MAX - 1);
    assert_int_equal(fw.sent, kept + 1);
    assert_int_equal(guest_sends(other_mac), 0); /* no link: it is lost */
    devices_poll(UINT64_MAX - 1);
    assert_int_equal(fw.sent, kept + 1);
}

/* Ours first; what only the firmware knows, or what is asked for; and not one that is in use already. */
static void test_firmware_choice(void **state)
{
    const char *name;

    boot.cards = 2;
    wants(0, "lan0", CONFIG_UPLINK_AUTO, 0);
    wants(1, "lan1", CONFIG_UPLINK_PCI, 0x0020);
    wants(2, "lan2", CONFIG_UPLINK_AUTO, 0);
    wants(3, "lan3", CONFIG_UPLINK_AUTO, 0);
    assert_int_equal(uplinks_open(&boot), 0);
    assert_ptr_equal(uplinks_at(0, &name), &cards[0]);
    assert_ptr_equal(uplinks_at(1, &name), &cards[1]);
    assert_string_equal(uplinks_at(2, &name)->name, "firmware 00:05.0");
    assert_null(uplinks_at(3, &name));
    devices_stop();
    uplinks_close(&boot);

    wants(0, "lan0", CONFIG_UPLINK_FIRMWARE, 0);
    assert_int_equal(uplinks_open(&boot), 0);
    assert_string_equal(uplinks_at(0, &name)->name, "firmware 00:03.0");
    devices_stop();
    uplinks_close(&boot);
    fw.start = -EIO;
    assert_int_equal(uplinks_open(&boot), -ENODEV);
    fw.start = 0;                              /* and that had not been for good */
    assert_int_equal(uplinks_open(&boot), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_both_ways), TEST(test_no_room), TEST(test_another_network), TEST(test_choice),
        TEST(test_cannot_be_had), TEST(test_firmware), TEST(test_firmware_is_slow), TEST(test_firmware_choice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
