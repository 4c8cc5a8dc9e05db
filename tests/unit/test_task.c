/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/vcpu_fake.h"

/* Two tasks in a 32-bit guest without paging; task A runs, TSS B says what it finds. */
enum { GDT = 0x2000, TSS_A = 0x3000, TSS_B = 0x3100, TSS_16 = 0x3200, LDT = 0x3400, STACK = 0x4000 };
enum { CODE = 0x08, DATA = 0x10, UCODE = 0x1b, UDATA = 0x23, SEL_A = 0x28, SEL_B = 0x30, SEL_LDT = 0x38,
       ABSENT = 0x40, SEL_16 = 0x48, CONFORMING = 0x50, READ_ONLY = 0x58, ABSENT_CODE = 0x60, LOCAL_DATA = 0x0c };
enum { CALL, IRET, JMP, GATE };
enum { TS = 10, NP = 11, SS = 12, GP = 13, PF = 14 };

#define FLAT(type) (0x00c000000000ffffull | 0xfull << 48 | (uint64_t)(type) << 40)
#define SYSTEM(base, limit, type) ((uint64_t)(limit) | (uint64_t)(base) << 16 | (uint64_t)(type) << 40)

struct tss32 {
    uint16_t link, reserved0;
    uint32_t stacks[6], cr3, eip, eflags, r[8], seg[6], ldt;
    uint16_t trap, io_map;
};
struct tss16 { uint16_t link, stacks[6], ip, flags, r[8], seg[4], ldt; };

static struct tss32 b;

static const uint64_t gdt[] = {
    [CODE / 8] = FLAT(0x9b), [DATA / 8] = FLAT(0x93), [UCODE / 8] = FLAT(0xfa), [UDATA / 8] = FLAT(0xf2),
    [SEL_A / 8] = SYSTEM(TSS_A, 0x67, 0x8b), [SEL_B / 8] = SYSTEM(TSS_B, 0x67, 0x89),
    [SEL_LDT / 8] = SYSTEM(LDT, 0xf, 0x82), [ABSENT / 8] = FLAT(0x13), [SEL_16 / 8] = SYSTEM(TSS_16, 0x2b, 0x81),
    [CONFORMING / 8] = FLAT(0x9f), [READ_ONLY / 8] = FLAT(0x91), [ABSENT_CODE / 8] = FLAT(0x1b),
};

static void put_gdt(uint16_t selector, uint64_t raw)
{
    guest_put64(GDT + (selector & ~7u), raw);
}

static uint64_t get_gdt(uint16_t selector)
{
    uint64_t raw;

    guest_get(GDT + (selector & ~7u), &raw, sizeof(raw));
    return raw;
}

static bool busy(uint16_t selector)
{
    return get_gdt(selector) & BIT(41);
}

static void set_segment(unsigned s, uint16_t selector, uint32_t ar)
{
    vmwrite(VMCS_GUEST_SELECTOR(s), selector);
    vmwrite(VMCS_GUEST_LIMIT(s), UINT32_MAX);
    vmwrite(VMCS_GUEST_AR(s), ar);
}

static int setup(void **state)
{
    int err = vcpu_setup(state);

    cr_reset(CR0_PE | CR0_ET | CR0_NE, 0);
    guest_put(GDT, gdt, sizeof(gdt));
    guest_put64(LDT + (LOCAL_DATA & ~7u), FLAT(0x93));
    vmwrite(VMCS_GUEST_GDTR_BASE, GDT);
    vmwrite(VMCS_GUEST_GDTR_LIMIT, sizeof(gdt) - 1);
    vmwrite(VMCS_GUEST_TR_SELECTOR, SEL_A);
    vmwrite(VMCS_GUEST_TR_BASE, TSS_A);
    vmwrite(VMCS_GUEST_TR_LIMIT, 0x67);
    vmwrite(VMCS_GUEST_TR_AR, 0x8b);
    vmwrite(VMCS_GUEST_LDTR_AR, AR_UNUSABLE);
    for (unsigned s = SEG_ES; s <= SEG_GS; s++)
        set_segment(s, s == SEG_CS ? CODE : DATA, s == SEG_CS ? 0xc09b : 0xc093);
    for (unsigned i = 0; i < 8; i++)
        vcpu.regs.r[i] = 0xa0000000 + i;
    vmwrite(VMCS_GUEST_RSP, 0xa0000004);
    b = (struct tss32){ .eip = 0xb0000, .eflags = RFLAGS_FIXED, .r = { 10, 11, 12, 13, STACK, 15, 16, 17 },
                        .seg = { DATA, CODE, DATA, DATA, 0, LOCAL_DATA }, .ldt = SEL_LDT };
    return err;
}

static void switch_to(unsigned source, uint16_t selector)
{
    guest_put(TSS_B, &b, sizeof(b));
    vmwrite(VMCS_EXIT_QUALIFICATION, (uint64_t)source << 30 | selector);
    event_requeue(&vcpu);
    exit_task_switch(&vcpu);
}

/* Through a task gate, by this event. */
static void switch_by(uint32_t type, uint8_t vector, uint32_t flags, uint32_t error)
{
    vmwrite(VMCS_IDT_VECTORING_INFO, INTR_VALID | type << INTR_TYPE_SHIFT | flags | vector);
    vmwrite(VMCS_IDT_VECTORING_ERROR, error);
    switch_to(GATE, SEL_B);
}

static struct tss32 saved(void)
{
    struct tss32 a;

    guest_get(TSS_A, &a, sizeof(a));
    return a;
}

static void assert_in_b(void)
{
    assert_int_equal(world.stops, 0);
    assert_int_equal(vcpu.event.info, NO_EVENT);
    assert_int_equal(vmread(VMCS_GUEST_RIP), 0xb0000);
    assert_int_equal(vmread(VMCS_GUEST_TR_SELECTOR), SEL_B);
    assert_int_equal(vmread(VMCS_GUEST_TR_BASE), TSS_B);
    assert_int_equal(vmread(VMCS_GUEST_TR_AR), 0x8b);
}

static void test_registers(void **state)
{
    struct tss32 a;

    switch_to(JMP, SEL_B);
    assert_in_b();
    a = saved();
    assert_int_equal(a.eip, START_RIP + INSN_LENGTH);
    assert_int_equal(a.eflags, RFLAGS_FIXED);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(a.r[i], 0xa0000000 + i);
        assert_int_equal(i == 4 ? vmread(VMCS_GUEST_RSP) : vcpu.regs.r[i], b.r[i]);
    }
    assert_int_equal(a.seg[SEG_CS], CODE);
    assert_int_equal(a.seg[SEG_GS], DATA);
    assert_int_equal(a.cr3, 0);
    assert_int_equal(vmread(VMCS_GUEST_LDTR_BASE), LDT);
    assert_int_equal(vmread(VMCS_GUEST_GS_AR), 0xc093);
    assert_int_equal(vmread(VMCS_GUEST_FS_AR) & AR_UNUSABLE, AR_UNUSABLE);
    assert_int_equal(vmread(VMCS_GUEST_CS_LIMIT), UINT32_MAX);
    assert_int_equal(vmread(VMCS_GUEST_CR0) & CR0_TS, CR0_TS);
}

static void test_jump_ends_the_old_task(void **state)
{
    switch_to(JMP, SEL_B);
    assert_false(busy(SEL_A));
    assert_true(busy(SEL_B));
    assert_false(vmread(VMCS_GUEST_RFLAGS) & RFLAGS_NT);
}

static void test_call_nests(void **state)
{
    uint16_t link;

    switch_to(CALL, SEL_B);
    assert_in_b();
    assert_true(busy(SEL_A) && busy(SEL_B));
    assert_true(vmread(VMCS_GUEST_RFLAGS) & RFLAGS_NT);
    assert_false(saved().eflags & RFLAGS_NT);
    guest_get(TSS_B, &link, sizeof(link));
    assert_int_equal(link, SEL_A);
}

static void test_iret_returns(void **state)
{
    put_gdt(SEL_B, get_gdt(SEL_B) | BIT(41));
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_NT);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_NMI);
    switch_to(IRET, SEL_B);
    assert_in_b();
    assert_false(busy(SEL_A));
    assert_true(busy(SEL_B));
    assert_false(saved().eflags & RFLAGS_NT);
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), 0);
}

static void test_interrupt(void **state)
{
    switch_by(INTR_EXTERNAL, 0x40, 0, 0);
    assert_in_b();
    assert_int_equal(saved().eip, START_RIP);
    assert_true(vmread(VMCS_GUEST_RFLAGS) & RFLAGS_NT);
}

static void test_software_interrupt_is_passed(void **state)
{
    switch_by(INTR_SOFT_INTERRUPT, 0x40, 0, 0);
    assert_in_b();
    assert_int_equal(saved().eip, START_RIP + INSN_LENGTH);
}

static void test_nmi_blocks(void **state)
{
    switch_by(INTR_NMI, 2, 0, 0);
    assert_in_b();
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), BLOCKING_NMI);
}

static void test_error_code(void **state)
{
    uint32_t pushed;

    switch_by(INTR_HARD_EXCEPTION, PF, INTR_ERROR_CODE, 0x1234);
    assert_in_b();
    assert_int_equal(vmread(VMCS_GUEST_RSP), STACK - 4);
    guest_get(STACK - 4, &pushed, sizeof(pushed));
    assert_int_equal(pushed, 0x1234);
    assert_true(saved().eflags & RFLAGS_RF);
    assert_int_equal(saved().eip, START_RIP);
}

static void test_16_bit_task(void **state)
{
    struct tss16 t = { .ip = 0x1234, .flags = RFLAGS_FIXED | RFLAGS_CF, .r = { 1, 2, 3, 4, 0x800, 6, 7, 8 },
                       .seg = { DATA, CODE, DATA, DATA } };

    guest_put(TSS_16, &t, sizeof(t));
    switch_to(JMP, SEL_16);
    assert_int_equal(vcpu.event.info, NO_EVENT);
    assert_int_equal(vmread(VMCS_GUEST_RIP), 0x1234);
    assert_int_equal(vmread(VMCS_GUEST_RFLAGS), t.flags);
    assert_int_equal(vcpu.regs.rdi, 8);
    assert_int_equal(vmread(VMCS_GUEST_TR_AR) & AR_TYPE, 3);
    assert_int_equal(vmread(VMCS_GUEST_GS_AR) & AR_UNUSABLE, AR_UNUSABLE);

    vmwrite(VMCS_GUEST_RIP, 0x4321);       /* and from there on to B: 16-bit fields are saved */
    vcpu.regs.rax = 0xdeadbeef;
    switch_to(JMP, SEL_B);
    assert_in_b();
    guest_get(TSS_16, &t, sizeof(t));
    assert_int_equal(t.ip, 0x4321 + INSN_LENGTH);
    assert_int_equal(t.r[0], 0xbeef);
    assert_int_equal(t.ldt, 0);
    assert_false(busy(SEL_16));
}

static void test_virtual_8086(void **state)
{
    b.eflags |= RFLAGS_VM;
    b.seg[SEG_CS] = 0x1234;
    b.ldt = 0;
    switch_to(JMP, SEL_B);
    assert_in_b();
    assert_int_equal(vmread(VMCS_GUEST_CS_BASE), 0x12340);
    assert_int_equal(vmread(VMCS_GUEST_CS_AR), 0xf3);
    assert_int_equal(vmread(VMCS_GUEST_SS_AR), 0xf3);
    assert_int_equal(vmread(VMCS_GUEST_GS_LIMIT), 0xffff);
}

static void enter_b_as_user(uint16_t cs)
{
    for (unsigned s = SEG_ES; s <= SEG_GS; s++)
        b.seg[s] = s == SEG_CS ? cs : UDATA;
}

static void test_user_task_marks_its_segments(void **state)
{
    enter_b_as_user(UCODE);
    switch_to(JMP, SEL_B);
    assert_in_b();
    assert_int_equal(AR_DPL((uint32_t)vmread(VMCS_GUEST_SS_AR)), 3);
    assert_int_equal(vmread(VMCS_GUEST_CS_AR), 0xc0fb);
    assert_true(get_gdt(UCODE) & BIT(40));
}

/* The conforming segment keeps its DPL, the task has the selector's RPL. */
static void test_conforming(void **state)
{
    enter_b_as_user(CONFORMING | 3);
    switch_to(CALL, SEL_B);
    assert_in_b();
    assert_int_equal(AR_DPL((uint32_t)vmread(VMCS_GUEST_SS_AR)), 3);
    assert_int_equal(AR_DPL((uint32_t)vmread(VMCS_GUEST_CS_AR)), 0);
}

static void test_trap_flag_and_breakpoints(void **state)
{
    b.trap = 1;
    vmwrite(VMCS_GUEST_DR7, 0x755);
    switch_to(JMP, SEL_B);
    assert_int_equal(vcpu.event.info, exception_info(1, false));
    assert_int_equal(read_dr6() & BIT(15), BIT(15));
    assert_int_equal(vmread(VMCS_GUEST_DR7), 0x600);
}

static void test_cr3(void **state)
{
    enter_long_mode();                     /* its tables serve as PAE's: 2 MiB one to one */
    vmwrite(VMCS_GUEST_EFER, 0);
    guest_put64(GUEST_PDPT, GUEST_PD | PTE_P);
    vmwrite(VMCS_GUEST_PDPTE0, GUEST_PD | PTE_P);
    vmwrite(VMCS_GUEST_CR3, 0);
    vcpu.ept_generation = 7;
    b.cr3 = GUEST_PDPT;
    switch_to(JMP, SEL_B);
    assert_in_b();
    assert_int_equal(vmread(VMCS_GUEST_CR3), GUEST_PDPT);
    assert_int_equal(vcpu.ept_generation, 0);
}

/* A fault before the switch: nothing has changed. */
static void assert_old_task(uint8_t vector, uint32_t error)
{
    assert_faulted(vector, true, error);
    assert_int_equal(vmread(VMCS_GUEST_TR_SELECTOR), SEL_A);
    assert_true(busy(SEL_A));
    assert_int_equal(saved().eip, 0);
}

static void test_faults_of_the_old_task(void **state)
{
    switch_to(JMP, SEL_A);                 /* busy */
    assert_old_task(GP, SEL_A);
    switch_to(IRET, SEL_B);                /* not busy */
    assert_old_task(TS, SEL_B);
    switch_to(JMP, DATA);
    assert_old_task(GP, DATA);
    switch_to(JMP, 0x1000);
    assert_old_task(GP, 0x1000);
    switch_to(CALL, LOCAL_DATA);
    assert_old_task(GP, LOCAL_DATA);
    put_gdt(SEL_B, SYSTEM(TSS_B, 0x66, 0x89));
    switch_to(JMP, SEL_B);
    assert_old_task(TS, SEL_B);
    put_gdt(SEL_B, SYSTEM(TSS_B, 0x67, 0x09));
    switch_to(JMP, SEL_B);
    assert_old_task(NP, SEL_B);
    switch_by(INTR_EXTERNAL, 0x40, 0, 0);
    assert_old_task(NP, SEL_B | 1);
}

static void test_page_fault_of_the_old_task(void **state)
{
    enter_long_mode();
    vmwrite(VMCS_GUEST_EFER, 0);
    vmwrite(VMCS_GUEST_PDPTE0, GUEST_PD | PTE_P);
    put_gdt(SEL_B, SYSTEM(0x5fc0, 0x67, 0x89));        /* its end lies on a page that is not there */
    guest_map(0x6000, 0x6000, 0);
    switch_to(JMP, SEL_B);
    assert_old_task(PF, 2);
    assert_int_equal(read_cr2(), 0x6000 + 0x27);
}

/* A fault after it: in the new task, at its first instruction. */
static void assert_new_task(uint8_t vector, uint32_t error)
{
    assert_int_equal(vcpu.event.info, exception_info(vector, true));
    assert_int_equal(vcpu.event.error, error);
    assert_int_equal(vmread(VMCS_GUEST_RIP), 0xb0000);
    assert_int_equal(vmread(VMCS_GUEST_TR_SELECTOR), SEL_B);
}

#define CHECK_NEW(field, value, vector, error) do {                                          \
        setup(state);                                                                        \
        (field) = (value);                                                                   \
        switch_to(JMP, SEL_B);                                                               \
        assert_new_task(vector, error);                                                      \
    } while (0)

static void test_faults_of_the_new_task(void **state)
{
    CHECK_NEW(b.ldt, DATA, TS, DATA);
    CHECK_NEW(b.seg[SEG_CS], 0, TS, 0);
    CHECK_NEW(b.seg[SEG_CS], DATA, TS, DATA);
    CHECK_NEW(b.seg[SEG_CS], ABSENT_CODE, NP, ABSENT_CODE);
    CHECK_NEW(b.seg[SEG_SS], 0, TS, 0);
    CHECK_NEW(b.seg[SEG_SS], READ_ONLY, TS, READ_ONLY);
    CHECK_NEW(b.seg[SEG_SS], UDATA, TS, UDATA & ~3);
    CHECK_NEW(b.seg[SEG_SS], ABSENT, SS, ABSENT);
    CHECK_NEW(b.seg[SEG_DS], SEL_A, TS, SEL_A);
    CHECK_NEW(b.seg[SEG_ES], ABSENT, NP, ABSENT);
    CHECK_NEW(b.seg[SEG_FS], 0x1000, TS, 0x1000);
    assert_int_equal(vmread(VMCS_GUEST_GS_AR) & AR_UNUSABLE, AR_UNUSABLE);
    assert_int_equal(vmread(VMCS_GUEST_DS_AR), 0xc093);
}

/* An exception whose task cannot be loaded is a double fault. */
static void test_fault_in_delivery(void **state)
{
    b.seg[SEG_SS] = 0;
    switch_by(INTR_HARD_EXCEPTION, GP, INTR_ERROR_CODE, 0);
    assert_int_equal(vcpu.event.info, exception_info(8, true));
}

static void test_no_memory(void **state)
{
    vmwrite(VMCS_GUEST_GDTR_BASE, 0xa0000);
    switch_to(JMP, SEL_B);
    assert_int_equal(world.stops, 1);
}

#define T(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_registers), T(test_jump_ends_the_old_task), T(test_call_nests), T(test_iret_returns), T(test_interrupt),
        T(test_software_interrupt_is_passed), T(test_nmi_blocks), T(test_error_code), T(test_16_bit_task),
        T(test_virtual_8086), T(test_user_task_marks_its_segments), T(test_conforming),
        T(test_trap_flag_and_breakpoints), T(test_cr3), T(test_faults_of_the_old_task),
        T(test_page_fault_of_the_old_task), T(test_faults_of_the_new_task), T(test_fault_in_delivery),
        T(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
