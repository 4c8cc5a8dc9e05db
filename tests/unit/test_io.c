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

/* Exit qualification (SDM vol. 3, table 28-5) and the address size in the instruction information (table 28-12). */
enum { OUT = 0, IN = 1 << 3, STRING = 1 << 4, REP = 1 << 5 };
enum { ADDRESS_16, ADDRESS_32, ADDRESS_64 };
#define BUFFER 0x8000u
#define PORT   0x1f0u
#define DR7_INIT 0x400u

static void io_exit(uint64_t port, unsigned size, uint64_t flags)
{
    vmwrite(VMCS_GUEST_RIP, START_RIP);
    vcpu.event.info = 0;
    vmwrite(VMCS_EXIT_QUALIFICATION, port << 16 | flags | (size - 1));
    exit_io(&vcpu);
}

/* INS or OUTS at the linear address that the index register names; segments are flat. */
static void string_exit(unsigned size, uint64_t flags, unsigned address_size)
{
    uint64_t index = flags & IN ? vcpu.regs.rdi : vcpu.regs.rsi;

    vmwrite(VMCS_EXIT_GUEST_LINEAR, address_size == ADDRESS_16   ? (uint16_t)index
                                    : address_size == ADDRESS_32 ? (uint32_t)index : index);
    vmwrite(VMCS_EXIT_INSN_INFO, (uint64_t)address_size << 7);
    io_exit(PORT, size, flags | STRING);
}

static void assert_access(unsigned n, bool write, uint64_t at, unsigned size, uint64_t value)
{
    assert_true(n < world.accesses);
    assert_true(world.access[n].port);
    assert_int_equal(world.access[n].write, write);
    assert_int_equal(world.access[n].at, at);
    assert_int_equal(world.access[n].size, size);
    assert_int_equal(world.access[n].value, value);
}

static int setup(void **state)
{
    int err = vcpu_setup(state);

    enter_long_mode();
    return err;
}

/* 8 and 16 bits leave the rest of RAX, 32 clear the upper half. */
static void test_in(void **state)
{
    static const struct { unsigned size; uint64_t rax; } rows[] = {
        { 1, 0x11223344556677ef }, { 2, 0x112233445566cdef }, { 4, 0x89abcdef },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        vcpu.regs.rax = 0x1122334455667788;
        world.in = 0x89abcdef;
        world.accesses = 0;
        io_exit(0xcfc, rows[i].size, IN);
        assert_completed();
        assert_int_equal(world.accesses, 1);
        assert_access(0, false, 0xcfc, rows[i].size, 0x89abcdef);
        assert_int_equal(vcpu.regs.rax, rows[i].rax);
    }
}

static void test_out(void **state)
{
    vcpu.regs.rax = 0x1122334455667788;
    io_exit(0x80, 1, OUT);
    io_exit(0xffff, 2, OUT);
    io_exit(0, 4, OUT);
    assert_completed();
    assert_int_equal(world.accesses, 3);
    assert_access(0, true, 0x80, 1, 0x88);
    assert_access(1, true, 0xffff, 2, 0x7788);
    assert_access(2, true, 0, 4, 0x55667788);
    assert_int_equal(vcpu.regs.rax, 0x1122334455667788);
}

static void test_ins(void **state)
{
    static const unsigned sizes[] = { 1, 2, 4 };

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        uint32_t got = 0, before = 0x55555555, mask = (uint32_t)(BIT(8 * sizes[i]) - 1);

        guest_put(BUFFER, &before, sizeof(before));
        world.in = 0x89abcdef;
        vcpu.regs.rdi = BUFFER;
        vcpu.regs.rcx = 7;
        string_exit(sizes[i], IN, ADDRESS_64);
        assert_completed();
        guest_get(BUFFER, &got, sizeof(got));
        assert_int_equal(got, (0x89abcdef & mask) | (before & ~mask));
        assert_int_equal(vcpu.regs.rdi, BUFFER + sizes[i]);
        assert_int_equal(vcpu.regs.rcx, 7);    /* without rep it does not count */
    }
}

static void test_outs(void **state)
{
    uint32_t word = 0x89abcdef;

    guest_put(BUFFER, &word, sizeof(word));
    for (unsigned size = 1; size <= 4; size *= 2) {
        world.accesses = 0;
        vcpu.regs.rsi = BUFFER;
        string_exit(size, OUT, ADDRESS_64);
        assert_completed();
        assert_access(0, true, PORT, size, word & (BIT(8 * size) - 1));
        assert_int_equal(vcpu.regs.rsi, BUFFER + size);
    }
}

/* One element an exit; RIP moves with the last. */
static void test_rep(void **state)
{
    uint16_t got[3];

    world.in = 0xa000;
    world.in_step = 1;
    vcpu.regs.rdi = BUFFER;
    for (vcpu.regs.rcx = 3; vcpu.regs.rcx > 1;) {
        string_exit(2, IN | REP, ADDRESS_64);
        assert_int_equal(vmread(VMCS_GUEST_RIP), START_RIP);
        assert_int_equal(vcpu.event.info, 0);
    }
    string_exit(2, IN | REP, ADDRESS_64);
    assert_completed();
    assert_int_equal(vcpu.regs.rcx, 0);
    assert_int_equal(vcpu.regs.rdi, BUFFER + 6);
    guest_get(BUFFER, got, sizeof(got));
    assert_int_equal(got[0], 0xa000);
    assert_int_equal(got[2], 0xa002);
    assert_int_equal(world.accesses, 3);
}

static void test_rep_of_nothing(void **state)
{
    vcpu.regs.rcx = 0;
    vcpu.regs.rdi = BUFFER;
    string_exit(1, IN | REP, ADDRESS_64);
    assert_completed();
    assert_int_equal(world.accesses, 0);
    assert_int_equal(vcpu.regs.rdi, BUFFER);
    vcpu.regs.rcx = BIT(32);                   /* ECX counts with 32-bit addresses */
    string_exit(1, IN | REP, ADDRESS_32);
    assert_completed();
    assert_int_equal(world.accesses, 0);
}

static void test_direction(void **state)
{
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_DF);
    vcpu.regs.rsi = BUFFER + 4;
    vcpu.regs.rcx = 2;
    string_exit(4, OUT | REP, ADDRESS_64);
    assert_int_equal(vcpu.regs.rsi, BUFFER);
    assert_int_equal(vcpu.regs.rcx, 1);
}

/* Registers wrap at the address size: 16 bits keep the rest, 32 clear the upper half. */
static void test_address_sizes(void **state)
{
    vcpu.regs.rdi = 0x123456780000ffff;
    vcpu.regs.rcx = 0x1234567800000000;
    guest_map(0xffff, 0xf000, PTE_P | PTE_W);
    string_exit(1, IN, ADDRESS_16);
    assert_completed();
    assert_int_equal(vcpu.regs.rdi, 0x1234567800000000);
    vcpu.regs.rcx = 0x1234567800000001;
    vcpu.regs.rsi = 0xffffffff00008000;
    string_exit(4, OUT | REP, ADDRESS_32);
    assert_completed();
    assert_int_equal(vcpu.regs.rcx, 0);
    assert_int_equal(vcpu.regs.rsi, 0x8004);
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_DF);
    vcpu.regs.rcx = 0x1234567800010001;
    vcpu.regs.rsi = 0x9876543200000001;
    string_exit(2, OUT | REP, ADDRESS_16);
    assert_completed();                        /* CX was 1 */
    assert_int_equal(vcpu.regs.rcx, 0x1234567800010000);
    assert_int_equal(vcpu.regs.rsi, 0x987654320000ffff);
}

#define EDGE (BUFFER + PAGE_SIZE - 2)

/* Neighbours in linear memory that are not in the guest's physical one. */
static void test_page_crossing(void **state)
{
    uint32_t word = 0;

    guest_map(EDGE + 2, 0x40000, PTE_P | PTE_W | PTE_U);
    world.in = 0x44332211;
    vcpu.regs.rdi = vcpu.regs.rsi = EDGE;
    string_exit(4, IN, ADDRESS_64);
    assert_completed();
    guest_get(EDGE, &word, 2);
    assert_int_equal(word, 0x2211);
    guest_get(0x40000, &word, 2);
    assert_int_equal(word, 0x4433);
    string_exit(4, OUT, ADDRESS_64);
    assert_access(1, true, PORT, 4, 0x44332211);
}

static void string_faults(unsigned size, uint64_t flags, uint64_t cr2, uint32_t error)
{
    struct guest_regs before = vcpu.regs;

    string_exit(size, flags, ADDRESS_64);
    assert_faulted(14, true, error);
    assert_int_equal(fake_cpu.cr2, cr2);
    assert_memory_equal(&vcpu.regs, &before, sizeof(before));
    assert_int_equal(world.accesses, 0);       /* a port that was read for nothing would have lost what it gave */
}

static void test_faults(void **state)
{
    guest_map(EDGE + 2, 0, 0);
    vcpu.regs.rcx = 2;
    vcpu.regs.rdi = vcpu.regs.rsi = EDGE;
    string_faults(4, IN | REP, EDGE + 2, 2);
    string_faults(4, OUT | REP, EDGE + 2, 0);
    guest_map(EDGE + 2, 0x9000, PTE_P);        /* read-only, kernel */
    string_faults(4, IN | REP, EDGE + 2, 3);
    enter_user();
    string_faults(4, IN | REP, EDGE + 2, 7);
    string_faults(4, OUT | REP, EDGE + 2, 5);
}

/* Nothing of the first page is changed when the second faults. */
static void test_fault_leaves_memory(void **state)
{
    uint16_t word = 0x7777;

    guest_put(EDGE, &word, 2);
    guest_map(EDGE + 2, 0, 0);
    vcpu.regs.rdi = EDGE;
    world.in = 0x44332211;
    string_faults(4, IN, EDGE + 2, 2);
    guest_get(EDGE, &word, 2);
    assert_int_equal(word, 0x7777);
    guest_map(EDGE + 2, 0x9000, PTE_P | PTE_W);
    string_exit(4, IN, ADDRESS_64);
    assert_completed();
    assert_access(0, false, PORT, 4, 0x44332211);
}

static void test_not_canonical(void **state)
{
    vcpu.regs.rdi = BIT(47);
    string_exit(1, IN, ADDRESS_64);
    assert_faulted(GP_VECTOR, true, 0);
    assert_int_equal(world.accesses, 0);
}

/* Where there is no RAM: ones come, writes vanish. */
static void test_no_memory_there(void **state)
{
    guest_map(BUFFER, GUEST_MEMORY, PTE_P | PTE_W);
    vcpu.regs.rdi = vcpu.regs.rsi = BUFFER;
    string_exit(2, IN, ADDRESS_64);
    assert_completed();
    string_exit(2, OUT, ADDRESS_64);
    assert_completed();
    assert_access(1, true, PORT, 2, 0xffff);
}

static void test_real_mode(void **state)
{
    uint8_t byte;

    vcpu_setup(state);
    world.in = 0x5a;
    vcpu.regs.rdi = 0x10;
    vmwrite(VMCS_EXIT_GUEST_LINEAR, 0x20010);  /* ES = 2000h */
    io_exit(PORT, 1, IN | STRING);
    assert_completed();
    guest_get(0x20010, &byte, 1);
    assert_int_equal(byte, 0x5a);
    assert_int_equal(vcpu.regs.rdi, 0x11);
}

/* R/W and LEN of a breakpoint (SDM vol. 3, 18.2.4). */
enum { WRITES = 1, PORTS = 2, ACCESSES = 3 };
enum { LENGTH_1, LENGTH_2, LENGTH_8, LENGTH_4 };
#define PENDING(b) (BIT(12) | (b))
#define BS         BIT(14)

static void breakpoint(unsigned n, uint64_t at, unsigned rw, unsigned length)
{
    uint64_t *dr[] = { &fake_cpu.dr0, &fake_cpu.dr1, &fake_cpu.dr2, &fake_cpu.dr3 };

    *dr[n] = at;
    vmwrite(VMCS_GUEST_DR7, vmread(VMCS_GUEST_DR7) | 2ull << 2 * n | (uint64_t)(length << 2 | rw) << (16 + 4 * n));
}

static uint64_t pending_after(uint64_t port, unsigned size, uint64_t flags)
{
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
    if (flags & STRING)
        string_exit(size, flags & ~(uint64_t)STRING, ADDRESS_64);
    else
        io_exit(port, size, flags);
    return vmread(VMCS_GUEST_PENDING_DEBUG);
}

static void test_breakpoints_on_ports(void **state)
{
    static const struct { unsigned length, bytes; } rows[] = { { LENGTH_1, 1 }, { LENGTH_2, 2 }, { LENGTH_4, 4 } };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        vmwrite(VMCS_GUEST_DR7, DR7_INIT);
        breakpoint(2, PORT + 1, PORTS, rows[i].length);     /* down to a multiple of its length */
        for (unsigned at = PORT - 4; at < PORT + 8; at++) {
            for (unsigned size = 1; size <= 4; size *= 2) {
                unsigned first = (PORT + 1) & ~(rows[i].bytes - 1);
                bool meets = at < first + rows[i].bytes && first < at + size;

                assert_int_equal(pending_after(at, size, size & 1 ? IN : OUT), meets ? PENDING(BIT(2)) : 0);
                assert_completed();
            }
        }
    }
}

static void test_other_breakpoints(void **state)
{
    breakpoint(0, PORT, WRITES, LENGTH_4);
    breakpoint(1, PORT, ACCESSES, LENGTH_4);
    assert_int_equal(pending_after(PORT, 1, IN), 0);
    breakpoint(3, PORT, PORTS, LENGTH_1);
    assert_int_equal(pending_after(PORT, 1, IN), PENDING(BIT(3)));
    vmwrite(VMCS_GUEST_CR4, CR4_PAE);          /* without DE there are none on ports */
    assert_int_equal(pending_after(PORT, 1, IN), 0);
    vmwrite(VMCS_GUEST_CR4, CR4_PAE | CR4_DE);
    vmwrite(VMCS_GUEST_DR7, vmread(VMCS_GUEST_DR7) & ~0xffull);
    assert_int_equal(pending_after(PORT, 1, IN), 0);
}

/* A trap behind each iteration, where the next one begins; RF is set but behind the last. */
static void test_repeated_traps(void **state)
{
    breakpoint(0, PORT, PORTS, LENGTH_1);
    breakpoint(1, BUFFER + 1, ACCESSES, LENGTH_1);
    for (unsigned step = 0; step < 2; step++) {
        uint64_t bs = step ? BS : 0, flags = RFLAGS_FIXED | (step ? RFLAGS_TF : 0);

        vmwrite(VMCS_GUEST_RFLAGS, flags);
        vcpu.regs.rsi = BUFFER;
        vcpu.regs.rcx = 3;
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_STI);
        assert_int_equal(pending_after(PORT, 1, OUT | REP | STRING), PENDING(BIT(0)) | bs);
        assert_int_equal(vmread(VMCS_GUEST_RIP), START_RIP);
        assert_int_equal(vmread(VMCS_GUEST_RFLAGS), flags | RFLAGS_RF);
        assert_int_equal(vmread(VMCS_GUEST_INTERRUPTIBILITY), 0);
        assert_int_equal(pending_after(PORT, 1, OUT | REP | STRING), PENDING(BIT(0) | BIT(1)) | bs);
        assert_int_equal(pending_after(PORT, 1, OUT | REP | STRING), PENDING(BIT(0)) | bs);
        assert_completed();
        assert_int_equal(vmread(VMCS_GUEST_RFLAGS), flags);
    }
}

static void test_data_of_string_instructions(void **state)
{
    breakpoint(0, BUFFER, WRITES, LENGTH_8);
    breakpoint(1, BUFFER, ACCESSES, LENGTH_8);
    vcpu.regs.rsi = vcpu.regs.rdi = BUFFER + 4;
    assert_int_equal(pending_after(PORT, 4, OUT | STRING), PENDING(BIT(1)));
    assert_int_equal(pending_after(PORT, 4, IN | STRING), PENDING(BIT(0) | BIT(1)));
    assert_int_equal(pending_after(PORT, 4, IN | STRING), 0);  /* RDI is behind it */
}

static void test_single_steps_of_iterations(void **state)
{
    vcpu.regs.rsi = BUFFER;
    vcpu.regs.rcx = 5;
    assert_int_equal(pending_after(PORT, 1, OUT | REP | STRING), 0);
    assert_int_equal(vmread(VMCS_GUEST_RFLAGS), RFLAGS_FIXED);
    vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_TF);
    assert_int_equal(pending_after(PORT, 1, OUT | REP | STRING), BS);
    vmwrite(VMCS_GUEST_DEBUGCTL, DEBUGCTL_BTF); /* over branches only */
    assert_int_equal(pending_after(PORT, 1, OUT | REP | STRING), 0);
}

/* The short way leaves breakpoints to the whole one. */
static void test_short_way(void **state)
{
    struct exit_record r = { .rip = START_RIP };
    _Atomic bool news = false;

    vcpu.news = &news;
    vcpu.look_at = 1;
    vmwrite(VMCS_EXIT_QUALIFICATION, (uint64_t)PORT << 16 | IN);
    vmwrite(VMCS_GUEST_RIP, START_RIP);
    breakpoint(3, 0, PORTS, LENGTH_1);
    assert_int_equal(quick_io(&vcpu, &r), QUICK_NOT);
    assert_int_equal(world.accesses, 0);
    vmwrite(VMCS_GUEST_DR7, DR7_INIT | 0xffff0000);
    assert_int_equal(quick_io(&vcpu, &r), QUICK_DONE);
    assert_int_equal(world.accesses, 1);
    assert_completed();
    vcpu.look_at = 0;
    vmwrite(VMCS_GUEST_RIP, START_RIP);
    assert_int_equal(quick_io(&vcpu, &r), QUICK_LOOK);
    vmwrite(VMCS_EXIT_QUALIFICATION, (uint64_t)PORT << 16 | IN | STRING);
    assert_int_equal(quick_io(&vcpu, &r), QUICK_NOT);
}

static int setup_breakpoints(void **state)
{
    int err = setup(state);

    vmwrite(VMCS_GUEST_CR4, vmread(VMCS_GUEST_CR4) | CR4_DE);
    vmwrite(VMCS_GUEST_DR7, DR7_INIT);
    return err;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_in, setup),
        cmocka_unit_test_setup(test_out, setup),
        cmocka_unit_test_setup(test_ins, setup),
        cmocka_unit_test_setup(test_outs, setup),
        cmocka_unit_test_setup(test_rep, setup),
        cmocka_unit_test_setup(test_rep_of_nothing, setup),
        cmocka_unit_test_setup(test_direction, setup),
        cmocka_unit_test_setup(test_address_sizes, setup),
        cmocka_unit_test_setup(test_page_crossing, setup),
        cmocka_unit_test_setup(test_faults, setup),
        cmocka_unit_test_setup(test_fault_leaves_memory, setup),
        cmocka_unit_test_setup(test_not_canonical, setup),
        cmocka_unit_test_setup(test_no_memory_there, setup),
        cmocka_unit_test_setup(test_real_mode, setup),
        cmocka_unit_test_setup(test_breakpoints_on_ports, setup_breakpoints),
        cmocka_unit_test_setup(test_other_breakpoints, setup_breakpoints),
        cmocka_unit_test_setup(test_repeated_traps, setup_breakpoints),
        cmocka_unit_test_setup(test_data_of_string_instructions, setup_breakpoints),
        cmocka_unit_test_setup(test_single_steps_of_iterations, setup_breakpoints),
        cmocka_unit_test_setup(test_short_way, setup_breakpoints),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
