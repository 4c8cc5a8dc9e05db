/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/monitor_parts.h"
#include "lib/string.h"

static void print_disk(const struct vm *vm, unsigned n)
{
    const struct blk_disk *d = &vm->disks.disk[n];
    const struct image *image = d->layer.image;
    struct blk_counts c;

    blk_count(d, &c);
    monitor_print("vm %s, disk %u: %.*s, %s, %lu sectors, %lu blocks of the image in the cache%s\n", vm->config->name,
                  n, (int)BLK_SERIAL, d->serial, d->readonly ? "readonly" : "cow,discard", image->size / 512,
                  image->pages, atomic_load(&d->stopped) ? "; has stopped" : "");
    monitor_print("  requests %lu, errors %lu; read %lu KiB, written %lu KiB\n", c.requests, c.errors, c.read / 2,
                  c.written / 2);
    monitor_print("  blocks placed %lu, copied %lu; of its own %lu\n", d->layer.placed, d->layer.copied,
                  d->layer.pages);
}

/* While a VM starts its disks are not all there yet. What goes meanwhile leaves its figures behind. */
static unsigned print_vm(const struct vm *vm)
{
    unsigned disks = atomic_load(&vm->state) == VM_RUNNING ? vm->disks.disks : 0;

    for (unsigned i = 0; i < disks; i++)
        print_disk(vm, i);
    return disks;
}

void monitor_disk(int argc, char **argv)
{
    unsigned disks = 0;

    if (argc != 2 || strcmp(argv[1], "info")) {
        monitor_print("usage: disk info\n");
        return;
    }
    for (unsigned i = 0; i < vm_count(); i++)
        disks += print_vm(vm_at(i));
    if (!disks)
        monitor_print("no VM that runs has a disk\n");
}
