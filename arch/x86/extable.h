/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * Instructions of ours that may fault and where to go on when they do. Both fields are distances from the field
 * itself, so the table needs no relocation. The linker script keeps the section "extable" in read-only data, between
 * __start_extable and __stop_extable.
 */
struct extable_entry {
    int32_t fault;
    int32_t resume;
};

/* For the end of an inline-assembly text: a fault at label `at` goes on at label `to`. */
#define EXTABLE(at, to)                                 \
    ".pushsection extable, \"a\"\n\t"                   \
    ".balign 4\n\t"                                     \
    ".long (" #at ") - .\n\t"                           \
    ".long (" #to ") - .\n\t"                           \
    ".popsection"

/* Where to go on after a fault at rip, 0 if that fault was not expected. Any context. */
uint64_t extable_find(uint64_t rip);
