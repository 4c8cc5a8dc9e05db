/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vdev/acpi_pm.h"
#include "vdev/apic_net.h"
#include "vdev/board.h"
#include "vdev/bus.h"
#include "vdev/ioapic.h"
#include "vdev/kbd.h"
#include "vdev/pic.h"
#include "vdev/pit.h"
#include "vdev/rtc.h"
#include "vdev/uart.h"

/* What a board is made of: only vdev/board.c and its tests look inside. */

/* Calls to the house above that must wait until the lock is released. */
struct board_later {
    struct apic_effects fx;
    bool timer;                 /* vCPU 0's queue begins earlier */
    bool transmit;
    uint8_t byte;               /* one access sends at most one */
    bool power;
    enum board_power what;
};

struct board_vcpu {
    struct lapic lapic;
    struct board *board;
    struct timer_queue queue;
};

struct board {
    struct board_config config;
    struct board_ops ops;
    void *ctx;
    struct vclock clock;

    struct spinlock lock;       /* guards from here to `later` */
    struct bus ports, memory;
    struct pic pic;
    struct ioapic ioapic;
    struct pit pit;
    struct rtc rtc;
    struct uart com1;
    struct kbd kbd;
    struct acpi_pm pm;
    uint64_t next_timer;        /* of vCPU 0's queue when the lock was taken */
    struct board_later later;

    atomic_bool intr;           /* the 8259s' output: written under the lock, read without */
    _Atomic uint64_t interrupts;
    struct apic_net net;
    struct board_vcpu vcpu[];
};
