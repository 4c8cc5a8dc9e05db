/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/format.h"
#include "tests/guests/privileged.h"

/* Instructions that must trap, and that they trap as the manual says. */

static uint64_t scratch[64] __attribute__((aligned(4096)));

/* A function of one piece of assembly; rax, rcx and rdx are its to use and begin as 0, rdi and rsi point to memory. */
#define PROBE(name, code)                                                                                          \
    static void probe_##name(void *unused)                                                                         \
    {                                                                                                              \
        uint64_t a = 0, c = 0, d = 0, to = (uint64_t)scratch, from = (uint64_t)scratch;                            \
        (void)unused;                                                                                              \
        __asm__ volatile(code : "+a"(a), "+c"(c), "+d"(d), "+D"(to), "+S"(from) : : "memory", "cc");               \
    }

PROBE(read_cr0, "mov %%cr0, %%rax")
PROBE(write_cr0, "mov %%rax, %%cr0")
PROBE(read_cr2, "mov %%cr2, %%rax")
PROBE(read_cr3, "mov %%cr3, %%rax")
PROBE(write_cr3, "mov %%rax, %%cr3")
PROBE(read_cr4, "mov %%cr4, %%rax")
PROBE(write_cr4, "mov %%rax, %%cr4")
PROBE(read_cr8, "mov %%cr8, %%rax")
PROBE(write_cr8, "mov %%rax, %%cr8")
PROBE(read_dr0, "mov %%dr0, %%rax")
PROBE(write_dr7, "mov %%rax, %%dr7")
PROBE(lgdt, "lgdt (%%rdi)")
PROBE(lidt, "lidt (%%rdi)")
PROBE(lldt, "lldt %%ax")
PROBE(ltr, "ltr %%ax")
PROBE(lmsw, "lmsw %%ax")
PROBE(clts, "clts")
PROBE(hlt, "hlt")
PROBE(invd, "invd")
PROBE(wbinvd, "wbinvd")
PROBE(invlpg, "invlpg (%%rdi)")
PROBE(rdmsr, "mov $0xc0000080, %%ecx; rdmsr")
PROBE(wrmsr, "mov $0xc0000080, %%ecx; wrmsr")
PROBE(rdpmc, "rdpmc")
PROBE(cli, "cli")
PROBE(sti, "sti")
PROBE(inb, "inb $0x21, %%al")
PROBE(outl, "mov $0xcf8, %%edx; outl %%eax, %%dx")
PROBE(insb, "mov $0x21, %%edx; insb")
PROBE(outsb, "mov $0x80, %%edx; outsb")
PROBE(swapgs, "swapgs")
PROBE(sysret, "sysretq")
PROBE(monitor, "monitor")
PROBE(cpuid, "push %%rbx; cpuid; pop %%rbx")
PROBE(rdtsc, "rdtsc")
PROBE(ud2, "ud2")
PROBE(rsm, "rsm")
PROBE(vmxon, "vmxon (%%rdi)")
PROBE(vmxoff, "vmxoff")
PROBE(vmclear, "vmclear (%%rdi)")
PROBE(vmptrld, "vmptrld (%%rdi)")
PROBE(vmptrst, "vmptrst (%%rdi)")
PROBE(vmread, "vmread %%rax, %%rcx")
PROBE(vmwrite, "vmwrite %%rax, %%rcx")
PROBE(vmlaunch, "vmlaunch")
PROBE(vmresume, "vmresume")
PROBE(vmfunc, "vmfunc")
PROBE(invept, "invept (%%rdi), %%rax")
PROBE(invvpid, "invvpid (%%rdi), %%rax")
PROBE(getsec, "getsec")
PROBE(no_pae, "mov %%cr4, %%rax; and $~0x20, %%rax; mov %%rax, %%cr4")
PROBE(no_paging, "mov %%cr0, %%rax; btr $31, %%rax; mov %%rax, %%cr0")
PROBE(nw_without_cd, "mov %%cr0, %%rax; btr $30, %%rax; bts $29, %%rax; mov %%rax, %%cr0")
PROBE(cr0_reserved, "mov %%cr0, %%rax; bts $40, %%rax; mov %%rax, %%cr0")
PROBE(cr3_reserved, "mov %%cr3, %%rax; bts $60, %%rax; mov %%rax, %%cr3")
PROBE(cr4_reserved, "mov %%cr4, %%rax; bts $63, %%rax; mov %%rax, %%cr4")
PROBE(cr4_vmxe, "mov %%cr4, %%rax; bts $13, %%rax; mov %%rax, %%cr4")
PROBE(cr8_reserved, "mov $16, %%eax; mov %%rax, %%cr8")
PROBE(dr7_reserved, "bts $40, %%rax; mov %%rax, %%dr7")
PROBE(lldt_data, "mov $0x10, %%eax; lldt %%ax")
PROBE(ltr_busy, "str %%eax; ltr %%ax")
PROBE(ltr_null, "ltr %%ax")
PROBE(divide, "div %%rcx")

struct probe { const char *name; void (*fn)(void *); int vector; bool tcg_differs; };

/* SDM vol. 2, of each: at CPL 3 the exception that protects it. */
static const struct probe at_cpl3[] = {
    { "mov from cr0", probe_read_cr0, VEC_GP, false }, { "mov to cr0", probe_write_cr0, VEC_GP, false },
    { "mov from cr2", probe_read_cr2, VEC_GP, false }, { "mov from cr3", probe_read_cr3, VEC_GP, false },
    { "mov to cr3", probe_write_cr3, VEC_GP, false }, { "mov from cr4", probe_read_cr4, VEC_GP, false },
    { "mov to cr4", probe_write_cr4, VEC_GP, false }, { "mov from cr8", probe_read_cr8, VEC_GP, false },
    { "mov to cr8", probe_write_cr8, VEC_GP, false }, { "mov from dr0", probe_read_dr0, VEC_GP, false },
    { "mov to dr7", probe_write_dr7, VEC_GP, false }, { "lgdt", probe_lgdt, VEC_GP, false },
    { "lidt", probe_lidt, VEC_GP, false }, { "lldt", probe_lldt, VEC_GP, false },
    { "ltr", probe_ltr, VEC_GP, false }, { "lmsw", probe_lmsw, VEC_GP, false },
    { "clts", probe_clts, VEC_GP, false }, { "hlt", probe_hlt, VEC_GP, false },
    { "invd", probe_invd, VEC_GP, false }, { "wbinvd", probe_wbinvd, VEC_GP, false },
    { "invlpg", probe_invlpg, VEC_GP, false }, { "rdmsr", probe_rdmsr, VEC_GP, false },
    { "wrmsr", probe_wrmsr, VEC_GP, false }, { "rdpmc", probe_rdpmc, VEC_GP, false },
    { "cli", probe_cli, VEC_GP, false }, { "sti", probe_sti, VEC_GP, false },
    { "in", probe_inb, VEC_GP, false }, { "out", probe_outl, VEC_GP, false },
    { "ins", probe_insb, VEC_GP, false }, { "outs", probe_outsb, VEC_GP, false },
    { "swapgs", probe_swapgs, VEC_GP, false }, { "sysret", probe_sysret, VEC_GP, false },
    { "monitor", probe_monitor, VEC_UD, false }, { "rsm", probe_rsm, VEC_UD, false },
    { "cpuid", probe_cpuid, NO_FAULT, false }, { "rdtsc", probe_rdtsc, NO_FAULT, false },
    { "vmxon", probe_vmxon, VEC_UD, false }, { "vmlaunch", probe_vmlaunch, VEC_UD, false },
};

/* At CPL 0: state that the processor refuses. */
static const struct probe at_cpl0[] = {
    { "clearing CR4.PAE in 64-bit mode", probe_no_pae, VEC_GP, true },
    { "clearing CR0.PG in 64-bit mode", probe_no_paging, VEC_GP, true },
    { "CR0.NW without CD", probe_nw_without_cd, VEC_GP, true },
    { "a reserved bit of CR0", probe_cr0_reserved, VEC_GP, true },
    { "a reserved bit of CR3", probe_cr3_reserved, VEC_GP, true },
    { "a reserved bit of CR4", probe_cr4_reserved, VEC_GP, true },
    { "a reserved bit of CR8", probe_cr8_reserved, VEC_GP, true },
    { "a reserved bit of DR7", probe_dr7_reserved, VEC_GP, true },
    { "lldt of a data segment", probe_lldt_data, VEC_GP, false },
    { "ltr of a busy task state", probe_ltr_busy, VEC_GP, false },
    { "ltr of the null selector", probe_ltr_null, VEC_GP, true },
    { "division by zero", probe_divide, VEC_DE, false }, { "ud2", probe_ud2, VEC_UD, false },
    { "rsm", probe_rsm, VEC_UD, false },
    { "getsec", probe_getsec, VEC_UD, false },
};

/* VMX, which the machine does not have. */
static const struct probe without_vmx[] = {
    { "CR4.VMXE", probe_cr4_vmxe, VEC_GP, true },
    { "vmxon", probe_vmxon, VEC_UD, false }, { "vmxoff", probe_vmxoff, VEC_UD, false },
    { "vmclear", probe_vmclear, VEC_UD, false }, { "vmptrld", probe_vmptrld, VEC_UD, false },
    { "vmptrst", probe_vmptrst, VEC_UD, false }, { "vmread", probe_vmread, VEC_UD, false },
    { "vmwrite", probe_vmwrite, VEC_UD, false }, { "vmlaunch", probe_vmlaunch, VEC_UD, false },
    { "vmresume", probe_vmresume, VEC_UD, false }, { "vmfunc", probe_vmfunc, VEC_UD, false },
    { "invept", probe_invept, VEC_UD, false }, { "invvpid", probe_invvpid, VEC_UD, false },
};

static void check_probes(const struct probe *probes, unsigned n, unsigned cpl)
{
    char name[80];

    for (unsigned i = 0; i < n; i++) {
        format(name, sizeof(name), "%s at CPL %u", probes[i].name, cpl);
        if (probes[i].tcg_differs && on_tcg())
            skip(name, "QEMU's emulation does not check this");
        else
            check_fault(name, cpl, probes[i].fn, NULL, probes[i].vector);
    }
}

void check_traps(void)
{
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE); /* else sysret is no instruction at all */
    check_probes(at_cpl3, ARRAY_SIZE(at_cpl3), 3);
    check_probes(at_cpl0, ARRAY_SIZE(at_cpl0), 0);
    if (has_vmx())
        skip("VMX instructions", "this processor has VMX");
    else
        check_probes(without_vmx, ARRAY_SIZE(without_vmx), 0);
}
