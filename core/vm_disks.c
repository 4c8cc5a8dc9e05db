/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/vm_disks.h"
#include "core/loader.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "vdev/fsdax.h"

static int image_of_window(void *ctx, uint64_t n, struct hpa *page)
{
    return image_page(ctx, n, page);
}

/* The image as memory of the VM. */
static int add_window(struct vm *vm, struct image *image, const char *file)
{
    struct pmap_source source = { image_of_window, image };
    uint64_t size = ALIGN_UP(image->size, PAGE_SIZE_2M);
    struct gpa base;
    int err = pmap_add_window(&vm->pmap, FSDAX_LEAD, size, source, &base);

    if (err)
        log_warn("vm %s: disk %s: no memory for its place", vm->config->name, file);
    else
        log_info("vm %s: disk %s: persistent memory at %#lx, %lu MiB", vm->config->name, file, base.v, size / MIB);
    return err;
}

static int add_disk(struct vm *vm, const struct config_disk *c)
{
    struct image *image = image_in_memory(c->image.data, c->image.size);
    const char *file = load_file_name(c->image.path);
    struct blk_disk *d;

    if (!image || !image->size) {
        log_warn("vm %s: disk %s: %s", vm->config->name, file,
                 image ? "expected at least a sector of 512 bytes" : "there are too many images");
        return -EINVAL;
    }
    if (c->dax)
        return add_window(vm, image, file);
    d = blk_add(&vm->disks, image, file);
    d->readonly = c->readonly;
    d->share = !vm->config->share_off;
    return 0;
}

int vm_add_disks(struct vm *vm)
{
    int err = 0;

    blk_init(&vm->disks, &vm->pmap, vm->config->vcpus, vm->config->name);
    for (unsigned i = 0; i < vm->config->disks && !err; i++)
        err = add_disk(vm, &vm->config->disk[i]);
    for (unsigned i = 0; i < vm->pmap.windows && !err; i++)
        err = fsdax_label(&vm->pmap, &vm->pmap.window[i]);
    return err;
}
