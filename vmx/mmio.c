/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/cpu.h"
#include "arch/x86/percpu.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "vmx/decode.h"
#include "vmx/exits.h"
#include "vmx/quick.h"
#include "vmx/vmcs_io.h"
#include "vmx/watch.h"

struct access {
    struct vcpu *v;
    struct gpa at;
    bool faulted;              /* an exception is queued for the guest */
    uint64_t linear;           /* of the device, or LINEAR_UNKNOWN */
    unsigned met;              /* breakpoints */
};

static void meet(struct access *a, unsigned size, bool write)
{
    if (a->linear != LINEAR_UNKNOWN)
        a->met |= watch_data(a->linear, size, write);
}

static uint64_t dev_read(void *ctx, unsigned size)
{
    struct access *a = ctx;

    meet(a, size, false);
    return a->v->ops->mmio_read(a->v, a->at, size);
}

static void dev_write(void *ctx, unsigned size, uint64_t value)
{
    struct access *a = ctx;

    meet(a, size, true);
    a->v->ops->mmio_write(a->v, a->at, size, value);
}

static enum code_size code_size(void)
{
    uint64_t ar = vmread(VMCS_GUEST_CS_AR);

    if ((ar & AR_L) && (vmread(VMCS_GUEST_EFER) & EFER_LMA))
        return CODE_64;
    return ar & AR_DB ? CODE_32 : CODE_16;
}

static unsigned stack_size(void)
{
    if (code_size() == CODE_64)
        return 8;
    return vmread(VMCS_GUEST_SS_AR) & AR_DB ? 4 : 2;
}

/* One byte at a linear address, in RAM or at a device. */
static int byte_access(struct access *a, uint64_t linear, uint8_t *byte, bool write)
{
    struct vcpu *v = a->v;
    struct gpa at;
    int err = vcpu_translate_or_fault(v, linear, write ? GWALK_WRITE : GWALK_READ, &at);

    if (err) {
        a->faulted = true;
        return err;
    }
    if (!pmap_is_ram(v->pmap, at, 1)) {
        if (write)
            v->ops->mmio_write(v, at, 1, *byte);
        else
            *byte = (uint8_t)v->ops->mmio_read(v, at, 1);
        return 0;
    }
    return write ? pmap_write(v->pmap, at, byte, 1) : pmap_read(v->pmap, at, byte, 1);
}

/* The other operand of a string instruction. Outside 64-bit code a linear address has 32 bits. */
static int other(struct access *a, unsigned seg, uint64_t offset, unsigned size, uint64_t *value, bool write)
{
    bool wide = code_size() == CODE_64;
    uint64_t linear = offset + (wide && seg < SEG_FS ? 0 : vmread(VMCS_GUEST_BASE(seg)));
    int err = 0;

    a->met |= watch_data(wide ? linear : (uint32_t)linear, size, write);
    for (unsigned i = 0; i < size && !err; i++)
        err = byte_access(a, wide ? linear + i : (uint32_t)(linear + i), (uint8_t *)value + i, write);
    return err;
}

static int mem_read(void *ctx, unsigned seg, uint64_t offset, unsigned size, uint64_t *value)
{
    *value = 0;
    return other(ctx, seg, offset, size, value, false);
}

static int mem_write(void *ctx, unsigned seg, uint64_t offset, unsigned size, uint64_t value)
{
    return other(ctx, seg, offset, size, &value, true);
}

/* The bytes at RIP: up to INSN_MAX, fewer when the next page cannot be read. */
static size_t fetch(struct vcpu *v, uint8_t bytes[INSN_MAX])
{
    bool wide = code_size() == CODE_64;
    uint64_t rip = vmread(VMCS_GUEST_RIP) + (wide ? 0 : vmread(VMCS_GUEST_CS_BASE));
    size_t n = 0;

    while (n < INSN_MAX) {
        size_t step = MIN(INSN_MAX - n, PAGE_SIZE - (rip + n) % PAGE_SIZE);
        uint32_t error;
        struct gpa at;

        if (vcpu_translate(v, wide ? rip + n : (uint32_t)(rip + n), GWALK_FETCH, &at, &error) ||
            pmap_read(v->pmap, at, bytes + n, step))
            break;
        n += step;
    }
    return n;
}

void mmio_emulate(struct vcpu *v, struct gpa at, uint64_t linear, bool write)
{
    struct access a = { v, at, false, linear, 0 };
    const struct insn_env env = { &a, dev_read, dev_write, mem_read, mem_write, stack_size(), write };
    uint64_t rflags = vmread(VMCS_GUEST_RFLAGS);
    uint8_t bytes[INSN_MAX] = { 0 };
    struct insn insn;
    bool again = false;
    size_t n = fetch(v, bytes);

    if (insn_decode(bytes, n, code_size(), &insn)) {
        char why[96];

        format(why, sizeof(why), "instruction %02x %02x %02x %02x on device memory at %#lx is not one we know",
               bytes[0], bytes[1], bytes[2], bytes[3], at.v);
        v->ops->stop(v, why);
        return;
    }
    v->regs.rsp = vmread(VMCS_GUEST_RSP);
    if (insn_execute(&insn, &v->regs, &rflags, &env, &again)) {
        if (!a.faulted)
            v->ops->stop(v, "device memory was used in a way we do not know");
        return;
    }
    vmwrite(VMCS_GUEST_RSP, v->regs.rsp);
    vmwrite(VMCS_GUEST_RFLAGS, rflags);
    if (again) {
        watch_iteration(a.met);
        return;
    }
    vcpu_skip_length(v, insn.length);
    watch_trap(a.met);
}

/* May this be the first of the zeros that fill a page, and the page have been a shared one? */
static inline bool zeroing_begins(const struct vcpu *v, uint64_t q)
{
    const uint64_t kind = EPT_VIOLATION_WRITE | EPT_VIOLATION_READABLE | EPT_VIOLATION_LINEAR |
                          EPT_VIOLATION_TRANSLATED;

    return !(v->regs.rax | v->regs.rdi % PAGE_SIZE) && (q & kind) == kind;
}

/* Any other fault on RAM may have to wait for processors that are inside an EPT, so this one leaves its own. */
static bool fault_outside(struct vcpu *v, struct gpa at, uint64_t q)
{
    ept_leave();
    if (!(zeroing_begins(v, q) && zeroing_run(v, at, vmread_sure(VMCS_EXIT_GUEST_LINEAR))) &&
        pmap_fault(v->pmap, at, cpu_this()->node, q & EPT_VIOLATION_WRITE))
        return false;
    vcpu_enter_ept(v);
    return true;
}

enum quick quick_ept_violation(struct vcpu *v, struct exit_record *r)
{
    uint64_t q = r->qualification = vmread_sure(VMCS_EXIT_QUALIFICATION);
    struct gpa at = GPA(vmread_sure(VMCS_EXIT_GUEST_PHYSICAL));
    bool untouched = (q & (EPT_VIOLATION_WRITE | EPT_VIOLATION_READABLE)) == EPT_VIOLATION_WRITE;

    if ((q & EPT_VIOLATION_NMI_UNBLOCKED) || (vmread_sure(VMCS_IDT_VECTORING_INFO) & INTR_VALID))
        return QUICK_NOT;
    if (!(untouched && pmap_touch(v->pmap, at, cpu_this()->node)) && !fault_outside(v, at, q))
        return QUICK_NOT;
    return v->look_at && !quick_news(v) ? QUICK_DONE : QUICK_LOOK;
}

void exit_ept_violation(struct vcpu *v)
{
    uint64_t q = vcpu_qualification(v);
    struct gpa at = GPA(vmread(VMCS_EXIT_GUEST_PHYSICAL));
    int err = pmap_fault(v->pmap, at, cpu_this()->node, q & EPT_VIOLATION_WRITE);

    event_reblock_nmi(q & EPT_VIOLATION_NMI_UNBLOCKED);
    if (!err || err == -EAGAIN)
        return;
    if (err == -ENOMEM)
        v->ops->stop(v, "the machine has no memory left for it");
    else if (err == -EIO)
        v->ops->stop(v, "a page of its disk cannot be read");
    else if (q & EPT_VIOLATION_FETCH)
        v->ops->stop(v, "it executes where there is no memory");
    else if (!(q & EPT_VIOLATION_TRANSLATED) || !(q & EPT_VIOLATION_LINEAR))
        v->ops->stop(v, "its page tables lie where there is no memory");
    else if (vmread(VMCS_IDT_VECTORING_INFO) & INTR_VALID) /* no instruction made this access */
        v->ops->stop(v, "its stack or descriptor tables lie where there is no memory");
    else
        mmio_emulate(v, at, vmread(VMCS_EXIT_GUEST_LINEAR), q & EPT_VIOLATION_WRITE);
}
