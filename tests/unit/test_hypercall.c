/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "hypercalls/hypercalls.h"
#include "include/mirrorball/blk.h"
#include "include/mirrorball/hypercall.h"
#include "include/mirrorball/net.h"
#include "include/mirrorball/segment.h"
#include "numa/segment.h"
#include "tests/unit/vcpu_fake.h"
#include "vdev/blk.h"
#include "vdev/ism.h"
#include "vmx/speculation.h"

static int64_t call_with(uint64_t number, uint64_t rdi, uint64_t rsi)
{
    struct guest_regs before;

    for (unsigned i = 0; i < 16; i++)
        vcpu.regs.r[i] = ~(uint64_t)i << 32;
    vcpu.regs.rax = number;
    vcpu.regs.rdi = rdi;
    vcpu.regs.rsi = rsi;
    before = vcpu.regs;
    hypercall_handle(&vcpu);
    assert_memory_equal(&vcpu.regs.r[1], &before.r[1], 15 * sizeof(uint64_t)); /* only rax changes */
    return (int64_t)vcpu.regs.rax;
}

static int64_t call(uint64_t number)
{
    return call_with(number, UINT64_MAX, UINT64_MAX);
}

static void test_version(void **state)
{
    assert_int_equal(MIRRORBALL_CALL_VERSION, 0);
    assert_int_equal(call(0), MIRRORBALL_ABI_VERSION);
    assert_true(MIRRORBALL_ABI_VERSION > 0);
}

/* Outside of the EPT, unless the processor's L1 data cache is to be flushed. */
static void runs_quickly(uint64_t number)
{
    uint32_t entry = speculation.entry;

    vcpu.regs.rax = number;
    atomic_store(&cpu_this()->guest, 0);
    speculation.entry = entry | GUARD_L1D;
    assert_false(hypercall_quick(&vcpu));
    assert_int_equal(vcpu.regs.rax, number);
    assert_int_equal(atomic_load(&cpu_this()->guest), 0);
    speculation.entry = entry & ~(uint32_t)GUARD_L1D;
    assert_true(hypercall_quick(&vcpu));
    assert_int_equal(vcpu.regs.rax, -ENODEV);
    assert_int_equal(ALIGN_DOWN(atomic_load(&cpu_this()->guest), PAGE_SIZE), guest.ept[0].root.v);
    speculation.entry = entry;
}

/* What disks and networks call most goes the short way. */
static void test_quick(void **state)
{
    struct blk no_disks = { 0 };
    struct vifs no_nets = { 0 };

    vcpu.disks = &no_disks;
    vcpu.nets = &no_nets;
    runs_quickly(MIRRORBALL_CALL_BLK_RUN);
    runs_quickly(MIRRORBALL_CALL_NET_RUN);
    vcpu.regs.rax = MIRRORBALL_CALL_VERSION;
    assert_true(hypercall_quick(&vcpu));
    assert_int_equal(vcpu.regs.rax, MIRRORBALL_ABI_VERSION);
    vcpu.regs.rax = MIRRORBALL_CALL_NET_WAIT;
    assert_false(hypercall_quick(&vcpu));
}

/* All 64 bits of the number count. */
static void test_unknown(void **state)
{
    static const uint64_t numbers[] = { 7, 100, 0xffffffff, BIT(32), BIT(63), UINT64_MAX };

    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        assert_int_equal(call(numbers[i]), -ENOSYS);
    assert_int_equal(world.stops, 0);
}

#define ARRAY_AT 0x1000ul

static int64_t with_ranges(uint64_t number, const struct mirrorball_range *range, uint64_t n)
{
    assert_int_equal(pmap_write(&guest, GPA(ARRAY_AT), range, n * sizeof(*range)), 0);
    return call_with(number, ARRAY_AT, n);
}

static void fill(uint64_t gpa, uint64_t pages)
{
    for (uint64_t i = 0; i < pages; i++)
        assert_int_equal(pmap_write(&guest, GPA(gpa + i * PAGE_SIZE), "filled", 6), 0);
}

static bool is_zero(uint64_t gpa)
{
    char text[6] = "......";

    assert_int_equal(pmap_read(&guest, GPA(gpa), text, sizeof(text)), 0);
    return !memcmp(text, "\0\0\0\0\0", 6);
}

/* What is given back is the machine's, and reads as zero; what is beside it stays. */
static void test_free_pages(void **state)
{
    const struct mirrorball_range range[] = { { 0x10000, 4 }, { 0x20000, 1 }, { 2 * MIB, 512 } };
    uint64_t free;

    fill(0x10000, 5);
    fill(0x20000, 2);
    fill(2 * MIB, 512);
    fill(ARRAY_AT, 1);
    free = free_pages();
    assert_int_equal(with_ranges(MIRRORBALL_CALL_FREE_PAGES, range, 3), 3);
    assert_int_equal(free_pages(), free + 5 + 512);
    assert_int_equal(guest.counts.returned, 5 + 512);
    assert_true(is_zero(0x10000) && is_zero(0x13000) && is_zero(0x20000) && is_zero(2 * MIB));
    assert_false(is_zero(0x14000) || is_zero(0x21000));
    assert_int_equal(with_ranges(MIRRORBALL_CALL_FREE_PAGES, range, 3), 3);         /* there is nothing more */
    assert_int_equal(free_pages(), free + 5 + 512);
}

static void test_zero_pages(void **state)
{
    const struct mirrorball_range range[] = { { 0x10000, 2 }, { 2 * MIB, 512 } };
    uint64_t touched;

    fill(0x10000, 2);
    fill(2 * MIB, 1);
    touched = guest.counts.touched;
    assert_int_equal(with_ranges(MIRRORBALL_CALL_ZERO_PAGES, range, 2), 2);
    assert_int_equal(guest.counts.touched, touched + 1);    /* the array's; all others are backed as before */
    assert_true(is_zero(0x10000) && is_zero(2 * MIB));
}

/* One call does not go on for ever. */
static void test_some_now_some_later(void **state)
{
    struct mirrorball_range range[MIRRORBALL_MAX_RANGES];

    for (unsigned i = 0; i < ARRAY_SIZE(range); i++)
        range[i] = (struct mirrorball_range){ 2 * MIB, 512 };
    assert_int_equal(with_ranges(MIRRORBALL_CALL_FREE_PAGES, range, ARRAY_SIZE(range)), 2);
    for (unsigned i = 0; i < ARRAY_SIZE(range); i++)
        range[i] = (struct mirrorball_range){ 2 * MIB, 1 };
    assert_int_equal(with_ranges(MIRRORBALL_CALL_FREE_PAGES, range, ARRAY_SIZE(range)), ARRAY_SIZE(range));
}

static void test_bad_ranges(void **state)
{
    static const struct { struct mirrorball_range range; int err; } bad[] = {
        { { 0x10001, 1 }, -EINVAL }, { { 0x10800, 1 }, -EINVAL }, { { 0x10000, 0 }, -EINVAL },
        { { 0x10000, MIRRORBALL_MAX_RANGE_PAGES + 1 }, -EINVAL }, { { 0, UINT64_MAX }, -EINVAL },
        { { 0, BIT(52) + 1 }, -EINVAL }, { { PMAP_HOLE, 1 }, -EFAULT }, { { PMAP_HOLE - PAGE_SIZE, 2 }, -EFAULT },
        { { GUEST_MEMORY, 1 }, -EFAULT }, { { GUEST_MEMORY - PAGE_SIZE, 2 }, -EFAULT }, { { 0xfee00000, 1 }, -EFAULT },
        { { 0xfec00000, 1 }, -EFAULT }, { { 4 * GIB, 1 }, -EFAULT }, { { -PAGE_SIZE, 1 }, -EFAULT },
        { { -PAGE_SIZE, 2 }, -EFAULT }, { { BIT(63), 1024 }, -EFAULT },
    };

    for (uint64_t number = MIRRORBALL_CALL_FREE_PAGES; number <= MIRRORBALL_CALL_ZERO_PAGES; number++) {
        for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
            const struct mirrorball_range two[] = { { 0x20000, 1 }, bad[i].range };

            fill(0x10000, 1);
            fill(0x20000, 1);
            assert_int_equal(with_ranges(number, &bad[i].range, 1), bad[i].err);
            assert_false(is_zero(0x10000));
            assert_int_equal(with_ranges(number, two, 2), 1);   /* what was good before it is done */
            assert_true(is_zero(0x20000));
        }
    }
    assert_int_equal(world.stops, 0);
}

static void test_bad_arrays(void **state)
{
    static const struct { uint64_t at, n; int err; } bad[] = {
        { ARRAY_AT, 0, -EINVAL }, { ARRAY_AT, MIRRORBALL_MAX_RANGES + 1, -EINVAL }, { ARRAY_AT, UINT64_MAX, -EINVAL },
        { ARRAY_AT, BIT(60) + 1, -EINVAL }, { GUEST_MEMORY, 1, -EFAULT }, { GUEST_MEMORY - 8, 1, -EFAULT },
        { PMAP_HOLE - 16, 2, -EFAULT }, { 0xfee00000, 1, -EFAULT }, { UINT64_MAX, 1, -EFAULT }, { -8ul, 64, -EFAULT },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(call_with(MIRRORBALL_CALL_FREE_PAGES, bad[i].at, bad[i].n), bad[i].err);
        assert_int_equal(call_with(MIRRORBALL_CALL_ZERO_PAGES, bad[i].at, bad[i].n), bad[i].err);
    }
}

/* Ranges that overlap each other, and the page that holds the array, which was read before. */
static void test_lies(void **state)
{
    const struct mirrorball_range range[] = {
        { ARRAY_AT, 1 }, { 2 * MIB, 1 }, { 2 * MIB, 512 }, { 2 * MIB - PAGE_SIZE, 3 }, { ARRAY_AT, 1 },
    };
    uint64_t free;

    fill(2 * MIB - PAGE_SIZE, 3);
    free = free_pages();
    assert_int_equal(with_ranges(MIRRORBALL_CALL_FREE_PAGES, range, 5), 5);
    assert_true(is_zero(ARRAY_AT) && is_zero(2 * MIB) && is_zero(2 * MIB - PAGE_SIZE));
    assert_in_range(free_pages(), free + 513, free + 514);  /* the page of the array may be new */
}

static void test_idle_and_balloon(void **state)
{
    assert_int_equal(call(MIRRORBALL_CALL_IDLE), 0);
    assert_int_equal(world.idles, 1);
    world.balloon_wanted = 77;
    assert_int_equal(call_with(MIRRORBALL_CALL_BALLOON, 123, 0), 77);
    assert_int_equal(world.balloon, 123);
}

#define RING_AT 0x10000ul

static int64_t wait_for(uint64_t queue, uint64_t filled, uint64_t us)
{
    world.waited_us = 0;
    vcpu.woken = true;                         /* by what an earlier wait was for */
    vcpu.regs.rax = MIRRORBALL_CALL_NET_WAIT;
    vcpu.regs.rdi = 0;
    vcpu.regs.rsi = queue;
    vcpu.regs.rdx = filled;
    vcpu.regs.r10 = us;
    hypercall_handle(&vcpu);
    return (int64_t)vcpu.regs.rax;
}

/* As long as the guest says, but within bounds; not at all after an error, or for what is there. */
static void test_net_wait(void **state)
{
    static struct vifs nets;
    struct vif *vif;

    vifs_init(&nets, 1);
    nets.pmap = &guest;
    nets.name = "test";
    vif = vifs_add(&nets);
    assert_int_equal(net_attach(net_named("lan"), &vif->port), 0);
    vcpu.nets = &nets;
    assert_int_equal(wait_for(0, 0, 50), -ENXIO);
    assert_int_equal(world.waited_us, 0);
    assert_int_equal(vifs_set_ring(&nets, 0, 0, GPA(RING_AT), 8, 8), 0);
    assert_int_equal(wait_for(0, 0, 50), 0);
    assert_int_equal(world.waited_us, 50);
    assert_false(vcpu.woken);
    assert_int_equal(wait_for(0, 0, UINT64_MAX), 0);
    assert_int_equal(world.waited_us, MB_NET_WAIT_MOST);
    assert_int_equal(wait_for(0, 1, 50), 0);
    assert_int_equal(world.waited_us, 0);
    assert_int_equal(wait_for(0, 0, 0), 0);
    assert_int_equal(world.waited_us, 0);
    assert_int_equal(wait_for(1, 0, 50), -ENODEV);
    assert_int_equal(world.waited_us, 0);
    vifs_destroy(&nets);
}

#define QUEUE_AT(vif) (0x20000ul + (vif) * 0x10000ul)
#define BUFFER_AT 0x40000ul
#define MOVE_AT   0x50000ul

static unsigned ism_interrupts;

static void ism_interrupt(void *ctx) { ism_interrupts++; }

static int64_t ism_call(uint64_t number, uint64_t vif, uint64_t rsi, uint64_t rdx, uint64_t r10)
{
    world.waited_us = 0;
    vcpu.woken = true;
    vcpu.regs.rax = number;
    vcpu.regs.rdi = vif;
    vcpu.regs.rsi = rsi;
    vcpu.regs.rdx = rdx;
    vcpu.regs.r10 = r10;
    hypercall_handle(&vcpu);
    return (int64_t)vcpu.regs.rax;
}

/* Of one VM with two interfaces. Returns the second one's id. */
static uint64_t add_ism(struct vifs *nets)
{
    vifs_init(nets, 1);
    nets->pmap = &guest;
    nets->name = "test";
    nets->ism_interrupt = ism_interrupt;
    for (uint8_t i = 0; i < 2; i++) {
        struct vif *vif = vifs_add(nets);

        vif->port.mac[0] = 2;
        vif->port.mac[5] = i;
        assert_int_equal(net_attach(net_named("lan"), &vif->port), 0);
    }
    vcpu.nets = nets;
    ism_interrupts = 0;
    return net_port_mac(&nets->vif[1]->port);
}

/* All arguments are where include/mirrorball/ism.h says. */
static void test_ism(void **state)
{
    static struct vifs nets;
    uint64_t id = add_ism(&nets);
    struct mb_ism_move m = { .gpa = BUFFER_AT + 0x2000, .bytes = 6, .flags = MB_ISM_SIGNAL };
    struct mb_ism_queue q;

    assert_int_equal(MIRRORBALL_CALL_ISM_START, 16);
    assert_int_equal(MIRRORBALL_CALL_ISM_TELL, 21);
    for (uint64_t number = MIRRORBALL_CALL_ISM_START; number <= MIRRORBALL_CALL_ISM_TELL; number++) {
        assert_int_equal(call(number), -ENODEV);
        assert_int_equal(call_with(number, 2, QUEUE_AT(0)), -ENODEV);
        if (number != MIRRORBALL_CALL_ISM_START)
            assert_int_equal(call_with(number, 0, QUEUE_AT(0)), -ENXIO);
    }
    for (uint64_t vif = 0; vif < 2; vif++)
        assert_int_equal(call_with(MIRRORBALL_CALL_ISM_START, vif, QUEUE_AT(vif)), 0);
    assert_int_equal(call_with(MIRRORBALL_CALL_ISM_PEER, 0, id), 0);
    assert_int_equal(call_with(MIRRORBALL_CALL_ISM_PEER, 1, id), -EHOSTUNREACH);
    m.token = (uint64_t)ism_call(MIRRORBALL_CALL_ISM_OPEN, 0, BUFFER_AT, PAGE_SIZE, id);
    fill(m.gpa, 1);
    assert_int_equal(pmap_write(&guest, GPA(MOVE_AT), &m, sizeof(m)), 0);
    assert_int_equal(ism_call(MIRRORBALL_CALL_ISM_MOVE, 1, MOVE_AT, 1, 0), 1);
    assert_false(is_zero(BUFFER_AT));
    assert_int_equal(ism_call(MIRRORBALL_CALL_ISM_TELL, 1, id & ~(0xffull << 40), 77, 88), 0);
    assert_int_equal(pmap_read(&guest, GPA(QUEUE_AT(0)), &q, sizeof(q)), 0);
    assert_int_equal(q.head.written, 2);
    assert_int_equal(q.news[1].number, 77);
    assert_int_equal(q.news[1].info, 88);
    assert_int_equal(call_with(MIRRORBALL_CALL_ISM_CLOSE, 0, m.token), 0);
    assert_int_equal(call_with(MIRRORBALL_CALL_ISM_CLOSE, 0, m.token), -ENOENT);
    assert_int_equal(ism_interrupts, 1);
    vifs_destroy(&nets);
}

/* As for a packet: within bounds, and only when all was moved and there are no news. */
static void test_ism_wait(void **state)
{
    static struct vifs nets;
    uint64_t id = add_ism(&nets);
    struct mb_ism_move m = { .gpa = BUFFER_AT + 0x2000, .bytes = 6 };

    for (uint64_t vif = 0; vif < 2; vif++)
        assert_int_equal(call_with(MIRRORBALL_CALL_ISM_START, vif, QUEUE_AT(vif)), 0);
    m.token = (uint64_t)ism_call(MIRRORBALL_CALL_ISM_OPEN, 0, BUFFER_AT, PAGE_SIZE, id);
    assert_int_equal(pmap_write(&guest, GPA(MOVE_AT), &m, sizeof(m)), 0);
    vcpu.regs.r8 = 0;
    assert_int_equal(ism_call(MIRRORBALL_CALL_ISM_MOVE, 1, MOVE_AT, 1, 50), 1);
    assert_int_equal(world.waited_us, 50);
    assert_false(vcpu.woken);
    assert_int_equal(ism_call(MIRRORBALL_CALL_ISM_MOVE, 1, MOVE_AT, 1, UINT64_MAX), 1);
    assert_int_equal(world.waited_us, MB_ISM_WAIT_MOST);
    assert_int_equal(ism_call(MIRRORBALL_CALL_ISM_MOVE, 1, MOVE_AT, 1, 0), 1);
    assert_int_equal(world.waited_us, 0);
    assert_int_equal(ism_call(MIRRORBALL_CALL_ISM_MOVE, 1, MOVE_AT, 2, 50), 1); /* the second is no move */
    assert_int_equal(world.waited_us, 0);
    vcpu.regs.r8 = 1;                          /* which is not so */
    assert_int_equal(ism_call(MIRRORBALL_CALL_ISM_MOVE, 1, MOVE_AT, 1, 50), 1);
    assert_int_equal(world.waited_us, 0);
    vifs_destroy(&nets);
}

/* A guest asks for as many moves as an error has for a number. */
static void test_ism_error_for_a_count(void **state)
{
    static struct vifs nets;

    add_ism(&nets);
    assert_int_equal(ism_call(MIRRORBALL_CALL_ISM_MOVE, 2, MOVE_AT, -ENODEV, 50), -ENODEV);
    assert_int_equal(world.waited_us, 0);
    assert_int_equal(ism_call(MIRRORBALL_CALL_ISM_MOVE, 0, MOVE_AT, -ENXIO, 50), -ENXIO);
    assert_int_equal(world.waited_us, 0);
    assert_int_equal(call_with(MIRRORBALL_CALL_ISM_START, 0, QUEUE_AT(0)), 0);
    vcpu.regs.r8 = 0;
    assert_int_equal(ism_call(MIRRORBALL_CALL_ISM_MOVE, 0, MOVE_AT, -EINVAL, 50), -EINVAL);
    assert_int_equal(world.waited_us, 0);
    vifs_destroy(&nets);
}

#define INFO_AT 0x2000ul

static void test_segments(void **state)
{
    struct mb_segment info, zero = { 0 };
    struct segment *s = NULL, *t = NULL;
    struct gpa base[2];

    assert_int_equal(call_with(MIRRORBALL_CALL_SEGMENT_INFO, 0, INFO_AT), -ENODEV);
    assert_int_equal(call_with(MIRRORBALL_CALL_SEGMENT_RING, 0, 0), -ENODEV);
    assert_int_equal(segment_get("db", 4 * MIB, &s) + segment_get("log", 2 * MIB, &t), 0);
    assert_int_equal(pmap_add_segment(&guest, s, true, &base[0]) + pmap_add_segment(&guest, t, false, &base[1]), 0);
    assert_int_equal(call_with(MIRRORBALL_CALL_SEGMENT_INFO, 1, INFO_AT), 0);
    assert_int_equal(pmap_read(&guest, GPA(INFO_AT), &info, sizeof(info)), 0);
    assert_int_equal(info.gpa, base[1].v);
    assert_int_equal(info.bytes, 2 * MIB);
    assert_int_equal(info.flags, MB_SEGMENT_READONLY);
    assert_memory_equal(info.name, "log", 4);
    assert_memory_equal(info.name + 4, zero.name, sizeof(info.name) - 4);
    assert_int_equal(call_with(MIRRORBALL_CALL_SEGMENT_INFO, 0, INFO_AT), 0);
    assert_int_equal(pmap_read(&guest, GPA(INFO_AT), &info, sizeof(info)), 0);
    assert_int_equal(info.flags, 0);
    assert_int_equal(call_with(MIRRORBALL_CALL_SEGMENT_INFO, 2, INFO_AT), -ENODEV);
    assert_int_equal(call_with(MIRRORBALL_CALL_SEGMENT_INFO, UINT64_MAX, INFO_AT), -ENODEV);
    assert_int_equal(call_with(MIRRORBALL_CALL_SEGMENT_INFO, 0, INFO_AT + 32), -EINVAL);
    assert_int_equal(call_with(MIRRORBALL_CALL_SEGMENT_INFO, 0, GUEST_MEMORY), -EFAULT);
    assert_int_equal(call_with(MIRRORBALL_CALL_SEGMENT_INFO, 0, base[0].v), -EFAULT);
    assert_int_equal(call_with(MIRRORBALL_CALL_SEGMENT_RING, 1, 0), 0);
    assert_ptr_equal(world.rang, t);
    assert_int_equal(call_with(MIRRORBALL_CALL_SEGMENT_RING, 2, 0), -ENODEV);
    world.rung = 2;
    assert_int_equal(call(MIRRORBALL_CALL_SEGMENT_RUNG), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_version, vcpu_setup),
        cmocka_unit_test_setup(test_quick, vcpu_setup),
        cmocka_unit_test_setup(test_unknown, vcpu_setup),
        cmocka_unit_test_setup(test_free_pages, vcpu_setup),
        cmocka_unit_test_setup(test_zero_pages, vcpu_setup),
        cmocka_unit_test_setup(test_some_now_some_later, vcpu_setup),
        cmocka_unit_test_setup(test_bad_ranges, vcpu_setup),
        cmocka_unit_test_setup(test_bad_arrays, vcpu_setup),
        cmocka_unit_test_setup(test_lies, vcpu_setup),
        cmocka_unit_test_setup(test_idle_and_balloon, vcpu_setup),
        cmocka_unit_test_setup(test_net_wait, vcpu_setup),
        cmocka_unit_test_setup(test_ism, vcpu_setup),
        cmocka_unit_test_setup(test_ism_wait, vcpu_setup),
        cmocka_unit_test_setup(test_ism_error_for_a_count, vcpu_setup),
        cmocka_unit_test_setup(test_segments, vcpu_setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
