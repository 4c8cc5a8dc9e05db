/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/ism_fake.h"

/* Moves that wait in a queue until a vCPU of the VM has nothing to do. */
#define AT_MOVE(n) (QUEUE + offsetof(struct mb_ism_queue, move) + (n) * sizeof(struct mb_ism_move))
#define RING       0x130000ul

static uint64_t token;         /* of A's buffer, which is open to B */

static int setup_buffer(void **state)
{
    int err = setup(state);

    token = opened(A, BUFFERS, PAGE_SIZE, B);
    put(B, DATA, "what waits", 11);
    return err;
}

static struct mb_ism_move to(uint32_t offset) { return (struct mb_ism_move){ token, DATA, 11, offset, 0, 0 }; }

/* It waits in B's queue. */
static void keep(const struct mb_ism_move *m)
{
    uint32_t n = word(B, AT_WORD(later));

    put(B, AT_MOVE(n), m, sizeof(*m));
    put32(B, AT_WORD(later), n + 1);
}

static bool has_come(uint32_t offset)
{
    char text[11];

    get(A, BUFFERS + offset, text, sizeof(text));
    return !memcmp(text, "what waits", sizeof(text));
}

static void expect_waiting(uint32_t n)
{
    assert_int_equal(word(B, AT_WORD(later)), n);
    assert_int_equal(word(B, AT_WORD(lock)), 0);
}

static void who_has_nothing_to_do_moves_it(void **state)
{
    struct mb_ism_move m;

    for (uint32_t i = 0; i < MB_ISM_LATER; i++) {
        m = to(i * 64);
        keep(&m);
    }
    vifs_idle(&vifs[A], 0);
    vifs_idle(&vifs[C], 0);
    expect_waiting(MB_ISM_LATER);
    assert_false(has_come(0));
    vifs_idle(&vifs[B], 0);
    expect_waiting(0);
    for (uint32_t i = 0; i < MB_ISM_LATER; i++)
        assert_true(has_come(i * 64));
    assert_int_equal(written(A), 0);
    assert_int_equal(vifs[B].vif[0]->port.counts.moves, MB_ISM_LATER);
    vifs_idle(&vifs[B], 0);
    assert_int_equal(vifs[B].vif[0]->port.counts.moves, MB_ISM_LATER);
}

/* In their order, and not what lies behind those that wait. */
static void only_what_waits_is_moved(void **state)
{
    struct mb_ism_move m[] = { to(0), to(5), to(100) };

    keep(&m[0]);
    keep(&m[1]);
    put(B, AT_MOVE(2), &m[2], sizeof(m[2]));
    vifs_idle(&vifs[B], 0);
    assert_false(has_come(0));                 /* the second one lies over it */
    assert_true(has_come(5));
    assert_false(has_come(100));
}

static void waiting_moves_are_told(void **state)
{
    struct mb_ism_move m = to(0);

    m.flags = MB_ISM_SIGNAL;
    keep(&m);
    vifs_idle(&vifs[B], 0);
    expect_written(A, 0, token, B);
    assert_int_equal(interrupts[A], 1);
    assert_int_equal(interrupts[B], 0);
}

/* A vCPU that waits has nothing to do either; one that need not wait goes on. */
static void who_waits_moves_it(void **state)
{
    struct mb_ism_move m = to(0);
    bool may = true;

    keep(&m);
    assert_false(ism_waits(&vifs[B], 0, 0, 1));
    expect_waiting(1);
    assert_true(ism_waits(&vifs[B], 0, 0, 0));
    expect_waiting(0);
    assert_int_equal(vifs_set_ring(&vifs[B], 0, 0, GPA(RING), 8, 8), 0);
    keep(&m);
    assert_int_equal(vifs_run(&vifs[B], 0, 0), 0);
    assert_int_equal(vifs_wait(&vifs[B], 0, 0, 0, 1, &may), 0);
    assert_false(may);
    expect_waiting(1);
    may = true;
    assert_int_equal(vifs_wait(&vifs[B], 0, 0, 0, 0, &may), 0);
    assert_true(may);
    expect_waiting(0);                         /* whatever it waits for */
}

static void each_interface_has_its_own(void **state)
{
    struct mb_ism_move m = to(0);
    uint64_t second = QUEUE + 0x20000;

    assert_int_equal(ism_start(&vifs[C], 1, GPA(second)), 0);
    m.token = (uint64_t)open_for(A, BUFFERS, PAGE_SIZE, SECOND);
    put(C, DATA, "what waits", 11);
    put(C, AT_MOVE(0) - QUEUE + second, &m, sizeof(m));
    put32(C, AT_WORD(later) - QUEUE + second, 1);
    vifs_idle(&vifs[C], 0);
    assert_true(has_come(0));
    assert_int_equal(word(C, AT_WORD(later) - QUEUE + second), 0);
}

/* The guest is at it. */
static void who_has_the_lock_is_left_alone(void **state)
{
    static const uint32_t lock[] = { 1, MB_ISM_HYPERVISOR, 3, BIT(31), UINT32_MAX };
    struct mb_ism_move m = to(0);

    keep(&m);
    for (unsigned i = 0; i < ARRAY_SIZE(lock); i++) {
        put32(B, AT_WORD(lock), lock[i]);
        vifs_idle(&vifs[B], 0);
        assert_int_equal(word(B, AT_WORD(lock)), lock[i]);
        assert_int_equal(word(B, AT_WORD(later)), 1);
        assert_false(has_come(0));
    }
    put32(B, AT_WORD(lock), 0);
    vifs_idle(&vifs[B], 0);
    assert_true(has_come(0));
}

static void more_than_there_can_be_is_nothing(void **state)
{
    static const uint32_t later[] = { MB_ISM_LATER + 1, MB_ISM_MAX_MOVES, MB_ISM_MAX_MOVES + 1, BIT(31), UINT32_MAX };
    struct mb_ism_move m = to(0);

    keep(&m);
    for (unsigned i = 0; i < ARRAY_SIZE(later); i++) {
        put32(B, AT_WORD(later), later[i]);
        vifs_idle(&vifs[B], 0);
        expect_waiting(later[i]);
        assert_false(has_come(0));
    }
}

/* The guest calls for them and learns why. */
static void what_cannot_be_done_stays(void **state)
{
    struct mb_ism_move m[] = { to(0), to(PAGE_SIZE), to(100) };

    for (unsigned i = 0; i < ARRAY_SIZE(m); i++)
        keep(&m[i]);
    vifs_idle(&vifs[B], 0);
    expect_waiting(3);
    assert_true(has_come(0));
    assert_false(has_come(100));
    assert_int_equal(ism_move(&vifs[B], 0, GPA(AT_MOVE(0)), 3), 1);
    assert_int_equal(ism_move(&vifs[B], 0, GPA(AT_MOVE(1)), 2), -EINVAL);
    put(B, AT_MOVE(0), &m[1], sizeof(m[1]));
    vifs_idle(&vifs[B], 0);
    expect_waiting(3);
    assert_false(has_come(100));
}

/* As with a call: who may not write there does not. */
static void who_may_not_write_does_not(void **state)
{
    struct mb_ism_move m = to(0);

    put(C, DATA, "what waits", 11);
    put(C, AT_MOVE(0), &m, sizeof(m));
    put32(C, AT_WORD(later), 1);
    vifs_idle(&vifs[C], 0);
    assert_int_equal(word(C, AT_WORD(later)), 1);
    assert_false(has_come(0));
}

static void who_takes_no_part_moves_nothing(void **state)
{
    struct mb_ism_move m = to(0);

    vifs_idle(&vifs[LIMITED], 0);
    assert_int_equal(stop(B), 0);
    token = opened(A, BUFFERS, PAGE_SIZE, C);
    keep(&m);
    vifs_idle(&vifs[B], 0);
    expect_waiting(1);
    assert_false(has_come(0));
    assert_int_equal(start(B), 0);             /* the queue begins empty */
    expect_waiting(0);
}

static void it_is_locked(unsigned vm)
{
    assert_int_equal(vm, A);
    assert_int_equal(word(B, AT_WORD(lock)), MB_ISM_HYPERVISOR);
    vifs_idle(&vifs[B], 1);                    /* another vCPU: it is at it already */
    assert_int_equal(word(B, AT_WORD(lock)), MB_ISM_HYPERVISOR);
}

static void it_is_shared(unsigned vm)
{
    struct hpa page;

    assert_int_equal(word(B, AT_WORD(lock)), MB_ISM_HYPERVISOR);
    assert_int_equal(pmap_share(&pmap[B], GPA(QUEUE), &page), 0);
    commons_drop(page);
}

/* Meanwhile it is locked, and afterwards not, whatever has become of the page and of the moves. */
static void the_guest_waits_for_what_is_being_moved(void **state)
{
    void (*const meanwhile[])(unsigned) = { it_is_locked, it_is_shared };
    struct mb_ism_move good = to(0), bad = to(PAGE_SIZE);

    good.flags = MB_ISM_SIGNAL;
    for (unsigned i = 0; i < 2 * ARRAY_SIZE(meanwhile); i++) {
        waking = meanwhile[i % 2];
        assert_true(ism_waits(&vifs[A], 0, 0, i));
        put32(B, AT_WORD(later), 0);
        keep(&good);
        if (i > 1)
            keep(&bad);
        vifs_idle(&vifs[B], 0);
        assert_int_equal(wakes[A], i + 1);
        expect_waiting(i > 1 ? 2 : 0);
        see_all(A);
    }
}

/* In a page that others have, too, nothing was written since: it stays until something is. */
static void a_shared_queue_waits(void **state)
{
    struct mb_ism_move m = to(0);
    struct hpa page;

    keep(&m);
    assert_int_equal(pmap_share(&pmap[B], GPA(QUEUE), &page), 0);
    vifs_idle(&vifs[B], 0);
    expect_waiting(1);
    put32(B, AT_WORD(quiet), 1);
    vifs_idle(&vifs[B], 0);
    expect_waiting(0);
    assert_true(has_come(0));
    commons_drop(page);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup_buffer, teardown)
    const struct CMUnitTest tests[] = {
        T(who_has_nothing_to_do_moves_it), T(only_what_waits_is_moved), T(waiting_moves_are_told),
        T(who_waits_moves_it), T(each_interface_has_its_own), T(who_has_the_lock_is_left_alone),
        T(more_than_there_can_be_is_nothing), T(what_cannot_be_done_stays), T(who_may_not_write_does_not),
        T(who_takes_no_part_moves_nothing), T(the_guest_waits_for_what_is_being_moved), T(a_shared_queue_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
