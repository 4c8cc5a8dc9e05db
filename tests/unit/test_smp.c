/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "arch/x86/smp.c"
#include "tests/unit/seam/fake_cpu.h"

#define LOW_PAGE 0x90000u
#define OWN      4u

/* Stands for the code; only its length and the distances of its labels are looked at. */
__asm__(".pushsection .rodata\n"
        ".globl smp_trampoline, smp_trampoline_32, smp_trampoline_64, smp_trampoline_end\n"
        "smp_trampoline: .fill 16, 1, 0x90\nsmp_trampoline_32: .fill 16, 1, 0x91\n"
        "smp_trampoline_64: .fill 16, 1, 0x92\nsmp_trampoline_end:\n.popsection");

/* The machine: processors by APIC id, what each waits for, and what was sent in order. */
#define PROCESSORS 6
static const uint32_t machine_id[PROCESSORS] = { OWN, 9, 2, 0x101, 7, 1 };
static bool waits[PROCESSORS], runs[PROCESSORS], dead[PROCESSORS];
static char sent[256];
static unsigned inits, startups, stalled_us;
static uint64_t apic_base;

uint64_t apic_mmio_base(void)
{
    return apic_base;
}

uint32_t apic_id(void)
{
    return OWN;
}

static bool is_for(uint32_t address, unsigned i)
{
    return machine_id[i] != OWN && (address == APIC_OTHERS || address == machine_id[i]);
}

static void note(char what)
{
    size_t n = strlen(sent);

    assert_false(fake_cpu.rflags & RFLAGS_IF);
    if (n + 1 < sizeof(sent) && (!n || sent[n - 1] != what))
        sent[n] = what;
}

void apic_init_signal(uint32_t address)
{
    assert_int_not_equal(address, OWN);
    note('I');
    inits++;
    for (unsigned i = 0; i < PROCESSORS; i++) {
        if (is_for(address, i)) {
            waits[i] = true;
            runs[i] = false;
        }
    }
}

void apic_startup_signal(uint32_t address, uint8_t sipi_page)
{
    note('S');
    startups++;
    assert_int_equal(sipi_page, LOW_PAGE >> 12);
    for (unsigned i = 0; i < PROCESSORS; i++) {
        if (is_for(address, i) && waits[i] && !dead[i]) {
            waits[i] = false;
            runs[i] = true;
            low->id[low->tickets++] = machine_id[i];
        }
    }
}

static void fake_stall(unsigned us)
{
    stalled_us += us;
    if (us >= AFTER_INIT_US)
        note('i');
}

static void *root;

static int set_up(void **state)
{
    fake_cpu_reset();
    fake_cpu.rflags &= ~RFLAGS_IF;
    root = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(root, MAP_FAILED);
    memset(root, 0x5a, PAGE_SIZE);
    fake_cpu.cr3 = (uint64_t)(uintptr_t)root | 0x18;
    fake_cpu.cr4 |= CR4_PCIDE | CR4_CET;
    fake_cpu.cs = 0x38;
    fake_cpu.ds = fake_cpu.ss = 0x30;
    fake_msr_set(MSR_EFER, EFER_LME | EFER_LMA | EFER_NXE);
    assert_ptr_equal(mmap((void *)(uintptr_t)LOW_PAGE, SMP_LOW_PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), (void *)(uintptr_t)LOW_PAGE);
    memset(waits, 0, sizeof(waits));
    memset(runs, 0, sizeof(runs));
    memset(dead, 0, sizeof(dead));
    memset(sent, 0, sizeof(sent));
    inits = startups = stalled_us = 0;
    apic_base = 0;
    smp_begin(LOW_PAGE, fake_stall);
    (void)state;
    return 0;
}

static int tear_down(void **state)
{
    munmap((void *)(uintptr_t)LOW_PAGE, SMP_LOW_PAGES * PAGE_SIZE);
    munmap(root, PAGE_SIZE);
    (void)state;
    return 0;
}

static void all_but_us_wait(void)
{
    for (unsigned i = 0; i < PROCESSORS; i++) {
        if (machine_id[i] != OWN)
            assert_true(waits[i] && !runs[i]);
    }
}

static void the_low_pages(void **state)
{
    const uint8_t *p = (const uint8_t *)(uintptr_t)LOW_PAGE;

    assert_int_equal(p[0], 0x90);
    assert_int_equal(p[47], 0x92);
    assert_memory_equal(p + PAGE_SIZE, root, PAGE_SIZE);
    assert_int_equal(low->cr3, LOW_PAGE + PAGE_SIZE);
    assert_int_equal(low->cr4, CR4_PAE); /* neither PCIDs nor CET: both fault on the way to long mode */
    assert_int_equal(low->efer, EFER_LME | EFER_NXE);
    assert_int_equal(low->to_32.offset, LOW_PAGE + 16);
    assert_int_equal(low->to_64.offset, LOW_PAGE + 32);
    assert_int_equal(low->gdt_ptr.base, LOW_PAGE + LOW_DATA);
    assert_int_equal(low->cs, 0x38);
    assert_int_equal(low->ss, 0x30);
    (void)state;
}

static void everybody_is_found(void **state)
{
    static const uint32_t sorted[] = { 1, 2, 7, 9, 0x101 };
    uint32_t found[SMP_MAX];

    assert_int_equal(smp_find(NULL, 0, found, SMP_MAX), 5);
    assert_memory_equal(found, sorted, sizeof(sorted));
    assert_string_equal(sent, "IiSIi"); /* INIT, 10 ms, the SIPIs, INIT again */
    assert_int_equal(startups, SIPIS);
    assert_in_range(stalled_us, 2 * AFTER_INIT_US + ARRIVAL_US, 4 * ARRIVAL_US);
    assert_int_equal(low->entry, 0);
    all_but_us_wait();
    assert_int_equal(smp_find(NULL, 0, found, 2), 2);
    (void)state;
}

static void the_list_decides(void **state)
{
    static const uint32_t list[] = { 0x101, OWN, 9, 0xff, 55, UINT32_MAX, 9 };
    uint32_t found[SMP_MAX];

    dead[1] = true; /* 9 does not come */
    assert_int_equal(smp_find(list, ARRAY_SIZE(list), found, SMP_MAX), 1);
    assert_int_equal(found[0], 0x101);
    assert_false(waits[2]); /* not in the list: never touched */
    dead[1] = false;
    apic_base = 0xfee00000; /* xAPIC: FFH is everybody, 101H cannot be said */
    assert_int_equal(smp_find(list, ARRAY_SIZE(list), found, SMP_MAX), 1);
    assert_int_equal(found[0], 9);
    (void)state;
}

static unsigned ran[8];

static void fn(unsigned index)
{
    ran[index]++;
}

static void start_and_stop(void **state)
{
    static const uint32_t id[] = { 9, 2 };
    static uint8_t stacks[2 * SMP_STACK_SIZE];

    memset(ran, 0, sizeof(ran));
    assert_int_equal(smp_start(id, 2, stacks, fn), 0);
    assert_int_equal(low->stacks, (uint64_t)(uintptr_t)stacks);
    assert_int_equal(low->entry, (uint64_t)(uintptr_t)enter);
    assert_true(go);
    assert_false(smp_finished());
    enter(1);
    low->finished++;
    assert_false(smp_finished());
    enter(0);
    low->finished++;
    assert_true(smp_finished());
    assert_true(ran[1] == 1 && ran[2] == 1);
    smp_stop();
    assert_true(waits[1] && waits[2] && !waits[4]);
    (void)state;
}

static void one_does_not_come(void **state)
{
    static const uint32_t id[] = { 9, 2 };
    static uint8_t stacks[2 * SMP_STACK_SIZE];

    dead[2] = true;
    assert_int_equal(smp_start(id, 2, stacks, fn), -EIO);
    assert_false(go);
    assert_true(waits[1] && !runs[1]);
    assert_in_range(stalled_us, ARRIVAL_US, 4 * ARRIVAL_US);
    assert_int_equal(smp_start((const uint32_t[]){ 9, OWN }, 2, stacks, fn), -EIO);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_low_pages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(everybody_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_list_decides, set_up, tear_down),
        cmocka_unit_test_setup_teardown(start_and_stop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_does_not_come, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
