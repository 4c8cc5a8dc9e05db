/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/log.h"

#include <stdatomic.h>

#include "lib/format.h"
#include "lib/spinlock.h"
#include "lib/string.h"
#include "lib/types.h"

#define RING_SIZE  (64 * KIB)
#define LINE_MAX_LENGTH 512
#define SINKS      4
#define PREFIX     "mirrorball: "

/* How often a panicking processor tries for the log's lock before it goes on without. */
#define PANIC_TRIES 1000000u

/* Guards the ring and keeps the lines of the sinks whole. Innermost: nothing else is taken under it. */
static struct spinlock lock;
static char ring[RING_SIZE];
static size_t written; /* bytes ever put into the ring */
static log_sink sinks[SINKS];
static _Atomic int max_level = LOG_INFO;
static atomic_bool panicking;
static void (*panic_hook)(void);

void log_add_sink(log_sink sink)
{
    for (unsigned i = 0; i < SINKS; i++) {
        if (!sinks[i]) {
            sinks[i] = sink;
            return;
        }
    }
}

void log_remove_sinks(void)
{
    memset(sinks, 0, sizeof(sinks));
}

void log_set_level(enum log_level level)
{
    atomic_store(&max_level, level);
}

enum log_level log_get_level(void)
{
    return (enum log_level)atomic_load(&max_level);
}

/* False: a panic goes on without the lock, whose holder will not come back. */
static bool log_lock(void)
{
    if (!log_panicking()) {
        spin_lock(&lock);
        return true;
    }
    for (unsigned i = 0; i < PANIC_TRIES; i++) {
        if (spin_trylock(&lock))
            return true;
        __builtin_ia32_pause();
    }
    return false;
}

static void log_unlock(bool locked)
{
    if (locked)
        spin_unlock(&lock);
}

static void ring_put(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ring[written++ % RING_SIZE] = text[i];
}

static void log_line(const char *prefix, const char *fmt, va_list ap)
{
    char line[LINE_MAX_LENGTH];
    size_t len = (size_t)format(line, sizeof(line), "%s", prefix);
    bool locked;

    len += (size_t)format_v(line + len, sizeof(line) - len, fmt, ap);
    len = MIN(len, sizeof(line) - 1);
    line[len++] = '\n';
    locked = log_lock();
    ring_put(line, len);
    for (unsigned i = 0; i < SINKS && sinks[i]; i++)
        sinks[i](line, len);
    log_unlock(locked);
}

void log_print(enum log_level level, const char *fmt, ...)
{
    va_list ap;

    if (level > log_get_level())
        return;
    va_start(ap, fmt);
    log_line(PREFIX, fmt, ap);
    va_end(ap);
}

size_t log_read(size_t *pos, char *buf, size_t size)
{
    bool locked = log_lock();
    size_t n;

    if (written - *pos > RING_SIZE) /* overwritten meanwhile, or never a position */
        *pos = written > RING_SIZE ? written - RING_SIZE : 0;
    n = MIN(size, written - *pos);
    for (size_t i = 0; i < n; i++)
        buf[i] = ring[(*pos)++ % RING_SIZE];
    log_unlock(locked);
    return n;
}

bool log_begin_panic(void)
{
    return !atomic_exchange(&panicking, true);
}

bool log_panicking(void)
{
    return atomic_load(&panicking);
}

void log_set_panic_hook(void (*hook)(void))
{
    panic_hook = hook;
}

void panic(const char *fmt, ...)
{
    va_list ap;

    if (log_begin_panic()) {
        va_start(ap, fmt);
        log_line(PREFIX "panic: ", fmt, ap);
        va_end(ap);
        if (panic_hook)
            panic_hook();
    }
    for (;;)
        __asm__ volatile("cli\n\thlt" : : : "memory");
}
