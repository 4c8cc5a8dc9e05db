/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/crbits.h"
#include "arch/x86/msr.h"
#include "lib/errno.h"
#include "vmx/gwalk.h"

/* Paging entries (SDM vol. 3, 4.3 to 4.5). */
#define ENTRY_P        BIT(0)
#define ENTRY_W        BIT(1)
#define ENTRY_U        BIT(2)
#define ENTRY_A        BIT(5)
#define ENTRY_D        BIT(6)
#define ENTRY_PS       BIT(7)
#define ENTRY_XD       BIT(63)
#define ENTRY_ADDRESS  0x000ffffffffff000ull

/* #PF's error code; "write" and "fetch" are the values of enum gwalk_access. */
enum { PF_PRESENT = 1, PF_USER = 4, PF_RESERVED = 8 };

/* One way of paging: its levels are data. */
struct paging {
    unsigned levels;           /* tables to walk; the lowest is level 1 */
    unsigned index_bits;       /* of the linear address, a level */
    unsigned entry_size;
    unsigned large_levels;     /* bit n: entries of level n may map a page */
    uint64_t root;
    uint64_t reserved;         /* bits that must be 0 in every entry */
};

/* Bits last:first. */
static inline uint64_t bits(unsigned last, unsigned first)
{
    return last < first ? 0 : (BIT(last - first) * 2 - 1) << first;
}

static inline bool nx_enabled(const struct gwalk_state *s)
{
    return s->cr4 & CR4_PAE && s->efer & EFER_NXE;
}

static inline uint64_t reserved_xd(const struct gwalk_state *s)
{
    return nx_enabled(s) ? 0 : ENTRY_XD;
}

/* The paging modes of SDM vol. 3, 4.1.1. */
static inline struct paging long_mode(const struct gwalk_state *s, unsigned levels)
{
    return (struct paging){ .levels = levels, .index_bits = 9, .entry_size = 8, .large_levels = 1 << 2 | 1 << 3,
                            .root = s->cr3 & ENTRY_ADDRESS, .reserved = bits(51, s->maxphyaddr) | reserved_xd(s) };
}

static inline struct paging pae(const struct gwalk_state *s, uint64_t pdpte)
{
    return (struct paging){ .levels = 2, .index_bits = 9, .entry_size = 8, .large_levels = 1 << 2,
                            .root = pdpte & ENTRY_ADDRESS, .reserved = bits(62, s->maxphyaddr) | reserved_xd(s) };
}

static inline struct paging paging_32(const struct gwalk_state *s)
{
    return (struct paging){ .levels = 2, .index_bits = 10, .entry_size = 4,
                            .large_levels = s->cr4 & CR4_PSE ? 1 << 2 : 0, .root = s->cr3 & 0xfffff000 };
}

static bool canonical(uint64_t linear, unsigned width)
{
    uint64_t top = linear >> (width - 1);

    return top == 0 || top == ~0ull >> (width - 1);
}

static inline unsigned level_shift(const struct paging *p, unsigned level)
{
    return PAGE_SHIFT + p->index_bits * (level - 1);
}

/* The reserved bits of this entry (tables 4-4 to 4-20). */
static inline uint64_t reserved_bits(const struct gwalk_state *s, const struct paging *p, unsigned level, bool leaf)
{
    uint64_t reserved = p->reserved;

    if (p->entry_size == 4)    /* a large page's address bits above 31 are in bits 20:13 (PSE-36) */
        return leaf && level == 2 ? bits(21, MIN(s->maxphyaddr, 40u) - 19) : 0;
    if (level > 3)
        reserved |= ENTRY_PS;
    if (leaf && level > 1)
        reserved |= bits(level_shift(p, level) - 1, 13);
    return reserved;
}

static inline struct gpa entry_address(const struct paging *p, uint64_t table, uint64_t linear, unsigned level)
{
    return GPA(table + (linear >> level_shift(p, level) & (BIT(p->index_bits) - 1)) * p->entry_size);
}

/* What lies outside RAM reads as all ones, as everything nobody owns. */
static inline uint64_t read_entry(const struct paging *p, struct gpa at, const struct gwalk_memory *memory)
{
    uint64_t entry = 0;

    if (memory->read(memory->ctx, at, &entry, p->entry_size))
        return p->entry_size == 4 ? UINT32_MAX : UINT64_MAX;
    return entry;
}

/* The processor notes in an entry that it was used (SDM vol. 3, 4.8). */
static inline int note_use(const struct gwalk_memory *memory, struct gpa at, uint64_t entry, uint64_t bits)
{
    return ~entry & bits ? memory->set(memory->ctx, at, (uint8_t)bits) : 0;
}

static inline struct gpa leaf_address(const struct paging *p, uint64_t entry, uint64_t linear, unsigned level)
{
    uint64_t offset = BIT(level_shift(p, level)) - 1;
    uint64_t base = entry & ENTRY_ADDRESS & ~offset;

    if (p->entry_size == 4 && level == 2)
        base |= (entry >> 13 & 0xff) << 32;
    return GPA(base | (linear & offset));
}

/* SDM vol. 3, 4.6.1, with AC as for explicit accesses. all, any: bits that all entries on the way have, or one has. */
static inline bool allowed(const struct gwalk_state *s, enum gwalk_access access, uint64_t all, uint64_t any)
{
    bool user = all & ENTRY_U;

    if (s->user && !user)
        return false;
    if (access == GWALK_FETCH)
        return !(any & ENTRY_XD) && !(!s->user && user && s->cr4 & CR4_SMEP);
    if (!s->user && user && s->cr4 & CR4_SMAP && !(s->rflags & RFLAGS_AC))
        return false;
    return access == GWALK_READ || all & ENTRY_W || (!s->user && !(s->cr0 & CR0_WP));
}

/* Walks the tables. -EFAULT: *cause has the error code's bits that tell why. Inline, where the mode's data are known. */
static inline __attribute__((always_inline)) int walk(const struct gwalk_state *s, const struct paging *p,
                                                      uint64_t linear, enum gwalk_access access,
                                                      const struct gwalk_memory *memory, struct gpa *out,
                                                      uint32_t *cause)
{
    uint64_t table = p->root, all = UINT64_MAX, any = 0;

#pragma GCC unroll 5
    for (unsigned level = p->levels; level; level--) {
        struct gpa at = entry_address(p, table, linear, level);
        uint64_t entry = read_entry(p, at, memory);
        bool leaf = level == 1 || (p->large_levels >> level & 1 && entry & ENTRY_PS);
        int err;

        *cause = 0;
        if (!(entry & ENTRY_P))
            return -EFAULT;
        *cause = PF_PRESENT | PF_RESERVED;
        if (entry & reserved_bits(s, p, level, leaf))
            return -EFAULT;
        all &= entry;
        any |= entry;
        if (leaf) {
            *out = leaf_address(p, entry, linear, level);
            *cause = PF_PRESENT;
            if (!allowed(s, access, all, any))
                return -EFAULT;
            return note_use(memory, at, entry, access == GWALK_WRITE ? ENTRY_A | ENTRY_D : ENTRY_A);
        }
        err = note_use(memory, at, entry, ENTRY_A);
        if (err)
            return err;
        table = entry & ENTRY_ADDRESS;
    }
    return -EFAULT; /* never: the lowest is a leaf */
}

static int walk_mode(const struct gwalk_state *s, uint64_t linear, enum gwalk_access access,
                     const struct gwalk_memory *memory, struct gpa *out, uint32_t *cause)
{
    struct paging p;
    uint64_t pdpte;

    if (s->efer & EFER_LMA && !(s->cr4 & CR4_LA57)) {
        p = long_mode(s, 4);
        return walk(s, &p, linear, access, memory, out, cause);
    }
    if (s->efer & EFER_LMA) {
        p = long_mode(s, 5);
    } else if (!(s->cr4 & CR4_PAE)) {
        p = paging_32(s);
    } else {
        pdpte = s->pdpte[linear >> 30 & 3];
        if (!(pdpte & ENTRY_P))
            return -EFAULT;
        p = pae(s, pdpte);
    }
    return walk(s, &p, linear, access, memory, out, cause);
}

int gwalk(const struct gwalk_state *s, uint64_t linear, enum gwalk_access access, const struct gwalk_memory *memory,
          struct gpa *out, uint32_t *error_code)
{
    uint32_t cause = 0;
    int err;

    if (!(s->efer & EFER_LMA))
        linear = (uint32_t)linear;
    *error_code = 0;
    if (!(s->cr0 & CR0_PG)) {
        *out = GPA(linear);
        return 0;
    }
    if (s->efer & EFER_LMA && !canonical(linear, s->cr4 & CR4_LA57 ? 57 : 48))
        return -ERANGE;
    err = walk_mode(s, linear, access, memory, out, &cause);
    if (err != -EFAULT)
        return err;
    *error_code = cause | (s->user ? PF_USER : 0);
    if (access == GWALK_WRITE || (access == GWALK_FETCH && (s->cr4 & CR4_SMEP || nx_enabled(s))))
        *error_code |= access;
    return -EFAULT;
}
