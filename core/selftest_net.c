/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/selftest.h"

#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "core/firmware_card.h"
#include "drivers/card.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"

/*
 * Each card that a driver of ours knows, or else the firmware's, asks for an address by DHCP (RFC 2131), and then sends
 * as many echo requests (RFC 792) to whoever answered as take the driver's rings round several times, and compares what
 * comes back.
 */
#define ANSWER_MS   4000u
#define TRIES       5u
#define ECHOES      3000u
#define IN_FLIGHT   32u
#define ECHO_BYTES  1400u
#define LOST_MAX    (ECHOES / 100) /* a network may lose some */

#define ETH_BYTES   14u
#define IP_BYTES    20u
#define UDP_BYTES   8u
#define ICMP_BYTES  8u
#define DHCP_BYTES  244u       /* up to the magic number, the first option and the end */
#define DHCP_MAGIC  0x63825363u
#define IP_UDP      17
#define IP_ICMP     1
#define XID         0x4d42414cu

static struct {
    struct card *card;
    uint8_t server_mac[6];
    uint32_t server, address;  /* IPv4 */
    unsigned echoes, wrong;    /* that came back; of these, not as they were sent */
} net;

static void put16(uint8_t *at, uint32_t v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

static void put32(uint8_t *at, uint32_t v)
{
    put16(at, v >> 16);
    put16(at + 2, v);
}

static uint32_t get16(const uint8_t *at) { return (uint32_t)at[0] << 8 | at[1]; }
static uint32_t get32(const uint8_t *at) { return get16(at) << 16 | get16(at + 2); }

static uint16_t checksum(const uint8_t *at, uint32_t n)
{
    uint32_t sum = 0;

    for (uint32_t i = 0; i < n; i += 2)
        sum += get16(at + i);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* Ethernet and IPv4 headers in front of n bytes; returns where these are. */
static uint8_t *head(uint8_t *frame, const uint8_t *to, uint32_t from_ip, uint32_t to_ip, uint8_t protocol, uint32_t n)
{
    uint8_t *ip = frame + ETH_BYTES;

    memset(frame, 0, ETH_BYTES + IP_BYTES + n);
    memcpy(frame, to, 6);
    memcpy(frame + 6, net.card->mac, 6);
    put16(frame + 12, 0x0800);
    ip[0] = 0x45;
    put16(ip + 2, IP_BYTES + n);
    ip[8] = 64;
    ip[9] = protocol;
    put32(ip + 12, from_ip);
    put32(ip + 16, to_ip);
    put16(ip + 10, checksum(ip, IP_BYTES));
    return ip + IP_BYTES;
}

static void discover(void)
{
    static const uint8_t everybody[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    static uint8_t frame[ETH_BYTES + IP_BYTES + UDP_BYTES + DHCP_BYTES];
    uint8_t *udp = head(frame, everybody, 0, UINT32_MAX, IP_UDP, UDP_BYTES + DHCP_BYTES), *dhcp = udp + UDP_BYTES;

    put16(udp, 68);
    put16(udp + 2, 67);
    put16(udp + 4, UDP_BYTES + DHCP_BYTES); /* its checksum stays 0: none */
    dhcp[0] = 1;
    dhcp[1] = 1;
    dhcp[2] = 6;
    put32(dhcp + 4, XID);
    put16(dhcp + 10, 0x8000);               /* answer to everybody */
    memcpy(dhcp + 28, net.card->mac, 6);
    put32(dhcp + 236, DHCP_MAGIC);
    memcpy(dhcp + 240, (const uint8_t[]){ 53, 1, 1, 255 }, 4);
    (void)net.card->ops->send(net.card, frame, sizeof(frame));
    net.card->ops->flush(net.card);
}

static uint8_t pattern(unsigned n, unsigned i)
{
    return (uint8_t)(n * 31 + i * 7);
}

static int echo(unsigned n)
{
    static uint8_t frame[ETH_BYTES + IP_BYTES + ICMP_BYTES + ECHO_BYTES];
    uint8_t *icmp = head(frame, net.server_mac, net.address, net.server, IP_ICMP, ICMP_BYTES + ECHO_BYTES);

    icmp[0] = 8;
    put16(icmp + 4, 0x4d42);
    put16(icmp + 6, n);
    for (unsigned i = 0; i < ECHO_BYTES; i++)
        icmp[ICMP_BYTES + i] = pattern(n, i);
    put16(icmp + 2, checksum(icmp, ICMP_BYTES + ECHO_BYTES));
    return net.card->ops->send(net.card, frame, sizeof(frame));
}

static void take_offer(const uint8_t *frame, const uint8_t *udp, uint32_t bytes)
{
    const uint8_t *dhcp = udp + UDP_BYTES;

    if (bytes < UDP_BYTES + 240 || get16(udp + 2) != 68 || dhcp[0] != 2 || get32(dhcp + 4) != XID)
        return;
    memcpy(net.server_mac, frame + 6, 6);
    net.server = get32(frame + ETH_BYTES + 12);
    net.address = get32(dhcp + 16);
}

static void take_echo(const uint8_t *icmp, uint32_t bytes)
{
    bool good = bytes == ICMP_BYTES + ECHO_BYTES && !checksum(icmp, bytes);

    if (bytes < ICMP_BYTES || icmp[0] != 0 || get16(icmp + 4) != 0x4d42)
        return;
    for (unsigned i = 0; good && i < ECHO_BYTES; i++)
        good = icmp[ICMP_BYTES + i] == pattern(get16(icmp + 6), i);
    net.echoes++;
    net.wrong += !good;
}

/* The server wants to know who has the address that it offered. */
static void answer_arp(const uint8_t *frame)
{
    uint8_t answer[ETH_BYTES + 28];

    if (get16(frame + 20) != 1 || !net.address || get32(frame + 38) != net.address)
        return;
    memcpy(answer, frame, sizeof(answer));
    memcpy(answer, frame + 6, 6);
    memcpy(answer + 6, net.card->mac, 6);
    put16(answer + 20, 2);
    memcpy(answer + 22, net.card->mac, 6);
    put32(answer + 28, net.address);
    memcpy(answer + 32, frame + 22, 10);
    (void)net.card->ops->send(net.card, answer, sizeof(answer));
    net.card->ops->flush(net.card);
}

static void receive(struct card *c, const uint8_t *frame, uint32_t bytes, bool checked)
{
    const uint8_t *ip = frame + ETH_BYTES;
    uint32_t n;

    (void)c;
    (void)checked;
    if (bytes >= ETH_BYTES + 28 && get16(frame + 12) == 0x0806)
        answer_arp(frame);
    if (bytes < ETH_BYTES + IP_BYTES || get16(frame + 12) != 0x0800 || ip[0] != 0x45)
        return;
    n = MIN(bytes - ETH_BYTES, get16(ip + 2));
    if (n < IP_BYTES)
        return;
    if (ip[9] == IP_UDP)
        take_offer(frame, ip + IP_BYTES, n - IP_BYTES);
    if (ip[9] == IP_ICMP)
        take_echo(ip + IP_BYTES, n - IP_BYTES);
}

static void news(struct card *c)
{
    (void)c;
}

static bool has_address(void) { return net.address; }
static unsigned wanted_echoes;
static bool has_echoes(void) { return net.echoes >= wanted_echoes; }

/* Polls until it is so, or the time is over. */
static bool wait_until(bool (*is_so)(void), unsigned ms)
{
    uint64_t end = rdtsc() + ms * tsc_khz();

    while (!is_so() && rdtsc() < end) {
        devices_poll(rdtsc());
        cpu_pause();
    }
    return is_so();
}

static bool get_address(void)
{
    for (unsigned i = 0; i < TRIES && !has_address(); i++) {
        discover();
        (void)wait_until(has_address, ANSWER_MS);
    }
    return has_address();
}

static void send_echoes(void)
{
    for (unsigned sent = 0; sent < ECHOES;) {
        if (echo(sent) == 0)
            sent++;
        if (sent % IN_FLIGHT == 0 || sent == ECHOES) {
            net.card->ops->flush(net.card);
            wanted_echoes = sent;
            (void)wait_until(has_echoes, 20);
        }
    }
    wanted_echoes = ECHOES;
    (void)wait_until(has_echoes, 200);
}

/* net.card has been opened, or err. */
static bool try_card(const char *name, int err)
{
    if (!err) {
        name = net.card->name;
        net.card->receive = receive;
        net.card->news = news;
        err = net.card->ops->start(net.card);
    }
    if (err) {
        log_error("%s: does not start (%d)", name, err);
        return false;
    }
    if (!get_address()) {
        log_error("%s: nobody offers an address; link %s, %lu sent, %lu received", name, net.card->up ? "up" : "down",
                  net.card->counts.sent, net.card->counts.received);
        return false;
    }
    log_info("%s: address %u.%u.%u.%u offered by %u.%u.%u.%u", name, net.address >> 24, net.address >> 16 & 255,
             net.address >> 8 & 255, net.address & 255, net.server >> 24, net.server >> 16 & 255,
             net.server >> 8 & 255, net.server & 255);
    send_echoes();
    log_info("%s: %u echoes of %u bytes: %u came back, %u not as they were sent; %lu bad, %lu missed, %lu resets", name,
             ECHOES, ECHO_BYTES, net.echoes, net.wrong, net.card->counts.bad, net.card->counts.missed,
             net.card->counts.resets);
    return net.echoes >= ECHOES - LOST_MAX && !net.wrong;
}

static bool try_ours(const struct pci_function *f)
{
    memset(&net, 0, sizeof(net));
    return try_card(card_driver(f), card_open(f, &net.card));
}

struct seen { const struct boot_info *boot; unsigned cards, good; };

static bool look_at(const struct pci_function *f, void *arg)
{
    struct seen *seen = arg;
    int err;

    if (!card_driver(f))
        return false;
    seen->cards++;
    err = seen->boot->pci_release(f->at.bdf);
    if (err == -EBUSY)
        log_error("%s: the firmware does not let it go", card_driver(f));
    else
        seen->good += try_ours(f);
    devices_stop();
    if (!err)
        seen->boot->pci_take_back(f->at.bdf);
    return false;
}

static bool is_known(const struct pci_function *f, void *arg)
{
    return f->at.bdf == *(uint16_t *)arg && card_driver(f);
}

/* Cards that only the firmware has a driver for. */
static void look_at_firmwares(struct seen *seen)
{
    for (unsigned i = 0; i < seen->boot->cards; i++) {
        uint16_t bdf = seen->boot->card[i].bdf;

        if (pci_each(is_known, &bdf))
            continue;
        seen->cards++;
        memset(&net, 0, sizeof(net));
        seen->good += try_card("firmware", firmware_card_open(seen->boot, i, &net.card));
        devices_stop();
    }
}

int selftest_net(const struct boot_info *boot)
{
    struct seen seen = { .boot = boot };

    (void)pci_each(look_at, &seen);
    look_at_firmwares(&seen);
    log_info("selftest: %u network cards, %u passed, %u failed", seen.cards, seen.good, seen.cards - seen.good);
    return seen.cards && seen.good == seen.cards ? 0 : -EIO;
}
