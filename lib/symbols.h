/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <stdint.h>

/*
 * The hypervisor's own function names, for backtraces: build/symbols.c, made by scripts/gen-symbols from the linked
 * image and linked in by a second pass (the first pass has an empty table). Addresses are those of the link; the
 * anchor is the link address of symbol_format, whose run-time address tells where the firmware put the image.
 */
struct symbol {
    uint32_t address;
    uint32_t name; /* offset into symbol_names */
};

struct symbol_table {
    uint32_t anchor;
    uint32_t count;
    uint32_t end; /* past the last function */
};

#pragma GCC visibility push(hidden)
extern const struct symbol_table symbol_table;
extern const struct symbol symbols[]; /* ascending, symbol_table.count of them */
extern const char symbol_names[];     /* terminated strings, one behind the other */
#pragma GCC visibility pop
