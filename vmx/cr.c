/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vmx/cr.h"
#include "arch/x86/cpu.h"
#include "vmx/caps.h"
#include "vmx/cpuid.h"
#include "vmx/vmcs_io.h"

/*
 * CR0: NE must stay set in VMX operation; CD and NW would slow or break the whole machine's caches, so the guest only
 * sees what it wrote; PG is ours because it switches long mode and loads the PAE page directory pointers.
 * CR4: VMXE must stay set and is hidden; bits without a feature in the guest's CPUID stay clear.
 */
#define CR0_OURS (CR0_NE | CR0_CD | CR0_NW | CR0_PG)
#define CR0_DEFINED (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)

static uint64_t cr0_real(uint64_t guest)
{
    return (guest & ~(CR0_CD | CR0_NW)) | CR0_NE;
}

void cr_reset(uint64_t cr0, uint64_t cr4)
{
    vmwrite(VMCS_CTRL_CR0_MASK, CR0_OURS);
    vmwrite(VMCS_CTRL_CR0_SHADOW, cr0);
    vmwrite(VMCS_GUEST_CR0, cr0_real(cr0));
    vmwrite(VMCS_CTRL_CR4_MASK, ~cr4_allowed());
    vmwrite(VMCS_CTRL_CR4_SHADOW, cr4);
    vmwrite(VMCS_GUEST_CR4, cr4 | (vmx_caps.cr4_fixed0 & ~cr4_allowed()) | CR4_VMXE);
}

uint64_t cr4_allowed(void)
{
    static const struct { uint64_t bit; uint32_t leaf; enum cpuid_register reg; unsigned feature; } rows[] = {
        { CR4_PCIDE,    1, CPUID_ECX, 17 }, { CR4_OSXSAVE,  1, CPUID_ECX, 26 }, { CR4_FSGSBASE, 7, CPUID_EBX, 0 },
        { CR4_SMEP,     7, CPUID_EBX, 7 },  { CR4_SMAP,     7, CPUID_EBX, 20 }, { CR4_UMIP,     7, CPUID_ECX, 2 },
    };
    uint64_t allowed = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE |
                       CR4_OSFXSR | CR4_OSXMMEXCPT;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (cpuid_feature(rows[i].leaf, rows[i].reg, rows[i].feature))
            allowed |= rows[i].bit;
    return allowed & vmx_caps.cr4_fixed1;
}

static bool guest_cs_64(void)
{
    return vmread(VMCS_GUEST_CS_AR) & AR_L;
}

/* SDM vol. 3, 4.4.1: PAE paging loads its four pointers when paging comes on. False: one is bad. */
static bool load_pdptes(struct vcpu *v)
{
    uint64_t e[4], reserved = 0x1e6 | (~0ull << cpuid_physical_width());

    if (pmap_read(v->pmap, GPA(vmread(VMCS_GUEST_CR3) & 0xffffffe0), e, sizeof(e)))
        return false;
    for (unsigned i = 0; i < 4; i++) {
        if ((e[i] & 1) && (e[i] & reserved))
            return false;
        vmwrite(VMCS_GUEST_PDPTE0 + 2 * i, e[i]);
    }
    return true;
}

bool cr_load_cr3(struct vcpu *v, uint64_t value)
{
    if (!(vmread(VMCS_GUEST_CR0) & CR0_PG))
        return true;
    vmwrite(VMCS_GUEST_CR3, value);
    v->ept_generation = 0; /* as hardware drops the TLB: vcpu_prepare_entry invalidates */
    return !(vmread(VMCS_GUEST_CR4) & CR4_PAE) || load_pdptes(v);
}

static void set_long_mode(bool on)
{
    uint64_t efer = vmread(VMCS_GUEST_EFER), entry = vmread(VMCS_CTRL_ENTRY);

    vmwrite(VMCS_GUEST_EFER, on ? efer | EFER_LMA : efer & ~EFER_LMA);
    vmwrite(VMCS_CTRL_ENTRY, on ? entry | ENTRY_GUEST_64 : entry & ~ENTRY_GUEST_64);
}

/* Paging comes on or goes off (SDM vol. 3, 4.1.2 and 9.8.5). False: #GP. */
static bool switch_paging(struct vcpu *v, bool on)
{
    uint64_t efer = vmread(VMCS_GUEST_EFER), cr4 = vmread(VMCS_GUEST_CR4);

    if (!on) {
        if (guest_cs_64() && (efer & EFER_LMA))
            return false;
        if (cr4 & CR4_PCIDE)
            return false;
        set_long_mode(false);
        return true;
    }
    if (efer & EFER_LME) {
        if (!(cr4 & CR4_PAE) || guest_cs_64())
            return false;
        set_long_mode(true);
        return true;
    }
    return !(cr4 & CR4_PAE) || load_pdptes(v);
}

static bool write_cr0_guest(struct vcpu *v, uint64_t value)
{
    uint64_t old = vmread(VMCS_GUEST_CR0);

    if (value >> 32)
        return false;
    value = (value & CR0_DEFINED) | CR0_ET;
    if (((value & CR0_PG) && !(value & CR0_PE)) || ((value & CR0_NW) && !(value & CR0_CD)))
        return false;
    if (((value ^ old) & CR0_PG) && !switch_paging(v, value & CR0_PG))
        return false;
    vmwrite(VMCS_CTRL_CR0_SHADOW, value);
    vmwrite(VMCS_GUEST_CR0, cr0_real(value));
    if (vmx_caps.vpid && ((value ^ old) & (CR0_PG | CR0_WP | CR0_PE)))
        v->ept_generation = 0; /* as hardware drops the TLB: vcpu_prepare_entry invalidates */
    return true;
}

bool cr_write_efer(uint64_t value)
{
    uint64_t old = vmread(VMCS_GUEST_EFER);
    uint64_t allowed = EFER_SCE | EFER_LME | EFER_LMA;

    if (cpuid_feature(0x80000001, CPUID_EDX, 20))
        allowed |= EFER_NXE;
    if (value & ~allowed)
        return false;
    if (((value ^ old) & EFER_LME) && (vmread(VMCS_GUEST_CR0) & CR0_PG))
        return false;
    vmwrite(VMCS_GUEST_EFER, (value & ~EFER_LMA) | (old & EFER_LMA)); /* LMA is read-only to WRMSR */
    return true;
}

static void mov_to(struct vcpu *v, unsigned cr, uint64_t value)
{
    bool ok;

    if (!guest_cs_64())
        value = (uint32_t)value;
    switch (cr) {
    case 0:
        ok = write_cr0_guest(v, value);
        break;
    case 8:
        ok = value < 16;
        if (ok)
            v->ops->set_cr8(v, (uint8_t)value);
        break;
    default:
        ok = false; /* CR4: only a write of a bit that is not the guest's to set exits */
    }
    if (ok)
        vcpu_skip(v);
    else
        vcpu_exception_error(v, 13, 0);
}

static uint64_t read_register(struct vcpu *v, unsigned n)
{
    return n == 4 ? vmread(VMCS_GUEST_RSP) : v->regs.r[n];
}

static void write_register(struct vcpu *v, unsigned n, uint64_t value)
{
    if (n == 4)
        vmwrite(VMCS_GUEST_RSP, value);
    else
        v->regs.r[n] = value;
}

/* CLTS and LMSW exit only when they change bits that are ours, which they cannot. */
void exit_cr_access(struct vcpu *v)
{
    uint64_t q = vcpu_qualification(v); /* SDM vol. 3, table 28-3 */
    unsigned cr = q & 15, type = q >> 4 & 3, n = q >> 8 & 15;

    switch (type) {
    case 0:
        mov_to(v, cr, read_register(v, n));
        break;
    case 1:
        write_register(v, n, v->ops->cr8(v));
        vcpu_skip(v);
        break;
    default:
        v->ops->stop(v, "CLTS or LMSW exit that cannot be");
    }
}
