/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/monitor_parts.h"
#include "lib/errno.h"
#include "lib/string.h"

static const char *mode_of(const struct blk_disk *d)
{
    if (d->layer.log)
        return d->layer.fleeting ? "cow,discard, in a log" : "cow,persist";
    return d->readonly ? "readonly" : d->layer.exclusive ? "exclusive" : "cow,discard";
}

/* VM held. */
static void print_log(const struct blk_disk *d)
{
    struct persist_figures f;

    if (!d->layer.log)
        return;
    persist_count(d->layer.log, &f);
    monitor_print("  log: %lu of %lu blocks used, %lu commits, %lu of them wrote the map; generation %lu%s\n", f.used,
                  f.blocks, f.commits, f.checkpoints, f.generation, f.failed ? "; has failed" : "");
}

/* VM held. */
static void print_disk(const struct vm *vm, unsigned n)
{
    const struct blk_disk *d = &vm->disks.disk[n];
    const struct image *image = d->layer.image;
    struct blk_counts c;

    blk_count(d, &c);
    monitor_print("vm %s, disk %u: %.*s, %s, %lu sectors, %lu blocks of the image in the cache%s\n", vm->config->name,
                  n, (int)BLK_SERIAL, d->serial, mode_of(d), image->size / 512, image->pages,
                  atomic_load(&d->stopped) ? "; has stopped" : "");
    monitor_print("  requests %lu, errors %lu; read %lu KiB, written %lu KiB\n", c.requests, c.errors, c.read / 2,
                  c.written / 2);
    monitor_print("  blocks placed %lu, copied %lu; of its own %lu\n", d->layer.placed, d->layer.copied,
                  d->layer.pages);
    if (layer_waits(&d->layer))
        monitor_print("  requests that wait %u, transfers of writes %u; blocks of the image that are being read %u, "
                      "that had errors %lu\n", blk_waiting(d), d->layer.in_flight, image->reading, image->errors);
    print_log(d);
}

/* While a VM starts its disks are not all there yet; while it goes its lock keeps what there is. */
static unsigned print_vm(struct vm *vm)
{
    unsigned disks = 0;

    spin_lock(&vm->lock);
    if (atomic_load(&vm->state) == VM_RUNNING)
        disks = vm->disks.disks;
    for (unsigned i = 0; i < disks; i++)
        print_disk(vm, i);
    spin_unlock(&vm->lock);
    return disks;
}

static void info(void)
{
    unsigned disks = 0;

    for (unsigned i = 0; i < vm_count(); i++)
        disks += print_vm(vm_at(i));
    if (disks)
        monitor_print("transfers under way for all disks: %u of %u\n", transfer_count(), TRANSFERS);
    else
        monitor_print("no VM that runs has a disk\n");
}

static bool parse_disk(const char *text, unsigned *n)
{
    *n = (unsigned)(text[0] - '0');
    return text[0] >= '0' && text[0] <= '9' && !text[1];
}

/* reset: the log is emptied; commit: it is written into the image first. */
static void change(const char *name, const char *number, enum persist_how how)
{
    struct vm *vm = vm_by_name(name);
    unsigned n;
    int err;

    if (!vm) {
        monitor_print("no VM has the name %s (see: vm list)\n", name);
        return;
    }
    err = parse_disk(number, &n) ? vm_log_task(vm, n, how) : -EINVAL;
    if (err == -EINVAL)
        monitor_print("%s has no disk %s with a log (cow,persist or cow,discard=LOG)\n", name, number);
    else if (err)
        monitor_print("%s is %s: it is done when the VM starts next (vm reset %s)\n", name, vm_state_name(vm), name);
}

void monitor_disk(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "info"))
        info();
    else if (argc == 4 && !strcmp(argv[1], "reset"))
        change(argv[2], argv[3], PERSIST_RESET);
    else if (argc == 4 && !strcmp(argv[1], "commit"))
        change(argv[2], argv[3], PERSIST_COMMIT);
    else
        monitor_print("usage: disk info, disk reset VM DISK, disk commit VM DISK\n");
}
