/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/vm.h"

/* Between the parts of the monitor. An answer is collected and leaves in one piece when the command is done. */
void monitor_print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* NULL, and says so, if none has this name. */
struct vm *monitor_find_vm(const char *name);
/* A number in decimal; limit if it is none or not below it. */
unsigned monitor_number(const char *text, unsigned limit);

/* core/monitor_disk.c */
void monitor_disk(int argc, char **argv);
/* core/monitor_storage.c */
void monitor_storage(int argc, char **argv);
/* core/monitor_mem.c */
void monitor_mem(int argc, char **argv);
void monitor_numa(int argc, char **argv);
/* core/monitor_net.c */
void monitor_net(int argc, char **argv);
/* core/monitor_stat.c */
void monitor_stat(int argc, char **argv);
void monitor_trace(int argc, char **argv);
/* core/top.c: from monitor_top to top_end it runs, and top_poll prints a page when one is due. */
void monitor_top(int argc, char **argv);
bool top_running(void);
bool top_poll(void);
void top_end(void);
