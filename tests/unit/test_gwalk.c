/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "arch/x86/crbits.h"
#include "arch/x86/msr.h"
#include "lib/errno.h"
#include "vmx/gwalk.h"

enum { P = 1, W = 2, U = 4, PS = 0x80 };
#define XD BIT(63)
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_R = 8, PF_I = 16 };

/* Guest RAM: 64 pages at 0. */
#define PAGES 64
static uint8_t ram[PAGES * PAGE_SIZE];
static unsigned reads;

static int read_ram(void *ctx, struct gpa at, void *to, size_t n)
{
    assert_null(ctx);
    assert_int_equal(at.v % n, 0);
    reads++;
    if (at.v >= sizeof(ram))
        return -EFAULT;
    memcpy(to, ram + at.v, n);
    return 0;
}

static unsigned sets;
static int set_error;

static int set_ram(void *ctx, struct gpa at, uint8_t bits)
{
    assert_null(ctx);
    assert_true(at.v < sizeof(ram));
    sets++;
    if (!set_error)
        ram[at.v] |= bits;
    return set_error;
}

static const struct gwalk_memory memory = { read_ram, set_ram, NULL };

static uint64_t get64(uint64_t table, unsigned index)
{
    uint64_t entry;

    memcpy(&entry, ram + table + 8 * index, 8);
    return entry;
}

static void put64(uint64_t table, unsigned index, uint64_t entry) { memcpy(ram + table + 8 * index, &entry, 8); }
static void put32(uint64_t table, unsigned index, uint32_t entry) { memcpy(ram + table + 4 * index, &entry, 4); }

static int reset(void **state)
{
    (void)state;
    memset(ram, 0, sizeof(ram));
    reads = sets = 0;
    set_error = 0;
    return 0;
}

/* A walk that must give this address, or this fault with an error code. */
#define MAPS(s, linear, access, expected) check_maps(s, linear, access, expected, __LINE__)
#define FAULTS(s, linear, access, code) check_faults(s, linear, access, code, __LINE__)

static void check_maps(const struct gwalk_state *s, uint64_t linear, enum gwalk_access access, uint64_t expected,
                       int line)
{
    struct gpa gpa = { 1 };
    uint32_t code = 99;
    int err = gwalk(s, linear, access, &memory, &gpa, &code);

    if (err || gpa.v != expected)
        fail_msg("line %d: 0x%lx: %d, code 0x%x, address 0x%lx", line, linear, err, code, gpa.v);
}

static void check_faults(const struct gwalk_state *s, uint64_t linear, enum gwalk_access access, uint32_t expected,
                         int line)
{
    struct gpa gpa = { 1 };
    uint32_t code = 99;
    int err = gwalk(s, linear, access, &memory, &gpa, &code);

    if (err != -EFAULT || code != expected)
        fail_msg("line %d: 0x%lx: %d, code 0x%x, not 0x%x", line, linear, err, code, expected);
}

/* Long mode with tables at 0x1000 (the root), 0x2000, 0x3000, 0x4000: 0x8080604053 and what lies around it. */
static struct gwalk_state long_mode(void)
{
    return (struct gwalk_state){ .cr0 = CR0_PE | CR0_PG | CR0_WP, .cr3 = 0x1000, .cr4 = CR4_PAE,
                                 .efer = EFER_LME | EFER_LMA | EFER_NXE, .maxphyaddr = 40 };
}

#define LINEAR (1ull << 39 | 2ull << 30 | 3ull << 21 | 4ull << 12 | 0x53)

static void map_long(uint64_t rights)
{
    put64(0x1000, 1, 0x2000 | P | W | U);
    put64(0x2000, 2, 0x3000 | P | W | U);
    put64(0x3000, 3, 0x4000 | P | W | U);
    put64(0x4000, 4, 0x123456000 | rights);
}

static void test_no_paging(void **state)
{
    struct gwalk_state s = { .cr0 = CR0_PE, .maxphyaddr = 40 };

    (void)state;
    MAPS(&s, 0x12345678, GWALK_WRITE, 0x12345678);
    MAPS(&s, 0xffffffff12345678, GWALK_FETCH, 0x12345678);
    assert_int_equal(reads, 0);
}

static void test_32(void **state)
{
    struct gwalk_state s = { .cr0 = CR0_PE | CR0_PG, .cr3 = 0x1018, .maxphyaddr = 40, .user = true };

    (void)state;
    put32(0x1000, 0x48, 0x2000 | P | W | U);
    put32(0x2000, 0x345, 0xabcde000 | P | W | U | PS);     /* bit 7 is PAT here */
    MAPS(&s, 0x12345678, GWALK_WRITE, 0xabcde678);
    MAPS(&s, 0xf00000012345678, GWALK_READ, 0xabcde678);   /* 32 bits count */
    FAULTS(&s, 0x12346678, GWALK_WRITE, PF_W | PF_U);
    FAULTS(&s, 0x12346678, GWALK_FETCH, PF_U);             /* no NX, no SMEP: not told */
    FAULTS(&s, 0x22345678, GWALK_READ, PF_U);
    /* PS without CR4.PSE is ignored, with it a 4 MiB page; bits 20:13 are the address's bits 39:32 */
    put32(0x1000, 0x49, 0x2000 | P | W | U | PS);
    MAPS(&s, 0x12745678, GWALK_READ, 0xabcde678);
    s.cr4 = CR4_PSE;
    put32(0x1000, 0x49, 0x80000000 | 0x5a << 13 | P | W | U | PS);
    MAPS(&s, 0x12745678, GWALK_READ, 0x5a80345678);
    s.maxphyaddr = 38;
    FAULTS(&s, 0x12745678, GWALK_READ, PF_P | PF_U | PF_R);
}

static void test_32_reserved(void **state)
{
    struct gwalk_state s = { .cr0 = CR0_PE | CR0_PG, .cr3 = 0x1000, .cr4 = CR4_PSE, .maxphyaddr = 40, .user = true };

    (void)state;
    put32(0x1000, 1, 1 << 21 | P | U | PS);
    FAULTS(&s, 0x400000, GWALK_READ, PF_P | PF_U | PF_R);
    put32(0x1000, 1, 1 << 20 | P | U | PS);
    MAPS(&s, 0x400000, GWALK_READ, BIT(39));
    s.maxphyaddr = 39;
    FAULTS(&s, 0x400000, GWALK_READ, PF_P | PF_U | PF_R);
    s.maxphyaddr = 46;
    MAPS(&s, 0x400000, GWALK_READ, BIT(39));
    s.maxphyaddr = 32;
    put32(0x1000, 1, 1 << 13 | P | U | PS);
    FAULTS(&s, 0x400000, GWALK_READ, PF_P | PF_U | PF_R);
}

static void test_pae(void **state)
{
    struct gwalk_state s = { .cr0 = CR0_PE | CR0_PG, .cr3 = 0xdead0000, .cr4 = CR4_PAE, .efer = EFER_NXE,
                             .pdpte = { 0, 0x1000 | P, 0x1000, 0x1000 | P }, .maxphyaddr = 40, .user = true };

    (void)state;
    put64(0x1000, 3, 0x2000 | P | W | U);
    put64(0x2000, 4, 0x987654000 | P | W | U);
    put64(0x1000, 5, 0x12600000 | P | W | U | PS | XD);
    MAPS(&s, 0x40604053, GWALK_WRITE, 0x987654053);
    MAPS(&s, 0xc0604053, GWALK_FETCH, 0x987654053);
    FAULTS(&s, 0x00604053, GWALK_WRITE, PF_U | PF_W);
    FAULTS(&s, 0x80604053, GWALK_FETCH, PF_U | PF_I);
    MAPS(&s, 0x40abcdef, GWALK_READ, 0x126bcdef);
    FAULTS(&s, 0x40abcdef, GWALK_FETCH, PF_P | PF_U | PF_I);
    s.efer = 0;                                            /* without NXE bit 63 is reserved */
    FAULTS(&s, 0x40abcdef, GWALK_READ, PF_P | PF_U | PF_R);
    put64(0x2000, 4, 0x987654000 | P | W | U | BIT(52));   /* up to bit 62, unlike long mode */
    FAULTS(&s, 0x40604053, GWALK_READ, PF_P | PF_U | PF_R);
    put64(0x1000, 5, 0x12600000 | P | U | PS | BIT(13));
    FAULTS(&s, 0x40abcdef, GWALK_READ, PF_P | PF_U | PF_R);
}

static void test_long(void **state)
{
    struct gwalk_state s = long_mode();

    (void)state;
    map_long(P | W | U | BIT(52) | BIT(11));               /* ignored bits */
    MAPS(&s, LINEAR, GWALK_WRITE, 0x123456053);
    assert_int_equal(reads, 4);
    FAULTS(&s, LINEAR + 0x1000, GWALK_READ, 0);
    FAULTS(&s, LINEAR + BIT(39), GWALK_WRITE, PF_W);
    s.cr3 |= 0xfff;                                        /* PCID */
    MAPS(&s, LINEAR, GWALK_READ, 0x123456053);
    put64(0x3000, 3, 0xa00000000 | P | W | U | PS);
    MAPS(&s, LINEAR, GWALK_READ, 0xa00004053);
    put64(0x2000, 2, 0xbc0000000 | P | W | U | PS);
    MAPS(&s, LINEAR, GWALK_READ, 0xbc0604053);
    /* the upper half, in the last entries */
    put64(0x1000, 511, 0x2000 | P | W);
    put64(0x2000, 511, 0x3000 | P | W);
    put64(0x3000, 511, 0x4000 | P | W);
    put64(0x4000, 511, 0x5000 | P | W);
    MAPS(&s, ~0ull, GWALK_WRITE, 0x5fff);
}

enum { A = 0x20, D = 0x40 };

/* Each entry on the way is marked as used, the last as dirty by a write alone; what is marked is not written again. */
static void test_marks(void **state)
{
    struct gwalk_state s = long_mode();

    (void)state;
    map_long(P | W | U);
    MAPS(&s, LINEAR, GWALK_READ, 0x123456053);
    assert_int_equal(sets, 4);
    assert_int_equal(get64(0x1000, 1), 0x2000 | P | W | U | A);
    assert_int_equal(get64(0x2000, 2), 0x3000 | P | W | U | A);
    assert_int_equal(get64(0x3000, 3), 0x4000 | P | W | U | A);
    assert_int_equal(get64(0x4000, 4), 0x123456000 | P | W | U | A);
    MAPS(&s, LINEAR, GWALK_FETCH, 0x123456053);
    assert_int_equal(sets, 4);
    MAPS(&s, LINEAR, GWALK_WRITE, 0x123456053);
    MAPS(&s, LINEAR, GWALK_WRITE, 0x123456053);
    assert_int_equal(sets, 5);
    assert_int_equal(get64(0x4000, 4), 0x123456000 | P | W | U | A | D);
    put64(0x3000, 3, 0xa00000000 | P | W | U | PS);
    MAPS(&s, LINEAR, GWALK_WRITE, 0xa00004053);
    assert_int_equal(get64(0x3000, 3), 0xa00000000 | P | W | U | PS | A | D);
}

/* An access that is not allowed leaves the page as it was; what cannot be marked ends the walk. */
static void test_no_mark(void **state)
{
    struct gwalk_state s = long_mode();

    (void)state;
    map_long(P | U);
    FAULTS(&s, LINEAR, GWALK_WRITE, PF_P | PF_W);
    assert_int_equal(get64(0x4000, 4), 0x123456000 | P | U);
    map_long(P | W | U);
    set_error = -ENOMEM;
    for (unsigned i = 0; i < 4; i++) {
        struct gpa gpa;
        uint32_t code;

        assert_int_equal(gwalk(&s, LINEAR, GWALK_WRITE, &memory, &gpa, &code), -ENOMEM);
        ram[0x1000 * (i + 1) + 8 * (i + 1)] |= A;
    }
    assert_int_equal(sets, 3 + 4);
}

static void test_marks_32(void **state)
{
    struct gwalk_state s = { .cr0 = CR0_PE | CR0_PG, .cr3 = 0x1000, .maxphyaddr = 40 };

    (void)state;
    put32(0x1000, 0x48, 0x2000 | P | W | U);
    put32(0x2000, 0x345, 0xabcde000 | P | W | U);
    MAPS(&s, 0x12345678, GWALK_WRITE, 0xabcde678);
    assert_int_equal((uint32_t)get64(0x1000, 0x48 / 2), 0x2000 | P | W | U | A);
    assert_int_equal(get64(0x2000, 0x345 / 2) >> 32, 0xabcde000 | P | W | U | A | D);
}

static void test_five_levels(void **state)
{
    struct gwalk_state s = long_mode();

    (void)state;
    map_long(P | W | U);
    s.cr4 |= CR4_LA57;
    s.cr3 = 0x8000;
    put64(0x8000, 5, 0x1000 | P | W | U);
    MAPS(&s, 5ull << 48 | LINEAR, GWALK_READ, 0x123456053);
    assert_int_equal(reads, 5);
    FAULTS(&s, 6ull << 48 | LINEAR, GWALK_READ, 0);
    put64(0x8000, 5, 0x1000 | P | W | U | PS);
    FAULTS(&s, 5ull << 48 | LINEAR, GWALK_READ, PF_P | PF_R);
}

static void test_canonical(void **state)
{
    struct gwalk_state s = long_mode();
    struct gpa gpa;
    uint32_t code;

    (void)state;
    assert_int_equal(gwalk(&s, BIT(47), GWALK_READ, &memory, &gpa, &code), -ERANGE);
    assert_int_equal(code, 0);
    assert_int_equal(gwalk(&s, ~BIT(63), GWALK_READ, &memory, &gpa, &code), -ERANGE);
    FAULTS(&s, 0xffff800000000000, GWALK_READ, 0);
    s.cr4 |= CR4_LA57;
    FAULTS(&s, BIT(47), GWALK_READ, 0);
    assert_int_equal(gwalk(&s, BIT(56), GWALK_READ, &memory, &gpa, &code), -ERANGE);
}

/* Reserved bits at each level of long mode. */
static void test_long_reserved(void **state)
{
    struct gwalk_state s = long_mode();
    uint64_t tables[] = { 0x1000, 0x2000, 0x3000, 0x4000 };

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned bit = 40; bit < 52; bit++) {
            map_long(P | W | U);
            ram[tables[i] + 8 * (i + 1) + bit / 8] |= 1 << bit % 8;
            FAULTS(&s, LINEAR, GWALK_READ, PF_P | PF_R);
        }
    }
    map_long(P | W | U);
    s.efer &= ~EFER_NXE;
    MAPS(&s, LINEAR, GWALK_FETCH, 0x123456053);
    put64(0x2000, 2, 0x3000 | P | W | U | XD);
    FAULTS(&s, LINEAR, GWALK_FETCH, PF_P | PF_R);
    put64(0x1000, 1, 0x2000 | P | PS);
    FAULTS(&s, LINEAR, GWALK_READ, PF_P | PF_R);
    map_long(0);
    put64(0x3000, 3, 0x200000 | P | PS | BIT(20));
    FAULTS(&s, LINEAR, GWALK_READ, PF_P | PF_R);
    put64(0x2000, 2, 0x40000000 | P | PS | BIT(29));
    FAULTS(&s, LINEAR, GWALK_READ, PF_P | PF_R);
    put64(0x2000, 2, 0x40000000 | P | PS | BIT(12));       /* PAT */
    MAPS(&s, LINEAR, GWALK_READ, 0x40000000 | (LINEAR & 0x3fffffff));
}

/* Entries outside RAM are all ones: a reserved-bit fault where such bits are. */
static void test_outside(void **state)
{
    struct gwalk_state s = long_mode();

    (void)state;
    map_long(P);
    put64(0x2000, 2, 0x7000000000 | P);
    FAULTS(&s, LINEAR, GWALK_READ, PF_P | PF_R);
    s = (struct gwalk_state){ .cr0 = CR0_PE | CR0_PG, .cr3 = 0x80000000, .maxphyaddr = 40 };
    MAPS(&s, 0x12345678, GWALK_READ, 0xfffff678);          /* as the processor would */
}

static void test_user(void **state)
{
    struct gwalk_state s = long_mode();

    (void)state;
    s.user = true;
    map_long(P);
    FAULTS(&s, LINEAR, GWALK_READ, PF_P | PF_U);
    map_long(P | U);
    MAPS(&s, LINEAR, GWALK_READ, 0x123456053);
    MAPS(&s, LINEAR, GWALK_FETCH, 0x123456053);
    FAULTS(&s, LINEAR, GWALK_WRITE, PF_P | PF_U | PF_W);
    s.cr0 &= ~CR0_WP;                                      /* WP is for supervisors only */
    FAULTS(&s, LINEAR, GWALK_WRITE, PF_P | PF_U | PF_W);
    map_long(P | U | W | XD);
    MAPS(&s, LINEAR, GWALK_WRITE, 0x123456053);
    FAULTS(&s, LINEAR, GWALK_FETCH, PF_P | PF_U | PF_I);
    for (unsigned level = 1; level <= 3; level++) {        /* every level must allow it */
        map_long(P | W | U);
        put64(0x1000 * level, level, 0x1000 * (level + 1) | P | U);
        FAULTS(&s, LINEAR, GWALK_WRITE, PF_P | PF_U | PF_W);
        put64(0x1000 * level, level, 0x1000 * (level + 1) | P | W);
        FAULTS(&s, LINEAR, GWALK_READ, PF_P | PF_U);
        put64(0x1000 * level, level, 0x1000 * (level + 1) | P | W | U | XD);
        FAULTS(&s, LINEAR, GWALK_FETCH, PF_P | PF_U | PF_I);
    }
}

static void test_supervisor(void **state)
{
    struct gwalk_state s = long_mode();

    (void)state;
    map_long(P);
    FAULTS(&s, LINEAR, GWALK_WRITE, PF_P | PF_W);
    s.cr0 &= ~CR0_WP;
    MAPS(&s, LINEAR, GWALK_WRITE, 0x123456053);
    map_long(P | W | U);
    MAPS(&s, LINEAR, GWALK_FETCH, 0x123456053);
    s.cr4 |= CR4_SMEP;
    FAULTS(&s, LINEAR, GWALK_FETCH, PF_P | PF_I);
    MAPS(&s, LINEAR, GWALK_READ, 0x123456053);
    s.cr4 |= CR4_SMAP;
    FAULTS(&s, LINEAR, GWALK_READ, PF_P);
    FAULTS(&s, LINEAR, GWALK_WRITE, PF_P | PF_W);
    s.rflags = RFLAGS_AC;
    MAPS(&s, LINEAR, GWALK_WRITE, 0x123456053);
    FAULTS(&s, LINEAR, GWALK_FETCH, PF_P | PF_I);
    s.cr4 &= ~CR4_SMEP;
    s.rflags = 0;
    MAPS(&s, LINEAR, GWALK_FETCH, 0x123456053);            /* SMAP is not for fetches */
    put64(0x1000, 1, 0x2000 | P | W);                      /* one level without U makes a supervisor page */
    MAPS(&s, LINEAR, GWALK_READ, 0x123456053);
}

/*
 * A second walker, written mode by mode straight from the SDM's tables, for random tables: it returns the error code,
 * or -1 with *out.
 */
struct found {
    uint64_t address;
    bool u, w, x;
};

static uint64_t entry64(uint64_t at)
{
    uint64_t entry = ~0ull;

    if (at < sizeof(ram))
        memcpy(&entry, ram + at, 8);
    return entry;
}

static uint32_t entry32(uint64_t at)
{
    uint32_t entry = ~0u;

    if (at < sizeof(ram))
        memcpy(&entry, ram + at, 4);
    return entry;
}

/* 0: not present, 1: reserved bits, 2: found */
static int model_32(const struct gwalk_state *s, uint32_t linear, struct found *f)
{
    uint32_t pde = entry32((s->cr3 & 0xfffff000) + 4 * (linear >> 22)), pte;

    if (!(pde & 1))
        return 0;
    if (pde & 0x80 && s->cr4 & CR4_PSE) {
        uint64_t high = pde >> 13 & 0xff;

        if (pde & 0x200000 || (s->maxphyaddr < 40 && high >> (s->maxphyaddr - 32)))
            return 1;
        *f = (struct found){ high << 32 | (pde & 0xffc00000) | (linear & 0x3fffff), pde & 4, pde & 2, true };
        return 2;
    }
    pte = entry32((pde & 0xfffff000) + 4 * (linear >> 12 & 0x3ff));
    if (!(pte & 1))
        return 0;
    *f = (struct found){ (pte & 0xfffff000) | (linear & 0xfff), pte & pde & 4, pte & pde & 2, true };
    return 2;
}

static int model_64(const struct gwalk_state *s, uint64_t linear, struct found *f)
{
    bool lm = s->efer & EFER_LMA, nxe = s->efer & EFER_NXE;
    uint64_t table = s->cr3 & 0xffffffffff000, high = 0;

    for (unsigned bit = s->maxphyaddr; bit <= (lm ? 51 : 62); bit++)
        high |= 1ull << bit;
    if (!nxe)
        high |= 1ull << 63;
    *f = (struct found){ 0, true, true, true };
    if (!lm) {
        table = s->pdpte[linear >> 30 & 3];
        if (!(table & 1))
            return 0;
        table &= 0xffffffffff000;
    }
    for (int shift = lm ? s->cr4 & CR4_LA57 ? 48 : 39 : 21; shift >= 12; shift -= 9) {
        uint64_t e = entry64(table + (linear >> shift & 511) * 8), page = 1ull << shift;

        if (!(e & 1))
            return 0;
        if (e & high || (shift >= 39 && e & 0x80))
            return 1;
        f->u = f->u && e & 4;
        f->w = f->w && e & 2;
        f->x = f->x && !(e >> 63);
        table = e & 0xffffffffff000;
        if (shift > 12 && e & 0x80) {
            if (e & (page - 1) & ~0x1fffull)
                return 1;
            table &= ~(page - 1);
        } else if (shift > 12) {
            continue;
        }
        f->address = table | (linear & (page - 1));
        return 2;
    }
    abort();
}

static int model(const struct gwalk_state *s, uint64_t linear, enum gwalk_access access, uint64_t *out)
{
    bool write = access == GWALK_WRITE, fetch = access == GWALK_FETCH, denied = false, nxe = s->efer & EFER_NXE;
    struct found f;
    int found = s->cr4 & CR4_PAE ? model_64(s, linear, &f) : model_32(s, linear, &f);
    int code = (write ? 2 : 0) | (s->user ? 4 : 0);

    if (fetch && (s->cr4 & CR4_SMEP || (nxe && s->cr4 & CR4_PAE)))
        code |= 16;
    if (found < 2)
        return found ? code | 9 : code;
    if (s->user)
        denied = !f.u || (write && !f.w) || (fetch && !f.x);
    else if (fetch)
        denied = !f.x || (f.u && s->cr4 & CR4_SMEP);
    else
        denied = (write && !f.w && s->cr0 & CR0_WP) || (f.u && s->cr4 & CR4_SMAP && !(s->rflags & RFLAGS_AC));
    *out = f.address;
    return denied ? code | 1 : -1;
}

/* Mostly present, mostly within RAM, seldom with stray bits. */
static uint64_t random_entry(void)
{
    uint64_t e = (random() % 8 ? 1 : 0) | (random() & 0xe7e) | (uint64_t)(random() % (PAGES + 2)) << 12;

    if (random() % 8 == 0)
        e |= 0x80 | (random() % 2 ? 0 : (uint64_t)random() << 12);
    if (random() % 4 == 0)
        e &= ~0xffe000ull;
    if (random() % 16 == 0)
        e |= 1ull << (30 + random() % 34);
    return e | (random() % 8 ? 0 : 1ull << 63);
}

static struct gwalk_state random_state(void)
{
    struct gwalk_state s = { .cr0 = CR0_PE | CR0_PG | (random() % 2 ? CR0_WP : 0), .maxphyaddr = 32 + random() % 21,
                             .user = random() % 2, .rflags = random() % 2 ? RFLAGS_AC : 0 };

    s.cr3 = (random() % PAGES) << 12;
    s.cr4 = (random() % 2 ? CR4_PSE : 0) | (random() % 2 ? CR4_SMEP : 0) | (random() % 2 ? CR4_SMAP : 0);
    s.efer = random() % 2 ? EFER_NXE : 0;
    if (random() % 4)
        s.cr4 |= CR4_PAE;
    if (s.cr4 & CR4_PAE && random() % 3) {
        s.efer |= EFER_LME | EFER_LMA;
        s.cr4 |= random() % 2 ? CR4_LA57 : 0;
    }
    for (unsigned i = 0; i < 4; i++)
        s.pdpte[i] = (random() % PAGES) << 12 | (random() % 4 ? 1 : 0);
    return s;
}

static uint64_t random_linear(const struct gwalk_state *s)
{
    uint64_t linear = (uint64_t)random() << 31 ^ random() ^ (uint64_t)random() << 50;
    unsigned unused = s->cr4 & CR4_LA57 ? 7 : 16;

    return s->efer & EFER_LMA ? (uint64_t)((int64_t)(linear << unused) >> unused) : linear & 0xffffffff;
}

static void test_random(void **state)
{
    static const enum gwalk_access accesses[] = { GWALK_READ, GWALK_WRITE, GWALK_FETCH };
    unsigned mapped = 0, faults[32] = { 0 };

    (void)state;
    srandom(11);
    for (unsigned turn = 0; turn < 400000; turn++) {
        struct gwalk_state s = random_state();
        uint64_t linear = random_linear(&s), expected = 0;
        enum gwalk_access access = accesses[random() % 3];
        int code;

        for (unsigned i = 0; turn % 4000 == 0 && i < sizeof(ram) / 8; i++)
            put64(0, i, random_entry());
        code = model(&s, linear, access, &expected);
        if (code < 0) {
            MAPS(&s, linear, access, expected);
            mapped++;
        } else {
            FAULTS(&s, linear, access, code);
            faults[code]++;
        }
    }
    assert_true(mapped > 10000);
    for (unsigned code = 0; code < 32; code++)             /* every code that can be came up */
        if ((code & 18) != 18 && (code & 9) != 8 && (code & 31) != 31)
            assert_true(faults[code] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_no_paging, reset),
        cmocka_unit_test_setup(test_32, reset),
        cmocka_unit_test_setup(test_32_reserved, reset),
        cmocka_unit_test_setup(test_pae, reset),
        cmocka_unit_test_setup(test_long, reset),
        cmocka_unit_test_setup(test_five_levels, reset),
        cmocka_unit_test_setup(test_marks, reset),
        cmocka_unit_test_setup(test_no_mark, reset),
        cmocka_unit_test_setup(test_marks_32, reset),
        cmocka_unit_test_setup(test_canonical, reset),
        cmocka_unit_test_setup(test_long_reserved, reset),
        cmocka_unit_test_setup(test_outside, reset),
        cmocka_unit_test_setup(test_user, reset),
        cmocka_unit_test_setup(test_supervisor, reset),
        cmocka_unit_test_setup(test_random, reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
