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
 * Builds the per-CPU block of each processor: struct percpu, stacks (main 32 KiB, IST stacks for NMI, #DF, #MC, each with an unmapped
 * guard page below), GDT, TSS. The IDT is common. After paging_begin/paging_map of the memory the pages come from.
 */
int percpu_init(unsigned cpus, const uint32_t *apic_id, page_source pages, uint64_t (*contiguous)(unsigned pages));

/*
 * On each processor in the firmware's world, before world_run and after apic_mmio_base: -ENOTSUP when its state or the
 * processor itself is one that world_run cannot leave and come back to (5-level paging, PCIDs, no NX or PAT, a local
 * APIC that is off or in another mode than the boot processor's).
 */
int world_check(void);

/*
 * World switch: from the firmware's world, with its stack, saves everything we will change (CR0/3/4, EFER, PAT, GDT, IDT, TR, LDTR, segments,
 * FS/GS bases, RFLAGS.IF, FPU/SSE state and XCR0, DR7, local APIC: SVR, TPR, LVTs, timer, mode; on the boot processor the 8259 masks), loads
 * ours, calls fn(cpu) on the processor's own stack with interrupts off, and when fn returns puts everything back. Called once per processor.
 */
void world_run(struct percpu *cpu, void (*fn)(struct percpu *cpu));
