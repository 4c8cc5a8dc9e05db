/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "numa/pmap.h"

/*
 * What a guest says of its own memory. A range begins at a page and is RAM throughout: the caller has checked it. A
 * guest that lies loses its own data and nothing else. Any processor.
 */

/* These pages hold nothing of worth: the machine has them back, and they read as zero. */
void pmap_give_back(struct pmap *pmap, struct gpa gpa, uint64_t pages);
/* The same, and they are backed again with zeroed pages, on this node, as long as the machine has some. */
void pmap_renew(struct pmap *pmap, struct gpa gpa, uint64_t pages, unsigned node);
