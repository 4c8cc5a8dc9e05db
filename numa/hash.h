/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* What page_hash gives for a page of zeros. */
#define HASH_ZERO 1u

/* Of a 4 KiB page; never 0. */
uint32_t page_hash(const void *page);
bool page_is_zero(const void *page);
