/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/pic.h"

#include "lib/string.h"

/* Intel 8259A data sheet; the edge/level registers as in the 82371SB (PIIX3), section 2.5.7. */
#define CASCADE 2u

/* Initialization and operation command words. */
#define ICW1          0x10u
#define ICW1_SINGLE   0x02u
#define ICW1_ICW4     0x01u
#define ICW4_AUTO_EOI 0x02u
#define ICW4_NESTED   0x10u
#define OCW3          0x08u
#define OCW3_POLL     0x04u
#define OCW3_SET_MASK 0x40u
#define OCW3_MASK     0x20u
#define OCW3_READ_IRR 2u
#define OCW3_READ_ISR 3u

enum ocw2 {
    OCW2_ROTATE_AUTO_CLEAR, OCW2_EOI, OCW2_NOP, OCW2_EOI_SPECIFIC,
    OCW2_ROTATE_AUTO_SET, OCW2_ROTATE_EOI, OCW2_SET_PRIORITY, OCW2_ROTATE_EOI_SPECIFIC
};

/* 0 is the highest priority. */
static unsigned rank(const struct pic_chip *c, unsigned irq)
{
    return (irq - c->lowest - 1) & 7;
}

static int highest(const struct pic_chip *c, uint8_t set)
{
    for (unsigned r = 0; r < 8; r++) {
        unsigned irq = (c->lowest + 1 + r) & 7;

        if (set & BIT(irq))
            return (int)irq;
    }
    return -1;
}

/* In-service inputs that hold others back: in special mask mode those masked do not. */
static uint8_t blocking(const struct pic_chip *c)
{
    return c->special_mask ? c->isr & ~c->imr : c->isr;
}

/* The input this chip asks its INT output for, or -1. */
static int request(const struct pic_chip *c, bool master)
{
    int irq = highest(c, c->irr & ~c->imr);
    uint8_t held = blocking(c);
    int serving;

    if (c->icw || irq < 0)
        return -1;
    if (master && c->nested)
        held &= (uint8_t)~BIT(CASCADE);
    serving = highest(c, held);
    return serving < 0 || rank(c, (unsigned)irq) < rank(c, (unsigned)serving) ? irq : -1;
}

static void update(struct pic *p)
{
    struct pic_chip *master = &p->chip[0];
    bool output;

    if (request(&p->chip[1], false) >= 0)
        master->irr |= BIT(CASCADE);
    else
        master->irr &= (uint8_t)~BIT(CASCADE);
    output = request(master, true) >= 0;
    if (output == p->output)
        return;
    p->output = output;
    p->intr(p->ctx, output);
}

static void reset_chip(struct pic_chip *c)
{
    c->irr = c->lines & c->elcr;
    c->isr = 0;
    c->imr = 0;
    c->lowest = 7;
    c->single = c->need_icw4 = c->auto_eoi = c->rotate_auto_eoi = false;
    c->nested = c->special_mask = c->poll = c->read_isr = false;
}

void pic_init(struct pic *p, void (*intr)(void *ctx, bool level), void *ctx)
{
    memset(p, 0, sizeof(*p));
    p->intr = intr;
    p->ctx = ctx;
    p->chip[0].elcr_mask = 0xf8;        /* never the 8254, the keyboard, the cascade, */
    p->chip[1].elcr_mask = 0xde;        /* the clock and the coprocessor */
    pic_reset(p);
}

/* The inputs keep their levels; IRQ 9, the ACPI interrupt, is level-triggered as firmware leaves it; all is masked. */
void pic_reset(struct pic *p)
{
    for (unsigned i = 0; i < 2; i++) {
        struct pic_chip *c = &p->chip[i];

        c->elcr = i ? BIT(1) : 0;
        reset_chip(c);
        c->icw = 0;
        c->imr = 0xff;
        c->base = i ? 0x70 : 0x08;
    }
    update(p);
}

/* An edge is forgotten if the input falls before it was acknowledged. */
void pic_set_irq(struct pic *p, unsigned irq, bool level)
{
    struct pic_chip *c = &p->chip[irq >> 3 & 1];
    uint8_t bit = (uint8_t)BIT(irq & 7);

    if (irq > 15 || irq == CASCADE)
        return;
    if (!level) {
        c->irr &= (uint8_t)~bit;
        c->lines &= (uint8_t)~bit;
    } else {
        if ((c->elcr & bit) || !(c->lines & bit))
            c->irr |= bit;
        c->lines |= bit;
    }
    update(p);
}

static void acknowledge(struct pic_chip *c, unsigned irq)
{
    uint8_t bit = (uint8_t)BIT(irq);

    if (!c->auto_eoi)
        c->isr |= bit;
    else if (c->rotate_auto_eoi)
        c->lowest = (uint8_t)irq;
    if (!(c->elcr & bit))
        c->irr &= (uint8_t)~bit;
}

static uint8_t vector_of(struct pic_chip *c, bool master)
{
    int irq = request(c, master);

    if (irq < 0)
        return c->base + 7;
    acknowledge(c, (unsigned)irq);
    return (uint8_t)(c->base + irq);
}

uint8_t pic_acknowledge(struct pic *p)
{
    bool cascade = request(&p->chip[0], true) == (int)CASCADE;
    uint8_t vector = vector_of(&p->chip[0], true);

    if (cascade)
        vector = vector_of(&p->chip[1], false);
    update(p);
    return vector;
}

static void write_icw1(struct pic_chip *c, uint8_t value)
{
    reset_chip(c);
    c->single = value & ICW1_SINGLE;
    c->need_icw4 = value & ICW1_ICW4;
    c->icw = 2;
}

/* ICW2 to ICW4; the wiring of the cascade in ICW3 is fixed on a PC. */
static void write_icw(struct pic_chip *c, uint8_t value)
{
    uint8_t last = c->need_icw4 ? 4 : 0;

    if (c->icw == 2) {
        c->base = value & 0xf8;
        c->icw = c->single ? last : 3;
    } else if (c->icw == 3) {
        c->icw = last;
    } else {
        c->auto_eoi = value & ICW4_AUTO_EOI;
        c->nested = value & ICW4_NESTED;
        c->icw = 0;
    }
}

static void end_of_interrupt(struct pic_chip *c, int irq, bool rotate)
{
    if (irq < 0)
        return;
    c->isr &= (uint8_t)~BIT(irq);
    if (rotate)
        c->lowest = (uint8_t)irq;
}

static void write_ocw2(struct pic_chip *c, uint8_t value)
{
    switch ((enum ocw2)(value >> 5)) {
    case OCW2_ROTATE_AUTO_CLEAR:
    case OCW2_ROTATE_AUTO_SET:
        c->rotate_auto_eoi = value >> 7;
        break;
    case OCW2_EOI:
    case OCW2_ROTATE_EOI:
        end_of_interrupt(c, highest(c, blocking(c)), value >> 7);
        break;
    case OCW2_EOI_SPECIFIC:
    case OCW2_ROTATE_EOI_SPECIFIC:
        end_of_interrupt(c, value & 7, value >> 7);
        break;
    case OCW2_SET_PRIORITY:
        c->lowest = value & 7;
        break;
    case OCW2_NOP:
        break;
    }
}

static void write_ocw3(struct pic_chip *c, uint8_t value)
{
    if (value & OCW3_SET_MASK)
        c->special_mask = value & OCW3_MASK;
    if (value & OCW3_POLL)
        c->poll = true;
    else if ((value & 3) == OCW3_READ_IRR)
        c->read_isr = false;
    else if ((value & 3) == OCW3_READ_ISR)
        c->read_isr = true;
}

void pic_write(void *pic, uint64_t port, unsigned size, uint64_t value)
{
    struct pic *p = pic;
    struct pic_chip *c = &p->chip[port >> 7 & 1];
    uint8_t byte = (uint8_t)value;

    (void)size;
    if (port & 1) {
        if (c->icw)
            write_icw(c, byte);
        else
            c->imr = byte;
    } else if (byte & ICW1) {
        write_icw1(c, byte);
    } else if (byte & OCW3) {
        write_ocw3(c, byte);
    } else {
        write_ocw2(c, byte);
    }
    update(p);
}

/* A read after the poll command stands for the INTA cycles. */
static uint8_t read_poll(struct pic *p, struct pic_chip *c)
{
    int irq = request(c, c == &p->chip[0]);

    c->poll = false;
    if (irq < 0)
        return 0x07;
    acknowledge(c, (unsigned)irq);
    update(p);
    return (uint8_t)(0x80 | irq);
}

uint64_t pic_read(void *pic, uint64_t port, unsigned size)
{
    struct pic *p = pic;
    struct pic_chip *c = &p->chip[port >> 7 & 1];

    (void)size;
    if (c->poll)
        return read_poll(p, c);
    if (port & 1)
        return c->imr;
    return c->read_isr ? c->isr : c->irr;
}

uint64_t pic_elcr_read(void *pic, uint64_t port, unsigned size)
{
    struct pic *p = pic;

    (void)size;
    return p->chip[port & 1].elcr;
}

void pic_elcr_write(void *pic, uint64_t port, unsigned size, uint64_t value)
{
    struct pic *p = pic;
    struct pic_chip *c = &p->chip[port & 1];

    (void)size;
    c->elcr = (uint8_t)value & c->elcr_mask;
    c->irr |= c->lines & c->elcr;
    update(p);
}
