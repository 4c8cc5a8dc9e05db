/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "numa/pmap.h"

/*
 * Segments: memory that chosen VMs map at the same time and write, each under a name. Their pages are of a kind of
 * their own (PAGE_SEGMENT) and no pmap entry names them, so nothing that goes round a VM's pages finds them: they are
 * not scanned, moved, copied or reclaimed. A page is backed, zeroed, when a VM first touches it, on that one's node,
 * and stays where it is until the last VM that has the segment lets it go. A VM's EPTs therefore only ever gain entries for
 * it, and no translation has to be invalidated while the VM lives.
 *
 * A segment has a lock of its own, and which segments there are has another; both are below the pmaps' and above the
 * nodes', and neither is held while the other is taken. Any processor.
 */
#define SEGMENT_NAME_MAX 32u
#define SEGMENTS_MAX     64u

/*
 * The segment with this name, and a reference for the caller; one that nobody has is made, empty. size: bytes, a
 * multiple of 2 MiB. -EINVAL: it is not, the name is too long, or others have the segment with another size; -ENOMEM; -ENOSPC:
 * there are too many.
 */
int segment_get(const char *name, uint64_t size, struct segment **out);
/* The last one frees its memory: no processor reaches it any more through the caller's EPTs. */
void segment_drop(struct segment *s);

const char *segment_name(const struct segment *s);
uint64_t segment_size(const struct segment *s);
/* 4 KiB pages that it has by now. */
uint64_t segment_pages(const struct segment *s);

/*
 * What a byte of it is mapped to: all but the rights. What has no memory yet gets some, zeroed, from this node: 2 MiB
 * at once where there are. -ENOMEM. The caller has a reference.
 */
int segment_back(struct segment *s, uint64_t offset, unsigned node, struct ept_mapping *m);

/* Calls for each segment that there is; one may be let go meanwhile, but not before `each` returns. */
void segment_each(void (*each)(const struct segment *s));
