/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * Text on a linear framebuffer, 32 bits a pixel: 8x16 cells, scrolling, newline, return, backspace and tab; ANSI
 * sequences are read over. Black and grey, so the order of the colours does not matter.
 */
struct fbcon_mode {
    uint64_t base;                  /* mapped MAP_FRAME in our world */
    uint32_t width, height, stride; /* pixels */
    bool bgr;
};

/* Clears the screen. False: no room for a character, or a stride below the width. */
bool fbcon_init(const struct fbcon_mode *mode);
/* Nothing happens before fbcon_init. Callers keep out of each other's way. A log_sink too. */
void fbcon_write(const char *text, size_t n);
