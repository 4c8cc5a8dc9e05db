/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/config.h"
#include "core/share.h"
#include "lib/types.h"
#include "numa/pmap.h"
#include "vdev/blk.h"
#include "vdev/board.h"
#include "vdev/persist.h"
#include "vdev/vif.h"
#include "vmx/vcpu.h"

/*
 * Life of a VM. All work on its memory (build, tear down) is done on its home pCPU, the one of its vCPU 0; anyone may
 * ask for a change (vm_start, vm_stop, vm_reset), which sets the state and wakes the home.
 *
 *   OFF -> STARTING -> RUNNING -> STOPPING -> OFF or, for a reset, STARTING
 */
enum vm_state { VM_OFF, VM_STARTING, VM_RUNNING, VM_STOPPING };

enum vcpu_state { VCPU_WAIT_SIPI, VCPU_RUNNABLE, VCPU_HALTED };

/* Asked of a vCPU by others; done on its own pCPU. */
enum { REQUEST_INIT = 1, REQUEST_SIPI = 2 };

struct vm;

/* A vCPU as the scheduler sees it. */
struct slot {
    struct vcpu vcpu;
    struct vm *vm;
    struct timer_queue *timers; /* its devices' */
    struct slot *next;         /* on its pCPU's list */
    struct share share;
    enum vcpu_state state;
    bool wake_on_interrupt;    /* halted with IF set */
    _Atomic bool listens;      /* halted until it is woken, or until this: */
    struct vtimer wait_end;
    bool moved;                /* another pCPU has given it to this one */
    bool retimed;              /* its VM was paused: the VMCS has the old tsc_base */
    bool fresh;                /* its VMCS has not been set up yet */
    _Atomic uint32_t requests;
    _Atomic uint8_t sipi_vector;
    struct vcpu_start start;
};

struct vm {
    const struct vm_config *config;
    unsigned index;
    unsigned home;             /* pCPU of vCPU 0 */
    unsigned cpu[CONFIG_MAX_VCPUS]; /* place of each vCPU while it is not off: where it starts */
    struct cpu_set allowed;    /* the machine's pCPUs that its vCPUs may run on */
    struct spinlock lock;      /* outermost: keeps board and slots while somebody from outside looks at them */
    _Atomic int state;         /* enum vm_state */
    _Atomic bool again;        /* stopping in order to start again */
    _Atomic bool cancelled;    /* somebody wants it off, whatever it is doing now */
    _Atomic unsigned active;   /* vCPUs on pCPUs' lists */
    _Atomic bool paused;       /* its vCPUs are to leave their pCPUs, and its time stands still */
    _Atomic unsigned inside;   /* vCPUs that have not left yet */
    _Atomic uint64_t left_at;  /* TSC when the last one left: time goes on from there */
    uint64_t tsc_base;         /* tick = TSC + tsc_base: tick 0 is the start */
    struct exit_stats exits;   /* of earlier lives */
    _Atomic uint64_t target_mib; /* of its memory it is to keep; the rest is for its balloon */
    _Atomic uint64_t squeezed_mib; /* of that, asked for while the machine is short of memory */
    _Atomic uint64_t balloon;  /* pages that its balloon has, as the guest says */
    _Atomic bool has_balloon;  /* it has said so */
    _Atomic uint64_t rung;     /* bells of its segments that have rung: a bit each (core/vm_segments.h) */
    struct pmap pmap;
    struct blk disks;
    enum persist_how log_task[CONFIG_MAX_DISKS]; /* what is to be done with a disk's log at the next start */
    bool only_logs;            /* the next start is for that alone */
    struct vifs nets;
    struct board *board;
    unsigned board_order;
    struct slot *slots[CONFIG_MAX_VCPUS];
};

/* All VMs of the configuration. */
unsigned vm_count(void);
struct vm *vm_at(unsigned index);
struct vm *vm_by_name(const char *name);
bool vm_any_alive(void);
/* Is one starting or stopping? */
extern _Atomic unsigned vms_changing;
static inline bool vm_any_changing(void) { return atomic_load_explicit(&vms_changing, memory_order_relaxed); }

/* 0, or why the first VM that could not be built could not (-errno; it was said). */
int vm_first_error(void);

/*
 * Makes the VMs of the configuration known; nothing is started. -EINVAL: one may run on no pCPU; -ENOMEM: their memory
 * is more than there is (it said why). unix_time: seconds since 1970 now.
 */
int vm_setup(const struct config *config, int64_t unix_time);

/* -EBUSY when the VM's state does not allow it. Boot processor (it takes places on the pCPUs). */
int vm_start(struct vm *vm);
/*
 * Empties the log of a disk, or writes it into the image: now, if the VM is off (0; the log says how it went), else
 * when it starts next (-EBUSY). -EINVAL: that disk has no log. Boot processor.
 */
int vm_log_task(struct vm *vm, unsigned disk, enum persist_how how);
/* As vm_start; any processor. */
int vm_stop(struct vm *vm);
int vm_reset(struct vm *vm);
/* No vCPU of it will ever run again by itself: all are halted with interrupts off, or were never started. */
bool vm_halted_for_ever(const struct vm *vm);
/*
 * With APICv: maps the page that makes the processor answer for the local APICs, or takes it away, after one of them
 * has changed its mode or address. On the vCPU's own pCPU. -ENOMEM.
 */
int vm_map_apic(struct vm *vm);
/*
 * Stops its time, and lets it go on as if nothing had been. -EBUSY: it does not run, or is paused already, or is not,
 * or (to resume) some vCPU is still on its way out. Boot processor.
 */
int vm_pause(struct vm *vm);
int vm_resume(struct vm *vm);
/* A vCPU of it goes to run (false: it may not, the VM is paused), and has stopped running. */
bool vm_enter(struct vm *vm);
void vm_left(struct vm *vm);
/* Its clock: TSC + tsc_base, standing still while it is paused. */
uint64_t vm_tick(const struct vm *vm);
/*
 * How much of its memory the guest is to keep, 1 MiB to all of it. It is told, and does so if and when it likes: its
 * driver asks by hypercall, saying how many pages its balloon has (vm_balloon_report: how many it should have).
 */
void vm_set_target(struct vm *vm, uint64_t mib);
uint64_t vm_balloon_report(struct vm *vm, uint64_t holds);
/* So much less for now, down to 1 MiB. */
void vm_squeeze(struct vm *vm, uint64_t mib);
/* Stops it with a dump: it made a mistake. On the vCPU's own pCPU. */
void vm_crash(struct vm *vm, struct vcpu *v, const char *why);
const char *vm_state_name(const struct vm *vm);
/* Exits by reason of this and earlier lives, summed over vCPUs. */
void vm_exits(struct vm *vm, struct exit_stats *out);
/* Those of one vCPU's present life. -ENOENT: it has none. */
int vm_vcpu_exits(struct vm *vm, unsigned vcpu, struct exit_stats *out);

/* Gives the VM's serial port a byte; false: no room now. A VM that is off swallows it. Any processor. */
bool vm_serial_in(struct vm *vm, uint8_t byte);

/*
 * How each vCPU of it fared: where it is, for how long it has run, its longest wait after waking since the last time
 * this was asked. A line each.
 */
void vm_shares(struct vm *vm, void (*print)(const char *line));

/*
 * The last exits of its vCPUs, of all VMs (NULL), and only of those that are on this pCPU (TRACE_ALL_CPUS: on any), in
 * the order of time, a line each: at most TRACE_LINES. Boot processor.
 */
#define TRACE_LINES    64u
#define TRACE_ALL_CPUS UINT32_MAX
void vm_trace(struct vm *vm, unsigned cpu, void (*print)(const char *line));

/* The home's part of the state machine; true if something was done. */
bool vm_service(struct vm *vm);
