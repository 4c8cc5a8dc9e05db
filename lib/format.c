/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/format.h"

#include <stdbool.h>
#include <stdint.h>

#include "lib/string.h"

struct out {
    char *buf;
    size_t size, len;
};

/* One conversion: %[-0#][width][.precision][length]conv. precision < 0: not given. */
struct spec {
    bool left, zero, prefix;
    int width, precision;
    unsigned bytes; /* size of the integer argument */
    char conv;
};

static void put(struct out *out, char c)
{
    if (out->len + 1 < out->size)
        out->buf[out->len] = c;
    out->len++;
}

static void put_many(struct out *out, char c, int n)
{
    while (n-- > 0)
        put(out, c);
}

/* Prefix (a sign or 0x), then zeros up to the precision or, with the flag 0, the width; then the digits. */
static void put_padded(struct out *out, const struct spec *s, const char *prefix, const char *body, int len, int zeros)
{
    int fill = s->width - (int)strlen(prefix) - len - zeros;

    if (!s->left)
        put_many(out, ' ', fill);
    for (; *prefix; prefix++)
        put(out, *prefix);
    put_many(out, '0', zeros);
    for (int i = 0; i < len; i++)
        put(out, body[i]);
    if (s->left)
        put_many(out, ' ', fill);
}

static void put_number(struct out *out, const struct spec *s, uint64_t value, unsigned base, const char *prefix)
{
    const char *digits = s->conv == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    char text[24];
    int len = 0, zeros = 0;

    for (uint64_t v = value; v; v /= base)
        text[sizeof(text) - (size_t)++len] = digits[v % base];
    if (s->precision >= 0)
        zeros = s->precision - len;
    else if (s->zero && !s->left)
        zeros = s->width - (int)strlen(prefix) - len;
    if (s->precision < 0 && !len && zeros < 1)
        zeros = 1;
    put_padded(out, s, prefix, text + sizeof(text) - (size_t)len, len, zeros > 0 ? zeros : 0);
}

static void put_string(struct out *out, const struct spec *s, const char *text)
{
    size_t max = s->precision >= 0 ? (size_t)s->precision : SIZE_MAX;

    if (!text)
        text = "(null)";
    put_padded(out, s, "", text, (int)strnlen(text, max), 0);
}

/* The arguments, boxed so that functions can take from the list. */
struct args {
    va_list ap;
};

static uint64_t take_unsigned(struct args *a, const struct spec *s)
{
    if (s->bytes == 8)
        return va_arg(a->ap, uint64_t);
    if (s->bytes == 4)
        return va_arg(a->ap, unsigned);
    return s->bytes == 2 ? (uint16_t)va_arg(a->ap, unsigned) : (uint8_t)va_arg(a->ap, unsigned);
}

static int64_t take_signed(struct args *a, const struct spec *s)
{
    if (s->bytes == 8)
        return va_arg(a->ap, int64_t);
    if (s->bytes == 4)
        return va_arg(a->ap, int);
    return s->bytes == 2 ? (int16_t)va_arg(a->ap, int) : (int8_t)va_arg(a->ap, int);
}

/* A number in the format, or '*': an argument. */
static int take_count(const char **fmt, struct args *a)
{
    int n = 0;

    if (**fmt == '*') {
        ++*fmt;
        return va_arg(a->ap, int);
    }
    for (; **fmt >= '0' && **fmt <= '9'; ++*fmt) {
        if (n < 100000)
            n = n * 10 + (**fmt - '0');
    }
    return n;
}

static unsigned parse_length(const char **fmt)
{
    unsigned bytes = 4;

    for (;; ++*fmt) {
        if (**fmt == 'h')
            bytes /= 2;
        else if (**fmt == 'l' || **fmt == 'z' || **fmt == 'j' || **fmt == 't')
            bytes = 8;
        else
            return bytes ? bytes : 1;
    }
}

static struct spec parse_spec(const char **fmt, struct args *a)
{
    struct spec s = { .precision = -1 };

    for (; **fmt == '-' || **fmt == '0' || **fmt == '#'; ++*fmt) {
        s.left |= **fmt == '-';
        s.zero |= **fmt == '0';
        s.prefix |= **fmt == '#';
    }
    s.width = take_count(fmt, a);
    if (s.width < 0) {
        s.left = true;
        s.width = -s.width;
    }
    if (**fmt == '.') {
        ++*fmt;
        s.precision = take_count(fmt, a);
    }
    s.bytes = parse_length(fmt);
    s.conv = **fmt;
    return s;
}

static void put_signed(struct out *out, const struct spec *s, int64_t value)
{
    put_number(out, s, value < 0 ? -(uint64_t)value : (uint64_t)value, 10, value < 0 ? "-" : "");
}

static void convert(struct out *out, const struct spec *s, struct args *a)
{
    char c;

    switch (s->conv) {
    case 'd':
    case 'i':
        put_signed(out, s, take_signed(a, s));
        break;
    case 'u':
        put_number(out, s, take_unsigned(a, s), 10, "");
        break;
    case 'x':
    case 'X':
        put_number(out, s, take_unsigned(a, s), 16, s->prefix ? "0x" : "");
        break;
    case 'p':
        put_number(out, s, (uint64_t)(uintptr_t)va_arg(a->ap, void *), 16, "0x");
        break;
    case 'c':
        c = (char)va_arg(a->ap, int);
        put_padded(out, s, "", &c, 1, 0);
        break;
    case 's':
        put_string(out, s, va_arg(a->ap, const char *));
        break;
    default: /* %% and what is not known show themselves */
        if (s->conv != '%')
            put(out, '%');
        put(out, s->conv);
    }
}

int format_v(char *buf, size_t size, const char *fmt, va_list ap)
{
    struct out out = { .buf = buf, .size = size };
    struct args args;

    va_copy(args.ap, ap);
    while (*fmt) {
        struct spec s;

        if (*fmt != '%') {
            put(&out, *fmt++);
            continue;
        }
        fmt++;
        s = parse_spec(&fmt, &args);
        if (!s.conv)
            break;
        fmt++;
        convert(&out, &s, &args);
    }
    va_end(args.ap);
    if (size)
        buf[out.len < size ? out.len : size - 1] = '\0';
    return (int)out.len;
}

int format(char *buf, size_t size, const char *fmt, ...)
{
    va_list ap;
    int len;

    va_start(ap, fmt);
    len = format_v(buf, size, fmt, ap);
    va_end(ap);
    return len;
}
