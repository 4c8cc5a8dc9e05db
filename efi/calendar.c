/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "efi/calendar.h"

static bool is_leap(unsigned year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static unsigned days_in(unsigned year, unsigned month)
{
    static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

    return days[month - 1] + (month == 2 && is_leap(year));
}

/* Leap days in the years before this one. */
static int64_t leap_days(unsigned year)
{
    unsigned y = year - 1;

    return (int64_t)y / 4 - y / 100 + y / 400;
}

int64_t calendar_to_unix(unsigned year, unsigned month, unsigned day, unsigned hour, unsigned minute, unsigned second)
{
    int64_t days;

    if (year < 1900 || year > 9999 || month < 1 || month > 12 || day < 1 || day > days_in(year, month) || hour > 23 ||
        minute > 59 || second > 59)
        return 0;
    days = ((int64_t)year - 1970) * 365 + leap_days(year) - leap_days(1970) + day - 1;
    for (unsigned m = 1; m < month; m++)
        days += days_in(year, m);
    return days * 86400 + hour * 3600 + minute * 60 + second;
}
