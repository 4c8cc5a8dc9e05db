/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/cpu.h"
#include "lib/errno.h"
#include "vmx/vcpu.h"
#include "vmx/vmcs_io.h"

static int walk_read(void *ctx, struct gpa at, void *to, size_t n)
{
    return pmap_read(ctx, at, to, n);
}

static int walk_set(void *ctx, struct gpa at, uint8_t bits)
{
    return pmap_set_bits(ctx, at, bits);
}

void vcpu_paging(struct gwalk_state *s)
{
    s->cr0 = vmread_sure(VMCS_GUEST_CR0);
    s->cr3 = vmread_sure(VMCS_GUEST_CR3);
    s->cr4 = vmread_sure(VMCS_GUEST_CR4);
    s->efer = vmread_sure(VMCS_GUEST_EFER);
    s->rflags = vmread_sure(VMCS_GUEST_RFLAGS);
    s->user = AR_DPL((uint32_t)vmread_sure(VMCS_GUEST_SS_AR)) == 3;
    s->maxphyaddr = 52;
    if (s->cr4 & CR4_PAE && !(s->efer & EFER_LMA)) {
        s->pdpte[0] = vmread_sure(VMCS_GUEST_PDPTE0);
        s->pdpte[1] = vmread_sure(VMCS_GUEST_PDPTE1);
        s->pdpte[2] = vmread_sure(VMCS_GUEST_PDPTE2);
        s->pdpte[3] = vmread_sure(VMCS_GUEST_PDPTE3);
    }
}

int vcpu_walk(struct vcpu *v, const struct gwalk_state *s, uint64_t linear, enum gwalk_access access, struct gpa *out,
              uint32_t *error_code)
{
    const struct gwalk_memory memory = { .read = walk_read, .set = walk_set, .ctx = v->pmap };

    return gwalk(s, linear, access, &memory, out, error_code);
}

int vcpu_translate(struct vcpu *v, uint64_t linear, enum gwalk_access access, struct gpa *out, uint32_t *error_code)
{
    struct gwalk_state s;

    vcpu_paging(&s);
    return vcpu_walk(v, &s, linear, access, out, error_code);
}

static int or_fault(struct vcpu *v, uint64_t linear, int err, uint32_t error)
{
    if (err == -ERANGE)
        vcpu_exception_error(v, 13, 0);
    else if (err == -EFAULT)
        vcpu_page_fault(v, linear, error);
    else if (err)
        v->ops->stop(v, "its page tables cannot be written");
    return err;
}

int vcpu_translate_or_fault(struct vcpu *v, uint64_t linear, enum gwalk_access access, struct gpa *out)
{
    uint32_t error;
    int err = vcpu_translate(v, linear, access, out, &error);

    return or_fault(v, linear, err, error);
}

int vcpu_translate_system(struct vcpu *v, uint64_t linear, enum gwalk_access access, struct gpa *out)
{
    struct gwalk_state s;
    uint32_t error;
    int err;

    vcpu_paging(&s);
    s.user = false;
    s.rflags = 0; /* AC does not count for implicit accesses (SDM vol. 3, 4.6.1) */
    err = vcpu_walk(v, &s, linear, access, out, &error);
    return or_fault(v, linear, err, error);
}
