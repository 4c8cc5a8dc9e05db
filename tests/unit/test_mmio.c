/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/vcpu_fake.h"
#include "vmx/exits.h"
#include "vmx/quick.h"

#define DEVICE      0xfee00000ul               /* guest-physical */
#define DEVICE_PAGE 0x5000u                    /* linear */
#define BUFFER      0x8000u
#define HERE        (EPT_VIOLATION_LINEAR | EPT_VIOLATION_TRANSLATED)

static int setup(void **state)
{
    int err = vcpu_setup(state);

    enter_long_mode();
    guest_map(DEVICE_PAGE, DEVICE, PTE_P | PTE_W | PTE_U);
    return err;
}

static void violation(struct vcpu *v, uint64_t gpa, uint64_t qualification)
{
    vmwrite(VMCS_EXIT_GUEST_PHYSICAL, gpa);
    vmwrite(VMCS_EXIT_GUEST_LINEAR, DEVICE_PAGE + gpa % PAGE_SIZE);
    vmwrite(VMCS_EXIT_QUALIFICATION, qualification);
    vcpu.event.info = 0;
    exit_ept_violation(v);
}

/* Puts code at RIP and lets it touch the device there. */
#define RUN(qualification, offset, ...) do {                                                 \
        static const uint8_t code_[] = { __VA_ARGS__ };                                      \
        vmwrite(VMCS_GUEST_RIP, START_RIP);                                                  \
        guest_put(START_RIP, code_, sizeof(code_));                                          \
        insn_length = sizeof(code_);                                                         \
        violation(&vcpu, DEVICE + (offset), HERE | (qualification));                         \
    } while (0)
static size_t insn_length;

#define assert_done() do {                                                                   \
        assert_int_equal(world.stops, 0);                                                    \
        assert_int_equal(vcpu.event.info, NO_EVENT);                                         \
        assert_int_equal(vmread(VMCS_GUEST_RIP), START_RIP + insn_length);                   \
    } while (0)

static void assert_access(unsigned n, bool write, uint64_t at, unsigned size, uint64_t value)
{
    assert_true(n < world.accesses);
    assert_false(world.access[n].port);
    assert_int_equal(world.access[n].write, write);
    assert_int_equal(world.access[n].at, at);
    assert_int_equal(world.access[n].size, size);
    assert_int_equal(world.access[n].value, value);
}

/* RAM that is touched first is backed; the instruction simply runs again. */
static void test_first_touch(void **state)
{
    assert_int_equal(ept_lookup(&guest.ept[0], GPA(0x300000)).level, 0);
    violation(&vcpu, 0x300123, EPT_VIOLATION_WRITE | HERE);
    assert_int_not_equal(ept_lookup(&guest.ept[0], GPA(0x300000)).level, 0);
    assert_int_equal(vmread(VMCS_GUEST_RIP), START_RIP);
    assert_int_equal(world.stops + world.accesses, 0);
}

static enum quick quick_violation(uint64_t gpa, uint64_t qualification)
{
    static const _Atomic bool no_news;
    struct exit_record r = { .rip = START_RIP };

    vmwrite(VMCS_EXIT_GUEST_PHYSICAL, gpa);
    vmwrite(VMCS_EXIT_QUALIFICATION, qualification);
    vcpu.news = &no_news;
    vcpu.look_at = UINT64_MAX;
    return quick_ept_violation(&vcpu, &r);
}

/* The short way: RAM, whatever the pmap has to do for it, but nothing that more depends on. */
static void test_quick_touch(void **state)
{
    uint64_t faults = guest.counts.faults;

    assert_int_equal(quick_violation(0xc5123, EPT_VIOLATION_WRITE | HERE), QUICK_DONE);  /* makes tables */
    assert_int_equal(quick_violation(0xc6123, EPT_VIOLATION_WRITE | HERE), QUICK_DONE);  /* finds them */
    assert_int_equal(ept_lookup(&guest.ept[0], GPA(0xc6000)).prot, EPT_RWX);
    assert_int_equal(quick_violation(0xc7123, EPT_VIOLATION_READ | HERE), QUICK_DONE);
    assert_int_equal(ept_lookup(&guest.ept[0], GPA(0xc7000)).prot, EPT_R | EPT_X);
    assert_int_equal(quick_violation(0xc7123, EPT_VIOLATION_WRITE | HERE), QUICK_DONE);
    assert_int_equal(ept_lookup(&guest.ept[0], GPA(0xc7000)).prot, EPT_RWX);
    assert_int_equal(guest.counts.faults, faults + 4);
    assert_int_equal(vmread(VMCS_GUEST_RIP), START_RIP);
    assert_int_not_equal(fake_percpu[0].guest, 0); /* inside again */
}

static void test_quick_is_not_for_all(void **state)
{
    assert_int_equal(quick_violation(DEVICE, EPT_VIOLATION_WRITE | HERE), QUICK_NOT);
    assert_int_equal(quick_violation(PMAP_HOLE, EPT_VIOLATION_WRITE | HERE), QUICK_NOT);
    assert_int_equal(quick_violation(0xc8000, EPT_VIOLATION_WRITE | HERE | EPT_VIOLATION_NMI_UNBLOCKED), QUICK_NOT);
    vmwrite(VMCS_IDT_VECTORING_INFO, INTR_VALID);
    assert_int_equal(quick_violation(0xc8000, EPT_VIOLATION_WRITE | HERE), QUICK_NOT);
    assert_int_equal(ept_lookup(&guest.ept[0], GPA(0xc8000)).level, 0);
    assert_int_equal(world.stops, 0);
}

static void test_read(void **state)
{
    world.in = 0xcafe0000fee1dead;
    vcpu.regs.rax = ~0ull;
    RUN(EPT_VIOLATION_READ, 0x30, 0x8b, 0x04, 0x25, 0x30, 0x50, 0, 0); /* mov eax, [5030h] */
    assert_done();
    assert_int_equal(world.accesses, 1);
    assert_access(0, false, DEVICE + 0x30, 4, world.in);
    assert_int_equal(vcpu.regs.rax, 0xfee1dead);
}

static void test_write(void **state)
{
    vcpu.regs.rcx = 0x1122334455667788;
    RUN(EPT_VIOLATION_WRITE, 0xb0, 0x89, 0x8b, 0xb0, 0, 0, 0); /* mov [rbx + b0h], ecx */
    assert_done();
    assert_access(0, true, DEVICE + 0xb0, 4, 0x55667788);
    RUN(EPT_VIOLATION_WRITE, 0x80, 0xc7, 0x04, 0x25, 0x80, 0x50, 0, 0, 0x20, 0, 0, 0); /* mov dword [5080h], 20h */
    assert_done();
    assert_access(1, true, DEVICE + 0x80, 4, 0x20);
    assert_int_equal(world.accesses, 2);
}

/* mov with an absolute address (the form only RAX has). */
static void test_absolute_address(void **state)
{
    world.in = 0x12345678;
    RUN(EPT_VIOLATION_READ, 0x20, 0xa1, 0x20, 0x50, 0, 0, 0, 0, 0, 0);
    assert_done();
    assert_int_equal(vcpu.regs.rax, 0x12345678);
}

static void test_read_modify_write_sets_flags(void **state)
{
    world.in = 0xff;
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF | RFLAGS_CF);
    RUN(EPT_VIOLATION_WRITE, 0, 0x81, 0x24, 0x25, 0, 0x50, 0, 0, 0, 0xff, 0, 0); /* and dword [5000h], ff00h */
    assert_done();
    assert_access(0, false, DEVICE, 4, 0xff);
    assert_access(1, true, DEVICE, 4, 0);
    assert_int_equal(vmread(VMCS_GUEST_RFLAGS), RFLAGS_FIXED | RFLAGS_IF | RFLAGS_ZF | RFLAGS_PF);
}

/* RSP is in the VMCS. */
static void test_rsp_is_an_operand(void **state)
{
    vmwrite(VMCS_GUEST_RSP, 0x123456789);
    RUN(EPT_VIOLATION_WRITE, 0, 0x48, 0x89, 0x23);     /* mov [rbx], rsp */
    assert_done();
    assert_access(0, true, DEVICE, 8, 0x123456789);
    world.in = 0x7000;
    RUN(EPT_VIOLATION_READ, 0, 0x48, 0x8b, 0x23);      /* mov rsp, [rbx] */
    assert_done();
    assert_int_equal(vmread(VMCS_GUEST_RSP), 0x7000);
}

/* What an instruction does besides its own work when it is emulated. */
static void test_end_of_instruction(void **state)
{
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_STI);
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_TF | RFLAGS_IF);
    RUN(EPT_VIOLATION_READ, 0, 0x8b, 0x03);
    assert_done();
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), 0);
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), BIT(14)); /* single step */
}

/* Breakpoints on the data of what is emulated: both operands; a string instruction traps behind each iteration. */
static void test_breakpoints(void **state)
{
    fake_cpu.dr0 = DEVICE_PAGE + 0x30;
    fake_cpu.dr1 = 0x8004;
    fake_cpu.dr2 = 0;
    vmwrite(VMCS_GUEST_DR7, 0x400 | 0x15 | 0xfull << 16 | 0xdull << 20 | 0xfull << 24); /* accesses, writes; 4 bytes */
    RUN(EPT_VIOLATION_READ, 0x30, 0x8b, 0x04, 0x25, 0x30, 0x50, 0, 0); /* mov eax, [5030h] */
    assert_done();
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), BIT(12) | BIT(0));
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
    RUN(EPT_VIOLATION_READ, 0x34, 0x8b, 0x04, 0x25, 0x34, 0x50, 0, 0);
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), 0);
    RUN(EPT_VIOLATION_WRITE, 0x2e, 0xc7, 0x04, 0x25, 0x2e, 0x50, 0, 0, 1, 0, 0, 0); /* mov dword [502eh], 1 */
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), BIT(12) | BIT(0));
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
    vmwrite(VMCS_GUEST_RIP, START_RIP);
    mmio_emulate(&vcpu, GPA(DEVICE + 0x2e), LINEAR_UNKNOWN, true); /* an APIC access: who knows where */
    assert_done();
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), 0);
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_TF);
    vcpu.regs.rsi = DEVICE_PAGE + 0x2c;
    vcpu.regs.rdi = 0x8000;
    vcpu.regs.rcx = 2;
    RUN(EPT_VIOLATION_READ, 0x2c, 0xf3, 0xa5); /* rep movsd */
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), BIT(14));
    RUN(EPT_VIOLATION_READ, 0x30, 0xf3, 0xa5);
    assert_int_equal(vmread(VMCS_GUEST_PENDING_DEBUG), BIT(14) | BIT(12) | BIT(0) | BIT(1));
}

/* The instruction lies in two pages that are not neighbours in the guest's memory. */
static void test_code_crosses_a_page(void **state)
{
    uint64_t rip = 0x2000 - 1;

    guest_map(0x2000, 0x40000, PTE_P);
    guest_put(rip, "\x48", 1);                 /* mov rax, [rbx] */
    guest_put(0x40000, "\x8b\x03", 2);
    guest_put(0x2000, "\xff\xff", 2);
    world.in = 0x1122334455667788;
    vmwrite(VMCS_GUEST_RIP, rip);
    violation(&vcpu, DEVICE + 0x30, HERE | EPT_VIOLATION_READ);
    assert_int_equal(world.stops, 0);
    assert_int_equal(vmread(VMCS_GUEST_RIP), rip + 3);
    assert_int_equal(vcpu.regs.rax, world.in);
}

/* The next page is not there, and not needed. */
static void test_code_ends_with_a_page(void **state)
{
    guest_map(0x2000, 0, 0);
    guest_put(0x2000 - 2, "\x8b\x03", 2);
    world.in = 78;
    vmwrite(VMCS_GUEST_RIP, 0x2000 - 2);
    violation(&vcpu, DEVICE, HERE | EPT_VIOLATION_READ);
    assert_int_equal(world.stops, 0);
    assert_int_equal(vcpu.regs.rax, 78);
    assert_int_equal(vcpu.event.info, 0);      /* fetching ahead faults for nobody */
}

static void protected_mode(uint32_t ar, uint64_t base)
{
    cr_reset(CR0_PE | CR0_ET, 0);
    vmwrite(VMCS_GUEST_EFER, 0);
    vmwrite(VMCS_GUEST_CS_AR, AR_P | AR_S | 0xb | ar);
    vmwrite(VMCS_GUEST_CS_BASE, base);
}

/* Without paging, from a code segment with a base; a linear address has 32 bits. */
static void test_32_bit_code(void **state)
{
    protected_mode(AR_DB, 0xfffff000);
    guest_put(0x1000, "\xa1\x20\x00\xe0\xfe", 5);      /* mov eax, [fee00020h] */
    world.in = 5;
    vmwrite(VMCS_GUEST_RIP, 0x2000);
    violation(&vcpu, DEVICE + 0x20, HERE | EPT_VIOLATION_READ);
    assert_int_equal(world.stops, 0);
    assert_int_equal(vcpu.regs.rax, 5);
    assert_int_equal(vmread(VMCS_GUEST_RIP), 0x2005);
}

static void test_compatibility_mode(void **state)
{
    vmwrite(VMCS_GUEST_CS_AR, AR_P | AR_S | 0xb | AR_DB | AR_G);
    vmwrite(VMCS_GUEST_CS_BASE, 0xfffff000);
    guest_put(0x1000, "\x8b\x03", 2);         /* mov eax, [ebx] */
    world.in = 6;
    vmwrite(VMCS_GUEST_RIP, 0x2000);
    violation(&vcpu, DEVICE, HERE | EPT_VIOLATION_READ);
    assert_int_equal(world.stops, 0);
    assert_int_equal(vcpu.regs.rax, 6);
}

static void test_16_bit_code(void **state)
{
    protected_mode(0, 0x10000);
    guest_put(0x10100, "\xa1\x20\x00", 3);             /* mov ax, [20h] */
    world.in = 0xfee1dead;
    vcpu.regs.rax = 0x11110000;
    vmwrite(VMCS_GUEST_RIP, 0x100);
    violation(&vcpu, PMAP_HOLE + 0x20, HERE | EPT_VIOLATION_READ);
    assert_int_equal(world.stops, 0);
    assert_access(0, false, PMAP_HOLE + 0x20, 2, world.in);
    assert_int_equal(vcpu.regs.rax, 0x1111dead);
    assert_int_equal(vmread(VMCS_GUEST_RIP), 0x103);
}

/* rep movsd from memory to the device: an element an exit. */
/* 32-bit code passes a device's register to a function; the stack's own width counts. */
static void test_push(void **state)
{
    uint32_t pushed;

    world.in = 0x12345678;
    vmwrite(VMCS_GUEST_CS_AR, AR_P | AR_S | 0xb | AR_DB | AR_G);
    vmwrite(VMCS_GUEST_RSP, 0x700008000);
    RUN(EPT_VIOLATION_READ, 0x30, 0xff, 0x35, 0x30, 0x50, 0, 0);       /* push dword [5030h] */
    assert_done();
    assert_int_equal(vmread(VMCS_GUEST_RSP), 0x7ffc);
    guest_get(0x7ffc, &pushed, sizeof(pushed));
    assert_int_equal(pushed, 0x12345678);
    assert_int_equal(world.accesses, 1);
}

static void test_string_to_device(void **state)
{
    static const uint32_t words[3] = { 0x11111111, 0x22222222, 0x33333333 };

    guest_put(BUFFER, words, sizeof(words));
    vcpu.regs.rsi = BUFFER;
    vcpu.regs.rdi = DEVICE_PAGE;
    vcpu.regs.rcx = 3;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(vmread(VMCS_GUEST_RIP), START_RIP);
        RUN(EPT_VIOLATION_WRITE, 4 * i, 0xf3, 0xa5);
        assert_access(i, true, DEVICE + 4 * i, 4, words[i]);
    }
    assert_done();
    assert_int_equal(vcpu.regs.rcx, 0);
    assert_int_equal(vcpu.regs.rsi, BUFFER + 12);
    assert_int_equal(vcpu.regs.rdi, DEVICE_PAGE + 12);
}

static void test_string_from_device(void **state)
{
    uint64_t got;

    world.in = 0x8877665544332211;
    vcpu.regs.rsi = DEVICE_PAGE;
    vcpu.regs.rdi = BUFFER;
    RUN(EPT_VIOLATION_READ, 0, 0x48, 0xa5);            /* movsq */
    assert_done();
    guest_get(BUFFER, &got, sizeof(got));
    assert_int_equal(got, 0x8877665544332211);
}

/* In 64-bit code only FS and GS have a base. */
static void test_segments_of_string_forms(void **state)
{
    guest_put(BUFFER, "\xa5", 1);
    vmwrite(VMCS_GUEST_BASE(SEG_DS), 0x100000);
    vmwrite(VMCS_GUEST_BASE(SEG_FS), 0x1000);
    vcpu.regs.rsi = BUFFER;
    RUN(EPT_VIOLATION_WRITE, 0, 0xa4);                 /* movsb */
    assert_access(0, true, DEVICE, 1, 0xa5);
    vcpu.regs.rsi = BUFFER - 0x1000;
    RUN(EPT_VIOLATION_WRITE, 0, 0x64, 0xa4);           /* fs movsb */
    assert_access(1, true, DEVICE, 1, 0xa5);
}

/* The other operand faults: #PF as the instruction would, nothing is done yet. */
static void source_faults(uint64_t source, uint8_t vector, uint32_t error)
{
    struct guest_regs before;

    vcpu.regs.rsi = source;
    vcpu.regs.rdi = DEVICE_PAGE;
    vcpu.regs.rcx = 2;
    before = vcpu.regs;
    RUN(EPT_VIOLATION_WRITE, 0, 0xf3, 0xa5);
    assert_faulted(vector, true, error);
    if (vector == 14)
        assert_int_equal(fake_cpu.cr2, source);
    assert_memory_equal(&vcpu.regs, &before, offsetof(struct guest_regs, rsp));
    assert_int_equal(world.accesses + world.stops, 0);
}

static void test_other_operand_faults(void **state)
{
    guest_map(BUFFER, 0, 0);
    source_faults(BUFFER, 14, 0);
    source_faults(BIT(47), 13, 0);             /* not canonical */
    enter_user();
    source_faults(BUFFER, 14, 4);
    guest_map(BUFFER, BUFFER, PTE_P | PTE_W);
    source_faults(BUFFER, 14, 5);
}

static void test_other_operand_is_not_writable(void **state)
{
    guest_map(BUFFER, BUFFER, PTE_P);
    vcpu.regs.rsi = DEVICE_PAGE;
    vcpu.regs.rdi = BUFFER;
    RUN(EPT_VIOLATION_READ, 0, 0xa5);
    assert_faulted(14, true, 3);
    assert_int_equal(fake_cpu.cr2, BUFFER);
    assert_int_equal(vcpu.regs.rsi, DEVICE_PAGE);
}

/* A frame buffer that scrolls: both operands are device memory. */
static void test_device_to_device(void **state)
{
    world.in = 0x40;
    world.in_step = 1;
    vcpu.regs.rsi = DEVICE_PAGE + 0xa0;
    vcpu.regs.rdi = DEVICE_PAGE;
    RUN(EPT_VIOLATION_WRITE, 0, 0x66, 0xa5);           /* movsw */
    assert_done();
    assert_int_equal(world.accesses, 3);
    assert_access(0, false, DEVICE + 0xa0, 1, 0x40);
    assert_access(2, true, DEVICE, 2, 0x4140);
}

static void stops(const char *why)
{
    assert_int_equal(world.stops, 1);
    assert_non_null(strstr(world.why, why));
    assert_int_equal(vmread(VMCS_GUEST_RIP), START_RIP);
    assert_int_equal(world.accesses, 0);
}

static void test_unknown_instruction(void **state)
{
    RUN(EPT_VIOLATION_READ, 0x30, 0x0f, 0x10, 0x03);   /* movups xmm0, [rbx] */
    stops("0f 10 03");
    assert_non_null(strstr(world.why, "0xfee00030"));
}

/* The exit and the instruction do not fit: another processor changed the code meanwhile. */
static void test_changed_instruction(void **state)
{
    RUN(EPT_VIOLATION_WRITE, 0, 0x8b, 0x03);           /* mov eax, [rbx]: it only reads */
    stops("device memory was used");
}

static void test_code_that_cannot_be_read(void **state)
{
    guest_map(START_RIP, 0, 0);
    violation(&vcpu, DEVICE, HERE | EPT_VIOLATION_READ);
    stops("is not one we know");
}

static void test_execution_where_nothing_is(void **state)
{
    violation(&vcpu, DEVICE, HERE | EPT_VIOLATION_FETCH);
    stops("executes where there is no memory");
}

static void test_page_tables_where_nothing_is(void **state)
{
    violation(&vcpu, DEVICE, EPT_VIOLATION_LINEAR | EPT_VIOLATION_READ);
    stops("page tables");
}

static void test_pdptes_where_nothing_is(void **state)
{
    violation(&vcpu, DEVICE, EPT_VIOLATION_READ);
    stops("page tables");
}

/* No instruction made the access: the one at RIP must not be taken for it. */
static void test_stack_where_nothing_is(void **state)
{
    vmwrite(VMCS_IDT_VECTORING_INFO, INTR_VALID | INTR_EXTERNAL << INTR_TYPE_SHIFT | 0x30);
    RUN(EPT_VIOLATION_WRITE, 0, 0x89, 0x0b);
    stops("stack or descriptor tables");
}

static void test_no_memory_left(void **state)
{
    unsigned n = 0;
    static struct hpa taken[16384];

    while ((taken[n] = page_alloc(0, PAGE_ORDER_4K, PAGE_HYPERVISOR)).v)
        n++;
    violation(&vcpu, 0x3ff000, HERE | EPT_VIOLATION_WRITE);
    while (n--)
        page_free(taken[n], PAGE_ORDER_4K);
    stops("no memory left");
}

/* SDM vol. 3, 28.2.3: the IRET will run again, so NMIs are blocked again. */
static void test_iret_that_faulted(void **state)
{
    violation(&vcpu, 0x200000, HERE | EPT_VIOLATION_READ | BIT(12));
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), BLOCKING_NMI);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, 0);
    vmwrite(VMCS_IDT_VECTORING_INFO, INTR_VALID);
    violation(&vcpu, 0x200000, HERE | EPT_VIOLATION_READ | BIT(12));
    assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_first_touch, setup),
        cmocka_unit_test_setup(test_quick_touch, setup),
        cmocka_unit_test_setup(test_quick_is_not_for_all, setup),
        cmocka_unit_test_setup(test_read, setup),
        cmocka_unit_test_setup(test_write, setup),
        cmocka_unit_test_setup(test_absolute_address, setup),
        cmocka_unit_test_setup(test_read_modify_write_sets_flags, setup),
        cmocka_unit_test_setup(test_rsp_is_an_operand, setup),
        cmocka_unit_test_setup(test_end_of_instruction, setup),
        cmocka_unit_test_setup(test_breakpoints, setup),
        cmocka_unit_test_setup(test_code_crosses_a_page, setup),
        cmocka_unit_test_setup(test_code_ends_with_a_page, setup),
        cmocka_unit_test_setup(test_32_bit_code, setup),
        cmocka_unit_test_setup(test_compatibility_mode, setup),
        cmocka_unit_test_setup(test_16_bit_code, setup),
        cmocka_unit_test_setup(test_push, setup), cmocka_unit_test_setup(test_string_to_device, setup),
        cmocka_unit_test_setup(test_string_from_device, setup),
        cmocka_unit_test_setup(test_segments_of_string_forms, setup),
        cmocka_unit_test_setup(test_other_operand_faults, setup),
        cmocka_unit_test_setup(test_other_operand_is_not_writable, setup),
        cmocka_unit_test_setup(test_device_to_device, setup),
        cmocka_unit_test_setup(test_unknown_instruction, setup),
        cmocka_unit_test_setup(test_changed_instruction, setup),
        cmocka_unit_test_setup(test_code_that_cannot_be_read, setup),
        cmocka_unit_test_setup(test_execution_where_nothing_is, setup),
        cmocka_unit_test_setup(test_page_tables_where_nothing_is, setup),
        cmocka_unit_test_setup(test_pdptes_where_nothing_is, setup),
        cmocka_unit_test_setup(test_stack_where_nothing_is, setup),
        cmocka_unit_test_setup(test_no_memory_left, setup),
        cmocka_unit_test_setup(test_iret_that_faulted, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
