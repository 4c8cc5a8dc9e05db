/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/ism_fake.h"

/* What the interfaces hear of each other: queues, interrupts, vCPUs that wait. */
#define MOST_UNSEEN 3u         /* that one may have told another */
#define RING        0x130000ul

/* A byte, with a signal. */
static int64_t write_to(unsigned by, uint64_t token)
{
    return move_one(by, &(struct mb_ism_move){ token, DATA, 1, 7, MB_ISM_SIGNAL, 0 });
}

static void quiet(unsigned vm, uint32_t is) { put32(vm, AT_WORD(quiet), is); }

static void nobody_else_heard_anything(unsigned vm)
{
    for (unsigned i = 0; i < LIMITED; i++)
        if (i != vm)
            assert_int_equal(written(i) + interrupts[i] + wakes[i], 0);
}

static void it_is_told_once_until_it_is_seen(void **state)
{
    uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B);

    assert_int_equal(write_to(B, token), 1);
    expect_written(A, 0, token, B);
    assert_int_equal(interrupts[A], 1);
    for (uint8_t i = 1; i < 10; i++) {
        put(B, DATA, &i, 1);
        assert_int_equal(write_to(B, token), 1);
        assert_int_equal(word(A, BUFFERS + 7) & 0xff, i);
        assert_int_equal(written(A), 1);
        assert_int_equal(interrupts[A], 1);
    }
    for (uint32_t n = 1; n < 4; n++) {
        see(A, n);
        assert_int_equal(write_to(B, token), 1);
        expect_written(A, n, token, B);
        assert_int_equal(interrupts[A], n + 1);
        assert_int_equal(write_to(B, token), 1);
        assert_int_equal(written(A), n + 1);
    }
    nobody_else_heard_anything(A);
}

/* What was seen is not all that there is: the buffer's own news count. */
static void each_buffer_has_its_own(void **state)
{
    uint64_t token[3];

    for (unsigned i = 0; i < 3; i++)
        token[i] = opened(A, BUFFERS + i * PAGE_SIZE, PAGE_SIZE, i == 1 ? C : B);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(write_to(i == 1 ? C : B, token[i]), 1);
        expect_written(A, i, token[i], i == 1 ? C : B);
    }
    assert_int_equal(interrupts[A], 1);        /* it is at it */
    see(A, 1);
    assert_int_equal(write_to(C, token[1]), 1);
    assert_int_equal(written(A), 3);
    assert_int_equal(write_to(B, token[0]), 1);
    expect_written(A, 3, token[0], B);
    assert_int_equal(interrupts[A], 1);
    see(A, 2);
    assert_int_equal(write_to(B, token[2]), 1);
    assert_int_equal(written(A), 4);
    assert_int_equal(write_to(C, token[1]), 1);
    expect_written(A, 4, token[1], C);
    see(A, 5);
    assert_int_equal(write_to(B, token[2]), 1);
    expect_written(A, 5, token[2], B);
    assert_int_equal(interrupts[A], 2);
}

static void who_is_quiet_is_not_interrupted(void **state)
{
    uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B);

    opened(B, BUFFERS, PAGE_SIZE, A);
    quiet(A, 1);
    assert_int_equal(write_to(B, token), 1);
    expect_written(A, 0, token, B);
    assert_int_equal(interrupts[A], 0);
    see_all(A);
    quiet(A, BIT(31));
    assert_int_equal(tell(B, id_of(A), 1, 2), 0);
    assert_int_equal(written(A), 2);
    assert_int_equal(interrupts[A], 0);
    quiet(A, 0);
    assert_int_equal(write_to(B, token), 1);
    assert_int_equal(written(A), 3);
    assert_int_equal(interrupts[A], 0);        /* something is still unseen */
    see_all(A);
    assert_int_equal(write_to(B, token), 1);
    assert_int_equal(interrupts[A], 1);
    nobody_else_heard_anything(A);
}

/* Nothing is said of what is not signalled, or not done. */
static void only_what_is_done_is_told(void **state)
{
    uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B);
    const struct mb_ism_move bad[] = {
        { token, DATA, 1, PAGE_SIZE, MB_ISM_SIGNAL, 0 }, { token, MEMORY, 1, 0, MB_ISM_SIGNAL, 0 },
        { token, DATA, 0, 0, MB_ISM_SIGNAL, 0 }, { token + 1, DATA, 1, 0, MB_ISM_SIGNAL, 0 },
    };

    assert_int_equal(move_one(B, &(struct mb_ism_move){ token, DATA, 1, 0, 0, 0 }), 1);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
        assert_true(move_one(B, &bad[i]) < 0);
    assert_int_equal(write_to(C, token), -ENOENT);
    assert_int_equal(close_it(A, token), 0);
    assert_int_equal(write_to(B, token), -ENOENT);
    nobody_else_heard_anything(VMS);
}

/* A list of moves: the buffers in which there is something, once each. */
static void a_list_tells_once(void **state)
{
    uint64_t token[2] = { opened(A, BUFFERS, PAGE_SIZE, B), opened(A, BUFFERS + PAGE_SIZE, PAGE_SIZE, B) };
    struct mb_ism_move m[MB_ISM_MAX_MOVES];

    for (unsigned i = 0; i < ARRAY_SIZE(m); i++)
        m[i] = (struct mb_ism_move){ token[i % 2], DATA, 10, 10 * i, i > 3 ? MB_ISM_SIGNAL : 0, 0 };
    assert_int_equal(moves(B, m, ARRAY_SIZE(m)), ARRAY_SIZE(m));
    expect_news(A, 0, &(struct mb_ism_news){ MB_ISM_WRITTEN, (uint32_t)token[0] % MB_ISM_BUFFERS, id_of(B), 0, 0 });
    expect_written(A, 1, token[1], B);
    assert_int_equal(interrupts[A], 1);
}

/* News fill the queue, which begins again. */
static void the_queue_goes_round(void **state)
{
    uint64_t token[2] = { opened(A, BUFFERS, PAGE_SIZE, B), opened(A, BUFFERS, PAGE_SIZE, C) };

    for (uint32_t n = 0; n < 3 * MB_ISM_NEWS + 5; n++) {
        assert_int_equal(write_to(n % 3 ? B : C, token[!(n % 3)]), 1);
        expect_written(A, n, token[!(n % 3)], n % 3 ? B : C);
        assert_int_equal(interrupts[A], n + 1);
        see_all(A);
    }
    assert_int_equal(word(A, QUEUE + sizeof(struct mb_ism_queue)), 0);
}

/* All that can be unseen has room: each buffer's news, what all others have told. */
static void there_is_room_for_all(void **state)
{
    uint64_t token[MB_ISM_BUFFERS];
    bool told[MB_ISM_BUFFERS] = { false };

    for (unsigned i = 0; i < MB_ISM_BUFFERS; i++)
        token[i] = opened(A, BUFFERS + i * PAGE_SIZE, PAGE_SIZE, i % 2 ? B : C);
    for (unsigned turn = 0; turn < 3; turn++)
        for (unsigned i = 0; i < MB_ISM_BUFFERS; i++)
            assert_int_equal(write_to(i % 2 ? B : C, token[i]), 1);
    for (unsigned i = 0; i < 2 * MOST_UNSEEN; i++)
        assert_int_equal(tell(i % 2 ? B : C, id_of(A), i, i), 0);
    assert_int_equal(written(A), MB_ISM_BUFFERS + 2 * MOST_UNSEEN);
    for (uint32_t n = 0; n < MB_ISM_BUFFERS; n++) {
        const struct mb_ism_news is = news(A, n);

        assert_int_equal(is.kind, MB_ISM_WRITTEN);
        assert_false(told[is.number]);
        told[is.number] = true;
    }
    assert_int_equal(interrupts[A], 1);
}

/* Who counts as seen what never was loses nothing but its own news. */
static void lies_harm_nobody(void **state)
{
    static const uint32_t lie[] = { 5, 600, BIT(31), BIT(31) + 1, UINT32_MAX, UINT32_MAX - 600, 2 };
    uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B), others = opened(C, BUFFERS, PAGE_SIZE, B);
    uint32_t n = 0;
    int64_t said;

    for (unsigned i = 0; i < ARRAY_SIZE(lie); i++) {
        see(A, lie[i]);
        for (uint8_t k = 0; k < 20; k++) {
            put(B, DATA, &k, 1);
            assert_int_equal(write_to(B, token), 1);
            assert_int_equal(word(A, BUFFERS + 7) & 0xff, k);
            said = tell(B, id_of(A), 1, 2);
            assert_true(said == 0 || said == -EAGAIN);
        }
        assert_int_equal(write_to(B, others), 1);
        expect_written(C, n, others, B);
        see(C, ++n);
        assert_int_equal(interrupts[C], n);
    }
    see_all(A);
    n = written(A);
    assert_int_equal(write_to(B, token), 1);
    expect_written(A, n, token, B);
    assert_int_equal(written(B) + interrupts[B], 0);
}

static void what_is_told_arrives(void **state)
{
    const struct mb_ism_news said = { MB_ISM_EVENT, 0x89abcdef, id_of(B), 0x123456789abcdef0, 0 };

    opened(A, BUFFERS, PAGE_SIZE, B);
    assert_int_equal(tell(B, id_of(A), said.number, said.info), 0);
    expect_news(A, 0, &said);
    assert_int_equal(written(A), 1);
    assert_int_equal(interrupts[A], 1);
    assert_int_equal(tell(B, id_of(A), 0, 0), 0);
    expect_news(A, 1, &(struct mb_ism_news){ .kind = MB_ISM_EVENT, .peer = id_of(B) });
    assert_int_equal(interrupts[A], 1);
    nobody_else_heard_anything(A);
}

/* Only who has something open to the one that tells hears it. */
static void who_has_nothing_open_is_not_told(void **state)
{
    uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B);

    assert_int_equal(tell(A, id_of(B), 1, 1), -EHOSTUNREACH);
    assert_int_equal(tell(C, id_of(A), 1, 1), -EHOSTUNREACH);
    assert_int_equal(tell(ELSEWHERE, id_of(A), 1, 1), -EHOSTUNREACH); /* it has B's address */
    assert_int_equal(tell(A, id_of(A), 1, 1), -EHOSTUNREACH);
    assert_int_equal(tell(B, UNKNOWN, 1, 1), -EHOSTUNREACH);
    assert_int_equal(tell(B, 0, 1, 1), -EHOSTUNREACH);
    assert_int_equal(tell(B, UINT64_MAX, 1, 1), -EHOSTUNREACH);
    assert_int_equal(ism_tell(&vifs[B], 1, id_of(A), 1, 1), -ENODEV);
    assert_int_equal(tell(LIMITED, id_of(A), 1, 1), -ENXIO);
    assert_int_equal(close_it(A, token), 0);
    assert_int_equal(tell(B, id_of(A), 1, 1), -EHOSTUNREACH);
    nobody_else_heard_anything(VMS);
    opened(A, BUFFERS, PAGE_SIZE, B);
    assert_int_equal(stop(A), 0);
    assert_int_equal(tell(B, id_of(A), 1, 1), -EHOSTUNREACH);
    assert_int_equal(start(A), 0);
    assert_int_equal(tell(B, id_of(A), 1, 1), -EHOSTUNREACH);
    nobody_else_heard_anything(VMS);
}

static void who_is_gone_tells_no_more(void **state)
{
    opened(A, BUFFERS, PAGE_SIZE, B);
    assert_int_equal(start(B), 0);
    expect_gone(A, 0, B);
    assert_int_equal(tell(B, id_of(A), 1, 1), -EHOSTUNREACH);
    opened(A, BUFFERS, PAGE_SIZE, B);
    assert_int_equal(tell(B, id_of(A), 1, 1), 0);
    assert_int_equal(written(A), 2);
}

static void who_tells_much_waits_until_it_is_seen(void **state)
{
    uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B);
    uint32_t n;

    opened(A, BUFFERS, PAGE_SIZE, C);
    for (n = 0; n < MOST_UNSEEN; n++)
        assert_int_equal(tell(B, id_of(A), n, 0), 0);
    assert_int_equal(tell(B, id_of(A), n, 0), -EAGAIN);
    assert_int_equal(written(A), n);
    assert_int_equal(write_to(B, token), 1);   /* that is something else */
    expect_written(A, n++, token, B);
    for (unsigned i = 0; i < MOST_UNSEEN; i++)
        assert_int_equal(tell(C, id_of(A), i, 0), 0);
    assert_int_equal(tell(C, id_of(A), 9, 0), -EAGAIN);
    assert_int_equal(tell(B, id_of(A), 9, 0), -EAGAIN);
    see(A, 1);
    assert_int_equal(tell(C, id_of(A), 9, 0), -EAGAIN);
    assert_int_equal(tell(B, id_of(A), 77, 0), 0);
    assert_int_equal(news(A, 2 * MOST_UNSEEN + 1).number, 77);
    assert_int_equal(tell(B, id_of(A), 9, 0), -EAGAIN);
    for (n = 0; n < 3 * MB_ISM_NEWS; n++) {
        see_all(A);
        assert_int_equal(tell(n % 2 ? B : C, id_of(A), n, n), 0);
        assert_int_equal(news(A, written(A) - 1).number, n);
    }
}

/* After a new start nothing of before counts. */
static void a_new_queue_is_empty(void **state)
{
    uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B);

    assert_int_equal(write_to(B, token), 1);
    for (unsigned i = 0; i < MOST_UNSEEN; i++)
        assert_int_equal(tell(B, id_of(A), i, 0), 0);
    quiet(A, 1);
    assert_int_equal(ism_start(&vifs[A], 0, GPA(RING)), 0);
    token = opened(A, BUFFERS, PAGE_SIZE, B);
    assert_int_equal(write_to(B, token), 1);
    assert_int_equal(tell(B, id_of(A), 5, 0), 0);
    assert_int_equal(written(A), MOST_UNSEEN + 1); /* of the old one: it is left alone */
    assert_int_equal(word(A, RING + offsetof(struct mb_ism_head, written)), 2);
    assert_int_equal(interrupts[A], 2);
    put32(A, RING + offsetof(struct mb_ism_head, seen), 500); /* a lie, so that all is looked at */
    for (unsigned i = 1; i < MOST_UNSEEN; i++)
        assert_int_equal(tell(B, id_of(A), i, 0), 0);
    assert_int_equal(tell(B, id_of(A), 5, 0), -EAGAIN);
}

static void peers_hear_once_that_one_has_gone(void **state)
{
    uint64_t token[2] = { opened(A, BUFFERS, PAGE_SIZE, B), opened(A, BUFFERS, PAGE_SIZE, B) };
    uint64_t mine = opened(B, BUFFERS, PAGE_SIZE, A);

    quiet(A, 1);
    end_vm(B);
    expect_gone(A, 0, B);
    assert_int_equal(interrupts[A], 0);
    assert_int_equal(written(C) + interrupts[C] + written(ELSEWHERE) + interrupts[ELSEWHERE], 0);
    assert_int_equal(write_to(A, mine), -ENOENT);
    make_vm(B);
    assert_int_equal(start(B), 0);
    assert_int_equal(stop(B), 0);              /* nobody knows it */
    assert_int_equal(start(B), 0);
    assert_int_equal(written(A), 1);
    assert_int_equal(write_to(B, token[0]), -ENOENT);
    assert_int_equal(write_to(B, token[1]), -ENOENT);
    assert_int_equal(written(A), 1);
}

static void a_stop_is_told_as_an_end_is(void **state)
{
    opened(A, BUFFERS, PAGE_SIZE, B);
    opened(A, BUFFERS, PAGE_SIZE, C);
    opened(C, BUFFERS, PAGE_SIZE, A);
    assert_int_equal(stop(B), 0);
    expect_gone(A, 0, B);
    assert_int_equal(interrupts[A], 1);
    assert_int_equal(stop(B), 0);
    assert_int_equal(written(A), 1);
    assert_int_equal(start(A), 0);             /* this one, too */
    expect_gone(C, 0, A);
    assert_int_equal(interrupts[C], 1);
    assert_int_equal(written(A), 0);           /* not itself, and it has a new queue */
    assert_int_equal(stop(C), 0);
    assert_int_equal(written(A) + written(B) + written(ELSEWHERE), 0);
}

static bool waits(unsigned vm, unsigned vcpu, uint32_t known) { return ism_waits(&vifs[vm], vcpu, 0, known); }

static void there_are_news(unsigned vm) { assert_int_equal(written(vm), 1); }

static void expect_woken(unsigned vm, uint64_t vcpus)
{
    assert_int_equal(woken[vm], vcpus);
    assert_int_equal(wakes[vm], __builtin_popcountll(vcpus));
    woken[vm] = wakes[vm] = 0;
}

/* Once, by what is there already, whether or not it is quiet. */
static void who_waits_is_woken(void **state)
{
    uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B);

    quiet(A, 1);
    waking = there_are_news;
    assert_true(waits(A, 5, 0));
    assert_true(waits(A, 63, 0));
    assert_true(waits(A, 5, 0));
    expect_woken(A, 0);
    assert_int_equal(write_to(B, token), 1);
    expect_woken(A, BIT(5) | BIT(63));
    waking = NULL;
    see_all(A);
    assert_int_equal(write_to(B, token), 1);
    expect_woken(A, 0);                        /* it waits no more */
    assert_false(waits(A, 0, 0));
    assert_false(waits(A, 0, 1));
    assert_false(waits(A, 0, 3));
    assert_true(waits(A, 0, 2));
    assert_int_equal(write_to(B, token), 1);   /* it has not seen what is there: nothing new */
    expect_woken(A, 0);
    assert_int_equal(tell(B, id_of(A), 1, 1), 0);
    expect_woken(A, BIT(0));
    assert_true(waits(A, 1, 3));
    assert_int_equal(stop(B), 0);
    expect_woken(A, BIT(1));
    assert_int_equal(interrupts[A], 0);
}

static void others_news_wake_nobody(void **state)
{
    uint64_t token[2] = { opened(A, BUFFERS, PAGE_SIZE, B), opened(B, BUFFERS, PAGE_SIZE, A) };
    int64_t second;

    assert_int_equal(ism_start(&vifs[C], 1, GPA(RING)), 0);
    second = ism_open(&vifs[C], 1, GPA(BUFFERS), PAGE_SIZE, id_of(B));
    assert_true(waits(C, 0, 0));
    assert_true(ism_waits(&vifs[C], 1, 1, 0));
    assert_true(waits(B, 0, 0));
    assert_int_equal(write_to(B, token[0]), 1);
    assert_int_equal(write_to(B, (uint64_t)second), 1);
    expect_woken(C, BIT(1));                   /* for its interface 1 */
    assert_int_equal(interrupts[C], 1);
    expect_woken(B, 0);
    assert_int_equal(write_to(A, token[1]), 1);
    expect_woken(B, BIT(0));
    expect_woken(C, 0);
}

/* Nor does a queue that is no more, or one that takes no part. */
static void nobody_waits_in_vain(void **state)
{
    uint64_t token;

    assert_false(waits(LIMITED, 0, 0));
    assert_false(ism_waits(&vifs[A], 0, 1, 0));
    assert_false(ism_waits(&vifs[A], 0, UINT64_MAX, 0));
    assert_true(waits(A, 0, 0));
    assert_int_equal(start(A), 0);
    token = opened(A, BUFFERS, PAGE_SIZE, B);
    assert_int_equal(write_to(B, token), 1);
    expect_woken(A, 0);
    assert_int_equal(stop(A), 0);
    assert_false(waits(A, 0, 1));
    assert_false(waits(A, 0, 0));
}

/* What it has to send goes first, but only if it waits. */
static void who_waits_sends(void **state)
{
    const struct mb_net_packet p = { .bytes = 60, .address = DATA };
    const uint64_t taken = RING + offsetof(struct mb_net_ring, taken);

    assert_int_equal(vifs_set_ring(&vifs[A], 0, 0, GPA(RING), 8, 8), 0);
    put(A, RING + sizeof(struct mb_net_ring), &p, sizeof(p));
    put32(A, RING + offsetof(struct mb_net_ring, submitted), 1);
    assert_false(waits(A, 0, 1));
    assert_int_equal(word(A, taken), 0);
    assert_true(waits(A, 0, 0));
    assert_int_equal(word(A, taken), 1);
}

/* The queue may be in pages that others have, too. */
static void shared_queues_are_left_alone(void **state)
{
    uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B);
    struct mb_ism_queue *before;
    struct hpa page;

    assert_int_equal(pmap_share(&pmap[A], GPA(QUEUE), &page), 0);
    commons_hold(page);
    assert_int_equal(pmap_place(&pmap[C], GPA(DATA), page, 0), 0);
    assert_int_equal(write_to(B, token), 1);
    expect_written(A, 0, token, B);
    before = hpa_ptr(page);
    assert_int_equal(before->head.written + before->news[0].peer, 0);
    assert_int_equal(before->head.id, id_of(A));
    assert_int_equal(word(C, DATA + offsetof(struct mb_ism_head, written)), 0);
    commons_drop(page);
}

/* All pages that the machine has left, linked before those. */
static struct hpa take_all_pages(struct hpa last)
{
    struct hpa page;

    while ((page = page_alloc(0, PAGE_ORDER_4K, PAGE_HYPERVISOR)).v) {
        *(struct hpa *)hpa_ptr(page) = last;
        last = page;
    }
    return last;
}

static void give_all_back(struct hpa page)
{
    while (page.v) {
        struct hpa next = *(struct hpa *)hpa_ptr(page);

        page_free(page, PAGE_ORDER_4K);
        page = next;
    }
}

/*
 * Writes to A when its page at gpa is shared and no other is left, until none is found either that can be let go.
 * Returns how many news there are then.
 */
static uint32_t write_without_memory(uint64_t token, uint64_t gpa)
{
    struct hpa taken = HPA_NONE, page;
    uint32_t n;
    int64_t done;

    do {
        see_all(A);
        n = written(A);
        assert_int_equal(pmap_share(&pmap[A], GPA(gpa), &page), 0);
        taken = take_all_pages(taken);
        done = write_to(B, token);
        commons_drop(page);
    } while (done == 1);
    assert_int_equal(done, -ENOMEM);
    give_all_back(taken);
    return n;
}

/* Of the buffer, or of the queue. What could not be told is told the next time. */
static void without_memory_it_fails_and_works_again(void **state)
{
    const uint64_t part[] = { BUFFERS, QUEUE };

    for (unsigned i = 0; i < ARRAY_SIZE(part); i++) {
        uint64_t token = opened(A, BUFFERS, PAGE_SIZE, B);
        uint32_t n;

        put(B, DATA, "x", 1);                  /* a page of zeros could be let go */
        assert_int_equal(write_to(B, token), 1);
        n = write_without_memory(token, part[i]);
        assert_int_equal(written(A), n);
        assert_int_equal(write_to(B, token), 1);
        expect_written(A, n, token, B);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(it_is_told_once_until_it_is_seen), T(each_buffer_has_its_own), T(who_is_quiet_is_not_interrupted),
        T(only_what_is_done_is_told), T(a_list_tells_once), T(the_queue_goes_round), T(there_is_room_for_all),
        T(lies_harm_nobody), T(what_is_told_arrives), T(who_has_nothing_open_is_not_told),
        T(who_is_gone_tells_no_more), T(who_tells_much_waits_until_it_is_seen), T(a_new_queue_is_empty),
        T(peers_hear_once_that_one_has_gone), T(a_stop_is_told_as_an_end_is), T(who_waits_is_woken),
        T(others_news_wake_nobody), T(nobody_waits_in_vain), T(who_waits_sends), T(shared_queues_are_left_alone),
        T(without_memory_it_fails_and_works_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
