/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <stdlib.h>

#include "lib/errno.h"
#include "tests/unit/machine.h"
#include "tests/unit/random.h"
#include "tests/unit/seam/fake_apic.h"
#include "tests/unit/seam/fake_cpu.h"
#include "tests/unit/seam/fake_percpu.h"
#include "vdev/net.h"
#include "vdev/net_bytes.h"
#include "vdev/net_filter.h"

/* Three VMs' ports and two uplinks; each keeps what it was given last. */
enum { ONE, TWO, THREE, UP, UP2, PORTS };
#define DATA 100u

static struct net_port port[PORTS];
static struct got { unsigned frames, flushes, rooms; int answer; uint32_t bytes; uint8_t at[70000]; } got[PORTS];
static struct net *net;

static struct got *of(struct net_port *p) { return &got[p - port]; }

static int take(struct net_port *p, const struct net_frame *f)
{
    struct got *g = of(p);

    if (g->answer)
        return g->answer;
    g->frames++;
    g->bytes = f->bytes;
    assert_true(f->bytes <= sizeof(g->at));
    assert_int_equal(net_frame_read(f, 0, g->at, f->bytes), 0);
    return 0;
}

static void note_flush(struct net_port *p) { of(p)->flushes++; }
static void note_room(struct net_port *p) { of(p)->rooms++; }

static const struct net_port_ops ops = { take, note_flush, note_room };
static const struct net_port_ops up_ops = { take, note_flush, NULL };

static void set_mac(uint8_t *mac, unsigned n) { memcpy(mac, (uint8_t[]){ 0x52, 0x54, 0, 0, 0, (uint8_t)n }, NET_MAC); }

static int setup(void **state)
{
    static unsigned turn;
    static uint64_t base;
    char name[16];

    fake_percpu_enter(0);
    fake_apic.khz = 1000000;
    if (!base)
        base = machine_memory(16 * MIB, 0);
    memset(port, 0, sizeof(port));
    memset(got, 0, sizeof(got));
    snprintf(name, sizeof(name), "lan%u", turn++ % 8);
    net = net_named(name);
    for (unsigned i = 0; i < PORTS; i++) {
        port[i].ops = i < UP ? &ops : &up_ops;
        port[i].uplink = i >= UP;
        port[i].mtu = 1500;
        set_mac(port[i].mac, i + 1);
        if (i < UP)
            assert_int_equal(net_attach(net, &port[i]), 0);
    }
    return 0;
}

static int teardown(void **state)
{
    for (unsigned i = 0; i < PORTS; i++)
        net_detach(&port[i]);
    return 0;
}

static uint8_t frame[70000];

/* An Ethernet header from one to another (0xff: all), then what is there. */
static void begin(unsigned to, unsigned from, uint16_t type)
{
    set_mac(frame, to);
    if (to == 0xff)
        memset(frame, 0xff, NET_MAC);
    set_mac(frame + 6, from);
    put16(frame + 12, type);
}

static int send_with(unsigned from, uint32_t bytes, struct mb_net_offload offload)
{
    uint32_t head = bytes > 300 ? 200 : bytes;
    const struct net_piece piece[2] = { { .at = frame, .bytes = head }, { .at = frame + head, .bytes = bytes - head } };
    const struct net_frame f = { .piece = piece, .pieces = bytes > head ? 2 : 1, .bytes = bytes, .offload = offload };
    struct net_batch batch = { 0 };
    int err = net_send(&port[from], &f, &batch);

    net_flush(&port[from], &batch);
    return err;
}

static int send(unsigned from, uint32_t bytes) { return send_with(from, bytes, (struct mb_net_offload){ 0 }); }

static void expect(unsigned one, unsigned two, unsigned three)
{
    assert_int_equal(got[ONE].frames, one);
    assert_int_equal(got[TWO].frames, two);
    assert_int_equal(got[THREE].frames, three);
}

static void each_sees_only_what_is_for_it(void **state)
{
    begin(2, 1, 0x1234);
    assert_int_equal(send(ONE, DATA), 0);
    expect(0, 1, 0);
    assert_memory_equal(got[TWO].at, frame, DATA);
    assert_int_equal(got[TWO].flushes, 1);
    begin(0xff, 1, 0x1234);
    assert_int_equal(send(ONE, DATA), 0);
    expect(0, 2, 1);
    begin(1, 1, 0x1234);
    assert_int_equal(send(ONE, DATA), 0);
    begin(77, 1, 0x1234);
    assert_int_equal(send(ONE, DATA), 0);
    memset(frame, 0, NET_MAC);
    assert_int_equal(send(ONE, DATA), 0);
    expect(0, 2, 1);
    assert_int_equal(port[ONE].counts.nowhere, 3);
    assert_int_equal(port[ONE].counts.in, 2);
    assert_int_equal(port[TWO].counts.out, 2);
    assert_int_equal(port[TWO].counts.out_bytes, 2 * DATA);
}

static void no_other_source_is_sent(void **state)
{
    begin(2, 3, 0x1234);
    assert_int_equal(send(ONE, DATA), 0);
    begin(2, 99, 0x1234);
    assert_int_equal(send(ONE, DATA), 0);
    expect(0, 0, 0);
    assert_int_equal(port[ONE].counts.spoofed, 2);
}

static void what_makes_no_sense_is_counted(void **state)
{
    begin(2, 1, 0x1234);
    assert_int_equal(send(ONE, 13), 0);
    assert_int_equal(send_with(ONE, DATA, (struct mb_net_offload){ .flags = 8 }), 0);
    assert_int_equal(send_with(ONE, DATA, (struct mb_net_offload){ .gso = 4 }), 0);
    assert_int_equal(send_with(ONE, DATA, (struct mb_net_offload){ .gso_bytes = 1 }), 0);
    assert_int_equal(send_with(ONE, DATA, (struct mb_net_offload){ .flags = 1, .csum_start = 90, .csum_offset = 9 }), 0);
    assert_int_equal(send_with(ONE, DATA, (struct mb_net_offload){ .flags = 1, .csum_start = 0xffff,
                                                                  .csum_offset = 0xffff }), 0);
    assert_int_equal(send_with(ONE, DATA, (struct mb_net_offload){ .flags = 1, .gso = 1, .gso_bytes = 10,
                                                                  .csum_start = 34, .csum_offset = 16 }), 0);
    expect(0, 0, 0);
    assert_int_equal(port[ONE].counts.bad, 7);
    assert_int_equal(send_with(ONE, DATA, (struct mb_net_offload){ .flags = 1, .csum_start = 90, .csum_offset = 8 }), 0);
    expect(0, 1, 0);
}

static void addresses_are_unique(void **state)
{
    struct net_port other = { .ops = &ops };

    set_mac(other.mac, 2);
    assert_int_equal(net_attach(net, &other), -EEXIST);
    net_detach(&other);
    net_detach(&port[TWO]);
    assert_int_equal(net_attach(net, &other), 0);
    net_detach(&other);
}

static void an_uplink_gets_the_rest_and_is_learned_from(void **state)
{
    assert_int_equal(net_attach(net, &port[UP]), 0);
    assert_int_equal(net_attach(net, &port[UP2]), 0);
    begin(80, 1, 0x1234);
    assert_int_equal(send(ONE, DATA), 0);
    assert_int_equal(got[UP].frames, 1);
    assert_int_equal(got[UP2].frames, 1);
    begin(1, 80, 0x1234);
    net_send_bytes(&port[UP2], frame, DATA, MB_NET_CHECKED);
    expect(1, 0, 0);
    begin(80, 1, 0x1234);
    assert_int_equal(send(ONE, DATA), 0);
    assert_int_equal(got[UP].frames, 1);
    assert_int_equal(got[UP2].frames, 2);
    begin(2, 1, 0x1234);
    assert_int_equal(send(ONE, DATA), 0);
    assert_int_equal(got[UP].frames, 1);
    net_detach(&port[UP2]);
    begin(80, 1, 0x1234);
    assert_int_equal(send(ONE, DATA), 0);
    assert_int_equal(got[UP].frames, 2);
    begin(2, 1, 0x1234); /* from outside with a VM's address */
    net_send_bytes(&port[UP], frame, DATA, 0);
    expect(1, 1, 0);
    assert_int_equal(port[UP].counts.spoofed, 1);
}

static void a_sender_waits_for_room_and_is_told(void **state)
{
    begin(2, 1, 0x1234);
    got[TWO].answer = -EAGAIN;
    assert_int_equal(send(ONE, DATA), -EAGAIN);
    assert_int_equal(port[TWO].counts.full, 0);
    got[TWO].answer = 0;
    net_room(&port[TWO]);
    assert_int_equal(got[ONE].rooms, 1);
    assert_int_equal(got[THREE].rooms, 0);
    net_room(&port[TWO]);
    assert_int_equal(got[ONE].rooms, 1);
    assert_int_equal(send(ONE, DATA), 0);
    got[TWO].answer = -EAGAIN;
    assert_int_equal(send(ONE, DATA), -EAGAIN);
    net_detach(&port[TWO]);
    assert_int_equal(got[ONE].rooms, 2);
}

static void several_are_not_waited_for(void **state)
{
    begin(0xff, 1, 0x1234);
    got[TWO].answer = -EAGAIN;
    assert_int_equal(send(ONE, DATA), 0);
    expect(0, 0, 1);
    assert_int_equal(port[TWO].counts.full, 1);
}

static void a_rate_is_kept(void **state)
{
    uint64_t hz = fake_apic.khz * 1000;
    unsigned n = 0;

    port[ONE].rate.per_second = 40 * MIB;
    port[ONE].rate.last = fake_cpu.tsc;
    begin(2, 1, 0x1234);
    assert_int_equal(send(ONE, 1000), -EAGAIN);
    fake_cpu.tsc += hz / 1000;
    while (!send(ONE, 1000))
        n++;
    assert_in_range(n, 40, 43);
    fake_cpu.tsc += 100 * hz;
    for (n = 0; !send(ONE, 10000);)
        n++;
    assert_in_range(n, 205, 211); /* a 20th of a second's */
    expect(0, got[TWO].frames, 0);
}

/* ---- addresses of IP */

static void own_ip(struct net_port *p)
{
    p->ips = 2;
    p->ip[0] = (struct net_ip){ false, { 10, 0, 0, 1 } };
    p->ip[1] = (struct net_ip){ true, { 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 } };
}

static bool passes(uint32_t bytes) { return net_may_send(&port[ONE], frame, MIN(bytes, NET_HEAD)); }

static void ip4(uint8_t last)
{
    memset(frame + NET_ETH, 0, DATA);
    begin(2, 1, NET_TYPE_IP4);
    frame[14] = 0x45;
    frame[23] = NET_UDP;
    memcpy(frame + 26, (uint8_t[]){ 10, 0, 0, last }, 4);
}

static void ip4_has_its_own_source(void **state)
{
    ip4(7);
    assert_true(passes(DATA));
    own_ip(&port[ONE]);
    assert_false(passes(DATA));
    ip4(1);
    assert_true(passes(DATA));
    assert_false(passes(33));
    frame[14] = 0x44;
    assert_false(passes(DATA));
    ip4(1);
    put16(frame + 12, NET_TYPE_VLAN);
    assert_false(passes(DATA));
    ip4(1);
    memset(frame + 26, 0, 4);
    assert_false(passes(DATA));
    put16(frame + 34, 68);
    put16(frame + 36, 67);
    assert_true(passes(DATA));
    assert_false(passes(41));
    put16(frame + 20, 1);
    assert_false(passes(DATA));
}

static void arp(uint8_t mac, uint8_t last)
{
    static const uint8_t head[] = { 0, 1, 8, 0, 6, 4, 0, 1 };

    memset(frame + NET_ETH, 0, DATA);
    begin(0xff, 1, NET_TYPE_ARP);
    memcpy(frame + 14, head, sizeof(head));
    set_mac(frame + 22, mac);
    memcpy(frame + 28, (uint8_t[]){ 10, 0, 0, last }, 4);
}

static void arp_tells_the_truth(void **state)
{
    arp(1, 7);
    assert_true(passes(42));
    arp(2, 7);
    assert_false(passes(42));
    own_ip(&port[ONE]);
    arp(1, 7);
    assert_false(passes(42));
    arp(1, 1);
    assert_true(passes(42));
    assert_false(passes(41));
    frame[18] = 8;
    assert_false(passes(42));
    arp(1, 0);
    memset(frame + 28, 0, 4);
    assert_true(passes(42));
}

/* An ICMPv6 message of n bytes behind IPv6 from fd00::last, 0: from nobody. */
static uint8_t *icmp6(uint8_t last, uint8_t type, uint32_t n)
{
    memset(frame + NET_ETH, 0, 400);
    begin(2, 1, NET_TYPE_IP6);
    frame[14] = 0x60;
    put16(frame + 18, n);
    frame[20] = NET_ICMP6;
    frame[22] = last ? 0xfd : 0;
    frame[37] = last;
    frame[54] = type;
    return frame + 54;
}

static void neighbour(uint8_t *m, uint8_t last, uint8_t option, uint8_t mac)
{
    m[8] = 0xfd;
    m[23] = last;
    m[24] = option;
    m[25] = 1;
    set_mac(m + 26, mac);
}

static void ip6_has_its_own_source(void **state)
{
    static const uint8_t local[] = { 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0, 0xff, 0xfe, 0, 0, 1 };

    icmp6(7, 128, 32);
    assert_true(passes(86));
    own_ip(&port[ONE]);
    assert_false(passes(86));
    icmp6(1, 128, 32);
    assert_true(passes(86));
    memcpy(frame + 22, local, 16);
    assert_true(passes(86));
    frame[37] = 2;
    assert_false(passes(86));
    icmp6(0, 128, 32);
    assert_false(passes(86));
    neighbour(icmp6(0, 135, 32), 1, 14, 1);
    assert_true(passes(86));
    icmp6(1, 128, 32);
    frame[14] = 0x40;
    assert_false(passes(86));
}

static void neighbours_are_told_the_truth(void **state)
{
    own_ip(&port[ONE]);
    neighbour(icmp6(1, 136, 32), 1, 2, 1);
    assert_true(passes(86));
    neighbour(icmp6(1, 136, 32), 9, 2, 1);
    assert_false(passes(86));
    neighbour(icmp6(1, 136, 32), 1, 2, 3);
    assert_false(passes(86));
    neighbour(icmp6(1, 135, 32), 9, 1, 1);
    assert_true(passes(86));
    neighbour(icmp6(1, 135, 32), 9, 1, 2);
    assert_false(passes(86));
    neighbour(icmp6(1, 135, 32), 9, 1, 1);
    frame[54 + 25] = 0; /* an option without a length */
    assert_false(passes(86));
    assert_false((icmp6(1, 134, 32), passes(86)));
    assert_false((icmp6(1, 137, 40), passes(94)));
    neighbour(icmp6(1, 136, 200), 1, 2, 1); /* what is behind the head cannot be seen */
    assert_false(passes(254));
    neighbour(icmp6(1, 136, 20), 1, 2, 1);
    assert_false(passes(86));
}

/* The same lie behind headers that hide it. */
static void headers_hide_nothing(void **state)
{
    static const uint8_t hiding[] = { 0, 43, 44, 60 };

    own_ip(&port[ONE]);
    for (unsigned i = 0; i < sizeof(hiding); i++) {
        for (unsigned type = 128; type <= 136; type += 8) {
            neighbour(icmp6(1, 0, 40) + 8, 9, 2, 1);
            frame[20] = hiding[i];
            frame[54] = NET_ICMP6;
            frame[55] = 0;
            frame[62] = (uint8_t)type;
            assert_int_equal(passes(94), type == 128);
        }
    }
    frame[20] = 0;
    frame[55] = 30; /* longer than what can be seen */
    frame[62] = 128;
    put16(frame + 18, 300);
    assert_false(passes(354));
}

static void noise_is_looked_at_without_harm(void **state)
{
    static const uint16_t types[] = { NET_TYPE_IP4, NET_TYPE_IP6, NET_TYPE_ARP, NET_TYPE_VLAN, 0 };
    struct net_headers h;

    own_ip(&port[ONE]);
    for (unsigned turn = 0; turn < 200000; turn++) {
        uint32_t n = NET_ETH + fake_below(NET_HEAD - NET_ETH + 1);
        uint8_t *exact = malloc(n); /* its end is the sanitizer's */
        struct mb_net_offload o = { .flags = (uint8_t)fake_below(8), .gso = (uint8_t)fake_below(4),
                                    .gso_bytes = (uint16_t)fake_below(3000), .csum_start = 34, .csum_offset = 16 };

        for (uint32_t i = 0; i < n; i++)
            exact[i] = (uint8_t)(fake_below(3) ? fake_below(256) : (uint64_t[]){ 0, 6, 17, 58, 0x45 }[fake_below(5)]);
        set_mac(exact + 6, 1);
        put16(exact + 12, types[fake_below(5)]);
        (void)net_may_send(&port[ONE], exact, n);
        (void)net_offload_fits(&o, exact, n, n + (uint32_t)fake_below(1000));
        if (net_find_headers(&o, exact, n, &h))
            assert_true(h.payload <= n && h.transport < h.payload && h.ip < h.transport);
        free(exact);
    }
}

/* ---- wires */

static uint64_t sum(const uint8_t *at, uint32_t n)
{
    uint64_t s = 0;

    for (uint32_t i = 0; i < n; i++)
        s += i & 1 ? at[i] : (uint64_t)at[i] << 8;
    return s;
}

static bool sums_up(uint64_t s)
{
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    return s == 0xffff;
}

#define SEGMENT 1000u
static unsigned segments;

/* Each segment is checked on its own. */
static int check_segment(struct net_port *p, const struct net_frame *f)
{
    const uint8_t *at = f->piece->at, *ip = at + 14;
    bool six = get16(at + 12) == NET_TYPE_IP6, tcp = six ? ip[6] == NET_TCP : ip[9] == NET_TCP;
    const uint8_t *transport = ip + (six ? 40 : 20);
    uint32_t header = 14 + (six ? 40u : 20u), bytes = f->bytes - header;
    uint32_t payload = header + (tcp ? 32 : 8);

    assert_int_equal(f->pieces, 1);
    assert_int_equal(f->offload.flags, MB_NET_CHECKED);
    if (six)
        assert_int_equal(get16(ip + 4), bytes);
    else
        assert_true(get16(ip + 2) == f->bytes - 14 && sums_up(sum(ip, 20)) && get16(ip + 4) == 77 + segments);
    assert_true(sums_up(sum(ip + (six ? 8 : 12), six ? 32 : 8) + bytes + (tcp ? NET_TCP : NET_UDP) +
                        sum(transport, bytes)));
    if (tcp) {
        assert_int_equal(get32(transport + 4), 0xfffffff0u + segments * SEGMENT);
        assert_int_equal(transport[13], got[UP].bytes + f->bytes - payload == 3500 ? 0x19 : segments ? 0x10 : 0x90);
    } else {
        assert_int_equal(get16(transport + 4), bytes);
    }
    for (uint32_t i = payload; i < f->bytes; i++)
        assert_int_equal(at[i], (uint8_t)((got[UP].bytes + i - payload) * 13));
    got[UP].bytes += f->bytes - payload;
    segments++;
    return 0;
}

static void segments_are_whole_packets(void **state)
{
    static const struct net_port_ops checking = { check_segment, NULL, NULL };

    port[UP].ops = &checking;
    port[UP].wire = true;
    assert_int_equal(net_attach(net, &port[UP]), 0);
    for (unsigned gso = MB_NET_GSO_TCP4; gso <= MB_NET_GSO_UDP; gso++) {
        bool six = gso == MB_NET_GSO_TCP6, tcp = gso != MB_NET_GSO_UDP;
        uint32_t transport = 14 + (six ? 40 : 20), payload = transport + (tcp ? 32 : 8);
        struct mb_net_offload o = { .flags = MB_NET_PARTIAL | (tcp ? MB_NET_ECN : 0), .gso = (uint8_t)gso,
                                    .gso_bytes = SEGMENT, .csum_start = (uint16_t)transport, .csum_offset = tcp ? 16 : 6 };

        memset(frame, 0, 200);
        begin(99, 1, six ? NET_TYPE_IP6 : NET_TYPE_IP4);
        frame[14] = six ? 0x60 : 0x45;
        frame[six ? 20 : 23] = tcp ? NET_TCP : NET_UDP;
        memset(frame + (six ? 22 : 26), 0x5a + (int)gso, six ? 32 : 8);
        put16(frame + 18, six ? 3532 : 77);
        put32(frame + transport + 4, tcp ? 0xfffffff0u : 0);
        if (tcp) {
            frame[transport + 12] = 0x80;
            frame[transport + 13] = 0x99;
        }
        for (uint32_t i = 0; i < 3500; i++)
            frame[payload + i] = (uint8_t)(i * 13);
        got[UP].bytes = segments = 0;
        assert_int_equal(send_with(ONE, payload + 3500, o), 0);
        assert_int_equal(segments, 4);
        assert_int_equal(got[UP].bytes, 3500);
        o.gso_bytes = 1600; /* longer than the wire takes */
        assert_int_equal(send_with(ONE, payload + 3500, o), 0);
        assert_int_equal(segments, 4);
    }
    assert_int_equal(port[UP].counts.full, 3);
    begin(99, 1, 0x1234);
    assert_int_equal(send(ONE, 1515), 0);
    assert_int_equal(port[UP].counts.full, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_sees_only_what_is_for_it, setup, teardown),
        cmocka_unit_test_setup_teardown(no_other_source_is_sent, setup, teardown),
        cmocka_unit_test_setup_teardown(what_makes_no_sense_is_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(addresses_are_unique, setup, teardown),
        cmocka_unit_test_setup_teardown(an_uplink_gets_the_rest_and_is_learned_from, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sender_waits_for_room_and_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(several_are_not_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rate_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(ip4_has_its_own_source, setup, teardown),
        cmocka_unit_test_setup_teardown(arp_tells_the_truth, setup, teardown),
        cmocka_unit_test_setup_teardown(ip6_has_its_own_source, setup, teardown),
        cmocka_unit_test_setup_teardown(neighbours_are_told_the_truth, setup, teardown),
        cmocka_unit_test_setup_teardown(headers_hide_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(noise_is_looked_at_without_harm, setup, teardown),
        cmocka_unit_test_setup_teardown(segments_are_whole_packets, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
