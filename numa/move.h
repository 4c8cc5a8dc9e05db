/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "numa/pmap_parts.h"

/*
 * Migration, replication and collapse: the steps that change on which nodes a private page of guest memory is. The
 * guest never notices. The pmap's lock is held.
 *
 * A replicated page is a chain: its pmap entry names the newest copy (PAGE_REPLICA), each copy the next, the last one
 * the page itself. All are mapped read-only, each on its node; nodes without one use the page itself. A shared page has
 * its copies in the commons.
 */

/* To this node, alone: whole if it is large; copies elsewhere are let go. False: no memory there, nothing was done. */
bool move_migrate(struct pmap *pmap, struct gpa gpa, unsigned node);
/* A large page's content goes to another block, which is private and nobody's yet; base: the chunk's first address. */
void move_chunk(struct pmap *pmap, uint64_t *chunk, struct gpa base, struct hpa block);
/* Copies of a small page on these nodes, which have none. False: memory is short, or none is left on any of them. */
bool move_replicate(struct pmap *pmap, struct gpa gpa, uint8_t nodes);
/*
 * A page of the commons that gpa has gets copies on these nodes, for all who share it, unless memory is short; and
 * where this VM maps another one than the nearest there is, that ends.
 */
void move_share(struct pmap *pmap, struct gpa gpa, struct hpa page, uint8_t nodes);
/* A replicated page becomes a single one again, on this node if there is a copy. */
void move_collapse(struct pmap *pmap, uint64_t *e, struct gpa gpa, unsigned node);

/* Of a small page's entry: the nodes that have it; the page or copy that a node uses. */
uint8_t move_nodes(uint64_t e);
struct hpa move_copy_on(uint64_t e, unsigned node);
/* The page itself, replicated or not. */
struct hpa move_page(uint64_t e);
/* Lets the copies of an entry go that nobody can reach any more; returns the page itself. */
struct hpa move_drop_copies(struct pmap *pmap, uint64_t e);

/* Of one chunk: lets about so many copies of its pages go, if there are; how many. */
uint64_t move_drop_some(struct pmap *pmap, uint64_t number, uint64_t pages);
/* After this no processor reaches copies of shared pages in this chunk that the commons no longer have. */
void move_detach_taken(struct pmap *pmap, uint64_t number);
