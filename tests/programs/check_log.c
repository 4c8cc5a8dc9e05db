/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "lib/errno.h"
#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_percpu.h"
#include "tests/unit/storage_fake.h"
#include "vdev/persist.h"

/*
 * check_log IMAGE LOG OUT: what a disk with this image and this log holds, by the hypervisor's own code, goes to OUT.
 * Scenario power-cuts gives it files as a power cut has left them.
 */
static struct storage disk, logs;
static struct layer layer;
static struct pmap pmap;

static void wait_a_little(void) { storage_poll(); }

static void load(struct storage *s, const char *path)
{
    FILE *f = fopen(path, "rb");
    long size;

    if (!f)
        exit(2);
    fseek(f, 0, SEEK_END);
    size = ftell(f);
    rewind(f);
    fake_storage(s, (uint64_t)size / 512);
    if (fread(s->seen, 512, (size_t)size / 512, f) != (size_t)size / 512)
        exit(2);
    fclose(f);
}

int main(int argc, char **argv)
{
    static uint8_t block[4096];
    char why[160];
    FILE *out;

    if (argc != 4)
        return 2;
    fake_percpu_enter(0);
    machine_memory(64 * MIB, 0);
    image_set_limit(16 * MIB / PAGE_SIZE);
    load(&disk, argv[1]);
    load(&logs, argv[2]);
    layer = (struct layer){ .image = image_on(&disk) };
    if (pmap_init(&pmap, 1, MIB, 1) || image_claim(layer.image, false) ||
        persist_open(&layer, &logs, PERSIST_OPEN, wait_a_little, why, sizeof(why))) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    out = fopen(argv[3], "wb");
    for (uint64_t at = 0; out && at < layer.image->size; at += sizeof(block)) {
        struct layer_wait wait = { .pending = 0 };
        struct layer_io io = { .pmap = &pmap, .wait = &wait, .ahead = sizeof(block) };
        uint64_t done = 0;
        int err;

        while ((err = layer_read(&layer, at, GPA(0), sizeof(block), &io, &done)) == -EAGAIN)
            storage_poll();
        if (err || pmap_read(&pmap, GPA(0), block, sizeof(block)) || fwrite(block, 1, sizeof(block), out) != 4096)
            return 1;
    }
    return out && !fclose(out) ? 0 : 1;
}
