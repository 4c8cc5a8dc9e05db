/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/string.h"
#include "tests/guests/privileged.h"

/* Equivalence of the registers that hold the processor's mode, its address space and its tables. */

static volatile uint64_t found;

static void probe_rdtsc(void *unused)
{
    (void)unused;
    rdtsc();
}

static void probe_fninit(void *unused)
{
    (void)unused;
    __asm__ volatile("fninit");
}

static void check_control_registers(void)
{
    uint64_t cr0 = read_cr0(), cr4 = read_cr4();

    write_cr0(cr0 & ~(uint64_t)CR0_WP);
    check("CR0.WP can be cleared", read_cr0(), cr0 & ~(uint64_t)CR0_WP);
    write_cr0(cr0 | CR0_TS);
    check("CR0.TS can be set", read_cr0() & CR0_TS, CR0_TS);
    check_fault("CR0.TS makes x87 instructions trap", 0, probe_fninit, NULL, VEC_NM);
    __asm__ volatile("clts");
    check("clts clears CR0.TS", read_cr0() & CR0_TS, 0);
    __asm__ volatile("lmsw %w0" : : "r"(CR0_TS));
    check("lmsw sets TS, clears MP and keeps PE", read_cr0() & (CR0_TS | CR0_MP | CR0_EM | CR0_PE), CR0_TS | CR0_PE);
    write_cr0(cr0);
    check("CR0 is restored", read_cr0(), cr0);
    write_cr2(0x123456789abcdef0);
    check("CR2 holds what is written", read_cr2(), 0x123456789abcdef0);
    write_cr4(cr4 | CR4_TSD | CR4_DE);
    check("CR4.TSD and DE can be set", read_cr4(), cr4 | CR4_TSD | CR4_DE);
    check_fault("CR4.TSD closes rdtsc to CPL 3", 3, probe_rdtsc, NULL, VEC_GP);
    check_fault("CR4.TSD leaves rdtsc to CPL 0", 0, probe_rdtsc, NULL, NO_FAULT);
    write_cr4(cr4);
    check("CR4.VMXE reads 0", read_cr4() & CR4_VMXE, 0);
    for (uint64_t tpr = 0; tpr < 16; tpr += 5) {
        write_cr8(tpr);
        check("CR8 holds what is written", read_cr8(), tpr);
    }
    write_cr8(0);
}

/* Translation */

static uint64_t page_a[512] __attribute__((aligned(4096))) = { 0xaaaa };
static uint64_t page_b[512] __attribute__((aligned(4096))) = { 0xbbbb };
static uint64_t other_root[512] __attribute__((aligned(4096)));

enum { P = 1, RW = 2, US = 4 };

static void probe_load(void *address)
{
    found = *(volatile uint64_t *)address;
}

static void probe_store(void *address)
{
    *(volatile uint64_t *)address = 1;
}

static void probe_call(void *address)
{
    ((void (*)(void))address)();
}

static void check_page_fault(const char *name, unsigned cpl, void (*probe)(void *), uint64_t error)
{
    struct fault fault = run_at(cpl, probe, (void *)TEST_PAGE);
    bool right = fault.vector == VEC_PF && fault.cr2 == TEST_PAGE;

    check(name, right ? fault.error : 0x1000u + (unsigned)fault.vector, error);
}

static void map_and_flush(uint64_t flags)
{
    map_test_page((uint64_t)page_a, flags);
    invlpg(TEST_PAGE);
}

/* Address bits beyond what CPUID leaf 80000008H announces are reserved. */
static void check_reserved_bit(void)
{
    uint32_t a, b, c, d;

    cpuid(0x80000008, 0, &a, &b, &c, &d);
    if ((a & 0xff) > 51 || on_tcg()) {
        skip("a reserved bit of a page table", "none here, or QEMU's emulation, which then says not present");
        return;
    }
    map_and_flush(P | BIT(51));
    check_page_fault("a reserved bit of a page table", 0, probe_load, P | 8);
}

static void check_page_faults(void)
{
    map_and_flush(0);
    check_page_fault("reading a page that is not present", 0, probe_load, 0);
    check_page_fault("writing it at CPL 3", 3, probe_store, RW | US);
    map_and_flush(P);
    check_page_fault("writing a read-only page with CR0.WP", 0, probe_store, P | RW);
    check_page_fault("reading a supervisor page at CPL 3", 3, probe_load, P | US);
    write_cr0(read_cr0() & ~(uint64_t)CR0_WP);
    check_fault("writing a read-only page without CR0.WP", 0, probe_store, (void *)TEST_PAGE, NO_FAULT);
    write_cr0(read_cr0() | CR0_WP);
    page_a[0] = 0xaaaa;
    check_reserved_bit();
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    map_and_flush(P | US | BIT(63));
    check_page_fault("executing a no-execute page", 0, probe_call, P | 16);
    check_page_fault("executing it at CPL 3", 3, probe_call, P | US | 16);
}

static void check_translation(void)
{
    volatile uint64_t *page = (volatile uint64_t *)TEST_PAGE;
    uint64_t root = read_cr3();

    map_and_flush(P | RW);
    check("a mapped page is read", *page, 0xaaaa);
    memcpy(other_root, boot_page_tables, sizeof(other_root));
    other_root[TEST_PAGE >> 39 & 511] = 0;
    write_cr3((uint64_t)other_root);
    check("CR3 holds what is written", read_cr3(), (uint64_t)other_root);
    check_page_fault("another CR3 is another address space", 0, probe_load, 0);
    write_cr3(root);
    check("and back", *page, 0xaaaa);
    map_test_page((uint64_t)page_b, P | RW);
    invlpg(TEST_PAGE);
    check("invlpg shows a changed page table", *page, 0xbbbb);
    map_test_page((uint64_t)page_a, P | RW);
    write_cr3(root);
    check("a write to CR3 shows a changed page table", *page, 0xaaaa);
}

/* Descriptor table registers */

static void check_descriptor_registers(void)
{
    struct descriptor_ptr old, now, odd = { 0x7f, (uint64_t)gdt_entry(0) };

    sgdt(&old);
    lgdt(&odd);
    sgdt(&now);
    lgdt(&old);
    check("lgdt loads the limit", now.limit, odd.limit);
    check("lgdt loads the base", now.base, odd.base);
    lldt(0);
    check("lldt loads the null selector", sldt(), 0);
    lldt(SEL_LDT);
    check("lldt loads a selector", sldt(), SEL_LDT);
    *gdt_entry(SEL_TSS) &= ~BIT(41);   /* no longer busy */
    ltr(SEL_TSS);
    check("ltr loads a selector", str(), SEL_TSS);
    check("ltr marks the task state busy", *gdt_entry(SEL_TSS) >> 41 & 1, 1);
}

void check_modes(void)
{
    check_control_registers();
    check_page_faults();
    check_translation();
    check_descriptor_registers();
}
