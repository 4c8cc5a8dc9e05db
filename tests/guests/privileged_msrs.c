/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/format.h"
#include "tests/guests/privileged.h"

/* Equivalence of model-specific registers, and of what they set up: system calls, GS, XCR0. */

static volatile uint64_t found;


struct msr_case { const char *name; uint32_t msr; uint64_t value; };

static const struct msr_case kept[] = {
    { "IA32_STAR", MSR_STAR, 0x0018000800000000 }, { "IA32_LSTAR", MSR_LSTAR, 0xffff800000123456 },
    { "IA32_FMASK", MSR_FMASK, 0x47700 }, { "IA32_FS_BASE", MSR_FS_BASE, 0x00007fff12345678 },
    { "IA32_KERNEL_GS_BASE", MSR_KERNEL_GS_BASE, 0xffff888000000000 }, { "IA32_SYSENTER_CS", MSR_SYSENTER_CS, 8 },
    { "IA32_SYSENTER_ESP", MSR_SYSENTER_ESP, 0xffff800000001000 },
    { "IA32_SYSENTER_EIP", MSR_SYSENTER_EIP, 0xffff800000002000 }, { "IA32_PAT", MSR_PAT, 0x0007010600070106 },
};

static void probe_rdmsr_of(void *msr)
{
    found = rdmsr(*(uint32_t *)msr);
}

static void probe_wrmsr_of(void *c)
{
    wrmsr(((struct msr_case *)c)->msr, ((struct msr_case *)c)->value);
}

/* Values that SDM vol. 4 does not allow; and MSRs that no processor has. */
static const struct msr_case refused[] = {
    { "a non-canonical IA32_LSTAR", MSR_LSTAR, 0x0000800000000000 },
    { "a non-canonical IA32_FS_BASE", MSR_FS_BASE, 0x8000000000000000 },
    { "a non-canonical IA32_SYSENTER_EIP", MSR_SYSENTER_EIP, 0x0001000000000000 },
    { "a reserved type in IA32_PAT", MSR_PAT, 0x0000000000000002 },
    { "a reserved bit of IA32_EFER", MSR_EFER, EFER_LME | EFER_LMA | BIT(63) },
    { "IA32_EFER without LME while paging", MSR_EFER, 0 },
    { "an unknown MSR (0x400000f0)", 0x400000f0, 0 },
    { "an unknown MSR (0x2345)", 0x2345, 0 },
    { "an unknown MSR (0xc0012345)", 0xc0012345, 0 },
};

static void check_msrs(void)
{
    static const uint32_t unknown[] = { 0x400000f0, 0x2345, 0xc0012345, 0xffffffff };
    uint32_t vmx_basic = MSR_VMX_BASIC;
    char name[80];

    for (unsigned i = 0; i < ARRAY_SIZE(kept); i++) {
        uint64_t old = rdmsr(kept[i].msr);

        wrmsr(kept[i].msr, kept[i].value);
        format(name, sizeof(name), "%s holds what is written", kept[i].name);
        check(name, rdmsr(kept[i].msr), kept[i].value);
        wrmsr(kept[i].msr, old);
    }
    check("IA32_EFER shows long mode", rdmsr(MSR_EFER) & (EFER_LME | EFER_LMA), EFER_LME | EFER_LMA);
    check("IA32_APIC_BASE shows the boot processor", rdmsr(MSR_APIC_BASE) & 0xfffffffffffffd00, 0xfee00900);
    for (unsigned i = 0; i < ARRAY_SIZE(refused); i++) {
        struct msr_case c = refused[i];

        format(name, sizeof(name), "wrmsr of %s", c.name);
        if (on_tcg())
            skip(name, "QEMU's emulation does not check this");
        else
            check_fault(name, 0, probe_wrmsr_of, &c, VEC_GP);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++) {
        uint32_t msr = unknown[i];

        format(name, sizeof(name), "rdmsr of 0x%x, which is not there", msr);
        if (on_tcg())
            skip(name, "QEMU's emulation gives 0");
        else
            check_fault(name, 0, probe_rdmsr_of, &msr, VEC_GP);
    }
    if (!has_vmx() && !on_tcg())
        check_fault("rdmsr of IA32_VMX_BASIC without VMX", 0, probe_rdmsr_of, &vmx_basic, VEC_GP);
}

/* System calls */

extern void syscall_entry(void), sysenter_entry(void);
static volatile uint64_t seen_cs __attribute__((used)), seen_rip __attribute__((used));
static volatile uint64_t seen_flags __attribute__((used));

/* Both note what they find; SYSENTER saves no way back, so that one leaves by the runtime's gate. */
__asm__(".text\n"
        "syscall_entry:\n\tmov %cs, %eax\n\tmovq %rax, seen_cs(%rip)\n\tmovq %rcx, seen_rip(%rip)\n"
        "\tmovq %r11, seen_flags(%rip)\n\tsysretq\n"
        "sysenter_entry:\n\tmov %cs, %eax\n\tmovq %rax, seen_cs(%rip)\n\tint $0x80\n");

static void probe_syscall(void *unused)
{
    uint64_t back;

    (void)unused;
    __asm__ volatile("syscall\n1:\tleaq 1b(%%rip), %0" : "=r"(back) : : "rax", "rcx", "r11", "memory", "cc");
    found = back;
}

static void probe_sysenter(void *unused)
{
    (void)unused;
    __asm__ volatile("sysenter" : : : "rcx", "rdx", "memory");
}

static void probe_sysexit(void *unused)
{
    (void)unused;
    __asm__ volatile("sysexitq" : : : "memory");
}

static void check_system_calls(void)
{
    static uint8_t stack[512] __attribute__((aligned(16)));

    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
    wrmsr(MSR_STAR, (uint64_t)(SEL_KCODE32 | 3) << 48 | (uint64_t)SEL_KCODE << 32);
    wrmsr(MSR_LSTAR, (uint64_t)syscall_entry);
    wrmsr(MSR_FMASK, FLAGS_IF);
    check_fault("syscall and sysret", 3, probe_syscall, NULL, NO_FAULT);
    check("syscall enters CPL 0", seen_cs, SEL_KCODE);
    check("syscall saves rip in rcx", seen_rip, found);
    wrmsr(MSR_SYSENTER_CS, SEL_KCODE);
    wrmsr(MSR_SYSENTER_ESP, (uint64_t)(stack + sizeof(stack)));
    wrmsr(MSR_SYSENTER_EIP, (uint64_t)sysenter_entry);
    if (!on_intel()) {
        skip("sysenter in 64-bit mode", "only Intel's processors have it");
        return;
    }
    seen_cs = 0;
    check_fault("sysexit at CPL 3", 3, probe_sysexit, NULL, VEC_GP);
    check_fault("sysenter", 3, probe_sysenter, NULL, NO_FAULT);
    check("sysenter enters CPL 0", seen_cs, SEL_KCODE);
}

static void check_swapgs(void)
{
    wrmsr(MSR_GS_BASE, 0x1111);
    wrmsr(MSR_KERNEL_GS_BASE, 0x2222);
    __asm__ volatile("swapgs");
    check("swapgs swaps GS in", rdmsr(MSR_GS_BASE), 0x2222);
    check("swapgs swaps GS out", rdmsr(MSR_KERNEL_GS_BASE), 0x1111);
    wrmsr(MSR_GS_BASE, 0);
}

/* XCR0 */

static void probe_xsetbv(void *unused)
{
    (void)unused;
    xsetbv(0, XCR0_X87);
}

static void probe_xsetbv_value(void *value)
{
    xsetbv(0, *(uint64_t *)value);
}

static void check_xcr0(void)
{
    uint64_t none = 0, avx_alone = XCR0_X87 | XCR0_AVX, x87 = XCR0_X87;
    uint32_t a, b, c, d;

    cpuid(1, 0, &a, &b, &c, &d);
    if (!(c & BIT(26))) {
        skip("xsetbv", "no XSAVE here");
        return;
    }
    write_cr4(read_cr4() & ~(uint64_t)CR4_OSXSAVE);
    check_fault("xsetbv without CR4.OSXSAVE", 0, probe_xsetbv, NULL, VEC_UD);
    write_cr4(read_cr4() | CR4_OSXSAVE);
    cpuid(1, 0, &a, &b, &c, &d);
    check("CPUID shows CR4.OSXSAVE", c >> 27 & 1, 1);
    check_fault("xsetbv at CPL 3", 3, probe_xsetbv, NULL, VEC_GP);
    check_fault("xsetbv without x87", 0, probe_xsetbv_value, &none, VEC_GP);
    check_fault("xsetbv of AVX without SSE", 0, probe_xsetbv_value, &avx_alone, VEC_GP);
    check_fault("xsetbv of x87 alone", 0, probe_xsetbv_value, &x87, NO_FAULT);
    check("xgetbv reads it", xgetbv(0), x87);
    x87 = XCR0_X87 | XCR0_SSE;
    check_fault("xsetbv of x87 and SSE", 0, probe_xsetbv_value, &x87, NO_FAULT);
    check("xgetbv reads that", xgetbv(0), x87);
}

void check_model_specific(void)
{
    check_msrs();
    check_system_calls();
    check_swapgs();
    check_xcr0();
}
