/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vdev/clock.h"
#include "vdev/line.h"
#include "vdev/timer.h"

/*
 * The MC146818A real-time clock with the CMOS memory of a PC (ports 70 and 71). Time runs from a wall-clock second told
 * at the start, on the VM's clock. The caller serializes all calls.
 */
struct rtc {
    uint8_t index;              /* selected byte */
    bool nmi_masked;            /* bit 7 of port 70 */
    uint8_t cmos[128];          /* time bytes hold only while the clock is set or stopped; C is made when read */
    uint8_t flags;              /* register C */
    uint64_t base_second;       /* UTC since 1970 at base_tick */
    uint64_t base_tick;
    uint64_t last_second;       /* up to here updates and alarms are in the flags */
    uint64_t last_period;       /* the same for periodic interrupts, in periods of the chosen rate since base_tick */
    struct vtimer timer;
    uint64_t deadline;
    struct timer_queue *queue;
    const struct vclock *clock;
    struct irq_line irq;
};

/* seconds: UTC now, since 1970. memory: bytes of RAM; low_end: where RAM below 4 GiB ends at the latest. */
struct rtc_setup {
    uint64_t seconds, memory, low_end;
};

/* fire is called by the queue at the timer's deadline and calls rtc_expire with the owner's lock held. */
void rtc_init(struct rtc *r, const struct vclock *clock, struct timer_queue *queue, struct irq_line irq,
              void (*fire)(struct vtimer *timer, uint64_t now), const struct rtc_setup *setup);
/* The reset line: interrupts off; time and memory live on. */
void rtc_reset(struct rtc *r);
void rtc_expire(struct rtc *r, uint64_t now);

uint64_t rtc_read(void *rtc, uint64_t port, unsigned size);
void rtc_write(void *rtc, uint64_t port, unsigned size, uint64_t value);
