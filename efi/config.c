/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "efi/config_parts.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"

#include <stdarg.h>

int config_fail(struct parser *p, const char *fmt, ...)
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

static bool is_printable(char c)
{
    return c >= ' ' && c <= '~';
}

static struct span before_comment(struct span t)
{
    for (size_t i = 0; i < t.n; i++)
        if ((t.s[i] == ';' && (i == 0 || is_blank(t.s[i - 1]))) || (t.s[i] == '#' && i == 0))
            return trim((struct span){ t.s, i });
    return t;
}

bool config_is_name(struct span t)
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
        return config_fail(p, "[global]: given twice, expected once");
    p->global_seen = true;
    p->section = SECTION_GLOBAL;
    return 0;
}

int config_check_name(struct parser *p, const char *kind, struct span name)
{
    if (!config_is_name(name))
        return config_fail(p, "[%s]: expected [%s NAME] with NAME of letters, digits, '_', '.' or '-', found \"%.*s\"",
                           kind, kind, (int)MIN(name.n, (size_t)SHOWN), name.s);
    if (name.n >= CONFIG_NAME_MAX)
        return config_fail(p, "[%s]: expected a name of at most %d characters, found %zu", kind, CONFIG_NAME_MAX - 1,
                           name.n);
    return 0;
}

static int begin_vm(struct parser *p, struct span name)
{
    struct config *c = p->out;
    int err = config_check_name(p, "vm", name);

    if (err)
        return err;
    for (unsigned i = 0; i < c->vms; i++)
        if (span_is(name, c->vm[i].name))
            return config_fail(p, "[vm %s]: name already used in line %u, expected another", c->vm[i].name,
                               p->vm_line[i]);
    if (c->vms == CONFIG_MAX_VMS)
        return config_fail(p, "[vm %.*s]: expected at most %d VMs", (int)name.n, name.s, CONFIG_MAX_VMS);
    p->vm_line[c->vms] = p->line;
    p->vm = &c->vm[c->vms++];
    p->section = SECTION_VM;
    copy(p->vm->name, sizeof(p->vm->name), name);
    config_vm_defaults(p->vm);
    return 0;
}

/* [KIND] or [KIND NAME] */
static bool is_kind(struct span inner, const char *kind, struct span *name)
{
    size_t n = strlen(kind);

    if (inner.n < n || memcmp(inner.s, kind, n) || (inner.n > n && !is_blank(inner.s[n])))
        return false;
    *name = trim((struct span){ inner.s + n, inner.n - n });
    return true;
}

static int parse_section(struct parser *p, struct span t)
{
    struct span inner, name;

    if (t.s[t.n - 1] != ']')
        return config_fail(p, "expected ']' at the end of the section, found \"%.*s\"",
                           (int)MIN(t.n, (size_t)SHOWN), t.s);
    inner = trim((struct span){ t.s + 1, t.n - 2 });
    p->keys_seen = 0;
    if (span_is(inner, "global"))
        return begin_global(p);
    if (is_kind(inner, "vm", &name))
        return begin_vm(p, name);
    if (is_kind(inner, "net", &name))
        return config_begin_net(p, name);
    return config_fail(p, "[%.*s]: unknown section, expected [global], [vm NAME] or [net NAME]",
                       (int)MIN(inner.n, (size_t)SHOWN), inner.s);
}

static int parse_line(struct parser *p, struct span t)
{
    const char *equals;

    t = before_comment(trim(t));
    for (size_t i = 0; i < t.n; i++)
        if (!is_printable(t.s[i]) && t.s[i] != '\t')
            return config_fail(p, "expected printable ASCII characters, found byte 0x%02x", (unsigned char)t.s[i]);
    if (t.n == 0)
        return 0;
    if (t.s[0] == '[')
        return parse_section(p, t);
    equals = memchr(t.s, '=', t.n);
    if (!equals || equals == t.s)
        return config_fail(p, "expected KEY = VALUE or [SECTION], found \"%.*s\"",
                           (int)MIN(t.n, (size_t)SHOWN), t.s);
    return config_set(p, trim((struct span){ t.s, (size_t)(equals - t.s) }),
                     trim((struct span){ equals + 1, t.n - (size_t)(equals + 1 - t.s) }));
}

static int check_vm(struct parser *p, struct vm_config *vm)
{
    if (!vm->kernel.path[0])
        return config_fail(p, "[vm %s]: kernel: missing, expected kernel = PATH", vm->name);
    if (!vm->memory_mib)
        return config_fail(p, "[vm %s]: memory: missing, expected memory = MIB", vm->name);
    for (unsigned i = 0; i < vm->disks && vm->share_off; i++)
        if (vm->disk[i].dax)
            return config_fail(p, "[vm %s]: disk: dax shares the image's pages, expected no share = off", vm->name);
    if (config_check_vifs(p, vm))
        return -EINVAL;
    return config_check_segments(p, vm);
}

/* What can only be said at the end. */
static int check_whole(struct parser *p)
{
    struct config *c = p->out;
    int err = 0;

    p->line = MAX(p->line, 1u);
    if (c->vms == 0)
        return config_fail(p, "[vm]: no VM to run, expected at least one section [vm NAME]");
    for (unsigned i = 0; i < c->vms && !err; i++) {
        p->line = p->vm_line[i];
        err = check_vm(p, &c->vm[i]);
    }
    return err;
}

static bool is_utf16(const char *text, size_t size)
{
    if (size < 2)
        return false;
    return memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0 || !text[0] != !text[1];
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
            return config_fail(p, "expected text, found a NUL byte");
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
    config_defaults(out);
    if (is_utf16(text, size)) {
        p.line = 1;
        return config_fail(&p, "expected ASCII or UTF-8 text, found UTF-16; save the file in another encoding");
    }
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        rest = (struct span){ text + 3, size - 3 };
    return parse_lines(&p, rest);
}
