/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "numa/spare.h"
#include "arch/x86/cpu.h"
#include "arch/x86/percpu.h"

#include <stdatomic.h>

#define SPARES 15u             /* two cache lines in all */
#define ZEROED BIT(0)          /* in a page's place, beside its address */

/* The processor itself puts pages there and moves the top; any may take one, by exchanging its place with 0. */
struct spares {
    unsigned top;
    _Atomic uint64_t place[SPARES];
} __attribute__((aligned(128)));

static struct spares spares[PERCPU_MAX];

static uint64_t pop(struct spares *s)
{
    uint64_t page;

    while (s->top) {
        page = atomic_exchange_explicit(&s->place[--s->top], 0, memory_order_acquire);
        if (page)
            return page;
    }
    return 0;
}

__attribute__((noinline)) static uint64_t refill(struct spares *s)
{
    struct hpa pages[SPARES];
    bool zeroed;
    unsigned n = page_alloc_spare(cpu_this()->node, pages, SPARES, &zeroed);

    for (; s->top < n; s->top++)
        atomic_store_explicit(&s->place[s->top], pages[s->top].v | (zeroed ? ZEROED : 0), memory_order_release);
    return pop(s);
}

/* Out of the short way's sight. */
__attribute__((noinline)) static void clear(struct hpa page)
{
    clear_memory(hpa_ptr(page), PAGE_SIZE);
}

struct hpa spare_take(uint64_t sharer)
{
    struct spares *s = &spares[cpu_index()];
    uint64_t place = pop(s);
    struct hpa page;
    struct mpage *p;

    if (!place && !(place = refill(s)))
        return HPA_NONE;
    page = HPA(place & ~ZEROED);
    p = page_of(page);
    p->kind = PAGE_PRIVATE;
    p->sharer = sharer;
    atomic_store_explicit(&p->refs, 1, memory_order_relaxed);
    if (!(place & ZEROED))
        clear(page);
    return page;
}

bool spare_return(void)
{
    bool any = false;

    for (unsigned i = 0; i < cpu_count(); i++) {
        for (unsigned n = 0; n < SPARES; n++) {
            uint64_t place = atomic_exchange(&spares[i].place[n], 0);

            if (place)
                page_free_spare(HPA(place & ~ZEROED));
            any |= place;
        }
    }
    return any;
}

uint64_t spare_count(unsigned node)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < cpu_count(); i++)
        for (unsigned n = 0; n < SPARES && cpu_of(i)->node == node; n++)
            sum += atomic_load(&spares[i].place[n]) != 0;
    return sum;
}
