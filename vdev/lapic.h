/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <stdatomic.h>

#include "vdev/clock.h"
#include "vdev/timer.h"
#include "vmx/apicv.h"

/*
 * A local APIC: xAPIC registers in memory, x2APIC registers as MSRs (SDM vol. 3, chapter 11). Its own vCPU's pCPU alone
 * touches the plain fields; the atomic ones may be read from anywhere, and posted, level, news, more and esr_new also
 * written. So IPIs from other pCPUs need no lock. Functions are for the own vCPU but where they say "any".
 *
 * The page has the layout of a virtual-APIC page, because with APICv (vmx/apicv.h) the processor itself works on it:
 * ISR, IRR, TMR, TPR and ICR live there and nowhere else; the other registers are shown there for the guest to read.
 * Interrupts from anywhere are posted beside it, and collected into it by the own vCPU.
 */

/* In the order of their registers, from offset 0x320. */
enum lapic_lvt { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };

#define LAPIC_VERSION 0x14u

struct lapic_wires {
    void (*ipi)(void *ctx, unsigned from, uint64_t icr);        /* icr: destination in bits 63:32 */
    void (*eoi)(void *ctx, uint8_t vector);                     /* of a level-triggered interrupt, to the I/O APIC */
    void (*kick)(void *ctx, unsigned vcpu);                     /* the timer posted an interrupt */
};

struct lapic {
    _Atomic uint32_t posted[8], level[8];       /* vectors on their way to IRR; of these, the level-triggered */
    _Atomic uint32_t posted_words;      /* which of posted may hold something */
    _Atomic bool news;                  /* something changed that decides which interrupt is due */
    _Atomic bool more;                  /* and it is not only that one was posted */
    _Atomic uint32_t esr_new;           /* errors since ESR was written */
    _Atomic uint64_t base;              /* IA32_APIC_BASE */
    _Atomic uint32_t svr, ldr, dfr;
    _Atomic uint32_t lvt[LVT_COUNT];
    _Atomic uint32_t *page;

    uint32_t esr;
    uint32_t divide, initial_count;
    uint64_t expiry;                    /* tick at which the count ends, 0: not counting */
    uint64_t tsc_deadline;              /* 0: none */
    struct vtimer timer;

    unsigned id;                        /* vCPU number and APIC id */
    struct timer_queue *queue;
    const struct vclock *clock;
    const struct lapic_wires *wires;
    void *ctx;
};

/* page: 4 KiB that stay, all zero. */
void lapic_init(struct lapic *l, unsigned id, void *page, const struct vclock *clock, struct timer_queue *queue,
                const struct lapic_wires *wires, void *ctx);
/* Power-on; the vCPU stands still. Processor 0's LINT0 is open for the 8259s as firmware leaves it. */
void lapic_power_on(struct lapic *l);
/* The state after INIT (11.4.7.3): IA32_APIC_BASE stays. */
void lapic_reset(struct lapic *l);

/* Does this xAPIC answer at this address? offset: within its page. */
bool lapic_owns(const struct lapic *l, uint64_t addr);
uint64_t lapic_mmio_read(struct lapic *l, unsigned offset, unsigned size);
void lapic_mmio_write(struct lapic *l, unsigned offset, unsigned size, uint64_t value);

/* IA32_APIC_BASE, IA32_TSC_DEADLINE (in the clock's ticks), 0x800 to 0x8ff. -EINVAL: #GP. */
int lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *value);
int lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t value);

/* The highest vector to deliver now, or -1. */
int lapic_pending(const struct lapic *l);
/* Takes it: from IRR to ISR. */
int lapic_take(struct lapic *l);

/* Task priority register: any may read it. */
uint32_t lapic_tpr(const struct lapic *l);
void lapic_set_tpr(struct lapic *l, uint8_t tpr);

/*
 * For the processor that works on the page. Any: something happened that it must be told. Then: what to tell it; false
 * if there is no news. Then: it wrote this register into the page as the guest wanted; it ended this level-triggered
 * interrupt.
 */
void lapic_touch(struct lapic *l);
bool lapic_apicv_state(struct lapic *l, struct apicv_state *out);
void lapic_page_written(struct lapic *l, unsigned offset);
void lapic_page_ended(struct lapic *l, uint8_t vector);

/* Any: an interrupt arrives; true if the vCPU must be told (it was not pending before). Vectors below 16 are errors. */
bool lapic_post(struct lapic *l, uint8_t vector, bool level);
/* Any: is this local APIC on the bus (hardware-enabled), or even software-enabled? */
bool lapic_listens(const struct lapic *l, bool software_too);
bool lapic_is_x2apic(const struct lapic *l);
/* Any: is it in xAPIC mode at the address of the reset? */
bool lapic_is_plain(const struct lapic *l);
/* Any: does a message to this destination concern it? */
bool lapic_matches(const struct lapic *l, uint32_t dest, bool logical, bool wide);
/* Any: does it take the 8259s' interrupts at its LINT0, or because it does not stand in their way? */
bool lapic_takes_extint(const struct lapic *l);

/* Any: what a rising edge at LINT0 does besides ExtINT. */
enum lapic_edge { LAPIC_EDGE_NOTHING, LAPIC_EDGE_POSTED, LAPIC_EDGE_NMI };
enum lapic_edge lapic_lint0_rises(struct lapic *l);

/* vdev/lapic_timer.c: for vdev/lapic.c */
void lapic_timer_stop(struct lapic *l);
/* The LVT entry of the timer changes to this value. */
void lapic_timer_set_lvt(struct lapic *l, uint32_t value);
void lapic_timer_set_count(struct lapic *l, uint32_t count);
void lapic_timer_set_divide(struct lapic *l, uint32_t divide);
void lapic_timer_set_deadline(struct lapic *l, uint64_t tick);
uint32_t lapic_timer_count(const struct lapic *l);
void lapic_timer_fire(struct vtimer *timer, uint64_t now);
