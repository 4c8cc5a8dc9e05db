/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <stdarg.h>
#include <stddef.h>

/*
 * printf into a buffer: %d %i %u %x %X %p %c %s %% with flags '-', '0' and '#' (0x), width, precision (numbers or *)
 * and the lengths hh h l ll z. Always terminates when size > 0; returns the length the whole text would have.
 */
int format_v(char *buf, size_t size, const char *fmt, va_list ap);
int format(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
