/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "tests/guests/rt/rt.h"

/* The parts of the guest `interrupts`, and what they share. */
void check_lapic_access(void);
void check_lapic_modes(void);
void check_lapic_timer(void);
void check_ipis(void);
void check_exceptions(void);
void check_rtc(void);
void check_lines(void);

/* Interrupts that came on each vector with count_on(); last_vectors holds them in order, newest last. */
extern volatile unsigned counts[256];
extern volatile uint8_t order[16];
extern volatile unsigned order_length;

/* Counts this vector and ends it at the local APIC. */
void count_on(uint8_t vector);
/* With interrupts on: until the vector's count reaches this or some seconds pass; returns the count. */
unsigned wait_for(uint8_t vector, unsigned count);
/* Lets pending interrupts come for a moment. */
void open_window(void);
