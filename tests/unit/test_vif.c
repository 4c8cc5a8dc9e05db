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
#include "vdev/vif.h"

/* Two VMs with an interface each on one network, two queues; queue 0 is used. */
#define PACKETS 8u
#define PAGES   16u
#define RING    0x10000ul
#define TABLE   0x20000ul
#define DATA    0x200000ul      /* what is sent */
#define BUFFERS 0x400000ul      /* what is posted, a page every second one */
#define MEMORY  (8 * MIB)
#define AT_WORD(name) (RING + offsetof(struct mb_net_ring, name))
#define AT_PACKET(n) (RING + 128 + (n) % PACKETS * 32)
#define AT_PAGE(n)   (RING + 128 + PACKETS * 32 + (n) % PAGES * 8)
#define AT_FILLED(n) (RING + 128 + PACKETS * 32 + PAGES * 8 + (n) % PAGES * 16)

static struct pmap pmap[2];
static struct vifs vifs[2];
static uint32_t submitted[2], posted[2], seen[2];
static unsigned interrupts[2];
static unsigned woken;            /* vCPUs of VM 1 that were: a bit each */
static void (*waking)(void);      /* looks at what is so at that time */
static uint8_t mac[2][6] = { { 0x52, 0x54, 0, 0, 0, 1 }, { 0x52, 0x54, 0, 0, 0, 2 } };
static uint8_t packet[2 * MIB], came[2 * MIB];

static void interrupt(void *ctx) { ++*(unsigned *)ctx; }

static void wake(void *ctx, unsigned vcpu)
{
    woken |= ctx == &interrupts[1] ? BIT(vcpu) : 0;
    if (waking)
        waking();
}

static void put(unsigned vm, uint64_t gpa, const void *from, size_t n)
{
    assert_int_equal(pmap_write(&pmap[vm], GPA(gpa), from, n), 0);
}

static void put32(unsigned vm, uint64_t gpa, uint32_t word) { put(vm, gpa, &word, sizeof(word)); }

static void get(unsigned vm, uint64_t gpa, void *to, size_t n)
{
    assert_int_equal(pmap_read(&pmap[vm], GPA(gpa), to, n), 0);
}

static uint32_t word(unsigned vm, uint64_t gpa)
{
    uint32_t w;

    get(vm, gpa, &w, sizeof(w));
    return w;
}

static void make_vm(unsigned i)
{
    struct vif *vif;
    char name[16];

    assert_int_equal(pmap_init(&pmap[i], (uint16_t)(i + 1), MEMORY, 1), 0);
    vifs_init(&vifs[i], 2);
    vifs[i].pmap = &pmap[i];
    vifs[i].name = "test";
    vifs[i].share = true;
    vifs[i].interrupt = interrupt;
    vifs[i].wake = wake;
    vifs[i].ctx = &interrupts[i];
    vif = vifs_add(&vifs[i]);
    snprintf(name, sizeof(name), "test/%u", i);
    strcpy(vif->port.name, name);
    memcpy(vif->port.mac, mac[i], 6);
    assert_int_equal(net_attach(net_named("lan"), &vif->port), 0);
    submitted[i] = posted[i] = seen[i] = interrupts[i] = woken = 0;
    waking = NULL;
    assert_int_equal(vifs_set_ring(&vifs[i], 0, 0, GPA(RING), PACKETS, PAGES), 0);
    put32(i, AT_WORD(want), MB_NET_WANT_PACKETS | MB_NET_WANT_ROOM);
}

static int setup(void **state)
{
    static uint64_t base;

    fake_percpu_enter(0);
    fake_cpu_reset();
    fake_apic.khz = 1000000;
    fake_cpu.tsc = 1000000;
    if (!base)
        base = machine_memory(96 * MIB, 0);
    for (unsigned i = 0; i < 2; i++)
        make_vm(i);
    for (size_t i = 0; i < sizeof(packet); i++)
        packet[i] = (uint8_t)(i * 7 + i / 256);
    memcpy(packet, mac[1], 6);
    memcpy(packet + 6, mac[0], 6);
    packet[12] = 0x12;
    return 0;
}

static int teardown(void **state)
{
    for (unsigned i = 0; i < 2; i++) {
        vifs_destroy(&vifs[i]);
        pmap_destroy(&pmap[i]);
    }
    return 0;
}

static void post(unsigned vm, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++, posted[vm]++) {
        uint64_t page = BUFFERS + posted[vm] % PAGES * 2 * PAGE_SIZE;

        put(vm, AT_PAGE(posted[vm]), &page, sizeof(page));
    }
    put32(vm, AT_WORD(posted), posted[vm]);
}

static void submit(unsigned vm, const struct mb_net_packet *p)
{
    put(vm, AT_PACKET(submitted[vm]), p, sizeof(*p));
    put32(vm, AT_WORD(submitted), ++submitted[vm]);
}

static int64_t run(unsigned vm) { return vifs_run(&vifs[vm], 0, 0); }

/* What is in the table goes out as one packet. */
static int64_t send_table(uint32_t bytes, unsigned segments)
{
    const struct mb_net_packet p = { .bytes = bytes, .segments = (uint16_t)segments, .address = TABLE };

    submit(0, &p);
    return run(0);
}

static void segment(unsigned n, uint64_t gpa, uint32_t bytes, uint32_t flags)
{
    const struct mb_net_segment s = { .gpa = gpa, .bytes = bytes, .flags = flags };

    put(0, TABLE + n * sizeof(s), &s, sizeof(s));
}

static int64_t send_plain(uint32_t bytes)
{
    const struct mb_net_packet p = { .bytes = bytes, .address = DATA };

    put(0, DATA, packet, bytes);
    submit(0, &p);
    return run(0);
}

/* The next packet that VM 1 got; how many pages it has. */
static unsigned take(uint32_t *bytes)
{
    unsigned pages = 0;

    *bytes = 0;
    for (uint32_t n = seen[1]; n != word(1, AT_WORD(filled)); n++) {
        struct mb_net_filled f;
        uint64_t page;

        get(1, AT_FILLED(n), &f, sizeof(f));
        if (f.pages && pages)
            break;
        get(1, AT_PAGE(n), &page, sizeof(page));
        get(1, page, came + *bytes, f.bytes);
        *bytes += f.bytes;
        pages++;
        seen[1]++;
    }
    return pages;
}

static void expect(uint32_t bytes, unsigned pages)
{
    uint32_t n;

    assert_int_equal(take(&n), pages);
    assert_int_equal(n, bytes);
    assert_memory_equal(came, packet, bytes);
}

static const struct net_counts *counts(unsigned vm) { return &vifs[vm].vif[0]->port.counts; }

static void small_packets_arrive(void **state)
{
    struct mb_net_filled f;

    post(1, 4);
    assert_int_equal(send_plain(60), 1);
    assert_int_equal(word(0, AT_WORD(taken)), 1);
    get(1, AT_FILLED(0), &f, sizeof(f));
    assert_int_equal(f.pages, 1);
    assert_int_equal(f.total, 60);
    expect(60, 1);
    assert_int_equal(interrupts[1], 1);
    assert_int_equal(interrupts[0], 0);
    put32(1, AT_WORD(want), 0);
    assert_int_equal(send_plain(5000), 1);
    expect(5000, 2);
    assert_int_equal(interrupts[1], 1);
}

static void several_go_in_one_call(void **state)
{
    const struct mb_net_packet p = { .bytes = 100, .address = DATA };

    put(0, DATA, packet, 100);
    post(1, 8);
    for (unsigned i = 0; i < PACKETS; i++)
        submit(0, &p);
    assert_int_equal(run(0), PACKETS);
    for (unsigned i = 0; i < PACKETS; i++)
        expect(100, 1);
    assert_int_equal(interrupts[1], 1);
    assert_int_equal(run(0), 0);
}

static bool is_shared(unsigned vm, uint64_t gpa, unsigned vm2, uint64_t gpa2)
{
    struct hpa a = HPA_NONE, b = HPA_NONE;

    assert_int_equal(pmap_share(&pmap[vm], GPA(gpa), &a), 0);
    assert_int_equal(pmap_share(&pmap[vm2], GPA(gpa2), &b), 0);
    commons_drop(a);
    commons_drop(b);
    return a.v == b.v;
}

/* Headers, two pages, a rest: each page of the middle has one of its own. */
static void send_split(uint32_t flags)
{
    put(0, DATA + 100, packet, 66);
    put(0, DATA + PAGE_SIZE, packet + 66, 2 * PAGE_SIZE + 500);
    segment(0, DATA + 100, 66, 0);
    segment(1, DATA + PAGE_SIZE, 2 * PAGE_SIZE + 500, flags);
    assert_int_equal(send_table(66 + 2 * PAGE_SIZE + 500, 2), 1);
}

static void whole_pages_are_shared_if_they_stay(void **state)
{
    uint64_t before;
    uint8_t byte = 0x77, still;

    post(1, 8);
    before = free_pages();
    send_split(MB_NET_STAYS);
    expect(66 + 2 * PAGE_SIZE + 500, 4);
    assert_int_equal(counts(1)->placed, 2);
    assert_true(is_shared(0, DATA + PAGE_SIZE, 1, BUFFERS + 2 * PAGE_SIZE));
    assert_true(is_shared(0, DATA + 2 * PAGE_SIZE, 1, BUFFERS + 4 * PAGE_SIZE));
    assert_true(free_pages() <= before);
    put(0, DATA + PAGE_SIZE, &byte, 1); /* the sender's page is its own again */
    get(1, BUFFERS + 2 * PAGE_SIZE, &still, 1);
    assert_int_equal(still, packet[66]);
    put(1, BUFFERS + 4 * PAGE_SIZE, &byte, 1);
    get(0, DATA + 2 * PAGE_SIZE, &still, 1);
    assert_int_equal(still, packet[66 + PAGE_SIZE]);
}

/* What is copied to a page that others have, too, is mapped when the call returns. */
static void a_copy_costs_the_receiver_no_fault(void **state)
{
    const uint32_t bytes = 66 + 2 * PAGE_SIZE + 500;

    post(1, PAGES);
    send_split(MB_NET_STAYS);
    for (unsigned i = 1; i < PAGES / 4; i++)
        assert_int_equal(send_table(bytes, 2), 1);
    for (unsigned i = 0; i < PAGES / 4; i++)
        expect(bytes, 4);
    assert_int_equal(ept_lookup(&pmap[1].ept[0], GPA(BUFFERS + 2 * PAGE_SIZE)).prot, EPT_R | EPT_X);
    post(1, 4);
    segment(1, DATA + PAGE_SIZE, 2 * PAGE_SIZE + 500, 0);
    assert_int_equal(send_table(bytes, 2), 1);
    expect(bytes, 4);
    assert_int_equal(ept_lookup(&pmap[1].ept[0], GPA(BUFFERS + 2 * PAGE_SIZE)).prot, EPT_RWX);
}

/* The same for what is only headers. */
static void headers_cost_it_none_either(void **state)
{
    post(1, PAGES);
    send_split(MB_NET_STAYS);
    for (unsigned i = 1; i < PAGES / 4; i++)
        assert_int_equal(send_table(66 + 2 * PAGE_SIZE + 500, 2), 1);
    for (unsigned i = 0; i < PAGES / 4; i++)
        expect(66 + 2 * PAGE_SIZE + 500, 4);
    post(1, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(send_plain(60), 1);
        expect(60, 1);
    }
    assert_int_equal(ept_lookup(&pmap[1].ept[0], GPA(BUFFERS + 2 * PAGE_SIZE)).prot, EPT_RWX);
}

/* Pages that lie together at both ends, up to where one does not: at the posted ones' end, at the segment's. */
static void what_lies_together_is_copied_together(void **state)
{
    static const uint8_t place[] = { 9, 1, 2, 3, 7, 8, 4, 5 };

    for (unsigned i = 0; i < ARRAY_SIZE(place); i++, posted[1]++) {
        uint64_t page = BUFFERS + place[i] * PAGE_SIZE;

        put(1, AT_PAGE(i), &page, sizeof(page));
    }
    put32(1, AT_WORD(posted), posted[1]);
    put(0, DATA + 100, packet, 66);
    put(0, DATA + PAGE_SIZE, packet + 66, 4 * PAGE_SIZE);
    put(0, DATA + 8 * PAGE_SIZE, packet + 66 + 4 * PAGE_SIZE, 2 * PAGE_SIZE + 500);
    segment(0, DATA + 100, 66, 0);
    segment(1, DATA + PAGE_SIZE, 4 * PAGE_SIZE, 0);
    segment(2, DATA + 8 * PAGE_SIZE, 2 * PAGE_SIZE + 500, 0);
    assert_int_equal(send_table(66 + 6 * PAGE_SIZE + 500, 3), 1);
    expect(66 + 6 * PAGE_SIZE + 500, 8);
    assert_int_equal(counts(1)->copied, 66 + 6 * PAGE_SIZE + 500);
}

static void they_are_copied_otherwise(void **state)
{
    post(1, 8);
    send_split(0);
    expect(66 + 2 * PAGE_SIZE + 500, 4);
    assert_int_equal(counts(1)->placed, 0);
    assert_false(is_shared(0, DATA + PAGE_SIZE, 1, BUFFERS + 2 * PAGE_SIZE));
    vifs[1].share = false;
    send_split(MB_NET_STAYS);
    expect(66 + 2 * PAGE_SIZE + 500, 4);
    assert_int_equal(counts(1)->placed, 0);
    vifs[1].share = true;
    vifs[0].share = false;
    post(1, 8);
    send_split(MB_NET_STAYS);
    expect(66 + 2 * PAGE_SIZE + 500, 4);
    assert_int_equal(counts(1)->placed, 0);
}

/* Pages that were never touched read as zeros, on both sides. */
static void untouched_pages_are_zeros(void **state)
{
    memset(packet + 66, 0, 2 * PAGE_SIZE + 500);
    post(1, 8);
    put(1, BUFFERS + 2 * PAGE_SIZE, "old", 3);
    put(0, DATA + 100, packet, 66);
    segment(0, DATA + 100, 66, 0);
    segment(1, DATA + 3 * MIB, 2 * PAGE_SIZE + 500, MB_NET_STAYS);
    assert_int_equal(send_table(66 + 2 * PAGE_SIZE + 500, 2), 1);
    expect(66 + 2 * PAGE_SIZE + 500, 4);
}

/* Among pages that are shared together is one that cannot be: it is copied, in its place. */
static void one_that_cannot_be_shared_is_copied(void **state)
{
    const uint32_t bytes = 66 + 4 * PAGE_SIZE;

    memset(packet + 66 + PAGE_SIZE, 0, PAGE_SIZE);
    post(1, 8);
    put(1, BUFFERS + 4 * PAGE_SIZE, "old", 3);
    put(0, DATA + 100, packet, 66);
    put(0, DATA + PAGE_SIZE, packet + 66, 4 * PAGE_SIZE);
    segment(0, DATA + 100, 66, 0);
    segment(1, DATA + PAGE_SIZE, PAGE_SIZE, MB_NET_STAYS);
    segment(2, DATA + 3 * MIB, PAGE_SIZE, MB_NET_STAYS); /* never touched */
    segment(3, DATA + 3 * PAGE_SIZE, 2 * PAGE_SIZE, MB_NET_STAYS);
    assert_int_equal(send_table(bytes, 4), 1);
    expect(bytes, 5);
    assert_int_equal(counts(1)->placed, 3);
    assert_int_equal(counts(1)->copied, 66 + PAGE_SIZE);
    assert_true(is_shared(0, DATA + 4 * PAGE_SIZE, 1, BUFFERS + 8 * PAGE_SIZE));
}

static void bits_and_pieces_are_packed(void **state)
{
    uint32_t at = 0, n = 0;

    post(1, 12);
    for (uint32_t bytes = 20; at + bytes < 12000; bytes = bytes * 3 / 2, n++) {
        uint64_t gpa = DATA + n * 3 * PAGE_SIZE + n * 77;

        put(0, gpa, packet + at, bytes);
        segment(n, gpa, bytes, MB_NET_STAYS);
        at += bytes;
    }
    assert_int_equal(send_table(at, n), 1);
    assert_true(take(&n) <= 4);
    assert_int_equal(n, at);
    assert_memory_equal(came, packet, at);
}

static void a_sender_waits_and_is_told(void **state)
{
    post(1, 1);
    assert_int_equal(send_plain(60), 1);
    assert_int_equal(send_plain(60), 0);
    assert_int_equal(word(0, AT_WORD(taken)), 1);
    assert_int_equal(word(1, AT_WORD(hungry)), 1);
    assert_int_equal(interrupts[0], 0);
    post(1, 1);
    assert_int_equal(run(1), 0);
    assert_int_equal(word(1, AT_WORD(hungry)), 0);
    assert_int_equal(interrupts[0], 1);
    assert_int_equal(run(0), 1);
    expect(60, 1);
    expect(60, 1);
    assert_int_equal(counts(1)->full, 0);
}

static void but_not_for_ever(void **state)
{
    assert_int_equal(send_plain(60), 0);
    fake_cpu.tsc += 9 * fake_apic.khz;
    assert_int_equal(run(0), 0);
    fake_cpu.tsc += 2 * fake_apic.khz;
    assert_int_equal(run(0), 1);
    assert_int_equal(counts(1)->full, 1);
    assert_int_equal(send_plain(60), 1); /* at once */
    assert_int_equal(counts(1)->full, 2);
    post(1, 2);
    assert_int_equal(send_plain(60), 1);
    expect(60, 1);
}

static void who_has_no_ring_loses_its_own(void **state)
{
    assert_int_equal(vifs_set_ring(&vifs[1], 0, 0, GPA(0), 0, 0), 0);
    assert_int_equal(send_plain(60), 1);
    assert_int_equal(counts(1)->full, 1);
    assert_int_equal(run(1), -ENXIO);
}

static void another_queue_takes_over(void **state)
{
    assert_int_equal(vifs_set_ring(&vifs[1], 0, 0, GPA(0), 0, 0), 0);
    assert_int_equal(vifs_set_ring(&vifs[1], 0, 1, GPA(RING), PACKETS, PAGES), 0);
    post(1, 2);
    assert_int_equal(send_plain(60), 1);
    expect(60, 1);
}

static void nonsense_is_counted_and_gone(void **state)
{
    static const struct mb_net_packet bad[] = {
        { .bytes = 0, .address = DATA }, { .bytes = 13, .address = DATA },
        { .bytes = MB_NET_MAX_BYTES + 1, .address = DATA }, { .bytes = 60, .address = MEMORY },
        { .bytes = 60, .address = MEMORY - 59 }, { .bytes = 60, .address = UINT64_MAX - 10 },
        { .bytes = 60, .address = DATA, .zero = 1 }, { .bytes = 60, .address = DATA, .zero2 = 1 },
        { .bytes = 60, .address = TABLE + 8, .segments = 1 }, { .bytes = 60, .address = TABLE, .segments = 273 },
        { .bytes = 60, .address = MEMORY, .segments = 1 }, { .bytes = 61, .address = TABLE, .segments = 1 },
        { .bytes = 59, .address = TABLE, .segments = 1 }, { .bytes = 60, .address = TABLE + 16, .segments = 1 },
        { .bytes = 60, .address = TABLE + 32, .segments = 1 }, { .bytes = 60, .address = TABLE + 48, .segments = 1 },
        { .bytes = 60, .address = DATA, .offload = { .flags = 1, .csum_start = 59, .csum_offset = 0 } },
    };

    post(1, 4);
    segment(0, DATA, 60, 0);
    segment(1, DATA, 0, 0);
    segment(2, DATA, 60, 2);
    segment(3, MEMORY - 1, 60, 0);
    put(0, DATA, packet, 60);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        submit(0, &bad[i]);
        assert_int_equal(run(0), 1);
        assert_int_equal(counts(0)->bad, i + 1);
    }
    assert_int_equal(word(1, AT_WORD(filled)), 0);
    assert_int_equal(send_plain(60), 1);
    expect(60, 1);
}

static void a_broken_ring_stops_its_owner_alone(void **state)
{
    post(1, 2);
    put32(0, AT_WORD(submitted), PACKETS + 1);
    assert_int_equal(run(0), -EPROTO);
    assert_int_equal(run(0), -EPROTO);
    assert_int_equal(vifs_set_ring(&vifs[0], 0, 1, GPA(RING), PACKETS, PAGES), -EPROTO);
    assert_int_equal(run(1), 0);
}

static void pages_that_are_none_stop_the_receiver_alone(void **state)
{
    uint64_t page = MEMORY;

    post(1, 2);
    put(1, AT_PAGE(0), &page, sizeof(page));
    assert_int_equal(send_plain(60), 1);
    assert_int_equal(counts(1)->full, 1);
    assert_int_equal(run(1), -EPROTO);
    assert_int_equal(send_plain(60), 1);
}

static void more_pages_than_the_ring_has_stop_it_too(void **state)
{
    put32(1, AT_WORD(posted), PAGES + 1);
    assert_int_equal(send_plain(60), 1);
    assert_int_equal(run(1), -EPROTO);
}

static void rings_are_checked(void **state)
{
    assert_int_equal(vifs_set_ring(&vifs[0], 1, 0, GPA(RING), 8, 8), -ENODEV);
    assert_int_equal(vifs_set_ring(&vifs[0], 0, 2, GPA(RING), 8, 8), -ENODEV);
    assert_int_equal(vifs_set_ring(&vifs[0], 0, 0, GPA(RING + 8), 8, 8), -EINVAL);
    assert_int_equal(vifs_set_ring(&vifs[0], 0, 0, GPA(RING), 7, 8), -EINVAL);
    assert_int_equal(vifs_set_ring(&vifs[0], 0, 0, GPA(RING), 8, 0), -EINVAL);
    assert_int_equal(vifs_set_ring(&vifs[0], 0, 0, GPA(RING), 2048, 8), -EINVAL);
    assert_int_equal(vifs_set_ring(&vifs[0], 0, 0, GPA(RING), 8, 8192), -EINVAL);
    assert_int_equal(vifs_set_ring(&vifs[0], 0, 0, GPA(MEMORY - PAGE_SIZE), 1024, 4096), -EFAULT);
    assert_int_equal(vifs_run(&vifs[0], 7, 0), -ENODEV);
    assert_int_equal(vifs_identify(&vifs[0], 1, GPA(DATA)), -ENODEV);
    assert_int_equal(vifs_identify(&vifs[0], 0, GPA(MEMORY)), -EFAULT);
    assert_int_equal(vifs_identify(&vifs[0], 0, GPA(DATA)), 0);
    get(0, DATA, came, sizeof(struct mb_net_identity));
    assert_memory_equal(came, mac[0], 6);
    assert_string_equal((char *)came + 8, "lan");
}

static void who_idles_sends_what_it_has(void **state)
{
    const struct mb_net_packet p = { .bytes = 60, .address = DATA };

    post(1, 2);
    put(0, DATA, packet, 60);
    submit(0, &p);
    vifs_idle(&vifs[0], 1);
    assert_int_equal(word(1, AT_WORD(filled)), 0);
    vifs_idle(&vifs[0], 0);
    expect(60, 1);
    assert_int_equal(word(0, AT_WORD(taken)), 1);
}

static bool waits(unsigned vm, unsigned vcpu, uint64_t queue, uint32_t known, int64_t result)
{
    bool may = true;

    assert_int_equal(vifs_wait(&vifs[vm], vcpu, 0, queue, known, &may), result);
    return may;
}

static void there_is_what_it_waits_for(void) { assert_int_equal(word(1, AT_WORD(filled)), 1); }

/* Woken once, by what is there already, whether or not an interrupt is wanted. */
static void who_waits_is_woken_by_a_packet(void **state)
{
    post(1, 4);
    put32(1, AT_WORD(want), 0);
    waking = there_is_what_it_waits_for;
    assert_true(waits(1, 1, 0, 0, 0));
    assert_int_equal(woken, 0);
    assert_int_equal(send_plain(60), 1);
    assert_int_equal(woken, BIT(1));
    assert_int_equal(interrupts[1], 0);
    waking = NULL;
    woken = 0;
    assert_int_equal(send_plain(60), 1);       /* it waits no more */
    assert_int_equal(woken, 0);
    assert_true(waits(1, 0, 0, 2, 0));
    put32(1, AT_WORD(want), MB_NET_WANT_PACKETS);
    assert_int_equal(send_plain(60), 1);
    assert_int_equal(woken, BIT(0));
    assert_int_equal(interrupts[1], 1);
}

static void nobody_waits_for_what_is_there(void **state)
{
    post(1, 4);
    assert_int_equal(send_plain(60), 1);
    assert_false(waits(1, 0, 0, 0, 0));
    assert_true(waits(1, 0, 0, 1, 0));
    assert_false(waits(1, 0, 0, 0, 0));        /* and that it has waited before is forgotten */
    assert_int_equal(send_plain(60), 1);
    assert_int_equal(woken, 0);
}

/* What it has submitted goes first; who may not wait has called like any other. */
static void who_waits_sends(void **state)
{
    const struct mb_net_packet p = { .bytes = 60, .address = DATA };
    bool may = false;

    post(1, 4);
    put(0, DATA, packet, 60);
    submit(0, &p);
    submit(0, &p);
    assert_true(waits(0, 0, 0, 0, 2));
    expect(60, 1);
    expect(60, 1);
    submit(0, &p);
    assert_int_equal(vifs_set_ring(&vifs[0], 0, 1, GPA(RING + 0x8000), PACKETS, PAGES), 0);
    assert_true(waits(0, 0, 1, 0, 0));         /* for another queue: its own is sent, too */
    expect(60, 1);
    submit(0, &p);
    assert_int_equal(vifs_wait(&vifs[0], 0, 0, 0, 0, &may), 1);
    assert_false(may);
}

/* Its driver has to know: of packets that were left, of what is wrong. */
static void nobody_waits_with_trouble(void **state)
{
    const struct mb_net_packet p = { .bytes = 60, .address = DATA };

    put(0, DATA, packet, 60);
    submit(0, &p);
    assert_false(waits(0, 0, 0, 0, 0));        /* there is no room */
    post(1, 1);
    assert_true(waits(0, 0, 0, 0, 1));
    assert_false(waits(0, 0, 2, 0, -ENODEV));
    assert_false(waits(0, 0, 1, 0, -ENXIO));
    put32(0, AT_WORD(submitted), submitted[0] + PACKETS + 1);
    assert_false(waits(0, 0, 0, 0, -EPROTO));
}

/* A ring that is gone wakes nobody. */
static void a_new_ring_has_no_waiters(void **state)
{
    assert_true(waits(1, 0, 0, 0, 0));
    assert_int_equal(vifs_set_ring(&vifs[1], 0, 0, GPA(RING), PACKETS, PAGES), 0);
    put32(1, AT_WORD(posted), 0);
    post(1, 4);
    assert_int_equal(send_plain(60), 1);
    assert_int_equal(woken, 0);
}

/* As much as fits, in all shapes, with and without sharing; what arrives is what was sent, and no page is lost. */
static void anything_arrives_whole(void **state)
{
    uint64_t before;

    for (unsigned turn = 0; turn < 400; turn++) {
        unsigned n = 1 + fake_below(7);
        uint32_t bytes = 0, got;

        while (posted[1] - word(1, AT_WORD(filled)) < PAGES)
            post(1, 1);
        for (size_t i = 14; i < 100; i++)
            packet[fake_below(60000) + 14] = (uint8_t)fake_below(256);
        for (unsigned i = 0; i < n; i++) {
            uint32_t most = i ? 5000 : 400, part = i ? 1 + fake_below(most) : 14 + fake_below(most);
            uint64_t gpa = DATA + i * 4 * PAGE_SIZE + (fake_below(2) ? 0 : fake_below(4096));

            if (i && !fake_below(3))
                part = 4096;
            put(0, gpa, packet + bytes, part);
            segment(i, gpa, part, fake_below(2) ? MB_NET_STAYS : 0);
            bytes += part;
        }
        assert_int_equal(send_table(bytes, n), 1);
        (void)take(&got);
        assert_int_equal(got, bytes);
        assert_memory_equal(came, packet, bytes);
    }
    teardown(NULL);
    before = free_pages();
    setup(NULL);
    teardown(NULL);
    assert_int_equal(free_pages(), before);
    setup(NULL);
}

/* Rings of nothing but noise: the other VM's memory stays what it is, and the machine's pages are all there after. */
static void noise_harms_nobody(void **state)
{
    uint8_t *noise = malloc(4096);
    bool waits;

    for (unsigned turn = 0; turn < 3000; turn++) {
        for (unsigned i = 0; i < 4096; i++)
            noise[i] = (uint8_t)(fake_below(3) ? 0 : fake_below(256));
        put(fake_below(2), fake_below(2) ? RING + 128 : TABLE, noise, 2048);
        for (unsigned vm = 0; vm < 2; vm++) {
            put32(vm, AT_WORD(submitted), word(vm, AT_WORD(taken)) + fake_below(PACKETS + 1));
            put32(vm, AT_WORD(posted), word(vm, AT_WORD(filled)) + fake_below(PAGES + 1));
            if (fake_below(2))
                put(vm, AT_PACKET(fake_below(8)), &(struct mb_net_packet){ .bytes = 14 + fake_below(9000),
                    .segments = (uint16_t)fake_below(4), .address = TABLE }, 32);
            (void)run(vm);
            vifs_idle(&vifs[vm], 0);
            waits = true;
            (void)vifs_wait(&vifs[vm], 0, 0, 0, fake_below(PAGES), &waits);
        }
        fake_cpu.tsc += fake_below(3) * 6 * fake_apic.khz;
        if (!fake_below(8)) {
            teardown(NULL);
            setup(NULL);
        }
    }
    free(noise);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(small_packets_arrive), T(several_go_in_one_call), T(whole_pages_are_shared_if_they_stay),
        T(they_are_copied_otherwise), T(untouched_pages_are_zeros),
        T(one_that_cannot_be_shared_is_copied), T(a_copy_costs_the_receiver_no_fault), T(headers_cost_it_none_either),
        T(what_lies_together_is_copied_together), T(bits_and_pieces_are_packed),
        T(a_sender_waits_and_is_told), T(but_not_for_ever), T(who_has_no_ring_loses_its_own),
        T(another_queue_takes_over), T(nonsense_is_counted_and_gone), T(a_broken_ring_stops_its_owner_alone),
        T(pages_that_are_none_stop_the_receiver_alone), T(more_pages_than_the_ring_has_stop_it_too),
        T(rings_are_checked), T(who_idles_sends_what_it_has), T(who_waits_is_woken_by_a_packet),
        T(nobody_waits_for_what_is_there), T(who_waits_sends), T(nobody_waits_with_trouble),
        T(a_new_ring_has_no_waiters), T(anything_arrives_whole), T(noise_harms_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
