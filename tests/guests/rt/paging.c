/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/guests/rt/rt.h"

/* One path of tables (PDPT, directory, table) to the 4 KiB page at TEST_PAGE (SDM vol. 3, 4.5). */
static uint64_t tables[3][512] __attribute__((aligned(4096)));

enum { TABLE_FLAGS = 7 };      /* present, writable, user: the last level decides */

/* flags: bits 0 to 11 and 63 of the entry. The translation that was there before may still be cached. */
void map_test_page(uint64_t physical, uint64_t flags)
{
    boot_page_tables[TEST_PAGE >> 39 & 511] = (uint64_t)tables[0] | TABLE_FLAGS;
    tables[0][TEST_PAGE >> 30 & 511] = (uint64_t)tables[1] | TABLE_FLAGS;
    tables[1][TEST_PAGE >> 21 & 511] = (uint64_t)tables[2] | TABLE_FLAGS;
    __atomic_store_n(&tables[2][TEST_PAGE >> 12 & 511], physical | flags, __ATOMIC_SEQ_CST);
}
