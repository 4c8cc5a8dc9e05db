/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>

#include "lib/format.h"
#include "lib/string.h"
#include "tests/guests/rt/rt.h"

/* COM1, a 16550 (National Semiconductor PC16550D data sheet). */
enum { COM1 = 0x3f8, LSR = 5, LSR_THRE = 0x20 };

static unsigned passed, failed;

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

bool on_tcg(void)
{
    uint32_t a, id[3];

    cpuid(1, 0, &a, &id[0], &id[1], &id[2]);
    if (!(id[1] & BIT(31))) /* no hypervisor's leaves */
        return false;
    cpuid(0x40000000, 0, &a, &id[0], &id[1], &id[2]);
    return !memcmp(id, "TCGTCGTCGTCG", sizeof(id));
}

bool on_intel(void)
{
    uint32_t a, b, c, d;

    cpuid(0, 0, &a, &b, &c, &d);
    return b == 0x756e6547 && d == 0x49656e69 && c == 0x6c65746e; /* GenuineIntel */
}

void finish(void)
{
    print("guest: %u passed, %u failed\n", passed, failed);
    power_off();
}
