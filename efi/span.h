/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/string.h"
#include "lib/types.h"

/* Pieces of the configuration's text, not terminated. Hostile until checked. */

struct span {
    const char *s;
    size_t n;
};

static inline bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static inline struct span trim(struct span t)
{
    while (t.n && is_blank(t.s[0])) {
        t.s++;
        t.n--;
    }
    while (t.n && is_blank(t.s[t.n - 1]))
        t.n--;
    return t;
}

static inline bool copy(char *dst, size_t size, struct span t)
{
    if (t.n >= size)
        return false;
    memcpy(dst, t.s, t.n);
    dst[t.n] = '\0';
    return true;
}

/* Decimal digits only. */
static inline bool parse_number(struct span t, uint64_t *out)
{
    uint64_t v = 0;

    if (t.n == 0 || t.n > 18)
        return false;
    for (size_t i = 0; i < t.n; i++) {
        if (t.s[i] < '0' || t.s[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(t.s[i] - '0');
    }
    *out = v;
    return true;
}

static inline bool number_in(const char *value, uint64_t min, uint64_t max, uint64_t *out)
{
    return parse_number((struct span){ value, strlen(value) }, out) && *out >= min && *out <= max;
}

/* Cuts the next part of a list at the comma; false after the last. */
static inline bool next_part(struct span *rest, struct span *part)
{
    const char *comma;

    if (!rest->s)
        return false;
    comma = memchr(rest->s, ',', rest->n);
    if (!comma) {
        *part = trim(*rest);
        *rest = (struct span){ NULL, 0 };
        return true;
    }
    *part = trim((struct span){ rest->s, (size_t)(comma - rest->s) });
    rest->n -= (size_t)(comma + 1 - rest->s);
    rest->s = comma + 1;
    return true;
}

static inline bool span_is(struct span t, const char *word)
{
    return t.n == strlen(word) && memcmp(t.s, word, t.n) == 0;
}
