/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/config.h"

#define CONFIG_MEMORY_MAX_MIB 1048576u
#define CONFIG_MAX_FAKE_NODES 8

/*
 * Reads the text of mirrorball.conf. path is only named in messages; text need not be terminated and is hostile.
 * Returns 0 with *out filled (sizes and data of its files are 0), or -EINVAL with one line in err: file, line, key and
 * what was expected; *out is then undefined. err_size > 0. No locks, no allocation.
 */
int config_parse(const char *path, const char *text, size_t size, struct config *out, char *err, size_t err_size);

/* What holds where a file says nothing: no VM. */
void config_defaults(struct config *c);
