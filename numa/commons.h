/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "numa/page.h"

#include <stdatomic.h>

/*
 * The commons: machine pages that several guest pages share, read-only, found by what they hold. A page has as many
 * references as pmap entries name it; the last one frees it. Any processor; locks of its own, above the nodes' only.
 */

/* Where pages are looked for: files of the configuration, or a sharing domain (COMMONS_DOMAIN + n, n from 0). */
#define COMMONS_FILES  0u
#define COMMONS_DOMAIN 1u

/* Makes the tables, for the machine memory there is. -ENOMEM. Before the first VM. */
int commons_init(void);

/* Zeros, 2 MiB of them, near this node, to be mapped read-only. HPA_NONE: there was no memory for them. */
struct hpa commons_zero(unsigned node);

/*
 * A page of this space and key (never 0) that holds these 4096 bytes, with one more reference; HPA_NONE: there is none.
 * The bytes do not change meanwhile.
 */
struct hpa commons_get(uint16_t space, uint32_t key, const void *bytes);
/*
 * Pages of files whose key is the hash of what they hold can be found by it in a sharing domain that has read them:
 * commons_read_in says that a VM of this one has (0: of none; nothing happens). The other two are as commons_get and
 * commons_has. They keep to pages that were read in the domain since they came, so nobody learns what others read.
 */
static inline void commons_read_in(struct mpage *p, uint16_t domain)
{
    uint16_t bit = domain ? (uint16_t)BIT(domain - COMMONS_DOMAIN) : 0;

    if (bit & ~atomic_load_explicit(&p->domains, memory_order_relaxed))
        atomic_fetch_or_explicit(&p->domains, bit, memory_order_relaxed);
}
struct hpa commons_get_read(uint16_t domain, uint32_t key, const void *bytes);
bool commons_has_read(uint16_t domain, uint32_t key);
/* A private 4 KiB page becomes part of the commons, its one reference the caller's. It is not written from now on. */
void commons_add(struct hpa page, uint16_t space, uint32_t key);
/*
 * A page may have copies, one on a node, for all who share it: it does not change. They are behind it in its chain and
 * go with it. The caller has a reference to the page.
 */
/* What a node uses: its copy, or the page itself. */
struct hpa commons_on(struct hpa page, unsigned node);
/* The nodes that have it: a bit mask. */
uint8_t commons_nodes(struct hpa page);
/* Makes copies on these nodes, which have none, as far as they have memory. How many. One processor at a time. */
unsigned commons_copy(struct hpa page, uint8_t nodes);
/*
 * Takes about this many copies, if there are, out of chains, where nobody finds them any more; of so many chains, from
 * *bucket on, which says where to go on then, 0: it was the last. They are to be freed by commons_free_copies once no
 * processor reaches them. HPA_NONE: these have none.
 */
struct hpa commons_take_copies(uint64_t pages, uint64_t *bucket, uint64_t n_buckets);
/* How many. */
uint64_t commons_free_copies(struct hpa first);

/* One more reference to a page to which the caller has one. */
static inline void commons_hold(struct hpa page) { atomic_fetch_add(&page_of(page)->refs, 1); }
/* The caller's pmap entry no longer names it, and no processor can reach it that way any more. */
void commons_drop_last(struct hpa page);
static inline void commons_drop_from(struct mpage *p, struct hpa page) /* p: page_of(page) */
{
    if (atomic_fetch_sub(&p->refs, 1) == 1)
        commons_drop_last(page);
}
static inline void commons_drop(struct hpa page) { commons_drop_from(page_of(page), page); }
/*
 * If the caller has the only reference: the page is private again (sharer is the caller's to set), and true. *copies are
 * to be freed by commons_free_copies once no processor reaches them.
 */
bool commons_withdraw(struct hpa page, struct hpa *copies);

/*
 * Pages that may have equals: another private page of this space and key that was left here before; HPA_NONE: none, and
 * this one is left for others to find. leave: this one takes the other's place. It is a hint: the page may be anything
 * by now.
 */
struct hpa commons_meet(uint16_t space, uint32_t key, struct hpa page, bool leave);
/* Is there a page of this space and key in the commons, equal or not? */
bool commons_has(uint16_t space, uint32_t key);
