/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "efi/config.h"
#include "lib/errno.h"

/* Texts of a configuration, and what is said of them: for test programs that include cmocka.h before. */
#define MINIMAL "[vm a]\nkernel = k\nmemory = 1\n"
#define VM(line) "[vm a]\nkernel = k\nmemory = 1\n" line "\n"
#define GLOBAL(line) "[global]\n" line "\n" MINIMAL

static struct config config;
static char message[512];

/* The text lies in a block of exactly its size, so that the sanitizer sees a read past its end. */
static inline int parse_n(const char *text, size_t size)
{
    char *exact = malloc(size ? size : 1);
    int err;

    memcpy(exact, text, size);
    memset(&config, 0xaa, sizeof(config));
    memset(message, 0xaa, sizeof(message));
    err = config_parse("m.conf", exact, size, &config, message, sizeof(message));
    free(exact);
    return err;
}

static inline void good(const char *text)
{
    int err = parse_n(text, strlen(text));

    if (err)
        fail_msg("refused: %s", message);
    assert_string_equal(message, "");
}

static inline void bad(const char *text, const char *expected)
{
    assert_int_equal(parse_n(text, strlen(text)), -EINVAL);
    assert_string_equal(message, expected);
}

/* A text with one place filled by n times c. */
static inline char *filled(const char *before, char c, size_t n, const char *after)
{
    size_t b = strlen(before);
    char *text = malloc(b + n + strlen(after) + 1);

    memcpy(text, before, b);
    memset(text + b, c, n);
    strcpy(text + b + n, after);
    return text;
}
