/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/rtc_date.h"

#define DAY         86400u
#define LAST_YEAR   9999u
#define LAST_SECOND 253402300799ull     /* 9999-12-31 23:59:59 */

static bool is_leap(unsigned year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static unsigned days_in_month(unsigned year, unsigned month)
{
    static const uint8_t days[12] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

    return days[month - 1] + (month == 2 && is_leap(year));
}

/* Days from 1 January 1970 to 1 January of this year. */
static uint64_t days_to_year(unsigned year)
{
    unsigned y = year - 1;

    return 365ull * (year - 1970) + (y / 4 - 492) - (y / 100 - 19) + (y / 400 - 4);
}

struct rtc_date rtc_date_from_seconds(uint64_t seconds)
{
    struct rtc_date c = { .month = 1 };
    uint64_t days;
    unsigned in_day;

    seconds = MIN(seconds, LAST_SECOND);
    days = seconds / DAY;
    in_day = (unsigned)(seconds % DAY);
    c.hour = in_day / 3600;
    c.minute = in_day / 60 % 60;
    c.second = in_day % 60;
    c.weekday = (unsigned)((days + 4) % 7) + 1;         /* 1970 began with a Thursday */
    c.year = 1970 + (unsigned)(days / 366);             /* never too late; at most 6 years too early */
    while (days_to_year(c.year + 1) <= days)
        c.year++;
    days -= days_to_year(c.year);
    while (days >= days_in_month(c.year, c.month))
        days -= days_in_month(c.year, c.month++);
    c.day = (unsigned)days + 1;
    return c;
}

static unsigned clamp(unsigned v, unsigned low, unsigned high)
{
    return v < low ? low : MIN(v, high);
}

uint64_t rtc_date_to_seconds(const struct rtc_date *c)
{
    unsigned year = clamp(c->year, 1970, LAST_YEAR), month = clamp(c->month, 1, 12);
    uint64_t days = days_to_year(year) + clamp(c->day, 1, days_in_month(year, month)) - 1;

    for (unsigned m = 1; m < month; m++)
        days += days_in_month(year, m);
    return days * DAY + clamp(c->hour, 0, 23) * 3600 + clamp(c->minute, 0, 59) * 60 + clamp(c->second, 0, 59);
}
