/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/acpi_pm.h"

#include "lib/string.h"
#include "vdev/board.h"
#include "vdev/bus.h"

/* ACPI specification 6.5, section 4.8.3. */
#define PM1_TIMER        BIT(0)
#define PM1_GLOBAL       BIT(5)
#define PM1_POWER_BUTTON BIT(8)
#define PM1_RTC          BIT(10)
#define PM1_STATUS       (PM1_TIMER | PM1_GLOBAL | PM1_POWER_BUTTON | PM1_RTC)
#define PM1_ENABLE       PM1_STATUS
#define CONTROL_SCI      BIT(0)
#define CONTROL_STORED   (BIT(0) | BIT(1) | 7u << CONTROL_TYPE_SHIFT)
#define CONTROL_TYPE_SHIFT 10
#define CONTROL_SLEEP    BIT(13)

#define CARRY (1ull << 31)      /* the timer's highest bit changes once in so many periods */

static uint64_t periods(const struct acpi_pm *pm, uint64_t now)
{
    return vclock_periods(pm->clock, now, ACPI_PM_HZ);
}

/* Brings status and interrupt up to now. */
static void update(struct acpi_pm *pm, uint64_t now)
{
    uint64_t carries = periods(pm, now) / CARRY;

    if (carries != pm->carries)
        pm->status |= PM1_TIMER;
    pm->carries = carries;
    line_set(&pm->irq, pm->status & pm->enable);
    if (!(pm->enable & PM1_TIMER) || (pm->status & PM1_TIMER)) {
        pm->deadline = TIMER_NEVER;
        timer_cancel(pm->queue, &pm->timer);
        return;
    }
    pm->deadline = vclock_ticks(pm->clock, (carries + 1) * CARRY, ACPI_PM_HZ) + 1;
    timer_arm(pm->queue, &pm->timer, pm->deadline);
}

void acpi_pm_init(struct acpi_pm *pm, const struct vclock *clock, struct timer_queue *queue, struct irq_line irq,
                  void (*fire)(struct vtimer *timer, uint64_t now), void (*power_off)(void *ctx), void *ctx)
{
    memset(pm, 0, sizeof(*pm));
    pm->base = BOARD_PM_BASE;
    pm->clock = clock;
    pm->queue = queue;
    pm->irq = irq;
    pm->timer.fire = fire;
    pm->power_off = power_off;
    pm->ctx = ctx;
    acpi_pm_reset(pm);
}

void acpi_pm_reset(struct acpi_pm *pm)
{
    uint64_t now = vclock_now(pm->clock);

    pm->status = pm->enable = 0;
    pm->control = CONTROL_SCI;
    pm->carries = periods(pm, now) / CARRY;
    update(pm, now);
}

void acpi_pm_expire(struct acpi_pm *pm, uint64_t now)
{
    if (now >= pm->deadline)
        update(pm, now);
}

void acpi_pm_power_button(struct acpi_pm *pm)
{
    pm->status |= PM1_POWER_BUTTON;
    update(pm, vclock_now(pm->clock));
}

/* The four-byte register at a multiple of 4. */
static uint32_t read_dword(struct acpi_pm *pm, unsigned offset, uint64_t now)
{
    if (offset == 0)
        return pm->status | (uint32_t)pm->enable << 16;
    return offset == 4 ? pm->control : (uint32_t)periods(pm, now);
}

/* The timer alone has nothing to bring up to now. */
bool acpi_pm_peek(const void *arg, uint64_t port, unsigned size, uint64_t *value)
{
    const struct acpi_pm *pm = arg;

    if (port != pm->base + 8u || size != 4)
        return false;
    *value = (uint32_t)periods(pm, vclock_now(pm->clock));
    return true;
}

/* An access never passes the end of the ports; one over two registers reads each. */
uint64_t acpi_pm_read(void *arg, uint64_t port, unsigned size)
{
    struct acpi_pm *pm = arg;
    unsigned offset = (unsigned)(port - pm->base);
    uint64_t now = vclock_now(pm->clock);
    uint64_t value;

    update(pm, now);
    value = read_dword(pm, offset & ~3u, now);
    if ((offset & 3) + size > 4)
        value |= (uint64_t)read_dword(pm, (offset & ~3u) + 4, now) << 32;
    return value >> (8 * (offset & 3)) & bus_ones(size);
}

static void write_control(struct acpi_pm *pm, uint16_t value, uint16_t mask)
{
    uint16_t stored = mask & CONTROL_STORED & (uint16_t)~CONTROL_SCI;   /* there is no other mode than ACPI's */
    bool sleep = value & mask & CONTROL_SLEEP;

    pm->control = (uint16_t)((pm->control & ~stored) | (value & stored));
    if (sleep && (pm->control >> CONTROL_TYPE_SHIFT & 7) == ACPI_PM_S5)
        pm->power_off(pm->ctx);
}

/* Bytes that were not written are 0 in value and mask. */
void acpi_pm_write(void *arg, uint64_t port, unsigned size, uint64_t value)
{
    struct acpi_pm *pm = arg;
    unsigned offset = (unsigned)(port - pm->base), shift = 8 * (offset & 3);
    uint64_t mask = bus_ones(size) << shift, now = vclock_now(pm->clock);
    uint16_t enable = (uint16_t)(mask >> 16) & PM1_ENABLE;

    value = value << shift & mask;
    update(pm, now);
    if (offset >= 8)
        return;                 /* the timer only counts */
    if (offset >= 4) {
        write_control(pm, (uint16_t)value, (uint16_t)mask);
        return;
    }
    pm->status &= (uint16_t)~value;
    pm->enable = (uint16_t)((pm->enable & ~enable) | (value >> 16 & enable));
    if (mask >> 32)
        write_control(pm, (uint16_t)(value >> 32), (uint16_t)(mask >> 32));
    update(pm, now);
}
