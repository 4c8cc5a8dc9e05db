/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <stdlib.h>

#include "lib/errno.h"
#include "vdev/board_parts.h"

/* A whole board with a house above it that notes what it is asked for. */
#define BOARD_KHZ 2400000ull

static struct board *board;
static _Atomic uint64_t board_tick;
static _Atomic uint64_t kicked, inited, sipied, nmied;  /* sets of vCPUs */
static _Atomic unsigned nmis, powers, characters;
static _Atomic int last_power, last_sipi, last_character;
static bool check_lock;                         /* nobody else uses the board: its lock must be free in every call */

static inline void lock_is_free(void)
{
    if (check_lock)
        assert_int_equal(board->lock.next, board->lock.serving);
}

static inline uint64_t op_now(void *ctx)
{
    (void)ctx;
    return board_tick;
}

static inline void op_kick(void *ctx, unsigned vcpu)
{
    (void)ctx;
    lock_is_free();
    kicked |= 1ull << vcpu;
}

static inline void op_init(void *ctx, unsigned vcpu)
{
    (void)ctx;
    lock_is_free();
    inited |= 1ull << vcpu;
}

static inline void op_sipi(void *ctx, unsigned vcpu, uint8_t vector)
{
    (void)ctx;
    lock_is_free();
    sipied |= 1ull << vcpu;
    last_sipi = vector;
}

static inline void op_nmi(void *ctx, unsigned vcpu)
{
    (void)ctx;
    lock_is_free();
    nmied |= 1ull << vcpu;
    nmis++;
}

static inline void op_power(void *ctx, enum board_power what)
{
    (void)ctx;
    lock_is_free();
    powers++;
    last_power = (int)what;
}

static inline void op_serial_out(void *ctx, uint8_t byte)
{
    (void)ctx;
    lock_is_free();
    characters++;
    last_character = byte;
}

static inline uint64_t op_wallclock(void *ctx)
{
    (void)ctx;
    return 1700000000;
}

static const struct board_ops board_ops = {
    op_now, op_kick, op_init, op_sipi, op_nmi, op_power, op_serial_out, op_wallclock
};

static inline void forget(void)
{
    kicked = inited = sipied = nmied = 0;
    nmis = powers = characters = 0;
    last_power = last_sipi = last_character = -1;
}

static inline void make_board(unsigned vcpus)
{
    const struct board_config config = { vcpus, BOARD_KHZ, 256 * MIB, false };

    check_lock = false;
    board_tick = 1000;
    board = malloc(board_size(vcpus));
    assert_non_null(board);
    board_init(board, &config, &board_ops, NULL);
    check_lock = true;
    forget();
}

static inline int free_board(void **state)
{
    (void)state;
    free(board);
    board = NULL;
    return 0;
}

/* Time passes; timers of every vCPU fire as they come due. */
static inline void run_us(uint64_t us)
{
    uint64_t end = board_tick + us * BOARD_KHZ / 1000;

    for (;;) {
        uint64_t next = TIMER_NEVER;
        unsigned who = 0;

        for (unsigned i = 0; i < board->config.vcpus; i++)
            if (timer_next(board_timers(board_vcpu(board, i))) < next) {
                next = timer_next(board_timers(board_vcpu(board, i)));
                who = i;
            }
        if (next > end)
            break;
        board_tick = next > board_tick ? next : board_tick;
        timer_run(board_timers(board_vcpu(board, who)), board_tick);
    }
    board_tick = end;
}

static inline void outb_to(unsigned vcpu, uint16_t port, uint32_t value)
{
    board_pio_write(board_vcpu(board, vcpu), port, 1, value);
}

static inline uint32_t inb_from(unsigned vcpu, uint16_t port)
{
    return board_pio_read(board_vcpu(board, vcpu), port, 1);
}

static inline void apic_put(unsigned vcpu, unsigned reg, uint32_t value)
{
    board_mmio_write(board_vcpu(board, vcpu), GPA(BOARD_LAPIC_BASE + reg), 4, value);
}

static inline uint32_t apic_get(unsigned vcpu, unsigned reg)
{
    return (uint32_t)board_mmio_read(board_vcpu(board, vcpu), GPA(BOARD_LAPIC_BASE + reg), 4);
}

static inline void ioapic_put(unsigned index, uint32_t value)
{
    board_mmio_write(board_vcpu(board, 0), GPA(BOARD_IOAPIC_BASE), 4, index);
    board_mmio_write(board_vcpu(board, 0), GPA(BOARD_IOAPIC_BASE + 0x10), 4, value);
}

static inline void init_8259(uint8_t mask0, uint8_t mask1, uint8_t icw4)
{
    static const uint16_t port[] = { 0x20, 0x21, 0x21, 0x21, 0x21, 0xa0, 0xa1, 0xa1, 0xa1, 0xa1 };
    const uint8_t value[] = { 0x11, 0x20, 0x04, icw4, mask0, 0x11, 0x28, 0x02, icw4, mask1 };

    for (unsigned i = 0; i < sizeof(value); i++)
        outb_to(0, port[i], value[i]);
}

/* The 8254 at 1000 Hz. */
static inline void start_pit(void)
{
    outb_to(0, 0x43, 0x34);
    outb_to(0, 0x40, 1193 & 0xff);
    outb_to(0, 0x40, 1193 >> 8);
}
