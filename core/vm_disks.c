/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/vm_disks.h"
#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "core/disks.h"
#include "core/loader.h"
#include "core/sched.h"
#include "drivers/device.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "vdev/fsdax.h"

#define POLL_US 500u           /* at least so often requests that wait are looked at; mostly a transfer's end says so */

/* --- what waits ------------------------------------------------------------------------------------------------- */

/* True: some still waits. */
static bool resume(struct vm *vm)
{
    bool more = false;

    spin_lock(&vm->lock);
    if (vm->board && atomic_load(&vm->state) == VM_RUNNING && blk_resume(&vm->disks, vm->pmap.home, &more))
        board_pulse(vm->board, BOARD_GSI_DISKS);
    spin_unlock(&vm->lock);
    return more;
}

/* Not always the same one first. */
static uint64_t poll(struct device *d, uint64_t now)
{
    static unsigned turn;
    bool more = false;

    (void)d;
    turn++;
    for (unsigned i = 0; i < vm_count(); i++)
        more |= resume(vm_at((turn + i) % vm_count()));
    return more ? now + POLL_US * tsc_khz() / 1000 : DEVICE_NEVER;
}

static struct device waiting = { .name = "requests of VMs", .poll = poll };

static void wake(void) { device_wake(&waiting, 0); }

void vm_disks_init(void)
{
    struct page_counts pages;

    page_count(NUMA_MAX_NODES, &pages);
    image_set_limit(pages.total / CACHE_PART);
    transfer_set_wake(wake);
    device_add(&waiting);
}

/* On the boot processor this polls its devices. */
static void wait_for_storage(void)
{
    sched_breathe();
    cpu_pause();
}

void vm_disks_settle(struct vm *vm)
{
    while (!blk_quiet(&vm->disks))
        wait_for_storage();
}

/* --- disks of a VM that is being built -------------------------------------------------------------------------- */

static int refuse(const struct vm *vm, const char *file, int err, const char *why)
{
    log_warn("vm %s: disk %s: %s", vm->config->name, file, why);
    return err;
}

static int image_of_window(void *ctx, uint64_t n, struct hpa *page)
{
    return image_page(ctx, n, 1, false, page);
}

/* The image as memory of the VM. */
static int add_window(struct vm *vm, struct image *image, const char *file)
{
    struct pmap_source source = { image_of_window, image };
    uint64_t size = ALIGN_UP(image->size, PAGE_SIZE_2M);
    struct gpa base;
    int err;

    if (image->storage) /* a guest that touches memory cannot be made to wait */
        return refuse(vm, file, -EINVAL, "dax needs an image that is loaded into memory, and it is on a disk");
    err = pmap_add_window(&vm->pmap, FSDAX_LEAD, size, source, &base);
    if (err)
        return refuse(vm, file, err, "no memory for its place");
    log_info("vm %s: disk %s: persistent memory at %#lx, %lu MiB", vm->config->name, file, base.v, size / MIB);
    return 0;
}

static int claim(const struct vm *vm, const struct image *image, bool write, const char *file)
{
    int err = image_claim((struct image *)image, write);

    if (err == -EROFS)
        return refuse(vm, file, err, image->storage ? "it is to be written, and its disk cannot be" :
                      "it is to be written, and is not on a disk that could be");
    if (err)
        return refuse(vm, file, err, write ? "it is to be written, and another disk has the same image" :
                      "another VM has it exclusively");
    return 0;
}

/* Opens the log of a disk that has its image, doing first what the monitor wants. */
static int open_log(struct vm *vm, unsigned n, struct blk_disk *d, enum persist_how how)
{
    struct storage *storage = disks_storage(&vm->config->log[n]);
    const char *file = load_file_name(vm->config->log[n].image.path);
    bool write = how == PERSIST_COMMIT;
    char why[160];
    int err;

    if (!storage)
        return refuse(vm, file, -EINVAL, "a log has to be on a disk");
    if (write) {
        image_release(d->layer.image, false);
        err = claim(vm, d->layer.image, true, d->serial);
        if (err)
            (void)image_claim(d->layer.image, false);
        if (err)
            return err;
    }
    err = persist_open(&d->layer, storage, how, wait_for_storage, why, sizeof(why));
    if (write) {
        image_release(d->layer.image, true);
        (void)image_claim(d->layer.image, false); /* nobody else is building VMs with it: it was ours alone */
    }
    if (err)
        return refuse(vm, file, err, why);
    if (how == PERSIST_COMMIT || (how == PERSIST_RESET && !d->layer.fleeting))
        log_info("vm %s: disk %u: its log is empty now%s", vm->config->name, n,
                 write ? ", and the image has what was in it" : "");
    return 0;
}

/* Without a log, or (how) to do something with it. */
static int add_layer(struct vm *vm, unsigned n, struct image *image, const char *file)
{
    const struct config_disk *c = &vm->config->disk[n];
    enum persist_how task = vm->log_task[n], how = task == PERSIST_OPEN && c->fresh ? PERSIST_RESET : task;
    struct blk_disk *d;
    int err = claim(vm, image, c->exclusive, file);

    if (err)
        return err;
    d = blk_add(&vm->disks, image, file);
    d->readonly = c->readonly;
    d->share = !vm->config->share_off;
    d->layer.exclusive = c->exclusive;
    d->layer.fleeting = c->fresh;
    vm->log_task[n] = PERSIST_OPEN; /* whether it can be done or not: the next start is one like any other */
    return c->persist ? open_log(vm, n, d, how) : 0;
}

static int add_disk(struct vm *vm, unsigned n)
{
    const struct config_disk *c = &vm->config->disk[n];
    struct storage *storage = disks_storage(c);
    struct image *image = NULL;
    const char *file = load_file_name(c->image.path);

    if (storage)
        image = image_on(storage);
    else if (c->image.data)
        image = image_in_memory(c->image.data, c->image.size);
    else
        return refuse(vm, file, -EINVAL, "it could not be opened");
    if (!image || !image->size)
        return refuse(vm, file, -EINVAL,
                      image ? "expected at least a sector of 512 bytes" : "there are too many images");
    return c->dax ? add_window(vm, image, file) : add_layer(vm, n, image, file);
}

int vm_add_disks(struct vm *vm)
{
    int err = 0;

    blk_init(&vm->disks, &vm->pmap, vm->config->vcpus, vm->config->name);
    for (unsigned i = 0; i < vm->config->disks && !err; i++)
        err = add_disk(vm, i);
    for (unsigned i = 0; i < vm->pmap.windows && !err; i++)
        err = fsdax_label(&vm->pmap, &vm->pmap.window[i]);
    return err;
}
