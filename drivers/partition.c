/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "drivers/volume.h"

#include "lib/errno.h"
#include "lib/string.h"

/* UEFI specification 2.10, chapter 5. */
#define GUID_SIZE      16u
#define GPT_SIGNATURE  0x5452415020494645ull /* "EFI PART" */
#define GPT_HEADER_MIN 92u
#define GPT_ENTRY_MIN  128u
#define GPT_ENTRY_MAX  4096u
#define GPT_ENTRIES    1024u   /* that are looked at */

#define MBR_SIGNATURE  440u    /* the disk's, four bytes */
#define MBR_TABLE      446u
#define MBR_ENTRY      16u
#define MBR_ENTRIES    4u
#define TYPE_GPT       0xeeu
#define LOGICAL_MAX    60u     /* logical partitions of an MBR, which are a chain */

struct wanted {
    bool gpt;
    uint8_t guid[GUID_SIZE];   /* as it lies on the disk */
    uint32_t signature;        /* MBR */
    unsigned number;
};

/* --- what is wanted --------------------------------------------------------------------------------------------- */

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Two digits for each byte. */
static bool hex(const char *text, uint8_t *out, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        int high = digit(text[2 * i]), low = high < 0 ? -1 : digit(text[2 * i + 1]);

        if (low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static void turn(uint8_t *p, unsigned n)
{
    for (unsigned i = 0; i < n / 2; i++) {
        uint8_t first = p[i];

        p[i] = p[n - 1 - i];
        p[n - 1 - i] = first;
    }
}

/* The first three groups of a GUID are numbers, lowest byte first on the disk. */
static bool parse_guid(const char *t, uint8_t *guid)
{
    if (strlen(t) != 36 || t[8] != '-' || t[13] != '-' || t[18] != '-' || t[23] != '-')
        return false;
    if (!hex(t, guid, 4) || !hex(t + 9, guid + 4, 2) || !hex(t + 14, guid + 6, 2) || !hex(t + 19, guid + 8, 2) ||
        !hex(t + 24, guid + 10, 6))
        return false;
    turn(guid, 4);
    turn(guid + 4, 2);
    turn(guid + 6, 2);
    return true;
}

static int parse(const char *t, struct wanted *w)
{
    uint8_t b[4], number;

    *w = (struct wanted){ .gpt = false };
    w->gpt = parse_guid(t, w->guid);
    if (w->gpt)
        return 0;
    if (strlen(t) != 11 || t[8] != '-' || !hex(t, b, 4) || !hex(t + 9, &number, 1) || !number)
        return -EINVAL;
    turn(b, 4);
    w->signature = (uint32_t)little(b, 4);
    w->number = number;
    return 0;
}

/* --- GPT -------------------------------------------------------------------------------------------------------- */

static uint32_t crc32(uint32_t crc, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return crc;
}

struct gpt {
    uint64_t table;            /* bytes */
    uint32_t entries, entry_size, table_crc;
};

/* The header at a block. */
static int read_header(struct volume *disk, uint32_t block, uint64_t at, struct gpt *g)
{
    uint8_t h[512];
    uint32_t size, crc;
    int err = volume_bytes(disk, at * block, h, sizeof(h));

    if (err)
        return err;
    size = (uint32_t)little(h + 12, 4);
    if (little(h, 8) != GPT_SIGNATURE || size < GPT_HEADER_MIN || size > sizeof(h) || little(h + 24, 8) != at)
        return -ENOENT;
    crc = (uint32_t)little(h + 16, 4);
    memset(h + 16, 0, 4);
    if (~crc32(~0u, h, size) != crc)
        return -ENOENT;
    *g = (struct gpt){ little(h + 72, 8), (uint32_t)little(h + 80, 4), (uint32_t)little(h + 84, 4),
                       (uint32_t)little(h + 88, 4) };
    if (g->entry_size < GPT_ENTRY_MIN || g->entry_size > GPT_ENTRY_MAX || g->entry_size % GPT_ENTRY_MIN ||
        !g->entries || g->entries > GPT_ENTRIES || g->table >= disk->sectors * STORAGE_SECTOR / block)
        return -ENOENT;
    g->table *= block;
    return 0;
}

/* Looks through the table; its checksum must be right. */
static int search_table(struct volume *disk, uint32_t block, const struct gpt *g, const struct wanted *w,
                        struct extent *out)
{
    uint64_t per_block = block / STORAGE_SECTOR, blocks = disk->sectors / per_block;
    uint32_t crc = ~0u;
    bool found = false;

    for (uint32_t i = 0; i < g->entries; i++) {
        for (uint32_t at = 0; at < g->entry_size; at += GPT_ENTRY_MIN) {
            uint8_t e[GPT_ENTRY_MIN];
            uint64_t first, last;
            int err = volume_bytes(disk, g->table + (uint64_t)i * g->entry_size + at, e, sizeof(e));

            if (err)
                return err == -EINVAL ? -ENOENT : err;
            crc = crc32(crc, e, sizeof(e));
            first = little(e + 32, 8);
            last = little(e + 40, 8);
            if (at || found || !(little(e, 8) | little(e + 8, 8)) || memcmp(e + 16, w->guid, GUID_SIZE) || first > last ||
                last >= blocks)
                continue;
            *out = (struct extent){ first * per_block, (last - first + 1) * per_block };
            found = true;
        }
    }
    return found && ~crc == g->table_crc ? 0 : -ENOENT;
}

static int search_gpt(struct volume *disk, uint32_t block, const struct wanted *w, struct extent *out)
{
    uint64_t blocks = disk->sectors * STORAGE_SECTOR / block;
    const uint64_t at[2] = { 1, blocks - 1 };
    int err = -ENOENT;

    for (unsigned i = 0; i < 2 && err == -ENOENT && blocks > 1; i++) {
        struct gpt g;

        err = read_header(disk, block, at[i], &g);
        if (!err)
            err = search_table(disk, block, &g, w, out);
    }
    return err;
}

/* --- MBR -------------------------------------------------------------------------------------------------------- */

struct mbr_entry { uint8_t type; uint64_t first, blocks; };

static struct mbr_entry entry_of(const uint8_t *sector, unsigned i)
{
    const uint8_t *e = sector + MBR_TABLE + i * MBR_ENTRY;

    return (struct mbr_entry){ e[4], little(e + 8, 4), little(e + 12, 4) };
}

static bool is_extended(uint8_t type)
{
    return type == 0x05 || type == 0x0f || type == 0x85;
}

static int read_mbr(struct volume *disk, uint32_t block, uint64_t at, uint8_t *sector)
{
    int err = volume_bytes(disk, at * block, sector, 512);

    if (err)
        return err == -EINVAL ? -ENOENT : err;
    return sector[510] == 0x55 && sector[511] == 0xaa ? 0 : -ENOENT;
}

static int put(const struct volume *disk, uint32_t block, struct mbr_entry e, struct extent *out)
{
    uint64_t per_block = block / STORAGE_SECTOR, blocks = disk->sectors / per_block;

    if (!e.type || !e.blocks || e.first >= blocks || e.blocks > blocks - e.first)
        return -ENOENT;
    *out = (struct extent){ e.first * per_block, e.blocks * per_block };
    return 0;
}

/* Logical partitions are numbered from 5; each link gives one, and where the next link is from the chain's start. */
static int search_logical(struct volume *disk, uint32_t block, uint64_t chain, unsigned number, struct extent *out)
{
    uint64_t link = chain;

    for (unsigned n = 5; n < 5 + LOGICAL_MAX; n++) {
        uint8_t sector[512];
        struct mbr_entry e, next;
        int err = read_mbr(disk, block, link, sector);

        if (err)
            return err;
        e = entry_of(sector, 0);
        next = entry_of(sector, 1);
        if (n == number) {
            e.first += link;
            return put(disk, block, e, out);
        }
        if (!is_extended(next.type) || !next.first)
            return -ENOENT;
        link = chain + next.first;
    }
    return -ENOENT;
}

static int search_mbr(struct volume *disk, uint32_t block, const struct wanted *w, struct extent *out)
{
    uint8_t sector[512];
    int err = read_mbr(disk, block, 0, sector);

    if (err)
        return err;
    if (little(sector + MBR_SIGNATURE, 4) != w->signature)
        return -ENOENT;
    for (unsigned i = 0; i < MBR_ENTRIES; i++) {
        struct mbr_entry e = entry_of(sector, i);

        if (e.type == TYPE_GPT)
            return -ENOENT;
        if (w->number == i + 1)
            return is_extended(e.type) ? -ENOENT : put(disk, block, e, out);
        if (w->number > MBR_ENTRIES && is_extended(e.type))
            return search_logical(disk, block, e.first, w->number, out);
    }
    return -ENOENT;
}

int partition_find(struct volume *disk, uint32_t block, const char *uuid, struct extent *out)
{
    struct wanted w;
    int err = parse(uuid, &w);

    if (err)
        return err;
    return w.gpt ? search_gpt(disk, block, &w, out) : search_mbr(disk, block, &w, out);
}
