/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/vm_segments.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "numa/segment.h"

_Static_assert(CONFIG_MAX_SEGMENTS == PMAP_SEGMENTS && CONFIG_NAME_MAX <= SEGMENT_NAME_MAX, "each has its place");
_Static_assert(CONFIG_MAX_VMS * CONFIG_MAX_SEGMENTS <= SEGMENTS_MAX, "each has its place");

static int add(struct vm *vm, const struct config_segment *c)
{
    struct segment *s = NULL;
    struct gpa base;
    int err = segment_get(c->name, c->mib * MIB, &s);

    if (!err) {
        err = pmap_add_segment(&vm->pmap, s, !c->readonly, &base);
        if (err)
            segment_drop(s);
    }
    if (err)
        log_warn("vm %s: segment %s: no memory for its place", vm->config->name, c->name);
    else
        log_info("vm %s: segment %s: %u MiB at %#lx%s", vm->config->name, c->name, c->mib, base.v,
                 c->readonly ? ", not to be written" : "");
    return err;
}

int vm_add_segments(struct vm *vm)
{
    int err = 0;

    atomic_store(&vm->rung, 0);
    for (unsigned i = 0; i < vm->config->segments && !err; i++)
        err = add(vm, &vm->config->segment[i]);
    return err;
}

/* Does a VM before this one name the segment? */
static bool named_before(const struct config *config, unsigned vms, const char *name)
{
    for (unsigned v = 0; v < vms; v++)
        for (unsigned i = 0; i < config->vm[v].segments; i++)
            if (!strcmp(config->vm[v].segment[i].name, name))
                return true;
    return false;
}

uint64_t vm_segments_size(const struct config *config)
{
    uint64_t sum = 0;

    for (unsigned v = 0; v < config->vms; v++)
        for (unsigned i = 0; i < config->vm[v].segments; i++)
            if (!named_before(config, v, config->vm[v].segment[i].name))
                sum += config->vm[v].segment[i].mib * MIB;
    return sum;
}

/*
 * Its lock keeps the board, and with it the pmap's list. While a bell has rung that the guest has not asked for, it is
 * on its way to ask: so its interrupts are never more than it has time for.
 */
static void ring_at(struct vm *vm, const struct segment *s)
{
    spin_lock(&vm->lock);
    for (unsigned i = 0; vm->board && i < vm->pmap.segments; i++)
        if (vm->pmap.segment[i].segment == s && !atomic_fetch_or(&vm->rung, BIT(i)))
            board_pulse(vm->board, BOARD_GSI_SEGMENTS);
    spin_unlock(&vm->lock);
}

void vm_ring(struct vm *from, const struct segment *s)
{
    for (unsigned i = 0; i < vm_count(); i++)
        if (vm_at(i) != from)
            ring_at(vm_at(i), s);
}

uint64_t vm_rung(struct vm *vm)
{
    return atomic_exchange(&vm->rung, 0);
}
