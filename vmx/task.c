/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vmx/task.h"
#include "arch/x86/cpu.h"
#include "lib/errno.h"
#include "vmx/cr.h"
#include "vmx/exits.h"
#include "vmx/vmcs_io.h"

/*
 * Hardware task switches (SDM vol. 3, 7.3): VMX has none, each is an exit (26.4.2). The processor has already checked
 * the privileges and the new TSS descriptor; what another processor can change meanwhile is checked again. Until the
 * old task is saved a fault is the old task's; afterwards it is the new one's.
 */

enum { VECTOR_DB = 1, VECTOR_DF = 8, VECTOR_TS = 10, VECTOR_NP = 11, VECTOR_SS = 12, VECTOR_GP = 13 };
enum task_source { FROM_CALL, FROM_IRET, FROM_JMP, FROM_GATE };    /* exit qualification 31:30, table 28-2 */
enum { TYPE_TSS_16 = 1, TYPE_BUSY = 2, TYPE_TSS_32 = 9 };

#define DR6_BT           BIT(15)
#define DR7_LOCAL        (BIT(0) | BIT(2) | BIT(4) | BIT(6) | BIT(8))
#define RFLAGS_WRITABLE  0x3f7fd5ull

/* A TSS of either width (figures 7-2 and 7-10): slots for IP, flags, eight registers, the segments and the LDT. */
struct tss_layout {
    uint8_t width, first, segments;
    uint8_t min_limit;         /* of the new TSS */
};

static const struct tss_layout layouts[] = { { 2, 0x0e, 4, 0x2b }, { 4, 0x20, 6, 0x67 } };

enum { SLOT_IP, SLOT_FLAGS, SLOT_REGISTERS, SLOT_SEGMENTS = 10, SLOTS_MAX = 17 };
enum { TSS_CR3 = 0x1c, TSS_TRAP = 0x64, TSS_MAX = 0x68 };

struct task_switch {
    struct vcpu *v;
    enum task_source source;
    uint32_t event;            /* FROM_GATE: what came through the IDT, as in the VMCS */
    bool external;             /* EXT of error codes */
    uint16_t selector;         /* of the new TSS */
    struct descriptor tss;
    const struct tss_layout *from, *to;
    uint32_t old_base, new_base;
};

static int copy(struct vcpu *v, uint32_t linear, void *buf, size_t n, bool write)
{
    for (size_t done = 0, step; done < n; done += step) {
        uint32_t at = linear + (uint32_t)done;
        struct gpa gpa;

        step = MIN(n - done, PAGE_SIZE - at % PAGE_SIZE);
        if (vcpu_translate_system(v, at, write ? GWALK_WRITE : GWALK_READ, &gpa))
            return -EFAULT;
        if (write ? pmap_write(v->pmap, gpa, (char *)buf + done, step)
                  : pmap_read(v->pmap, gpa, (char *)buf + done, step)) {
            v->ops->stop(v, "its task state lies where there is no memory");
            return -EFAULT;
        }
    }
    return 0;
}

int task_read(struct vcpu *v, uint32_t linear, void *to, size_t n)
{
    return copy(v, linear, to, n, false);
}

int task_write(struct vcpu *v, uint32_t linear, const void *from, size_t n)
{
    return copy(v, linear, (void *)from, n, true);
}

int task_fault(struct vcpu *v, uint8_t vector, uint16_t selector, bool external)
{
    vcpu_exception_error(v, vector, (selector & ~3u) | external);
    return -EFAULT;
}

/* Would writing these n bytes fault? */
static int probe(struct vcpu *v, uint32_t linear, size_t n)
{
    struct gpa at;

    if (vcpu_translate_system(v, linear, GWALK_WRITE, &at))
        return -EFAULT;
    return vcpu_translate_system(v, linear + (uint32_t)n - 1, GWALK_WRITE, &at);
}

static const struct tss_layout *layout_of(uint32_t rights)
{
    return &layouts[(rights & AR_TYPE & ~TYPE_BUSY) == TYPE_TSS_32];
}

static bool is_tss(uint32_t rights)
{
    uint32_t type = rights & AR_TYPE & ~TYPE_BUSY;

    return !(rights & AR_S) && (type == TYPE_TSS_16 || type == TYPE_TSS_32);
}

/* The new TSS's descriptor: table 7-1, first four rows. */
static int check_descriptor(struct task_switch *t)
{
    uint8_t bad = t->source == FROM_IRET ? VECTOR_TS : VECTOR_GP;
    int err = t->selector & 4 ? -ERANGE : task_descriptor(t->v, t->selector, &t->tss);
    uint32_t rights;

    if (err)
        return err == -ERANGE ? task_fault(t->v, bad, t->selector, t->external) : err;
    rights = desc_rights(t->tss.raw);
    if (!is_tss(rights) || !!(rights & TYPE_BUSY) != (t->source == FROM_IRET))
        return task_fault(t->v, bad, t->selector, t->external);
    if (!(rights & AR_P))
        return task_fault(t->v, VECTOR_NP, t->selector, t->external);
    t->to = layout_of(rights);
    if (desc_limit(t->tss.raw) < t->to->min_limit)
        return task_fault(t->v, VECTOR_TS, t->selector, t->external);
    t->new_base = (t->tss.raw >> 16 & 0xffffff) | (uint32_t)(t->tss.raw >> 56) << 24;
    return 0;
}

/* Everything that can fault before the old task is gone. */
static int prepare(struct task_switch *t)
{
    size_t saved;
    int err = check_descriptor(t);

    if (err)
        return err;
    t->from = layout_of((uint32_t)vmread(VMCS_GUEST_TR_AR));
    t->old_base = (uint32_t)vmread(VMCS_GUEST_TR_BASE);
    saved = t->from->first + (size_t)t->from->width * (SLOT_SEGMENTS + t->from->segments);
    if (vmread(VMCS_GUEST_TR_LIMIT) < saved - 1)
        return task_fault(t->v, VECTOR_TS, (uint16_t)vmread(VMCS_GUEST_TR_SELECTOR), t->external);
    err = probe(t->v, t->old_base, saved);
    if (!err)
        err = probe(t->v, t->new_base, t->to->min_limit + 1u);
    return err ? err : probe(t->v, t->tss.at, sizeof(t->tss.raw));
}

static bool software_event(uint32_t info)
{
    return INTR_TYPE(info) >= INTR_SOFT_INTERRUPT;
}

/* Where the old task goes on: after the instruction that left it; before one that faulted. */
static uint32_t next_ip(const struct task_switch *t)
{
    bool instruction = t->source != FROM_GATE || software_event(t->event);

    return (uint32_t)(vmread(VMCS_GUEST_RIP) + (instruction ? vmread(VMCS_EXIT_INSN_LENGTH) : 0));
}

/* An IRET's task ends; a fault's instruction is to be repeated without its breakpoint (SDM vol. 3, 18.3.1.1). */
static uint32_t old_flags(const struct task_switch *t)
{
    uint32_t flags = (uint32_t)vmread(VMCS_GUEST_RFLAGS);
    uint8_t vector = t->event & INTR_VECTOR;
    bool exception = t->source == FROM_GATE && INTR_TYPE(t->event) == INTR_HARD_EXCEPTION;

    if (t->source == FROM_IRET)
        flags &= ~(uint32_t)RFLAGS_NT;
    if (exception && vector != VECTOR_DB && vector != VECTOR_DF)
        flags |= RFLAGS_RF;
    return flags;
}

static int save_old(const struct task_switch *t)
{
    const struct tss_layout *l = t->from;
    uint32_t slot[SLOTS_MAX] = { next_ip(t), old_flags(t) };
    unsigned slots = SLOT_SEGMENTS + l->segments;
    int err = 0;

    t->v->regs.rsp = vmread(VMCS_GUEST_RSP);
    for (unsigned i = 0; i < 8; i++)
        slot[SLOT_REGISTERS + i] = (uint32_t)t->v->regs.r[i];
    for (unsigned s = 0; s < l->segments; s++)
        slot[SLOT_SEGMENTS + s] = (uint32_t)vmread(VMCS_GUEST_SELECTOR(s));
    for (unsigned i = 0; i < slots && !err; i++)       /* selectors have 16 bits in either width */
        err = task_write(t->v, t->old_base + l->first + i * l->width, &slot[i], i < SLOT_SEGMENTS ? l->width : 2);
    return err;
}

static int set_busy(const struct task_switch *t, struct descriptor *d, bool busy)
{
    d->raw = busy ? d->raw | DESC_BUSY : d->raw & ~DESC_BUSY;
    return task_write(t->v, d->at, &d->raw, sizeof(d->raw));
}

/* The busy bits and the link back (7.2, steps 5 to 10 of 7.3); TR. */
static int change_over(struct task_switch *t)
{
    uint16_t link = (uint16_t)vmread(VMCS_GUEST_TR_SELECTOR);
    struct descriptor old;
    int err = 0;

    if (t->source == FROM_JMP || t->source == FROM_IRET) {
        err = task_descriptor(t->v, link, &old);
        if (err == -ERANGE) /* the table has been changed beneath the task */
            err = 0;
        else if (!err)
            err = set_busy(t, &old, false);
    } else {
        err = task_write(t->v, t->new_base, &link, sizeof(link));
    }
    if (!err)
        err = set_busy(t, &t->tss, true);
    if (!err)
        task_set_system(SEG_TR, t->selector, t->tss.raw);
    return err;
}

/* The new task's registers but for the segments (step 12). */
static int load_registers(struct task_switch *t, const uint32_t *slot, const uint8_t *tss)
{
    uint64_t flags = (slot[SLOT_FLAGS] & RFLAGS_WRITABLE) | RFLAGS_FIXED;

    if (t->source == FROM_CALL || t->source == FROM_GATE)
        flags |= RFLAGS_NT;
    for (unsigned i = 0; i < 8; i++)
        t->v->regs.r[i] = slot[SLOT_REGISTERS + i];
    vmwrite(VMCS_GUEST_RSP, t->v->regs.rsp);
    vmwrite(VMCS_GUEST_RIP, slot[SLOT_IP]);
    vmwrite(VMCS_GUEST_RFLAGS, flags);
    vmwrite(VMCS_GUEST_CR0, vmread(VMCS_GUEST_CR0) | CR0_TS);
    vmwrite(VMCS_GUEST_DR7, vmread(VMCS_GUEST_DR7) & ~DR7_LOCAL);
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
    if (t->to->width == 4 && !cr_load_cr3(t->v, *(const uint32_t *)(tss + TSS_CR3)))
        return task_fault(t->v, VECTOR_TS, t->selector, t->external);
    return 0;
}

/* NMIs stay blocked in a task that an NMI began, until its IRET. */
static void set_blocking(const struct task_switch *t)
{
    uint64_t blocking = vmread(VMCS_GUEST_INTERRUPTIBILITY) & ~(uint64_t)(BLOCKING_STI | BLOCKING_MOV_SS);

    if (t->source == FROM_IRET)
        blocking &= ~(uint64_t)BLOCKING_NMI;
    if (t->source == FROM_GATE && INTR_TYPE(t->event) == INTR_NMI)
        blocking |= BLOCKING_NMI;
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, blocking);
}

static int load_new(struct task_switch *t, bool *trap)
{
    const struct tss_layout *l = t->to;
    uint8_t tss[TSS_MAX] __attribute__((aligned(4))) = { 0 };
    uint32_t slot[SLOTS_MAX] = { 0 };
    uint16_t selector[6] = { 0 };                       /* a 16-bit TSS has no FS and GS: they become null */
    unsigned ldt = SLOT_SEGMENTS + l->segments;
    int err = task_read(t->v, t->new_base, tss, l->min_limit + 1u);

    if (err)
        return err;
    for (unsigned i = 0; i <= ldt; i++)
        slot[i] = l->width == 4 ? *(uint32_t *)(tss + l->first + 4 * i) : *(uint16_t *)(tss + l->first + 2 * i);
    for (unsigned s = 0; s < l->segments; s++)
        selector[s] = (uint16_t)slot[SLOT_SEGMENTS + s];
    *trap = l->width == 4 && tss[TSS_TRAP] & 1;
    set_blocking(t);
    err = load_registers(t, slot, tss);
    return err ? err : task_load_segments(t->v, selector, (uint16_t)slot[ldt], t->external);
}

/* An exception's error code goes on the new task's stack, as wide as the task (6.13). */
static int push_error_code(const struct task_switch *t)
{
    struct vcpu *v = t->v;
    uint64_t mask = vmread(VMCS_GUEST_SS_AR) & AR_DB ? UINT32_MAX : 0xffff;
    uint64_t rsp = vmread(VMCS_GUEST_RSP), sp = (rsp - t->to->width) & mask;
    uint32_t error = (uint32_t)vmread(VMCS_IDT_VECTORING_ERROR);

    if (sp + t->to->width - 1 > vmread(VMCS_GUEST_SS_LIMIT) && !(vmread(VMCS_GUEST_SS_AR) & 4)) /* not expand-down */
        return task_fault(v, VECTOR_SS, 0, true);
    if (task_write(v, (uint32_t)(vmread(VMCS_GUEST_SS_BASE) + sp), &error, t->to->width))
        return -EFAULT;
    vmwrite(VMCS_GUEST_RSP, (rsp & ~mask) | sp);
    return 0;
}

void exit_task_switch(struct vcpu *v)
{
    uint64_t q = vcpu_qualification(v);
    struct task_switch t = { .v = v, .selector = (uint16_t)q, .source = q >> 30 & 3 };
    bool trap = false;

    if (t.source == FROM_GATE)
        t.event = (uint32_t)vmread(VMCS_IDT_VECTORING_INFO);
    t.external = t.event & INTR_VALID && !software_event(t.event);
    if (prepare(&t) || save_old(&t) || change_over(&t) || load_new(&t, &trap))
        return;
    if (t.event & INTR_ERROR_CODE && push_error_code(&t))
        return;
    v->event.info = 0;         /* it has arrived */
    if (trap) {
        write_dr6(read_dr6() | DR6_BT);
        vcpu_exception(v, VECTOR_DB);
    }
}
