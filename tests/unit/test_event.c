/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <signal.h>
#include <ucontext.h>

#include "tests/unit/vcpu_fake.h"

enum { DE = 0, DB = 1, UD = 6, DF = 8, GP = 13, PF = 14, AC = 17, MC = 18 };
#define TYPED(type, vector) (INTR_VALID | (uint32_t)(type) << INTR_TYPE_SHIFT | (vector))
#define IRQ(vector) TYPED(INTR_EXTERNAL, vector)
#define NMI TYPED(INTR_NMI, 2)

/* INT n of the code under test faults in a program: it is noted and stepped over. */
static unsigned raised[256];

static void on_int(int signal, siginfo_t *info, void *context)
{
    greg_t *rip = &((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    const uint8_t *code = (const uint8_t *)*rip;

    if (code[0] != 0xcd)
        abort();
    raised[code[1]]++;
    *rip += 2;
}

static int setup(void **state)
{
    if (vcpu_setup(state))
        return -1;
    enter_long_mode();
    vcpu.proc_controls = PROC_HLT;
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    world.vector = 0x30;
    return 0;
}

static uint32_t injected(void) { return (uint32_t)vmread(VMCS_CTRL_ENTRY_INTR_INFO); }
static bool irq_window(void) { return vcpu.proc_controls & PROC_INTERRUPT_WINDOW; }
static bool nmi_window(void) { return vcpu.proc_controls & PROC_NMI_WINDOW; }

/* One entry; as the processor does, the last event is gone from its field. */
static uint32_t enter(void)
{
    vmwrite(VMCS_CTRL_ENTRY_INTR_INFO, 0);
    vcpu_prepare_entry(&vcpu);
    assert_int_equal(vcpu.event.info, 0);
    if (fake_vmcs.value[VMCS_CTRL_PROC])
        assert_int_equal(fake_vmcs.value[VMCS_CTRL_PROC], vcpu.proc_controls);
    return injected();
}

/* SDM vol. 3, table 6-4. */
enum class { BENIGN, CONTRIBUTORY, PAGE_FAULT };

static enum class class_of(unsigned vector)
{
    static const enum class classes[32] = { [DE] = CONTRIBUTORY, [10] = CONTRIBUTORY, [11] = CONTRIBUTORY,
                                            [12] = CONTRIBUTORY, [GP] = CONTRIBUTORY, [PF] = PAGE_FAULT };

    return classes[vector];
}

/* Table 6-5, each pair. */
static void test_double_faults(void **state)
{
    for (unsigned first = 0; first < 20; first++) {
        for (unsigned second = 0; second < 20; second++) {
            enum class a = class_of(first), b = class_of(second);
            bool doubled = b != BENIGN && (a == PAGE_FAULT || (a == CONTRIBUTORY && b == CONTRIBUTORY));

            if (first == DF || second == DF)
                continue;
            vcpu.event.info = exception_info((uint8_t)first, false);
            vcpu_exception_error(&vcpu, (uint8_t)second, 0x1234);
            assert_int_equal(vcpu.event.info, doubled ? exception_info(DF, true)
                                                      : exception_info((uint8_t)second, true));
            assert_int_equal(vcpu.event.error, doubled ? 0 : 0x1234);
        }
    }
    assert_int_equal(world.stops, 0);
}

static void test_triple_fault(void **state)
{
    for (unsigned second = 0; second < 20; second++) {
        world.stops = 0;
        if (second == DF)
            continue;
        vcpu.event.info = exception_info(DF, true);
        vcpu_exception(&vcpu, (uint8_t)second);
        assert_int_equal(world.stops, class_of(second) != BENIGN);
        if (world.stops)
            assert_string_equal(world.why, "triple fault");
        else
            assert_int_equal(vcpu.event.info, exception_info((uint8_t)second, false));
    }
}

/* What is not an exception makes no double fault. */
static void test_exception_on_top_of_other_events(void **state)
{
    static const uint32_t events[] = { IRQ(14), NMI, TYPED(INTR_SOFT_INTERRUPT, 13), TYPED(INTR_SOFT_EXCEPTION, 3) };

    for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
        vcpu.event.info = events[i];
        vcpu_exception_error(&vcpu, GP, 8);
        assert_int_equal(vcpu.event.info, exception_info(GP, true));
    }
    vcpu.event.info = exception_info(GP, true) & ~INTR_VALID;
    vcpu_exception_error(&vcpu, GP, 8);
    assert_int_equal(vcpu.event.info, exception_info(GP, true));
}

/* In real mode an error code would make the entry fail (SDM vol. 3, 27.2.1.3). */
static void test_real_mode_has_no_error_codes(void **state)
{
    cr_reset(CR0_ET, 0);
    vcpu_exception_error(&vcpu, GP, 4);
    assert_int_equal(vcpu.event.info, exception_info(GP, false));
    vcpu_exception_error(&vcpu, GP, 4);
    assert_int_equal(vcpu.event.info, exception_info(DF, false));
}

static void test_page_fault(void **state)
{
    vcpu_page_fault(&vcpu, 0xffff800000001234, 6);
    assert_int_equal(vcpu.event.info, exception_info(PF, true));
    assert_int_equal(vcpu.event.error, 6);
    assert_int_equal(fake_cpu.cr2, 0xffff800000001234);
    assert_int_equal(enter(), exception_info(PF, true));
    assert_int_equal(vmread(VMCS_CTRL_ENTRY_INTR_ERROR), 6);
}

/* An event whose delivery the exit cut short is delivered again, with all that belongs to it. */
static void cut_short(uint32_t info, bool has_error, bool has_length)
{
    vmwrite(VMCS_IDT_VECTORING_INFO, info | INTR_NMI_UNBLOCKED_IRET); /* the bit is undefined there */
    vmwrite(VMCS_IDT_VECTORING_ERROR, 0x55);
    vmwrite(VMCS_EXIT_INSN_LENGTH, 3);
    vmwrite(VMCS_CTRL_ENTRY_INTR_ERROR, 0xeeee);
    vmwrite(VMCS_CTRL_ENTRY_INSN_LENGTH, 0xee);
    event_requeue(&vcpu);
    assert_int_equal(enter(), info);
    assert_int_equal(vmread(VMCS_CTRL_ENTRY_INTR_ERROR), has_error ? 0x55 : 0xeeee);
    assert_int_equal(vmread(VMCS_CTRL_ENTRY_INSN_LENGTH), has_length ? 3 : 0xee);
    vmwrite(VMCS_IDT_VECTORING_INFO, 0);
    event_requeue(&vcpu);
    assert_int_equal(enter(), 0);              /* once */
}

static void test_requeue(void **state)
{
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_NMI);
    cut_short(IRQ(0x41), false, false);
    cut_short(exception_info(PF, true), true, false);
    cut_short(exception_info(UD, false), false, false);
    cut_short(TYPED(INTR_SOFT_INTERRUPT, 0x80), false, true);
    cut_short(TYPED(INTR_PRIV_SOFT_EXCEPTION, 1), false, true);
    cut_short(TYPED(INTR_SOFT_EXCEPTION, 3), false, true);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), BLOCKING_NMI);
    cut_short(NMI, false, false);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), 0); /* or the entry would refuse it */
}

/* Bochs tells of the event before the interrupt that the processor itself was delivering. */
static void test_requeue_on_bochs(void **state)
{
    vmx_caps.apicv = true;
    vmx_caps.revision = REVISION_BOCHS;
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    vmwrite(VMCS_GUEST_INTR_STATUS, 0x5100);
    vmwrite(VMCS_IDT_VECTORING_INFO, exception_info(PF, true));
    event_requeue(&vcpu);
    assert_int_equal(vcpu.event.info, IRQ(0x51));
    vmwrite(VMCS_IDT_VECTORING_INFO, 0);
    event_requeue(&vcpu);
    assert_int_equal(vcpu.event.info, 0);
    vmwrite(VMCS_IDT_VECTORING_INFO, exception_info(PF, true));
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED);               /* no interrupt could come: its handler has faulted */
    event_requeue(&vcpu);
    assert_int_equal(vcpu.event.info, exception_info(PF, true));
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    vmwrite(VMCS_GUEST_INTR_STATUS, 0x0051);                /* none is in service */
    event_requeue(&vcpu);
    assert_int_equal(vcpu.event.info, exception_info(PF, true));
    vmwrite(VMCS_GUEST_INTR_STATUS, 0x5100);
    vmx_caps.revision = 4;                                  /* a real processor */
    event_requeue(&vcpu);
    assert_int_equal(vcpu.event.info, exception_info(PF, true));
}

static void test_requeue_needs_the_valid_bit(void **state)
{
    vmwrite(VMCS_IDT_VECTORING_INFO, IRQ(0x41) & ~INTR_VALID);
    vcpu.event.info = IRQ(0x22);
    event_requeue(&vcpu);
    assert_int_equal(vcpu.event.info, 0);
}

/* What was cut short comes first, then the NMI, then the interrupt: one an entry, and windows call for the others. */
static void test_priority(void **state)
{
    vcpu.event = (struct vcpu_event){ exception_info(GP, true), 8, 0 };
    vcpu_nmi(&vcpu);
    world.pending = true;
    assert_int_equal(enter(), exception_info(GP, true));
    assert_true(irq_window() && nmi_window());
    assert_int_equal(world.taken, 0);
    assert_int_equal(enter(), NMI);
    assert_true(irq_window() && !nmi_window());
    assert_int_equal(world.taken, 0);
    assert_int_equal(enter(), IRQ(0x30));
    assert_false(irq_window() || nmi_window());
    assert_int_equal(world.taken, 1);
    assert_int_equal(enter(), 0);
    assert_int_equal(vcpu.proc_controls, PROC_HLT);
}

static void interrupt_waits(uint64_t rflags, uint64_t interruptibility)
{
    vmwrite(VMCS_GUEST_RFLAGS, rflags);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, interruptibility);
    world.pending = true;
    assert_int_equal(enter(), 0);
    assert_true(irq_window());
    assert_int_equal(world.taken, 0);
    exit_interrupt_window(&vcpu);
    assert_false(irq_window());
    assert_int_equal(vmread(VMCS_CTRL_PROC), PROC_HLT);
}

static void test_interrupt_waits_for_its_window(void **state)
{
    interrupt_waits(RFLAGS_FIXED, 0);
    interrupt_waits(RFLAGS_FIXED | RFLAGS_IF, BLOCKING_STI);
    interrupt_waits(RFLAGS_FIXED | RFLAGS_IF, BLOCKING_MOV_SS);
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_NMI); /* in an NMI handler interrupts are the guest's business */
    assert_int_equal(enter(), IRQ(0x30));
}

static void nmi_waits(uint64_t interruptibility)
{
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, interruptibility);
    assert_int_equal(enter(), 0);
    assert_true(nmi_window());
    assert_true(vcpu.nmis);
    exit_nmi_window(&vcpu);
    assert_false(nmi_window());
}

static void test_nmi_waits_for_its_window(void **state)
{
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED);
    vcpu_nmi(&vcpu);
    nmi_waits(BLOCKING_NMI);
    nmi_waits(BLOCKING_MOV_SS);
    nmi_waits(BLOCKING_STI);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, 0);
    assert_int_equal(enter(), NMI);            /* IF does not matter */
    assert_false(vcpu.nmis || nmi_window());
}

/* One is delivered and one is latched behind it; further ones are one with that. */
static void test_nmis_count_to_two(void **state)
{
    for (unsigned i = 0; i < 3; i++)
        vcpu_nmi(&vcpu);
    assert_int_equal(enter(), NMI);
    assert_true(nmi_window());
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_NMI);
    vcpu_nmi(&vcpu);
    assert_int_equal(enter(), 0);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, 0);
    assert_int_equal(enter(), NMI);
    assert_false(vcpu.nmis || nmi_window());
}

/* A single step that is due would be lost by an entry that injects. */
static void test_debug_trap_comes_first(void **state)
{
    vmwrite(VMCS_GUEST_PENDING_DEBUG, BIT(14));
    vcpu_nmi(&vcpu);
    world.pending = true;
    assert_int_equal(enter(), 0);
    assert_true(irq_window() && nmi_window());
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
    assert_int_equal(enter(), NMI);
    assert_int_equal(enter(), IRQ(0x30));
}

static void test_interrupt_passes_a_blocked_nmi(void **state)
{
    vcpu_nmi(&vcpu);
    world.pending = true;
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_NMI);
    assert_int_equal(enter(), IRQ(0x30));
    assert_true(nmi_window());
}

static int take_one_of_two(struct vcpu *v)
{
    return world.taken++ ? 0x51 : 0x52;
}

static void test_more_interrupts(void **state)
{
    struct vcpu_ops ops = fake_ops;

    ops.take_interrupt = take_one_of_two;
    vcpu.ops = &ops;
    world.pending = true;                      /* and stays so */
    assert_int_equal(enter(), IRQ(0x52));
    assert_true(irq_window());
    assert_int_equal(enter(), IRQ(0x51));
    world.pending = false;
    assert_int_equal(enter(), 0);
    assert_false(irq_window());
}

static void test_interrupt_that_went_away(void **state)
{
    world.pending = true;
    world.vector = -1;
    assert_int_equal(enter(), 0);
    assert_false(irq_window());
}

/* The control is written only when it changes. */
static void test_control(void **state)
{
    vcpu_control(&vcpu, PROC_HLT, true);
    assert_int_equal(vmread(VMCS_CTRL_PROC), 0);
    vcpu_control(&vcpu, PROC_NMI_WINDOW, true);
    assert_int_equal(vmread(VMCS_CTRL_PROC), PROC_HLT | PROC_NMI_WINDOW);
    vcpu_control(&vcpu, PROC_HLT, false);
    assert_int_equal(vmread(VMCS_CTRL_PROC), PROC_NMI_WINDOW);
}

/* Each processor drops what it has cached, exactly when the EPT was changed. */
static void test_invalidation(void **state)
{
    enter();
    assert_int_equal(fake_vmx.invepts, 1);
    assert_int_equal(fake_vmx.eptp, ept_pointer(&guest.ept[0], false));
    assert_int_equal(vmread(VMCS_CTRL_EPTP), fake_vmx.eptp);
    enter();
    assert_int_equal(fake_vmx.invepts, 1);
    guest.ept[0].generation++;
    enter();
    assert_int_equal(fake_vmx.invepts, 2);
    vmx_caps.ept_access_bits = true;
    vcpu.ept_generation = 0;
    enter();
    assert_int_equal(vmread(VMCS_CTRL_EPTP), ept_pointer(&guest.ept[0], true));
}

static void test_each_node_has_its_tables(void **state)
{
    pmap_destroy(&guest);
    assert_int_equal(pmap_init(&guest, 1, GUEST_MEMORY, 2), 0);
    fake_percpu[0].node = 1;
    enter();
    fake_percpu[0].node = 0;
    assert_int_equal(vmread(VMCS_CTRL_EPTP), ept_pointer(&guest.ept[1], false));
    assert_int_not_equal(guest.ept[0].root.v, guest.ept[1].root.v);
}

static void exception_exit(uint32_t info, uint32_t error, uint64_t qualification)
{
    vmwrite(VMCS_EXIT_INTR_INFO, info);
    vmwrite(VMCS_EXIT_INTR_ERROR, error);
    vmwrite(VMCS_EXIT_QUALIFICATION, qualification);
    exit_exception_nmi(&vcpu);
}

/* The machine's own go to its handlers, never to the guest. */
static void test_nmi_is_ours(void **state)
{
    struct sigaction action = { .sa_sigaction = on_int, .sa_flags = SA_SIGINFO };

    assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
    exception_exit(NMI, 0, 0);
    assert_int_equal(raised[2], 1);
    assert_int_equal(vcpu.event.info, 0);
    assert_int_equal(world.stops, 0);
}

static void test_machine_check_is_ours(void **state)
{
    fake_msr_set(MSR_MCG_STATUS, 5);           /* in progress, and the guest can go on */
    exception_exit(exception_info(MC, false), 0, 0);
    assert_int_equal(fake_msr_get(MSR_MCG_STATUS), 0);
    assert_int_equal(world.stops, 0);
    fake_msr_set(MSR_MCG_STATUS, 4);           /* it cannot */
    exception_exit(exception_info(MC, false), 0, 0);
    assert_int_equal(world.stops, 1);
    assert_int_equal(vcpu.event.info, 0);
}

static void test_alignment_check_is_given_back(void **state)
{
    exception_exit(exception_info(AC, true), 0, 0);
    assert_int_equal(vcpu.event.info, exception_info(AC, true));
    assert_int_equal(vcpu.event.error, 0);
    assert_int_equal(vmread(VMCS_GUEST_RIP), START_RIP);
}

/* The exit left DR6 and DR7 alone: what the exception would have done to them is done here. */
static void test_debug_exception(void **state)
{
    fake_cpu.dr6 = 0xffff0ff0 | 0xb;
    vmwrite(VMCS_GUEST_DR7, 0x2400);           /* GD */
    exception_exit(exception_info(DB, false), 0, BIT(14) | BIT(2) | BIT(20));
    assert_int_equal(vcpu.event.info, exception_info(DB, false));
    assert_int_equal(fake_cpu.dr6, 0xffff0ff0 | BIT(14) | 4);
    assert_int_equal(vmread(VMCS_GUEST_DR7), 0x400);
}

static void test_int1(void **state)
{
    vmwrite(VMCS_EXIT_INSN_LENGTH, 1);
    exception_exit(TYPED(INTR_PRIV_SOFT_EXCEPTION, DB), 0, 0);
    assert_int_equal(enter(), TYPED(INTR_PRIV_SOFT_EXCEPTION, DB));
    assert_int_equal(vmread(VMCS_CTRL_ENTRY_INSN_LENGTH), 1);
}

/* An IRET that ended the blocking of NMIs and then faulted is to run again: they are blocked until then. */
static void test_faulting_iret_blocks_nmis_again(void **state)
{
    exception_exit(exception_info(AC, true) | INTR_NMI_UNBLOCKED_IRET, 0, 0);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), BLOCKING_NMI);
    assert_int_equal(vcpu.event.info, exception_info(AC, true));
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, 0);
    vmwrite(VMCS_IDT_VECTORING_INFO, IRQ(0x30)); /* the bit means nothing then */
    exception_exit(exception_info(AC, true) | INTR_NMI_UNBLOCKED_IRET, 0, 0);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_double_faults, setup),
        cmocka_unit_test_setup(test_triple_fault, setup),
        cmocka_unit_test_setup(test_exception_on_top_of_other_events, setup),
        cmocka_unit_test_setup(test_real_mode_has_no_error_codes, setup),
        cmocka_unit_test_setup(test_page_fault, setup),
        cmocka_unit_test_setup(test_requeue, setup),
        cmocka_unit_test_setup(test_requeue_on_bochs, setup),
        cmocka_unit_test_setup(test_requeue_needs_the_valid_bit, setup),
        cmocka_unit_test_setup(test_priority, setup),
        cmocka_unit_test_setup(test_interrupt_waits_for_its_window, setup),
        cmocka_unit_test_setup(test_nmi_waits_for_its_window, setup),
        cmocka_unit_test_setup(test_nmis_count_to_two, setup),
        cmocka_unit_test_setup(test_debug_trap_comes_first, setup),
        cmocka_unit_test_setup(test_interrupt_passes_a_blocked_nmi, setup),
        cmocka_unit_test_setup(test_more_interrupts, setup),
        cmocka_unit_test_setup(test_interrupt_that_went_away, setup),
        cmocka_unit_test_setup(test_control, setup),
        cmocka_unit_test_setup(test_invalidation, setup),
        cmocka_unit_test_setup(test_each_node_has_its_tables, setup),
        cmocka_unit_test_setup(test_nmi_is_ours, setup), cmocka_unit_test_setup(test_machine_check_is_ours, setup),
        cmocka_unit_test_setup(test_alignment_check_is_given_back, setup),
        cmocka_unit_test_setup(test_debug_exception, setup),
        cmocka_unit_test_setup(test_int1, setup),
        cmocka_unit_test_setup(test_faulting_iret_blocks_nmis_again, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
