/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "arch/x86/world.h"
#include "lib/types.h"

/* The hypervisor's own page tables, for arch/x86 itself; the other floors see arch/x86/world.h. */

/* Bits of an entry (SDM vol. 3A, 4.5). */
#define PTE_PRESENT   BIT(0)
#define PTE_WRITE     BIT(1)
#define PTE_PWT       BIT(3)
#define PTE_PCD       BIT(4)
#define PTE_ACCESSED  BIT(5)
#define PTE_DIRTY     BIT(6)
#define PTE_LARGE     BIT(7)
#define PTE_PAT_4K    BIT(7)
#define PTE_PAT_LARGE BIT(12)
#define PTE_NX        BIT(63)
#define PTE_ADDR_MASK 0x000ffffffffff000ull

/* IA32_PAT in our world: WB, WT, UC-, UC, WC, WP, UC-, UC. */
#define PAT_VALUE     0x0007050100070406ull

/* CR3 of our world, 0 before paging_begin. */
uint64_t paging_root(void);

/* Are these tables the ones in CR3, that is: is this processor in our world? */
bool paging_active(void);

/* The leaf entry that maps addr (0: none) and the size of its page. */
uint64_t paging_lookup(uint64_t addr, uint64_t *page_size);
