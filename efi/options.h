/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/boot.h"
#include "lib/types.h"

/*
 * Understands the text of the load options: words between blanks, the first without '-' in front (the shell gives the
 * program's name) is skipped, -cfg=PATH (PATH may be in double quotes) goes into cfg, which otherwise stays as it is.
 * -selftest=disks, -selftest=net and -scratch=DISK:SECTOR:SECTORS (what it may write) go into test. -EINVAL with one line in err for
 * anything else that begins with '-'. Sizes > 0.
 */
int options_parse(const char *text, char *cfg, size_t cfg_size, struct boot_selftest *test, char *err, size_t err_size);
