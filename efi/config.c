/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "efi/config.h"

#include "lib/errno.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"

#include <stdarg.h>

/* How much of the offending text a message repeats. */
#define SHOWN 64

enum section { SECTION_NONE, SECTION_GLOBAL, SECTION_VM };

struct parser {
    const char *path;
    unsigned line;
    const char *key;           /* named in messages, NULL: none */
    enum section section;
    bool global_seen;
    uint32_t keys_seen;        /* of this section: bits by row of the table */
    unsigned vm_line[CONFIG_MAX_VMS];
    struct vm_config *vm;      /* the one being filled */
    struct config *out;
    char *err;
    size_t err_size;
};

struct span {
    const char *s;
    size_t n;
};

struct key {
    const char *name;
    enum section section;
    bool repeatable;
    int (*set)(struct parser *p, const char *value);
};

__attribute__((format(printf, 2, 3))) static int fail(struct parser *p, const char *fmt, ...)
{
    va_list ap;
    int n = format(p->err, p->err_size, "%s:%u: ", p->path, p->line);

    if (p->key && (size_t)n < p->err_size)
        n += format(p->err + n, p->err_size - n, "%s: ", p->key);
    if ((size_t)n < p->err_size) {
        va_start(ap, fmt);
        format_v(p->err + n, p->err_size - n, fmt, ap);
        va_end(ap);
    }
    return -EINVAL;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_printable(char c)
{
    return c >= ' ' && c <= '~';
}

static struct span trim(struct span t)
{
    while (t.n && is_blank(t.s[0])) {
        t.s++;
        t.n--;
    }
    while (t.n && is_blank(t.s[t.n - 1]))
        t.n--;
    return t;
}

static struct span before_comment(struct span t)
{
    for (size_t i = 0; i < t.n; i++)
        if ((t.s[i] == ';' && (i == 0 || is_blank(t.s[i - 1]))) || (t.s[i] == '#' && i == 0))
            return trim((struct span){ t.s, i });
    return t;
}

static bool copy(char *dst, size_t size, struct span t)
{
    if (t.n >= size)
        return false;
    memcpy(dst, t.s, t.n);
    dst[t.n] = '\0';
    return true;
}

/* Decimal digits only. */
static bool parse_number(struct span t, uint64_t *out)
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

static bool number_in(const char *value, uint64_t min, uint64_t max, uint64_t *out)
{
    return parse_number((struct span){ value, strlen(value) }, out) && *out >= min && *out <= max;
}

/* Cuts the next part of a list at the comma; false after the last. */
static bool next_part(struct span *rest, struct span *part)
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

static bool span_is(struct span t, const char *word)
{
    return t.n == strlen(word) && memcmp(t.s, word, t.n) == 0;
}

/* The 8250's clock of 115200 Hz is divided by a whole number. */
static bool is_baud(uint64_t n)
{
    return n >= 300 && n <= 115200 && 115200 % n == 0;
}

static int set_console(struct parser *p, const char *value)
{
    struct config *c = p->out;
    struct span rest = { value, strlen(value) }, part;
    bool com1 = false, gop = false, baud = false, after_com1 = false, good = true;
    uint64_t n;

    while (good && next_part(&rest, &part)) {
        if (span_is(part, "com1") && !com1) {
            com1 = after_com1 = true;
        } else if (span_is(part, "gop") && !gop) {
            gop = true;
            after_com1 = false;
        } else if (after_com1 && !baud && parse_number(part, &n)) {
            if (!is_baud(n))
                return fail(p, "expected a baud rate that divides 115200, found \"%.*s\"", (int)part.n, part.s);
            c->com1_baud = (unsigned)n;
            baud = true;
        } else {
            good = false;
        }
    }
    if (!good)
        return fail(p, "expected com1[,BAUD] and/or gop, found \"%.*s\"", SHOWN, value);
    c->console_com1 = com1;
    c->console_gop = gop;
    return 0;
}

static int set_numa(struct parser *p, const char *value)
{
    uint64_t n;

    if (strcmp(value, "auto") == 0) {
        p->out->numa = CONFIG_NUMA_AUTO;
    } else if (strcmp(value, "off") == 0) {
        p->out->numa = CONFIG_NUMA_OFF;
    } else if (strncmp(value, "fake:", 5) == 0 && number_in(value + 5, 1, CONFIG_MAX_FAKE_NODES, &n)) {
        p->out->numa = CONFIG_NUMA_FAKE;
        p->out->numa_fake_nodes = (unsigned)n;
    } else {
        return fail(p, "expected auto, off or fake:N with N from 1 to %d, found \"%.*s\"", CONFIG_MAX_FAKE_NODES, SHOWN,
                    value);
    }
    return 0;
}

static int set_numa_policy(struct parser *p, const char *value)
{
    if (strcmp(value, "auto") && strcmp(value, "off"))
        return fail(p, "expected auto or off, found \"%.*s\"", SHOWN, value);
    p->out->policy.on = value[0] == 'a';
    return 0;
}

/* The policy's numbers: key, range, default, where it goes. */
static const struct policy_key { const char *name; unsigned min, max, normal; size_t at; } policy_keys[] = {
    { "numa-interval",   1, 60000,   100,    offsetof(struct policy_settings, interval_ms) },
    { "numa-sample",     1, 10000000, 200000, offsetof(struct policy_settings, rate) },
    { "numa-window",     1, POLICY_MAX_COUNT, 2, offsetof(struct policy_settings, window) },
    { "numa-moves",      0, 1000000, 20000,  offsetof(struct policy_settings, moves) },
    { "numa-page-moves", 0, POLICY_MAX_COUNT, 4, offsetof(struct policy_settings, page_moves) },
    { "numa-reset",      1, 3600,    10,     offsetof(struct policy_settings, reset_s) },
};

static unsigned *policy_number(struct config *c, const struct policy_key *k)
{
    return (unsigned *)((char *)&c->policy + k->at);
}

/* The parser knows which key it is at. */
static int set_policy_number(struct parser *p, const char *value)
{
    const struct policy_key *k = policy_keys;
    uint64_t n;

    while (strcmp(k->name, p->key))
        k++;
    if (!number_in(value, k->min, k->max, &n))
        return fail(p, "expected a number from %u to %u, found \"%.*s\"", k->min, k->max, SHOWN, value);
    *policy_number(p->out, k) = (unsigned)n;
    return 0;
}

static int set_apicv(struct parser *p, const char *value)
{
    if (strcmp(value, "auto") && strcmp(value, "off"))
        return fail(p, "expected auto or off, found \"%.*s\"", SHOWN, value);
    p->out->apicv = value[0] == 'a';
    return 0;
}

static int set_log(struct parser *p, const char *value)
{
    static const char level[][6] = { [LOG_ERROR] = "error", [LOG_WARN] = "warn", [LOG_INFO] = "info",
                                     [LOG_DEBUG] = "debug" };

    for (size_t i = 0; i < ARRAY_SIZE(level); i++) {
        if (strcmp(value, level[i]) == 0) {
            p->out->log_level = (int)i;
            return 0;
        }
    }
    return fail(p, "expected error, warn, info or debug, found \"%.*s\"", SHOWN, value);
}

static int set_file(struct parser *p, struct config_file *file, const char *value)
{
    size_t n = strlen(value);

    if (n == 0)
        return fail(p, "expected a path such as \\guests\\vmlinuz, found nothing");
    if (n >= sizeof(file->path))
        return fail(p, "expected a path of at most %zu characters, found %zu", sizeof(file->path) - 1, n);
    for (size_t i = 0; i < n; i++)
        if (strchr("\"*:<>?|", value[i]))
            return fail(p, "expected a path on the volume Mirrorball came from, found '%c' in \"%.*s\"", value[i],
                        SHOWN, value);
    memcpy(file->path, value, n + 1);
    return 0;
}

static int set_kernel(struct parser *p, const char *value)
{
    return set_file(p, &p->vm->kernel, value);
}

static int set_ramdisk(struct parser *p, const char *value)
{
    if (p->vm->ramdisks == CONFIG_MAX_RAMDISKS)
        return fail(p, "expected at most %d ramdisks in a VM", CONFIG_MAX_RAMDISKS);
    return set_file(p, &p->vm->ramdisk[p->vm->ramdisks++], value);
}

static int set_extra(struct parser *p, const char *value)
{
    struct span t = { value, strlen(value) };

    if (!copy(p->vm->extra, sizeof(p->vm->extra), t))
        return fail(p, "expected at most %d characters, found %zu", CONFIG_EXTRA_MAX - 1, t.n);
    return 0;
}

static int set_memory(struct parser *p, const char *value)
{
    if (!number_in(value, 1, CONFIG_MEMORY_MAX_MIB, &p->vm->memory_mib))
        return fail(p, "expected a number of MiB from 1 to %u, found \"%.*s\"", CONFIG_MEMORY_MAX_MIB, SHOWN, value);
    return 0;
}

static int set_vcpus(struct parser *p, const char *value)
{
    uint64_t n;

    if (!number_in(value, 1, CONFIG_MAX_VCPUS, &n))
        return fail(p, "expected a number of processors from 1 to %d, found \"%.*s\"", CONFIG_MAX_VCPUS, SHOWN, value);
    p->vm->vcpus = (unsigned)n;
    return 0;
}

static int set_scan(struct parser *p, const char *value)
{
    uint64_t n;

    if (!number_in(value, 0, CONFIG_MAX_SCAN, &n))
        return fail(p, "expected pages a second, at most %d, found \"%.*s\"", CONFIG_MAX_SCAN, SHOWN, value);
    p->out->scan = (unsigned)n;
    return 0;
}

static int set_overcommit(struct parser *p, const char *value)
{
    uint64_t n;

    if (!number_in(value, 100, CONFIG_MAX_OVERCOMMIT, &n))
        return fail(p, "expected a percentage from 100 to %d, found \"%.*s\"", CONFIG_MAX_OVERCOMMIT, SHOWN, value);
    p->out->overcommit = (unsigned)n;
    return 0;
}

static int set_share(struct parser *p, const char *value)
{
    struct span name = { value, strlen(value) };

    p->vm->share_off = !strcmp(value, "off");
    if (p->vm->share_off)
        return 0;
    if (!name.n || !copy(p->vm->share, sizeof(p->vm->share), name))
        return fail(p, "expected off or the name of a sharing domain, at most %d characters, found \"%.*s\"",
                    CONFIG_NAME_MAX - 1, SHOWN, value);
    return 0;
}

static int set_weight(struct parser *p, const char *value)
{
    uint64_t n;

    if (!number_in(value, 1, CONFIG_MAX_WEIGHT, &n))
        return fail(p, "expected a number from 1 to %d, found \"%.*s\"", CONFIG_MAX_WEIGHT, SHOWN, value);
    p->vm->weight = (unsigned)n;
    return 0;
}

/* N, N-M or all; with ^ in front it takes out what stands before it. */
static bool set_cpu_range(struct cpu_set *set, struct span item)
{
    bool out = item.n && item.s[0] == '^';
    struct span t = out ? trim((struct span){ item.s + 1, item.n - 1 }) : item;
    const char *dash = t.n ? memchr(t.s, '-', t.n) : NULL;
    size_t low = dash ? (size_t)(dash - t.s) : t.n;
    uint64_t first = 0, last = CONFIG_MAX_CPUS - 1;

    if (!span_is(t, "all")) {
        if (!parse_number(trim((struct span){ t.s, low }), &first))
            return false;
        last = first;
        if (dash && !parse_number(trim((struct span){ dash + 1, t.n - low - 1 }), &last))
            return false;
    }
    if (first > last || last >= CONFIG_MAX_CPUS)
        return false;
    for (uint64_t i = first; i <= last; i++)
        set->bits[i / 64] = out ? set->bits[i / 64] & ~BIT(i % 64) : set->bits[i / 64] | BIT(i % 64);
    return true;
}

static int set_cpus(struct parser *p, const char *value)
{
    struct span rest = { value, strlen(value) }, part;
    struct cpu_set set = { 0 };
    bool good = true, any = false;

    while (good && next_part(&rest, &part))
        good = set_cpu_range(&set, part);
    for (size_t i = 0; i < ARRAY_SIZE(set.bits); i++)
        any |= set.bits[i] != 0;
    if (!good || !any)
        return fail(p, "expected processors such as 0-2,5 or all,^0, numbers up to %d, found \"%.*s\"",
                    CONFIG_MAX_CPUS - 1, SHOWN, value);
    p->vm->cpus = set;
    return 0;
}

/* PATH,cow,discard or PATH,readonly */
static int set_disk(struct parser *p, const char *value)
{
    struct span mode = { value, strlen(value) }, path, word = { "", 0 }, rest;
    struct config_disk *disk;
    char text[CONFIG_PATH_MAX];

    if (p->vm->disks == CONFIG_MAX_DISKS)
        return fail(p, "expected at most %d disks in a VM", CONFIG_MAX_DISKS);
    disk = &p->vm->disk[p->vm->disks++];
    next_part(&mode, &path);
    rest = mode;
    next_part(&rest, &word);
    disk->readonly = span_is(word, "readonly") && !rest.s;
    if (!disk->readonly && !(span_is(word, "cow") && rest.s && span_is(trim(rest), "discard")))
        return fail(p, "expected PATH,cow,discard or PATH,readonly, found \"%.*s\"", SHOWN, value);
    if (!copy(text, sizeof(text), path))
        return fail(p, "expected a path of at most %zu characters, found %zu", sizeof(text) - 1, path.n);
    return set_file(p, &disk->image, text);
}

static int set_vif(struct parser *p, const char *value)
{
    (void)value;
    return fail(p, "this version has no virtual network, expected no such line");
}

static const struct key keys[] = {
    { "console", SECTION_GLOBAL, false, set_console },
    { "numa",    SECTION_GLOBAL, false, set_numa    },
    { "numa-policy", SECTION_GLOBAL, false, set_numa_policy },
    { "numa-interval", SECTION_GLOBAL, false, set_policy_number },
    { "numa-sample", SECTION_GLOBAL, false, set_policy_number },
    { "numa-window", SECTION_GLOBAL, false, set_policy_number },
    { "numa-moves", SECTION_GLOBAL, false, set_policy_number },
    { "numa-page-moves", SECTION_GLOBAL, false, set_policy_number },
    { "numa-reset", SECTION_GLOBAL, false, set_policy_number },
    { "log",     SECTION_GLOBAL, false, set_log     },
    { "apicv",   SECTION_GLOBAL, false, set_apicv   },
    { "kernel",  SECTION_VM,     false, set_kernel  },
    { "ramdisk", SECTION_VM,     true,  set_ramdisk },
    { "extra",   SECTION_VM,     false, set_extra   },
    { "overcommit", SECTION_GLOBAL, false, set_overcommit },
    { "scan",    SECTION_GLOBAL, false, set_scan    },
    { "memory",  SECTION_VM,     false, set_memory  },
    { "share",   SECTION_VM,     false, set_share   },
    { "vcpus",   SECTION_VM,     false, set_vcpus   },
    { "weight",  SECTION_VM,     false, set_weight  },
    { "cpus",    SECTION_VM,     false, set_cpus    },
    { "disk",    SECTION_VM,     true,  set_disk    },
    { "vif",     SECTION_VM,     true,  set_vif     },
};

static int unknown_key(struct parser *p)
{
    if (p->section == SECTION_GLOBAL)
        return fail(p, "unknown key, expected console, numa, numa-..., overcommit, scan, log or apicv in [global]");
    return fail(p, "unknown key, expected kernel, ramdisk, extra, memory, share, vcpus, weight, cpus, disk or vif in "
                "[vm NAME]");
}

static int parse_key(struct parser *p, struct span name, struct span value)
{
    /* Longer than any key, and no shorter than any value. */
    char key_text[SHOWN + 1], value_text[CONFIG_EXTRA_MAX + CONFIG_PATH_MAX];
    int err;

    copy(key_text, sizeof(key_text), (struct span){ name.s, MIN(name.n, (size_t)SHOWN) });
    p->key = key_text;
    if (p->section == SECTION_NONE)
        return fail(p, "expected [global] or [vm NAME] before the first key");
    if (!copy(value_text, sizeof(value_text), value))
        return fail(p, "expected at most %d characters, found %zu", CONFIG_EXTRA_MAX - 1, value.n);
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (keys[i].section != p->section || !span_is(name, keys[i].name))
            continue;
        if (!keys[i].repeatable && (p->keys_seen & BIT(i)))
            return fail(p, "given twice in this section, expected once");
        p->keys_seen |= (uint32_t)BIT(i);
        err = keys[i].set(p, value_text);
        p->key = NULL;
        return err;
    }
    return unknown_key(p);
}

static bool is_name(struct span t)
{
    for (size_t i = 0; i < t.n; i++) {
        char c = t.s[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');

        if (!letter && !(c >= '0' && c <= '9') && !(c != '\0' && strchr("_.-", c)))
            return false;
    }
    return t.n > 0;
}

static int begin_global(struct parser *p)
{
    if (p->global_seen)
        return fail(p, "[global]: given twice, expected once");
    p->global_seen = true;
    p->section = SECTION_GLOBAL;
    return 0;
}

static int begin_vm(struct parser *p, struct span name)
{
    struct config *c = p->out;

    if (!is_name(name))
        return fail(p, "[vm]: expected [vm NAME] with NAME of letters, digits, '_', '.' or '-', found \"%.*s\"",
                    (int)MIN(name.n, (size_t)SHOWN), name.s);
    if (name.n >= CONFIG_NAME_MAX)
        return fail(p, "[vm]: expected a name of at most %d characters, found %zu", CONFIG_NAME_MAX - 1, name.n);
    for (unsigned i = 0; i < c->vms; i++)
        if (span_is(name, c->vm[i].name))
            return fail(p, "[vm %s]: name already used in line %u, expected another", c->vm[i].name, p->vm_line[i]);
    if (c->vms == CONFIG_MAX_VMS)
        return fail(p, "[vm %.*s]: expected at most %d VMs", (int)name.n, name.s, CONFIG_MAX_VMS);
    p->vm_line[c->vms] = p->line;
    p->vm = &c->vm[c->vms++];
    p->section = SECTION_VM;
    copy(p->vm->name, sizeof(p->vm->name), name);
    p->vm->vcpus = 1;
    p->vm->weight = CONFIG_DEFAULT_WEIGHT;
    memset(&p->vm->cpus, 0xff, sizeof(p->vm->cpus));
    return 0;
}

static int parse_section(struct parser *p, struct span t)
{
    struct span inner;

    if (t.s[t.n - 1] != ']')
        return fail(p, "expected ']' at the end of the section, found \"%.*s\"", (int)MIN(t.n, (size_t)SHOWN), t.s);
    inner = trim((struct span){ t.s + 1, t.n - 2 });
    p->keys_seen = 0;
    if (span_is(inner, "global"))
        return begin_global(p);
    if (span_is(inner, "vm") || (inner.n > 2 && memcmp(inner.s, "vm", 2) == 0 && is_blank(inner.s[2])))
        return begin_vm(p, trim((struct span){ inner.s + 2, inner.n - 2 }));
    return fail(p, "[%.*s]: unknown section, expected [global] or [vm NAME]", (int)MIN(inner.n, (size_t)SHOWN),
                inner.s);
}

static int parse_line(struct parser *p, struct span t)
{
    const char *equals;

    t = before_comment(trim(t));
    for (size_t i = 0; i < t.n; i++)
        if (!is_printable(t.s[i]) && t.s[i] != '\t')
            return fail(p, "expected printable ASCII characters, found byte 0x%02x", (unsigned char)t.s[i]);
    if (t.n == 0)
        return 0;
    if (t.s[0] == '[')
        return parse_section(p, t);
    equals = memchr(t.s, '=', t.n);
    if (!equals || equals == t.s)
        return fail(p, "expected KEY = VALUE or [SECTION], found \"%.*s\"", (int)MIN(t.n, (size_t)SHOWN), t.s);
    return parse_key(p, trim((struct span){ t.s, (size_t)(equals - t.s) }),
                     trim((struct span){ equals + 1, t.n - (size_t)(equals + 1 - t.s) }));
}

/* What can only be said at the end. */
static int check_whole(struct parser *p)
{
    struct config *c = p->out;

    p->line = MAX(p->line, 1u);
    if (c->vms == 0)
        return fail(p, "[vm]: no VM to run, expected at least one section [vm NAME]");
    for (unsigned i = 0; i < c->vms; i++) {
        p->line = p->vm_line[i];
        if (!c->vm[i].kernel.path[0])
            return fail(p, "[vm %s]: kernel: missing, expected kernel = PATH", c->vm[i].name);
        if (!c->vm[i].memory_mib)
            return fail(p, "[vm %s]: memory: missing, expected memory = MIB", c->vm[i].name);
    }
    return 0;
}

static bool is_utf16(const char *text, size_t size)
{
    if (size < 2)
        return false;
    return memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0 || !text[0] != !text[1];
}

static void set_defaults(struct config *c)
{
    memset(c, 0, sizeof(*c));
    c->console_com1 = true;
    c->com1_baud = 115200;
    c->log_level = LOG_INFO;
    c->apicv = true;
    c->numa = CONFIG_NUMA_AUTO;
    c->overcommit = 100;
    c->scan = CONFIG_DEFAULT_SCAN;
    c->policy.on = true;
    for (size_t i = 0; i < ARRAY_SIZE(policy_keys); i++)
        *policy_number(c, &policy_keys[i]) = policy_keys[i].normal;
}

static int parse_lines(struct parser *p, struct span rest)
{
    while (rest.n) {
        const char *end = memchr(rest.s, '\n', rest.n);
        size_t n = end ? (size_t)(end - rest.s) : rest.n;
        struct span t = { rest.s, n };
        int err;

        p->line++;
        if (memchr(t.s, '\0', t.n))
            return fail(p, "expected text, found a NUL byte");
        if (t.n && t.s[t.n - 1] == '\r')
            t.n--;
        err = parse_line(p, t);
        if (err)
            return err;
        n += end != NULL;
        rest.s += n;
        rest.n -= n;
    }
    return check_whole(p);
}

int config_parse(const char *path, const char *text, size_t size, struct config *out, char *err, size_t err_size)
{
    struct parser p = { .path = path, .section = SECTION_NONE, .out = out, .err = err, .err_size = err_size };
    struct span rest = { text, size };

    err[0] = '\0';
    set_defaults(out);
    if (is_utf16(text, size)) {
        p.line = 1;
        return fail(&p, "expected ASCII or UTF-8 text, found UTF-16; save the file in another encoding");
    }
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        rest = (struct span){ text + 3, size - 3 };
    return parse_lines(&p, rest);
}
