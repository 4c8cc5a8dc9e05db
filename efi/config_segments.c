/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "efi/config_parts.h"

/* NAME,MIB or NAME,MIB,ro. A name becomes that of a file in guests. */
static bool understand(struct config_segment *s, const char *value)
{
    struct span rest = { value, strlen(value) }, name = { "", 0 }, size = name, mode = name;
    uint64_t mib;

    next_part(&rest, &name);
    next_part(&rest, &size);
    s->readonly = next_part(&rest, &mode);
    if (!config_is_name(name) || name.s[0] == '.' || !copy(s->name, sizeof(s->name), name))
        return false;
    if (!parse_number(size, &mib) || !mib || mib % 2 || mib > CONFIG_MAX_SEGMENT_MIB)
        return false;
    s->mib = (unsigned)mib;
    return !rest.s && (!s->readonly || span_is(mode, "ro"));
}

int config_set_segment(struct parser *p, const char *value)
{
    struct vm_config *vm = p->vm;
    struct config_segment *s;

    if (vm->segments == CONFIG_MAX_SEGMENTS)
        return config_fail(p, "expected at most %d segments in a VM", CONFIG_MAX_SEGMENTS);
    s = &vm->segment[vm->segments];
    if (!understand(s, value))
        return config_fail(p, "expected NAME,MIB or NAME,MIB,ro with an even number of MiB up to %d and a NAME as a "
                           "VM's that does not begin with '.', found \"%.*s\"", CONFIG_MAX_SEGMENT_MIB, SHOWN, value);
    for (unsigned i = 0; i < vm->segments; i++)
        if (!strcmp(vm->segment[i].name, s->name))
            return config_fail(p, "%s: given twice in this section, expected once", s->name);
    vm->segments++;
    return 0;
}

static int check_pair(struct parser *p, const struct vm_config *vm, const struct config_segment *s,
                      const struct vm_config *other)
{
    for (unsigned i = 0; i < other->segments; i++) {
        const struct config_segment *o = &other->segment[i];

        if (strcmp(o->name, s->name))
            continue;
        if (strcmp(other->share, vm->share))
            return config_fail(p, "[vm %s]: segment: [vm %s] has %s too, expected the same share = NAME in both",
                               vm->name, other->name, s->name);
        if (o->mib != s->mib)
            return config_fail(p, "[vm %s]: segment: %s has %u MiB in [vm %s], expected the same here, found %u",
                               vm->name, s->name, o->mib, other->name, s->mib);
    }
    return 0;
}

int config_check_segments(struct parser *p, const struct vm_config *vm)
{
    int err = 0;

    if (vm->segments && !vm->share[0])
        return config_fail(p, "[vm %s]: segment: shared inside a sharing domain only, expected share = NAME", vm->name);
    for (unsigned i = 0; i < vm->segments; i++)
        for (const struct vm_config *other = p->out->vm; other < vm && !err; other++)
            err = check_pair(p, vm, &vm->segment[i], other);
    return err;
}
