/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vmx/vmx.h"
#include "arch/x86/cpu.h"
#include "arch/x86/percpu.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "numa/page.h"
#include "vmx/caps.h"
#include "vmx/speculation.h"

static bool vmxon(uint64_t region)
{
    bool failed;

    __asm__ volatile("vmxon %1" : "=@ccbe"(failed) : "m"(region) : "memory");
    return !failed;
}

void vmx_clear(struct hpa vmcs)
{
    bool failed;

    __asm__ volatile("vmclear %1" : "=@ccbe"(failed) : "m"(vmcs.v) : "memory");
    if (failed)
        panic("vmclear of %#lx failed", vmcs.v);
}

void vmx_load(struct hpa vmcs)
{
    bool failed;

    __asm__ volatile("vmptrld %1" : "=@ccbe"(failed) : "m"(vmcs.v) : "memory");
    if (failed)
        panic("vmptrld of %#lx failed", vmcs.v);
}

void vmx_invept(uint64_t eptp)
{
    const struct { uint64_t eptp, zero; } what = { eptp, 0 };
    bool failed;

    __asm__ volatile("invept %1, %2" : "=@ccbe"(failed) : "m"(what), "r"(1ul) : "memory");
    if (failed)
        panic("invept of %#lx failed", eptp);
}

void vmx_invvpid(uint16_t vpid)
{
    const struct { uint64_t vpid, linear; } what = { vpid, 0 };
    bool failed;

    __asm__ volatile("invvpid %1, %2" : "=@ccbe"(failed) : "m"(what), "r"(1ul) : "memory");
    if (failed)
        panic("invvpid of %u failed", vpid);
}

/* SDM vol. 3, 24.7: VMXON wants the lock and its own bit set; firmware that leaves it unlocked leaves it to us. */
static int open_feature_control(void)
{
    uint64_t fc = rdmsr(MSR_FEATURE_CONTROL);

    if (!(fc & FEATURE_CONTROL_LOCK)) {
        wrmsr(MSR_FEATURE_CONTROL, fc | FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX);
        fc = rdmsr(MSR_FEATURE_CONTROL);
    }
    return fc & FEATURE_CONTROL_VMX ? 0 : -EACCES;
}

int vmx_cpu_start(void)
{
    struct percpu *cpu = cpu_this();
    struct hpa region = page_alloc_zeroed(cpu->node, PAGE_ORDER_4K, PAGE_HYPERVISOR);
    int err;

    if (!region.v)
        return -ENOMEM;
    err = open_feature_control();
    if (!err) {
        *(uint32_t *)hpa_ptr(region) = vmx_caps.revision;
        write_cr0((read_cr0() | vmx_caps.cr0_fixed0) & vmx_caps.cr0_fixed1);
        write_cr4((read_cr4() | vmx_caps.cr4_fixed0 | CR4_VMXE) & vmx_caps.cr4_fixed1);
        err = vmxon(region.v) ? 0 : -EIO;
    }
    if (err) {
        page_free(region, PAGE_ORDER_4K);
        return err;
    }
    cpu->vmx = hpa_ptr(region);
    speculation_cpu_start();
    return 0;
}

void vmx_cpu_stop(void)
{
    struct percpu *cpu = cpu_this();

    if (!cpu->vmx)
        return;
    __asm__ volatile("vmxoff" : : : "memory", "cc");
    write_cr4(read_cr4() & ~CR4_VMXE);
    page_free(ptr_hpa(cpu->vmx), PAGE_ORDER_4K);
    cpu->vmx = NULL;
}
