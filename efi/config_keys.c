/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "efi/config_parts.h"
#include "lib/log.h"
#include "lib/string.h"

struct key {
    const char *name;
    enum section section;
    bool repeatable;
    int (*set)(struct parser *p, const char *value);
    struct number {            /* of set_number: what it is, range, default, where in struct config or vm_config */
        const char *what;
        unsigned min, max, normal;
        size_t at;
    } number;
};

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
                return config_fail(p, "expected a baud rate that divides 115200, found \"%.*s\"", (int)part.n, part.s);
            c->com1_baud = (unsigned)n;
            baud = true;
        } else {
            good = false;
        }
    }
    if (!good)
        return config_fail(p, "expected com1[,BAUD] and/or gop, found \"%.*s\"", SHOWN, value);
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
        return config_fail(p, "expected auto, off or fake:N with N from 1 to %d, found \"%.*s\"",
                           CONFIG_MAX_FAKE_NODES, SHOWN, value);
    }
    return 0;
}

static int set_numa_policy(struct parser *p, const char *value)
{
    if (strcmp(value, "auto") && strcmp(value, "off"))
        return config_fail(p, "expected auto or off, found \"%.*s\"", SHOWN, value);
    p->out->policy.on = value[0] == 'a';
    return 0;
}

static int set_number(struct parser *p, const char *value)
{
    const struct number *k = &p->row->number;
    void *in = p->section == SECTION_VM ? (void *)p->vm : p->out;
    uint64_t n;

    if (!number_in(value, k->min, k->max, &n))
        return config_fail(p, "expected %s from %u to %u, found \"%.*s\"", k->what, k->min, k->max, SHOWN, value);
    *(unsigned *)((char *)in + k->at) = (unsigned)n;
    return 0;
}

static int set_apicv(struct parser *p, const char *value)
{
    if (strcmp(value, "auto") && strcmp(value, "off"))
        return config_fail(p, "expected auto or off, found \"%.*s\"", SHOWN, value);
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
    return config_fail(p, "expected error, warn, info or debug, found \"%.*s\"", SHOWN, value);
}

static int set_file(struct parser *p, struct config_file *file, const char *value)
{
    size_t n = strlen(value);

    if (n == 0)
        return config_fail(p, "expected a path such as \\guests\\vmlinuz, found nothing");
    if (n >= sizeof(file->path))
        return config_fail(p, "expected a path of at most %zu characters, found %zu", sizeof(file->path) - 1, n);
    for (size_t i = 0; i < n; i++)
        if (strchr("\"*:<>?|", value[i]))
            return config_fail(p, "expected a path on the volume Mirrorball came from, found '%c' in \"%.*s\"",
                               value[i], SHOWN, value);
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
        return config_fail(p, "expected at most %d ramdisks in a VM", CONFIG_MAX_RAMDISKS);
    return set_file(p, &p->vm->ramdisk[p->vm->ramdisks++], value);
}

static int set_extra(struct parser *p, const char *value)
{
    struct span t = { value, strlen(value) };

    if (!copy(p->vm->extra, sizeof(p->vm->extra), t))
        return config_fail(p, "expected at most %d characters, found %zu", CONFIG_EXTRA_MAX - 1, t.n);
    return 0;
}

static int set_memory(struct parser *p, const char *value)
{
    if (!number_in(value, 1, CONFIG_MEMORY_MAX_MIB, &p->vm->memory_mib))
        return config_fail(p, "expected a number of MiB from 1 to %u, found \"%.*s\"", CONFIG_MEMORY_MAX_MIB, SHOWN,
                           value);
    return 0;
}

static int set_share(struct parser *p, const char *value)
{
    struct span name = { value, strlen(value) };

    p->vm->share_off = !strcmp(value, "off");
    if (p->vm->share_off)
        return 0;
    if (!name.n || !copy(p->vm->share, sizeof(p->vm->share), name))
        return config_fail(p, "expected off or the name of a sharing domain, at most %d characters, found \"%.*s\"",
                           CONFIG_NAME_MAX - 1, SHOWN, value);
    return 0;
}

static int set_placement(struct parser *p, const char *value)
{
    static const char name[][12] = { [PLACEMENT_FOLLOW] = "follow", [PLACEMENT_FIRST_TOUCH] = "first-touch",
                                     [PLACEMENT_INTERLEAVE] = "interleave" };

    for (size_t i = 0; i < ARRAY_SIZE(name); i++) {
        if (strcmp(value, name[i]) == 0) {
            p->vm->placement = (enum placement_of)i;
            return 0;
        }
    }
    return config_fail(p, "expected follow, first-touch or interleave, found \"%.*s\"", SHOWN, value);
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
        return config_fail(p, "expected processors such as 0-2,5 or all,^0, numbers up to %d, found \"%.*s\"",
                           CONFIG_MAX_CPUS - 1, SHOWN, value);
    p->vm->cpus = set;
    return 0;
}

static int set_disks(struct parser *p, const char *value)
{
    if (strcmp(value, "auto") && strcmp(value, "firmware"))
        return config_fail(p, "expected auto or firmware, found \"%.*s\"", SHOWN, value);
    p->out->disks = value[0] == 'a' ? CONFIG_DISKS_AUTO : CONFIG_DISKS_FIRMWARE;
    return 0;
}

/* Takes the word off the end of a list if it is there. */
static bool take_last(struct span *list, const char *word)
{
    size_t n = strlen(word);
    struct span t = trim(*list);

    if (t.n <= n || memcmp(t.s + t.n - n, word, n))
        return false;
    t = trim((struct span){ t.s, t.n - n });
    if (!t.n || t.s[t.n - 1] != ',')
        return false;
    *list = (struct span){ t.s, t.n - 1 };
    return true;
}

static enum config_disk_kind kind_of_disk(struct span path)
{
    if (path.n > 10 && !memcmp(path.s, "partition=", 10))
        return CONFIG_DISK_PARTITION;
    return path.n > 5 && !memcmp(path.s, "disk=", 5) ? CONFIG_DISK_WHOLE : CONFIG_DISK_FILE;
}

static int set_disk_place(struct parser *p, struct config_disk *disk, struct span path)
{
    char text[CONFIG_PATH_MAX];

    disk->place = CONFIG_NO_PLACE;
    disk->kind = kind_of_disk(path);
    if (!copy(text, sizeof(text), path))
        return config_fail(p, "expected a path of at most %zu characters, found %zu", sizeof(text) - 1, path.n);
    return set_file(p, &disk->image, text);
}

/* True: it begins with KEY=, and *value is what follows. */
static bool has_value(struct span text, const char *key, struct span *value)
{
    size_t n = strlen(key);

    if (text.n <= n || memcmp(text.s, key, n) || text.s[n] != '=')
        return false;
    *value = trim((struct span){ text.s + n + 1, text.n - n - 1 });
    return true;
}

/* cow,discard, cow,discard=WHAT, cow,persist=WHAT, exclusive, readonly or dax; *log: where the WHAT is. */
static bool set_disk_mode(struct config_disk *disk, struct span mode, struct span *log)
{
    struct span word = { "", 0 }, rest = mode;

    next_part(&rest, &word);
    if (span_is(word, "cow") && rest.s) {
        rest = trim(rest);
        disk->fresh = has_value(rest, "discard", log);
        disk->persist = disk->fresh || has_value(rest, "persist", log);
        return disk->persist || span_is(rest, "discard");
    }
    disk->readonly = span_is(word, "readonly");
    disk->dax = span_is(word, "dax");
    disk->exclusive = span_is(word, "exclusive");
    return (disk->readonly || disk->dax || disk->exclusive) && !rest.s;
}

/* WHAT,MODE; WHAT is PATH, partition=PARTUUID or disk=NUMBER; ,memory at the end. */
static int set_disk(struct parser *p, const char *value)
{
    struct span mode = { value, strlen(value) }, path = { "", 0 }, log = path;
    struct config_disk *disk;
    int err;

    if (p->vm->disks == CONFIG_MAX_DISKS)
        return config_fail(p, "expected at most %d disks in a VM", CONFIG_MAX_DISKS);
    disk = &p->vm->disk[p->vm->disks++];
    disk->memory = take_last(&mode, "memory");
    next_part(&mode, &path);
    if (!set_disk_mode(disk, mode, &log))
        return config_fail(p, "expected PATH,cow,discard, PATH,cow,discard=PATH, PATH,cow,persist=PATH, "
                           "PATH,exclusive, PATH,readonly or PATH,dax, found \"%.*s\"", SHOWN, value);
    err = set_disk_place(p, disk, path);
    if (!err && disk->persist)
        err = set_disk_place(p, &p->vm->log[disk - p->vm->disk], log);
    if (err)
        return err;
    if (disk->kind != CONFIG_DISK_FILE && (disk->dax || disk->memory))
        return config_fail(p, "expected the path of a file with dax or memory, found \"%.*s\"", SHOWN, value);
    if (disk->exclusive && disk->memory)
        return config_fail(p, "exclusive writes to where the image is, expected no memory, found \"%.*s\"", SHOWN,
                           value);
    disk->memory |= disk->dax;
    return 0;
}

#define CONFIG_NUMBER(member, ...) SECTION_GLOBAL, false, set_number, { __VA_ARGS__, offsetof(struct config, member) }
#define VM_NUMBER(member, ...)     SECTION_VM, false, set_number, { __VA_ARGS__, offsetof(struct vm_config, member) }

static const struct key keys[] = {
    { "console",         SECTION_GLOBAL, false, set_console, { 0 } },
    { "log",             SECTION_GLOBAL, false, set_log, { 0 } },
    { "apicv",           SECTION_GLOBAL, false, set_apicv, { 0 } },
    { "disks",           SECTION_GLOBAL, false, set_disks, { 0 } },
    { "overcommit",      CONFIG_NUMBER(overcommit, "a percentage", 100, CONFIG_MAX_OVERCOMMIT, 100) },
    { "scan",            CONFIG_NUMBER(scan, "a number of pages a second", 0, CONFIG_MAX_SCAN, CONFIG_DEFAULT_SCAN) },
    { "numa",            SECTION_GLOBAL, false, set_numa, { 0 } },
    { "numa-policy",     SECTION_GLOBAL, false, set_numa_policy, { 0 } },
    { "numa-interval",   CONFIG_NUMBER(policy.interval_ms, "a number", 1, 60000, 100) },
    { "numa-sample",     CONFIG_NUMBER(policy.rate, "a number", 1, 10000000, 200000) },
    { "numa-window",     CONFIG_NUMBER(policy.window, "a number", 1, POLICY_MAX_COUNT, 2) },
    { "numa-moves",      CONFIG_NUMBER(policy.moves, "a number", 0, 1000000, 20000) },
    { "numa-page-moves", CONFIG_NUMBER(policy.page_moves, "a number", 0, POLICY_MAX_COUNT, 4) },
    { "numa-reset",      CONFIG_NUMBER(policy.reset_s, "a number", 1, 3600, 10) },
    { "kernel",          SECTION_VM, false, set_kernel, { 0 } },
    { "ramdisk",         SECTION_VM, true, set_ramdisk, { 0 } },
    { "extra",           SECTION_VM, false, set_extra, { 0 } },
    { "memory",          SECTION_VM, false, set_memory, { 0 } },
    { "share",           SECTION_VM, false, set_share, { 0 } },
    { "placement",       SECTION_VM, false, set_placement, { 0 } },
    { "vcpus",           VM_NUMBER(vcpus, "a number of processors", 1, CONFIG_MAX_VCPUS, 1) },
    { "weight",          VM_NUMBER(weight, "a number", 1, CONFIG_MAX_WEIGHT, CONFIG_DEFAULT_WEIGHT) },
    { "cpus",            SECTION_VM, false, set_cpus, { 0 } },
    { "disk",            SECTION_VM, true, set_disk, { 0 } },
    { "segment",         SECTION_VM, true, config_set_segment, { 0 } },
    { "vif",             SECTION_VM, true, config_set_vif, { 0 } },
    { "uplink",          SECTION_NET, false, config_set_uplink, { 0 } },
};
_Static_assert(ARRAY_SIZE(keys) <= 64, "struct parser, keys_seen");

static int unknown_key(struct parser *p)
{
    if (p->section == SECTION_GLOBAL)
        return config_fail(p, "unknown key, expected console, numa, numa-..., overcommit, scan, log, apicv or disks "
                           "in [global]");
    if (p->section == SECTION_NET)
        return config_fail(p, "unknown key, expected uplink in [net NAME]");
    return config_fail(p, "unknown key, expected kernel, ramdisk, extra, memory, share, placement, vcpus, weight, "
                       "cpus, disk, segment or vif in [vm NAME]");
}

static void number_defaults(enum section section, void *in)
{
    for (const struct key *k = keys; k < keys + ARRAY_SIZE(keys); k++)
        if (k->section == section && k->set == set_number)
            *(unsigned *)((char *)in + k->number.at) = k->number.normal;
}

void config_defaults(struct config *c)
{
    memset(c, 0, sizeof(*c));
    c->console_com1 = true;
    c->com1_baud = 115200;
    c->log_level = LOG_INFO;
    c->apicv = true;
    c->numa = CONFIG_NUMA_AUTO;
    c->policy.on = true;
    number_defaults(SECTION_GLOBAL, c);
}

void config_vm_defaults(struct vm_config *vm)
{
    number_defaults(SECTION_VM, vm);
    memset(&vm->cpus, 0xff, sizeof(vm->cpus));
}

int config_set(struct parser *p, struct span name, struct span value)
{
    /* Longer than any key, and no shorter than any value. */
    char key_text[SHOWN + 1], value_text[CONFIG_EXTRA_MAX + CONFIG_PATH_MAX];
    int err;

    copy(key_text, sizeof(key_text), (struct span){ name.s, MIN(name.n, (size_t)SHOWN) });
    p->key = key_text;
    if (p->section == SECTION_NONE)
        return config_fail(p, "expected [global], [vm NAME] or [net NAME] before the first key");
    if (!copy(value_text, sizeof(value_text), value))
        return config_fail(p, "expected at most %d characters, found %zu", CONFIG_EXTRA_MAX - 1, value.n);
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (keys[i].section != p->section || !span_is(name, keys[i].name))
            continue;
        if (!keys[i].repeatable && (p->keys_seen & BIT(i)))
            return config_fail(p, "given twice in this section, expected once");
        p->keys_seen |= BIT(i);
        p->row = &keys[i];
        err = p->row->set(p, value_text);
        p->key = NULL;
        return err;
    }
    return unknown_key(p);
}
