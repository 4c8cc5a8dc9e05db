/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/rtc.h"

#include "lib/string.h"
#include "vdev/rtc_date.h"

/* Motorola MC146818A data sheet; the century byte and the memory sizes as PCs keep them. */
enum {
    SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM, WEEKDAY, DAY, MONTH, YEAR,
    REG_A, REG_B, REG_C, REG_D,
    CMOS_EQUIPMENT = 0x14, CMOS_BASE_KIB = 0x15, CMOS_EXT_KIB = 0x17, CMOS_SUM = 0x2e, CMOS_EXT_KIB_FOUND = 0x30,
    CENTURY = 0x32, CMOS_ABOVE_16M = 0x34, CMOS_ABOVE_4G = 0x5b,
};

#define A_UIP       0x80u
#define A_DIVIDER   0x70u
#define A_STOPPED   0x60u       /* 11x: the divider is held in reset */
#define A_RATE      0x0fu
#define A_NORMAL    0x26u
#define B_SET       0x80u
#define B_PIE       0x40u
#define B_AIE       0x20u
#define B_UIE       0x10u
#define B_BINARY    0x04u
#define B_24H       0x02u
#define C_IRQF      0x80u
#define C_PF        0x40u
#define C_AF        0x20u
#define C_UF        0x10u
#define D_VALID     0x80u
#define HOUR_PM     0x80u
#define ALARM_ANY   0xc0u       /* both high bits: every value */
#define NMI_MASK    0x80u

#define UPDATE_HZ   449u        /* UIP stands 244 us before and 1984 us during an update: 1/449 s */

static bool is_stopped(const struct rtc *r)
{
    return (r->cmos[REG_B] & B_SET) || (r->cmos[REG_A] & A_STOPPED) == A_STOPPED;
}

static uint64_t since_base(const struct rtc *r, uint64_t now)
{
    int64_t ticks = (int64_t)(now - r->base_tick);      /* the base may lie before the clock's zero */

    return ticks > 0 ? (uint64_t)ticks : 0;
}

static uint64_t second_at(const struct rtc *r, uint64_t now)
{
    return r->base_second + since_base(r, now) / r->clock->hz;
}

/* Periodic interrupts a second; 0: none. */
static unsigned periodic_rate(const struct rtc *r)
{
    unsigned rs = r->cmos[REG_A] & A_RATE;

    if (!rs || (r->cmos[REG_A] & A_STOPPED) == A_STOPPED)
        return 0;
    return rs < 3 ? 256u >> (rs - 1) : 32768u >> (rs - 1);
}

static uint8_t encode(const struct rtc *r, unsigned v)
{
    return (uint8_t)(r->cmos[REG_B] & B_BINARY ? v : v / 10 % 10 << 4 | v % 10);
}

static unsigned decode(const struct rtc *r, uint8_t v)
{
    return r->cmos[REG_B] & B_BINARY ? v : (v >> 4) * 10u + (v & 15);
}

static uint8_t encode_hour(const struct rtc *r, unsigned hour)
{
    if (r->cmos[REG_B] & B_24H)
        return encode(r, hour);
    return (uint8_t)(encode(r, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0));
}

static unsigned decode_hour(const struct rtc *r, uint8_t v)
{
    if (r->cmos[REG_B] & B_24H)
        return decode(r, v);
    return decode(r, v & 0x7f) % 12 + (v & HOUR_PM ? 12 : 0);
}

/* The time of day into the time bytes. */
static void store_time(struct rtc *r, uint64_t second)
{
    struct rtc_date c = rtc_date_from_seconds(second);

    r->cmos[SECONDS] = encode(r, c.second);
    r->cmos[MINUTES] = encode(r, c.minute);
    r->cmos[HOURS] = encode_hour(r, c.hour);
    r->cmos[WEEKDAY] = encode(r, c.weekday);
    r->cmos[DAY] = encode(r, c.day);
    r->cmos[MONTH] = encode(r, c.month);
    r->cmos[YEAR] = encode(r, c.year % 100);
    r->cmos[CENTURY] = (uint8_t)(c.year / 1000 << 4 | c.year / 100 % 10);       /* always BCD */
}

static uint64_t load_time(const struct rtc *r)
{
    unsigned century = (r->cmos[CENTURY] >> 4) * 10u + (r->cmos[CENTURY] & 15);
    struct rtc_date c = {
        .year = century * 100 + decode(r, r->cmos[YEAR]), .month = decode(r, r->cmos[MONTH]),
        .day = decode(r, r->cmos[DAY]), .hour = decode_hour(r, r->cmos[HOURS]),
        .minute = decode(r, r->cmos[MINUTES]), .second = decode(r, r->cmos[SECONDS]),
    };

    return rtc_date_to_seconds(&c);
}

static bool alarm_matches(uint8_t alarm, unsigned alarm_value, unsigned value)
{
    return alarm >= ALARM_ANY || alarm_value == value;
}

/* The first second after this one at which the alarm strikes; UINT64_MAX: never. Steps over what cannot match. */
static uint64_t next_alarm(const struct rtc *r, uint64_t second)
{
    const uint8_t *a = r->cmos;
    uint64_t t = second + 1;

    for (unsigned step = 0; step < 24 + 60 + 60 + 2; step++) {
        if (!alarm_matches(a[HOURS_ALARM], decode_hour(r, a[HOURS_ALARM]), (unsigned)(t / 3600 % 24)))
            t = (t / 3600 + 1) * 3600;
        else if (!alarm_matches(a[MINUTES_ALARM], decode(r, a[MINUTES_ALARM]), (unsigned)(t / 60 % 60)))
            t = (t / 60 + 1) * 60;
        else if (!alarm_matches(a[SECONDS_ALARM], decode(r, a[SECONDS_ALARM]), (unsigned)(t % 60)))
            t++;
        else
            return t;
    }
    return UINT64_MAX;
}

/* Brings the flags up to now. */
static void update_flags(struct rtc *r, uint64_t now)
{
    uint64_t second = second_at(r, now);
    unsigned rate = periodic_rate(r);
    uint64_t period = rate ? vclock_periods(r->clock, since_base(r, now), rate) : 0;

    if (rate && period > r->last_period)
        r->flags |= C_PF;
    r->last_period = period;
    if (!is_stopped(r) && second > r->last_second) {
        r->flags |= C_UF;
        if (next_alarm(r, r->last_second) <= second)
            r->flags |= C_AF;
        r->last_second = second;
    }
    if (r->flags & r->cmos[REG_B] & (C_PF | C_AF | C_UF))       /* flags and enables have the same places */
        r->flags |= C_IRQF;
    else
        r->flags &= (uint8_t)~C_IRQF;
    line_set(&r->irq, r->flags & C_IRQF);
}

static uint64_t tick_of_second(const struct rtc *r, uint64_t second)
{
    return r->base_tick + (second - r->base_second) * r->clock->hz;
}

/* The timer runs only for what is enabled and whose flag is down: a guest that does not answer costs nothing. */
static void schedule(struct rtc *r, uint64_t now)
{
    uint8_t wanted = r->cmos[REG_B] & (uint8_t)~r->flags;
    unsigned rate = periodic_rate(r);
    uint64_t deadline = TIMER_NEVER;
    uint64_t alarm;

    if ((wanted & B_PIE) && rate)
        deadline = r->base_tick + vclock_ticks(r->clock, r->last_period + 1, rate) + 1;
    if ((wanted & B_UIE) && !is_stopped(r))
        deadline = MIN(deadline, tick_of_second(r, r->last_second + 1));
    if ((wanted & B_AIE) && !is_stopped(r)) {
        alarm = next_alarm(r, r->last_second);
        if (alarm != UINT64_MAX)
            deadline = MIN(deadline, tick_of_second(r, alarm));
    }
    r->deadline = deadline == TIMER_NEVER ? deadline : MAX(deadline, now + vclock_min_period(r->clock));
    if (r->deadline == TIMER_NEVER)
        timer_cancel(r->queue, &r->timer);
    else
        timer_arm(r->queue, &r->timer, r->deadline);
}

static void refresh(struct rtc *r, uint64_t now)
{
    update_flags(r, now);
    schedule(r, now);
}

/* Sets the clock to a second that began at this tick. */
static void set_clock(struct rtc *r, uint64_t second, uint64_t tick)
{
    r->base_second = r->last_second = second;
    r->base_tick = tick;
    r->last_period = 0;
}

static void put16(struct rtc *r, unsigned at, uint64_t v)
{
    r->cmos[at] = (uint8_t)v;
    r->cmos[at + 1] = (uint8_t)(v >> 8);
}

static void store_memory(struct rtc *r, const struct rtc_setup *s)
{
    uint64_t low = MIN(s->memory, s->low_end), high = s->memory - low;
    uint64_t ext_kib = low > MIB ? MIN((low - MIB) / KIB, 0xffff) : 0;
    unsigned sum = 0;

    r->cmos[CMOS_EQUIPMENT] = 0x02;                     /* coprocessor; no diskettes, no display */
    put16(r, CMOS_BASE_KIB, 640);
    put16(r, CMOS_EXT_KIB, ext_kib);
    put16(r, CMOS_EXT_KIB_FOUND, ext_kib);
    put16(r, CMOS_ABOVE_16M, low > 16 * MIB ? MIN((low - 16 * MIB) / (64 * KIB), 0xffff) : 0);
    put16(r, CMOS_ABOVE_4G, high / (64 * KIB));
    r->cmos[CMOS_ABOVE_4G + 2] = (uint8_t)(high / (64 * KIB) >> 16);
    for (unsigned i = 0x10; i < CMOS_SUM; i++)
        sum += r->cmos[i];
    r->cmos[CMOS_SUM] = (uint8_t)(sum >> 8);            /* this one is kept high byte first */
    r->cmos[CMOS_SUM + 1] = (uint8_t)sum;
}

void rtc_init(struct rtc *r, const struct vclock *clock, struct timer_queue *queue, struct irq_line irq,
              void (*fire)(struct vtimer *timer, uint64_t now), const struct rtc_setup *setup)
{
    memset(r, 0, sizeof(*r));
    r->clock = clock;
    r->queue = queue;
    r->irq = irq;
    r->timer.fire = fire;
    r->deadline = TIMER_NEVER;
    r->cmos[REG_A] = A_NORMAL;
    r->cmos[REG_B] = B_24H;
    store_memory(r, setup);
    set_clock(r, setup->seconds, vclock_now(clock));
    rtc_reset(r);
}

void rtc_reset(struct rtc *r)
{
    r->index = 0;
    r->nmi_masked = false;
    r->cmos[REG_B] &= (uint8_t)~(B_PIE | B_AIE | B_UIE);
    r->flags = 0;
    refresh(r, vclock_now(r->clock));
}

void rtc_expire(struct rtc *r, uint64_t now)
{
    if (now >= r->deadline)
        refresh(r, now);
}

static bool is_time(unsigned index)
{
    bool alarm = index == SECONDS_ALARM || index == MINUTES_ALARM || index == HOURS_ALARM;

    return index == CENTURY || (index <= YEAR && !alarm);
}

static uint8_t read_flags(struct rtc *r, uint64_t now)
{
    uint8_t flags;

    update_flags(r, now);
    flags = r->flags;
    r->flags = 0;
    refresh(r, now);
    return flags;
}

/* Is an update under way? It ends with the second. */
static bool in_update(const struct rtc *r, uint64_t now)
{
    uint64_t into = since_base(r, now) % r->clock->hz;

    return !is_stopped(r) && into >= r->clock->hz - r->clock->hz / UPDATE_HZ;
}

static uint8_t read_byte(struct rtc *r, unsigned index)
{
    uint64_t now = vclock_now(r->clock);

    if (index == REG_A)
        return (uint8_t)(r->cmos[REG_A] | (in_update(r, now) ? A_UIP : 0));
    if (index == REG_C)
        return read_flags(r, now);
    if (index == REG_D)
        return D_VALID;
    if (is_time(index) && !is_stopped(r))
        store_time(r, second_at(r, now));
    return r->cmos[index];
}

/* Registers A and B: the clock stops with the time in its bytes, and starts half a second before the next second. */
static void write_control(struct rtc *r, unsigned index, uint8_t value, uint64_t now)
{
    bool was_stopped = is_stopped(r);

    update_flags(r, now);
    if (!was_stopped)
        store_time(r, second_at(r, now));
    r->cmos[index] = index == REG_A ? value & (uint8_t)~A_UIP : value;
    if (was_stopped && !is_stopped(r))
        set_clock(r, load_time(r), now - r->clock->hz / 2);
    r->last_period = 0;
    if (periodic_rate(r))
        r->last_period = vclock_periods(r->clock, since_base(r, now), periodic_rate(r));
}

static void write_time(struct rtc *r, unsigned index, uint8_t value, uint64_t now)
{
    if (is_stopped(r)) {
        r->cmos[index] = value;
        return;
    }
    update_flags(r, now);
    store_time(r, second_at(r, now));
    r->cmos[index] = value;
    r->base_second = load_time(r);
    r->base_tick = now - since_base(r, now) % r->clock->hz;
    set_clock(r, r->base_second, r->base_tick);
    if (periodic_rate(r))
        r->last_period = vclock_periods(r->clock, since_base(r, now), periodic_rate(r));
}

static void write_byte(struct rtc *r, unsigned index, uint8_t value)
{
    uint64_t now = vclock_now(r->clock);

    if (index == REG_A || index == REG_B)
        write_control(r, index, value, now);
    else if (is_time(index))
        write_time(r, index, value, now);
    else if (index != REG_C && index != REG_D)
        r->cmos[index] = value;
    refresh(r, now);
}

uint64_t rtc_read(void *rtc, uint64_t port, unsigned size)
{
    struct rtc *r = rtc;

    (void)size;
    return port & 1 ? read_byte(r, r->index) : 0xff;    /* the index cannot be read */
}

void rtc_write(void *rtc, uint64_t port, unsigned size, uint64_t value)
{
    struct rtc *r = rtc;

    (void)size;
    if (port & 1) {
        write_byte(r, r->index, (uint8_t)value);
    } else {
        r->index = value & 0x7f;
        r->nmi_masked = value & NMI_MASK;
    }
}
