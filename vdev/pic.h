/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * The pair of 8259A interrupt controllers of a PC and their edge/level registers (ports 20/21, a0/a1, 4d0/4d1).
 * The caller serializes all calls.
 */
struct pic_chip {
    uint8_t irr, isr, imr;
    uint8_t lines;              /* the inputs' levels */
    uint8_t elcr, elcr_mask;    /* level-triggered inputs; which may be */
    uint8_t base;               /* vector of input 0 */
    uint8_t lowest;             /* input of lowest priority */
    uint8_t icw;                /* next initialization word expected (2 to 4), 0: initialized */
    bool single, need_icw4, auto_eoi, rotate_auto_eoi, nested, special_mask, poll, read_isr;
};

struct pic {
    struct pic_chip chip[2];    /* 0: master */
    bool output;                /* INTR, as last told */
    void (*intr)(void *ctx, bool level);
    void *ctx;
};

/* intr is called whenever the pair's INTR output changes. */
void pic_init(struct pic *p, void (*intr)(void *ctx, bool level), void *ctx);
void pic_reset(struct pic *p);
/* Input irq, 0 to 15 (2 is the cascade: ignored). */
void pic_set_irq(struct pic *p, unsigned irq, bool level);
/* The INTA cycles: the vector; a spurious IRQ 7 or 15 when there is no request any more. */
uint8_t pic_acknowledge(struct pic *p);

uint64_t pic_read(void *pic, uint64_t port, unsigned size);
void pic_write(void *pic, uint64_t port, unsigned size, uint64_t value);
uint64_t pic_elcr_read(void *pic, uint64_t port, unsigned size);
void pic_elcr_write(void *pic, uint64_t port, unsigned size, uint64_t value);
