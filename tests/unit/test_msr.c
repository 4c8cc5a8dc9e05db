/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/vcpu_fake.h"
#include "vmx/cpuid.h"
#include "vmx/exits.h"
#include "vmx/msr.h"
#include "vmx/pvclock.h"
#include "vmx/quick.h"
#include "vmx/setup.h"

/* What the policy is meant to be, written down a second time: R read, W write (of zero, at least), D never exits. */
enum { R = 1, W = 2, D = 4 };
static const struct { uint32_t first, last; unsigned may; } expected[] = {
    { 0x0, 0x1, R | W },       { 0x10, 0x10, R | W },     { 0x17, 0x17, R },         { 0x1b, 0x1b, R | W },
    { 0x3a, 0x3a, R },         { 0x3b, 0x3b, R | W },     { 0x79, 0x79, W },         { 0x8b, 0x8b, R | W },
    { 0xfe, 0xfe, R },         { 0x10a, 0x10a, R },
    { 0x174, 0x176, D },       { 0x179, 0x17a, R | W },   { 0x1a0, 0x1a0, R | W },   { 0x1d9, 0x1d9, R | W },
    { 0x200, 0x20f, R | W },   { 0x250, 0x250, R | W },   { 0x258, 0x259, R | W },   { 0x268, 0x26f, R | W },
    { 0x277, 0x277, D },       { 0x2ff, 0x2ff, R | W },   { 0x6e0, 0x6e0, R | W },   { 0x800, 0x8ff, R | W },
    { 0x4b564d00, 0x4b564d01, R | W }, { 0x4b564d03, 0x4b564d03, R | W }, { 0xc0000080, 0xc0000080, R | W },
    { 0xc0000081, 0xc0000084, D },     { 0xc0000100, 0xc0000102, D },
};

static unsigned may(uint32_t msr)
{
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
        if (msr >= expected[i].first && msr <= expected[i].last)
            return expected[i].may;
    return 0;
}

static void check_range(uint32_t first, uint32_t last)
{
    for (uint64_t msr = first; msr <= last; msr++) {
        uint64_t value = 0x1badbadbadbadbad;
        int read = msr_guest_read(&vcpu, (uint32_t)msr, &value), write = msr_guest_write(&vcpu, (uint32_t)msr, 0);

        if ((read != 0) == !!(may((uint32_t)msr) & R) || (write != 0) == !!(may((uint32_t)msr) & W))
            fail_msg("MSR %#lx: read %d, write %d", msr, read, write);
        if ((read && read != -EINVAL) || (write && write != -EINVAL))
            fail_msg("MSR %#lx: read %d, write %d, not -EINVAL", msr, read, write);
        if (read && value != 0x1badbadbadbadbad)
            fail_msg("MSR %#lx: refused, but the value was changed", msr);
    }
}

static void test_tsc_adjust(void **state)
{
    uint64_t value;

    assert_int_equal(msr_guest_write(&vcpu, MSR_TSC_ADJUST, 1000), 0);
    assert_int_equal(vmread(VMCS_CTRL_TSC_OFFSET), vcpu.tsc_base + 1000);
    assert_int_equal(msr_guest_write(&vcpu, MSR_TSC, vcpu_tick(&vcpu) + 5000), 0);
    assert_int_equal(msr_guest_read(&vcpu, MSR_TSC_ADJUST, &value), 0);
    assert_in_range(value, 4900, 5100);
}

static void test_only_named_msrs(void **state)
{
    check_range(0, 0x1fff);
    check_range(0xc0000000, 0xc0001fff);
    check_range(0x40000000, 0x400001ff);
    check_range(0x4b564c00, 0x4b564e00);
    check_range(0xc0010000, 0xc0011fff);
    check_range(0x80000000, 0x800000ff);
    check_range(UINT32_MAX - 0xff, UINT32_MAX);
    srandom(3);
    for (unsigned i = 0; i < 20000; i++) {
        uint32_t msr = (uint32_t)random() << 1 ^ (uint32_t)random();

        check_range(msr, msr);
    }
}

static bool open_bit(const uint8_t *map, uint32_t msr, bool write)
{
    unsigned n = (msr >> 31 ? 0x2000 : 0) + (write ? 0x4000 : 0) + (msr & 0x1fff);

    return !(map[n / 8] >> n % 8 & 1);
}

static void check_bitmap(bool rdtscp)
{
    const uint8_t *map;
    unsigned open = 0;

    vmx_caps.proc2 = rdtscp ? PROC2_RDTSCP : 0;
    assert_int_equal(msr_bitmap_init(), 0);
    map = hpa_ptr(msr_bitmap());
    for (unsigned i = 0; i < 2 * 2 * 0x2000; i++) {
        uint32_t msr = (i & 0x1fff) | (i & 0x2000 ? 0xc0000000 : 0);
        bool want = (may(msr) & D) || (rdtscp && msr == MSR_TSC_AUX), is = open_bit(map, msr, i & 0x4000);

        if (is != want)
            fail_msg("MSR %#x: %s %s", msr, i & 0x4000 ? "writes" : "reads", is ? "open" : "closed");
        open += is;
    }
    assert_int_equal(open, 2 * (3 + 1 + 4 + 3 + rdtscp));
    page_free(msr_bitmap(), PAGE_ORDER_4K);
}

static void test_bitmap(void **state)
{
    check_bitmap(false);
    check_bitmap(true);
}

static void test_read_exit(void **state)
{
    world.msr_value = 0x1122334455667788;
    vcpu.regs.rcx = 0xffffffff0000001b;        /* ECX counts */
    vcpu.regs.rax = vcpu.regs.rdx = ~0ull;
    exit_rdmsr(&vcpu);
    assert_completed();
    assert_int_equal(world.msr_last, MSR_APIC_BASE);
    assert_int_equal(vcpu.regs.rax, 0x55667788);
    assert_int_equal(vcpu.regs.rdx, 0x11223344);
}

static void test_write_exit(void **state)
{
    vcpu.regs.rcx = 0xabcd00000000001b;
    vcpu.regs.rax = 0xffffffff55667788;
    vcpu.regs.rdx = 0xffffffff11223344;
    exit_wrmsr(&vcpu);
    assert_completed();
    assert_int_equal(world.msr_last, MSR_APIC_BASE);
    assert_int_equal(world.msr_value, 0x1122334455667788);
}

/* #GP(0), registers and RIP as they were; real mode pushes no error code. */
static void test_refusals_fault(void **state)
{
    vcpu.regs.rcx = 0x48;
    vcpu.regs.rax = 1;
    vcpu.regs.rdx = 2;
    exit_rdmsr(&vcpu);
    assert_faulted(GP_VECTOR, false, 0);
    assert_int_equal(vcpu.regs.rax, 1);
    assert_int_equal(vcpu.regs.rdx, 2);
    vcpu.event.info = 0;
    enter_long_mode();
    exit_rdmsr(&vcpu);
    assert_faulted(GP_VECTOR, true, 0);
    vcpu.event.info = 0;
    exit_wrmsr(&vcpu);
    assert_faulted(GP_VECTOR, true, 0);
}

/* The board's refusals are #GP too. */
static void test_board_refuses(void **state)
{
    uint64_t value;

    world.msr_error = -EINVAL;
    assert_int_equal(msr_guest_read(&vcpu, 0x802, &value), -EINVAL);
    assert_int_equal(msr_guest_write(&vcpu, 0x802, 0), -EINVAL);
}

static void test_constants(void **state)
{
    uint64_t value;

    assert_int_equal(msr_guest_read(&vcpu, MSR_FEATURE_CONTROL, &value), 0);
    assert_int_equal(value, FEATURE_CONTROL_LOCK); /* locked, without VMX */
    assert_int_equal(msr_guest_read(&vcpu, MSR_MTRRCAP, &value), 0);
    assert_int_equal(value, 0x508);
    for (uint32_t msr = MSR_MCG_CAP; msr <= MSR_MCG_STATUS; msr++) {
        assert_int_equal(msr_guest_read(&vcpu, msr, &value), 0);
        assert_int_equal(value, 0);
        assert_int_equal(msr_guest_write(&vcpu, msr, 1), -EINVAL);
    }
    assert_int_equal(msr_guest_write(&vcpu, 0, 0x1234), 0);
    assert_int_equal(msr_guest_write(&vcpu, 1, 0x1234), 0);
    assert_int_equal(msr_guest_write(&vcpu, MSR_BIOS_UPDT_TRIG, 0x1234), 0);
    assert_int_equal(msr_guest_write(&vcpu, MSR_BIOS_SIGN_ID, 0x1234), 0);
    assert_int_equal(msr_guest_read(&vcpu, MSR_BIOS_SIGN_ID, &value), 0);
    assert_int_equal(value, 0);
}

/* Immunities pass; what announces a control MSR that guests do not have, or a weakness (RSBA), does not. */
static void test_arch_capabilities(void **state)
{
    static const uint8_t hidden[] = { 1, 2, 3, 7, 9, 10, 11, 12, 16, 17, 18, 19, 21, 22, 23, 25, 28, 63 };
    uint64_t value;

    fake_msr_set(MSR_ARCH_CAPABILITIES, ~0ull);
    assert_int_equal(msr_guest_read(&vcpu, MSR_ARCH_CAPABILITIES, &value), 0);
    for (size_t i = 0; i < ARRAY_SIZE(hidden); i++)
        assert_false(value >> hidden[i] & 1);
    assert_true(value & BIT(0) && value & BIT(5) && value & BIT(8)); /* RDCL, MDS, TAA */
    fake_msr_set(MSR_ARCH_CAPABILITIES, 0);
    assert_int_equal(msr_guest_read(&vcpu, MSR_ARCH_CAPABILITIES, &value), 0);
    assert_int_equal(value & ~BIT(62), 0);
}

static void test_misc_enable_is_kept(void **state)
{
    uint64_t value;

    assert_int_equal(msr_guest_write(&vcpu, MSR_MISC_ENABLE, 0x400000001), 0);
    assert_int_equal(msr_guest_read(&vcpu, MSR_MISC_ENABLE, &value), 0);
    assert_int_equal(value, 0x400000001);
}

/* Only single-stepping on branches; last-branch and performance controls would reach the machine. */
static void test_debugctl(void **state)
{
    uint64_t value;

    for (unsigned bit = 0; bit < 64; bit++) {
        assert_int_equal(msr_guest_write(&vcpu, MSR_DEBUGCTL, BIT(bit)), bit == 1 ? 0 : -EINVAL);
        assert_int_equal(vmread(VMCS_GUEST_DEBUGCTL), bit ? 2 : 0);
    }
    assert_int_equal(msr_guest_read(&vcpu, MSR_DEBUGCTL, &value), 0);
    assert_int_equal(value, 2);
}

static void test_efer(void **state)
{
    uint64_t value;

    assert_int_equal(msr_guest_write(&vcpu, MSR_EFER, EFER_SCE | EFER_NXE | EFER_LME), 0);
    assert_int_equal(msr_guest_read(&vcpu, MSR_EFER, &value), 0);
    assert_int_equal(value, EFER_SCE | EFER_NXE | EFER_LME);
    assert_int_equal(msr_guest_write(&vcpu, MSR_EFER, BIT(12)), -EINVAL); /* SVME */
    assert_int_equal(vmread(VMCS_GUEST_EFER), EFER_SCE | EFER_NXE | EFER_LME);
}

static uint64_t guest_tsc(void)
{
    return fake_cpu.tsc + vmread(VMCS_CTRL_TSC_OFFSET);
}

static void write_tsc(uint64_t value)
{
    fake_cpu.tsc_step = 0;
    assert_int_equal(msr_guest_write(&vcpu, MSR_TSC, value), 0);
    assert_int_equal(guest_tsc(), value);
}

static void test_tsc(void **state)
{
    uint64_t value;

    fake_cpu.tsc = 5000000;
    vcpu.tsc_base = -1000000ull;
    write_tsc(0);
    write_tsc(123456789);
    assert_int_equal(msr_guest_read(&vcpu, MSR_TSC, &value), 0);
    assert_int_equal(value, 123456789);
    fake_cpu.tsc += 11;
    assert_int_equal(msr_guest_read(&vcpu, MSR_TSC, &value), 0);
    assert_int_equal(value, 123456800);
}

/* Deadlines are in the guest's own TSC, the board's are ticks of the VM; the guest reads back what it wrote. */
static void deadline_is(uint64_t guest_value, uint64_t tick)
{
    uint64_t value;

    assert_int_equal(msr_guest_write(&vcpu, MSR_TSC_DEADLINE, guest_value), 0);
    assert_int_equal(world.msr_value, tick);
    if (!tick)
        assert_int_equal(guest_value, 0);
    if (tick != 1) {
        assert_int_equal(msr_guest_read(&vcpu, MSR_TSC_DEADLINE, &value), 0);
        assert_int_equal(value, guest_value);
    }
}

static void test_deadline(void **state)
{
    fake_cpu.tsc = 5000000;
    deadline_is(6000000, 6000000);
    deadline_is(0, 0);                         /* disarms */
    write_tsc(5000000 + 700);                  /* forward: adjust 700 */
    deadline_is(6000700, 6000000);
    deadline_is(701, 1);
    deadline_is(700, 1);                       /* long past, yet not the zero that disarms */
    deadline_is(1, 1);
    deadline_is(0, 0);
    write_tsc(0);                              /* back: adjust -5000000 */
    deadline_is(1000, 5001000);
    deadline_is(1, 5000001);
    deadline_is(0, 0);
    assert_int_equal(msr_guest_write(&vcpu, MSR_TSC_DEADLINE, UINT64_MAX - 10), 0); /* never, not now */
    assert_int_equal(world.msr_value, UINT64_MAX);
}

/* Reserved bits and types (SDM vol. 3, 12.11.2): what a processor would refuse is refused, the rest is read back. */
static void mtrr_takes(uint32_t msr, uint64_t value)
{
    uint64_t got;

    assert_int_equal(msr_guest_write(&vcpu, msr, value), 0);
    assert_int_equal(msr_guest_read(&vcpu, msr, &got), 0);
    assert_int_equal(got, value);
}

static void mtrr_refuses(uint32_t msr, uint64_t value)
{
    uint64_t before, after;

    assert_int_equal(msr_guest_read(&vcpu, msr, &before), 0);
    assert_int_equal(msr_guest_write(&vcpu, msr, value), -EINVAL);
    assert_int_equal(msr_guest_read(&vcpu, msr, &after), 0);
    assert_int_equal(before, after);
}

static void check_type(uint32_t msr, unsigned shift, uint64_t rest)
{
    for (uint64_t type = 0; type < 256; type++) {
        if (type == 0 || type == 1 || (type >= 4 && type <= 6))
            mtrr_takes(msr, rest | type << shift);
        else
            mtrr_refuses(msr, rest | type << shift);
    }
}

static void test_mtrr_fixed(void **state)
{
    static const uint32_t fixed[] = { 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f };

    for (size_t i = 0; i < ARRAY_SIZE(fixed); i++)
        for (unsigned byte = 0; byte < 8; byte++)
            check_type(fixed[i], 8 * byte, 0x0606060606060606 & ~(0xffull << 8 * byte));
}

static void test_mtrr_variable(void **state)
{
    for (uint32_t msr = 0x200; msr < 0x210; msr += 2) {
        for (uint64_t type = 0; type < 16; type++)
            if (type <= 6 && type != 2 && type != 3)
                mtrr_takes(msr, 0xfffff000 | type);
            else
                mtrr_refuses(msr, 0xfffff000 | type);
        for (unsigned bit = 8; bit < 12; bit++)
            mtrr_refuses(msr, BIT(bit) | 6);
        for (unsigned bit = 0; bit < 11; bit++)
            mtrr_refuses(msr + 1, BIT(bit) | 0xfffff000);
        mtrr_takes(msr, 0xfffffff000 | 6);     /* 40 bits of physical address */
        mtrr_takes(msr + 1, 0xfffffff800);
        for (unsigned bit = 40; bit < 64; bit++) {
            mtrr_refuses(msr, BIT(bit) | 6);
            mtrr_refuses(msr + 1, BIT(bit) | 0x800);
        }
    }
}

static void test_mtrr_default(void **state)
{
    check_type(MSR_MTRR_DEF_TYPE, 0, 0xc00);
    for (unsigned bit = 8; bit < 64; bit++)
        if (bit == 10 || bit == 11)
            mtrr_takes(MSR_MTRR_DEF_TYPE, BIT(bit) | 6);
        else
            mtrr_refuses(MSR_MTRR_DEF_TYPE, BIT(bit) | 6);
}

/* None of them lies in another's place. */
static void test_mtrrs_are_apart(void **state)
{
    uint64_t value;

    for (unsigned i = 0; i < 16; i++)
        mtrr_takes(0x200 + i, (uint64_t)(i + 1) << 12 | (i & 1 ? 0x800 : 0));
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(msr_guest_read(&vcpu, 0x200 + i, &value), 0);
        assert_int_equal(value, (uint64_t)(i + 1) << 12 | (i & 1 ? 0x800 : 0));
    }
}

static void test_wall_clock_reads_back(void **state)
{
    uint64_t value;

    assert_int_equal(msr_guest_write(&vcpu, MSR_PVCLOCK_WALL, 0x3000), 0);
    assert_int_equal(msr_guest_read(&vcpu, MSR_PVCLOCK_WALL, &value), 0);
    assert_int_equal(value, 0x3000);
    assert_int_equal(msr_guest_write(&vcpu, MSR_PVCLOCK_SYSTEM, 0x4001), 0);
    assert_int_equal(msr_guest_read(&vcpu, MSR_PVCLOCK_SYSTEM, &value), 0);
    assert_int_equal(value, 0x4001);
}

/* A new state of the APIC shows in CPUID at once. */
static void test_apic_base_and_cpuid(void **state)
{
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(msr_guest_write(&vcpu, MSR_APIC_BASE, i & 1 ? 0 : APIC_BASE_ENABLE), 0);
        vcpu.regs.rax = 1;
        exit_cpuid(&vcpu);
        assert_int_equal(vcpu.regs.rdx >> 9 & 1, !(i & 1));
    }
}

/* The guest's clock block goes with its TSC. */
static void test_tsc_moves_the_clock(void **state)
{
    struct { uint32_t version, pad; uint64_t tsc, system; } before, after;

    fake_cpu.tsc_step = 0;
    assert_int_equal(msr_guest_write(&vcpu, MSR_PVCLOCK_SYSTEM, 0x3001), 0);
    guest_get(0x3000, &before, sizeof(before));
    assert_int_equal(msr_guest_write(&vcpu, MSR_TSC_ADJUST, 1000000), 0);
    guest_get(0x3000, &after, sizeof(after));
    assert_true(after.version > before.version);
    assert_int_equal(after.tsc - before.tsc, 1000000);
    assert_int_equal(after.system, before.system);
}

static struct vcpu_ops ops;
static bool goes_on;
static _Atomic bool news;
static bool op_goes_on(struct vcpu *v) { (void)v; return goes_on; }

static int setup_short(void **state)
{
    int err = vcpu_setup(state);

    ops = fake_ops;
    ops.goes_on = op_goes_on;
    vcpu.ops = &ops;
    vcpu.news = &news;
    goes_on = true;
    news = false;
    return err;
}

static enum quick short_way(enum quick (*way)(struct vcpu *v, struct exit_record *r), uint32_t msr, uint64_t value)
{
    struct exit_record r = { .rip = START_RIP };

    vmwrite(VMCS_GUEST_RIP, START_RIP);
    vcpu.regs.rcx = msr;
    vcpu.regs.rax = (uint32_t)value;
    vcpu.regs.rdx = value >> 32;
    return way(&vcpu, &r);
}

static void test_short_read(void **state)
{
    world.msr_value = 0x1122334455667788;
    assert_int_equal(short_way(quick_rdmsr, MSR_APIC_BASE, ~0ull), QUICK_DONE);
    assert_completed();
    assert_int_equal(vcpu.regs.rax, 0x55667788);
    assert_int_equal(vcpu.regs.rdx, 0x11223344);
    assert_int_equal(short_way(quick_rdmsr, 0x48, 0x123), QUICK_NOT);
    assert_int_equal(vmread(VMCS_GUEST_RIP), START_RIP);
    assert_int_equal(vcpu.regs.rax, 0x123);
}

/* The local APIC's alone; what has become due, or has changed in the APIC, is looked at. */
static void test_short_write(void **state)
{
    static const uint32_t taken[] = { MSR_TSC_DEADLINE, MSR_X2APIC_BASE, 0x80b, 0x8ff };
    static const uint32_t not[] = { MSR_APIC_BASE, MSR_TSC, MSR_EFER, 0x7ff, 0x900, 0x48 };

    for (size_t i = 0; i < ARRAY_SIZE(taken); i++) {
        for (unsigned why = 0; why < 4; why++) {
            goes_on = !(why & 1);
            news = why & 2;
            assert_int_equal(short_way(quick_wrmsr, taken[i], 0x100000005), why ? QUICK_LOOK : QUICK_DONE);
            assert_completed();
            assert_int_equal(world.msr_last, taken[i]);
            assert_int_equal(world.msr_value, 0x100000005);
        }
    }
    world.msr_writes = 0;
    for (size_t i = 0; i < ARRAY_SIZE(not); i++)
        assert_int_equal(short_way(quick_wrmsr, not[i], 5), QUICK_NOT);
    assert_int_equal(world.msr_writes, 0);
    world.msr_error = -EINVAL;
    assert_int_equal(short_way(quick_wrmsr, 0x808, 5), QUICK_NOT);
    assert_int_equal(vmread(VMCS_GUEST_RIP), START_RIP);
}

/* The guest's deadline is in its own TSC also the short way. */
static void test_short_deadline(void **state)
{
    assert_int_equal(msr_guest_write(&vcpu, MSR_TSC_ADJUST, 700), 0);
    assert_int_equal(short_way(quick_wrmsr, MSR_TSC_DEADLINE, 1700), QUICK_DONE);
    assert_int_equal(world.msr_value, 1000);
    assert_int_equal(short_way(quick_wrmsr, MSR_TSC_DEADLINE, 0), QUICK_DONE);
    assert_int_equal(world.msr_value, 0);
}

/* What ends an instruction in a special manner is for the whole way. */
static void test_short_way_is_for_plain_ends(void **state)
{
    static const struct { enum vmcs_field field; uint64_t bit; } special[] = {
        { VMCS_GUEST_RFLAGS, RFLAGS_TF }, { VMCS_GUEST_RFLAGS, RFLAGS_RF },
        { VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_STI }, { VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_MOV_SS },
    };

    for (size_t i = 0; i < ARRAY_SIZE(special); i++) {
        uint64_t plain = vmread(special[i].field);

        vmwrite(special[i].field, plain | special[i].bit);
        assert_int_equal(short_way(quick_rdmsr, MSR_APIC_BASE, 0), QUICK_NOT);
        assert_int_equal(short_way(quick_wrmsr, MSR_TSC_DEADLINE, 5), QUICK_NOT);
        assert_int_equal(vmread(VMCS_GUEST_RIP), START_RIP);
        vmwrite(special[i].field, plain);
    }
    assert_int_equal(short_way(quick_wrmsr, MSR_TSC_DEADLINE, 5), QUICK_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_only_named_msrs, vcpu_setup), cmocka_unit_test_setup(test_tsc_adjust, vcpu_setup),
        cmocka_unit_test_setup(test_bitmap, vcpu_setup),
        cmocka_unit_test_setup(test_read_exit, vcpu_setup),
        cmocka_unit_test_setup(test_write_exit, vcpu_setup),
        cmocka_unit_test_setup(test_refusals_fault, vcpu_setup),
        cmocka_unit_test_setup(test_board_refuses, vcpu_setup),
        cmocka_unit_test_setup(test_constants, vcpu_setup),
        cmocka_unit_test_setup(test_arch_capabilities, vcpu_setup),
        cmocka_unit_test_setup(test_misc_enable_is_kept, vcpu_setup),
        cmocka_unit_test_setup(test_debugctl, vcpu_setup),
        cmocka_unit_test_setup(test_efer, vcpu_setup),
        cmocka_unit_test_setup(test_tsc, vcpu_setup),
        cmocka_unit_test_setup(test_deadline, vcpu_setup),
        cmocka_unit_test_setup(test_mtrr_fixed, vcpu_setup),
        cmocka_unit_test_setup(test_mtrr_variable, vcpu_setup),
        cmocka_unit_test_setup(test_mtrr_default, vcpu_setup),
        cmocka_unit_test_setup(test_mtrrs_are_apart, vcpu_setup),
        cmocka_unit_test_setup(test_wall_clock_reads_back, vcpu_setup),
        cmocka_unit_test_setup(test_apic_base_and_cpuid, vcpu_setup),
        cmocka_unit_test_setup(test_tsc_moves_the_clock, vcpu_setup),
        cmocka_unit_test_setup(test_short_read, setup_short),
        cmocka_unit_test_setup(test_short_write, setup_short),
        cmocka_unit_test_setup(test_short_deadline, setup_short),
        cmocka_unit_test_setup(test_short_way_is_for_plain_ends, setup_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
