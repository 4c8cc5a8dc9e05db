/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vmx/vcpu.h"

/*
 * The parts of a hardware task switch: task.c has the order of events, task_segments.c loads the new task's segments.
 */

/* A segment descriptor (SDM vol. 3, 3.4.5), and where it stands. */
struct descriptor {
    uint64_t raw;
    uint32_t at;               /* linear address */
};

#define DESC_ACCESSED     BIT(40)
#define DESC_BUSY         BIT(41)       /* of a TSS */

uint32_t desc_rights(uint64_t raw);
uint32_t desc_limit(uint64_t raw);

/*
 * n bytes of guest memory at a linear address as the processor itself reaches its tables. 0; else the guest has its
 * fault, or has been stopped because no memory is there.
 */
int task_read(struct vcpu *v, uint32_t linear, void *to, size_t n);
int task_write(struct vcpu *v, uint32_t linear, const void *from, size_t n);

/*
 * Queues a fault about a selector; external: something outside the program caused it (EXT, SDM vol. 3, 6.13). -EFAULT.
 */
int task_fault(struct vcpu *v, uint8_t vector, uint16_t selector, bool external);

/* The descriptor of a selector in the GDT or LDT. -ERANGE: outside the table. -EFAULT: as task_read. */
int task_descriptor(struct vcpu *v, uint16_t selector, struct descriptor *d);

/* A system segment's registers: LDTR or TR. */
void task_set_system(enum vmcs_segment s, uint16_t selector, uint64_t raw);

/*
 * LDTR and the six segment registers (index: enum vmcs_segment) of a task whose EFLAGS are loaded, in the order LDTR,
 * SS, CS, the others. -EFAULT: the fault is queued, and the registers from there on are unusable.
 */
int task_load_segments(struct vcpu *v, const uint16_t selector[6], uint16_t ldt, bool external);
