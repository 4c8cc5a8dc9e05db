/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/vm.h"

/*
 * The scheduler: each pCPU runs the vCPUs on its list by virtual time (core/share.h). While there are not more of them
 * than pCPUs each stays where it was put; else one that waits moves to a pCPU that is idle, best near its VM's memory,
 * or further ahead.
 */

/* -ENOMEM. Once, before the processors start. */
int sched_init(void);
/* A pCPU's life in our world: returns when the hypervisor ends. */
void sched_loop(void);
/* Ends it: every pCPU leaves sched_loop. All VMs are off. */
void sched_end(void);

/*
 * Takes a place for a vCPU: on the allowed pCPU with the fewest; among equals on the node of the VM's first vCPU, where
 * its memory will be (first: its pCPU, -1: this is the first), and the boot processor last since it runs the console.
 * At least one that exists is allowed. sched_leave gives the place back.
 */
unsigned sched_choose(const struct cpu_set *allowed, int first);
void sched_leave(unsigned cpu);
/* Puts a new vCPU on its pCPU's list (slot->vcpu.cpu). Any processor. */
void sched_add(struct slot *slot);
/*
 * From long work of the hypervisor's, now and then: this pCPU's vCPUs have their turns meanwhile, half of the time, and
 * who wakes soon. No lock is held.
 */
void sched_breathe(void);
/*
 * The boot processor calls fn in the firmware's world (world_visit), between two turns of its vCPUs. Outside of the
 * EPTs, interrupts off, no lock is held.
 */
void sched_visit(void (*fn)(void *arg), void *arg);
/* Lets a pCPU look again at what it has to do. Any processor; nothing if it is this one. */
void sched_kick(unsigned cpu);
/* TSC ticks for which it has been a pCPU's, without those it slept. Any processor, about right. */
uint64_t sched_ran(const struct slot *slot);

/* The same when all there is to see is an interrupt of a vCPU or an earlier timer of its: cheaper if it runs alone. */
void sched_post(unsigned cpu);

/* What a vCPU waits for with sched_wait has come, after its `woken` was cleared. Any processor. */
void sched_wake(struct slot *slot);

/* vcpu_ops: see there. */
struct guest_regs *sched_resume(struct vcpu *v);
bool sched_goes_on(struct vcpu *v);
void sched_halt(struct vcpu *v);
void sched_spins(struct vcpu *v);
void sched_idle(struct vcpu *v);
void sched_wait(struct vcpu *v, uint64_t us);
void sched_interrupt(uint8_t vector);
