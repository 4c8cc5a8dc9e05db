/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/world.h"

#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/ioapic.h"
#include "arch/x86/paging.h"
#include "arch/x86/percpu_private.h"
#include "arch/x86/pic.h"
#include "arch/x86/traps.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"

/*
 * Each piece of the firmware's state is saved and restored in the one world where that is possible: what the switch
 * itself disturbs on the firmware's side, everything else on ours, where RDMSR may fault.
 */

#pragma GCC visibility push(hidden)
void world_switch(struct world_side *from, struct world_side *to); /* arch/x86/world.asm */
void world_begin(void);
void world_main(struct percpu *cpu) __attribute__((noreturn));
#pragma GCC visibility pop

#define OURS_CR0          (CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG)
#define OURS_CR4          (CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT)
#define DR7_OFF           0x400u
#define DESC_TSS_BUSY     BIT(41)

/* Kept because the floors above change them; those that a processor lacks are left out. */
static const uint32_t kept_msrs[] = {
    MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP, MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_FMASK,
    MSR_KERNEL_GS_BASE, MSR_TSC_AUX, MSR_DEBUGCTL, MSR_PERF_GLOBAL_CTRL, MSR_SPEC_CTRL, MSR_XSS,
};

_Static_assert(ARRAY_SIZE(kept_msrs) <= WORLD_MSRS, "struct firmware_state");

static bool cpuid_ecx1(unsigned bit)
{
    uint32_t a, b, c, d;

    cpuid(1, 0, &a, &b, &c, &d);
    return c >> bit & 1;
}

/* The stack as world_switch leaves one behind: six registers (rbx is the fifth), the return address, and the end. */
static void prepare_ours(struct percpu *cpu)
{
    struct world_side *ours = &private_of(cpu)->ours;
    uint64_t *top = cpu->stack_top;

    memset(top - 8, 0, 8 * sizeof(*top));
    top[-2] = (uint64_t)(uintptr_t)world_begin;
    top[-4] = (uint64_t)(uintptr_t)cpu;
    ours->rsp = (uint64_t)(uintptr_t)(top - 8);
    ours->cr0 = OURS_CR0;
    ours->cr3 = paging_root();
    ours->cr4 = OURS_CR4 | (cpuid_ecx1(26) ? CR4_OSXSAVE : 0);
    ours->gdt = (struct descriptor_ptr){ sizeof(struct gdt) - 1, (uint64_t)(uintptr_t)&private_of(cpu)->gdt };
    traps_idt(&ours->idt);
    ours->cs = GDT_CODE;
    ours->ss = ours->ds = ours->es = GDT_DATA;
    ours->fs = ours->gs = 0;
}

static void save_msrs(struct firmware_state *s)
{
    s->msr_present = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(kept_msrs); i++) {
        if (!rdmsr_safe(kept_msrs[i], &s->msr[i]))
            s->msr_present |= 1u << i;
    }
}

static void restore_msrs(const struct firmware_state *s)
{
    for (unsigned i = 0; i < ARRAY_SIZE(kept_msrs); i++) {
        if (s->msr_present >> i & 1)
            wrmsr_safe(kept_msrs[i], s->msr[i]);
    }
}

/* What our world has there, for the time of a visit. */
static void keep_ours(struct cpu_private *p)
{
    for (unsigned i = 0; i < ARRAY_SIZE(kept_msrs); i++) {
        if (p->saved.msr_present >> i & 1)
            rdmsr_safe(kept_msrs[i], &p->ours_msr[i]);
    }
    p->ours_xcr0 = p->ours.cr4 & CR4_OSXSAVE ? xgetbv(0) : 0;
}

static void put_back_ours(const struct cpu_private *p)
{
    for (unsigned i = 0; i < ARRAY_SIZE(kept_msrs); i++) {
        if (p->saved.msr_present >> i & 1)
            wrmsr_safe(kept_msrs[i], p->ours_msr[i]);
    }
    if (p->ours.cr4 & CR4_OSXSAVE)
        xsetbv(0, p->ours_xcr0);
}

static void save_debug(struct firmware_state *s)
{
    s->dr7 = read_dr7();
    write_dr7(DR7_OFF);
    s->dr[0] = read_dr0();
    s->dr[1] = read_dr1();
    s->dr[2] = read_dr2();
    s->dr[3] = read_dr3();
    s->dr6 = read_dr6();
}

static void restore_debug(const struct firmware_state *s)
{
    write_dr7(DR7_OFF);
    write_dr0(s->dr[0]);
    write_dr1(s->dr[1]);
    write_dr2(s->dr[2]);
    write_dr3(s->dr[3]);
    write_dr6(s->dr6);
    write_dr7(s->dr7);
}

static void set_pat(uint64_t value)
{
    wrmsr(MSR_PAT, value);
    write_cr3(paging_root());
}

/* In our world: takes over what the switch did not. */
static void settle_in(struct percpu *cpu)
{
    struct cpu_private *p = private_of(cpu);
    struct firmware_state *s = &p->saved;

    wrmsr(MSR_GS_BASE, (uint64_t)(uintptr_t)cpu);
    gdt_load_tss(&p->gdt);
    s->cr2 = read_cr2();
    fxsave(s->fpu);
    save_debug(s);
    s->pat = rdmsr(MSR_PAT);
    set_pat(PAT_VALUE);
    s->xcr0 = p->ours.cr4 & CR4_OSXSAVE ? xgetbv(0) : 0;
    save_msrs(s);
    mce_enter(&s->mce);
    if (cpu->index == 0) {
        pic_save_and_mask(s->pic_mask);
        ioapic_mask_all();
    }
    apic_save(&s->apic);
    apic_init_cpu();
}

static void move_out(struct percpu *cpu)
{
    struct cpu_private *p = private_of(cpu);
    struct firmware_state *s = &p->saved;

    cli();
    p->leaving = true;
    apic_quiesce();
    apic_restore(&s->apic);
    if (cpu->index == 0) {
        ioapic_unmask();
        pic_restore(s->pic_mask);
    }
    mce_leave(&s->mce);
    restore_msrs(s);
    if (p->ours.cr4 & CR4_OSXSAVE)
        xsetbv(0, s->xcr0);
    set_pat(s->pat);
    restore_debug(s);
    fxrstor(s->fpu);
    write_cr2(s->cr2);
    p->leaving = false;
}

void world_main(struct percpu *cpu)
{
    struct cpu_private *p = private_of(cpu);

    settle_in(cpu);
    p->run(cpu);
    move_out(cpu);
    p->visit = NULL;
    world_switch(&p->ours, &p->firmware);
    __builtin_unreachable();
}

/*
 * VMX operation goes on during a visit, so the firmware has the bits of CR0 and CR4 that it cannot do without
 * (SDM vol. 3D, A.7 and A.8): NE and VMXE, which do not matter to it. They go when it has come back.
 */
static void force_vmx_bits(struct cpu_private *p)
{
    p->forced_cr0 = p->forced_cr4 = 0;
    if (read_cr4() & CR4_VMXE) {
        p->forced_cr0 = rdmsr(MSR_VMX_CR0_FIXED0) & ~p->firmware.cr0;
        p->forced_cr4 = rdmsr(MSR_VMX_CR4_FIXED0) & ~p->firmware.cr4;
    }
    p->firmware.cr0 |= p->forced_cr0;
    p->firmware.cr4 |= p->forced_cr4;
}

void world_visit(void (*fn)(void *arg), void *arg)
{
    struct percpu *cpu = cpu_this();
    struct cpu_private *p = private_of(cpu);

    p->visit = fn;
    p->visit_arg = arg;
    keep_ours(p);
    move_out(cpu);
    force_vmx_bits(p);
    world_switch(&p->ours, &p->firmware);
    p->firmware.cr0 &= ~p->forced_cr0;
    p->firmware.cr4 &= ~p->forced_cr4;
    settle_in(cpu);
    put_back_ours(p);
}

/*
 * LTR takes only a TSS that is not busy, and the firmware's own still says so. Where it had none, TR keeps our selector
 * (arch/x86/gdt.h), also the next time.
 */
static void restore_tr(const struct cpu_private *p)
{
    unsigned at = p->saved.tr & ~7u;
    uint64_t *descriptor = (uint64_t *)(uintptr_t)(p->firmware.gdt.base + at);

    if (!at || at + 2 * sizeof(*descriptor) - 1 > p->firmware.gdt.limit)
        return;
    *descriptor &= ~DESC_TSS_BUSY;
    ltr(p->saved.tr);
}

/* Of the firmware's state what is saved and put back on its side. Interrupts off. */
static void leave_firmware(struct cpu_private *p)
{
    struct firmware_state *s = &p->saved;

    s->efer = rdmsr(MSR_EFER);
    s->fs_base = rdmsr(MSR_FS_BASE);
    s->gs_base = rdmsr(MSR_GS_BASE);
    s->tr = str();
    s->ldtr = sldt();
    wrmsr(MSR_EFER, s->efer | EFER_NXE);
    world_switch(&p->firmware, &p->ours);
    wrmsr(MSR_EFER, s->efer);
    wrmsr(MSR_FS_BASE, s->fs_base);
    wrmsr(MSR_GS_BASE, s->gs_base);
    restore_tr(p);
    lldt(s->ldtr);
}

/* In the firmware's world, for one call. */
static void visit(struct cpu_private *p)
{
    struct descriptor_ptr ours;

    traps_visit_idt(&p->firmware.idt, &ours);
    lidt(&ours);
    if (p->saved.rflags & RFLAGS_IF)
        sti();
    p->visit(p->visit_arg);
    cli();
    lidt(&p->firmware.idt);
}

void world_run(struct percpu *cpu, void (*fn)(struct percpu *cpu))
{
    struct cpu_private *p = private_of(cpu);

    p->saved.rflags = read_rflags();
    cli();
    p->run = fn;
    prepare_ours(cpu);
    for (;;) {
        leave_firmware(p);
        if (!p->visit)
            break;
        visit(p);
    }
    if (p->saved.rflags & RFLAGS_IF)
        sti();
}

bool world_ours(void)
{
    return paging_active();
}
