/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/vcpu_fake.h"

/* Exit qualifications of MOV to and from control registers (SDM vol. 3, table 28-3). */
enum { RAX = 0, RBX = 3, RSP = 4, R15 = 15 };
#define MOV_TO(cr, reg)   ((cr) | (uint64_t)(reg) << 8)
#define MOV_FROM(cr, reg) ((cr) | 1u << 4 | (uint64_t)(reg) << 8)

static void cr_exit(uint64_t qualification)
{
    vmwrite(VMCS_GUEST_RIP, START_RIP);
    vcpu.event.info = 0;
    vmwrite(VMCS_EXIT_QUALIFICATION, qualification);
    exit_cr_access(&vcpu);
}

static void mov_cr0(uint64_t value)
{
    vcpu.regs.rax = value;
    cr_exit(MOV_TO(0, RAX));
}

/* What the guest reads, as the processor puts it together (SDM vol. 3, 27.6.6). */
static uint64_t guest_cr(enum vmcs_field real, enum vmcs_field mask, enum vmcs_field shadow)
{
    return (vmread(real) & ~vmread(mask)) | (vmread(shadow) & vmread(mask));
}

static uint64_t guest_cr0(void) { return guest_cr(VMCS_GUEST_CR0, VMCS_CTRL_CR0_MASK, VMCS_CTRL_CR0_SHADOW); }
static uint64_t guest_cr4(void) { return guest_cr(VMCS_GUEST_CR4, VMCS_CTRL_CR4_MASK, VMCS_CTRL_CR4_SHADOW); }

#define CR0_START (CR0_PE | CR0_ET)

/* The registers' fields before an access that must fault and change nothing. */
static const enum vmcs_field watched[] = { VMCS_GUEST_CR0, VMCS_CTRL_CR0_SHADOW, VMCS_GUEST_CR4, VMCS_CTRL_CR4_SHADOW,
                                           VMCS_GUEST_EFER, VMCS_CTRL_ENTRY };

static void mov_cr0_faults(uint64_t value)
{
    uint64_t before[ARRAY_SIZE(watched)];
    bool real = !(vmread(VMCS_GUEST_CR0) & CR0_PE);

    for (size_t i = 0; i < ARRAY_SIZE(watched); i++)
        before[i] = vmread(watched[i]);
    mov_cr0(value);
    assert_faulted(GP_VECTOR, !real, 0);
    for (size_t i = 0; i < ARRAY_SIZE(watched); i++)
        assert_int_equal(vmread(watched[i]), before[i]);
}

static void test_reset(void **state)
{
    cr_reset(CR0_ET | CR0_CD | CR0_NW, 0);
    assert_int_equal(guest_cr0(), CR0_ET | CR0_CD | CR0_NW);
    assert_int_equal(vmread(VMCS_GUEST_CR0), CR0_ET | CR0_NE);
    assert_int_equal(guest_cr4(), 0);
    assert_int_equal(vmread(VMCS_GUEST_CR4), CR4_VMXE);
}

static void test_protected_mode_and_back(void **state)
{
    mov_cr0(CR0_START);
    assert_completed();
    assert_int_equal(guest_cr0(), CR0_START);
    assert_int_equal(vmread(VMCS_GUEST_CR0), CR0_START | CR0_NE); /* NE stays set in VMX operation */
    mov_cr0(CR0_ET);
    assert_completed();
    assert_int_equal(guest_cr0(), CR0_ET);
}

/* CD and NW are shadows: the guest sees what it wrote, the caches of the machine stay on. */
static void test_cache_bits(void **state)
{
    mov_cr0(CR0_START | CR0_CD | CR0_NW);
    assert_completed();
    assert_int_equal(guest_cr0(), CR0_START | CR0_CD | CR0_NW);
    assert_int_equal(vmread(VMCS_GUEST_CR0) & (CR0_CD | CR0_NW), 0);
    mov_cr0(CR0_START | CR0_CD);
    assert_completed();
    assert_int_equal(guest_cr0(), CR0_START | CR0_CD);
    mov_cr0_faults(CR0_START | CR0_NW);
    mov_cr0(CR0_START);
    assert_int_equal(guest_cr0(), CR0_START);
}

static void test_ne_is_a_shadow(void **state)
{
    mov_cr0(CR0_START | CR0_NE);
    assert_int_equal(guest_cr0(), CR0_START | CR0_NE);
    mov_cr0(CR0_START);
    assert_int_equal(guest_cr0(), CR0_START);
    assert_true(vmread(VMCS_GUEST_CR0) & CR0_NE);
}

/* Bits that have no meaning are ignored, ET is hardwired (SDM vol. 3, 2.5). */
static void test_reserved_bits_of_cr0(void **state)
{
    mov_cr0(0x1ffaffc0 | CR0_PE);
    assert_completed();
    assert_int_equal(guest_cr0(), CR0_START);
    assert_int_equal(vmread(VMCS_GUEST_CR0), CR0_START | CR0_NE);
    enter_long_mode();
    mov_cr0_faults(guest_cr0() | BIT(32));
    mov_cr0_faults(guest_cr0() | BIT(63));
}

/* Outside 64-bit code a register's upper half does not count. */
static void test_upper_half_in_32_bit_code(void **state)
{
    mov_cr0(CR0_START | BIT(40));
    assert_completed();
    assert_int_equal(guest_cr0(), CR0_START);
}

static void test_paging_needs_protection(void **state)
{
    mov_cr0_faults(CR0_PG | CR0_ET);
    mov_cr0(CR0_START);
    mov_cr0_faults(CR0_PG | CR0_ET);
}

static void test_32_bit_paging(void **state)
{
    vcpu.ept_generation = 7;
    mov_cr0(CR0_START | CR0_PG);
    assert_completed();
    assert_int_equal(guest_cr0(), CR0_START | CR0_PG);
    assert_int_equal(vmread(VMCS_GUEST_CR0), CR0_START | CR0_PG | CR0_NE);
    assert_int_equal(vmread(VMCS_GUEST_EFER), 0);
    assert_int_equal(vcpu.ept_generation, 0);  /* the TLB is dropped, as in hardware */
    mov_cr0(CR0_START);
    assert_completed();
    assert_int_equal(guest_cr0(), CR0_START);
}

static void set_pae(void)
{
    vmwrite(VMCS_GUEST_CR4, vmread(VMCS_GUEST_CR4) | CR4_PAE);
}

static void test_long_mode(void **state)
{
    set_pae();
    assert_true(cr_write_efer(EFER_LME | EFER_SCE));
    mov_cr0(CR0_START | CR0_PG);
    assert_completed();
    assert_int_equal(vmread(VMCS_GUEST_EFER), EFER_LME | EFER_LMA | EFER_SCE);
    assert_true(vmread(VMCS_CTRL_ENTRY) & ENTRY_GUEST_64);
    mov_cr0(CR0_START);                        /* from compatibility mode: off again */
    assert_completed();
    assert_int_equal(vmread(VMCS_GUEST_EFER), EFER_LME | EFER_SCE);
    assert_false(vmread(VMCS_CTRL_ENTRY) & ENTRY_GUEST_64);
}

/* SDM vol. 3, 4.1.2: long mode needs PAE, and a code segment that is not 64-bit at the switch, both ways. */
static void test_long_mode_refusals(void **state)
{
    mov_cr0(CR0_START);
    assert_true(cr_write_efer(EFER_LME));
    mov_cr0_faults(CR0_START | CR0_PG);        /* no PAE */
    set_pae();
    vmwrite(VMCS_GUEST_CS_AR, AR_L);
    mov_cr0_faults(CR0_START | CR0_PG);        /* CS.L */
    vmwrite(VMCS_GUEST_CS_AR, AR_DB);
    mov_cr0(CR0_START | CR0_PG);
    assert_completed();
    vmwrite(VMCS_GUEST_CS_AR, AR_L);
    mov_cr0_faults(CR0_START);                 /* off in 64-bit code */
    vmwrite(VMCS_GUEST_CS_AR, AR_DB);
    vmwrite(VMCS_GUEST_CR4, vmread(VMCS_GUEST_CR4) | CR4_PCIDE);
    mov_cr0_faults(CR0_START);                 /* with PCIDs */
}

static const uint64_t pdptes[4] = { 0x5001, 0x6001 | 0xe00, 0x1e6 /* not present: anything goes */, 0x8019 };

static void test_pae_loads_pointers(void **state)
{
    set_pae();
    vmwrite(VMCS_GUEST_CR3, 0x3fe0 | 0x18);    /* aligned to 32 bytes only; PWT and PCD */
    guest_put(0x3fe0, pdptes, sizeof(pdptes));
    mov_cr0(CR0_START | CR0_PG);
    assert_completed();
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(vmread(VMCS_GUEST_PDPTE0 + 2 * i), pdptes[i]);
    assert_false(vmread(VMCS_CTRL_ENTRY) & ENTRY_GUEST_64);
}

/* Bits 2:1, 8:5 and those above the physical width (40) are reserved (SDM vol. 3, table 4-8). */
static void test_pae_reserved_bits(void **state)
{
    set_pae();
    mov_cr0(CR0_START);
    vmwrite(VMCS_GUEST_CR3, 0x4000);
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned bit = 1; bit < 64; bit++) {
            bool reserved = bit < 3 || (bit >= 5 && bit < 9) || bit >= 40;
            uint64_t e[4] = { 0x1001, 0x2001, 0x3001, 0x4001 };

            e[i] |= BIT(bit);
            guest_put(0x4000, e, sizeof(e));
            if (reserved) {
                mov_cr0_faults(CR0_START | CR0_PG);
                continue;
            }
            mov_cr0(CR0_START | CR0_PG);
            assert_completed();
            mov_cr0(CR0_START);
        }
    }
}

static void test_pae_pointers_outside_memory(void **state)
{
    set_pae();
    mov_cr0(CR0_START);
    vmwrite(VMCS_GUEST_CR3, GUEST_MEMORY);
    mov_cr0_faults(CR0_START | CR0_PG);
    vmwrite(VMCS_GUEST_CR3, PMAP_HOLE);
    mov_cr0_faults(CR0_START | CR0_PG);
}

/* A change of WP or of nothing at all leaves paging alone. */
static void test_paging_stays(void **state)
{
    enter_long_mode();
    mov_cr0(guest_cr0() ^ CR0_WP);
    assert_completed();
    assert_int_equal(vmread(VMCS_GUEST_EFER), EFER_LME | EFER_LMA);
    assert_true(vmread(VMCS_CTRL_ENTRY) & ENTRY_GUEST_64);
    vcpu.ept_generation = 7;
    mov_cr0(guest_cr0() ^ CR0_CD);
    assert_completed();
    assert_int_equal(vcpu.ept_generation, 7);
    mov_cr0(guest_cr0() ^ CR0_WP);
    assert_int_equal(vcpu.ept_generation, 0);
}

/* Each CR4 bit belongs to the guest exactly when its CPUID shows the feature. */
static void test_cr4_allowed(void **state)
{
    static const struct { uint64_t bit; uint32_t leaf; unsigned reg, feature; } rows[] = {
        { CR4_UMIP, 7, 2, 2 },    { CR4_FSGSBASE, 7, 1, 0 }, { CR4_PCIDE, 1, 2, 17 },
        { CR4_OSXSAVE, 1, 2, 26 }, { CR4_SMEP, 7, 1, 7 },    { CR4_SMAP, 7, 1, 20 },
    };
    uint64_t all = 0x3707ff & ~(uint64_t)CR4_VMXE;

    vmx_caps.cr4_fixed1 = ~0ull;               /* a machine with LA57, SMXE, PKE, CET: not for guests */
    assert_int_equal(cr4_allowed(), all | CR4_UMIP);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint32_t r[4] = { 0, ~0u, ~0u, ~0u };

        r[rows[i].reg] &= ~(1u << rows[i].feature);
        fake_cpuid_set(rows[i].leaf, 0, r[0], r[1], r[2], r[3]);
        assert_int_equal(cr4_allowed(), (all | CR4_UMIP) & ~rows[i].bit);
        fake_features();
        vmx_caps.cr4_fixed1 = ~0ull;
    }
    vmx_caps.cr4_fixed1 = CR4_VMXE | CR4_PAE | CR4_PSE;
    assert_int_equal(cr4_allowed(), CR4_PAE | CR4_PSE);
}

/* Such a write exits only for bits that are not the guest's: #GP. */
static void test_cr4_exit_faults(void **state)
{
    vcpu.regs.rbx = CR4_VMXE;
    cr_exit(MOV_TO(4, RBX));
    assert_faulted(GP_VECTOR, false, 0);
    assert_int_equal(guest_cr4(), 0);
    assert_int_equal(vmread(VMCS_CTRL_CR4_MASK) & CR4_VMXE, CR4_VMXE);
    assert_int_equal(vmread(VMCS_CTRL_CR4_MASK) & CR4_PAE, 0);
}

static void test_efer(void **state)
{
    assert_true(cr_write_efer(EFER_SCE | EFER_NXE | EFER_LME | EFER_LMA));
    assert_int_equal(vmread(VMCS_GUEST_EFER), EFER_SCE | EFER_NXE | EFER_LME); /* LMA is not software's */
    for (unsigned bit = 0; bit < 64; bit++)
        assert_int_equal(cr_write_efer(BIT(bit)), bit == 0 || bit == 8 || bit == 10 || bit == 11);
    assert_true(cr_write_efer(0));
    fake_cpuid_set(0x80000001, 0, 0, 0, ~0u, ~(1u << 20));
    assert_false(cr_write_efer(EFER_NXE));
}

static void test_efer_while_paging(void **state)
{
    mov_cr0(CR0_START | CR0_PG);
    assert_false(cr_write_efer(EFER_LME));
    assert_true(cr_write_efer(EFER_NXE));
    enter_long_mode();
    assert_false(cr_write_efer(0));
    assert_true(cr_write_efer(EFER_LME | EFER_SCE));
    assert_int_equal(vmread(VMCS_GUEST_EFER), EFER_LME | EFER_LMA | EFER_SCE);
    assert_true(cr_write_efer(EFER_LME | EFER_LMA));
    assert_int_equal(vmread(VMCS_GUEST_EFER), EFER_LME | EFER_LMA);
}

static void test_cr8(void **state)
{
    enter_long_mode();
    for (uint64_t tpr = 0; tpr < 16; tpr++) {
        vcpu.regs.r15 = tpr;
        cr_exit(MOV_TO(8, R15));
        assert_completed();
        assert_int_equal(world.cr8, tpr);
        vcpu.regs.rbx = ~0ull;
        cr_exit(MOV_FROM(8, RBX));
        assert_completed();
        assert_int_equal(vcpu.regs.rbx, tpr);
    }
    for (unsigned bit = 4; bit < 64; bit++) {
        vcpu.regs.r15 = BIT(bit);
        cr_exit(MOV_TO(8, R15));
        assert_faulted(GP_VECTOR, true, 0);
        assert_int_equal(world.cr8, 15);
    }
}

/* RSP is in the VMCS, not among the saved registers. */
static void test_rsp_as_operand(void **state)
{
    enter_long_mode();
    vcpu.regs.rsp = 3;
    vmwrite(VMCS_GUEST_RSP, 9);
    cr_exit(MOV_TO(8, RSP));
    assert_completed();
    assert_int_equal(world.cr8, 9);
    world.cr8 = 5;
    cr_exit(MOV_FROM(8, RSP));
    assert_int_equal(vmread(VMCS_GUEST_RSP), 5);
}

static void test_clts_and_lmsw_cannot_exit(void **state)
{
    cr_exit(2u << 4);
    assert_int_equal(world.stops, 1);
    assert_int_equal(vmread(VMCS_CTRL_CR0_MASK) & (CR0_PE | CR0_MP | CR0_EM | CR0_TS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_reset, vcpu_setup),
        cmocka_unit_test_setup(test_protected_mode_and_back, vcpu_setup),
        cmocka_unit_test_setup(test_cache_bits, vcpu_setup),
        cmocka_unit_test_setup(test_ne_is_a_shadow, vcpu_setup),
        cmocka_unit_test_setup(test_reserved_bits_of_cr0, vcpu_setup),
        cmocka_unit_test_setup(test_upper_half_in_32_bit_code, vcpu_setup),
        cmocka_unit_test_setup(test_paging_needs_protection, vcpu_setup),
        cmocka_unit_test_setup(test_32_bit_paging, vcpu_setup),
        cmocka_unit_test_setup(test_long_mode, vcpu_setup),
        cmocka_unit_test_setup(test_long_mode_refusals, vcpu_setup),
        cmocka_unit_test_setup(test_pae_loads_pointers, vcpu_setup),
        cmocka_unit_test_setup(test_pae_reserved_bits, vcpu_setup),
        cmocka_unit_test_setup(test_pae_pointers_outside_memory, vcpu_setup),
        cmocka_unit_test_setup(test_paging_stays, vcpu_setup),
        cmocka_unit_test_setup(test_cr4_allowed, vcpu_setup),
        cmocka_unit_test_setup(test_cr4_exit_faults, vcpu_setup),
        cmocka_unit_test_setup(test_efer, vcpu_setup),
        cmocka_unit_test_setup(test_efer_while_paging, vcpu_setup),
        cmocka_unit_test_setup(test_cr8, vcpu_setup),
        cmocka_unit_test_setup(test_rsp_as_operand, vcpu_setup),
        cmocka_unit_test_setup(test_clts_and_lmsw_cannot_exit, vcpu_setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
