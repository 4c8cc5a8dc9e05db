/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vdev/clock.h"
#include "vdev/line.h"
#include "vdev/timer.h"

/*
 * ACPI's fixed hardware: PM1 status and enable (offset 0 and 2), PM1 control (4) and the 32-bit power management timer
 * (8). Always in ACPI mode. The caller serializes all calls.
 */
#define ACPI_PM_HZ   3579545u
#define ACPI_PM_SIZE 12u
#define ACPI_PM_S5   5u         /* the sleep type of soft-off, as the DSDT's \_S5 says */

struct acpi_pm {
    uint16_t base;
    uint16_t status, enable, control;
    uint64_t carries;           /* changes of the timer's highest bit that are in the status */
    struct vtimer timer;        /* the next change of the highest bit, while its event is enabled */
    uint64_t deadline;
    struct timer_queue *queue;
    const struct vclock *clock;
    struct irq_line irq;
    void (*power_off)(void *ctx);
    void *ctx;
};

void acpi_pm_init(struct acpi_pm *pm, const struct vclock *clock, struct timer_queue *queue, struct irq_line irq,
                  void (*fire)(struct vtimer *timer, uint64_t now), void (*power_off)(void *ctx), void *ctx);
void acpi_pm_reset(struct acpi_pm *pm);
void acpi_pm_expire(struct acpi_pm *pm, uint64_t now);
void acpi_pm_power_button(struct acpi_pm *pm);

/* Ports base to base + ACPI_PM_SIZE - 1. */
uint64_t acpi_pm_read(void *pm, uint64_t port, unsigned size);
bool acpi_pm_peek(const void *pm, uint64_t port, unsigned size, uint64_t *value);
void acpi_pm_write(void *pm, uint64_t port, unsigned size, uint64_t value);
