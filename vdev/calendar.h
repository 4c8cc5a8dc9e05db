/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* Calendar arithmetic of the Gregorian calendar, UTC, years 1970 to 9999; no leap seconds. */
struct calendar {
    unsigned year, month, day;          /* month and day from 1 */
    unsigned hour, minute, second;
    unsigned weekday;                   /* 1: Sunday */
};

struct calendar calendar_from_seconds(uint64_t seconds);
/* Fields out of their range are brought to the nearest one in it (the weekday is ignored). */
uint64_t calendar_to_seconds(const struct calendar *c);
