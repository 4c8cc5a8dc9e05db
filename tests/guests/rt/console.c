/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>

#include "lib/format.h"
#include "tests/guests/rt/rt.h"

/* COM1, a 16550 (National Semiconductor PC16550D data sheet). */
enum { COM1 = 0x3f8, IER = 1, FCR = 2, LCR = 3, MCR = 4, LSR = 5 };
enum { LCR_8N1 = 0x03, LCR_DLAB = 0x80, FCR_ON = 0x07, MCR_DTR_RTS = 0x03, LSR_THRE = 0x20 };

static unsigned passed, failed;

/* 115200 bits a second, 8N1, FIFOs on, no interrupts. */
void console_init(void)
{
    outb(COM1 + IER, 0);
    outb(COM1 + LCR, LCR_DLAB | LCR_8N1);
    outb(COM1, 1);
    outb(COM1 + IER, 0);
    outb(COM1 + LCR, LCR_8N1);
    outb(COM1 + FCR, FCR_ON);
    outb(COM1 + MCR, MCR_DTR_RTS);
}

static void put(char c)
{
    if (c == '\n')
        put('\r');
    while (!(inb(COM1 + LSR) & LSR_THRE))
        cpu_pause();
    outb(COM1, (uint8_t)c);
}

void print(const char *fmt, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, fmt);
    format_v(text, sizeof(text), fmt, ap);
    va_end(ap);
    for (const char *p = text; *p; p++)
        put(*p);
}

void check(const char *name, uint64_t got, uint64_t want)
{
    if (got == want) {
        passed++;
        print("PASS %s\n", name);
    } else {
        failed++;
        print("FAIL %s: got 0x%llx want 0x%llx\n", name, (unsigned long long)got, (unsigned long long)want);
    }
}

void check_true(const char *name, bool ok)
{
    check(name, ok, true);
}

void skip(const char *name, const char *why)
{
    print("SKIP %s: %s\n", name, why);
}

void finish(void)
{
    print("guest: %u passed, %u failed\n", passed, failed);
    power_off();
}
