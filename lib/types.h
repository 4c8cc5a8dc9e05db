/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SHIFT      12u
#define PAGE_SIZE       4096ul
#define PAGE_SIZE_2M    (1ul << 21)
#define PAGE_SIZE_1G    (1ul << 30)
#define KIB             1024ul
#define MIB             (1024ul * KIB)
#define GIB             (1024ul * MIB)

#define BIT(n)          (1ul << (n))
#define ARRAY_SIZE(a)   (sizeof(a) / sizeof((a)[0]))
/* Each argument is evaluated once: it may be read from what others write, or do something. */
#define MIN(a, b)       PICK(a, <, b, __COUNTER__)
#define MAX(a, b)       PICK(a, >, b, __COUNTER__)
#define PICK(a, op, b, n)   PICK_NAMED(a, op, b, n)
#define PICK_NAMED(a, op, b, n) (__extension__({ \
    __typeof__(true ? (a) : (b)) x_##n = (a), y_##n = (b); \
    x_##n op y_##n ? x_##n : y_##n; }))
#define ALIGN_DOWN(x, a) ((x) & ~((uint64_t)(a) - 1))
#define ALIGN_UP(x, a)  ALIGN_DOWN((x) + (uint64_t)(a) - 1, a)
#define container_of(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))

/* A host-physical (machine) and a guest-physical address: distinct types, so that mixing them up does not compile. */
struct hpa { uint64_t v; };
struct gpa { uint64_t v; };
#define HPA(x)          ((struct hpa){ (x) })
#define GPA(x)          ((struct gpa){ (x) })

/* a * b / c without overflow of the product; the quotient must fit in 64 bits. */
static inline uint64_t muldiv64(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t lo, hi;
    __asm__("mulq %3" : "=a"(lo), "=d"(hi) : "0"(a), "rm"(b) : "cc");
    __asm__("divq %2" : "+a"(lo), "+d"(hi) : "rm"(c) : "cc");
    return lo;
}
