/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* Seconds since 1970 of a moment of the Gregorian calendar in UTC, 1900 to 9999; fields out of range give 0. */
int64_t calendar_to_unix(unsigned year, unsigned month, unsigned day, unsigned hour, unsigned minute, unsigned second);
