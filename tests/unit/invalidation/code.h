/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

/* The hypervisor's part of the model is the real code, in one piece, with what it calls diverted to watch.h. */
#include "arch/x86/apic.h"
#include "ept/ept.h"
#include "lib/errno.h"
#include "numa/commons.h"
#include "numa/hash.h"
#include "numa/join.h"
#include "numa/move.h"
#include "numa/reclaim.h"
#include "numa/sample.h"
#include "numa/scan.h"
#include "numa/segment.h"
#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_percpu.h"

static void model_ipi(uint32_t apic_id, uint8_t vector);
static void model_pause(void);
static void model_clear(struct ept *ept, struct gpa gpa);
static void model_commit(struct ept *ept, struct ept_slot slot, struct hpa hpa, enum ept_prot prot);
static bool model_replace(struct ept *ept, struct gpa gpa, struct hpa hpa, enum ept_prot prot);
static struct hpa model_unhook(struct ept *ept, struct gpa gpa);
static void model_flush(struct ept *ept);
static void model_free(struct hpa page, unsigned order);
static void model_drop(struct hpa page);
static uint64_t model_free_copies(struct hpa first);
static void model_detach_copies(struct pmap *pmap, struct gpa gpa);
static bool model_withdraw(struct hpa page, struct hpa *copies);
static struct hpa model_get(uint16_t space, uint32_t key, const void *bytes);
static uint32_t model_hash(const void *page);
static struct ept_mapping model_lookup(const struct ept *ept, struct gpa gpa);
static void model_detach(struct pmap *pmap, struct gpa gpa);
static void model_detach_chunk(struct pmap *pmap, struct gpa gpa);
static enum ept_table_use model_table_use(struct ept *ept, struct gpa gpa);
static int model_own_copied(struct pmap *pmap, struct gpa gpa, unsigned node);
static void model_detach_joined(struct pmap *pmap, struct gpa gpa);
static bool model_is_zero(const void *page);
static void *model_copy(void *to, const void *from, size_t n);
static void *model_copy_part(void *to, const void *from, size_t n);
static void model_sample(struct ept *ept, struct gpa gpa, struct ept_use *use);

/* Order matters: what a file defines is defined before calls of it are diverted. */
#define memcpy     model_copy
#define is_copy    is_shared_copy
#include "numa/commons.c"
#undef is_copy
#undef memcpy
#define apic_ipi   model_ipi
#define cpu_pause  model_pause
#include "ept/flush.c"
#undef cpu_pause
#define ept_clear    model_clear
#define ept_unhook   model_unhook
#define ept_flush    model_flush
#define page_free    model_free
#define commons_drop model_drop
#define fill         segment_fill
#define make         segment_make
#define find         segment_find
#define free_chunk   segment_free_chunk
#include "numa/segment.c"
#undef fill
#undef make
#undef find
#undef free_chunk
#define commons_get  model_get
#define commons_withdraw    model_withdraw
#define commons_free_copies model_free_copies
#define page_hash    model_hash
#define ept_lookup   model_lookup
#include "numa/pmap.c"
#include "numa/cow.c"
#define ept_commit   model_commit
#define ept_replace  model_replace
#include "numa/place.c"
#undef ept_commit
#undef ept_replace
#include "numa/scan.c"
#include "numa/hints.c"
#define rest         lend_rest
#define hold         lend_hold
#define pmap_own     model_own_copied
#include "numa/lend.c"
#undef rest
#undef hold
#undef pmap_own
#define pmap_detach_chunk model_detach_chunk
#define page_is_zero      model_is_zero
#define ept_table_use(ept, gpa) model_table_use(ept, gpa)
#include "numa/reclaim.c"
#undef ept_table_use
#undef pmap_detach_chunk
#undef page_is_zero
#undef commons_withdraw
#define pmap_detach  model_detach
#define pmap_detach_chunk model_detach_copies
#define memcpy       model_copy
#include "numa/move.c"
#undef pmap_detach
#undef pmap_detach_chunk
#undef commons_free_copies
#undef memcpy
#define memcpy       model_copy_part
#define pmap_detach_chunk model_detach_joined
#define look         join_look
#define next_pmap    join_next_pmap
#define at           join_at
#define busy         join_busy
#define figures      join_so_far
#include "numa/join.c"
#undef pmap_detach_chunk
#undef look
#undef next_pmap
#undef at
#undef busy
#undef figures
#undef memcpy
#define step         sample_step
#define at           sample_at
#define busy         sample_busy
#define last         sample_last
#define ept_sample   model_sample
#include "numa/sample.c"
#undef step
#undef at
#undef busy
#undef last
#undef ept_sample
#undef ept_clear
#undef ept_unhook
#undef ept_flush
#undef page_free
#undef commons_drop
#undef commons_get
#undef page_hash
#undef ept_lookup
