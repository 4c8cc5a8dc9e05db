/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * The console: one serial line (and the screen) shared by the hypervisor's monitor and the guests. Ctrl-a three times
 * moves the input on: monitor, each VM, monitor. With more than one VM each line of a guest is prefixed "[NAME] ".
 */
#define CONSOLE_MONITOR (-1)

/* Sinks get all text that leaves; before the processors start. prefix: more than one VM will print. */
void console_init(bool com1, bool gop, bool prefix);

/* A byte from a guest's serial port. Any processor. */
void console_guest_out(unsigned vm, uint8_t byte);
/* Whole lines of the log. Any processor. */
void console_log(const char *text, size_t n);
/* What the monitor prints; the part behind the last newline stays on the screen while others print. */
void console_monitor(const char *text, size_t n);

/* Boot processor, every few milliseconds: input. */
void console_poll(void);
/* A byte that was typed elsewhere than on COM1. Boot processor. */
void console_typed(uint8_t c);

/* Where input goes: CONSOLE_MONITOR or a VM's index. */
int console_focus(void);
void console_set_focus(int owner);
