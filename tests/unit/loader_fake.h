/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/e820.h"
#include "core/loader.h"
#include "lib/errno.h"
#include "numa/page.h"
#include "vdev/board.h"

/* What stands around the loaders, for one test program: guest memory as one flat buffer, and small ACPI tables. */
struct fake_guest {
    struct pmap pmap;          /* only its address counts */
    uint8_t *low;              /* RAM below GUEST_LOW_RAM_END; the loaders have no business above */
    uint64_t low_size, memory;
    uint64_t loaded;           /* bytes that came from files which others may share */
    uint64_t room;             /* bytes that may still be written before the machine "has no memory left" */
};

struct hpa page_alloc(unsigned node, unsigned order, enum page_kind kind)
{
    (void)node, (void)kind;
    return HPA((uintptr_t)malloc(PAGE_SIZE << order));
}

void page_free(struct hpa page, unsigned order)
{
    (void)order;
    free(hpa_ptr(page));
}

/* Pages come zeroed and only when touched, so that gigabytes cost nothing. */
void sched_breathe(void) { }

static inline struct fake_guest *fake_guest_new(uint64_t memory)
{
    struct fake_guest *p = calloc(1, sizeof(*p));

    p->memory = memory;
    p->low_size = MIN(memory, GUEST_LOW_RAM_END);
    p->low = mmap(NULL, p->low_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    p->room = UINT64_MAX;
    return p;
}

static inline void fake_guest_free(struct fake_guest *p)
{
    munmap(p->low, p->low_size);
    free(p);
}

static inline int fake_check(struct fake_guest *p, uint64_t at, size_t n)
{
    if (at > p->low_size || n > p->low_size - at)
        return -EFAULT;
    if (n > p->room)
        return -ENOMEM;
    p->room -= n;
    return 0;
}

int pmap_read(struct pmap *pmap, struct gpa from, void *to, size_t n)
{
    struct fake_guest *p = container_of(pmap, struct fake_guest, pmap);
    int rc = fake_check(p, from.v, n);

    if (!rc)
        memcpy(to, p->low + from.v, n);
    return rc;
}

int pmap_write(struct pmap *pmap, struct gpa to, const void *from, size_t n)
{
    struct fake_guest *p = container_of(pmap, struct fake_guest, pmap);
    int rc = fake_check(p, to.v, n);

    if (!rc)
        memcpy(p->low + to.v, from, n);
    return rc;
}

int pmap_load(struct pmap *pmap, struct gpa to, const void *from, size_t n)
{
    container_of(pmap, struct fake_guest, pmap)->loaded += n;
    return pmap_write(pmap, to, from, n);
}

int pmap_zero(struct pmap *pmap, struct gpa to, size_t n)
{
    struct fake_guest *p = container_of(pmap, struct fake_guest, pmap);
    int rc = fake_check(p, to.v, n);

    uint64_t begin = ALIGN_UP(to.v, PAGE_SIZE), end = ALIGN_DOWN(to.v + n, PAGE_SIZE);

    if (rc)
        return rc;
    if (n < MIB) {
        memset(p->low + to.v, 0, n);
        return 0;
    }
    memset(p->low + to.v, 0, begin - to.v);
    madvise(p->low + begin, end - begin, MADV_DONTNEED); /* reads as zero, whatever its size */
    memset(p->low + end, 0, to.v + n - end);
    return 0;
}

uint64_t pmap_memory(const struct pmap *pmap)
{
    return container_of(pmap, struct fake_guest, pmap)->memory;
}

static int fake_acpi_size = 4096;

int board_acpi_build(unsigned vcpus, const struct pmap_window *windows, unsigned count, void *buf, size_t size)
{
    (void)windows;
    (void)count;
    (void)size;
    memset(buf, 0, 4096);
    memcpy(buf, "RSD PTR ", 8);
    ((uint8_t *)buf)[100] = (uint8_t)vcpus;
    return fake_acpi_size;
}
