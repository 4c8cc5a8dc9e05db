/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Levels: ERROR is a fault of the machine or a bug of ours and can never be triggered by a guest; WARN is
 * something the user should look at (a guest that was stopped); INFO is the life of the system; DEBUG is detail.
 */
enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Where lines go besides the ring: called under the log's lock with whole text, in order. */
typedef void (*log_sink)(const char *text, size_t len);

/* Adds a sink (at most 4). Called at start, on one processor. */
void log_add_sink(log_sink sink);
void log_remove_sinks(void);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* One line, "mirrorball: " in front and the newline behind added here. Any processor; not from NMI context. */
void log_print(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...) log_print(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_print(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_print(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_print(LOG_DEBUG, __VA_ARGS__)

/*
 * Text of the ring, oldest first: copies at most size bytes from position *pos (0 to begin) and moves it; 0 at the end.
 */
size_t log_read(size_t *pos, char *buf, size_t size);

/*
 * The way out. log_begin_panic makes the log usable on a machine that is falling over (a lock that does not come free
 * is ignored from then on) and is true for the first caller only; whoever gets false stops its processor in silence.
 */
bool log_begin_panic(void);
bool log_panicking(void);
/* Called by panic() after its line is out, to dump a backtrace and stop the other processors. Set once at start. */
void log_set_panic_hook(void (*hook)(void));

/* Ends the machine's work: dumps and stops every processor. Only for bugs of ours; never reachable by a guest. */
void panic(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
