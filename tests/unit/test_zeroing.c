/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/vcpu_fake.h"
#include "vmx/quick.h"

#define PAGE     0x180000u             /* linear; a shared page is mapped there */
#define AT       0x1c0000u             /* guest-physical */
#define ZEROING  (EPT_VIOLATION_WRITE | EPT_VIOLATION_READABLE | EPT_VIOLATION_LINEAR | EPT_VIOLATION_TRANSLATED)
#define PTE_D    0x40ull

static const uint8_t rep_stosq[] = { 0xf3, 0x48, 0xab }, rep_stosb[] = { 0xf3, 0xaa };
static uint8_t file[2][PAGE_SIZE] __attribute__((aligned(4096)));

/* The processor is at an instruction that is to zero count units from the page on. */
static void at_instruction(const uint8_t *code, size_t n, uint64_t count)
{
    vmwrite(VMCS_GUEST_RIP, START_RIP);
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, 0);
    guest_put(START_RIP, code, n);
    vcpu.regs.rax = 0;
    vcpu.regs.rcx = count;
    vcpu.regs.rdi = PAGE;
}

static int setup(void **state)
{
    int err = vcpu_setup(state);

    enter_long_mode();
    guest_map(PAGE, AT, PTE_P | PTE_W);
    memset(file[0], 0x11, PAGE_SIZE);
    memset(file[1], 0x22, PAGE_SIZE);
    for (unsigned i = 0; i < 2; i++)
        if (pmap_load(&guest, GPA(AT + i * PAGE_SIZE), file[i], PAGE_SIZE))
            return -1;
    at_instruction(rep_stosq, sizeof(rep_stosq), 512);
    return err;
}

static enum quick violation(uint64_t at, uint64_t linear, uint64_t qualification)
{
    static const _Atomic bool no_news;
    struct exit_record r = { .rip = START_RIP };

    if (pmap_fault(&guest, GPA(at), 0, false))
        abort();
    vmwrite(VMCS_EXIT_GUEST_PHYSICAL, at);
    vmwrite(VMCS_EXIT_GUEST_LINEAR, linear);
    vmwrite(VMCS_EXIT_QUALIFICATION, qualification);
    vcpu.news = &no_news;
    vcpu.look_at = UINT64_MAX;
    return quick_ept_violation(&vcpu, &r);
}

static unsigned first_byte(uint64_t at)
{
    uint8_t byte;

    guest_get(at, &byte, 1);
    return byte;
}

/* RDI, RCX and RIP as if the processor had gone so far, and the page gone without a copy. */
static void assert_zeroed(uint64_t left, uint64_t rip)
{
    assert_int_equal(vcpu.regs.rdi, PAGE + PAGE_SIZE);
    assert_int_equal(vcpu.regs.rcx, left);
    assert_int_equal(vmread(VMCS_GUEST_RIP), rip);
    assert_int_equal(guest.counts.cleared, 1);
    assert_int_equal(guest.counts.breaks, 0);
    assert_int_equal(guest.counts.files, 1);
    assert_int_equal(guest.counts.zeros, 1);
    assert_int_equal(ept_lookup(&guest.ept[0], GPA(AT)).level, 0);
    assert_int_equal(first_byte(AT), 0);
    assert_int_equal(first_byte(AT + PAGE_SIZE), 0x22);
    assert_int_not_equal(fake_percpu[0].guest, 0);   /* inside again */
}

static void test_page(void **state)
{
    uint64_t pte;

    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_RF | RFLAGS_CF); /* as a processor saves it for a violation */
    assert_int_equal(violation(AT, PAGE, ZEROING), QUICK_DONE);
    assert_zeroed(0, START_RIP + 3);
    assert_int_equal(vmread(VMCS_GUEST_RFLAGS), RFLAGS_FIXED | RFLAGS_CF);
    guest_get(GUEST_PT + 8 * (PAGE >> 12), &pte, sizeof(pte));
    assert_true(pte & PTE_D);
}

static void test_bytes(void **state)
{
    at_instruction(rep_stosb, sizeof(rep_stosb), PAGE_SIZE);
    assert_int_equal(violation(AT, PAGE, ZEROING), QUICK_DONE);
    assert_zeroed(0, START_RIP + 2);
}

/* Of many pages this is one; the next is the processor's again. */
static void test_part_of_many(void **state)
{
    at_instruction(rep_stosq, sizeof(rep_stosq), 512 + 100);
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_RF);
    assert_int_equal(violation(AT, PAGE, ZEROING), QUICK_DONE);
    assert_zeroed(100, START_RIP);
    assert_int_equal(vmread(VMCS_GUEST_RFLAGS), RFLAGS_FIXED | RFLAGS_RF); /* it goes on */
    guest_map(PAGE + PAGE_SIZE, AT + PAGE_SIZE, PTE_P | PTE_W);
    assert_int_equal(violation(AT + PAGE_SIZE, PAGE + PAGE_SIZE, ZEROING), QUICK_DONE);
    assert_int_equal(vcpu.regs.rcx, 100);
    assert_int_equal(guest.counts.cleared, 1);
    assert_int_equal(first_byte(AT + PAGE_SIZE), 0x22);
}

/* The processor does it: nothing has changed but that the page is the guest's own. */
static void assert_left(uint64_t qualification)
{
    struct guest_regs before = vcpu.regs;

    assert_int_equal(violation(AT, PAGE, qualification), QUICK_DONE);
    assert_memory_equal(&vcpu.regs, &before, sizeof(before));
    assert_int_equal(vmread(VMCS_GUEST_RIP), START_RIP);
    assert_int_equal(guest.counts.cleared, 0);
    assert_int_equal(first_byte(AT), 0x11);
}

static void test_other_registers(void **state)
{
    uint64_t *const reg[] = { &vcpu.regs.rax, &vcpu.regs.rcx, &vcpu.regs.rdi };
    const uint64_t value[] = { BIT(40), 511, PAGE + 8 };

    for (unsigned i = 0; i < ARRAY_SIZE(reg); i++) {
        setup(state);
        *reg[i] = value[i];
        assert_left(ZEROING);
    }
    setup(state);
    vcpu.regs.rdi = PAGE + PAGE_SIZE;                /* another instruction's write: not at RDI */
    assert_left(ZEROING);
}

static void test_other_code(void **state)
{
    static const uint8_t other[][4] = {
        { 0x48, 0x89, 0x07 },                        /* mov [rdi], rax */
        { 0x48, 0xab },                              /* stosq */
        { 0xf3, 0xab },                              /* rep stosd */
        { 0xf3, 0x48, 0xa5 },                        /* rep movsq */
        { 0xf2, 0x48, 0xab },
        { 0x67, 0xf3, 0x48, 0xab },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(other); i++) {
        setup(state);
        at_instruction(other[i], sizeof(other[i]), PAGE_SIZE);
        assert_left(ZEROING);
    }
}

/* Backwards, or with something to see at its end. */
static void test_other_state(void **state)
{
    static const uint64_t flags[] = { RFLAGS_DF, RFLAGS_TF };

    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
        setup(state);
        vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | flags[i]);
        assert_left(ZEROING);
    }
    setup(state);
    vmwrite(VMCS_GUEST_DR7, 1);
    assert_left(ZEROING);
    setup(state);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_STI);
    assert_left(ZEROING);
    setup(state);
    vmwrite(VMCS_GUEST_CS_AR, AR_P | AR_S | 0xb | AR_DB | AR_G);
    assert_left(ZEROING);
}

static void test_other_violations(void **state)
{
    static const uint64_t missing[] = { EPT_VIOLATION_READABLE, EPT_VIOLATION_LINEAR, EPT_VIOLATION_TRANSLATED };

    for (unsigned i = 0; i < ARRAY_SIZE(missing); i++) {
        setup(state);
        assert_left(ZEROING & ~missing[i]);
    }
}

/* The guest has changed its tables: where the zeros are to go now is not where the violation was. */
static void test_changed_tables(void **state)
{
    guest_map(PAGE, AT + PAGE_SIZE, PTE_P | PTE_W);
    assert_left(ZEROING);
    assert_int_equal(first_byte(AT + PAGE_SIZE), 0x22);
    setup(state);
    guest_map(PAGE, AT, PTE_P);
    assert_left(ZEROING);
}

/* What is not shared is zeroed as ever. */
static void test_own_page(void **state)
{
    guest_put(AT, "own", 3);
    assert_int_equal(violation(AT, PAGE, ZEROING), QUICK_DONE);
    assert_int_equal(vcpu.regs.rcx, 512);
    assert_int_equal(guest.counts.cleared, 0);
    assert_int_equal(first_byte(AT), 'o');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_page, setup),
        cmocka_unit_test_setup(test_bytes, setup),
        cmocka_unit_test_setup(test_part_of_many, setup),
        cmocka_unit_test_setup(test_other_registers, setup),
        cmocka_unit_test_setup(test_other_code, setup),
        cmocka_unit_test_setup(test_other_state, setup),
        cmocka_unit_test_setup(test_other_violations, setup),
        cmocka_unit_test_setup(test_changed_tables, setup),
        cmocka_unit_test_setup(test_own_page, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
