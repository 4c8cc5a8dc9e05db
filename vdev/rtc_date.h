/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* Calendar arithmetic of the Gregorian calendar, UTC, years 1970 to 9999; no leap seconds. */
struct rtc_date {
    unsigned year, month, day;          /* month and day from 1 */
    unsigned hour, minute, second;
    unsigned weekday;                   /* 1: Sunday */
};

struct rtc_date rtc_date_from_seconds(uint64_t seconds);
/* Fields out of their range are brought to the nearest one in it (the weekday is ignored). */
uint64_t rtc_date_to_seconds(const struct rtc_date *c);
