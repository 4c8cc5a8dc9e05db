/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/ism_fake.h"
#include "tests/unit/random.h"

/*
 * Three VMs call whatever comes to their minds, against a model of what is open to whom, what each has heard and not
 * seen yet, and what is in their memory: each answer and each byte are compared after each step.
 */
#define STEPS   10000u
#define PLAYERS 3u             /* A, B, C: with interface 0 each */
#define PAGES   6u             /* at BUFFERS: all buffers lie there, and what is moved */
#define BYTES   (PAGES * PAGE_SIZE)
#define NOBODY  UINT32_MAX     /* a buffer's peer that has gone */
#define ISSUED  32u
#define MOST    5u             /* moves of a call */
#define AT_MOVE (QUEUE + offsetof(struct mb_ism_queue, move))

struct model_buffer { bool open; uint64_t token, at; uint32_t bytes; unsigned peer; };

static struct model {
    bool started, quiet, waits;
    struct model_buffer buffer[MB_ISM_BUFFERS];
    struct mb_ism_news unseen[MB_ISM_NEWS];
    unsigned unseen_count;     /* the last of those that were written */
    uint32_t written;
    unsigned interrupts, wakes;
    struct mb_ism_move later[MOST];
    uint32_t later_count;
    uint8_t memory[BYTES];
} model[PLAYERS];

static struct { uint64_t token; unsigned owner; } issued[ISSUED]; /* the last ones, most of them closed again */
static unsigned answers[128];  /* what was answered how often: negative error numbers, or 0 for all else */

/* Each answer is to be the model's. */
static void expect(int64_t is, int64_t as)
{
    assert_int_equal(is, as);
    answers[is < 0 ? -is : 0]++;
}

static void hear(struct model *m, const struct mb_ism_news *news)
{
    m->interrupts += !m->unseen_count && !m->quiet;
    m->wakes += m->waits;
    m->waits = false;
    assert_true(m->unseen_count < MB_ISM_NEWS);
    m->unseen[m->unseen_count++] = *news;
    m->written++;
}

/* Those who have something open to it hear that it has gone. */
static void model_stop(unsigned vm)
{
    struct model *m = &model[vm];
    bool was = m->started;

    m->started = m->waits = false;
    for (unsigned i = 0; i < MB_ISM_BUFFERS; i++)
        m->buffer[i].open = false;
    for (unsigned other = 0; was && other < PLAYERS; other++) {
        bool knew = false;

        for (unsigned i = 0; i < MB_ISM_BUFFERS; i++) {
            struct model_buffer *b = &model[other].buffer[i];

            if (!b->open || b->peer != vm)
                continue;
            b->peer = NOBODY;
            knew = true;
        }
        if (knew)
            hear(&model[other], &(struct mb_ism_news){ .kind = MB_ISM_GONE, .peer = id_of(vm) });
    }
}

static unsigned unseen_of(const struct model *m, uint32_t kind, uint32_t number, uint64_t peer)
{
    unsigned n = 0;

    for (unsigned i = 0; i < m->unseen_count; i++)
        n += m->unseen[i].kind == kind && (kind == MB_ISM_WRITTEN ? m->unseen[i].number == number :
                                                                    m->unseen[i].peer == peer);
    return n;
}

static struct model_buffer *model_find(uint64_t token, unsigned *owner)
{
    for (*owner = 0; *owner < PLAYERS; ++*owner) {
        struct model_buffer *b = &model[*owner].buffer[token % MB_ISM_BUFFERS];

        if (b->open && b->token == token)
            return b;
    }
    return NULL;
}

static int model_move(unsigned vm, const struct mb_ism_move *m)
{
    struct mb_ism_news news = { .kind = MB_ISM_WRITTEN, .peer = id_of(vm) };
    struct model_buffer *b;
    unsigned owner;

    if (!m->bytes || m->flags > MB_ISM_SIGNAL || m->zero)
        return -EINVAL;
    b = model_find(m->token, &owner);
    if (!b || b->peer != vm)
        return -ENOENT;
    if ((uint64_t)m->offset + m->bytes > b->bytes)
        return -EINVAL;
    if (m->gpa + m->bytes > MEMORY)
        return -EFAULT;
    memcpy(model[owner].memory + b->at - BUFFERS + m->offset, model[vm].memory + m->gpa - BUFFERS, m->bytes);
    news.number = (uint32_t)m->token % MB_ISM_BUFFERS;
    if (m->flags && !unseen_of(&model[owner], MB_ISM_WRITTEN, news.number, 0))
        hear(&model[owner], &news);
    return 0;
}

static int64_t model_moves(unsigned vm, const struct mb_ism_move *m, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        int err = model_move(vm, &m[i]);

        if (err)
            return i ? (int64_t)i : err;
    }
    return n;
}

static void model_idle(unsigned vm)
{
    struct model *m = &model[vm];

    if (m->started && m->later_count && model_moves(vm, m->later, m->later_count) == m->later_count)
        m->later_count = 0;
}

/* Another, or, now and then, whoever. */
static unsigned another(unsigned vm)
{
    return fake_below(16) ? (vm + 1 + fake_below(2)) % PLAYERS : fake_below(PLAYERS);
}

/* One that this VM may write to; NULL: there is none, or another is to be tried. */
static const struct model_buffer *some_buffer(unsigned vm)
{
    const struct model_buffer *found = NULL;
    unsigned n = 0;

    for (unsigned i = 0; i < PLAYERS * MB_ISM_BUFFERS; i++) {
        const struct model_buffer *b = &model[i % PLAYERS].buffer[i / PLAYERS];

        if (b->open && b->peer == vm && !fake_below(++n))
            found = b;
    }
    return fake_below(10) ? found : NULL;
}

static void spoil(struct mb_ism_move *m)
{
    switch (fake_below(7)) {
    case 0: m->bytes = 0; break;
    case 1: m->flags = fake_below(8); break;
    case 2: m->zero = 1; break;
    case 3: m->offset = -m->bytes + fake_below(5); break;
    case 4: m->gpa = MEMORY - fake_below(m->bytes); break;
    case 5: m->token = fake_random() >> fake_below(64); break;
    case 6: m->offset += 1 + fake_below(PAGE_SIZE); break;
    }
}

static struct mb_ism_move some_move(unsigned vm)
{
    const struct model_buffer *b = some_buffer(vm);
    struct mb_ism_move m = { .token = b ? b->token : issued[fake_below(ISSUED)].token, .flags = fake_below(2) };
    unsigned room = b ? b->bytes : PAGE_SIZE;

    m.bytes = 1 + fake_below(fake_below(3) ? 100 : room);
    m.offset = fake_below(room - m.bytes + 1);
    m.gpa = BUFFERS + fake_below((unsigned)BYTES - m.bytes + 1);
    if (!fake_below(15))
        spoil(&m);
    return m;
}

static unsigned some_moves(unsigned vm, struct mb_ism_move *m)
{
    unsigned n = 1 + fake_below(MOST);

    for (unsigned i = 0; i < n; i++)
        m[i] = some_move(vm);
    return n;
}

static void step_start(unsigned vm)
{
    struct model *m = &model[vm];

    if (m->started && fake_below(60))
        return;
    assert_int_equal(start(vm), 0);
    model_stop(vm);
    m->started = true;
    m->quiet = false;
    m->written = m->unseen_count = m->later_count = 0;
}

static void step_stop(unsigned vm)
{
    if (fake_below(60))
        return;
    assert_int_equal(stop(vm), 0);
    model_stop(vm);
}

static void step_peer(unsigned vm)
{
    unsigned peer = another(vm);
    int expected = !model[vm].started ? -ENXIO : peer == vm || !model[peer].started ? -EHOSTUNREACH : 0;

    expect(ism_peer(&vifs[vm], 0, id_of(peer)), expected);
}

static void note_issued(uint64_t token, unsigned owner)
{
    static unsigned next;

    for (unsigned i = 0; i < ISSUED; i++)
        assert_true(issued[i].token != token);
    issued[next].token = token;
    issued[next].owner = owner;
    next = (next + 1) % ISSUED;
}

static void step_open(unsigned vm)
{
    struct model_buffer b = { true, 0, BUFFERS + fake_below(PAGES) * PAGE_SIZE,
                              (1 + fake_below(3)) * PAGE_SIZE, another(vm) };
    unsigned open = 0;
    int64_t token;
    int err = !model[vm].started ? -ENXIO : b.peer == vm || !model[b.peer].started ? -EHOSTUNREACH : 0;

    b.bytes = MIN(b.bytes, (uint32_t)(BUFFERS + BYTES - b.at));
    for (unsigned i = 0; i < MB_ISM_BUFFERS; i++)
        open += model[vm].buffer[i].open;
    if (!err && open == MB_ISM_BUFFERS)
        err = -ENOSPC;
    token = open_for(vm, b.at, b.bytes, id_of(b.peer));
    if (err) {
        expect(token, err);
        return;
    }
    assert_true(token > 0);
    b.token = (uint64_t)token;
    assert_false(model[vm].buffer[b.token % MB_ISM_BUFFERS].open);
    model[vm].buffer[b.token % MB_ISM_BUFFERS] = b;
    note_issued(b.token, vm);
}

/* As many as there can be, and then some. */
static void step_open_all(unsigned vm)
{
    for (unsigned i = 0; i <= MB_ISM_BUFFERS && !(i == 0 && fake_below(20)); i++)
        step_open(vm);
}

static void close_one(unsigned vm, uint64_t token)
{
    unsigned owner;
    struct model_buffer *b = model_find(token, &owner);
    bool is = b && owner == vm;

    expect(close_it(vm, token), !model[vm].started ? -ENXIO : is ? 0 : -ENOENT);
    if (is)
        b->open = false;
}

static void step_close(unsigned vm)
{
    unsigned from = fake_below(MB_ISM_BUFFERS), n = fake_below(30) ? 3 : MB_ISM_BUFFERS;

    if (!fake_below(3))
        close_one(vm, issued[fake_below(ISSUED)].token);
    for (unsigned i = 0; i < n; i++)
        if (model[vm].buffer[(from + i) % MB_ISM_BUFFERS].open)
            close_one(vm, model[vm].buffer[(from + i) % MB_ISM_BUFFERS].token);
}

static void step_move(unsigned vm)
{
    struct mb_ism_move m[MOST];
    unsigned n = some_moves(vm, m);
    int64_t done = moves(vm, m, n);

    expect(done, model[vm].started ? model_moves(vm, m, n) : -ENXIO);
}

/* They stay, or a vCPU has nothing to do. */
static void step_later(unsigned vm)
{
    struct model *m = &model[vm];

    if (!m->started)
        return;
    m->later_count = some_moves(vm, m->later);
    put(vm, AT_MOVE, m->later, m->later_count * sizeof(m->later[0]));
    put32(vm, AT_WORD(later), m->later_count);
}

static void step_idle(unsigned vm)
{
    vifs_idle(&vifs[vm], 0);
    model_idle(vm);
}

static void step_tell(unsigned vm)
{
    struct mb_ism_news news = { MB_ISM_EVENT, (uint32_t)fake_random(), id_of(vm), fake_random(), 0 };
    unsigned peer = another(vm);
    int err = !model[vm].started ? -ENXIO : -EHOSTUNREACH;

    for (unsigned i = 0; i < MB_ISM_BUFFERS && model[vm].started; i++)
        if (model[peer].buffer[i].open && model[peer].buffer[i].peer == vm)
            err = unseen_of(&model[peer], MB_ISM_EVENT, 0, news.peer) < 3 ? 0 : -EAGAIN;
    expect(tell(vm, id_of(peer), news.number, news.info), err);
    if (!err)
        hear(&model[peer], &news);
}

static void step_see(unsigned vm)
{
    struct model *m = &model[vm];
    unsigned n = fake_below(2) ? m->unseen_count : fake_below(m->unseen_count + 1);

    m->unseen_count -= n;
    memmove(m->unseen, m->unseen + n, m->unseen_count * sizeof(m->unseen[0]));
    if (m->started)
        see(vm, m->written - m->unseen_count);
}

static void step_quiet(unsigned vm)
{
    model[vm].quiet = fake_below(2);
    put32(vm, AT_WORD(quiet), model[vm].quiet);
}

static void step_wait(unsigned vm)
{
    struct model *m = &model[vm];
    uint32_t known = m->written - !fake_below(3);
    bool waits = m->started && known == m->written;

    m->waits |= waits;
    assert_int_equal(ism_waits(&vifs[vm], 3, 0, known), waits);
    if (waits)
        model_idle(vm);
}

/* A page of one VM's becomes another's, too, or has two places in the same. */
static void step_share(unsigned vm)
{
    unsigned to = fake_below(PLAYERS), a = fake_below(PAGES), b = fake_below(PAGES);
    struct hpa page;

    if (pmap_share(&pmap[vm], GPA(BUFFERS + a * PAGE_SIZE), &page))
        return;
    if (pmap_place(&pmap[to], GPA(BUFFERS + b * PAGE_SIZE), page, 0))
        commons_drop(page);
    else
        memmove(model[to].memory + b * PAGE_SIZE, model[vm].memory + a * PAGE_SIZE, PAGE_SIZE);
}

static void begin_vm(unsigned vm)
{
    struct model *m = &model[vm];

    memset(m, 0, sizeof(*m));
    for (unsigned i = 0; i < BYTES; i++)
        m->memory[i] = (uint8_t)fake_random();
    put(vm, BUFFERS, m->memory, BYTES);
}

static void step_end(unsigned vm)
{
    if (fake_below(60))
        return;
    end_vm(vm);
    model_stop(vm);
    make_vm(vm);
    begin_vm(vm);
    for (unsigned i = 0; i < ISSUED; i++)      /* another one may have the same */
        if (issued[i].owner == vm)
            issued[i].token = UINT64_MAX - i;
}

static void check(unsigned vm)
{
    static uint8_t is[BYTES];
    const struct model *m = &model[vm];

    get(vm, BUFFERS, is, BYTES);
    assert_memory_equal(is, m->memory, BYTES);
    assert_int_equal(interrupts[vm], m->interrupts);
    assert_int_equal(wakes[vm], m->wakes);
    if (!m->started)
        return;
    assert_int_equal(written(vm), m->written);
    assert_int_equal(word(vm, AT_WORD(later)), m->later_count);
    assert_int_equal(word(vm, AT_WORD(lock)), 0);
    for (unsigned i = 0; i < m->unseen_count; i++)
        expect_news(vm, m->written - m->unseen_count + i, &m->unseen[i]);
}

static void anything_goes_as_the_model_says(void **state)
{
    static void (*const step[])(unsigned) = {
        step_move, step_move, step_move, step_move, step_open, step_open, step_open, step_open_all, step_close,
        step_see, step_tell, step_tell, step_later, step_idle, step_share, step_wait, step_start, step_stop,
        step_quiet, step_peer, step_end,
    };
    static const uint8_t error[] = { 0, ENOENT, ENXIO, EAGAIN, EFAULT, EINVAL, ENOSPC, EHOSTUNREACH };

    for (unsigned vm = 0; vm < PLAYERS; vm++)
        begin_vm(vm);
    for (unsigned i = 0; i < ISSUED; i++)
        issued[i].token = UINT64_MAX - i;
    for (unsigned n = 0; n < STEPS; n++) {
        step[fake_below(ARRAY_SIZE(step))](fake_below(PLAYERS));
        for (unsigned vm = 0; vm < PLAYERS; vm++)
            check(vm);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(error); i++)
        assert_true(answers[error[i]] >= 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(anything_goes_as_the_model_says, setup_idle, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
