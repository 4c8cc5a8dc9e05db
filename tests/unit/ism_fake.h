/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <string.h>

#include "lib/errno.h"
#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_apic.h"
#include "tests/unit/seam/fake_cpu.h"
#include "tests/unit/seam/fake_percpu.h"
#include "vdev/ism.h"

/*
 * VMs with an interface each: A, B and C on one network, C with a second one; ELSEWHERE on another, with B's address;
 * LIMITED on the first, its rate being limited. What they are told is counted.
 */
enum { A, B, C, ELSEWHERE, LIMITED, VMS };

#define MEMORY  (6 * MIB)
#define QUEUE   0x100000ul
#define MOVES   0x110000ul
#define BUFFERS 0x200000ul     /* 2 MiB */
#define DATA    0x400000ul     /* the rest */
#define UNKNOWN 0xfeedull      /* nobody's id */

static struct pmap pmap[VMS];
static struct vifs vifs[VMS];
static unsigned interrupts[VMS], wakes[VMS];
static uint64_t woken[VMS];    /* vCPUs: a bit each */
static void (*waking)(unsigned vm); /* looks at what is so at that time */

static inline unsigned vm_of(void *ctx) { return (unsigned)((unsigned *)ctx - interrupts); }

static inline void no_interrupt(void *ctx) { fail_msg("the network's interrupt for VM %u", vm_of(ctx)); }

static inline void interrupt(void *ctx) { interrupts[vm_of(ctx)]++; }

static inline void wake(void *ctx, unsigned vcpu)
{
    woken[vm_of(ctx)] |= BIT(vcpu);
    wakes[vm_of(ctx)]++;
    if (waking)
        waking(vm_of(ctx));
}

static inline void put(unsigned vm, uint64_t gpa, const void *from, size_t n)
{
    assert_int_equal(pmap_write(&pmap[vm], GPA(gpa), from, n), 0);
}

static inline void put32(unsigned vm, uint64_t gpa, uint32_t word) { put(vm, gpa, &word, sizeof(word)); }

static inline void get(unsigned vm, uint64_t gpa, void *to, size_t n)
{
    assert_int_equal(pmap_read(&pmap[vm], GPA(gpa), to, n), 0);
}

static inline uint32_t word(unsigned vm, uint64_t gpa)
{
    uint32_t w;

    get(vm, gpa, &w, sizeof(w));
    return w;
}

/* By the last byte of the address. */
static inline uint64_t id_with(unsigned last) { return 0x5452ull | (uint64_t)last << 40; }

static inline uint64_t id_of(unsigned vm) { return id_with(vm == ELSEWHERE ? B + 1 : vm + 1); }

#define SECOND id_with(0x77)   /* C's interface 1 */

static inline void add_vif(unsigned vm, const char *network, uint64_t id)
{
    struct vif *vif = vifs_add(&vifs[vm]);

    strcpy(vif->port.name, "test");
    memcpy(vif->port.mac, &id, sizeof(vif->port.mac));
    vif->port.rate.per_second = vm == LIMITED ? 1000000 : 0;
    assert_int_equal(net_attach(net_named(network), &vif->port), 0);
}

static inline void make_vm(unsigned i)
{
    assert_int_equal(pmap_init(&pmap[i], (uint16_t)(i + 1), MEMORY, 1), 0);
    vifs_init(&vifs[i], 1);
    vifs[i].pmap = &pmap[i];
    vifs[i].name = "test";
    vifs[i].share = true;
    vifs[i].interrupt = no_interrupt;
    vifs[i].ism_interrupt = interrupt;
    vifs[i].wake = wake;
    vifs[i].ctx = &interrupts[i];
    add_vif(i, i == ELSEWHERE ? "elsewhere" : "lan", id_of(i));
    if (i == C)
        add_vif(i, "lan", SECOND);
    interrupts[i] = wakes[i] = 0;
    woken[i] = 0;
}

static inline void end_vm(unsigned i)
{
    vifs_destroy(&vifs[i]);
    pmap_destroy(&pmap[i]);
}

/* The VMs are there, but nobody takes part. */
static inline int setup_idle(void **state)
{
    static uint64_t base;

    fake_percpu_enter(0);
    fake_cpu_reset();
    fake_apic.khz = 1000000;
    fake_cpu.tsc = 1000000;
    if (!base)
        base = machine_memory(96 * MIB, 0);
    waking = NULL;
    for (unsigned i = 0; i < VMS; i++)
        make_vm(i);
    return base ? 0 : -1;
}

static inline int64_t start(unsigned vm) { return ism_start(&vifs[vm], 0, GPA(QUEUE)); }

static inline int64_t stop(unsigned vm) { return ism_start(&vifs[vm], 0, GPA(0)); }

static inline int setup(void **state)
{
    int err = setup_idle(state);

    for (unsigned i = 0; i < LIMITED; i++)
        assert_int_equal(start(i), 0);
    return err;
}

static inline int teardown(void **state)
{
    for (unsigned i = 0; i < VMS; i++)
        end_vm(i);
    return 0;
}

static inline int64_t open_for(unsigned vm, uint64_t at, uint64_t bytes, uint64_t peer)
{
    return ism_open(&vifs[vm], 0, GPA(at), bytes, peer);
}

/* One that is open: its token. */
static inline uint64_t opened(unsigned vm, uint64_t at, uint64_t bytes, unsigned peer)
{
    int64_t token = open_for(vm, at, bytes, id_of(peer));

    assert_true(token > 0);
    return (uint64_t)token;
}

static inline int64_t close_it(unsigned vm, uint64_t token) { return ism_close(&vifs[vm], 0, token); }

static inline int64_t moves(unsigned vm, const struct mb_ism_move *m, unsigned n)
{
    put(vm, MOVES, m, n * sizeof(*m));
    return ism_move(&vifs[vm], 0, GPA(MOVES), n);
}

static inline int64_t move_one(unsigned vm, const struct mb_ism_move *m) { return moves(vm, m, 1); }

static inline int64_t tell(unsigned vm, uint64_t peer, uint32_t number, uint64_t info)
{
    return ism_tell(&vifs[vm], 0, peer, number, info);
}

#define AT_WORD(name) (QUEUE + offsetof(struct mb_ism_head, name))
#define AT_NEWS(n)    (QUEUE + offsetof(struct mb_ism_queue, news) + (n) % MB_ISM_NEWS * sizeof(struct mb_ism_news))

static inline uint32_t written(unsigned vm) { return word(vm, AT_WORD(written)); }

static inline void see(unsigned vm, uint32_t n) { put32(vm, AT_WORD(seen), n); }

static inline void see_all(unsigned vm) { see(vm, written(vm)); }

static inline struct mb_ism_news news(unsigned vm, uint32_t n)
{
    struct mb_ism_news news;

    get(vm, AT_NEWS(n), &news, sizeof(news));
    return news;
}

static inline void expect_news(unsigned vm, uint32_t n, const struct mb_ism_news *as)
{
    const struct mb_ism_news is = news(vm, n);

    assert_memory_equal(&is, as, sizeof(is));
}

/* News number n says that this buffer was written; the last that there are. */
static inline void expect_written(unsigned vm, uint32_t n, uint64_t token, unsigned by)
{
    expect_news(vm, n, &(struct mb_ism_news){ MB_ISM_WRITTEN, (uint32_t)token % MB_ISM_BUFFERS, id_of(by), 0, 0 });
    assert_int_equal(written(vm), n + 1);
}

static inline void expect_gone(unsigned vm, uint32_t n, unsigned peer)
{
    expect_news(vm, n, &(struct mb_ism_news){ .kind = MB_ISM_GONE, .peer = id_of(peer) });
    assert_int_equal(written(vm), n + 1);
}
