/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vmx/task.h"
#include "arch/x86/crbits.h"
#include "lib/errno.h"
#include "vmx/vmcs_io.h"

/* The segments of a new task: SDM vol. 3, 7.3, step 13, and table 7-1 from "LDT segment selector" on. */

enum { TYPE_CODE = 8, TYPE_CONFORMING = 4, TYPE_WRITABLE = 2, TYPE_READABLE = 2, TYPE_LDT = 2 };
enum { VECTOR_TS = 10, VECTOR_NP = 11, VECTOR_SS = 12 };
enum { SELECTOR_LOCAL = 4, SELECTOR_RPL = 3 };

#define AR_VIRTUAL_8086 0xf3u
#define AR_NO_CODE      (AR_P | AR_S | 0xb | AR_DB)    /* what stands for a CS that could not be loaded */

uint32_t desc_rights(uint64_t raw)
{
    return raw >> 40 & 0xf0ff & ~AR_L;     /* L means nothing outside IA-32e mode */
}

uint32_t desc_limit(uint64_t raw)
{
    uint32_t limit = (raw & 0xffff) | (raw >> 32 & 0xf0000);

    return desc_rights(raw) & AR_G ? limit << 12 | 0xfff : limit;
}

static uint32_t desc_base(uint64_t raw)
{
    return (raw >> 16 & 0xffffff) | (raw >> 56) << 24;
}

static void set_register(enum vmcs_segment s, uint32_t base, uint32_t limit, uint32_t rights)
{
    vmwrite(VMCS_GUEST_BASE(s), base);
    vmwrite(VMCS_GUEST_LIMIT(s), limit);
    vmwrite(VMCS_GUEST_AR(s), rights);
}

void task_set_system(enum vmcs_segment s, uint16_t selector, uint64_t raw)
{
    vmwrite(VMCS_GUEST_SELECTOR(s), selector);
    set_register(s, desc_base(raw), desc_limit(raw), desc_rights(raw));
}

int task_descriptor(struct vcpu *v, uint16_t selector, struct descriptor *d)
{
    bool local = selector & SELECTOR_LOCAL;
    uint64_t base = vmread(local ? VMCS_GUEST_LDTR_BASE : VMCS_GUEST_GDTR_BASE);
    uint64_t limit = vmread(local ? VMCS_GUEST_LDTR_LIMIT : VMCS_GUEST_GDTR_LIMIT);

    if ((selector | 7u) > limit || (local && vmread(VMCS_GUEST_LDTR_AR) & AR_UNUSABLE))
        return -ERANGE;
    d->at = (uint32_t)base + (selector & ~7u);
    return task_read(v, d->at, &d->raw, sizeof(d->raw)) ? -EFAULT : 0;
}

static bool null(uint16_t selector)
{
    return !(selector & ~SELECTOR_RPL);
}

struct loading { struct vcpu *v; unsigned cpl; bool external; };

static int fault(const struct loading *l, uint8_t vector, uint16_t selector)
{
    return task_fault(l->v, vector, selector, l->external);
}

static int load_ldt(const struct loading *l, uint16_t selector)
{
    struct descriptor d;
    int err;

    if (null(selector))
        return 0;
    err = selector & SELECTOR_LOCAL ? -ERANGE : task_descriptor(l->v, selector, &d);
    if (err == -ERANGE)
        return fault(l, VECTOR_TS, selector);
    if (err)
        return err;
    if ((desc_rights(d.raw) & (AR_P | AR_S | AR_TYPE)) != (AR_P | TYPE_LDT))
        return fault(l, VECTOR_TS, selector);
    task_set_system(SEG_LDTR, selector, d.raw);
    return 0;
}

static bool stack_fits(const struct loading *l, uint16_t selector, uint32_t ar)
{
    return (ar & (AR_S | TYPE_CODE | TYPE_WRITABLE)) == (AR_S | TYPE_WRITABLE) && AR_DPL(ar) == l->cpl &&
           (selector & SELECTOR_RPL) == l->cpl;
}

static bool code_fits(const struct loading *l, uint32_t ar)
{
    if ((ar & (AR_S | TYPE_CODE)) != (AR_S | TYPE_CODE))
        return false;
    return ar & TYPE_CONFORMING ? AR_DPL(ar) <= l->cpl : AR_DPL(ar) == l->cpl;
}

static bool data_fits(const struct loading *l, uint16_t selector, uint32_t ar)
{
    if (!(ar & AR_S) || (ar & (TYPE_CODE | TYPE_READABLE)) == TYPE_CODE)
        return false;
    if ((ar & (TYPE_CODE | TYPE_CONFORMING)) == (TYPE_CODE | TYPE_CONFORMING))
        return true;
    return AR_DPL(ar) >= l->cpl && AR_DPL(ar) >= (selector & SELECTOR_RPL);
}

static int load_register(const struct loading *l, enum vmcs_segment s, uint16_t selector)
{
    bool needed = s == SEG_CS || s == SEG_SS, fits;
    struct descriptor d;
    uint32_t ar;
    int err;

    if (null(selector))
        return needed ? fault(l, VECTOR_TS, selector) : 0;
    err = task_descriptor(l->v, selector, &d);
    if (err)
        return err == -ERANGE ? fault(l, VECTOR_TS, selector) : err;
    ar = desc_rights(d.raw);
    fits = s == SEG_CS ? code_fits(l, ar) : s == SEG_SS ? stack_fits(l, selector, ar) : data_fits(l, selector, ar);
    if (!fits)
        return fault(l, VECTOR_TS, selector);
    if (!(ar & AR_P))
        return fault(l, s == SEG_SS ? VECTOR_SS : VECTOR_NP, selector);
    if (!(d.raw & DESC_ACCESSED)) {
        d.raw |= DESC_ACCESSED;
        err = task_write(l->v, d.at, &d.raw, sizeof(d.raw));
    }
    if (!err)
        set_register(s, desc_base(d.raw), desc_limit(d.raw), desc_rights(d.raw));
    return err;
}

/* All have their selectors and nothing else; CS and SS as a VM entry wants them, SS with the CPL. */
static void clear_registers(const uint16_t selector[6], uint16_t ldt, unsigned cpl)
{
    for (enum vmcs_segment s = SEG_ES; s <= SEG_GS; s++) {
        vmwrite(VMCS_GUEST_SELECTOR(s), selector[s]);
        set_register(s, 0, 0xffff, AR_UNUSABLE | cpl << AR_DPL_SHIFT);
    }
    vmwrite(VMCS_GUEST_AR(SEG_CS), AR_NO_CODE | cpl << AR_DPL_SHIFT);
    vmwrite(VMCS_GUEST_SELECTOR(SEG_LDTR), ldt);
    set_register(SEG_LDTR, 0, 0xffff, AR_UNUSABLE);
}

int task_load_segments(struct vcpu *v, const uint16_t selector[6], uint16_t ldt, bool external)
{
    static const uint8_t order[] = { SEG_SS, SEG_CS, SEG_ES, SEG_DS, SEG_FS, SEG_GS };
    bool v86 = vmread(VMCS_GUEST_RFLAGS) & RFLAGS_VM;
    struct loading l = { v, v86 ? 3 : selector[SEG_CS] & SELECTOR_RPL, external };
    int err;

    clear_registers(selector, ldt, l.cpl);
    if (v86)
        for (enum vmcs_segment s = SEG_ES; s <= SEG_GS; s++)
            set_register(s, (uint32_t)selector[s] << 4, 0xffff, AR_VIRTUAL_8086);
    err = load_ldt(&l, ldt);
    for (unsigned i = 0; i < ARRAY_SIZE(order) && !v86 && !err; i++)
        err = load_register(&l, order[i], selector[order[i]]);
    return err;
}
