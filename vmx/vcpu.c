/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vmx/vcpu.h"
#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/percpu.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmx/caps.h"
#include "vmx/setup.h"
#include "vmx/speculation.h"
#include "vmx/vmcs_io.h"
#include "vmx/vmx.h"

/* The legacy region of an XSAVE area (SDM vol. 1, table 10-2) as after power-up. */
#define FXSAVE_FCW    0
#define FXSAVE_MXCSR  24
#define FCW_RESET     0x37f
#define MXCSR_RESET   0x1f80

int vcpu_init(struct vcpu *v)
{
    struct hpa fpu = page_alloc_zeroed(0, PAGE_ORDER_4K, PAGE_HYPERVISOR);

    v->vmcs = page_alloc_zeroed(0, PAGE_ORDER_4K, PAGE_HYPERVISOR);
    v->extra.fpu = hpa_ptr(fpu);
    if (!fpu.v || !v->vmcs.v) {
        vcpu_destroy(v);
        return -ENOMEM;
    }
    *(uint32_t *)hpa_ptr(v->vmcs) = vmx_caps.revision;
    vmx_clear(v->vmcs);
    v->loaded_on = -1;
    vcpu_extra_reset(v);
    return 0;
}

void vcpu_destroy(struct vcpu *v)
{
    if (v->vmcs.v)
        page_free(v->vmcs, PAGE_ORDER_4K);
    if (v->extra.fpu)
        page_free(ptr_hpa(v->extra.fpu), PAGE_ORDER_4K);
    v->vmcs = HPA_NONE;
    v->extra.fpu = NULL;
}

void vcpu_extra_reset(struct vcpu *v)
{
    void *fpu = v->extra.fpu;

    memset(fpu, 0, PAGE_SIZE);
    *(uint16_t *)((char *)fpu + FXSAVE_FCW) = FCW_RESET;
    *(uint32_t *)((char *)fpu + FXSAVE_MXCSR) = MXCSR_RESET;
    v->extra = (struct vcpu_extra){
        .fpu = fpu, .xcr0 = XCR0_X87, .xcr0_allowed = vcpu_xcr0_allowed(), .dr6 = 0xffff0ff0,
    };
}

/* Guests may use these components; all their state fits the FPU page. */
uint64_t vcpu_xcr0_allowed(void)
{
    uint32_t a, b, c, d;

    if (!(read_cr4() & CR4_OSXSAVE))
        return 0;
    cpuid(0xd, 0, &a, &b, &c, &d);
    return a & XCR0_ALLOWED;
}

static void set_xcr0(uint64_t is, uint64_t to)
{
    if (is != to)
        xsetbv(0, to);
}

/* XCR0 is what guests are allowed (or there is none). */
static void fpu_load(const struct vcpu_extra *e)
{
    if (!e->xcr0_allowed) {
        fxrstor(e->fpu);
        return;
    }
    xrstor(e->fpu, ~0ull);
    set_xcr0(e->xcr0_allowed, e->xcr0);
}

static void fpu_save(struct vcpu_extra *e)
{
    if (!e->xcr0_allowed) {
        fxsave(e->fpu);
        return;
    }
    e->xcr0 = xgetbv(0);
    set_xcr0(e->xcr0, e->xcr0_allowed);
    xsave(e->fpu, ~0ull);
}

/* All but the FPU: what the processor holds now. */
static void extra_read(struct vcpu_extra *e)
{
    e->dr[0] = read_dr0();
    e->dr[1] = read_dr1();
    e->dr[2] = read_dr2();
    e->dr[3] = read_dr3();
    e->dr6 = read_dr6();
    e->cr2 = read_cr2();
    e->star = rdmsr(MSR_STAR);
    e->lstar = rdmsr(MSR_LSTAR);
    e->cstar = rdmsr(MSR_CSTAR);
    e->fmask = rdmsr(MSR_FMASK);
    e->kernel_gs_base = rdmsr(MSR_KERNEL_GS_BASE);
    if (vmx_caps.proc2 & PROC2_RDTSCP)
        e->tsc_aux = rdmsr(MSR_TSC_AUX);
}

static void switch_msr(uint32_t msr, uint64_t is, uint64_t to)
{
    if (is != to)
        wrmsr(msr, to);
}

/* Only what differs: such writes are slow on real processors. */
static void extra_write(const struct vcpu_extra *is, const struct vcpu_extra *to)
{
    if (is->dr[0] != to->dr[0])
        write_dr0(to->dr[0]);
    if (is->dr[1] != to->dr[1])
        write_dr1(to->dr[1]);
    if (is->dr[2] != to->dr[2])
        write_dr2(to->dr[2]);
    if (is->dr[3] != to->dr[3])
        write_dr3(to->dr[3]);
    if (is->dr6 != to->dr6)
        write_dr6(to->dr6);
    if (is->cr2 != to->cr2)
        write_cr2(to->cr2);
    switch_msr(MSR_STAR, is->star, to->star);
    switch_msr(MSR_LSTAR, is->lstar, to->lstar);
    switch_msr(MSR_CSTAR, is->cstar, to->cstar);
    switch_msr(MSR_FMASK, is->fmask, to->fmask);
    switch_msr(MSR_KERNEL_GS_BASE, is->kernel_gs_base, to->kernel_gs_base);
    if (vmx_caps.proc2 & PROC2_RDTSCP)
        switch_msr(MSR_TSC_AUX, is->tsc_aux, to->tsc_aux);
}

static void vmcs_load(struct vcpu *v)
{
    struct percpu *cpu = cpu_this();

    vmx_load(v->vmcs);
    if (cpu->last_vm != v->owner)
        speculation_switch(v->owner);
    if (v->loaded_on != (int)cpu->index) {
        vmcs_set_host(v);
        v->ept_generation = 0;
        if (vmx_caps.vpid)
            vmx_invvpid(v->vpid);
        v->loaded_on = (int)cpu->index;
    }
    cpu->vcpu = v;
}

void vcpu_load(struct vcpu *v)
{
    struct vcpu_extra is;

    vmcs_load(v);
    extra_read(&is);
    extra_write(&is, &v->extra);
    if (v->extra.xcr0_allowed)
        xsetbv(0, v->extra.xcr0_allowed);
    fpu_load(&v->extra);
}

void vcpu_put(struct vcpu *v)
{
    extra_read(&v->extra);
    fpu_save(&v->extra);
    cpu_this()->vcpu = NULL;
}

void vcpu_switch(struct vcpu *from, struct vcpu *to)
{
    extra_read(&from->extra);
    fpu_save(&from->extra);
    vmcs_load(to);
    extra_write(&from->extra, &to->extra);
    fpu_load(&to->extra);
}

void vcpu_release(struct vcpu *v)
{
    if (v->loaded_on == (int)cpu_index())
        vmx_clear(v->vmcs);
    v->loaded_on = -1;
}

uint64_t vcpu_tick(const struct vcpu *v)
{
    return rdtsc() + v->tsc_base;
}

void vcpu_set_tsc_base(struct vcpu *v, uint64_t base)
{
    v->tsc_base = base;
    vmwrite(VMCS_CTRL_TSC_OFFSET, base + v->tsc_adjust);
}
