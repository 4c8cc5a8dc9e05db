/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* Text on a linear framebuffer, 32 bits a pixel: 8x16 cells, scrolling, newline/cr/backspace/tab, enough of ANSI (colours ignored, cursor ignored). */
struct fbcon_mode { uint64_t base; uint32_t width, height, stride; bool bgr; };
bool fbcon_init(const struct fbcon_mode *mode);
void fbcon_write(const char *text, size_t n);
