/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* The paging state of a vCPU, as the walker needs it. */
struct gwalk_state {
    uint64_t cr0, cr3, cr4, efer, rflags;
    uint64_t pdpte[4];         /* PAE paging: from the VMCS */
    unsigned maxphyaddr;
    bool user;                 /* the access is made at CPL 3 */
};

enum gwalk_access { GWALK_READ = 0, GWALK_WRITE = 2, GWALK_FETCH = 16 };

/* Guest RAM, in which the tables are. */
struct gwalk_memory {
    int (*read)(void *ctx, struct gpa at, void *to, size_t n); /* 4 or 8 bytes of an entry; -EFAULT: outside */
    /* Sets bits of an entry's first byte, atomically for other processors. 0, or an error that ends the walk. */
    int (*set)(void *ctx, struct gpa at, uint8_t bits);
    void *ctx;
};

/*
 * Linear to guest-physical through the guest's own tables: no paging, 32-bit (PSE), PAE, 4-level, 5-level; permissions,
 * SMEP, SMAP, NX, WP, reserved bits, accessed and dirty bits as SDM vol. 3, chapter 4. Protection keys are ignored, an
 * entry that read refuses counts as all ones. -EFAULT: #PF, *error_code is what it would push. -ERANGE: the address is
 * not canonical (#GP, or #SS for a stack access, with error code 0). Others: what set has returned.
 */
int gwalk(const struct gwalk_state *s, uint64_t linear, enum gwalk_access access, const struct gwalk_memory *memory,
          struct gpa *out, uint32_t *error_code);
