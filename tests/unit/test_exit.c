/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/random.h"
#include "tests/unit/vcpu_fake.h"
#include "vmx/quick.h"

enum quick vmx_try_exit(struct guest_regs *regs);
struct guest_regs *vmx_handle_exit(struct guest_regs *regs, enum quick tried);
struct guest_regs *vmx_handle_failure(void);

enum { UD = 6 };

static unsigned resumes, interrupts, asked;
static bool goes_on;
static _Atomic bool news;
static uint8_t last_interrupt;
static struct vcpu_ops ops;

static struct guest_regs *op_resume(struct vcpu *v)
{
    resumes++;
    return &v->regs;
}

static bool op_goes_on(struct vcpu *v)
{
    (void)v;
    asked++;
    return goes_on;
}

static bool op_quick_hypercall(struct vcpu *v)
{
    if (v->regs.rax)
        return false;
    world.hypercalls++;
    return true;
}

static void op_interrupt(uint8_t vector)
{
    interrupts++;
    last_interrupt = vector;
}

static int setup(void **state)
{
    int err = vcpu_setup(state);

    enter_long_mode();
    ops = fake_ops;
    ops.resume = op_resume;
    ops.interrupt = op_interrupt;
    ops.goes_on = op_goes_on;
    ops.quick_hypercall = op_quick_hypercall;
    vcpu.ops = &ops;
    vcpu.news = &news;
    news = false;
    goes_on = true;
    fake_percpu[0].vcpu = &vcpu;
    resumes = interrupts = asked = 0;
    return err;
}

/* As vmx/entry.asm: how far the short way came. */
static enum quick one_exit(void)
{
    enum quick tried = vmx_try_exit(&vcpu.regs);

    if (tried != QUICK_DONE)
        assert_ptr_equal(vmx_handle_exit(&vcpu.regs, tried), &vcpu.regs);
    return tried;
}

/* One exit the whole way, with what it leaves behind cleared first. */
static void leave_guest(uint32_t reason)
{
    unsigned before = resumes;

    vcpu.event.info = 0;
    vmwrite(VMCS_GUEST_RIP, START_RIP);
    vmwrite(VMCS_EXIT_REASON, reason);
    vcpu.look_at = 0;
    assert_int_equal(one_exit(), QUICK_NOT);
    assert_int_equal(resumes, before + 1);
}

/* A loop of PAUSEs exits only while somebody waits for the processor, and goes on behind the PAUSE. */
static void test_pause_loop(void **state)
{
    vmx_caps.proc2 |= PROC2_PAUSE_LOOP;
    vcpu_spins_end(&vcpu, true);
    assert_in_range(vmread(VMCS_CTRL_PLE_WINDOW), 1000, 100000);
    vcpu_spins_end(&vcpu, false);
    assert_int_equal(vmread(VMCS_CTRL_PLE_WINDOW), UINT32_MAX);
    vmwrite(VMCS_EXIT_INSN_LENGTH, 2);
    vmwrite(VMCS_GUEST_RIP, START_RIP);
    leave_guest(EXIT_REASON_PAUSE);
    assert_int_equal(world.spins, 1);
    assert_int_equal(vmread(VMCS_GUEST_RIP), START_RIP + 2);
}

static void test_undefined_instructions(void **state)
{
    static const uint32_t reasons[] = {
        EXIT_REASON_GETSEC, EXIT_REASON_VMCLEAR, EXIT_REASON_VMLAUNCH, EXIT_REASON_VMPTRLD, EXIT_REASON_VMPTRST,
        EXIT_REASON_VMREAD, EXIT_REASON_VMRESUME, EXIT_REASON_VMWRITE, EXIT_REASON_VMXOFF, EXIT_REASON_VMXON,
        EXIT_REASON_MWAIT, EXIT_REASON_MONITOR, EXIT_REASON_INVEPT, EXIT_REASON_INVVPID, EXIT_REASON_VMFUNC,
        EXIT_REASON_ENCLS,
    };

    for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
        leave_guest(reasons[i]);
        assert_faulted(UD, false, 0);
    }
    assert_int_equal(world.stops, 0);
}

static void test_rdpmc(void **state)
{
    leave_guest(EXIT_REASON_RDPMC);
    assert_faulted(GP_VECTOR, true, 0);
}

/* What nobody handles ends the guest with the reason's name; it never goes on as if nothing were. */
static void test_unhandled_reasons(void **state)
{
    static const uint32_t reasons[] = { EXIT_REASON_INIT, EXIT_REASON_SIPI, EXIT_REASON_IO_SMI, EXIT_REASON_INVLPG,
                                        EXIT_REASON_RSM, EXIT_REASON_MOV_DR, EXIT_REASON_EPT_MISCONFIG,
                                        EXIT_REASON_XSAVES, 35, 38, 79, 80, 4096,
                                        0x7fffffff };

    for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
        world.stops = 0;
        leave_guest(reasons[i]);
        assert_int_equal(world.stops, 1);
        assert_true(world.why[0]);
    }
    world.stops = 0;
    leave_guest(EXIT_REASON_PREEMPTION_TIMER);
    assert_int_equal(world.stops, 0);
    leave_guest(EXIT_REASON_EPT_MISCONFIG);
    assert_non_null(strstr(world.why, "EPT"));
}

static void test_triple_fault(void **state)
{
    leave_guest(EXIT_REASON_TRIPLE_FAULT);
    assert_string_equal(world.why, "triple fault");
}

static void test_external_interrupt(void **state)
{
    vmwrite(VMCS_EXIT_INTR_INFO, INTR_VALID | 0xf1);
    leave_guest(EXIT_REASON_EXTERNAL_INTERRUPT);
    assert_int_equal(interrupts, 1);
    assert_int_equal(last_interrupt, 0xf1);
    assert_int_equal(vmread(VMCS_GUEST_RIP), START_RIP);
}

static void test_hlt(void **state)
{
    leave_guest(EXIT_REASON_HLT);
    assert_completed();
    assert_int_equal(world.halts, 1);
}

static void test_cache_instructions(void **state)
{
    leave_guest(EXIT_REASON_INVD);
    assert_completed();
    leave_guest(EXIT_REASON_WBINVD);
    assert_completed();
}

static void test_hypercall_is_the_kernels(void **state)
{
    leave_guest(EXIT_REASON_VMCALL);
    assert_completed();
    assert_int_equal(world.hypercalls, 1);
    enter_user();
    leave_guest(EXIT_REASON_VMCALL);
    assert_faulted(UD, false, 0);
    assert_int_equal(world.hypercalls, 1);
}

static void xsetbv_gives(uint64_t value, bool taken)
{
    uint64_t before = fake_cpu.xcr[0];

    vcpu.regs.rax = 0xffffffff00000000 | (uint32_t)value;
    vcpu.regs.rdx = 0xffffffff00000000 | value >> 32;
    leave_guest(EXIT_REASON_XSETBV);
    if (taken) {
        assert_completed();
        assert_int_equal(fake_cpu.xcr[0], value);
    } else {
        assert_faulted(GP_VECTOR, true, 0);
        assert_int_equal(fake_cpu.xcr[0], before);
    }
}

/* SDM vol. 1, 13.3, with a machine that has MPX, PKRU and AMX besides. */
static void test_xsetbv(void **state)
{
    fake_cpu.cr4 |= CR4_OSXSAVE;
    fake_cpuid_set(0xd, 0, 0x602ff, 0, 0, 0);
    xsetbv_gives(1, true);
    xsetbv_gives(3, true);
    xsetbv_gives(7, true);
    xsetbv_gives(0xe7, true);
    xsetbv_gives(0, false);                    /* x87 always */
    xsetbv_gives(2, false);
    xsetbv_gives(5, false);                    /* AVX without SSE */
    for (uint64_t avx512 = 1; avx512 < 7; avx512++)
        xsetbv_gives(7 | avx512 << 5, false);  /* not all three */
    xsetbv_gives(0xe3, false);                 /* without AVX */
    for (unsigned bit = 3; bit < 64; bit++)
        if (bit < 5 || bit > 7)
            xsetbv_gives(7 | BIT(bit), false);
    vcpu.regs.rcx = 1;
    xsetbv_gives(1, false);
    vcpu.regs.rcx = BIT(32);                   /* ECX counts */
    xsetbv_gives(3, true);
    enter_user();
    xsetbv_gives(1, false);
}

static void test_xsetbv_of_a_smaller_machine(void **state)
{
    fake_cpu.cr4 |= CR4_OSXSAVE;
    fake_cpuid_set(0xd, 0, 7, 0, 0, 0);
    xsetbv_gives(7, true);
    xsetbv_gives(0xe7, false);
}

/* RIP moves within the width of the code; the end of an instruction ends the shadows of STI and MOV SS. */
static void test_skip(void **state)
{
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_STI | BLOCKING_NMI);
    leave_guest(EXIT_REASON_WBINVD);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), BLOCKING_NMI);
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), 0);
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_TF);
    leave_guest(EXIT_REASON_WBINVD);
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), BIT(14));
    leave_guest(EXIT_REASON_HLT);
    assert_int_equal(world.halts, 0);          /* the trap would wake it */
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
    vmwrite(VMCS_GUEST_DEBUGCTL, DEBUGCTL_BTF);
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_TF | RFLAGS_RF);
    leave_guest(EXIT_REASON_WBINVD);
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), 0);
    assert_int_equal(vmread(VMCS_GUEST_RFLAGS), RFLAGS_FIXED | RFLAGS_TF);
    vmwrite(VMCS_GUEST_RIP, 0xffffffffull);
    vcpu_skip_length(&vcpu, 1);
    assert_int_equal(vmread(VMCS_GUEST_RIP), BIT(32));
    vmwrite(VMCS_GUEST_CS_AR, AR_DB);
    vmwrite(VMCS_GUEST_RIP, 0xffffffffull);
    vcpu_skip_length(&vcpu, 1);
    assert_int_equal(vmread(VMCS_GUEST_RIP), 0);
}

static void test_counters_and_ring(void **state)
{
    for (unsigned i = 0; i < EXIT_RING + 3; i++) {
        vmwrite(VMCS_EXIT_QUALIFICATION, i);
        leave_guest(i & 1 ? EXIT_REASON_HLT : EXIT_REASON_WBINVD);
        if (!(i & 1))
            vcpu_qualification(&vcpu);         /* by the handlers that need it */
    }
    leave_guest(0x7fffffff);
    assert_int_equal(vcpu.exits.count[EXIT_REASON_HLT], (EXIT_RING + 3) / 2);
    assert_int_equal(vcpu.exit_count, EXIT_RING + 4);
    assert_int_equal(vcpu.ring[2].qualification, EXIT_RING + 2);
    assert_int_equal(vcpu.ring[2].rip, START_RIP);
    assert_int_equal(vcpu.ring[3].reason, 0x7fffffff);
}

static enum quick try(uint32_t reason)
{
    vcpu.event.info = 0;
    vmwrite(VMCS_GUEST_RIP, START_RIP);
    vmwrite(VMCS_EXIT_REASON, reason);
    return one_exit();
}

static enum quick try_io(uint16_t port, uint64_t bits)
{
    vmwrite(VMCS_EXIT_QUALIFICATION, (uint64_t)port << 16 | bits);
    return try(EXIT_REASON_IO);
}

/* The short way is for what can be done at once; the guest goes on without a look when nothing asks for one. */
static void test_short_way(void **state)
{
    vcpu.look_at = UINT64_MAX;
    assert_int_equal(try(EXIT_REASON_CPUID), QUICK_NOT);       /* asked for the first time */
    vcpu.regs.rax = 0;
    assert_int_equal(try(EXIT_REASON_CPUID), QUICK_DONE);
    vcpu.regs.rcx = MSR_APIC_BASE;
    assert_int_equal(try(EXIT_REASON_RDMSR), QUICK_DONE);
    atomic_store(&cpu_this()->guest, 0x1000);
    assert_int_equal(try(EXIT_REASON_HLT), QUICK_LOOK);
    assert_int_equal(world.halts, 1);
    vcpu.regs.rax = 0;
    assert_int_equal(try(EXIT_REASON_VMCALL), QUICK_DONE);
    vcpu.regs.rax = 1;
    assert_int_equal(try(EXIT_REASON_VMCALL), QUICK_NOT);      /* not this call */
    assert_int_equal(world.hypercalls, 2);
    assert_int_equal(try_io(0x3fd, BIT(3)), QUICK_DONE);
    assert_completed();
    assert_int_equal(vcpu.ring[(vcpu.exit_count - 1) % EXIT_RING].qualification, 0x3fd0008);
    assert_int_equal(asked, 0);
}

/* Whatever is due, or has become so by the exit itself, is looked at. */
static void test_short_way_ends_with_a_look(void **state)
{
    vcpu.look_at = rdtsc() + fake_cpu.tsc_step;
    vcpu.regs.rcx = MSR_APIC_BASE;
    assert_int_equal(try(EXIT_REASON_RDMSR), QUICK_NOT);       /* it has run long enough */
    vcpu.look_at = rdtsc() + fake_cpu.tsc_step + 1;
    assert_int_equal(try(EXIT_REASON_RDMSR), QUICK_DONE);
    vcpu.look_at = UINT64_MAX;
    news = true;
    assert_int_equal(try_io(0x3fd, BIT(3)), QUICK_LOOK);
    assert_completed();
    assert_int_equal(try(EXIT_REASON_RDMSR), QUICK_DONE);      /* changes nothing: the news is no newer */
    news = false;
    vcpu.regs.rcx = MSR_TSC_DEADLINE;
    assert_int_equal(try(EXIT_REASON_WRMSR), QUICK_DONE);
    goes_on = false;
    assert_int_equal(try(EXIT_REASON_WRMSR), QUICK_LOOK);
    assert_completed();
    assert_int_equal(asked, 2);
    vcpu.regs.rcx = MSR_EFER;
    assert_int_equal(try(EXIT_REASON_WRMSR), QUICK_NOT);
}

/* A state of the guest for which the end of an instruction is more than the next RIP, or not, at random. */
static void random_state(void)
{
    static const uint64_t flags[] = { 0, 0, 0, RFLAGS_TF, RFLAGS_RF };
    static const uint64_t blocking[] = { 0, 0, 0, BLOCKING_STI, BLOCKING_NMI };
    static const uint64_t rips[] = { START_RIP, START_RIP, 0xfffffffe, 0xffffffff };

    for (unsigned i = 0; i < 16; i++)
        vcpu.regs.r[i] = fake_random();
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | flags[fake_below(ARRAY_SIZE(flags))]);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, blocking[fake_below(ARRAY_SIZE(blocking))]);
    vmwrite(VMCS_GUEST_RIP, rips[fake_below(ARRAY_SIZE(rips))]);
    vmwrite(VMCS_GUEST_CS_AR, AR_P | AR_S | 0xb | (fake_below(2) ? AR_L : AR_DB));
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
    vmwrite(VMCS_EXIT_QUALIFICATION, fake_random() & 0xffff000b);
    vcpu.event.info = 0;
    world.in = fake_random();
}

static const uint32_t short_ways[] = { EXIT_REASON_CPUID, EXIT_REASON_RDMSR, EXIT_REASON_WRMSR, EXIT_REASON_IO,
                                       EXIT_REASON_VMCALL };

static void random_operands(uint32_t reason)
{
    static const uint32_t leaves[] = { 0, 1, 4, 7, 0xb, 0xd, 0x80000001, 0x40000000, 0xffffffff };
    static const uint32_t msrs[] = { MSR_APIC_BASE, MSR_TSC_DEADLINE, MSR_X2APIC_BASE + 8, MSR_EFER, MSR_PAT, 0x99 };

    if (reason == EXIT_REASON_CPUID) {
        vcpu.regs.rax = leaves[fake_below(ARRAY_SIZE(leaves))] | (uint64_t)fake_below(2) << 32;
        vcpu.regs.rcx = fake_below(3) + 8 * fake_below(3);     /* some share a place */
    } else {
        vcpu.regs.rcx = msrs[fake_below(ARRAY_SIZE(msrs))];
        vcpu.regs.rax = fake_below(2);
    }
}

static void every_leaf_differs(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
    for (unsigned i = 0; i < 4; i++)
        regs[i] = 0x01010101 * (leaf * 16 + subleaf * 4 + i);
}

/* From the same state both ways lead to the same. */
static void test_short_way_is_no_other_way(void **state)
{
    unsigned done = 0;

    fake_cpu.cpuid = every_leaf_differs;
    for (unsigned n = 0; n < 20000; n++) {
        uint32_t reason = short_ways[fake_below(ARRAY_SIZE(short_ways))];
        struct vcpu start, whole;
        static struct fake_vmcs vmcs, after;
        uint64_t in;

        random_state();
        random_operands(reason);
        world.msr_error = fake_below(8) ? 0 : -EINVAL;
        vmwrite(VMCS_EXIT_REASON, reason);
        vcpu.look_at = 0;
        start = vcpu;
        vmcs = fake_vmcs;
        in = world.in;
        assert_int_equal(one_exit(), QUICK_NOT);
        whole = vcpu;
        after = fake_vmcs;
        if (fake_below(2))
            memcpy(start.cpuid, vcpu.cpuid, sizeof(start.cpuid)); /* asked before */
        vcpu = start;
        vcpu.look_at = UINT64_MAX;
        fake_vmcs = vmcs;
        world.in = in;
        done += one_exit() != QUICK_NOT;
        assert_memory_equal(&vcpu.regs, &whole.regs, sizeof(vcpu.regs));
        assert_int_equal(vcpu.event.info, whole.event.info);
        assert_memory_equal(fake_vmcs.value, after.value, sizeof(after.value));
    }
    assert_in_range(done, 2000, 15000);
}

/* The event that an exit interrupted waits again before the handler runs, and whatever the handler does. */
static void test_events_are_requeued(void **state)
{
    vmwrite(VMCS_IDT_VECTORING_INFO, INTR_VALID | INTR_EXTERNAL << INTR_TYPE_SHIFT | 0x55);
    leave_guest(EXIT_REASON_EXTERNAL_INTERRUPT);
    assert_int_equal(vcpu.event.info, INTR_VALID | 0x55);
}

/* The checker says what is wrong with the guest's state; the processor's answer is not lost either. */
static void test_failed_entry(void **state)
{
    for (uint32_t msr = MSR_VMX_BASIC; msr <= MSR_VMX_TRUE_ENTRY_CTLS; msr++)
        fake_msr_set(msr, 0xffffffff00000000);
    vmwrite(VMCS_GUEST_RFLAGS, 0);             /* bit 1 is always one */
    vmwrite(VMCS_IDT_VECTORING_INFO, INTR_VALID | 0x55);
    leave_guest(EXIT_REASON_FAILED_ENTRY | EXIT_REASON_GUEST_STATE);
    assert_int_equal(world.stops, 1);
    assert_true(strlen(world.why) > 20);
    assert_int_equal(vcpu.event.info, 0);      /* no event was cut short: there was no guest */
    assert_ptr_equal(vmx_handle_failure(), &vcpu.regs);
    assert_int_equal(world.stops, 2);
    assert_non_null(strstr(world.why, "VM entry failed"));
}

/* Exits that end in ops->resume are timed, by powers of two; the others are only counted. */
static void test_times(void **state)
{
    uint64_t *hlt = vcpu.exits.by_time[EXIT_REASON_HLT];

    fake_cpu.tsc_step = 300;                   /* from the exit's look at the clock to the end's */
    leave_guest(EXIT_REASON_HLT);
    assert_int_equal(vcpu.exits.ticks[EXIT_REASON_HLT], 300);
    assert_int_equal(hlt[1], 1);
    fake_cpu.tsc_step = 256;
    leave_guest(EXIT_REASON_HLT);
    assert_int_equal(hlt[1], 2);
    fake_cpu.tsc_step = 255;
    leave_guest(EXIT_REASON_HLT);
    assert_int_equal(hlt[0], 1);
    fake_cpu.tsc_step = 1ull << 50;
    leave_guest(EXIT_REASON_HLT);
    assert_int_equal(hlt[EXIT_BUCKETS - 1], 1);
    assert_int_equal(exit_stats_timed(&vcpu.exits, EXIT_REASON_HLT), vcpu.exits.count[EXIT_REASON_HLT]);
    vcpu.look_at = UINT64_MAX;
    fake_cpu.tsc_step = 1;
    vcpu.regs.rcx = MSR_APIC_BASE;
    assert_int_equal(try(EXIT_REASON_RDMSR), QUICK_DONE);
    assert_int_equal(vcpu.exits.count[EXIT_REASON_RDMSR], 1);
    assert_int_equal(exit_stats_timed(&vcpu.exits, EXIT_REASON_RDMSR), 0);
    leave_guest(0x7fffffff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_pause_loop, setup),
        cmocka_unit_test_setup(test_undefined_instructions, setup),
        cmocka_unit_test_setup(test_rdpmc, setup),
        cmocka_unit_test_setup(test_unhandled_reasons, setup),
        cmocka_unit_test_setup(test_triple_fault, setup),
        cmocka_unit_test_setup(test_external_interrupt, setup),
        cmocka_unit_test_setup(test_hlt, setup),
        cmocka_unit_test_setup(test_cache_instructions, setup),
        cmocka_unit_test_setup(test_hypercall_is_the_kernels, setup),
        cmocka_unit_test_setup(test_xsetbv, setup),
        cmocka_unit_test_setup(test_xsetbv_of_a_smaller_machine, setup),
        cmocka_unit_test_setup(test_skip, setup),
        cmocka_unit_test_setup(test_times, setup),
        cmocka_unit_test_setup(test_counters_and_ring, setup),
        cmocka_unit_test_setup(test_short_way, setup),
        cmocka_unit_test_setup(test_short_way_ends_with_a_look, setup),
        cmocka_unit_test_setup(test_short_way_is_no_other_way, setup),
        cmocka_unit_test_setup(test_events_are_requeued, setup),
        cmocka_unit_test_setup(test_failed_entry, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
