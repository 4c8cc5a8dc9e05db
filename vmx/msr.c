/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vmx/msr.h"
#include "arch/x86/cpu.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmx/arch_caps.h"
#include "vmx/caps.h"
#include "vmx/cpuid.h"
#include "vmx/cr.h"
#include "vmx/pvclock.h"
#include "vmx/quick.h"
#include "vmx/setup.h"
#include "vmx/steal.h"

typedef int (*msr_read_fn)(struct vcpu *v, uint32_t msr, uint64_t *value);
typedef int (*msr_write_fn)(struct vcpu *v, uint32_t msr, uint64_t value);

static int read_zero(struct vcpu *v, uint32_t msr, uint64_t *value)
{
    (void)v, (void)msr;
    *value = 0;
    return 0;
}

static int write_ignore(struct vcpu *v, uint32_t msr, uint64_t value)
{
    (void)v, (void)msr, (void)value;
    return 0;
}

static int write_zero(struct vcpu *v, uint32_t msr, uint64_t value)
{
    (void)v, (void)msr;
    return value ? -EINVAL : 0;
}

static int read_board(struct vcpu *v, uint32_t msr, uint64_t *value)
{
    return v->ops->msr_read(v, msr, value);
}

static int read_deadline(struct vcpu *v, uint32_t msr, uint64_t *value)
{
    int err = v->ops->msr_read(v, msr, value);

    if (!err && *value)
        *value += v->tsc_adjust;
    return err;
}

/* The VM's tick at which the guest's TSC is value: 1 for what lies before, since 0 would disarm. */
static uint64_t tick_of(const struct vcpu *v, uint64_t value)
{
    uint64_t tick = value - v->tsc_adjust;

    if ((int64_t)v->tsc_adjust > 0)
        return value > v->tsc_adjust ? tick : 1;
    return tick >= value ? tick : UINT64_MAX;
}

static int write_board(struct vcpu *v, uint32_t msr, uint64_t value)
{
    return v->ops->msr_write(v, msr, value);
}

/* The board's clock is the VM's tick; the deadline the guest writes is in its own TSC. */
static int write_deadline(struct vcpu *v, uint32_t msr, uint64_t value)
{
    return v->ops->msr_write(v, msr, value ? tick_of(v, value) : 0);
}

static int write_apic_base(struct vcpu *v, uint32_t msr, uint64_t value)
{
    cpuid_forget(v);
    return v->ops->msr_write(v, msr, value);
}

static int read_tsc(struct vcpu *v, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = vcpu_tick(v) + v->tsc_adjust;
    return 0;
}

static int read_tsc_adjust(struct vcpu *v, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = v->tsc_adjust;
    return 0;
}

static int write_tsc_adjust(struct vcpu *v, uint32_t msr, uint64_t value)
{
    (void)msr;
    v->tsc_adjust = value;
    vmwrite(VMCS_CTRL_TSC_OFFSET, v->tsc_base + v->tsc_adjust);
    pvclock_update(v);
    return 0;
}

/* A write moves IA32_TSC_ADJUST along (SDM vol. 3, 18.17.3). */
static int write_tsc(struct vcpu *v, uint32_t msr, uint64_t value)
{
    return write_tsc_adjust(v, msr, value - vcpu_tick(v));
}

static int read_efer(struct vcpu *v, uint32_t msr, uint64_t *value)
{
    (void)v, (void)msr;
    *value = vmread(VMCS_GUEST_EFER);
    return 0;
}

static int write_efer(struct vcpu *v, uint32_t msr, uint64_t value)
{
    (void)v, (void)msr;
    return cr_write_efer(value) ? 0 : -EINVAL;
}

static int read_feature_control(struct vcpu *v, uint32_t msr, uint64_t *value)
{
    (void)v, (void)msr;
    *value = FEATURE_CONTROL_LOCK;
    return 0;
}

static int read_arch_capabilities(struct vcpu *v, uint32_t msr, uint64_t *value)
{
    (void)v, (void)msr;
    *value = arch_capabilities();
    return 0;
}

static int read_misc_enable(struct vcpu *v, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = v->misc_enable;
    return 0;
}

/* The guest keeps what it wrote; nothing of it reaches the processor. */
static int write_misc_enable(struct vcpu *v, uint32_t msr, uint64_t value)
{
    (void)msr;
    v->misc_enable = value;
    return 0;
}

static int read_debugctl(struct vcpu *v, uint32_t msr, uint64_t *value)
{
    (void)v, (void)msr;
    *value = vmread(VMCS_GUEST_DEBUGCTL);
    return 0;
}

static int write_debugctl(struct vcpu *v, uint32_t msr, uint64_t value)
{
    (void)v, (void)msr;
    if (value & ~DEBUGCTL_BTF)
        return -EINVAL;
    vmwrite(VMCS_GUEST_DEBUGCTL, value);
    return 0;
}

static int write_clock(struct vcpu *v, uint32_t msr, uint64_t value)
{
    return pvclock_write(v, msr, value);
}

static int read_clock(struct vcpu *v, uint32_t msr, uint64_t *value)
{
    *value = msr == MSR_PVCLOCK_SYSTEM ? v->clock.msr : v->clock.wall_msr;
    return 0;
}

static int write_steal(struct vcpu *v, uint32_t msr, uint64_t value)
{
    (void)msr;
    return steal_write(v, value);
}

static int read_steal(struct vcpu *v, uint32_t msr, uint64_t *value)
{
    (void)msr;
    *value = v->steal.msr;
    return 0;
}

/* MTRRs (SDM vol. 3, 12.11): kept for the guest to read back; guest memory is write-back by its EPT. */
#define MTRRCAP_WC    BIT(10)
#define MTRRCAP_FIXED BIT(8)

static int read_mtrrcap(struct vcpu *v, uint32_t msr, uint64_t *value)
{
    (void)v, (void)msr;
    *value = MTRRCAP_WC | MTRRCAP_FIXED | MTRR_VARIABLE;
    return 0;
}

static uint64_t *mtrr_slot(struct vcpu *v, uint32_t msr)
{
    static const uint32_t fixed[MTRR_FIXED] = { 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e,
                                                0x26f };

    if (msr == MSR_MTRR_DEF_TYPE)
        return &v->mtrr.def_type;
    if (msr - MSR_MTRR_PHYSBASE0 < 2 * MTRR_VARIABLE)
        return &v->mtrr.variable[msr - MSR_MTRR_PHYSBASE0];
    for (unsigned i = 0; i < MTRR_FIXED; i++)
        if (fixed[i] == msr)
            return &v->mtrr.fixed[i];
    return NULL;
}

static int read_mtrr(struct vcpu *v, uint32_t msr, uint64_t *value)
{
    uint64_t *slot = mtrr_slot(v, msr);

    if (!slot)
        return -EINVAL;
    *value = *slot;
    return 0;
}

static bool memory_type_ok(uint8_t type)
{
    return type <= 6 && type != 2 && type != 3;
}

static int write_mtrr(struct vcpu *v, uint32_t msr, uint64_t value)
{
    uint64_t *slot = mtrr_slot(v, msr);
    bool fixed = slot >= v->mtrr.fixed && slot < v->mtrr.fixed + MTRR_FIXED;
    bool mask = !fixed && msr != MSR_MTRR_DEF_TYPE && (msr & 1);

    if (!slot)
        return -EINVAL;
    for (unsigned i = 0; i < (fixed ? 8 : mask ? 0 : 1); i++)
        if (!memory_type_ok((uint8_t)(value >> 8 * i)))
            return -EINVAL;
    if (msr == MSR_MTRR_DEF_TYPE && (value & ~0xcffull))
        return -EINVAL;
    if (!fixed && msr != MSR_MTRR_DEF_TYPE && (value & (mask ? 0x7ff : 0xf00) || value >> cpuid_physical_width()))
        return -EINVAL;
    *slot = value;
    return 0;
}

/*
 * The policy: MSRs in [first, last]. Direct ones are the guest's own in the processor or in the VMCS and do not exit;
 * what is not here gives #GP, to read and to write.
 */
static const struct msr_rule {
    uint32_t first, last;
    bool direct;
    msr_read_fn read;
    msr_write_fn write;
} rules[] = {
    { MSR_FS_BASE,         MSR_KERNEL_GS_BASE,  true,  NULL, NULL },
    { MSR_STAR,            MSR_FMASK,           true,  NULL, NULL },
    { MSR_SYSENTER_CS,     MSR_SYSENTER_EIP,    true,  NULL, NULL },
    { MSR_PAT,             MSR_PAT,             true,  NULL, NULL },
    { MSR_TSC_DEADLINE,    MSR_TSC_DEADLINE,    false, read_deadline, write_deadline },
    { MSR_X2APIC_BASE,     0x8ff,               false, read_board, write_board },
    { MSR_APIC_BASE,       MSR_APIC_BASE,       false, read_board, write_apic_base },
    { MSR_EFER,            MSR_EFER,            false, read_efer, write_efer },
    { MSR_TSC,             MSR_TSC,             false, read_tsc, write_tsc },
    { MSR_TSC_ADJUST,      MSR_TSC_ADJUST,      false, read_tsc_adjust, write_tsc_adjust },
    { MSR_FEATURE_CONTROL, MSR_FEATURE_CONTROL, false, read_feature_control, NULL },
    { MSR_ARCH_CAPABILITIES, MSR_ARCH_CAPABILITIES, false, read_arch_capabilities, NULL },
    { 0x17,                0x17,                false, read_zero, NULL },      /* platform id */
    { MSR_BIOS_SIGN_ID,    MSR_BIOS_SIGN_ID,    false, read_zero, write_ignore },
    { MSR_BIOS_UPDT_TRIG,  MSR_BIOS_UPDT_TRIG,  false, NULL, write_ignore },
    { 0,                   1,                   false, read_zero, write_ignore }, /* P5 machine check */
    { MSR_MTRRCAP,         MSR_MTRRCAP,         false, read_mtrrcap, NULL },
    { MSR_MTRR_PHYSBASE0,  MSR_MTRR_DEF_TYPE,   false, read_mtrr, write_mtrr },
    { MSR_MCG_CAP,         MSR_MCG_STATUS,      false, read_zero, write_zero },   /* no banks */
    { MSR_MISC_ENABLE,     MSR_MISC_ENABLE,     false, read_misc_enable, write_misc_enable },
    { MSR_DEBUGCTL,        MSR_DEBUGCTL,        false, read_debugctl, write_debugctl },
    { MSR_PVCLOCK_WALL,    MSR_PVCLOCK_SYSTEM,  false, read_clock, write_clock },
    { MSR_STEAL_TIME,      MSR_STEAL_TIME,      false, read_steal, write_steal },
};

/* Those found lately, by a hash of the MSR; any processor may replace one. */
static const struct msr_rule *_Atomic recent[64];

static bool covers(const struct msr_rule *r, uint32_t msr)
{
    return msr - r->first <= r->last - r->first;
}

static __attribute__((noinline)) const struct msr_rule *search_rule(uint32_t msr, const struct msr_rule *_Atomic *slot)
{
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        if (covers(&rules[i], msr)) {
            atomic_store_explicit(slot, &rules[i], memory_order_relaxed);
            return &rules[i];
        }
    }
    return NULL;
}

static inline const struct msr_rule *find_rule(uint32_t msr)
{
    const struct msr_rule *_Atomic *slot = &recent[(msr ^ msr >> 6) % ARRAY_SIZE(recent)];
    const struct msr_rule *r = atomic_load_explicit(slot, memory_order_relaxed);

    return r && covers(r, msr) ? r : search_rule(msr, slot);
}

int msr_guest_read(struct vcpu *v, uint32_t msr, uint64_t *value)
{
    const struct msr_rule *r = find_rule(msr);

    return r && r->read ? r->read(v, msr, value) : -EINVAL;
}

int msr_guest_write(struct vcpu *v, uint32_t msr, uint64_t value)
{
    const struct msr_rule *r = find_rule(msr);

    return r && r->write ? r->write(v, msr, value) : -EINVAL;
}

void exit_rdmsr(struct vcpu *v)
{
    uint64_t value;

    if (msr_guest_read(v, (uint32_t)v->regs.rcx, &value)) {
        vcpu_exception_error(v, 13, 0);
        return;
    }
    v->regs.rax = (uint32_t)value;
    v->regs.rdx = value >> 32;
    vcpu_skip(v);
}

enum quick quick_rdmsr(struct vcpu *v, struct exit_record *r)
{
    uint64_t next, value;

    if (!quick_next(r->rip, &next) || msr_guest_read(v, (uint32_t)v->regs.rcx, &value))
        return QUICK_NOT;
    v->regs.rax = (uint32_t)value;
    v->regs.rdx = value >> 32;
    vmwrite_sure(VMCS_GUEST_RIP, next);
    return QUICK_DONE;
}

static uint64_t value_to_write(const struct vcpu *v)
{
    return (uint32_t)v->regs.rax | v->regs.rdx << 32;
}

void exit_wrmsr(struct vcpu *v)
{
    if (msr_guest_write(v, (uint32_t)v->regs.rcx, value_to_write(v)))
        vcpu_exception_error(v, 13, 0);
    else
        vcpu_skip(v);
}

/* Those of the local APIC; a write that fails has changed nothing. */
enum quick quick_wrmsr(struct vcpu *v, struct exit_record *r)
{
    uint32_t msr = (uint32_t)v->regs.rcx;
    uint64_t next;
    int err;

    if (!quick_next(r->rip, &next))
        return QUICK_NOT;
    if (msr == MSR_TSC_DEADLINE)
        err = write_deadline(v, msr, value_to_write(v));
    else if (msr >> 8 == MSR_X2APIC_BASE >> 8)
        err = write_board(v, msr, value_to_write(v));
    else
        return QUICK_NOT;
    if (err)
        return QUICK_NOT;
    vmwrite_sure(VMCS_GUEST_RIP, next);
    return v->ops->goes_on(v) && !quick_news(v) ? QUICK_DONE : QUICK_LOOK;
}

static struct hpa bitmap;

struct hpa msr_bitmap(void) { return bitmap; }

/* The bitmap's four quarters (SDM vol. 3, 25.6.9): reads of 0-1fff, of c0000000-c0001fff, then writes. */
static void open_msr(uint32_t msr)
{
    uint8_t *map = (uint8_t *)hpa_ptr(bitmap) + (msr >> 31 ? 1024 : 0);
    uint32_t n = msr & 0x1fff;

    map[n / 8] &= (uint8_t)~(1u << n % 8);
    map[2048 + n / 8] &= (uint8_t)~(1u << n % 8);
}

int msr_bitmap_init(void)
{
    bitmap = page_alloc(0, PAGE_ORDER_4K, PAGE_HYPERVISOR);
    if (!bitmap.v)
        return -ENOMEM;
    memset(hpa_ptr(bitmap), 0xff, PAGE_SIZE);
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        for (uint32_t msr = rules[i].first; rules[i].direct && msr <= rules[i].last; msr++)
            open_msr(msr);
    if (vmx_caps.proc2 & PROC2_RDTSCP)
        open_msr(MSR_TSC_AUX);
    return 0;
}
