/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vmx/apicv.h"
#include "arch/x86/cpu.h"
#include "arch/x86/msr.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmx/caps.h"
#include "vmx/exits.h"
#include "vmx/setup.h"
#include "vmx/vmcs_io.h"

#define APIC_BASE 0xfee00000ull

static struct hpa access_page, x2apic_bitmap;

struct hpa apicv_access_page(void) { return access_page; }

/* x2APIC registers that the processor reads from the page: those that exist, but the timer's count (0x39) changes. */
static const struct { uint8_t first, last; } x2apic_reads[] = {
    { 0x02, 0x03 }, { 0x08, 0x08 }, { 0x0a, 0x0a }, { 0x0d, 0x0d }, { 0x0f, 0x28 }, { 0x30, 0x30 }, { 0x32, 0x38 },
    { 0x3e, 0x3e },
};

/* Those whose writes it virtualizes (30.5): task priority, EOI, self-IPI. */
static const uint8_t x2apic_writes[] = { 0x08, 0x0b, 0x3f };

static void open_bit(uint8_t *map, uint32_t msr)
{
    map[msr / 8] &= (uint8_t)~(1u << msr % 8);
}

/* Layout: 25.6.9, reads of 0 to 0x1fff first, their writes at 2048. */
static void open_x2apic(uint8_t *map)
{
    for (size_t i = 0; i < ARRAY_SIZE(x2apic_reads); i++)
        for (uint32_t reg = x2apic_reads[i].first; reg <= x2apic_reads[i].last; reg++)
            open_bit(map, MSR_X2APIC_BASE + reg);
    for (size_t i = 0; i < ARRAY_SIZE(x2apic_writes); i++)
        open_bit(map + 2048, MSR_X2APIC_BASE + x2apic_writes[i]);
}

int apicv_init(void)
{
    if (!vmx_caps.apicv)
        return 0;
    access_page = page_alloc_zeroed(0, PAGE_ORDER_4K, PAGE_HYPERVISOR);
    x2apic_bitmap = page_alloc(0, PAGE_ORDER_4K, PAGE_HYPERVISOR);
    if (!access_page.v || !x2apic_bitmap.v)
        return -ENOMEM;
    memcpy(hpa_ptr(x2apic_bitmap), hpa_ptr(msr_bitmap()), PAGE_SIZE);
    open_x2apic(hpa_ptr(x2apic_bitmap));
    return 0;
}

/* The two ways of access exclude each other (27.2.1.1). */
static void set_mode(bool x2apic)
{
    vmwrite(VMCS_CTRL_PROC2, (vmx_caps.proc2 & ~PROC2_APIC_ACCESSES) | (x2apic ? PROC2_X2APIC : PROC2_APIC_ACCESSES));
    vmwrite(VMCS_CTRL_MSR_BITMAP, x2apic ? x2apic_bitmap.v : msr_bitmap().v);
}

static void set_eoi_exits(struct vcpu *v, const uint64_t bits[4], bool all)
{
    for (unsigned i = 0; i < 4; i++)
        if (all || bits[i] != v->apicv.eoi_exit[i])
            vmwrite((enum vmcs_field)(VMCS_CTRL_EOI_EXIT_0 + 2 * i), bits[i]);
}

void apicv_reset(struct vcpu *v)
{
    v->apicv = (struct apicv_state){ 0 };
    v->apicv_due = 0;
    if (!vmx_caps.apicv)
        return;
    vmwrite(VMCS_CTRL_VIRTUAL_APIC, ptr_hpa(v->apic_page).v);
    vmwrite(VMCS_CTRL_APIC_ACCESS, access_page.v);
    vmwrite(VMCS_CTRL_TPR_THRESHOLD, 0);
    vmwrite(VMCS_GUEST_INTR_STATUS, 0);
    set_mode(false);
    set_eoi_exits(v, v->apicv.eoi_exit, true);
}

/*
 * Bochs 2.7: when an interrupt of the machine comes while the guest has IF clear, one that is due from the virtual-APIC
 * page gets in, as if IF were set. None is due under interrupt-window exiting (SDM vol. 3, 30.2.1): so it waits for
 * that exit. If several wait, the next is due at the EOI of the first: then each EOI exits. Not covered is a self-IPI
 * that the guest sends itself with IF clear.
 */
static bool is_bochs(void) { return vmx_caps.revision == REVISION_BOCHS; }

static unsigned window(void)
{
    return is_bochs() && !(vmread_sure(VMCS_GUEST_RFLAGS) & RFLAGS_IF) ? DUE_WINDOW : 0;
}

static __attribute__((noinline)) void exit_at_eoi(struct vcpu *v, uint64_t bits[4])
{
    static const uint64_t all[4] = { ~0ull, ~0ull, ~0ull, ~0ull };

    memcpy(bits, all, sizeof(all));
    set_eoi_exits(v, bits, true);
}

/* As the processor itself does with posted interrupts (30.6): the highest requested one may be higher now. */
static void request(struct vcpu *v, uint8_t vector)
{
    uint64_t status = vmread_sure(VMCS_GUEST_INTR_STATUS);

    if ((uint8_t)status && is_bochs())
        exit_at_eoi(v, v->apicv.eoi_exit);
    if (vector > (uint8_t)status)
        vmwrite_sure(VMCS_GUEST_INTR_STATUS, (status & 0xff00) | vector);
}

unsigned apicv_due(struct vcpu *v)
{
    struct apicv_state next;

    if (!v->ops->apicv_state(v, &next))
        return v->apicv_due;
    v->apicv_due = (next.extint ? DUE_INJECTION : 0) | window();
    if (next.posted) {
        request(v, next.requested);
        return v->apicv_due;
    }
    vmwrite(VMCS_GUEST_INTR_STATUS, (uint32_t)next.in_service << 8 | next.requested);
    if (next.x2apic != v->apicv.x2apic)
        set_mode(next.x2apic);
    if (next.several && is_bochs())
        exit_at_eoi(v, next.eoi_exit);
    else
        set_eoi_exits(v, next.eoi_exit, false);
    v->apicv = next;
    return v->apicv_due;
}

/* Exit qualification of APIC accesses (table 28-6): offset, and in bits 15:12 what was done. */
enum { ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH };

void exit_apic_access(struct vcpu *v)
{
    uint64_t q = vcpu_qualification(v);
    unsigned type = q >> 12 & 15;

    if (type == ACCESS_READ || type == ACCESS_WRITE)
        mmio_emulate(v, GPA(APIC_BASE | (q & 0xfff)), LINEAR_UNKNOWN, type == ACCESS_WRITE);
    else
        v->ops->stop(v, type == ACCESS_FETCH ? "it executes its local APIC"
                                             : "its stack or tables lie in its local APIC");
}

/* Like a trap: the instruction is over (30.4.3.3). */
void exit_apic_write(struct vcpu *v)
{
    v->ops->apic_written(v, vcpu_qualification(v) & 0xfff);
}

void exit_virtual_eoi(struct vcpu *v)
{
    v->ops->apic_ended(v, (uint8_t)vcpu_qualification(v));
}
