/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vdev/apic_net.h"

/*
 * A 24-input I/O APIC, version 0x20 (with the EOI register). The caller serializes all calls; messages go out through
 * deliver, which returns how many processors took it.
 */
#define IOAPIC_PINS 24

struct ioapic {
    uint8_t initial_id, id;
    uint8_t select;
    uint32_t lines;             /* the inputs' levels */
    uint64_t entry[IOAPIC_PINS];
    unsigned (*deliver)(void *ctx, const struct apic_message *message);
    void *ctx;
};

void ioapic_init(struct ioapic *io, uint8_t id, unsigned (*deliver)(void *ctx, const struct apic_message *message),
                 void *ctx);
void ioapic_reset(struct ioapic *io);
/* pin 0 to 23, others are ignored; level true is asserted, whatever the entry says of polarity. */
void ioapic_set_pin(struct ioapic *io, unsigned pin, bool level);
/* A local APIC ended a level-triggered interrupt with this vector. */
void ioapic_eoi(struct ioapic *io, uint8_t vector);

/* Device memory: one page; only the low 12 bits of the address count. */
uint64_t ioapic_read(void *ioapic, uint64_t addr, unsigned size);
void ioapic_write(void *ioapic, uint64_t addr, unsigned size, uint64_t value);
