/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vmx/cpuid.h"
#include "arch/x86/cpu.h"
#include "arch/x86/apic.h"
#include "lib/string.h"
#include "vmx/caps.h"
#include "vmx/pvclock.h"
#include "vmx/quick.h"
#include "vmx/setup.h"
#include "vmx/steal.h"

#define B(n) (1u << (n))

/* Leaf 0xd, subleaf 1, EAX */
#define XSAVEOPT B(0)
#define XSAVEC   B(1)
#define XGETBV_1 B(2)

/*
 * The policy: features not named here are not shown. What is shown either needs nothing of us or is switched and
 * emulated (SDM vol. 2, CPUID; AMD64 vol. 3 for leaves 0x8000xxxx as Intel keeps them).
 */
static const struct policy {
    uint32_t leaf;
    uint32_t mask[4];
} policy[] = {
    { 0x00000000, { ~0u, ~0u, ~0u, ~0u } },
    { 0x00000001, { ~0u, ~0u,
        /*
         * SSE3 PCLMULQDQ SSSE3 FMA CX16 PCID SSE4.1 SSE4.2 x2APIC MOVBE POPCNT TSC-deadline AES XSAVE AVX F16C RDRAND
         */
        B(0) | B(1) | B(9) | B(12) | B(13) | B(17) | B(19) | B(20) | B(21) | B(22) | B(23) | B(24) | B(25) | B(26) |
        B(28) | B(29) | B(30),
        /* FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2 SS */
        B(0) | B(1) | B(2) | B(3) | B(4) | B(5) | B(6) | B(7) | B(8) | B(9) | B(11) | B(12) | B(13) | B(14) | B(15) |
        B(16) | B(17) | B(19) | B(23) | B(24) | B(25) | B(26) | B(27) } },
    { 0x00000002, { ~0u, ~0u, ~0u, ~0u } },
    { 0x00000004, { ~0u, ~0u, ~0u, ~0u } },
    { 0x00000006, { B(2), 0, 0, 0 } },         /* ARAT: the virtual APIC timer never stops */
    { 0x00000007, { 0,
        /* FSGSBASE TSC_ADJUST BMI1 AVX2 SMEP BMI2 ERMS INVPCID AVX512F/DQ RDSEED ADX SMAP IFMA CLFLUSHOPT CLWB CD SHA
           BW VL */
        B(0) | B(1) | B(3) | B(5) | B(7) | B(8) | B(9) | B(10) | B(16) | B(17) | B(18) | B(19) | B(20) | B(21) |
        B(23) | B(24) | B(28) | B(29) | B(30) | B(31),
        /* VBMI UMIP VBMI2 GFNI VAES VPCLMULQDQ VNNI BITALG VPOPCNTDQ RDPID */
        B(1) | B(2) | B(6) | B(8) | B(9) | B(10) | B(11) | B(12) | B(14) | B(22),
        B(4) } },                              /* fast short REP MOV */
    { 0x0000000b, { 0 } },                     /* the guest's own topology */
    { 0x0000000d, { ~0u, ~0u, ~0u, ~0u } },
    { 0x80000000, { ~0u, 0, 0, 0 } },
    { 0x80000001, { 0, 0, B(0) | B(5) | B(8), B(11) | B(20) | B(26) | B(27) | B(29) } },
    { 0x80000002, { ~0u, ~0u, ~0u, ~0u } },
    { 0x80000003, { ~0u, ~0u, ~0u, ~0u } },
    { 0x80000004, { ~0u, ~0u, ~0u, ~0u } },
    { 0x80000006, { 0, 0, ~0u, 0 } },
    { 0x80000007, { 0, 0, 0, B(8) } },         /* invariant TSC */
    { 0x80000008, { 0xffff, 0, 0, 0 } },
};

static const struct policy *find(uint32_t leaf)
{
    for (size_t i = 0; i < ARRAY_SIZE(policy); i++)
        if (policy[i].leaf == leaf)
            return &policy[i];
    return NULL;
}

/* Bits of an APIC id that number n processors. */
static unsigned id_bits(unsigned n)
{
    return n > 1 ? 32 - (unsigned)__builtin_clz(n - 1) : 0;
}

static void leaf_1(struct cpuid_result *c, const struct cpuid_context *x)
{
    c->r[CPUID_EBX] = (c->r[CPUID_EBX] & 0xffff) | (1u << id_bits(x->vcpus)) << 16 | x->vcpu << 24;
    c->r[CPUID_ECX] |= B(31);                  /* a hypervisor is here */
    if (x->vcpus > 1)                          /* HTT: EBX[23:16] counts */
        c->r[CPUID_EDX] |= B(28);
    if (x->apic_off)                           /* SDM vol. 3, 11.4.3: as if there were none */
        c->r[CPUID_EDX] &= ~B(9);
}

static void leaf_4(struct cpuid_result *c, const struct cpuid_context *x)
{
    uint32_t level = c->r[CPUID_EAX] >> 5 & 7;

    if (!(c->r[CPUID_EAX] & 0x1f))
        return;
    c->r[CPUID_EAX] &= 0x3fff;                 /* sharing follows the guest's own topology: cores of one package */
    c->r[CPUID_EAX] |= ((1u << id_bits(x->vcpus)) - 1) << 26;
    if (level >= 3)
        c->r[CPUID_EAX] |= ((1u << id_bits(x->vcpus)) - 1) << 14;
}

static void leaf_7(struct cpuid_result *c, uint32_t subleaf)
{
    if (subleaf) {
        *c = (struct cpuid_result){ 0 };
        return;
    }
    c->r[CPUID_EDX] |= B(29);                  /* IA32_ARCH_CAPABILITIES answers even where the machine has none */
    if (!(vmx_caps.proc2 & PROC2_INVPCID))
        c->r[CPUID_EBX] &= ~B(10);
    if (!(vmx_caps.proc2 & PROC2_RDTSCP))
        c->r[CPUID_ECX] &= ~B(22);
}

/* Extended topology: one thread a core, the VM's vCPUs the cores of one package. */
static void leaf_b(struct cpuid_result *c, uint32_t subleaf, const struct cpuid_context *x)
{
    *c = (struct cpuid_result){ { 0, 0, subleaf, x->vcpu } };
    if (subleaf == 0) {
        c->r[CPUID_EBX] = 1;
        c->r[CPUID_ECX] |= 1 << 8;
    } else if (subleaf == 1) {
        c->r[CPUID_EAX] = id_bits(x->vcpus);
        c->r[CPUID_EBX] = x->vcpus;
        c->r[CPUID_ECX] |= 2 << 8;
    }
}

/* Size of a compacted XSAVE area (SDM vol. 1, 13.4.3); processors without XSAVES may not know it. */
static uint32_t compacted_size(uint64_t xcr0)
{
    uint32_t size = 576, a, b, c, d; /* legacy region and header */

    for (unsigned i = 2; i < 63; i++) {
        if (!(xcr0 & BIT(i)))
            continue;
        cpuid(0xd, i, &a, &b, &c, &d);
        size = (c & 2 ? (uint32_t)ALIGN_UP(size, 64) : size) + a;
    }
    return size;
}

/*
 * No XSAVES. And on Bochs 2.7 no XSAVEC: XRSTOR faults on what that has written there of a program that uses AVX-512,
 * and Linux then clears the registers.
 */
static uint32_t save_instructions(void)
{
    return XSAVEOPT | XGETBV_1 | (vmx_caps.revision == REVISION_BOCHS ? 0 : XSAVEC);
}

/* XSAVE areas: the sizes are the processor's own answer, since XCR0 is the guest's while this runs. */
static void leaf_d(struct cpuid_result *c, uint32_t subleaf, const struct cpuid_context *x)
{
    uint64_t allowed = vcpu_xcr0_allowed();

    if (subleaf == 0) {
        c->r[CPUID_EAX] &= (uint32_t)allowed;
        c->r[CPUID_EDX] = 0;
        c->r[CPUID_ECX] = MIN(c->r[CPUID_ECX], (uint32_t)PAGE_SIZE);
    } else if (subleaf == 1) {
        *c = (struct cpuid_result){ { c->r[CPUID_EAX] & save_instructions(), compacted_size(x->xcr0), 0, 0 } };
    } else if (subleaf >= 64 || !(allowed & BIT(subleaf))) {
        *c = (struct cpuid_result){ 0 };
    }
}

static struct cpuid_result hypervisor_leaf(uint32_t leaf)
{
    switch (leaf) {
    case 0x40000000:
        return (struct cpuid_result){ { 0x40000000, 0x7272694d, 0x6142726f, 0x00006c6c } }; /* "MirrorBall" */
    case 0x40000100:
        return (struct cpuid_result){ { 0x40000101, 0x4b4d564b, 0x564b4d56, 0x0000004d } }; /* "KVMKVMKVM" */
    case 0x40000101:
        return (struct cpuid_result){ { PVCLOCK_FEATURES | STEAL_FEATURE, 0, 0, 0 } };
    default:
        return (struct cpuid_result){ 0 };
    }
}

struct cpuid_result cpuid_guest(uint32_t leaf, uint32_t subleaf, const struct cpuid_context *x)
{
    const struct policy *p = find(leaf);
    struct cpuid_result c = { 0 };

    if (leaf >> 28 == 4)
        return hypervisor_leaf(leaf);
    if (!p)
        return c;
    cpuid(leaf, subleaf, &c.r[0], &c.r[1], &c.r[2], &c.r[3]);
    for (unsigned i = 0; i < 4; i++)
        c.r[i] &= p->mask[i];
    switch (leaf) {
    case 0: c.r[CPUID_EAX] = MIN(c.r[CPUID_EAX], 0x16u); break;
    case 1: leaf_1(&c, x); break;
    case 4: leaf_4(&c, x); break;
    case 7: leaf_7(&c, subleaf); break;
    case 0xb: leaf_b(&c, subleaf, x); break;
    case 0xd: leaf_d(&c, subleaf, x); break;
    case 0x80000000: c.r[CPUID_EAX] = MIN(c.r[CPUID_EAX], 0x80000008u); break;
    case 0x80000001:
        if (!(vmx_caps.proc2 & PROC2_RDTSCP))
            c.r[CPUID_EDX] &= ~B(27);
        break;
    default: break;
    }
    return c;
}

bool cpuid_feature(uint32_t leaf, enum cpuid_register reg, unsigned bit)
{
    static const struct cpuid_context plain = { .vcpus = 1 };

    return cpuid_guest(leaf, 0, &plain).r[reg] & B(bit);
}

unsigned cpuid_physical_width(void)
{
    static const struct cpuid_context plain = { .vcpus = 1 };

    return cpuid_guest(0x80000008, 0, &plain).r[CPUID_EAX] & 0xff;
}

void cpuid_forget(struct vcpu *v)
{
    memset(v->cpuid, 0, sizeof(v->cpuid));
}

/* Leaves that look at ECX. */
static bool has_subleaves(uint32_t leaf)
{
    return leaf < 32 && (B(4) | B(7) | B(0xb) | B(0xd)) >> leaf & 1;
}

/* Those of subleaf 0 are where one looks who does not know yet whether the leaf has subleaves. */
static struct cpuid_answer *answer_at(struct vcpu *v, uint32_t leaf, uint32_t subleaf)
{
    return &v->cpuid[(leaf ^ leaf >> 26 ^ subleaf << 3) % CPUID_ANSWERS];
}

static const struct cpuid_answer *find_answer(struct vcpu *v, uint32_t leaf, uint32_t ecx)
{
    bool subleaves = has_subleaves(leaf);
    uint32_t subleaf = subleaves ? ecx : 0;
    struct cpuid_answer *a = answer_at(v, leaf, subleaf);
    struct cpuid_context x = { .vcpu = v->index, .vcpus = v->vcpus };
    uint64_t base;

    if (a->not_leaf == ~leaf && a->subleaf == subleaf)
        return a;
    if (leaf == 1 && !v->ops->msr_read(v, MSR_APIC_BASE, &base))
        x.apic_off = !(base & APIC_BASE_ENABLE);
    if (leaf == 0xd && vcpu_xcr0_allowed())
        x.xcr0 = xgetbv(0);
    *a = (struct cpuid_answer){ ~leaf, subleaf, subleaves, cpuid_guest(leaf, subleaf, &x) };
    return a;
}

/* CR4 changes without an exit: its bit in leaf 1 is not kept. */
static inline void give(struct vcpu *v, uint32_t leaf, const struct cpuid_result *c)
{
    v->regs.rax = c->r[CPUID_EAX];
    v->regs.rbx = c->r[CPUID_EBX];
    v->regs.rcx = c->r[CPUID_ECX];
    v->regs.rdx = c->r[CPUID_EDX];
    if (leaf == 1 && vmread_sure(VMCS_GUEST_CR4) & CR4_OSXSAVE)
        v->regs.rcx |= B(27);
}

void exit_cpuid(struct vcpu *v)
{
    uint32_t leaf = (uint32_t)v->regs.rax;

    give(v, leaf, &find_answer(v, leaf, (uint32_t)v->regs.rcx)->result);
    vcpu_skip(v);
}

/* What was asked before. */
enum quick quick_cpuid(struct vcpu *v, struct exit_record *r)
{
    uint32_t leaf = (uint32_t)v->regs.rax, ecx = (uint32_t)v->regs.rcx;
    const struct cpuid_answer *a = answer_at(v, leaf, 0);
    uint64_t next;

    if (a->subleaves) {
        a = answer_at(v, leaf, ecx);
        if (a->subleaf != ecx)
            return QUICK_NOT;
    }
    if (a->not_leaf != ~leaf || !quick_next(r->rip, &next))
        return QUICK_NOT;
    give(v, leaf, &a->result);
    vmwrite_sure(VMCS_GUEST_RIP, next);
    return QUICK_DONE;
}
