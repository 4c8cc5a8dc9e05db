/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "ept/ept.h"
#include "lib/errno.h"

/* An EPT entry (SDM vol. 3, tables 29-1 to 29-7). */
#define E_PROT     0x7ull
#define E_LARGE    BIT(7)
#define E_ACCESSED BIT(8)
#define E_DIRTY    BIT(9)
#define E_ADDR     EPT_ADDRESS

static unsigned level_shift(unsigned level) { return PAGE_SHIFT + 9 * (level - 1); }
static uint64_t level_size(unsigned level) { return 1ull << level_shift(level); }
static unsigned level_index(struct gpa gpa, unsigned level) { return (gpa.v >> level_shift(level)) & 511; }

static bool present(uint64_t e) { return e & E_PROT; }
static bool is_leaf(uint64_t e, unsigned level) { return level == EPT_4K || (e & E_LARGE); }
static uint64_t *table(uint64_t e) { return (uint64_t *)(e & E_ADDR); }

/* Entries are read by processors at any time: one store each. */
static void set(uint64_t *e, uint64_t value) { *(volatile uint64_t *)e = value; }

static struct hpa new_table(struct ept *ept)
{
    struct hpa page = ept->kept.v ? ept->kept : ept->pages.alloc(ept->pages.ctx);

    ept->kept = HPA(0);
    if (page.v)
        ept->tables++;
    return page;
}

static void forget_tables(struct ept *ept)
{
    for (unsigned i = 0; i < EPT_RECENT; i++)
        ept->recent_region[i] = UINT64_MAX;
}

int ept_init(struct ept *ept, const struct ept_pages *pages)
{
    *ept = (struct ept){ .pages = *pages };
    forget_tables(ept);
    ept->generation = 1;
    ept->root = new_table(ept);
    return ept->root.v ? 0 : -ENOMEM;
}

static void destroy_table(struct ept *ept, uint64_t *t, unsigned level)
{
    for (unsigned i = 0; i < 512; i++)
        if (present(t[i]) && !is_leaf(t[i], level))
            destroy_table(ept, table(t[i]), level - 1);
    ept->pages.free(ept->pages.ctx, HPA((uint64_t)t));
    ept->tables--;
}

void ept_destroy(struct ept *ept)
{
    if (ept->root.v)
        destroy_table(ept, (uint64_t *)ept->root.v, EPT_ROOT);
    ept->root = HPA(0);
}

/* Fills a table with the pieces of a large page: the same translation in smaller steps. */
static void fill_split(uint64_t *t, uint64_t large, unsigned level)
{
    uint64_t flags = large & ~E_ADDR & ~(level == EPT_4K ? E_LARGE : 0);

    for (uint64_t i = 0; i < 512; i++)
        t[i] = (large & E_ADDR) + i * level_size(level) + flags;
}

/* Puts a table where e is empty or a large page of level l. -ENOMEM. */
static int put_table(struct ept *ept, uint64_t *e, unsigned l)
{
    struct hpa page = new_table(ept);
    bool large = present(*e);

    if (!page.v)
        return -ENOMEM;
    if (large)
        fill_split((uint64_t *)page.v, *e, l - 1);
    set(e, page.v | E_PROT | E_ACCESSED); /* it is made for a use */
    if (large)
        ept->generation++;
    return 0;
}

static inline void remember_table(struct ept *ept, struct gpa gpa, uint64_t *t)
{
    uint64_t region = gpa.v / level_size(EPT_2M);

    ept->recent[region % EPT_RECENT] = t;
    ept->recent_region[region % EPT_RECENT] = region;
}

/* The table of 4 KiB pages for gpa, if it was used lately. */
static inline uint64_t *recent_table(const struct ept *ept, struct gpa gpa)
{
    uint64_t region = gpa.v / level_size(EPT_2M);

    return region == ept->recent_region[region % EPT_RECENT] ? ept->recent[region % EPT_RECENT] : NULL;
}

/* The table of 4 KiB pages for gpa, if there is one. */
static uint64_t *find_table(const struct ept *ept, struct gpa gpa)
{
    uint64_t *t = (uint64_t *)ept->root.v;

    for (unsigned l = EPT_ROOT; l > EPT_4K; l--) {
        uint64_t e = t[level_index(gpa, l)];

        if (!present(e) || is_leaf(e, l))
            return NULL;
        t = table(e);
    }
    return t;
}

/* The same, remembered. */
static inline uint64_t *use_table(struct ept *ept, struct gpa gpa)
{
    uint64_t *t = recent_table(ept, gpa);

    if (t)
        return t;
    t = find_table(ept, gpa);
    if (t)
        remember_table(ept, gpa, t);
    return t;
}

bool ept_has_table(struct ept *ept, struct gpa gpa) { return use_table(ept, gpa); }

int ept_prepare(struct ept *ept, struct gpa gpa, enum ept_level level, struct ept_slot *slot)
{
    uint64_t *t = level == EPT_4K ? use_table(ept, gpa) : NULL, *e;

    if (t) {
        *slot = (struct ept_slot){ &t[level_index(gpa, EPT_4K)], level };
        return 0;
    }
    t = (uint64_t *)ept->root.v;
    for (unsigned l = EPT_ROOT; l > level; l--) {
        e = &t[level_index(gpa, l)];
        if ((!present(*e) || is_leaf(*e, l)) && put_table(ept, e, l))
            return -ENOMEM;
        t = table(*e);
    }
    e = &t[level_index(gpa, level)];
    if (level == EPT_4K)
        remember_table(ept, gpa, t);
    *slot = (struct ept_slot){ e, level };
    return present(*e) && !is_leaf(*e, level) ? -EEXIST : 0;
}

uint64_t *ept_find_empty(struct ept *ept, struct gpa gpa)
{
    uint64_t region = gpa.v / level_size(EPT_2M), *e;

    if (region != ept->recent_region[region % EPT_RECENT] && !ept_has_table(ept, gpa))
        return NULL;
    e = &ept->recent[region % EPT_RECENT][level_index(gpa, EPT_4K)];
    return present(*e) ? NULL : e;
}

void ept_commit(struct ept *ept, struct ept_slot slot, struct hpa hpa, enum ept_prot prot)
{
    uint64_t old = *slot.entry;

    set(slot.entry, hpa.v | prot | EPT_WRITE_BACK | (slot.level > EPT_4K ? E_LARGE : 0));
    if (present(old) && ((old & E_ADDR) != hpa.v || (old & E_PROT & ~(uint64_t)prot)))
        ept->generation++;
}

/* The entry that maps gpa and its level, or NULL. */
static uint64_t *find_leaf(const struct ept *ept, struct gpa gpa, unsigned *level)
{
    uint64_t *t = (uint64_t *)ept->root.v;

    for (unsigned l = EPT_ROOT;; l--) {
        uint64_t *e = &t[level_index(gpa, l)];

        if (!present(*e))
            return NULL;
        if (is_leaf(*e, l)) {
            *level = l;
            return e;
        }
        t = table(*e);
    }
}

void ept_clear(struct ept *ept, struct gpa gpa)
{
    unsigned level;
    uint64_t *t = recent_table(ept, gpa), *e = t ? &t[level_index(gpa, EPT_4K)] : find_leaf(ept, gpa, &level);

    if (!e || !present(*e))
        return;
    set(e, 0);
    ept->generation++;
}

struct hpa ept_unhook(struct ept *ept, struct gpa gpa)
{
    uint64_t *t = (uint64_t *)ept->root.v, *e = NULL, old;

    for (unsigned l = EPT_ROOT; l >= EPT_2M; l--) {
        e = &t[level_index(gpa, l)];
        if (!present(*e))
            return HPA(0);
        if (is_leaf(*e, l) && (l == EPT_2M || put_table(ept, e, l)))
            break;
        t = table(*e);
    }
    old = *e;
    set(e, 0);
    ept->generation++;
    if (old & E_LARGE)
        return HPA(0);
    ept->tables--;
    ept->recent_region[gpa.v / level_size(EPT_2M) % EPT_RECENT] = UINT64_MAX; /* it may have been this one */
    return HPA(old & E_ADDR);
}

int ept_merge(struct ept *ept, struct gpa gpa, struct hpa hpa, enum ept_prot prot, struct hpa *table)
{
    struct ept_slot slot;
    int err = ept_prepare(ept, gpa, EPT_1G, &slot);

    *table = err == -EEXIST ? HPA(*slot.entry & E_ADDR) : HPA(0);
    if (err && err != -EEXIST)
        return err;
    ept_commit(ept, slot, hpa, prot);
    forget_tables(ept); /* they may be among these */
    return 0;
}

void ept_free_tables(struct ept *ept, struct hpa table)
{
    if (table.v)
        destroy_table(ept, (uint64_t *)table.v, EPT_2M);
}

struct ept_mapping ept_lookup(const struct ept *ept, struct gpa gpa)
{
    unsigned level;
    uint64_t *e = find_leaf(ept, gpa, &level);

    if (!e)
        return (struct ept_mapping){ 0 };
    return (struct ept_mapping){
        .level = (enum ept_level)level, .hpa = HPA((*e & E_ADDR) + (gpa.v & (level_size(level) - 1))),
        .prot = *e & E_PROT, .accessed = *e & E_ACCESSED, .dirty = *e & E_DIRTY,
    };
}

/* The bits of one entry, taken out of it while processors may set others. */
static uint64_t take_bits(uint64_t *e)
{
    uint64_t bits = *(volatile uint64_t *)e & (E_ACCESSED | E_DIRTY);

    if (bits)
        __atomic_fetch_and(e, ~bits, __ATOMIC_RELAXED);
    return bits;
}

enum ept_table_use ept_table_use(struct ept *ept, struct gpa gpa)
{
    uint64_t *t = (uint64_t *)ept->root.v, *e = NULL;

    for (unsigned l = EPT_ROOT; l > EPT_4K; l--) {
        e = &t[level_index(gpa, l)];
        if (!present(*e) || is_leaf(*e, l))
            return EPT_NO_TABLE;
        t = table(*e);
    }
    if (!(take_bits(e) & E_ACCESSED))
        return EPT_TABLE_IDLE;
    ept->generation++;
    return EPT_TABLE_USED;
}

void ept_keep(struct ept *ept, struct hpa page)
{
    ept->kept = page;
}

static void sample_table(uint64_t *t, struct ept_use *use)
{
    for (unsigned i = 0; i < 512; i++) {
        uint64_t bits = take_bits(&t[i]);

        use->accessed[i / 64] |= bits & E_ACCESSED ? BIT(i % 64) : 0;
        use->dirty[i / 64] |= bits & E_DIRTY ? BIT(i % 64) : 0;
    }
}

void ept_sample(struct ept *ept, struct gpa gpa, struct ept_use *use)
{
    uint64_t *t = (uint64_t *)ept->root.v;

    *use = (struct ept_use){ 0 };
    for (unsigned l = EPT_ROOT; l > EPT_4K; l--) {
        uint64_t *e = &t[level_index(gpa, l)], bits;

        if (!present(*e))
            return;
        if (is_leaf(*e, l)) {
            bits = take_bits(e);
            use->level = (enum ept_level)l;
            use->accessed[0] = (bits & E_ACCESSED) != 0;
            use->dirty[0] = (bits & E_DIRTY) != 0;
            return;
        }
        t = table(*e);
    }
    use->level = EPT_4K;
    sample_table(t, use);
}
