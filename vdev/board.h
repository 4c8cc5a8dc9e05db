/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"
#include "numa/pmap.h"
#include "vdev/timer.h"
#include "vmx/apicv.h"

/*
 * The board: all devices of one VM and the wires between them. The house above hands it what it needs (board_ops)
 * and calls in from the vCPUs' exits. Locking is inside: any function may be called on any pCPU at any time, except
 * where it says "own vCPU" (only from the pCPU that runs this vCPU). No lock is held while board_ops are called
 * that could call back (kick, init, sipi, nmi, power, serial_out).
 */
struct board;
struct board_vcpu;             /* its part for one vCPU */

enum board_power { BOARD_POWER_OFF, BOARD_RESET };

struct board_ops {
    uint64_t (*now)(void *ctx);                                     /* ticks of the VM's clock, never backwards */
    /* Look at board_pending() and the timers soon: leave the guest or wake from halt. */
    void (*kick)(void *ctx, unsigned vcpu);
    void (*init)(void *ctx, unsigned vcpu);                         /* INIT: reset the vCPU and let it wait for SIPI */
    void (*sipi)(void *ctx, unsigned vcpu, uint8_t vector);         /* ignored unless it waits for one */
    void (*nmi)(void *ctx, unsigned vcpu);
    void (*power)(void *ctx, enum board_power what);
    void (*serial_out)(void *ctx, uint8_t byte);
    uint64_t (*wallclock)(void *ctx);                               /* seconds since 1970, UTC */
};

struct board_config {
    unsigned vcpus;             /* 1 to 64; APIC id = vCPU number */
    uint64_t tick_khz;          /* rate of ops->now */
    uint64_t memory;            /* bytes of RAM, for the CMOS memory size bytes */
    bool apicv;                 /* the processor delivers the local APICs' interrupts: board_apicv_state */
};

#define BOARD_MAX_VCPUS   64
#define BOARD_PM_BASE     0x600    /* ACPI: PM1a event block 0x600, PM1a control 0x604, PM timer 0x608 */
#define BOARD_IOAPIC_BASE 0xfec00000ull
#define BOARD_LAPIC_BASE  0xfee00000ull
#define BOARD_GSI_SERIAL  4
#define BOARD_GSI_SCI     9
#define BOARD_GSI_DISKS   17
#define BOARD_GSI_SEGMENTS 19
#define BOARD_GSI_HINTS   16       /* paravirtual devices: 16 to 23, edge-triggered, as vdev/dsdt.asl says */
#define BOARD_GSI_NET     18
#define BOARD_GSI_ISM     20

/* Memory for a board: bytes for this many vCPUs. */
size_t board_size(unsigned vcpus);
void board_init(struct board *b, const struct board_config *config, const struct board_ops *ops, void *ctx);
/* Back to power-on state (the VM's reset); all vCPUs are stopped. */
void board_reset(struct board *b);

/* The part for this vCPU, as long as the board is there. */
struct board_vcpu *board_vcpu(struct board *b, unsigned vcpu);

/* Port I/O, size 1, 2 or 4. Ports nobody owns read all ones; both directions count them. */
uint32_t board_pio_read(struct board_vcpu *v, uint16_t port, unsigned size);
void board_pio_write(struct board_vcpu *v, uint16_t port, unsigned size, uint32_t value);

/*
 * Device memory, size 1, 2, 4 or 8, outside RAM. Memory nobody owns reads all ones, writes vanish; both are counted.
 * Own vCPU: each has its own local APIC's page.
 */
uint64_t board_mmio_read(struct board_vcpu *v, struct gpa addr, unsigned size);
void board_mmio_write(struct board_vcpu *v, struct gpa addr, unsigned size, uint64_t value);

/*
 * MSRs of the local APIC: IA32_APIC_BASE, TSC_DEADLINE (in the VM's ticks: the caller takes the guest's own adjustment
 * out, but leaves 0 alone), 0x800-0x8ff. Own vCPU. -EINVAL means #GP.
 */
int board_msr_read(struct board_vcpu *v, uint32_t msr, uint64_t *value);
int board_msr_write(struct board_vcpu *v, uint32_t msr, uint64_t value);

/* CR8, 0 to 15: bits 7:4 of the task priority register. Own vCPU. */
uint8_t board_tpr(struct board_vcpu *v);
void board_set_tpr(struct board_vcpu *v, uint8_t cr8);

/* Would an external interrupt be delivered now if IF were set? Own vCPU, cheap: asked before every entry. */
bool board_pending(struct board_vcpu *v);
/* The same before an entry, without APICv: what is news is known from then on. */
bool board_look(struct board_vcpu *v);
/*
 * Set whenever something happens, to the local APIC or in it, that decides which interrupt is due. board_look and
 * board_apicv_state clear it. Any pCPU may read it.
 */
const _Atomic bool *board_news(struct board_vcpu *v);
/*
 * Takes it: vector 0-255, or -1 if it went away. From the local APIC (IRR to ISR; not with APICv) or, through
 * LINT0/ExtINT, from the 8259s. Own vCPU.
 */
int board_take_interrupt(struct board_vcpu *v);

/*
 * With APICv (vmx/apicv.h). The virtual-APIC page of a vCPU. Are all local APICs in xAPIC mode at their usual address?
 * Own vCPU: what the processor must be told before the guest runs on, false: nothing; the guest has written the
 * register at this offset of the page; it has ended this level-triggered interrupt.
 */
void *board_apic_page(struct board_vcpu *v);
bool board_xapic_plain(struct board *b);
bool board_apicv_state(struct board_vcpu *v, struct apicv_state *out);
void board_apic_written(struct board_vcpu *v, unsigned offset);
void board_apic_ended(struct board_vcpu *v, uint8_t vector);

/* INIT reached this vCPU: its local APIC goes to its state after INIT (SDM vol. 3, 11.4.7.3). Own vCPU. */
void board_lapic_reset(struct board_vcpu *v);

/* The timers to run on this vCPU's pCPU (PIT, RTC and the like are on vCPU 0's queue). */
struct timer_queue *board_timers(struct board_vcpu *v);

/* A character for COM1's receiver; false: no room now, try later. */
bool board_serial_in(struct board *b, uint8_t byte);
/* True when board_serial_in would take a byte. */
bool board_serial_room(struct board *b);

/* The power button, as an ACPI event. */
void board_power_button(struct board *b);

/* A pulse on an edge-triggered input of the I/O APIC. */
void board_pulse(struct board *b, unsigned gsi);

struct board_stats { uint64_t unowned_pio, unowned_mmio, uart_tx, uart_rx, interrupts; };
void board_get_stats(struct board *b, struct board_stats *out);

/*
 * Guest ACPI tables: writes RSDP at BOARD_ACPI_RSDP and tables after it into buf, which will be placed at
 * guest-physical BOARD_ACPI_BASE. vcpus 1 to 64; the windows are persistent memory. Returns bytes used or -ENOSPC.
 */
#define BOARD_ACPI_BASE 0xe0000ull
#define BOARD_ACPI_SIZE 0x10000ull
#define BOARD_ACPI_RSDP BOARD_ACPI_BASE
int board_acpi_build(unsigned vcpus, const struct pmap_window *windows, unsigned count, void *buf, size_t size);
