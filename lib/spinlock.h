/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A ticket lock: fair, no sleeping. The hypervisor runs with interrupts off; NMI handlers take no lock. */
struct spinlock {
    _Atomic uint16_t next;
    _Atomic uint16_t serving;
};

static inline void spin_lock(struct spinlock *l)
{
    uint16_t ticket = atomic_fetch_add_explicit(&l->next, 1, memory_order_relaxed);

    while (atomic_load_explicit(&l->serving, memory_order_acquire) != ticket)
        __builtin_ia32_pause();
}

/* Takes the lock if it is free now. */
static inline bool spin_trylock(struct spinlock *l)
{
    uint16_t serving = atomic_load_explicit(&l->serving, memory_order_relaxed);

    return atomic_compare_exchange_strong_explicit(&l->next, &serving, (uint16_t)(serving + 1), memory_order_acquire,
                                                   memory_order_relaxed);
}

static inline void spin_unlock(struct spinlock *l)
{
    uint16_t serving = atomic_load_explicit(&l->serving, memory_order_relaxed);

    atomic_store_explicit(&l->serving, (uint16_t)(serving + 1), memory_order_release);
}
