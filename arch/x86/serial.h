/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* COM1 (16550), polled; 8 bits, no parity. Callers keep out of each other's way. */

/* Returns false if there is no UART (loopback test) or it cannot do this rate (2 to 115200). In either world. */
bool serial_init(unsigned baud);
/* Waits a bounded time for the line; what it does not take then is lost. */
void serial_write(const char *text, size_t n);      /* raw bytes; \n is sent as \r\n by serial_sink only */
void serial_sink(const char *text, size_t n);
int serial_read(void);                              /* a byte, or -1 */
