/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/ism_fake.h"

/* Whose buffers are open to whom, and what is moved into them; what they are told of it: test_ism_news.c. */
#define NO_RAM  MEMORY
#define IMAGED  (MEMORY - MIB) /* of each VM's memory, from 1 MiB on: as it is to be */

static uint8_t image[VMS][IMAGED], look[IMAGED];

/* What the VMs have now, and noise where data come from. */
static void remember(void)
{
    static uint8_t noise[64 * KIB];

    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (uint8_t)(i * 7 + i / 256);
    for (unsigned vm = 0; vm < VMS; vm++) {
        put(vm, DATA, noise, sizeof(noise));
        put(vm, BUFFERS, noise + 1000, sizeof(noise) - 1000);
        get(vm, MIB, image[vm], IMAGED);
    }
}

/* This is to have come to this VM. */
static void due(unsigned vm, uint64_t to, unsigned from, uint64_t gpa, size_t n)
{
    memcpy(image[vm] + to - MIB, image[from] + gpa - MIB, n);
}

/* All VMs' memory is as it is to be, but for the list of moves. */
static void nothing_else_has_changed(void)
{
    for (unsigned vm = 0; vm < VMS; vm++) {
        get(vm, MIB, look, IMAGED);
        memcpy(look + MOVES - MIB, image[vm] + MOVES - MIB, MB_ISM_MAX_MOVES * sizeof(struct mb_ism_move));
        assert_memory_equal(look, image[vm], IMAGED);
    }
}

/* From B into A's buffer at BUFFERS. */
static int64_t move_at(uint64_t token, uint32_t offset, uint32_t bytes)
{
    return move_one(B, &(struct mb_ism_move){ .token = token, .gpa = DATA, .bytes = bytes, .offset = offset });
}

/* One that works. */
static void moves_well(uint64_t token)
{
    assert_int_equal(move_at(token, 100, 50), 1);
}

static void starts_are_checked(void **state)
{
    assert_int_equal(ism_start(&vifs[A], 1, GPA(QUEUE)), -ENODEV);
    assert_int_equal(ism_start(&vifs[A], UINT64_MAX, GPA(QUEUE)), -ENODEV);
    assert_int_equal(ism_start(&vifs[A], 1, GPA(0)), -ENODEV);
    assert_int_equal(ism_start(&vifs[A], 0, GPA(QUEUE + 128)), -EINVAL);
    assert_int_equal(ism_start(&vifs[A], 0, GPA(QUEUE + PAGE_SIZE / 2)), -EINVAL);
    assert_int_equal(ism_start(&vifs[A], 0, GPA(NO_RAM)), -EFAULT);
    assert_int_equal(ism_start(&vifs[A], 0, GPA(NO_RAM - 4 * PAGE_SIZE)), -EFAULT); /* it is a bit larger */
    assert_int_equal(ism_start(&vifs[A], 0, GPA(PMAP_HOLE - PAGE_SIZE)), -EFAULT);
    assert_int_equal(ism_start(&vifs[A], 0, GPA(-PAGE_SIZE)), -EFAULT);
    assert_int_equal(start(LIMITED), -ENOTSUP);
    assert_int_equal(stop(LIMITED), 0);
    for (unsigned vm = 0; vm < VMS; vm++)
        assert_int_equal(ism_peer(&vifs[vm], 0, id_of(A)), -ENXIO);
    assert_int_equal(ism_start(&vifs[A], 0, GPA(NO_RAM - 5 * PAGE_SIZE)), 0);
    assert_int_equal(ism_peer(&vifs[A], 0, id_of(B)), -EHOSTUNREACH);
}

static void a_queue_begins_empty_and_says_who_it_is(void **state)
{
    static uint8_t noise[sizeof(struct mb_ism_queue)];
    const struct mb_ism_head zero = { 0 };
    struct mb_ism_queue q;

    memset(noise, 0xee, sizeof(noise));
    for (unsigned vm = 0; vm < LIMITED; vm++) {
        put(vm, QUEUE, noise, sizeof(noise));
        assert_int_equal(start(vm), 0);
        get(vm, QUEUE, &q, sizeof(q));
        assert_int_equal(q.head.id, id_of(vm));
        assert_int_equal(q.head.network, net_number(&vifs[vm].vif[0]->port));
        q.head.id = q.head.network = 0;
        assert_memory_equal(&q.head, &zero, sizeof(zero));
    }
    assert_int_equal(word(A, AT_WORD(network)), word(B, AT_WORD(network)));
    assert_int_not_equal(word(A, AT_WORD(network)), word(ELSEWHERE, AT_WORD(network)));
    assert_int_equal(ism_start(&vifs[C], 1, GPA(QUEUE)), 0);
    get(C, QUEUE, &q, sizeof(q));
    assert_int_equal(q.head.id, SECOND);
}

/* What cannot begin leaves what there is. */
static void a_start_that_fails_stops_nothing(void **state)
{
    uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B);

    assert_int_equal(ism_start(&vifs[A], 0, GPA(QUEUE + 8)), -EINVAL);
    assert_int_equal(ism_start(&vifs[A], 0, GPA(NO_RAM)), -EFAULT);
    moves_well(token);
    assert_int_equal(written(B), 0);
}

static void peers_are_those_that_take_part(void **state)
{
    assert_int_equal(ism_peer(&vifs[A], 1, id_of(B)), -ENODEV);
    assert_int_equal(ism_peer(&vifs[A], 0, id_of(B)), 0);
    assert_int_equal(ism_peer(&vifs[B], 0, id_of(A)), 0);
    assert_int_equal(ism_peer(&vifs[A], 0, id_of(A)), -EHOSTUNREACH);
    assert_int_equal(ism_peer(&vifs[A], 0, UNKNOWN), -EHOSTUNREACH);
    assert_int_equal(ism_peer(&vifs[A], 0, 0), -EHOSTUNREACH);
    assert_int_equal(ism_peer(&vifs[A], 0, UINT64_MAX), -EHOSTUNREACH);
    assert_int_equal(ism_peer(&vifs[A], 0, id_of(B) | BIT(48)), -EHOSTUNREACH);
    assert_int_equal(ism_peer(&vifs[A], 0, id_of(LIMITED)), -EHOSTUNREACH);
    assert_int_equal(ism_peer(&vifs[A], 0, SECOND), -EHOSTUNREACH);
    assert_int_equal(ism_start(&vifs[C], 1, GPA(DATA)), 0);
    assert_int_equal(ism_peer(&vifs[A], 0, SECOND), 0);
    assert_int_equal(ism_peer(&vifs[C], 0, SECOND), 0); /* of the same VM */
    assert_int_equal(stop(B), 0);
    assert_int_equal(ism_peer(&vifs[A], 0, id_of(B)), -EHOSTUNREACH); /* another has its address, on another network */
    assert_int_equal(ism_peer(&vifs[ELSEWHERE], 0, id_of(A)), -EHOSTUNREACH);
    assert_int_equal(ism_peer(&vifs[B], 0, id_of(A)), -ENXIO);
}

static void opens_are_checked(void **state)
{
    static const struct { uint64_t at, bytes; int err; } bad[] = {
        { BUFFERS + 8, PAGE_SIZE, -EINVAL }, { BUFFERS + 2048, PAGE_SIZE, -EINVAL }, { BUFFERS, 0, -EINVAL },
        { BUFFERS, 4097, -EINVAL }, { BUFFERS, 2048, -EINVAL }, { BUFFERS, MB_ISM_MAX_BYTES + PAGE_SIZE, -EINVAL },
        { BUFFERS, BIT(32) + PAGE_SIZE, -EINVAL }, { BUFFERS, -PAGE_SIZE, -EINVAL }, { NO_RAM, PAGE_SIZE, -EFAULT },
        { NO_RAM - PAGE_SIZE, 2 * PAGE_SIZE, -EFAULT }, { -PAGE_SIZE, PAGE_SIZE, -EFAULT },
        { -PAGE_SIZE, 2 * PAGE_SIZE, -EFAULT }, { PMAP_HOLE - PAGE_SIZE, 2 * PAGE_SIZE, -EFAULT },
    };
    const uint64_t nobody[] = { id_of(A), UNKNOWN, 0, UINT64_MAX, id_of(LIMITED), SECOND, id_of(B) | BIT(63) };

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(open_for(A, bad[i].at, bad[i].bytes, id_of(B)), bad[i].err);
    for (unsigned i = 0; i < ARRAY_SIZE(nobody); i++)
        assert_int_equal(open_for(A, BUFFERS, PAGE_SIZE, nobody[i]), -EHOSTUNREACH);
    assert_int_equal(ism_open(&vifs[A], 1, GPA(BUFFERS), PAGE_SIZE, id_of(B)), -ENODEV);
    assert_int_equal(open_for(LIMITED, BUFFERS, PAGE_SIZE, id_of(B)), -ENXIO);
    assert_int_equal(stop(B), 0);
    assert_int_equal(open_for(A, BUFFERS, PAGE_SIZE, id_of(B)), -EHOSTUNREACH);
    for (unsigned i = 0; i < MB_ISM_BUFFERS; i++)        /* none of these has taken a place */
        opened(A, BUFFERS, MB_ISM_MAX_BYTES, C);
}

static void so_many_are_open_and_no_more(void **state)
{
    uint64_t token[MB_ISM_BUFFERS], again;
    bool was[MB_ISM_BUFFERS] = { false };

    for (unsigned i = 0; i < MB_ISM_BUFFERS; i++) {
        token[i] = opened(A, BUFFERS, PAGE_SIZE, i % 2 ? B : C);
        assert_false(was[token[i] % MB_ISM_BUFFERS]);
        was[token[i] % MB_ISM_BUFFERS] = true;
    }
    assert_int_equal(open_for(A, BUFFERS, PAGE_SIZE, id_of(B)), -ENOSPC);
    opened(B, BUFFERS, PAGE_SIZE, A);          /* others have their own */
    assert_int_equal(stop(C), 0);
    assert_int_equal(open_for(A, BUFFERS, PAGE_SIZE, id_of(B)), -ENOSPC); /* they count until they are closed */
    assert_int_equal(close_it(A, token[200]), 0);
    again = opened(A, BUFFERS, PAGE_SIZE, B);
    assert_int_equal(again % MB_ISM_BUFFERS, token[200] % MB_ISM_BUFFERS);
    assert_int_equal(open_for(A, BUFFERS, PAGE_SIZE, id_of(B)), -ENOSPC);
    moves_well(again);
    moves_well(token[1]);
}

/* The place is used again, but not the token. */
static void an_old_token_is_none(void **state)
{
    uint64_t old = opened(A, BUFFERS, PAGE_SIZE, B), token[3];

    for (unsigned i = 0; i < ARRAY_SIZE(token); i++) {
        assert_int_equal(close_it(A, old), 0);
        token[i] = opened(A, BUFFERS, PAGE_SIZE, B);
        assert_int_equal(token[i] % MB_ISM_BUFFERS, old % MB_ISM_BUFFERS);
        assert_int_equal(move_at(old, 0, 1), -ENOENT);
        assert_int_equal(close_it(A, old), -ENOENT);
        moves_well(token[i]);
        old = token[i];
    }
    assert_int_equal(start(A), 0);             /* nor after this */
    token[0] = opened(A, BUFFERS, PAGE_SIZE, B);
    assert_int_equal(token[0] % MB_ISM_BUFFERS, old % MB_ISM_BUFFERS);
    assert_int_equal(move_at(old, 0, 1), -ENOENT);
    moves_well(token[0]);
}

static void closes_are_checked(void **state)
{
    uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B);

    assert_int_equal(ism_close(&vifs[A], 1, token), -ENODEV);
    assert_int_equal(close_it(LIMITED, token), -ENXIO);
    assert_int_equal(close_it(B, token), -ENOENT);
    for (unsigned bit = 0; bit < 64; bit++)
        assert_int_equal(close_it(A, token ^ BIT(bit)), -ENOENT);
    assert_int_equal(close_it(A, 0), -ENOENT);
    assert_int_equal(close_it(A, UINT64_MAX), -ENOENT);
    moves_well(token);
    assert_int_equal(close_it(A, token), 0);
    assert_int_equal(close_it(A, token), -ENOENT);
    assert_int_equal(move_at(token, 0, 1), -ENOENT);
}

/* Wherever they are in their pages; nothing is told. */
static void data_arrive_and_nothing_else(void **state)
{
    static const struct { uint32_t offset, bytes, gpa; } part[] = {
        { 0, 1, 0 }, { 1, 1, 4095 }, { 4095, 1, 3 }, { 4095, 2, 4095 }, { 17, 4096, 4000 }, { 4096, 4096, 4096 },
        { 100, 12000, 33 }, { 8191, 8193, 1 }, { 12288, 4096, 77 }, { 0, 16384, 0 }, { 16383, 1, 16383 },
        { 3, 16381, 40961 },
    };
    uint64_t token;

    remember();
    for (unsigned i = 0; i < ARRAY_SIZE(part); i++) {
        uint64_t at = BUFFERS + (i % 3 + 1) * PAGE_SIZE;
        const struct mb_ism_move m = { .gpa = DATA + part[i].gpa, .bytes = part[i].bytes, .offset = part[i].offset };

        token = opened(A, at, 4 * PAGE_SIZE, B);
        due(A, at + m.offset, B, m.gpa, m.bytes);
        assert_int_equal(move_one(B, &(struct mb_ism_move){ token, m.gpa, m.bytes, m.offset, 0, 0 }), 1);
        nothing_else_has_changed();
        assert_int_equal(close_it(A, token), 0);
    }
    assert_int_equal(interrupts[A] + interrupts[B] + written(A), 0);
}

/* More than is copied at a time, from and to where they do not lie alike. */
static void much_arrives(void **state)
{
    uint64_t token = opened(A, BUFFERS, MB_ISM_MAX_BYTES, B);
    const uint32_t bytes = MB_ISM_MAX_BYTES - 5;
    uint8_t *data = malloc(bytes);

    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(i / 3 + i / 70000);
    put(B, DATA + 77, data, bytes);
    remember();
    due(A, BUFFERS + 3, B, DATA + 77, bytes);
    assert_int_equal(move_one(B, &(struct mb_ism_move){ token, DATA + 77, bytes, 3, 0, 0 }), 1);
    nothing_else_has_changed();
    assert_int_equal(vifs[B].vif[0]->port.counts.moves, 1);
    assert_int_equal(vifs[B].vif[0]->port.counts.moved, bytes);
    free(data);
}

static void limits_are_kept(void **state)
{
    uint64_t token = opened(A, BUFFERS + PAGE_SIZE, 2 * PAGE_SIZE, B);
    static const struct { uint32_t offset, bytes; } beyond[] = {
        { 8191, 2 }, { 8192, 1 }, { 8193, 1 }, { 0, 8193 }, { 1, 8192 }, { 4096, 4097 }, { UINT32_MAX, 1 },
        { UINT32_MAX, 2 }, { UINT32_MAX - 99, 200 }, { UINT32_MAX - 8191, 8192 }, { BIT(31), 4096 },
        { 0, MB_ISM_MAX_BYTES }, { 0, BIT(31) }, { 0, UINT32_MAX }, { 8192, UINT32_MAX }, { UINT32_MAX, UINT32_MAX },
    };

    remember();
    for (unsigned i = 0; i < ARRAY_SIZE(beyond); i++)
        assert_int_equal(move_at(token, beyond[i].offset, beyond[i].bytes), -EINVAL);
    nothing_else_has_changed();
    assert_int_equal(move_at(token, 8191, 1), 1);
    assert_int_equal(move_at(token, 0, 8192), 1);
    due(A, BUFFERS + PAGE_SIZE, B, DATA, 8192);
    nothing_else_has_changed();
}

static void nonsense_is_not_done(void **state)
{
    uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B);
    struct mb_ism_move m;

    remember();
    for (unsigned bit = 0; bit < 32; bit++) {
        m = (struct mb_ism_move){ token, DATA, 10, 0, (uint32_t)BIT(bit), 0 };
        if (BIT(bit) != MB_ISM_SIGNAL)
            assert_int_equal(move_one(B, &m), -EINVAL);
        m = (struct mb_ism_move){ token, DATA, 10, 0, 0, (uint32_t)BIT(bit) };
        assert_int_equal(move_one(B, &m), -EINVAL);
    }
    assert_int_equal(move_at(token, 0, 0), -EINVAL);
    assert_int_equal(move_at(token, PAGE_SIZE, 0), -EINVAL);
    nothing_else_has_changed();
}

static void what_is_no_ram_is_not_moved(void **state)
{
    static const uint64_t bad[] = { NO_RAM, NO_RAM - 9, PMAP_HOLE, PMAP_HOLE - 9, PMAP_HOLE_END - 1, 0xfee00000,
                                    UINT64_MAX, -9ul, BIT(63), 4 * GIB };
    uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B);

    remember();
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(move_one(B, &(struct mb_ism_move){ token, bad[i], 10, 0, MB_ISM_SIGNAL, 0 }), -EFAULT);
    nothing_else_has_changed();
    assert_int_equal(vifs[B].vif[0]->port.counts.moves, 0);
    due(A, BUFFERS, B, NO_RAM - 10, 10);
    assert_int_equal(move_one(B, &(struct mb_ism_move){ token, NO_RAM - 10, 10, 0, 0, 0 }), 1);
    nothing_else_has_changed();
}

/* Only who it was opened to has it; the token alone is nothing. */
static void strangers_find_nothing(void **state)
{
    uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B);
    const struct mb_ism_move m = { token, DATA, 100, 0, MB_ISM_SIGNAL, 0 };

    remember();
    assert_int_equal(move_one(A, &m), -ENOENT);
    assert_int_equal(move_one(C, &m), -ENOENT);
    assert_int_equal(move_one(ELSEWHERE, &m), -ENOENT);
    assert_int_equal(move_one(LIMITED, &m), -ENXIO);
    assert_int_equal(ism_start(&vifs[C], 1, GPA(QUEUE)), 0);
    get(C, MIB, image[C], IMAGED);
    assert_int_equal(ism_move(&vifs[C], 1, GPA(MOVES), 1), -ENOENT);
    for (unsigned bit = 0; bit < 64; bit++)
        assert_int_equal(move_at(token ^ BIT(bit), 0, 100), -ENOENT);
    for (uint64_t port = 0; port < 256; port++)
        if (port != token >> 40)
            assert_int_equal(move_at(token % BIT(40) | port << 40, 0, 100), -ENOENT);
    assert_int_equal(move_at(0, 0, 100), -ENOENT);
    assert_int_equal(move_at(UINT64_MAX, 0, 100), -ENOENT);
    nothing_else_has_changed();
    moves_well(token);
}

/* An uplink of the network is a port, too, but has no buffers. */
static void an_uplink_has_none(void **state)
{
    static const struct net_port_ops ops = { 0 };
    struct net_port uplink = { .ops = &ops, .name = "uplink", .uplink = true };
    uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B);

    assert_int_equal(net_attach(net_named("lan"), &uplink), 0);
    assert_int_equal(move_at(token % BIT(40) | (uint64_t)uplink.index << 40, 0, 100), -ENOENT);
    assert_int_equal(ism_peer(&vifs[A], 0, 0), -EHOSTUNREACH);
    assert_int_equal(ism_peer(&vifs[A], 0, UINT64_MAX), -EHOSTUNREACH);
    assert_int_equal(stop(B), 0);
    expect_gone(A, 0, B);
    net_detach(&uplink);
}

static void two_of_one_vm_are_two(void **state)
{
    int64_t token = ism_open(&vifs[C], 0, GPA(BUFFERS), PAGE_SIZE, SECOND);

    assert_int_equal(token, -EHOSTUNREACH);
    assert_int_equal(ism_start(&vifs[C], 1, GPA(QUEUE + 0x20000)), 0);
    token = ism_open(&vifs[C], 0, GPA(BUFFERS), PAGE_SIZE, SECOND);
    assert_true(token > 0);
    remember();
    put(C, MOVES, &(struct mb_ism_move){ (uint64_t)token, DATA, 100, 0, 0, 0 }, sizeof(struct mb_ism_move));
    assert_int_equal(ism_move(&vifs[C], 0, GPA(MOVES), 1), -ENOENT);
    nothing_else_has_changed();
    due(C, BUFFERS, C, DATA, 100);
    assert_int_equal(ism_move(&vifs[C], 1, GPA(MOVES), 1), 1);
    nothing_else_has_changed();
}

/* Also if data and place are parts of the same page: all of the data arrive. */
static void a_vm_moves_to_itself(void **state)
{
    static const struct { uint32_t from, to; } part[] = { { 0, 3 }, { 3, 0 }, { 100, 107 }, { 50, 49 }, { 8, 8 } };
    uint8_t before[1000], after[1000];
    struct mb_ism_move m = { .bytes = sizeof(before) };

    remember();
    assert_int_equal(ism_start(&vifs[C], 1, GPA(QUEUE + 0x20000)), 0);
    m.token = (uint64_t)ism_open(&vifs[C], 0, GPA(BUFFERS), PAGE_SIZE, SECOND);
    for (unsigned i = 0; i < ARRAY_SIZE(part); i++) {
        get(C, BUFFERS + part[i].from, before, sizeof(before));
        m.gpa = BUFFERS + part[i].from;
        m.offset = part[i].to;
        put(C, MOVES, &m, sizeof(m));
        assert_int_equal(ism_move(&vifs[C], 1, GPA(MOVES), 1), 1);
        get(C, BUFFERS + part[i].to, after, sizeof(after));
        assert_memory_equal(after, before, sizeof(after));
    }
}

static void who_has_gone_writes_no_more(void **state)
{
    uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B), other = opened(A, BUFFERS, PAGE_SIZE, C), again;

    assert_int_equal(stop(B), 0);
    assert_int_equal(move_at(token, 0, 1), -ENXIO);
    assert_int_equal(start(B), 0);
    assert_int_equal(move_at(token, 0, 1), -ENOENT); /* though it is there again */
    assert_int_equal(move_one(C, &(struct mb_ism_move){ other, DATA, 1, 0, 0, 0 }), 1);
    again = opened(A, BUFFERS, PAGE_SIZE, B);
    assert_int_not_equal(again % MB_ISM_BUFFERS, token % MB_ISM_BUFFERS);
    moves_well(again);
    assert_int_equal(close_it(A, token), 0);   /* its owner's place it is still */
    assert_int_equal(close_it(A, token), -ENOENT);
    assert_int_equal(opened(A, BUFFERS, PAGE_SIZE, B) % MB_ISM_BUFFERS, token % MB_ISM_BUFFERS);
    assert_int_equal(move_at(token, 0, 1), -ENOENT);
}

static void a_new_start_closes_all(void **state)
{
    uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B);

    assert_int_equal(stop(A), 0);
    assert_int_equal(move_at(token, 0, 1), -ENOENT);
    assert_int_equal(start(A), 0);
    assert_int_equal(move_at(token, 0, 1), -ENOENT);
    assert_int_equal(close_it(A, token), -ENOENT);
    token = opened(A, BUFFERS, PAGE_SIZE, B);
    assert_int_equal(start(A), 0);             /* without a stop before it */
    assert_int_equal(move_at(token, 0, 1), -ENOENT);
    for (unsigned i = 0; i < MB_ISM_BUFFERS; i++)
        opened(A, BUFFERS, PAGE_SIZE, B);
    assert_int_equal(start(A), 0);
    for (unsigned i = 0; i < MB_ISM_BUFFERS; i++)
        opened(A, BUFFERS, PAGE_SIZE, B);
}

/* Another VM with the same address is another. */
static void who_comes_after_it_has_not_what_it_had(void **state)
{
    uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B);

    end_vm(B);
    assert_int_equal(ism_peer(&vifs[A], 0, id_of(B)), -EHOSTUNREACH);
    make_vm(B);
    assert_int_equal(move_at(token, 0, 1), -ENXIO);
    assert_int_equal(start(B), 0);
    assert_int_equal(move_at(token, 0, 1), -ENOENT);
    assert_int_equal(close_it(A, token), 0);
    moves_well(opened(A, BUFFERS, PAGE_SIZE, B));
}

static void fill_batch(struct mb_ism_move *m, uint64_t token)
{
    for (unsigned i = 0; i < MB_ISM_MAX_MOVES; i++)
        m[i] = (struct mb_ism_move){ token, DATA + i * 1001, 150 + i, i * 200, 0, 0 };
}

static void a_batch_goes_as_far_as_it_can(void **state)
{
    uint64_t token = opened(A, BUFFERS, 2 * PAGE_SIZE, B);
    const struct mb_ism_move bad[] = {
        { token, DATA, 0, 0, 0, 0 }, { token + 1, DATA, 1, 0, 0, 0 }, { token, NO_RAM, 1, 0, 0, 0 },
        { token, DATA, 1, 2 * PAGE_SIZE, 0, 0 },
    };
    static const int err[] = { -EINVAL, -ENOENT, -EFAULT, -EINVAL };
    struct mb_ism_move m[MB_ISM_MAX_MOVES];

    for (unsigned kind = 0; kind < ARRAY_SIZE(bad); kind++) {
        for (unsigned at = 0; at < MB_ISM_MAX_MOVES; at = 2 * at + 1) {
            remember();
            fill_batch(m, token);
            m[at] = bad[kind];
            for (unsigned i = 0; i < at; i++)
                due(A, BUFFERS + m[i].offset, B, m[i].gpa, m[i].bytes);
            assert_int_equal(moves(B, m, MB_ISM_MAX_MOVES), at ? (int)at : err[kind]);
            nothing_else_has_changed();
        }
    }
    fill_batch(m, token);
    assert_int_equal(moves(B, m, MB_ISM_MAX_MOVES), MB_ISM_MAX_MOVES);
}

/* In their order: the last one stays. Only so many as the call says. */
static void moves_are_done_in_order(void **state)
{
    uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B), second = opened(A, BUFFERS + PAGE_SIZE, PAGE_SIZE, B);
    const struct mb_ism_move m[] = {
        { token, DATA, 200, 0, 0, 0 }, { second, DATA + 500, 200, 8, 0, 0 }, { token, DATA + 1000, 100, 50, 0, 0 },
        { token, DATA + 2000, 1000, 0, 0, 0 },
    };

    remember();
    due(A, BUFFERS, B, DATA, 200);
    due(A, BUFFERS + PAGE_SIZE + 8, B, DATA + 500, 200);
    due(A, BUFFERS + 50, B, DATA + 1000, 100);
    put(B, MOVES, m, sizeof(m));
    assert_int_equal(ism_move(&vifs[B], 0, GPA(MOVES), 3), 3);
    nothing_else_has_changed();
    assert_int_equal(vifs[B].vif[0]->port.counts.moves, 3);
    assert_int_equal(vifs[B].vif[0]->port.counts.moved, 500);
}

static void lists_are_checked(void **state)
{
    uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B);
    struct mb_ism_move m[MB_ISM_MAX_MOVES + 1];
    static const uint64_t count[] = { 0, MB_ISM_MAX_MOVES + 1, BIT(32) + 1, BIT(59) + 1, UINT64_MAX };

    fill_batch(m, token);
    m[MB_ISM_MAX_MOVES] = m[0];
    put(B, MOVES, m, sizeof(m));
    put(B, NO_RAM - 4 * sizeof(m[0]), m, 4 * sizeof(m[0]));
    put(B, MOVES + 0x1008, m, sizeof(m));
    remember();
    for (unsigned i = 0; i < ARRAY_SIZE(count); i++)
        assert_int_equal(ism_move(&vifs[B], 0, GPA(MOVES), count[i]), -EINVAL);
    assert_int_equal(ism_move(&vifs[B], 0, GPA(MOVES + 0x1008), 1), -EINVAL);
    assert_int_equal(ism_move(&vifs[B], 0, GPA(NO_RAM - 4 * sizeof(m[0])), 5), -EFAULT);
    assert_int_equal(ism_move(&vifs[B], 0, GPA(NO_RAM), 1), -EFAULT);
    assert_int_equal(ism_move(&vifs[B], 0, GPA(-16ul), 1), -EFAULT);
    assert_int_equal(ism_move(&vifs[B], 1, GPA(MOVES), 1), -ENODEV);
    nothing_else_has_changed();
    assert_int_equal(ism_move(&vifs[B], 0, GPA(NO_RAM - 4 * sizeof(m[0])), 4), 4);
    put(B, MOVES + 16, m, sizeof(m[0]));
    assert_int_equal(ism_move(&vifs[B], 0, GPA(MOVES + 16), 1), 1); /* a multiple of 16 is enough */
}

/* It ends with the move that makes it so much: two whole buffers are too many, but not what is a bit less, and one. */
static void a_call_moves_so_much(void **state)
{
    uint64_t token = opened(A, BUFFERS, MB_ISM_MAX_BYTES, B);
    struct mb_ism_move m[] = {
        { token, DATA, MB_ISM_MAX_BYTES - 1, 0, 0, 0 }, { token, DATA + 8, 64, 0, 0, 0 }, { token, DATA, 1, 0, 0, 0 },
        { token, DATA, 1, 0, 0, 0 },
    };

    remember();
    due(A, BUFFERS, B, DATA, MB_ISM_MAX_BYTES - 1);
    due(A, BUFFERS, B, DATA + 8, 64);
    assert_int_equal(moves(B, m, 4), 2);
    nothing_else_has_changed();
    m[1].bytes = MB_ISM_MAX_BYTES;
    assert_int_equal(moves(B, m, 4), 2);
    m[0].bytes = MB_ISM_MAX_BYTES;
    assert_int_equal(moves(B, m, 4), 1);
    m[0] = m[2];
    m[1] = m[2];
    assert_int_equal(moves(B, m, 4), 4);
}

/* A page of the commons, as VM A has it at this place. */
static struct hpa shared_page(uint64_t gpa)
{
    struct hpa page = HPA_NONE;

    assert_int_equal(pmap_share(&pmap[A], GPA(gpa), &page), 0);
    return page;
}

/* What others have, too, stays theirs: the buffer's owner gets a copy of its own. */
static void shared_pages_are_left_alone(void **state)
{
    uint64_t token = opened(A, BUFFERS, 4 * PAGE_SIZE, B);
    uint8_t before[4][PAGE_SIZE];
    struct hpa page[4];

    remember();
    for (unsigned i = 0; i < 4; i++) {
        page[i] = shared_page(BUFFERS + i * PAGE_SIZE);
        get(A, BUFFERS + i * PAGE_SIZE, before[i], PAGE_SIZE);
        commons_hold(page[i]);
        assert_int_equal(pmap_place(&pmap[C], GPA(DATA + i * PAGE_SIZE), page[i], 0), 0);
    }
    get(C, MIB, image[C], IMAGED);
    due(A, BUFFERS + 4000, B, DATA + 77, 2 * PAGE_SIZE);
    assert_int_equal(move_one(B, &(struct mb_ism_move){ token, DATA + 77, 2 * PAGE_SIZE, 4000, 0, 0 }), 1);
    nothing_else_has_changed();
    for (unsigned i = 0; i < 4; i++) {
        assert_memory_equal(hpa_ptr(page[i]), before[i], PAGE_SIZE);
        commons_drop(page[i]);
    }
    assert_int_equal(pmap[A].counts.breaks, 3);
}

/* Pages that nobody has touched are zeros, at either end; and what is zero is moved, too. */
static void untouched_pages_are_zeros(void **state)
{
    uint64_t token = opened(A, BUFFERS + MIB, 4 * PAGE_SIZE, B);

    remember();
    put(A, BUFFERS + MIB, "old", 3);
    get(A, MIB, image[A], IMAGED);
    due(A, BUFFERS + MIB, B, DATA + MIB, PAGE_SIZE + 5);
    assert_int_equal(move_one(B, &(struct mb_ism_move){ token, DATA + MIB, PAGE_SIZE + 5, 0, 0, 0 }), 1);
    nothing_else_has_changed();
    due(A, BUFFERS + MIB + 9000, B, DATA, 10);
    assert_int_equal(move_one(B, &(struct mb_ism_move){ token, DATA, 10, 9000, 0, 0 }), 1);
    nothing_else_has_changed();
}

static void no_page_is_lost(void **state)
{
    uint64_t before;

    teardown(NULL);
    before = free_pages();
    setup(NULL);
    remember();
    for (unsigned i = 0; i < 100; i++)
        moves_well(opened(A, BUFFERS, PAGE_SIZE, B));
    teardown(NULL);
    assert_int_equal(free_pages(), before);
    setup(NULL);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(starts_are_checked, setup_idle, teardown),
        T(a_queue_begins_empty_and_says_who_it_is), T(a_start_that_fails_stops_nothing),
        T(peers_are_those_that_take_part), T(opens_are_checked), T(so_many_are_open_and_no_more),
        T(an_old_token_is_none), T(closes_are_checked), T(data_arrive_and_nothing_else), T(much_arrives),
        T(limits_are_kept), T(nonsense_is_not_done), T(what_is_no_ram_is_not_moved), T(strangers_find_nothing),
        T(an_uplink_has_none), T(two_of_one_vm_are_two), T(a_vm_moves_to_itself), T(who_has_gone_writes_no_more),
        T(a_new_start_closes_all),
        T(who_comes_after_it_has_not_what_it_had), T(a_batch_goes_as_far_as_it_can), T(moves_are_done_in_order),
        T(lists_are_checked), T(a_call_moves_so_much), T(shared_pages_are_left_alone), T(untouched_pages_are_zeros),
        T(no_page_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
