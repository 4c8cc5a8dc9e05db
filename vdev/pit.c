/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/pit.h"

#include "lib/string.h"

/* Intel 8254 data sheet. Time since a count was loaded is counted in periods of the 1.193182 MHz input clock. */

/* Control word */
#define CONTROL_CHANNEL(v)  ((v) >> 6 & 3)
#define CONTROL_ACCESS(v)   ((v) >> 4 & 3)
#define CONTROL_MODE(v)     ((v) >> 1 & 7)
#define CONTROL_BCD         0x01u
#define CONTROL_READ_BACK   3u
#define READ_BACK_NO_COUNT  0x20u
#define READ_BACK_NO_STATUS 0x10u
#define STATUS_OUT          0x80u
#define STATUS_NULL_COUNT   0x40u

#define PORT61_GATE2   0x01u
#define PORT61_STORED  0x0fu
#define PORT61_REFRESH 0x10u
#define PORT61_OUT2    0x20u
#define REFRESH_HZ     66288u   /* memory refresh, every 15.085 us */

static bool is_periodic(const struct pit_channel *c)
{
    return c->mode == 2 || c->mode == 3;
}

/* Modes 1 and 5 begin at the gate's rising edge. */
static bool needs_trigger(const struct pit_channel *c)
{
    return c->mode == 1 || c->mode == 5;
}

static bool is_counting(const struct pit_channel *c)
{
    return c->loaded && (needs_trigger(c) ? c->triggered : c->gate);
}

static uint64_t elapsed(const struct pit *p, const struct pit_channel *c, uint64_t now)
{
    if (!is_counting(c))
        return c->held;
    return now > c->start ? vclock_periods(p->clock, now - c->start, PIT_HZ) : 0;
}

static bool output(const struct pit *p, const struct pit_channel *c, uint64_t now)
{
    uint64_t n = elapsed(p, c, now);

    switch (c->mode) {
    case 0:
        return c->loaded && n >= c->count;
    case 1:
        return !c->triggered || !c->loaded || n >= c->count;
    case 2:
        return !is_counting(c) || n % c->count != c->count - 1;
    case 3:
        return !is_counting(c) || n % c->count < (c->count + 1) / 2;
    default:
        return !c->loaded || n != c->count;
    }
}

static uint16_t to_bcd(uint32_t v)
{
    return (uint16_t)(v % 10 | v / 10 % 10 << 4 | v / 100 % 10 << 8 | v / 1000 % 10 << 12);
}

static uint32_t from_bcd(uint16_t v)
{
    return (v & 15) + (v >> 4 & 15) * 10 + (v >> 8 & 15) * 100 + (v >> 12) * 1000u;
}

/* What the counting element holds. */
static uint16_t counter(const struct pit *p, const struct pit_channel *c, uint64_t now)
{
    uint32_t modulus = c->bcd ? 10000 : 65536;
    uint64_t n = elapsed(p, c, now);
    uint32_t v;

    if (c->mode == 3)
        v = c->count - (uint32_t)(2 * n % c->count & ~1ull);
    else if (c->mode == 2)
        v = c->count - (uint32_t)(n % c->count);
    else
        v = c->count + modulus - (uint32_t)(n % modulus);
    v %= modulus;
    return c->bcd ? to_bcd(v) : (uint16_t)v;
}

static void stop_timer(struct pit *p)
{
    p->deadline = TIMER_NEVER;
    timer_cancel(p->queue, &p->timer);
}

/* Tick at which this many periods are over. */
static uint64_t tick_of(const struct pit *p, const struct pit_channel *c, uint64_t periods)
{
    return c->start + vclock_ticks(p->clock, periods, PIT_HZ) + 1;
}

/* Arms the timer for channel 0's next rising edge: the end of the count, or of a period. */
static void schedule(struct pit *p, uint64_t now)
{
    const struct pit_channel *c = &p->channel[0];
    uint64_t n = elapsed(p, c, now);

    if (!is_counting(c) || (!is_periodic(c) && n >= c->count)) {
        stop_timer(p);
        return;
    }
    p->deadline = tick_of(p, c, is_periodic(c) ? (n / c->count + 1) * c->count : c->count);
    if (is_periodic(c))
        p->deadline = MAX(p->deadline, now + vclock_min_period(p->clock));
    timer_arm(p->queue, &p->timer, p->deadline);
}

void pit_init(struct pit *p, const struct vclock *clock, struct timer_queue *queue, struct irq_line irq,
              void (*fire)(struct vtimer *timer, uint64_t now))
{
    memset(p, 0, sizeof(*p));
    p->clock = clock;
    p->queue = queue;
    p->irq = irq;
    p->timer.fire = fire;
    pit_reset(p);
}

void pit_reset(struct pit *p)
{
    stop_timer(p);
    for (unsigned i = 0; i < 3; i++)
        p->channel[i] = (struct pit_channel){ .mode = 3, .access = 3, .gate = i != 2, .count = 65536 };
    p->port61 = 0;
    line_set(&p->irq, true);    /* OUT is high */
}

/* Late periods are lost, never sent in a burst. */
void pit_expire(struct pit *p, uint64_t now)
{
    if (now < p->deadline)
        return;
    p->deadline = TIMER_NEVER;
    if (p->channel[0].mode >= 2)
        line_set(&p->irq, false);
    line_set(&p->irq, true);
    if (is_periodic(&p->channel[0]))
        schedule(p, now);
}

static void load_count(struct pit *p, struct pit_channel *c, uint16_t value)
{
    uint64_t now = vclock_now(p->clock);

    c->count = c->bcd ? from_bcd(value) : value;
    if (!c->count)
        c->count = c->bcd ? 10000 : 65536;
    if (is_periodic(c) && c->count == 1)
        c->count = 2;           /* 1 is illegal there */
    c->loaded = true;
    c->held = 0;
    c->start = now;
    if (c != &p->channel[0])
        return;
    if (c->mode == 0)
        line_set(&p->irq, false);
    schedule(p, now);
}

static void write_count(struct pit *p, struct pit_channel *c, uint8_t value)
{
    if (c->access == 1) {
        load_count(p, c, value);
    } else if (c->access == 2) {
        load_count(p, c, (uint16_t)(value << 8));
    } else if (c->high_next_write) {
        c->high_next_write = false;
        load_count(p, c, (uint16_t)(value << 8 | c->low_byte));
    } else {
        c->low_byte = value;
        c->high_next_write = true;
        if (c->mode == 0) {     /* the first byte stops the count */
            c->held = 0;
            c->loaded = false;
            if (c == &p->channel[0]) {
                stop_timer(p);
                line_set(&p->irq, false);
            }
        }
    }
}

static void latch_count(struct pit *p, struct pit_channel *c, uint64_t now)
{
    if (c->latched)
        return;
    c->latch = counter(p, c, now);
    if (c->access == 2)
        c->latch >>= 8;
    c->latched = c->access == 3 ? 2 : 1;
}

static void latch_status(struct pit *p, struct pit_channel *c, uint64_t now)
{
    if (c->status_latched)
        return;
    c->status = (uint8_t)((output(p, c, now) ? STATUS_OUT : 0) | (c->loaded ? 0 : STATUS_NULL_COUNT) |
                          c->access << 4 | c->mode << 1 | c->bcd);
    c->status_latched = true;
}

static void read_back(struct pit *p, uint8_t value)
{
    uint64_t now = vclock_now(p->clock);

    for (unsigned i = 0; i < 3; i++) {
        if (!(value & 2u << i))
            continue;
        if (!(value & READ_BACK_NO_COUNT))
            latch_count(p, &p->channel[i], now);
        if (!(value & READ_BACK_NO_STATUS))
            latch_status(p, &p->channel[i], now);
    }
}

static void set_mode(struct pit *p, struct pit_channel *c, uint8_t value)
{
    unsigned mode = CONTROL_MODE(value);

    *c = (struct pit_channel){
        .mode = (uint8_t)(mode > 5 ? mode - 4 : mode),          /* 6 and 7 are 2 and 3 */
        .access = CONTROL_ACCESS(value), .bcd = value & CONTROL_BCD, .gate = c->gate, .count = c->count,
    };
    if (c->bcd && c->count > 10000)
        c->count = 10000;
    if (c != &p->channel[0])
        return;
    stop_timer(p);
    line_set(&p->irq, c->mode != 0);
}

static void write_control(struct pit *p, uint8_t value)
{
    unsigned channel = CONTROL_CHANNEL(value);

    if (channel == CONTROL_READ_BACK)
        read_back(p, value);
    else if (CONTROL_ACCESS(value) == 0)
        latch_count(p, &p->channel[channel], vclock_now(p->clock));
    else
        set_mode(p, &p->channel[channel], value);
}

void pit_write(void *pit, uint64_t port, unsigned size, uint64_t value)
{
    struct pit *p = pit;

    (void)size;
    if ((port & 3) == 3)
        write_control(p, (uint8_t)value);
    else
        write_count(p, &p->channel[port & 3], (uint8_t)value);
}

static uint8_t read_latch(struct pit_channel *c)
{
    uint8_t byte = (uint8_t)c->latch;

    c->latch >>= 8;
    c->latched--;
    return byte;
}

uint64_t pit_read(void *pit, uint64_t port, unsigned size)
{
    struct pit *p = pit;
    struct pit_channel *c = &p->channel[port & 3];
    uint16_t value;

    (void)size;
    if ((port & 3) == 3)
        return 0xff;            /* the control word cannot be read */
    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    if (c->latched)
        return read_latch(c);
    value = counter(p, c, vclock_now(p->clock));
    if (c->access == 3) {
        c->high_next_read = !c->high_next_read;
        return c->high_next_read ? value & 0xff : value >> 8;
    }
    return c->access == 2 ? value >> 8 : value & 0xff;
}

/* Channel 2's gate: its rising edge restarts modes 1, 2, 3 and 5; its level stops and continues modes 0 and 4. */
static void set_gate(struct pit *p, struct pit_channel *c, bool gate)
{
    uint64_t now = vclock_now(p->clock);

    if (gate == c->gate)
        return;
    if (!needs_trigger(c) && !gate)
        c->held = is_periodic(c) ? 0 : elapsed(p, c, now);
    c->gate = gate;
    if (!gate)
        return;
    if (needs_trigger(c)) {
        c->triggered = true;
        c->held = 0;
    }
    c->start = now - vclock_ticks(p->clock, c->held, PIT_HZ);
}

uint64_t pit_port61_read(void *pit, uint64_t port, unsigned size)
{
    struct pit *p = pit;
    uint64_t now = vclock_now(p->clock);
    uint8_t value = p->port61;

    (void)port;
    (void)size;
    if (vclock_periods(p->clock, now, REFRESH_HZ) & 1)
        value |= PORT61_REFRESH;
    if (output(p, &p->channel[2], now))
        value |= PORT61_OUT2;
    return value;
}

void pit_port61_write(void *pit, uint64_t port, unsigned size, uint64_t value)
{
    struct pit *p = pit;

    (void)port;
    (void)size;
    p->port61 = value & PORT61_STORED;
    set_gate(p, &p->channel[2], value & PORT61_GATE2);
}
