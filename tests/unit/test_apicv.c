/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/vcpu_fake.h"
#include "vmx/setup.h"

static struct apicv_state news;
static bool any;
static const _Atomic bool something = true;
static unsigned written, ended;

static bool op_state(struct vcpu *v, struct apicv_state *out)
{
    bool is = any;

    (void)v;
    if (is)
        *out = news;
    any = false;
    return is;
}

static void op_written(struct vcpu *v, unsigned offset) { (void)v; written = offset; }
static void op_ended(struct vcpu *v, uint8_t vector) { (void)v; ended = vector; }

static struct vcpu_ops ops;
static uint8_t page[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

static int setup(void **state)
{
    if (vcpu_setup(state))
        return -1;
    ops = fake_ops;
    ops.apicv_state = op_state;
    vcpu.news = &something;
    ops.apic_written = op_written;
    ops.apic_ended = op_ended;
    vcpu.ops = &ops;
    vcpu.apic_page = page;
    news = (struct apicv_state){ 0 };
    any = false;
    vmx_caps.apicv = true;
    vmx_caps.proc2 |= PROC2_APIC_ACCESSES | PROC2_APIC_REGISTERS | PROC2_INTERRUPT_DELIVERY;
    if (msr_bitmap_init() || apicv_init())
        return -1;
    apicv_reset(&vcpu);
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    return 0;
}

static void enter(void)
{
    vmwrite(VMCS_CTRL_ENTRY_INTR_INFO, 0);
    vcpu_prepare_entry(&vcpu);
}

static void test_start(void **state)
{
    (void)state;
    assert_int_equal(vmread(VMCS_CTRL_VIRTUAL_APIC), (uint64_t)page);
    assert_int_equal(vmread(VMCS_CTRL_APIC_ACCESS), apicv_access_page().v);
    assert_int_equal(vmread(VMCS_CTRL_PROC2), vmx_caps.proc2);
    assert_int_equal(vmread(VMCS_CTRL_MSR_BITMAP), msr_bitmap().v);
    vmx_caps.apicv = false;                     /* without it nothing of the VMCS is touched */
    fake_vmcs_reset();
    apicv_reset(&vcpu);
    assert_int_equal(fake_vmcs.writes, 0);
}

/* The processor delivers: software injects nothing and opens no window. */
static void test_told(void **state)
{
    (void)state;
    any = true;
    news = (struct apicv_state){ .requested = 0x52, .in_service = 0x41, .eoi_exit = { 0, 4, 0, 8 } };
    world.pending = true;                       /* of the software path, which nobody asks */
    enter();
    assert_int_equal(vmread(VMCS_GUEST_INTR_STATUS), 0x4152);
    assert_int_equal(vmread(VMCS_CTRL_EOI_EXIT_1), 4);
    assert_int_equal(vmread(VMCS_CTRL_EOI_EXIT_3), 8);
    assert_int_equal(vmread(VMCS_CTRL_ENTRY_INTR_INFO), 0);
    assert_false(vcpu.proc_controls & PROC_INTERRUPT_WINDOW);
    vmwrite(VMCS_GUEST_INTR_STATUS, 0x52);      /* as the processor went on; without news it stays */
    enter();
    assert_int_equal(vmread(VMCS_GUEST_INTR_STATUS), 0x52);
    assert_int_equal(world.taken, 0);
}

/* Where only an interrupt was posted, nothing but the highest requested one may change. */
static void test_posted(void **state)
{
    (void)state;
    vmwrite(VMCS_GUEST_INTR_STATUS, 0x4152);
    any = true;
    news = (struct apicv_state){ .posted = true, .requested = 0x51, .eoi_exit = { 1, 1, 1, 1 }, .x2apic = true };
    enter();
    assert_int_equal(vmread(VMCS_GUEST_INTR_STATUS), 0x4152);
    any = true;
    news.requested = 0x53;
    enter();
    assert_int_equal(vmread(VMCS_GUEST_INTR_STATUS), 0x4153);
    assert_int_equal(vmread(VMCS_CTRL_EOI_EXIT_0), 0);
    assert_int_equal(vmread(VMCS_CTRL_PROC2), vmx_caps.proc2);
    any = true;
    news.extint = true;
    world.vector = 0x20;
    enter();
    assert_int_equal(vmread(VMCS_CTRL_ENTRY_INTR_INFO), INTR_VALID | 0x20);
}

/* The 8259s' interrupts are still injected, and wait behind a window. */
static void test_extint(void **state)
{
    (void)state;
    any = true;
    news.extint = true;
    world.vector = 0x20;
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED);
    enter();
    assert_int_equal(vmread(VMCS_CTRL_ENTRY_INTR_INFO), 0);
    assert_true(vcpu.proc_controls & PROC_INTERRUPT_WINDOW);
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    enter();                                    /* no news: it waits still */
    assert_int_equal(vmread(VMCS_CTRL_ENTRY_INTR_INFO), INTR_VALID | 0x20);
    assert_int_equal(world.taken, 1);
}

/* On Bochs none may be due while IF is clear: it waits behind a window. */
static void test_bochs_waits(void **state)
{
    (void)state;
    for (unsigned bochs = 0; bochs < 2; bochs++) {
        vmx_caps.revision = bochs ? REVISION_BOCHS : 1;
        any = true;
        news = (struct apicv_state){ .posted = true, .requested = 0x51 };
        vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED);
        enter();
        assert_int_equal(!!(vcpu.proc_controls & PROC_INTERRUPT_WINDOW), bochs);
        enter();                                /* still, without news */
        assert_int_equal(!!(vcpu.proc_controls & PROC_INTERRUPT_WINDOW), bochs);
        vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
        exit_interrupt_window(&vcpu);
        enter();
        assert_false(vcpu.proc_controls & PROC_INTERRUPT_WINDOW);
        assert_int_equal(vmread(VMCS_CTRL_ENTRY_INTR_INFO), 0);
        assert_int_equal(world.taken, 0);
    }
    vmx_caps.revision = 0;
}

static bool closed(const uint8_t *map, uint32_t msr, bool write)
{
    return map[(write ? 2048 : 0) + msr / 8] >> msr % 8 & 1;
}

static void test_modes(void **state)
{
    const uint8_t *map;

    (void)state;
    any = true;
    news.x2apic = true;
    enter();
    assert_int_equal(vmread(VMCS_CTRL_PROC2), (vmx_caps.proc2 & ~PROC2_APIC_ACCESSES) | PROC2_X2APIC);
    map = (const uint8_t *)vmread(VMCS_CTRL_MSR_BITMAP);
    for (uint32_t msr = 0x800; msr < 0x900; msr++) {
        bool plain = msr == 0x808 || msr == 0x80b || msr == 0x83f;

        assert_int_equal(closed(map, msr, true), !plain);
    }
    assert_false(closed(map, 0x802, false));
    assert_false(closed(map, 0x808, false));
    assert_false(closed(map, 0x838, false));
    assert_true(closed(map, 0x839, false));     /* the timer's count */
    assert_true(closed(map, 0x80b, false));     /* EOI is written only */
    assert_true(closed(map, 0x80e, false));     /* DFR is not there */
    assert_true(closed(map, 0x83f, false));
    assert_true(closed(map, MSR_TSC_DEADLINE, true));
    any = true;
    news.x2apic = false;
    enter();
    assert_int_equal(vmread(VMCS_CTRL_PROC2), vmx_caps.proc2);
    assert_int_equal(vmread(VMCS_CTRL_MSR_BITMAP), msr_bitmap().v);
}

static void test_exits(void **state)
{
    static const unsigned bad[] = { 2, 3, 10, 15 };

    (void)state;
    vmwrite(VMCS_EXIT_QUALIFICATION, 0x300);
    exit_apic_write(&vcpu);
    assert_int_equal(written, 0x300);
    vmwrite(VMCS_EXIT_QUALIFICATION, 0x41);
    exit_virtual_eoi(&vcpu);
    assert_int_equal(ended, 0x41);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        vmwrite(VMCS_EXIT_QUALIFICATION, bad[i] << 12);
        exit_apic_access(&vcpu);
        assert_int_equal(world.stops, i + 1);
    }
}

/* A read that the processor leaves to us: mov eax, [rbx]. */
static void test_access(void **state)
{
    static const uint8_t code[] = { 0x8b, 0x03 };

    (void)state;
    enter_long_mode();
    guest_put(START_RIP, code, sizeof(code));
    world.in = 0x1234;
    vmwrite(VMCS_EXIT_QUALIFICATION, 0x390);
    exit_apic_access(&vcpu);
    assert_int_equal(world.accesses, 1);
    assert_int_equal(world.access[0].at, 0xfee00390);
    assert_false(world.access[0].write);
    assert_int_equal(vcpu.regs.rax, 0x1234);
    assert_completed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_start, setup),  cmocka_unit_test_setup(test_told, setup),
        cmocka_unit_test_setup(test_posted, setup),
        cmocka_unit_test_setup(test_extint, setup), cmocka_unit_test_setup(test_bochs_waits, setup),
        cmocka_unit_test_setup(test_modes, setup),
        cmocka_unit_test_setup(test_exits, setup),  cmocka_unit_test_setup(test_access, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
