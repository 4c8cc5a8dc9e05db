/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "efi/options.h"

#include "efi/span.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"

#define CFG      "-cfg="
#define DISKS    "-selftest=disks"
#define NET      "-selftest=net"
#define SCRATCH  "-scratch="

/* Length of the word at s; blanks inside double quotes belong to it. */
static size_t word_length(const char *s)
{
    bool quoted = false;
    size_t n = 0;

    for (; s[n] && (quoted || !is_blank(s[n])); n++)
        if (s[n] == '"')
            quoted = !quoted;
    return n;
}

static int take_path(const char *s, size_t n, char *cfg, size_t cfg_size, char *err, size_t err_size)
{
    size_t out = 0;

    for (size_t i = 0; i < n; i++) {
        if (s[i] == '"')
            continue;
        if (out + 1 >= cfg_size) {
            format(err, err_size, CFG ": expected a path of at most %zu characters", cfg_size - 1);
            return -EINVAL;
        }
        cfg[out++] = s[i];
    }
    if (out == 0) {
        format(err, err_size, CFG ": expected a path such as \\EFI\\mirrorball\\mirrorball.conf, found nothing");
        return -EINVAL;
    }
    cfg[out] = '\0';
    if (strchr(cfg, ':')) {
        format(err, err_size, CFG "%s: expected a path on the volume Mirrorball came from, found ':'", cfg);
        return -EINVAL;
    }
    return 0;
}

/* DISK:SECTOR:SECTORS */
static bool take_scratch(struct span text, struct boot_selftest *test)
{
    uint64_t n[3];

    for (unsigned i = 0; i < ARRAY_SIZE(n); i++) {
        const char *colon = i < 2 ? memchr(text.s, ':', text.n) : text.s + text.n;

        if (!colon || !parse_number((struct span){ text.s, (size_t)(colon - text.s) }, &n[i]))
            return false;
        text = (struct span){ colon + 1, text.n - (size_t)(colon - text.s) - (i < 2) };
    }
    test->scratch_disk = (unsigned)MIN(n[0], (uint64_t)BOOT_MAX_DISKS);
    test->scratch = (struct extent){ n[1], n[2] };
    return n[2] != 0;
}

static bool is_word(const char *text, size_t n, const char *word)
{
    return span_is((struct span){ text, n }, word);
}

int options_parse(const char *text, char *cfg, size_t cfg_size, struct boot_selftest *test, char *err, size_t err_size)
{
    bool cfg_seen = false;

    err[0] = '\0';
    while (*text) {
        size_t n = word_length(text);

        if (strncmp(text, CFG, strlen(CFG)) == 0 && !cfg_seen) {
            int e = take_path(text + strlen(CFG), n - strlen(CFG), cfg, cfg_size, err, err_size);

            if (e)
                return e;
            cfg_seen = true;
        } else if (is_word(text, n, DISKS)) {
            test->disks = true;
        } else if (is_word(text, n, NET)) {
            test->net = true;
        } else if (strncmp(text, SCRATCH, strlen(SCRATCH)) == 0) {
            if (!take_scratch((struct span){ text + strlen(SCRATCH), n - strlen(SCRATCH) }, test)) {
                format(err, err_size, SCRATCH ": expected DISK:SECTOR:SECTORS, found \"%.*s\"", (int)MIN(n, (size_t)64),
                       text);
                return -EINVAL;
            }
        } else if (text[0] == '-') {
            format(err, err_size, "load options: expected -cfg=PATH once, found \"%.*s\"", (int)MIN(n, (size_t)64),
                   text);
            return -EINVAL;
        }
        text += n;
        while (is_blank(*text))
            text++;
    }
    return 0;
}
