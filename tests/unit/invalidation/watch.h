/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "tests/unit/invalidation/checks.h"

/* The hypervisor's steps, watched: between them the others run, and here they are left out. */

static void model_ipi(uint32_t apic_id, uint8_t vector)
{
    unsigned c = apic_id / 2;

    assert_int_equal(vector, VECTOR_KICK);
    for (unsigned i = pick(4); i-- && cpu[c].vm >= 0;)
        (void)try_access(c, pick(ALL_PAGES), pick(2), pick(VALUES)); /* the interrupt takes its time */
    leave(c);
}

static void model_pause(void)
{
    violate("a flush waits for ever");
    _exit(1);
}

static void model_clear(struct ept *ept, struct gpa gpa)
{
    if (mutation == NO_CLEAR || (mutation == NO_CLEAR_ON_NODE_1 && ept->pages.ctx) ||
        (mutation == WITHDRAWN_STAYS_MAPPED && withdrawing) || (mutation == PLACE_STALE_NODE && places) ||
        (mutation == LEND_STAYS_WRITABLE && lends) || (mutation == CLEARED_STAYS_MAPPED && clears))
        return;
    others_run();
    if (mutation == LATE_DETACH || (mutation == LEND_LATE_DETACH && lends))
        late[lates++] = (typeof(late[0])){ ept, gpa, .clear = true };
    else
        ept_clear(ept, gpa);
    others_run();
}

static void model_commit(struct ept *ept, struct ept_slot slot, struct hpa hpa, enum ept_prot prot)
{
    others_run();
    ept_commit(ept, slot, hpa, prot);
    others_run();
}

static bool model_replace(struct ept *ept, struct gpa gpa, struct hpa hpa, enum ept_prot prot)
{
    bool done;

    others_run();
    done = ept_replace(ept, gpa, hpa, prot);
    others_run();
    return done;
}

static struct hpa model_unhook(struct ept *ept, struct gpa gpa)
{
    struct hpa table;

    if (mutation == NO_CLEAR || mutation == LATE_DETACH || (mutation == NO_CLEAR_ON_NODE_1 && ept->pages.ctx))
        return HPA_NONE;
    others_run();
    table = ept_unhook(ept, gpa);
    others_run();
    return table;
}

/* A table may seem idle to the hypervisor that processors use: they have kept what it says. */
static bool table_goes;

static enum ept_table_use model_table_use(struct ept *ept, struct gpa gpa)
{
    enum ept_table_use use = ept_table_use(ept, gpa);

    if (use == EPT_TABLE_USED && pick(2))
        use = EPT_TABLE_IDLE;
    table_goes = use == EPT_TABLE_IDLE;
    return use;
}

static void model_flush(struct ept *ept)
{
    uint64_t generation = ept->generation;

    if (mutation == NO_FLUSH || (mutation == PLACE_NO_FLUSH && places) || (mutation == TABLE_NO_FLUSH && table_goes))
        return;
    if (mutation == LATE_FLUSH || (mutation == PLACE_LATE_FLUSH && places)) {
        late[lates++] = (typeof(late[0])){ ept, GPA(0), .clear = false };
        return;
    }
    ept_flush(ept);
    if (mutation == NO_GENERATION)
        ept->generation = generation - 1;
    others_run();
}

/* What numa/move.c does. */
static void model_detach(struct pmap *pmap, struct gpa gpa)
{
    for (unsigned n = 0; n < NODES; n++) {
        struct ept *ept = &pmap->ept[n];
        bool late_clear = mutation == MOVE_LATE_DETACH, late_flush = late_clear || mutation == MOVE_LATE_FLUSH;

        if (mutation == STALE_REPLICA && n == 1)
            continue;
        if (late_flush)
            late[lates++] = (typeof(late[0])){ ept, gpa, .clear = late_clear };
        if (!late_clear)
            model_clear(ept, gpa);
        if (!late_flush && mutation != MOVE_NO_FLUSH)
            model_flush(ept);
    }
}

/* Nobody is sent out, until it is too late; nor are the EPTs told before. */
static void detach_badly(struct pmap *pmap, struct gpa gpa, bool detach_late)
{
    for (unsigned n = 0; n < NODES; n++) {
        struct hpa table = detach_late ? HPA_NONE : ept_unhook(&pmap->ept[n], gpa);

        if (table.v)
            page_free(table, PAGE_ORDER_4K);
        late[lates++] = (typeof(late[0])){ &pmap->ept[n], gpa, .chunk = detach_late };
    }
    others_run();
}

/* What numa/reclaim.c does. */
static bool looked_again;

static void model_detach_chunk(struct pmap *pmap, struct gpa gpa)
{
    looked_again = true;
    if (mutation != RECLAIM_NO_FLUSH && mutation != RECLAIM_LATE_DETACH)
        pmap_detach_chunk(pmap, gpa);
    else
        detach_badly(pmap, gpa, mutation == RECLAIM_LATE_DETACH);
}

/* What numa/lend.c does. */
static int model_own_copied(struct pmap *pmap, struct gpa gpa, unsigned node)
{
    return mutation == COPY_INTO_SHARED && pmap_machine(pmap, gpa) ? 0 : pmap_own(pmap, gpa, node);
}

/* What numa/join.c does. */
static void model_detach_joined(struct pmap *pmap, struct gpa gpa)
{
    if (mutation != JOIN_NO_FLUSH && mutation != JOIN_LATE_DETACH)
        pmap_detach_chunk(pmap, gpa);
    else
        detach_badly(pmap, gpa, mutation == JOIN_LATE_DETACH);
}

static bool model_is_zero(const void *page)
{
    static bool first[CHUNK_PAGES];
    unsigned i = (unsigned)((uint64_t)page / PAGE_SIZE % CHUNK_PAGES);

    if (!looked_again)
        first[i] = page_is_zero(page);
    else if (i == CHUNK_PAGES - 1)
        looked_again = false;
    if (!pick(CHUNK_PAGES / 2))
        others_run();
    return mutation == RECLAIM_NO_LOOK ? first[i] : page_is_zero(page);
}

static void *model_copy(void *to, const void *from, size_t n)
{
    if (mutation != NO_COPY)
        memcpy(to, from, n);
    others_run();
    return to;
}

/* One of 512 in a row: between most of them nothing happens, or nobody would be inside before the end. */
static void *model_copy_part(void *to, const void *from, size_t n)
{
    memcpy(to, from, n);
    if (!pick(CHUNK_PAGES / 2))
        others_run();
    return to;
}

static void model_detach_copies(struct pmap *pmap, struct gpa gpa)
{
    if (mutation != SHARED_STAYS_MAPPED || (*pmap_chunk(pmap, gpa) & P_LARGE))
        pmap_detach_chunk(pmap, gpa);
}

static bool model_withdraw(struct hpa page, struct hpa *copies)
{
    return withdrawing = commons_withdraw(page, copies);
}

/* Evidence as wild as it may be, of a few pages at a time: no processor need have used them. */
static unsigned hot[3];

static void model_sample(struct ept *ept, struct gpa gpa, struct ept_use *use)
{
    *use = (struct ept_use){ .level = EPT_4K };
    for (unsigned i = 0; i < ARRAY_SIZE(hot); i++) {
        unsigned bit = (unsigned)((gpa_of(hot[i]).v - gpa.v) / PAGE_SIZE);

        if (gpa_of(hot[i]).v - gpa.v >= PAGE_SIZE_2M)
            continue;
        use->accessed[bit / 64] |= pick(2) ? BIT(bit % 64) : 0;
        use->dirty[bit / 64] |= pick(8) ? 0 : BIT(bit % 64);
    }
    use->accessed[0] |= pick(2); /* of a large page */
}

static void sample_some(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(hot); i++)
        hot[i] = pick_page(pick(FAKE_CPUS));
    sample_poll(ticks += 1000000, 1);
}

static void do_late(void)
{
    for (unsigned i = 0; i < lates; i++) {
        struct hpa table = late[i].chunk ? ept_unhook(late[i].ept, late[i].gpa) : HPA_NONE;

        if (late[i].clear)
            ept_clear(late[i].ept, late[i].gpa);
        ept_flush(late[i].ept);
        if (table.v)
            page_free(table, PAGE_ORDER_4K);
    }
    lates = 0;
}

static void model_free(struct hpa page, unsigned order)
{
    enum page_kind kind = page_of(page)->kind;

    if (kind == PAGE_PRIVATE || kind == PAGE_REPLICA || kind == PAGE_SEGMENT)
        check_unreachable(page, PAGE_SIZE << order);
    if (kind == PAGE_TABLE)
        check_not_walked(page);
    table_goes = false;
    page_free(page, order);
    others_run();
}

static void model_drop(struct hpa page)
{
    for (unsigned n = 0; n < NODES && page_of(page)->refs == 1; n++)
        check_unreachable(commons_on(page, n), PAGE_SIZE);
    commons_drop(page);
    others_run();
}

static uint64_t model_free_copies(struct hpa first)
{
    withdrawing = false;
    for (struct hpa p = first; p.v; p = frame_page(page_of(p)->link))
        check_unreachable(p, PAGE_SIZE);
    return commons_free_copies(first);
}

static struct hpa model_get(uint16_t space, uint32_t key, const void *bytes)
{
    struct hpa found = HPA_NONE;

    if (mutation != NO_COMPARE) {
        found = commons_get(space, key, bytes);
        others_run();
        return found;
    }
    for (uint64_t p = machine_first; p < machine_end && !found.v; p += PAGE_SIZE) {
        struct mpage *m = page_of(HPA(p));

        if (m && m->kind == PAGE_CONTENT && m->space == space && m->hash == key) {
            m->refs++;
            found = HPA(p);
        }
    }
    return found;
}

/* Only the first write asks (numa/cow.c). */
static struct ept_mapping model_lookup(const struct ept *ept, struct gpa gpa)
{
    return mutation == NO_LOOK ? (struct ept_mapping){ 0 } : ept_lookup(ept, gpa);
}

/* Weak on purpose: different pages have the same hash all the time. */
static uint32_t model_hash(const void *page)
{
    return page_is_zero(page) ? HASH_ZERO : 2 + (uint32_t)(*(const uint64_t *)page % 2);
}
