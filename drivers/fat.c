/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "drivers/volume.h"

#include "lib/errno.h"
#include "lib/string.h"

/* Microsoft's "FAT32 File System Specification", version 1.03. */
#define ENTRY          32u
#define ENTRIES_MAX    65536u  /* of a directory */
#define NAME_MAX       255u
#define LONG_CHARS     13u
#define LONG_LAST      0x40u
#define LONG_ORDER     0x1fu
#define ATTR_DIRECTORY 0x10u
#define ATTR_VOLUME    0x08u
#define ATTR_LONG      0x0fu
#define FREE_AGAIN     0xe5u
#define KANJI_E5       0x05u
#define FIRST_CLUSTER  2u
#define ROOT           0u      /* no cluster: the fixed root of FAT12 and FAT16 */

struct fat {
    struct volume *v;
    unsigned bits;             /* of an entry: 12, 16 or 32 */
    uint32_t cluster_size;     /* bytes */
    uint32_t clusters;         /* numbered from FIRST_CLUSTER on */
    uint64_t table;            /* bytes from the volume's first, as are the next two */
    uint64_t root, data;
    uint32_t root_entries;     /* of the fixed root */
    uint32_t root_cluster;     /* FAT32 */
};

/* What a directory has said of a file or directory. */
struct node {
    bool directory;
    uint32_t cluster;
    uint64_t size;
};

/* A name that is put together from the entries that come before a short one. */
struct long_name {
    uint16_t text[NAME_MAX + LONG_CHARS + 1];
    unsigned next;             /* the order that has to come, 0: complete */
    bool valid;
    uint8_t checksum;
};

static bool power_of_two(uint32_t n)
{
    return n && !(n & (n - 1));
}

/* The sizes in the boot sector, which must fit each other and the volume. */
static int measure(struct fat *f, const uint8_t *b)
{
    uint32_t sector = (uint32_t)little(b + 11, 2), per_cluster = b[13], reserved = (uint32_t)little(b + 14, 2);
    uint32_t tables = b[16], total = (uint32_t)little(b + 19, 2), length = (uint32_t)little(b + 22, 2);
    uint64_t meta, need;

    f->root_entries = (uint32_t)little(b + 17, 2);
    total = total ? total : (uint32_t)little(b + 32, 4);
    length = length ? length : (uint32_t)little(b + 36, 4);
    if (!power_of_two(sector) || sector < 512 || sector > 4096 || !power_of_two(per_cluster) || !reserved || !tables ||
        !length || (uint64_t)total * sector > f->v->sectors * STORAGE_SECTOR)
        return -EINVAL;
    f->table = (uint64_t)reserved * sector;
    f->root = f->table + (uint64_t)tables * length * sector;
    f->data = ALIGN_UP(f->root + (uint64_t)f->root_entries * ENTRY, (uint64_t)sector);
    f->cluster_size = sector * per_cluster;
    meta = f->data / sector;
    if (meta >= total)
        return -EINVAL;
    f->clusters = (uint32_t)((total - meta) / per_cluster);
    f->bits = f->clusters < 4085 ? 12 : f->clusters < 65525 ? 16 : 32;
    need = ((uint64_t)f->clusters + FIRST_CLUSTER) * f->bits / 8;
    return need <= (uint64_t)length * sector ? 0 : -EINVAL;
}

static bool is_cluster(const struct fat *f, uint32_t c)
{
    return c >= FIRST_CLUSTER && c - FIRST_CLUSTER < f->clusters;
}

static int mount(struct fat *f, struct volume *v)
{
    uint8_t b[512];
    int err = volume_bytes(v, 0, b, sizeof(b));

    if (err)
        return err;
    f->v = v;
    if (b[510] != 0x55 || b[511] != 0xaa || measure(f, b))
        return -EINVAL;
    f->root_cluster = f->bits == 32 ? (uint32_t)little(b + 44, 4) : ROOT;
    return f->bits == 32 ? (f->root_entries || !is_cluster(f, f->root_cluster) ? -EINVAL : 0) :
                           (f->root_entries ? 0 : -EINVAL);
}

/* The cluster after c; 0: it is the last. -EINVAL: the chain leads nowhere. */
static int follow(struct fat *f, uint32_t c, uint32_t *next)
{
    uint32_t end = f->bits == 32 ? 0x0ffffff8u : f->bits == 16 ? 0xfff8u : 0xff8u;
    uint8_t b[4] = { 0 };
    int err = volume_bytes(f->v, f->table + (uint64_t)c * f->bits / 8, b, f->bits == 32 ? 4 : 2);
    uint32_t value = (uint32_t)little(b, 4);

    if (err)
        return err;
    if (f->bits == 12)
        value = (c & 1 ? value >> 4 : value) & 0xfff;
    else if (f->bits == 32)
        value &= 0x0fffffff;
    *next = value >= end ? 0 : value;
    return *next && !is_cluster(f, *next) ? -EINVAL : 0;
}

static uint64_t place_of(const struct fat *f, uint32_t c)
{
    return f->data + (uint64_t)(c - FIRST_CLUSTER) * f->cluster_size;
}

/* --- directories ------------------------------------------------------------------------------------------------ */

static uint8_t checksum_of(const uint8_t *short_name)
{
    uint8_t sum = 0;

    for (unsigned i = 0; i < 11; i++)
        sum = (uint8_t)((sum >> 1 | sum << 7) + short_name[i]);
    return sum;
}

static void take_long(struct long_name *name, const uint8_t *e)
{
    static const uint8_t at[LONG_CHARS] = { 1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30 };
    unsigned order = e[0] & LONG_ORDER;

    if (e[0] & LONG_LAST) {
        memset(name, 0, sizeof(*name));
        name->valid = order >= 1 && order <= (NAME_MAX + LONG_CHARS - 1) / LONG_CHARS;
        name->next = order;
        name->checksum = e[13];
    }
    if (!name->valid || order != name->next || order == 0 || e[13] != name->checksum) {
        name->valid = false;
        return;
    }
    for (unsigned i = 0; i < LONG_CHARS; i++)
        name->text[(order - 1) * LONG_CHARS + i] = (uint16_t)little(e + at[i], 2);
    name->next--;
}

static char folded(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

static bool same_long(const struct long_name *name, const uint8_t *e, const char *part, size_t n)
{
    if (!name->valid || name->next || name->checksum != checksum_of(e) || n > NAME_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (name->text[i] > 0x7e || folded((char)name->text[i]) != folded(part[i]))
            return false;
    return name->text[n] == 0;
}

static bool same_short(const uint8_t *e, const char *part, size_t n)
{
    char text[12];
    size_t length = 0;

    for (unsigned i = 0; i < 11; i++) {
        if (i == 8 && e[8] != ' ')
            text[length++] = '.';
        if (e[i] != ' ')
            text[length++] = (char)(i == 0 && e[i] == KANJI_E5 ? FREE_AGAIN : e[i]);
    }
    if (length != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (folded(text[i]) != folded(part[i]))
            return false;
    return true;
}

static struct node node_of(const struct fat *f, const uint8_t *e)
{
    uint32_t high = f->bits == 32 ? (uint32_t)little(e + 20, 2) : 0;

    return (struct node){ .directory = e[11] & ATTR_DIRECTORY, .cluster = high << 16 | (uint32_t)little(e + 26, 2),
                          .size = little(e + 28, 4) };
}

/* One entry. 1: it is the one; 0: go on; -ENOENT: there are no more. */
static int look_at(const struct fat *f, const uint8_t *e, struct long_name *name, const char *part, size_t n,
                   struct node *out)
{
    if (e[0] == 0)
        return -ENOENT;
    if (e[0] == FREE_AGAIN) {
        name->valid = false;
    } else if ((e[11] & ATTR_LONG) == ATTR_LONG) {
        take_long(name, e);
    } else {
        bool same = !(e[11] & ATTR_VOLUME) && (same_long(name, e, part, n) || same_short(e, part, n));

        name->valid = false;
        if (same) {
            *out = node_of(f, e);
            return 1;
        }
    }
    return 0;
}

/* Entries in a row. */
static int search_run(struct fat *f, uint64_t at, uint32_t entries, struct long_name *name, const char *part, size_t n,
                      struct node *out)
{
    for (uint32_t i = 0; i < entries; i++) {
        uint8_t e[ENTRY];
        int err = volume_bytes(f->v, at + (uint64_t)i * ENTRY, e, sizeof(e));

        if (!err)
            err = look_at(f, e, name, part, n, out);
        if (err)
            return err;
    }
    return 0;
}

static int search(struct fat *f, uint32_t cluster, const char *part, size_t n, struct node *out)
{
    uint32_t per_cluster = f->cluster_size / ENTRY;
    struct long_name name = { .valid = false };
    int err = 0;

    if (cluster == ROOT) {
        err = search_run(f, f->root, f->root_entries, &name, part, n, out);
        return err == 1 ? 0 : err ? err : -ENOENT;
    }
    /* The number of entries also ends a chain that is a loop. */
    for (uint32_t seen = 0; cluster && seen < ENTRIES_MAX; seen += per_cluster) {
        err = search_run(f, place_of(f, cluster), per_cluster, &name, part, n, out);
        if (!err)
            err = follow(f, cluster, &cluster);
        if (err)
            return err == 1 ? 0 : err;
    }
    return -ENOENT;
}

static bool is_slash(char c)
{
    return c == '\\' || c == '/';
}

static int walk(struct fat *f, const char *path, struct node *node)
{
    *node = (struct node){ .directory = true, .cluster = f->root_cluster };
    for (;;) {
        size_t n = 0;
        int err;

        while (is_slash(*path))
            path++;
        if (!*path)
            return 0;
        while (path[n] && !is_slash(path[n]))
            n++;
        if (!node->directory)
            return -ENOENT;
        err = search(f, node->cluster, path, n, node);
        if (err)
            return err;
        if (node->directory && node->cluster && !is_cluster(f, node->cluster))
            return -EINVAL;
        if (node->directory && !node->cluster) /* ".." of a directory in the root */
            node->cluster = f->root_cluster;
        path += n;
    }
}

/* --- files ------------------------------------------------------------------------------------------------------ */

/* Clusters in a row become one piece. A chain longer than the file is cut, one that is shorter is damaged. */
static int pieces(struct fat *f, const struct node *node, int (*found)(void *ctx, struct extent e), void *ctx)
{
    uint64_t left = node->size / STORAGE_SECTOR, per_cluster = f->cluster_size / STORAGE_SECTOR;
    struct extent run = { 0, 0 };
    uint32_t c = node->cluster;
    int err = 0;

    while (left && !err) {
        uint64_t sector, n = MIN(per_cluster, left);

        if (!is_cluster(f, c))
            return -EINVAL;
        sector = place_of(f, c) / STORAGE_SECTOR;
        if (run.sectors && run.sector + run.sectors != sector) {
            err = found(ctx, run);
            run.sectors = 0;
        }
        if (!run.sectors)
            run.sector = sector;
        run.sectors += n;
        left -= n;
        if (left && !err)
            err = follow(f, c, &c);
    }
    return err || !run.sectors ? err : found(ctx, run);
}

int fat_find(struct volume *v, const char *path, int (*found)(void *ctx, struct extent e), void *ctx, uint64_t *bytes)
{
    struct fat f = { .v = v };
    struct node node;
    int err = mount(&f, v);

    if (!err)
        err = walk(&f, path, &node);
    if (err)
        return err;
    if (node.directory || (uint64_t)f.clusters * f.cluster_size < node.size)
        return -EINVAL;
    *bytes = node.size;
    return pieces(&f, &node, found, ctx);
}
