/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* A wire from a device to an interrupt controller's input; level true is asserted. */
struct irq_line {
    void (*set)(void *ctx, unsigned gsi, bool level);
    void *ctx;
    unsigned gsi;
};

static inline void line_set(const struct irq_line *l, bool level)
{
    l->set(l->ctx, l->gsi, level);
}
