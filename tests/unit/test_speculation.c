/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "arch/x86/cpu.h"
#include "arch/x86/percpu.h"
#include "tests/unit/seam/fake_cpu.h"
#include "tests/unit/seam/fake_percpu.h"
#include "vmx/speculation.h"

/* CPUID.7:EDX, CPUID.7.2:EDX, IA32_ARCH_CAPABILITIES and IA32_SPEC_CTRL by the names of Intel's manuals. */
enum { MD = 1 << 10, SPEC = 1 << 26, STIBP = 1 << 27, L1D = 1 << 28, CAPS = 1 << 29 };
enum { BHI_CTRL = 1 << 4, RTM = 1 << 11 };
enum { RDCL_NO = 1, IBRS_ALL = 2, SKIP_L1D = 8, MDS_NO = 32, TAA_NO = 1 << 8, STALE_NO = 7 << 13, FB_CLEAR = 1 << 17,
       BHI_NO = 1 << 20, PBRSB_NO = 1 << 24, RFDS_NO = 1 << 27, RFDS_CLEAR = 1 << 28 };
enum { C_IBRS = 1, C_STIBP = 2, C_BHI_DIS = 1 << 10 };

#define IMMUNE (RDCL_NO | IBRS_ALL | MDS_NO | TAA_NO | STALE_NO | BHI_NO | PBRSB_NO | RFDS_NO)

static const struct {
    const char *what;
    uint32_t b7, d7, d7_2;
    uint64_t caps;
    unsigned threads;
    uint64_t host, guest;
    uint32_t exit, entry;
    bool barrier;
} cases[] = {
    { "an emulator, or old microcode: nothing can be done",
      RTM, 0, 0, 0, 2, 0, 0, 0, 0, false },
    { "immune to all, one thread",
      RTM, MD | SPEC | STIBP | L1D | CAPS, BHI_CTRL, IMMUNE, 1, C_IBRS, C_IBRS, 0, 0, true },
    { "immune, with hyperthreads",
      0, MD | SPEC | STIBP | L1D | CAPS, BHI_CTRL, IMMUNE, 2, C_IBRS | C_STIBP, C_IBRS | C_STIBP, 0, 0, true },
    { "hyperthreads, but no STIBP",
      0, MD | SPEC | L1D | CAPS, 0, IMMUNE, 2, C_IBRS, C_IBRS, 0, 0, true },
    { "Skylake with its last microcode: IBRS at each exit, and both kinds of data",
      RTM, MD | SPEC | STIBP | L1D, 0, 0, 2, C_IBRS | C_STIBP, C_STIBP, GUARD_SPEC_CTRL | GUARD_RSB_FILL,
      GUARD_SPEC_CTRL | GUARD_BUFFERS | GUARD_L1D, true },
    { "Cascade Lake: enhanced IBRS, TAA, no control of branch history",
      RTM, MD | SPEC | STIBP | L1D | CAPS, 0, RDCL_NO | IBRS_ALL | SKIP_L1D | MDS_NO | PBRSB_NO, 2,
      C_IBRS | C_STIBP, C_IBRS | C_STIBP, GUARD_BRANCHES, GUARD_BUFFERS, true },
    { "the same with TSX off: VERW has nothing to do",
      0, MD | SPEC | STIBP | L1D | CAPS, 0, RDCL_NO | IBRS_ALL | SKIP_L1D | MDS_NO | PBRSB_NO, 2,
      C_IBRS | C_STIBP, C_IBRS | C_STIBP, GUARD_BRANCHES, 0, true },
    { "Ice Lake: stale data of device memory, post-barrier RSB",
      0, MD | SPEC | STIBP | L1D | CAPS, 0, RDCL_NO | IBRS_ALL | SKIP_L1D | MDS_NO | TAA_NO | FB_CLEAR, 1,
      C_IBRS, C_IBRS, GUARD_BRANCHES | GUARD_RSB_ONE, GUARD_BUFFERS, true },
    { "Alder Lake: branch history by a control bit, register files by VERW",
      0, MD | SPEC | STIBP | L1D | CAPS, BHI_CTRL,
      (IMMUNE | RFDS_CLEAR) & ~(uint64_t)(BHI_NO | PBRSB_NO | RFDS_NO), 1, C_IBRS | C_BHI_DIS, C_IBRS | C_BHI_DIS,
      GUARD_RSB_ONE, GUARD_BUFFERS, true },
    { "L1TF alone, and nothing to flush with",
      0, MD | SPEC | CAPS, 0, IMMUNE & ~RDCL_NO, 1, C_IBRS, C_IBRS, 0, 0, true },
    { "L1TF alone, with the command",
      0, MD | SPEC | L1D | CAPS, 0, IMMUNE & ~RDCL_NO, 1, C_IBRS, C_IBRS, 0, GUARD_L1D, true },
    { "L1TF, but a hypervisor below flushes",
      0, MD | SPEC | L1D | CAPS, 0, (IMMUNE & ~RDCL_NO) | SKIP_L1D, 1, C_IBRS, C_IBRS, 0, 0, true },
    { "MDS alone",
      0, MD | SPEC | CAPS, 0, IMMUNE & ~MDS_NO, 1, C_IBRS, C_IBRS, 0, GUARD_BUFFERS, true },
    { "SBDR and SSDP alone",
      0, SPEC | CAPS, 0, (IMMUNE & ~BIT(13)) | FB_CLEAR, 1, C_IBRS, C_IBRS, 0, GUARD_BUFFERS, true },
    { "FBSDP alone",
      0, SPEC | CAPS, 0, (IMMUNE & ~BIT(14)) | FB_CLEAR, 1, C_IBRS, C_IBRS, 0, GUARD_BUFFERS, true },
    { "PSDP alone",
      0, SPEC | CAPS, 0, (IMMUNE & ~BIT(15)) | FB_CLEAR, 1, C_IBRS, C_IBRS, 0, GUARD_BUFFERS, true },
    { "RFDS alone",
      0, SPEC | CAPS, 0, (IMMUNE & ~(uint64_t)RFDS_NO) | RFDS_CLEAR, 1, C_IBRS, C_IBRS, 0, GUARD_BUFFERS, true },
    { "VERW would clear what need not be cleared",
      0, MD | SPEC | CAPS, 0, IMMUNE | FB_CLEAR | RFDS_CLEAR, 1, C_IBRS, C_IBRS, 0, 0, true },
    { "nothing needs VERW, and it does nothing",
      0, SPEC | CAPS, 0, IMMUNE, 1, C_IBRS, C_IBRS, 0, 0, true },
    { "IA32_ARCH_CAPABILITIES without IA32_SPEC_CTRL: IBRS_ALL alone is no IBRS",
      0, MD | CAPS, 0, IMMUNE, 1, 0, 0, 0, 0, false },
};

static void machine(size_t i)
{
    fake_cpu_reset();
    fake_cpuid_set(0, 0, 0x16, 0, 0, 0);
    fake_cpuid_set(7, 0, 2, cases[i].b7, 0, cases[i].d7);
    fake_cpuid_set(7, 2, 0, 0, 0, cases[i].d7_2);
    fake_cpuid_set(0xb, 0, 1, cases[i].threads, 0x100, 0);
    if (cases[i].d7 & CAPS)
        fake_msr_set(MSR_ARCH_CAPABILITIES, cases[i].caps);
    speculation_init();
}

static void test_choice(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        machine(i);
        if (speculation.host != cases[i].host || speculation.guest != cases[i].guest ||
            speculation.exit != cases[i].exit || speculation.entry != cases[i].entry ||
            speculation.barrier != cases[i].barrier)
            fail_msg("%s: host %#lx guest %#lx exit %#x entry %#x barrier %d", cases[i].what, speculation.host,
                     speculation.guest, speculation.exit, speculation.entry, speculation.barrier);
        assert_int_equal(speculation_guards(), cases[i].exit || cases[i].entry);
    }
}

/* Leaves that do not exist answer with something else: they are not asked. */
static void test_old_processor(void **state)
{
    fake_cpu_reset();
    fake_cpuid_set(0, 0, 6, 0, 0, 0);
    fake_cpuid_set(7, 0, 2, ~0u, ~0u, ~0u);
    speculation_init();
    assert_false(speculation_guards());
    assert_false(speculation.spec_ctrl);
    fake_cpuid_set(0, 0, 7, 0, 0, 0);
    fake_cpuid_set(7, 0, 0, 0, 0, SPEC | STIBP | CAPS);
    fake_cpuid_set(7, 2, 0, 0, 0, ~0u);
    fake_msr_set(MSR_ARCH_CAPABILITIES, IBRS_ALL | PBRSB_NO);
    speculation_init();
    assert_int_equal(speculation.host, C_IBRS | C_STIBP);      /* no leaf 0BH either: there may be hyperthreads */
    assert_int_equal(speculation.exit, GUARD_BRANCHES);
}

static void test_cpu_start(void **state)
{
    machine(0);
    speculation_cpu_start();                   /* no such MSR: the fake fails on a write */
    machine(4);
    fake_msr_set(MSR_SPEC_CTRL, 0);
    fake_cpu.ss = 0x30;
    speculation_cpu_start();
    assert_int_equal(fake_msr_get(MSR_SPEC_CTRL), C_IBRS | C_STIBP);
    assert_int_equal(speculation.data_segment, 0x30);
}

/* IBPB only when another VM's vCPU comes, on this pCPU. */
static void test_barrier_between_vms(void **state)
{
    int a, b;

    fake_percpu_enter(0);
    cpu_this()->last_vm = NULL;
    machine(4);
    fake_msr_set(MSR_PRED_CMD, 0);
    speculation_switch(&a);
    speculation_switch(&a);
    assert_int_equal(fake_msr_get(MSR_PRED_CMD), 0);
    speculation_switch(&b);
    assert_int_equal(fake_msr_get(MSR_PRED_CMD), 1);
    fake_msr_set(MSR_PRED_CMD, 0);
    fake_percpu_enter(1);
    cpu_this()->last_vm = NULL;
    speculation_switch(&a);
    speculation_switch(&a);
    assert_int_equal(fake_msr_get(MSR_PRED_CMD), 0);
    machine(0);
    speculation_switch(&b);                    /* without the MSR */
}

static const struct hw_feature *row(const char *name)
{
    static struct hw_feature rows[8];
    size_t n = speculation_features(rows, ARRAY_SIZE(rows));

    for (size_t i = 0; i < n; i++) {
        assert_false(rows[i].needed);          /* we run without any of them */
        if (strstr(rows[i].name, name))
            return &rows[i];
    }
    fail_msg("no row %s", name);
    return NULL;
}

static void test_rows(void **state)
{
    struct hw_feature few[2];

    machine(0);
    assert_false(row("IBRS")->found || row("STIBP")->found || row("IBPB")->found || row("VERW")->found ||
                 row("L1")->found);
    machine(1);
    assert_string_equal(row("IBRS")->note, "enhanced IBRS");
    assert_true(row("STIBP")->found);
    assert_non_null(strstr(row("STIBP")->note, "not needed"));
    assert_string_equal(row("VERW")->note, "not needed");
    assert_string_equal(row("L1")->note, "not needed");
    machine(4);
    assert_string_equal(row("IBRS")->note, "IBRS and RSB fill at exits");
    assert_string_equal(row("STIBP")->note, "always on");
    assert_string_equal(row("VERW")->note, "at each entry");
    assert_true(row("L1")->found);
    machine(7);
    assert_non_null(strstr(row("IBRS")->note, "history"));
    machine(8);
    assert_non_null(strstr(row("IBRS")->note, "one call"));
    machine(ARRAY_SIZE(cases) - 2);
    assert_true(row("VERW")->found);
    assert_string_equal(row("VERW")->note, "not needed");
    assert_int_equal(speculation_features(few, 2), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_old_processor),
        cmocka_unit_test(test_cpu_start),
        cmocka_unit_test(test_barrier_between_vms),
        cmocka_unit_test(test_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
