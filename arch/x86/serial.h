/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* COM1 (16550), polled. Returns false if there is no UART (loopback test). */
bool serial_init(unsigned baud);
void serial_write(const char *text, size_t n);      /* raw bytes; \n is sent as \r\n by serial_sink only */
void serial_sink(const char *text, size_t n);
int serial_read(void);                              /* a byte, or -1 */
