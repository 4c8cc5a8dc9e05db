/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/vm_disks.h"
#include "core/loader.h"
#include "lib/errno.h"
#include "lib/log.h"

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
    return err;
}
