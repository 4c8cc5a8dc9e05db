/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "efi/config.h"
#include "efi/span.h"

/* How much of the offending text a message repeats. */
#define SHOWN 64

enum section { SECTION_NONE, SECTION_GLOBAL, SECTION_VM, SECTION_NET };

struct parser {
    const char *path;
    unsigned line;
    const char *key;           /* named in messages, NULL: none */
    enum section section;
    bool global_seen;
    const struct key *row;     /* of the table: the key that is being set */
    uint64_t keys_seen;        /* of this section: bits by row of the table */
    unsigned vm_line[CONFIG_MAX_VMS];
    struct vm_config *vm;      /* the one being filled */
    struct net_config *net;    /* likewise */
    struct config *out;
    char *err;
    size_t err_size;
};

/* Writes the message: file, line, key and what was expected. Returns -EINVAL. */
__attribute__((format(printf, 2, 3))) int config_fail(struct parser *p, const char *fmt, ...);

/* What holds for a VM where the file says nothing; for the machine: efi/config.h. */
void config_vm_defaults(struct vm_config *vm);

/* Letters, digits, '_', '.' and '-'. */
bool config_is_name(struct span t);

/* A vif; at the end: its address is no other's, and it gets one if it has none. -EINVAL. */
int config_set_vif(struct parser *p, const char *value);
int config_check_vifs(struct parser *p, struct vm_config *vm);

/* segment = ... of a VM; at the end, whether it goes with its share = and with what earlier VMs say. -EINVAL. */
int config_set_segment(struct parser *p, const char *value);
int config_check_segments(struct parser *p, const struct vm_config *vm);

/* A name of letters, digits, '_', '.' and '-', for a section of this kind. -EINVAL. */
int config_check_name(struct parser *p, const char *kind, struct span name);

/* [net NAME], and its keys. -EINVAL. */
int config_begin_net(struct parser *p, struct span name);
int config_set_uplink(struct parser *p, const char *value);

/* KEY = VALUE in the section the parser is in. -EINVAL. */
int config_set(struct parser *p, struct span name, struct span value);
