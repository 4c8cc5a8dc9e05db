/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "arch/x86/percpu.h"
#include "lib/types.h"

/* Memory of the hypervisor's own world, identity-mapped: address = physical address. */
enum map_kind {
    MAP_CODE,   /* R-X */
    MAP_RODATA, /* R-- */
    MAP_DATA,   /* RW- */
    MAP_DEVICE, /* RW-, uncached */
    MAP_FRAME,  /* RW-, write-combining */
};

/* One zeroed 4 KiB page, identity-mapped in the firmware's world and in ours; 0 when there is none. */
typedef uint64_t (*page_source)(void);

/* Called in the firmware's world on the boot processor, in this order. -ENOMEM or -EINVAL. */
int paging_begin(page_source pages);
/*
 * Biggest pages that fit; what was mapped there takes the new kind. Base and size are multiples of 4 KiB, below 2^47.
 * May also be called in our world, by one processor at a time (it flushes there only: enough for what was not mapped).
 */
int paging_map(uint64_t base, uint64_t size, enum map_kind kind);
/* A guard page; splits what is larger. Nothing mapped there is fine. */
int paging_unmap_page(uint64_t addr);

/*
 * Builds the per-CPU block of each processor: struct percpu, GDT, TSS and stacks (main 32 KiB, IST stacks for NMI, #DF
 * and #MC, each with an unmapped guard page below), and the common IDT. Entry 0 of apic_id is the boot processor.
 * contiguous gives the address of that many pages in a row, 0 if there are none. Once per start of the program, in the
 * firmware's world, after paging_map of the memory that the pages come from. -EINVAL (0 or more than 256), -ENOMEM.
 */
int percpu_init(unsigned cpus, const uint32_t *apic_id, page_source pages, uint64_t (*contiguous)(unsigned pages));

/*
 * In the firmware's world on the boot processor, after apic_mmio_base: can world_run leave it and come back, here and
 * on the others, which start and wait bring to it (boot_info)? -ENOTSUP when the state or the processor itself is not
 * one for that (5-level paging, PCIDs, no NX or PAT, a local APIC that is off or in another mode than the boot
 * processor's), after a line for each such processor. No processor is left behind. Also what start and wait return.
 */
int world_check(unsigned cpus, const uint32_t *apic_id, int (*start)(void (*fn)(unsigned index)), int (*wait)(void));

/*
 * World switch: from the firmware's world, with its stack, saves everything we will change, loads ours, calls fn(cpu)
 * on the processor's own stack with interrupts off, and when fn returns puts everything back. May be called again.
 * Saved: CR0/2/3/4, EFER, PAT, XCR0, GDT, IDT, TR, LDTR, segments, FS/GS bases, RFLAGS.IF, x87 and SSE state, the debug
 * registers, the MSRs of system calls, IA32_DEBUGCTL, XSS, SPEC_CTRL, TSC_AUX, IA32_MCi_CTL; the local APIC's SVR, TPR,
 * LVTs and timer (its mode is never changed); on the boot processor the masks of the 8259 pair and of the I/O APICs.
 *
 * fn leaves VMX operation before it returns. An interrupt of the firmware's that was pending on the way in may arrive
 * in our world: acknowledge any vector that is not ours and forget it.
 */
void world_run(struct percpu *cpu, void (*fn)(struct percpu *cpu));

/*
 * From our world, on the boot processor, back to the firmware's for one call of fn(arg), with the firmware's stack,
 * interrupts and all the state that world_run names: boot services can be called. The other processors stay in our
 * world, and the interrupts that they send meanwhile are forgotten: whoever visits looks at everything afterwards, and
 * arms its timer again. No vCPU is loaded; VMX operation may go on (the firmware sees CR0.NE and CR4.VMXE set).
 */
void world_visit(void (*fn)(void *arg), void *arg);

/* Is this processor in our world? */
bool world_ours(void);
