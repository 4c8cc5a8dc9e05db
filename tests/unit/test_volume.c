/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

/* Partition tables and FAT, as sgdisk, mkfs.fat and mtools make them, and damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drivers/volume.h"
#include "lib/errno.h"

#define DIRECTORY "build/test-volume"
#define PIECES    4096u

static uint8_t *image;
static size_t image_size;

static int read_image(void *ctx, uint64_t sector, uint32_t sectors, void *data)
{
    (void)ctx;
    assert_true(sector * 512 + sectors * 512ull <= image_size);
    memcpy(data, image + sector * 512, sectors * 512ull);
    return 0;
}

static struct volume whole(void)
{
    return (struct volume){ .read = read_image, .sectors = image_size / 512 };
}

static void shell(const char *command)
{
    if (system(command)) {
        print_error("failed: %s\n", command);
        abort();
    }
}

static void load(const char *path)
{
    FILE *f = fopen(path, "rb");

    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    image_size = (size_t)ftell(f);
    rewind(f);
    free(image);
    image = malloc(image_size);
    assert_int_equal(fread(image, 1, image_size, f), image_size);
    fclose(f);
}

struct pieces { struct extent e[PIECES]; unsigned n; };

static int found(void *ctx, struct extent e)
{
    struct pieces *p = ctx;

    assert_true(p->n < PIECES);
    p->e[p->n++] = e;
    return 0;
}

/* Finds a file and compares what its pieces hold with the host's file. */
static unsigned compare(const char *path, const char *host)
{
    static struct pieces p;
    struct volume v = whole();
    uint64_t bytes, at = 0;
    FILE *f = fopen(host, "rb");
    uint8_t buffer[512];

    p.n = 0;
    assert_non_null(f);
    assert_int_equal(fat_find(&v, path, found, &p, &bytes), 0);
    for (unsigned i = 0; i < p.n; i++) {
        assert_true(p.e[i].sectors && p.e[i].sector + p.e[i].sectors <= v.sectors);
        for (uint64_t s = 0; s < p.e[i].sectors; s++, at += 512) {
            assert_int_equal(fread(buffer, 1, 512, f), 512);
            assert_memory_equal(buffer, image + (p.e[i].sector + s) * 512, 512);
        }
    }
    fseek(f, 0, SEEK_END);
    assert_int_equal(ftell(f), bytes);
    assert_int_equal(at, bytes / 512 * 512);
    fclose(f);
    return p.n;
}

static int look(const char *path)
{
    static struct pieces p;
    struct volume v = whole();
    uint64_t bytes;

    p.n = 0;
    return fat_find(&v, path, found, &p, &bytes);
}

/* A file system of KiB with files that lie between each other, one in a directory with many entries. */
static void make_fat(unsigned bits, unsigned kib, unsigned cluster)
{
    char command[1024];

    snprintf(command, sizeof(command),
             "set -e; mkdir -p " DIRECTORY "; cd " DIRECTORY "; export MTOOLS_SKIP_CHECK=1 PATH=$PATH:/sbin:/usr/sbin;"
             "rm -f f.img; head -c %u /dev/urandom > big; head -c 20001 /dev/urandom > small; : > empty;"
             "mkfs.fat -F %u -s %u -C f.img %u > /dev/null; for i in 1 2 3 4 5 6; do mcopy -i f.img small ::/del$i; "
             "mcopy -i f.img small ::/keep$i; done; for i in 1 2 3 4 5 6; do mdel -i f.img ::/del$i; done;"
             "mmd -i f.img ::/guests ::/guests/deep; for i in $(seq 40); do mcopy -i f.img empty "
             "\"::/guests/a long name that is not short at all $i\"; done;"
             "mcopy -i f.img big '::/guests/deep/Root File System.img'; mcopy -i f.img small ::/guests/SHORT.TXT",
             kib * 1024 / 5, bits, cluster, kib);
    shell(command);
    load(DIRECTORY "/f.img");
}

static void finds_files(unsigned bits, unsigned kib, unsigned cluster)
{
    unsigned pieces;

    make_fat(bits, kib, cluster);
    pieces = compare("\\guests\\deep\\root file system.IMG", DIRECTORY "/big");
    if (bits != 32) /* mtools fills the gaps */
        assert_true(pieces > 1);
    compare("/guests//deep/../Short.txt", DIRECTORY "/small");
    compare("keep3", DIRECTORY "/small");
    assert_int_equal(look("\\guests\\none"), -ENOENT);
    assert_int_equal(look("\\del1"), -ENOENT);
    assert_int_equal(look("\\guests\\short.tx"), -ENOENT);
    assert_int_equal(look("\\keep1\\x"), -ENOENT);
    assert_int_equal(look("\\guests\\deep"), -EINVAL);
    assert_int_equal(look("\\"), -EINVAL);
    assert_int_equal(look("\\guests\\a long name that is not short at all 40"), 0);
    assert_int_equal(look("\\guests\\a long name that is not short at all 4x"), -ENOENT);
}

static void fat12(void **state) { finds_files(12, 1440, 1); }
static void fat16(void **state) { finds_files(16, 20480, 4); }
static void fat32(void **state) { finds_files(32, 40960, 1); }

/* Every byte of boot sector, table and directory wrong in turn: an error or a file, but nothing outside. */
static void damaged(void **state)
{
    make_fat(12, 1440, 1);
    for (size_t i = 0; i < 64 * 512; i++) {
        static struct pieces p;
        uint8_t old = image[i];
        struct volume v = whole();
        uint64_t bytes;

        p.n = 0;
        image[i] = (uint8_t)rand();
        if (!fat_find(&v, "\\guests\\deep\\Root File System.img", found, &p, &bytes))
            for (unsigned k = 0; k < p.n; k++)
                assert_true(p.e[k].sector < v.sectors && p.e[k].sectors <= v.sectors - p.e[k].sector);
        image[i] = old;
    }
}

static void set12(unsigned cluster, unsigned value)
{
    uint8_t *at = image + 512 + cluster * 3 / 2;

    if (cluster & 1) {
        at[0] = (uint8_t)((at[0] & 0x0f) | value << 4);
        at[1] = (uint8_t)(value >> 4);
    } else {
        at[0] = (uint8_t)value;
        at[1] = (uint8_t)((at[1] & 0xf0) | value >> 8);
    }
}

/* A directory whose chain leads back to itself, a file whose chain ends early, or leads out of the volume. */
static void loops(void **state)
{
    make_fat(12, 1440, 1);
    for (unsigned c = 2; c < 2847; c++)
        set12(c, c); /* every chain */
    assert_int_equal(look("\\guests\\none"), -ENOENT);
    for (unsigned c = 2; c < 2847; c++)
        set12(c, 0xfff);
    assert_int_equal(look("\\keep1"), -EINVAL);
    for (unsigned c = 2; c < 2847; c++)
        set12(c, 0xff0);
    assert_int_equal(look("\\keep1"), -EINVAL);
    image[19] = 0xff; /* more sectors than there are */
    image[20] = 0xff;
    assert_int_equal(look("\\keep1"), -EINVAL);
}

/* --- partitions ------------------------------------------------------------------------------------------------- */

#define UUID "4d69727f-6f72-4261-8c6c-0000000000ab"

static int find(const char *uuid, struct extent *e)
{
    struct volume v = whole();

    return partition_find(&v, 512, uuid, e);
}

static void gpt(void **state)
{
    struct extent e;

    shell("set -e; mkdir -p " DIRECTORY "; cd " DIRECTORY "; rm -f g.img; truncate -s 8M g.img; PATH=$PATH:/sbin:/usr/sbin;"
          "sgdisk --clear --set-alignment=1 --new=1:2048:4095 --new=7:5000:6999 --partition-guid=7:" UUID " g.img > /dev/null");
    load(DIRECTORY "/g.img");
    assert_int_equal(find(UUID, &e), 0);
    assert_int_equal(e.sector, 5000);
    assert_int_equal(e.sectors, 2000);
    assert_int_equal(find("4D69727F-6F72-4261-8C6C-0000000000AB", &e), 0);
    assert_int_equal(find("4d69727f-6f72-4261-8c6c-0000000000ac", &e), -ENOENT);
    assert_int_equal(find("00000000-0000-0000-0000-000000000000", &e), -ENOENT);
    assert_int_equal(find("4d69727f6f7242618c6c0000000000ab", &e), -EINVAL);
    image[2 * 512 + 6 * 128 + 32] ^= 1; /* the first table is wrong: the second is taken */
    assert_int_equal(find(UUID, &e), 0);
    assert_int_equal(e.sector, 5000);
    image[image_size - 512 + 16] ^= 1;
    assert_int_equal(find(UUID, &e), -ENOENT);
}

static void put_entry(uint8_t *sector, unsigned i, uint8_t type, uint32_t first, uint32_t sectors)
{
    uint8_t *e = sector + 446 + 16 * i;

    e[4] = type;
    memcpy(e + 8, &first, 4);
    memcpy(e + 12, &sectors, 4);
    sector[510] = 0x55;
    sector[511] = 0xaa;
}

/* A primary partition, and a chain of two logical ones. */
static void mbr(void **state)
{
    struct extent e;
    static uint8_t disk[8 << 20];

    memcpy(disk + 440, "\xef\xbe\xad\xde", 4);
    put_entry(disk, 0, 0x83, 64, 100);
    put_entry(disk, 1, 0x05, 1000, 9000);
    put_entry(disk + 1000 * 512, 0, 0x83, 100, 500);
    put_entry(disk + 1000 * 512, 1, 0x05, 1900, 900);
    put_entry(disk + 2900 * 512, 0, 0x83, 100, 700);
    free(image);
    image_size = sizeof(disk);
    image = memcpy(malloc(image_size), disk, image_size);
    assert_int_equal(find("deadbeef-01", &e), 0);
    assert_int_equal(e.sector, 64);
    assert_int_equal(e.sectors, 100);
    assert_int_equal(find("DEADBEEF-06", &e), 0);
    assert_int_equal(e.sector, 3000);
    assert_int_equal(e.sectors, 700);
    assert_int_equal(find("deadbeef-02", &e), -ENOENT);
    assert_int_equal(find("deadbeef-07", &e), -ENOENT);
    assert_int_equal(find("deadbeee-01", &e), -ENOENT);
    assert_int_equal(find("deadbeef-00", &e), -EINVAL);
    memset(image + 446 + 8, 0xff, 4); /* beyond the disk */
    assert_int_equal(find("deadbeef-01", &e), -ENOENT);
    memcpy(image + 1000 * 512 + 446 + 16, image + 446 + 16, 16); /* a chain that leads to itself */
    memset(image + 1000 * 512 + 446 + 16 + 8, 0, 4);
    assert_int_equal(find("deadbeef-06", &e), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fat12), cmocka_unit_test(fat16), cmocka_unit_test(fat32), cmocka_unit_test(damaged),
        cmocka_unit_test(loops), cmocka_unit_test(gpt), cmocka_unit_test(mbr),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
