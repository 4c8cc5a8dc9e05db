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
#include "vmx/quick.h"
#include "vmx/setup.h"

static const struct cpuid_context alone = { .vcpus = 1 };

static struct cpuid_result ask(uint32_t leaf, uint32_t subleaf)
{
    return cpuid_guest(leaf, subleaf, &alone);
}

/* A machine that has everything, in every leaf. */
static void all_ones(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
    memset(regs, 0xff, 4 * sizeof(uint32_t));
}

static int setup_all_ones(void **state)
{
    int err = vcpu_setup(state);

    fake_cpu.cpuid = all_ones;
    fake_cpu.cr4 |= CR4_OSXSAVE;
    return err;
}

static int setup_nothing(void **state)
{
    int err = vcpu_setup(state);

    fake_cpu_reset();
    return err;
}

static void assert_zero(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid_result c = ask(leaf, subleaf);

    if (c.r[0] | c.r[1] | c.r[2] | c.r[3])
        fail_msg("leaf %#x.%u: %#x %#x %#x %#x", leaf, subleaf, c.r[0], c.r[1], c.r[2], c.r[3]);
}

static bool has_leaf(uint32_t leaf)
{
    static const uint32_t shown[] = { 0, 1, 2, 4, 6, 7, 0xb, 0xd, 0x40000000, 0x40000100, 0x40000101, 0x80000000,
                                      0x80000001, 0x80000002, 0x80000003, 0x80000004, 0x80000006, 0x80000007,
                                      0x80000008 };

    for (size_t i = 0; i < ARRAY_SIZE(shown); i++)
        if (shown[i] == leaf)
            return true;
    return false;
}

static void test_other_leaves_are_zero(void **state)
{
    static const uint32_t bases[] = { 0, 0x20000000, 0x40000000, 0x80000000, 0x80860000, 0xc0000000, 0xfffffc00 };

    for (size_t i = 0; i < ARRAY_SIZE(bases); i++)
        for (uint32_t n = 0; n < 0x400; n++)
            if (!has_leaf(bases[i] + n))
                for (unsigned sub = 0; sub < 3; sub++)
                    assert_zero(bases[i] + n, sub);
    assert_zero(0xa, 0);                       /* no performance counters */
}

static void test_last_leaves(void **state)
{
    assert_int_equal(ask(0, 0).r[CPUID_EAX], 0x16);
    assert_int_equal(ask(0x80000000, 0).r[CPUID_EAX], 0x80000008);
    fake_cpu.cpuid = NULL;
    fake_cpuid_set(0, 0, 0xd, 0x756e6547, 0x6c65746e, 0x49656e69);
    assert_int_equal(ask(0, 0).r[CPUID_EAX], 0xd);
    assert_int_equal(ask(0, 0).r[CPUID_EBX], 0x756e6547);
}

static void assert_result(uint32_t leaf, uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx)
{
    struct cpuid_result c = ask(leaf, 0);

    assert_int_equal(c.r[CPUID_EAX], eax);
    assert_int_equal(c.r[CPUID_EBX], ebx);
    assert_int_equal(c.r[CPUID_ECX], ecx);
    assert_int_equal(c.r[CPUID_EDX], edx);
}

/* What is the machine's own passes whole: vendor, caches, brand, sizes of the state components. */
static void test_what_passes(void **state)
{
    assert_result(0, 0x16, ~0u, ~0u, ~0u);
    assert_result(2, ~0u, ~0u, ~0u, ~0u);
    assert_result(4, 0x3fff, ~0u, ~0u, ~0u);
    assert_result(0xd, 0xe7, ~0u, PAGE_SIZE, 0);
    assert_result(0x80000000, 0x80000008, 0, 0, 0);
    for (uint32_t leaf = 0x80000002; leaf <= 0x80000004; leaf++)
        assert_result(leaf, ~0u, ~0u, ~0u, ~0u);
    assert_result(0x80000006, 0, 0, ~0u, 0);
    for (unsigned reg = 0; reg < 4; reg++)
        assert_int_equal(ask(0xd, 2).r[reg], ~0u);
    assert_int_equal(ask(1, 0).r[CPUID_EAX], ~0u);
    fake_cpu.cpuid = NULL;
    fake_cpuid_set(0x80000000, 0, 0x80000001, 0, 0, 0);
    assert_int_equal(ask(0x80000000, 0).r[CPUID_EAX], 0x80000001);
}

/* Feature words of a machine with every bit set: what stays is what was named, bit by bit. */
#define HAS(word, n, what) assert_true((word) >> (n) & 1)
#define HIDES(word, n, what) assert_false((word) >> (n) & 1)

static void test_features_leaf_1(void **state)
{
    uint32_t c = ask(1, 0).r[CPUID_ECX], d = ask(1, 0).r[CPUID_EDX];

    assert_int_equal(c, 0xf7fa3203);
    HIDES(c, 2, DTES64);
    HIDES(c, 3, MONITOR);
    HIDES(c, 4, DS-CPL);
    HIDES(c, 5, VMX);
    HIDES(c, 6, SMX);
    HIDES(c, 7, EIST);
    HIDES(c, 8, TM2);
    HIDES(c, 11, SDBG);
    HIDES(c, 15, PDCM);
    HIDES(c, 18, DCA);
    HIDES(c, 27, OSXSAVE);                     /* CR4 of the guest has it clear, whatever the host's is */
    HAS(c, 31, hypervisor);
    HAS(c, 24, TSC-deadline);
    assert_int_equal(d, 0x0f8bfbff);
    HIDES(d, 18, PSN);
    HIDES(d, 21, DS);
    HIDES(d, 22, ACPI);
    HIDES(d, 29, TM);
    HIDES(d, 31, PBE);
}

static void test_features_leaf_7(void **state)
{
    struct cpuid_result c = ask(7, 0);

    assert_int_equal(c.r[CPUID_EAX], 0);       /* no further subleaves */
    HAS(c.r[CPUID_EBX], 1, TSC_ADJUST);
    HIDES(c.r[CPUID_EBX], 2, SGX);
    HIDES(c.r[CPUID_EBX], 4, HLE);
    HIDES(c.r[CPUID_EBX], 11, RTM);
    HIDES(c.r[CPUID_EBX], 12, RDT-M);
    HIDES(c.r[CPUID_EBX], 14, MPX);
    HIDES(c.r[CPUID_EBX], 15, RDT-A);
    HIDES(c.r[CPUID_EBX], 25, PT);
    assert_int_equal(c.r[CPUID_EBX], 0xf1bf07ab);
    HIDES(c.r[CPUID_ECX], 3, PKU);
    HIDES(c.r[CPUID_ECX], 5, WAITPKG);
    HIDES(c.r[CPUID_ECX], 7, CET_SS);
    HIDES(c.r[CPUID_ECX], 13, TME);
    HIDES(c.r[CPUID_ECX], 16, LA57);
    HIDES(c.r[CPUID_ECX], 23, KL);
    HIDES(c.r[CPUID_ECX], 30, SGX_LC);
    HIDES(c.r[CPUID_ECX], 31, PKS);
    assert_int_equal(c.r[CPUID_ECX], 0x00405f46);
    assert_int_equal(c.r[CPUID_EDX], 1u << 4 | 1u << 29); /* no IBRS, STIBP, L1D_FLUSH, SSBD: they have MSRs */
    for (uint32_t sub = 1; sub < 4; sub++)
        assert_zero(7, sub);
    assert_zero(7, UINT32_MAX);
}

static void test_features_others(void **state)
{
    struct cpuid_result c = ask(6, 0);

    assert_int_equal(c.r[CPUID_EAX], 4);       /* ARAT alone */
    assert_int_equal(c.r[CPUID_EBX] | c.r[CPUID_ECX] | c.r[CPUID_EDX], 0);
    c = ask(0x80000001, 0);
    assert_int_equal(c.r[CPUID_ECX], 0x121);   /* LAHF LZCNT PREFETCHW: not SVM */
    assert_int_equal(c.r[CPUID_EDX], 0x2c100800);
    c = ask(0x80000007, 0);
    assert_int_equal(c.r[CPUID_EDX], 0x100);
    assert_int_equal(c.r[CPUID_EAX] | c.r[CPUID_EBX] | c.r[CPUID_ECX], 0);
    c = ask(0x80000008, 0);
    assert_int_equal(c.r[CPUID_EAX], 0xffff);
    assert_int_equal(c.r[CPUID_EBX] | c.r[CPUID_ECX] | c.r[CPUID_EDX], 0);
}

/* RDTSCP, RDPID and INVPCID are #UD in a guest without their controls. */
static void test_features_with_controls(void **state)
{
    HAS(ask(0x80000001, 0).r[CPUID_EDX], 27, RDTSCP);
    HAS(ask(7, 0).r[CPUID_ECX], 22, RDPID);
    HAS(ask(7, 0).r[CPUID_EBX], 10, INVPCID);
    vmx_caps.proc2 &= ~PROC2_RDTSCP;
    HIDES(ask(0x80000001, 0).r[CPUID_EDX], 27, RDTSCP);
    HIDES(ask(7, 0).r[CPUID_ECX], 22, RDPID);
    HAS(ask(7, 0).r[CPUID_EBX], 10, INVPCID);
    vmx_caps.proc2 = PROC2_RDTSCP;
    HAS(ask(0x80000001, 0).r[CPUID_EDX], 27, RDTSCP);
    HIDES(ask(7, 0).r[CPUID_EBX], 10, INVPCID);
}

/* A machine without anything: no feature is made up. */
static void test_nothing_is_invented(void **state)
{
    struct cpuid_result c = ask(1, 0);

    assert_int_equal(c.r[CPUID_EAX], 0);
    assert_int_equal(c.r[CPUID_ECX], 1u << 31);
    assert_int_equal(c.r[CPUID_EDX], 0);
    for (uint32_t leaf = 2; leaf < 0x20; leaf++)
        if (leaf != 7 && leaf != 0xb)
            assert_zero(leaf, 0);
    c = ask(7, 0);
    assert_int_equal(c.r[CPUID_EAX] | c.r[CPUID_EBX] | c.r[CPUID_ECX], 0);
    assert_int_equal(c.r[CPUID_EDX], 1u << 29); /* IA32_ARCH_CAPABILITIES, which is ours */
    for (uint32_t leaf = 0x80000000; leaf < 0x80000010; leaf++)
        assert_zero(leaf, 0);
}

static void assert_signature(uint32_t leaf, uint32_t last, const char *text)
{
    struct cpuid_result c = ask(leaf, 0);
    char name[13] = { 0 };

    memcpy(name, &c.r[CPUID_EBX], 4);
    memcpy(name + 4, &c.r[CPUID_ECX], 4);
    memcpy(name + 8, &c.r[CPUID_EDX], 4);
    assert_int_equal(c.r[CPUID_EAX], last);
    assert_string_equal(name, text);
}

static void test_hypervisor_leaves(void **state)
{
    assert_signature(0x40000000, 0x40000000, "MirrorBall");
    assert_signature(0x40000100, 0x40000101, "KVMKVMKVM");
    assert_int_equal(ask(0x40000101, 0).r[CPUID_EAX], 0x01000028); /* the clock by its new MSRs, and stable; stolen time; no more */
}

static void test_apic_that_is_off(void **state)
{
    struct cpuid_context x = { .vcpus = 1, .apic_off = true };

    HAS(ask(1, 0).r[CPUID_EDX], 9, APIC);
    HIDES(cpuid_guest(1, 0, &x).r[CPUID_EDX], 9, APIC);
}

static unsigned ceil_log2(unsigned n)
{
    unsigned bits = 0;

    while ((1u << bits) < n)
        bits++;
    return bits;
}

/* Cores of one package, one thread each; APIC ids are the vCPUs' numbers. */
static void check_topology(const struct cpuid_context *x)
{
    struct cpuid_result one = cpuid_guest(1, 0, x), b0 = cpuid_guest(0xb, 0, x), b1 = cpuid_guest(0xb, 1, x);

    assert_int_equal(one.r[CPUID_EBX] >> 24, x->vcpu);
    assert_in_range(one.r[CPUID_EBX] >> 16 & 0xff, x->vcpus, 2 * x->vcpus - 1);
    assert_int_equal(one.r[CPUID_EBX] & 0xffff, 0xffff); /* brand and CLFLUSH line: the machine's */
    assert_int_equal(one.r[CPUID_EDX] >> 28 & 1, x->vcpus > 1);
    assert_int_equal(b0.r[CPUID_EAX], 0);
    assert_int_equal(b0.r[CPUID_EBX], 1);
    assert_int_equal(b0.r[CPUID_ECX], 0x100);
    assert_int_equal(b0.r[CPUID_EDX], x->vcpu);
    assert_int_equal(b1.r[CPUID_EAX], ceil_log2(x->vcpus));
    assert_int_equal(b1.r[CPUID_EBX], x->vcpus);
    assert_int_equal(b1.r[CPUID_ECX], 0x201);
    assert_int_equal(b1.r[CPUID_EDX], x->vcpu);
    for (uint32_t sub = 2; sub < 5; sub++) {
        struct cpuid_result end = cpuid_guest(0xb, sub, x);

        assert_int_equal(end.r[CPUID_EAX] | end.r[CPUID_EBX], 0);
        assert_int_equal(end.r[CPUID_ECX], sub);
        assert_int_equal(end.r[CPUID_EDX], x->vcpu);
    }
}

static void test_topology(void **state)
{
    for (unsigned n = 1; n <= 64; n++)
        for (unsigned i = 0; i < n; i++)
            check_topology(&(struct cpuid_context){ .vcpu = i, .vcpus = n });
}

/* The machine's own count of threads must not show through where it has none. */
static void test_topology_of_a_small_machine(void **state)
{
    struct cpuid_result c = cpuid_guest(1, 0, &(struct cpuid_context){ .vcpu = 2, .vcpus = 3 });

    assert_int_equal(c.r[CPUID_EBX], 2u << 24 | 4u << 16);
    HAS(c.r[CPUID_EDX], 28, HTT);
}

static const uint32_t level[] = { 0x21, 0x22, 0x43, 0x163 };    /* L1 data, L1 code, L2, L3 */

static void caches(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
    memset(regs, 0, 4 * sizeof(uint32_t));
    if (leaf == 4 && subleaf < 4) {            /* 8 cores of a hyperthreaded machine */
        regs[0] = level[subleaf] | (subleaf == 3 ? 15u : 1u) << 14 | 7u << 26;
        regs[1] = 0x01c0003f;
        regs[2] = 63;
    }
}

static void test_caches(void **state)
{
    fake_cpu.cpuid = caches;
    for (unsigned n = 1; n <= 64; n++) {
        struct cpuid_context x = { .vcpus = n };
        uint32_t ids = (1u << ceil_log2(n)) - 1;

        for (uint32_t sub = 0; sub < 4; sub++) {
            struct cpuid_result c = cpuid_guest(4, sub, &x);

            assert_int_equal(c.r[CPUID_EAX] >> 26, ids);
            assert_int_equal(c.r[CPUID_EAX] & 0x3fff, level[sub]);
            assert_int_equal(c.r[CPUID_EAX] >> 14 & 0xfff, sub == 3 ? ids : 0); /* the last level is shared */
            assert_int_equal(c.r[CPUID_EBX], 0x01c0003f);
            assert_int_equal(c.r[CPUID_ECX], 63);
        }
        assert_zero(4, 4);                     /* the end of the list stays one */
    }
}

static void state_components(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
    memset(regs, 0, 4 * sizeof(uint32_t));
    if (leaf == 0xd)
        memcpy(regs, subleaf == 0 ? (uint32_t[]){ 0x602ff, 0x340, 0x2b08, 7 }
                     : subleaf == 1 ? (uint32_t[]){ 0x1f, 0x340, 0x1900, 9 }
                                    : (uint32_t[]){ 64, 0x240 + subleaf, 2, 3 }, 4 * sizeof(uint32_t));
}

static void test_xsave(void **state)
{
    struct cpuid_result c;

    fake_cpu.cpuid = state_components;
    fake_cpu.cr4 |= CR4_OSXSAVE;
    c = ask(0xd, 0);
    assert_int_equal(c.r[CPUID_EAX], 0xe7);    /* no MPX, PKRU, AMX */
    assert_int_equal(c.r[CPUID_EBX], 0x340);
    assert_in_range(c.r[CPUID_ECX], 0x340, PAGE_SIZE);
    assert_int_equal(c.r[CPUID_EDX], 0);
    c = ask(0xd, 1);
    assert_int_equal(c.r[CPUID_EAX], 7);       /* XSAVEOPT, XSAVEC, XGETBV 1; not XSAVES, XFD */
    vmx_caps.revision = REVISION_BOCHS;
    assert_int_equal(ask(0xd, 1).r[CPUID_EAX], 5); /* where XSAVEC does not work */
    vmx_caps.revision = 0;
    assert_int_equal(c.r[CPUID_ECX] | c.r[CPUID_EDX], 0);
    for (uint32_t sub = 2; sub < 100; sub++) {
        if (sub < 8 && (0xe7 >> sub & 1))
            assert_int_equal(ask(0xd, sub).r[CPUID_EBX], 0x240 + sub);
        else
            assert_zero(0xd, sub);
    }
    assert_zero(0xd, UINT32_MAX);
    fake_cpu.cr4 &= ~CR4_OSXSAVE;              /* a machine where we do not use XSAVE */
    assert_int_equal(ask(0xd, 0).r[CPUID_EAX], 0);
    assert_zero(0xd, 2);
}

/* Each component takes 40 bytes, 5 and 7 begin at a multiple of 64 (SDM vol. 1, 13.4.3). */
static void odd_components(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
    memset(regs, 0, 4 * sizeof(uint32_t));
    if (leaf == 0xd && subleaf == 0)
        regs[0] = 0xe7;
    else if (leaf == 0xd && subleaf > 1)
        memcpy(regs, (uint32_t[]){ 40, 0, subleaf == 5 || subleaf == 7 ? 2 : 0, 0 }, 4 * sizeof(uint32_t));
}

static void test_compacted_size(void **state)
{
    static const struct { uint64_t xcr0; uint32_t size; } cases[] = {
        { 1, 576 }, { 3, 576 }, { 7, 616 }, { 0x27, 680 }, { 0x67, 720 }, { 0xe7, 808 },
        { BIT(62) | 3, 616 }, { BIT(63) | 3, 576 },
    };

    fake_cpu.cpuid = odd_components;
    fake_cpu.cr4 |= CR4_OSXSAVE;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct cpuid_context x = { .vcpus = 1, .xcr0 = cases[i].xcr0 };

        assert_int_equal(cpuid_guest(0xd, 1, &x).r[CPUID_EBX], cases[i].size);
    }
}

static void test_feature_question(void **state)
{
    assert_true(cpuid_feature(1, CPUID_ECX, 31));
    assert_false(cpuid_feature(1, CPUID_ECX, 5));
    assert_true(cpuid_feature(7, CPUID_EBX, 20));
    assert_int_equal(cpuid_physical_width(), 0xff);
}

static void test_exit(void **state)
{
    fake_cpu.cpuid = NULL;
    vcpu.regs.rax = 0xffffffff00000000;
    vcpu.regs.rbx = vcpu.regs.rdx = ~0ull;
    vcpu.regs.rcx = 0xffffffff00000000;
    fake_cpuid_set(0, 0, 0xd, 1, 2, 3);
    exit_cpuid(&vcpu);
    assert_completed();
    assert_int_equal(vcpu.regs.rax, 0xd);
    assert_int_equal(vcpu.regs.rbx, 1);
    assert_int_equal(vcpu.regs.rcx, 2);
    assert_int_equal(vcpu.regs.rdx, 3);
}

static enum quick ask_short(uint32_t leaf, uint32_t subleaf)
{
    struct exit_record r = { .rip = vmread(VMCS_GUEST_RIP) };

    vcpu.regs.rax = leaf;
    vcpu.regs.rcx = subleaf;
    return quick_cpuid(&vcpu, &r);
}

static void test_osxsave_follows_cr4(void **state)
{
    for (unsigned i = 0; i < 8; i++) { /* also when the rest of the answer is known from the last time */
        vmwrite(VMCS_GUEST_CR4, i & 1 ? CR4_OSXSAVE : ~CR4_OSXSAVE);
        vcpu.regs.rax = 1;
        if (i < 4)
            exit_cpuid(&vcpu);
        else
            assert_int_equal(ask_short(1, 0), QUICK_DONE);
        if (i & 1)
            HAS(vcpu.regs.rcx, 27, OSXSAVE);
        else
            HIDES(vcpu.regs.rcx, 27, OSXSAVE);
    }
}

/* A machine whose answers tell for which subleaf they are. */
static void by_subleaf(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
    memset(regs, 0xff, 4 * sizeof(uint32_t));
    if (leaf == 4 || leaf == 7 || leaf == 0xd)
        regs[CPUID_EBX] = subleaf;
}

static void assert_answered(const struct cpuid_result *want, uint64_t rip)
{
    assert_int_equal(vcpu.regs.rax, want->r[CPUID_EAX]);
    assert_int_equal(vcpu.regs.rbx, want->r[CPUID_EBX]);
    assert_int_equal(vcpu.regs.rcx, want->r[CPUID_ECX]);
    assert_int_equal(vcpu.regs.rdx, want->r[CPUID_EDX]);
    assert_int_equal(vmread(VMCS_GUEST_RIP), rip + INSN_LENGTH);
}

/* Answers are kept: whatever was asked before, each is what the policy gives now, the short way and the whole. */
static void test_kept_answers(void **state)
{
    static const uint32_t leaves[] = { 0, 1, 2, 4, 7, 0xb, 0xd, 0x14, 0x16, 0x1f, 0x20, 0x40, 0x3fffffff, 0x40000000,
                                       0x40000001, 0x40000100, 0x40000101, 0x80000000, 0x80000001, 0x80000008,
                                       0x80000010, 0xffffffff };
    struct cpuid_context x = { .vcpu = vcpu.index, .vcpus = vcpu.vcpus };
    unsigned known = 0;

    fake_cpu.cpuid = by_subleaf;
    world.msr_value = APIC_BASE_ENABLE;
    vmwrite(VMCS_GUEST_CR4, 0);
    srand(1);
    for (unsigned i = 0; i < 20000; i++) {
        uint32_t leaf = leaves[(unsigned)rand() % ARRAY_SIZE(leaves)];
        uint32_t subleaf = (unsigned)rand() % 5 ? (unsigned)rand() % 9 : ~0u;
        uint64_t rip = vmread(VMCS_GUEST_RIP);
        struct cpuid_result want;

        x.xcr0 = fake_cpu.xcr[0];
        want = cpuid_guest(leaf, subleaf, &x);
        if (ask_short(leaf, subleaf) == QUICK_DONE) {
            assert_answered(&want, rip);
            known++;
        }
        vmwrite(VMCS_GUEST_RIP, rip);
        vcpu.regs.rax = leaf;
        vcpu.regs.rcx = subleaf;
        exit_cpuid(&vcpu);
        assert_answered(&want, rip);
    }
    assert_in_range(known, 1000, 19000);
}

static void test_exit_asks_for_the_vcpu(void **state)
{
    vcpu.index = 2;
    vcpu.vcpus = 3;
    vmwrite(VMCS_GUEST_CR4, CR4_OSXSAVE);
    world.msr_value = 0xfee00000;              /* global disable */
    vcpu.regs.rax = 1;
    exit_cpuid(&vcpu);
    assert_int_equal(vcpu.regs.rbx >> 24, 2);
    HAS(vcpu.regs.rcx, 27, OSXSAVE);
    HIDES(vcpu.regs.rdx, 9, APIC);
    world.msr_value |= APIC_BASE_ENABLE;
    cpuid_forget(&vcpu);                       /* as the write of the MSR does */
    vcpu.regs.rax = 1;
    exit_cpuid(&vcpu);
    HAS(vcpu.regs.rdx, 9, APIC);
    vcpu.regs.rax = 0xb;
    vcpu.regs.rcx = 1;
    exit_cpuid(&vcpu);
    assert_int_equal(vcpu.regs.rbx, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_other_leaves_are_zero, setup_all_ones),
        cmocka_unit_test_setup(test_last_leaves, setup_all_ones),
        cmocka_unit_test_setup(test_what_passes, setup_all_ones),
        cmocka_unit_test_setup(test_features_leaf_1, setup_all_ones),
        cmocka_unit_test_setup(test_features_leaf_7, setup_all_ones),
        cmocka_unit_test_setup(test_features_others, setup_all_ones),
        cmocka_unit_test_setup(test_features_with_controls, setup_all_ones),
        cmocka_unit_test_setup(test_nothing_is_invented, setup_nothing),
        cmocka_unit_test_setup(test_hypervisor_leaves, setup_all_ones),
        cmocka_unit_test_setup(test_osxsave_follows_cr4, setup_all_ones),
        cmocka_unit_test_setup(test_apic_that_is_off, setup_all_ones),
        cmocka_unit_test_setup(test_topology, setup_all_ones),
        cmocka_unit_test_setup(test_topology_of_a_small_machine, setup_nothing),
        cmocka_unit_test_setup(test_caches, vcpu_setup),
        cmocka_unit_test_setup(test_xsave, vcpu_setup),
        cmocka_unit_test_setup(test_compacted_size, vcpu_setup),
        cmocka_unit_test_setup(test_feature_question, setup_all_ones),
        cmocka_unit_test_setup(test_exit, vcpu_setup),
        cmocka_unit_test_setup(test_kept_answers, setup_all_ones),
        cmocka_unit_test_setup(test_exit_asks_for_the_vcpu, setup_all_ones),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
