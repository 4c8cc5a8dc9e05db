/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <stdint.h>

/* Printable ASCII, 8x16, a byte per row, leftmost pixel in bit 7: build/font.c, made by scripts/gen-font. */
#define FONT_FIRST  32
#define FONT_LAST   126
#define FONT_HEIGHT 16

#pragma GCC visibility push(hidden)
extern const uint8_t font_glyphs[FONT_LAST - FONT_FIRST + 1][FONT_HEIGHT];
#pragma GCC visibility pop
