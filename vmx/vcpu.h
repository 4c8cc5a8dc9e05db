/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/log.h"
#include "lib/types.h"
#include "numa/pmap.h"
#include "vmx/apicv.h"
#include "vmx/cpuid.h"
#include "vmx/exit_stats.h"
#include "vmx/gwalk.h"
#include "vmx/regs.h"
#include "vmx/vmcs.h"

struct vcpu;

/* What the vCPU needs from the floors above; called on the vCPU's own pCPU. */
struct vcpu_ops {
    uint32_t (*pio_read)(struct vcpu *v, uint16_t port, unsigned size);
    void (*pio_write)(struct vcpu *v, uint16_t port, unsigned size, uint32_t value);
    uint64_t (*mmio_read)(struct vcpu *v, struct gpa at, unsigned size);
    void (*mmio_write)(struct vcpu *v, struct gpa at, unsigned size, uint64_t value);
    int (*msr_read)(struct vcpu *v, uint32_t msr, uint64_t *value);        /* local APIC's MSRs; -EINVAL: #GP */
    int (*msr_write)(struct vcpu *v, uint32_t msr, uint64_t value);
    uint8_t (*cr8)(struct vcpu *v);                /* task priority class, 0 to 15 */
    void (*set_cr8)(struct vcpu *v, uint8_t cr8);
    bool (*pending)(struct vcpu *v);               /* an interrupt waits and only IF may hold it back */
    int (*take_interrupt)(struct vcpu *v);         /* its vector, -1: gone; with APICv only of the 8259s */
    bool (*apicv_state)(struct vcpu *v, struct apicv_state *out);      /* APICv: what is new, false: nothing */
    void (*apic_written)(struct vcpu *v, unsigned offset);             /* APICv: the guest's write is in the page */
    void (*apic_ended)(struct vcpu *v, uint8_t vector);                /* APICv: EOI of a level-triggered interrupt */
    void (*hypercall)(struct vcpu *v);             /* VMCALL at CPL 0: number and arguments in v->regs, result to rax */
    bool (*quick_hypercall)(struct vcpu *v);       /* the same on the short way (vmx/quick.h); false: not this one */
    void (*halt)(struct vcpu *v);                  /* HLT: not to run until something is pending */
    void (*spins)(struct vcpu *v);                 /* a loop of PAUSEs has lasted long (vcpu_spins_end) */
    void (*idle)(struct vcpu *v);                  /* the same whatever RFLAGS.IF says */
    void (*wait)(struct vcpu *v, uint64_t us);     /* the same, but at most so long, or until it is woken */
    uint64_t (*balloon)(struct vcpu *v, uint64_t holds); /* pages the guest's balloon has; that it should have */
    void (*ring)(struct vcpu *v, const struct segment *s); /* its bell, in all other VMs that have it */
    uint64_t (*rung)(struct vcpu *v);              /* bells of its VM that have rung since it asked last, a bit each */
    void (*interrupt)(uint8_t vector);             /* an interrupt of the real machine ended the guest's run */
    void (*stop)(struct vcpu *v, const char *why); /* this VM has made a mistake it cannot go on from */
    uint64_t (*wallclock)(struct vcpu *v);         /* ns since 1970 at the VM's tick 0 */
    struct guest_regs *(*resume)(struct vcpu *v);  /* end of an exit: registers to enter with, NULL: leave vmx_run */
    bool (*goes_on)(struct vcpu *v);               /* short form of it: the timers are set, nothing asks for more */
};

/* An event to be delivered at the next entry, in the layout of the VM-entry interruption field. */
struct vcpu_event { uint32_t info, error, length; };

/* State the guest owns in the processor but VMX does not switch (SDM vol. 3, 28.3 leaves it to us). */
struct vcpu_extra {
    uint64_t star, lstar, cstar, fmask, kernel_gs_base, tsc_aux;
    uint64_t xcr0, xcr0_allowed;   /* allowed 0: no XSAVE, FXSAVE it is */
    uint64_t dr[4], dr6, cr2;
    void *fpu;                 /* XSAVE area, one page */
};

struct pvclock { uint64_t msr, wall_msr; uint32_t version; };
/* waited: ticks that it had waited for a pCPU when it last got one; stolen: those since the guest wants to know. */
struct steal { uint64_t msr, waited, stolen; uint32_t version; };

#define EXIT_RING 64u          /* a power of two */
struct exit_record { uint64_t tsc, rip, qualification; uint32_t reason; };

#define MTRR_VARIABLE 8
#define MTRR_FIXED    11
struct vcpu_mtrr { uint64_t def_type, variable[2 * MTRR_VARIABLE], fixed[MTRR_FIXED]; };

struct vcpu {
    struct guest_regs regs;    /* first: vmx/entry.asm saves here */
    uint64_t look_at;          /* TSC until which a quiet exit goes straight back; 0: ask ops->resume */
    const _Atomic bool *news;  /* something changed that decides which interrupt is due (vdev/board.h) */
    const struct vcpu_ops *ops;
    void *owner;               /* the VM, for core/ */
    void *devices;             /* its part of the VM's board, for core/ */
    void *disks;               /* the VM's struct blk, for hypercalls/ */
    void *nets;                /* the VM's struct vifs, likewise */
    struct pmap *pmap;
    unsigned index;            /* in its VM; also its APIC id */
    unsigned vcpus;            /* of its VM */
    _Atomic unsigned cpu;      /* pCPU on whose list it is */
    int loaded_on;             /* pCPU whose host state the VMCS holds, -1: none */
    uint16_t vpid;
    uint64_t ept_generation;   /* of the EPT when this pCPU last invalidated */
    struct hpa vmcs;
    uint64_t tsc_base;         /* VM's tick = TSC + tsc_base */
    uint64_t tsc_adjust;       /* guest's TSC = VM's tick + tsc_adjust */
    uint32_t proc_controls;    /* as in the VMCS */
    bool spins_end;            /* long loops of PAUSEs exit */
    void *apic_page;           /* virtual-APIC page */
    struct apicv_state apicv;  /* what the processor was told last */
    unsigned apicv_due;        /* what apicv_due said last */
    struct vcpu_event event;   /* to inject next */
    _Atomic bool woken;        /* what it waits for has come (ops->wait) */
    _Atomic unsigned nmis;     /* that wait: at most two, the one to be delivered and the one latched behind it */
    uint64_t misc_enable;
    struct vcpu_extra extra;
    struct vcpu_mtrr mtrr;
    struct pvclock clock;
    struct steal steal;
    struct cpuid_answer cpuid[CPUID_ANSWERS];
    struct exit_stats exits;
    struct exit_record ring[EXIT_RING];
    uint64_t exit_count;
};

/* Where a vCPU starts: core/loader.h's guest_entry in VMX terms. */
struct vcpu_start {
    enum { START_LONG64, START_PROT32, START_SIPI } mode;
    uint64_t rip, rsp, cr3, gdt;
    uint16_t gdt_limit, cs, ds;
    uint8_t sipi_vector;
    uint64_t rax, rbx, rsi;
};

/*
 * Gives the vCPU its VMCS and FPU page. -ENOMEM. pmap, index, vcpus, cpu, vpid, owner, ops, tsc_base,
 * apic_page are set by the caller.
 */
int vcpu_init(struct vcpu *v);
void vcpu_destroy(struct vcpu *v);
/* Architectural state at the start; on the vCPU's pCPU, loaded. */
void vcpu_reset(struct vcpu *v, const struct vcpu_start *start);
/*
 * Makes the vCPU the one this pCPU runs (its VMCS current, its registers in place), and takes it off again; or both in
 * one, which is faster. Its VMCS stays the pCPU's until vcpu_release, which comes before the vCPU is loaded elsewhere
 * or ends (SDM vol. 3, 25.11.1); it is not loaded then.
 */
void vcpu_load(struct vcpu *v);
void vcpu_put(struct vcpu *v);
void vcpu_switch(struct vcpu *from, struct vcpu *to);
void vcpu_release(struct vcpu *v);
/* Last steps before the guest runs: pending events, interrupt window, invalidation. */
void vcpu_prepare_entry(struct vcpu *v);
/* The first of them alone, for a vCPU that has never left its EPT. */
void vcpu_inject_events(struct vcpu *v);
/* The last of them: from here on others may wait for this pCPU (ept/ept.h). */
void vcpu_enter_ept(struct vcpu *v);
/* vmx/entry.asm: runs the loaded vCPU until ops->resume returns NULL. */
void vmx_run(struct guest_regs *regs);

/*
 * Queues an exception for the guest; on top of another one it becomes a double or triple fault (SDM vol. 3, table 6-5).
 */
void vcpu_exception(struct vcpu *v, uint8_t vector);
void vcpu_exception_error(struct vcpu *v, uint8_t vector, uint32_t error);
void vcpu_page_fault(struct vcpu *v, uint64_t linear, uint32_t error);
/* An NMI; any processor (the caller kicks). */
void vcpu_nmi(struct vcpu *v);
/* The exit's qualification (SDM vol. 3, 28.2.1), which the record of exits then has too. */
uint64_t vcpu_qualification(struct vcpu *v);
/* Past the instruction that exited; the second form where the exit does not give its length. */
void vcpu_skip(struct vcpu *v);
void vcpu_skip_length(struct vcpu *v, unsigned length);
/* Sets or clears a primary control when it differs. */
void vcpu_control(struct vcpu *v, uint32_t bit, bool on);

/* Whether long loops of PAUSEs are to exit, where the processor can tell: ops->spins. Loaded. */
void vcpu_set_spins_end(struct vcpu *v, bool end);
static inline void vcpu_spins_end(struct vcpu *v, bool end)
{
    if (v->spins_end != end)
        vcpu_set_spins_end(v, end);
}

uint64_t vcpu_tick(const struct vcpu *v);          /* VM's clock now */
/* Its VM was paused: tick = TSC + base from now on. Loaded. */
void vcpu_set_tsc_base(struct vcpu *v, uint64_t base);
/* Registers, control registers, segments, last exits, through the log; the vCPU is loaded. */
void vcpu_dump(struct vcpu *v, const char *why);
/* A line about an exit of the vCPU with this index. */
void exit_record_text(const struct exit_record *r, unsigned vcpu, char *text, size_t size);
/* For traps_set_dump_hook: a panic's dump has the last exits of the vCPU that is loaded here, if one is. No locks. */
void vcpu_dump_panic(void);
/* How the guest pages now, at its present privilege; and a walk with that, for who has more than one. */
void vcpu_paging(struct gwalk_state *s);
int vcpu_walk(struct vcpu *v, const struct gwalk_state *s, uint64_t linear, enum gwalk_access access, struct gpa *out,
              uint32_t *error_code);
/* The guest's linear memory at its present privilege; -EFAULT with *error_code for #PF, -ERANGE: not canonical, #GP. */
int vcpu_translate(struct vcpu *v, uint64_t linear, enum gwalk_access access, struct gpa *out, uint32_t *error_code);
/* The same, and queues the fault. */
int vcpu_translate_or_fault(struct vcpu *v, uint64_t linear, enum gwalk_access access, struct gpa *out);
/* The same for the processor's own accesses, to descriptor tables and task state: a supervisor's at any CPL. */
int vcpu_translate_system(struct vcpu *v, uint64_t linear, enum gwalk_access access, struct gpa *out);
