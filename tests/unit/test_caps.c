/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/msr.h"
#include "lib/errno.h"
#include "tests/unit/seam/fake_cpu.h"
#include "vmx/caps.h"
#include "vmx/vmcs.h"

#define TRUE_CONTROLS BIT(55)                  /* of IA32_VMX_BASIC */
#define EPT_ALL       0xf0106734141ull         /* IA32_VMX_EPT_VPID_CAP of a processor with all of it */

/* Words of capability: what must be 1 in the lower half, what may be in the upper (SDM vol. 3, A.3). */
struct word { uint32_t plain, exact; uint32_t must_plain, must_exact; };
static const struct word pin   = { MSR_VMX_PINBASED_CTLS, MSR_VMX_TRUE_PINBASED_CTLS, 0x16, 0x16 };
static const struct word proc  = { MSR_VMX_PROCBASED_CTLS, MSR_VMX_TRUE_PROCBASED_CTLS, 0x0401e172, 0x04006172 };
static const struct word leave = { MSR_VMX_EXIT_CTLS, MSR_VMX_TRUE_EXIT_CTLS, 0x36dff, 0x36dfb };
static const struct word entry = { MSR_VMX_ENTRY_CTLS, MSR_VMX_TRUE_ENTRY_CTLS, 0x11ff, 0x11fb };

static uint64_t capability(uint32_t must, uint32_t may) { return (uint64_t)may << 32 | must; }

static void set_word(const struct word *w, uint32_t may)
{
    fake_msr_set(w->plain, capability(w->must_plain, may));
    fake_msr_set(w->exact, capability(w->must_exact, may));
}

static int setup(void **state)
{
    (void)state;
    fake_cpu_reset();
    vmx_caps = (struct vmx_caps){ 0 };
    fake_msr_set(MSR_VMX_BASIC, TRUE_CONTROLS | 0x80000012);
    set_word(&pin, ~0u);
    set_word(&proc, ~0u);
    set_word(&leave, ~0u);
    set_word(&entry, ~0u);
    fake_msr_set(MSR_VMX_PROCBASED_CTLS2, capability(0, ~0u));
    fake_msr_set(MSR_VMX_EPT_VPID_CAP, EPT_ALL);
    fake_msr_set(MSR_VMX_MISC, 0x1234);
    fake_msr_set(MSR_VMX_CR0_FIXED0, 0x80000021);
    fake_msr_set(MSR_VMX_CR0_FIXED1, 0xffffffff);
    fake_msr_set(MSR_VMX_CR4_FIXED0, 0x2000);
    fake_msr_set(MSR_VMX_CR4_FIXED1, 0x3727ff);
    return 0;
}

static void test_all_of_it(void **state)
{
    char msg[128] = "";

    assert_int_equal(vmx_caps_init(msg, sizeof(msg)), 0);
    assert_int_equal(vmx_caps.revision, 0x12);
    assert_true(vmx_caps.vpid);
    assert_true(vmx_caps.ept_access_bits);
    assert_int_equal(vmx_caps.cr0_fixed0, 0x80000021);
    assert_int_equal(vmx_caps.cr0_fixed1, 0xffffffff);
    assert_int_equal(vmx_caps.cr4_fixed0, 0x2000);
    assert_int_equal(vmx_caps.cr4_fixed1, 0x3727ff);
    assert_int_equal(vmx_caps.misc, 0x1234);
    assert_int_equal(vmx_caps.ept_vpid, EPT_ALL);
}

/* What must be 1 and what we named; nothing else, though the processor has it. */
static void test_words(void **state)
{
    char msg[128];

    assert_int_equal(vmx_caps_init(msg, sizeof(msg)), 0);
    assert_int_equal(vmx_caps.pin, 0x16 | PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMI |
                     PIN_PREEMPTION_TIMER);
    assert_int_equal(vmx_caps.proc, 0x04006172 | PROC_TSC_OFFSET | PROC_HLT | PROC_MWAIT | PROC_MONITOR | PROC_RDPMC |
                     PROC_TPR_SHADOW | PROC_UNCONDITIONAL_IO | PROC_MSR_BITMAPS | PROC_SECONDARY);
    assert_int_equal(vmx_caps.proc2, PROC2_EPT | PROC2_UNRESTRICTED | PROC2_VPID | PROC2_RDTSCP | PROC2_INVPCID |
                     PROC2_PAUSE_LOOP | PROC2_APIC_ACCESSES | PROC2_APIC_REGISTERS | PROC2_INTERRUPT_DELIVERY);
    assert_int_equal(vmx_caps.exit, 0x36dfb | EXIT_SAVE_DEBUG | EXIT_HOST_64 | EXIT_ACK_INTERRUPT | EXIT_SAVE_PAT |
                     EXIT_LOAD_PAT | EXIT_SAVE_EFER | EXIT_LOAD_EFER);
    assert_int_equal(vmx_caps.entry, 0x11fb | ENTRY_LOAD_DEBUG | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER);
}

/* All of APICv, or none of it and CR8 exits: as the processor has it, or the configuration wants it. */
static void test_apicv(void **state)
{
    static const uint32_t parts[] = { PROC2_APIC_ACCESSES, PROC2_X2APIC, PROC2_APIC_REGISTERS,
                                      PROC2_INTERRUPT_DELIVERY };
    const uint32_t cr8 = PROC_CR8_LOAD | PROC_CR8_STORE;
    uint32_t all = 0;
    char msg[128];

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        fake_msr_set(MSR_VMX_PROCBASED_CTLS2, capability(0, i < 4 ? ~parts[i] : ~0u));
        set_word(&proc, i == 4 ? ~PROC_TPR_SHADOW : ~0u);
        all |= i < 4 ? parts[i] : 0;
        assert_int_equal(vmx_caps_init(msg, sizeof(msg)), 0);
        assert_int_equal(vmx_caps.apicv, i == 5);
        if (i == 5)
            vmx_caps_without_apicv();
        assert_false(vmx_caps.apicv);
        assert_false(vmx_caps.proc2 & all);
        assert_int_equal(vmx_caps.proc & (cr8 | PROC_TPR_SHADOW), cr8);
    }
}

/* With the true MSRs CR3 accesses need not exit; without them they must. */
static void test_true_msrs(void **state)
{
    char msg[128];

    assert_int_equal(vmx_caps_init(msg, sizeof(msg)), 0);
    assert_false(vmx_caps.proc & (PROC_CR3_LOAD | PROC_CR3_STORE));
    fake_msr_set(MSR_VMX_BASIC, 0x12);
    fake_cpu_reset();                          /* a processor without them: reading them faults */
    fake_msr_set(MSR_VMX_BASIC, 0x12);
    fake_msr_set(MSR_VMX_PINBASED_CTLS, capability(0x16, ~0u));
    fake_msr_set(MSR_VMX_PROCBASED_CTLS, capability(0x0401e172, ~0u));
    fake_msr_set(MSR_VMX_PROCBASED_CTLS2, capability(0, ~0u));
    fake_msr_set(MSR_VMX_EXIT_CTLS, capability(0x36dff, ~0u));
    fake_msr_set(MSR_VMX_ENTRY_CTLS, capability(0x11ff, ~0u));
    fake_msr_set(MSR_VMX_EPT_VPID_CAP, EPT_ALL);
    for (uint32_t msr = MSR_VMX_MISC; msr <= MSR_VMX_CR4_FIXED1; msr++)
        fake_msr_set(msr, 0);
    assert_int_equal(vmx_caps_init(msg, sizeof(msg)), 0);
    assert_true(vmx_caps.proc & PROC_CR3_LOAD);
}

/* Each needed control that is missing is named. */
static void refuses(const char *name)
{
    char msg[128] = "";

    assert_int_equal(vmx_caps_init(msg, sizeof(msg)), -ENOTSUP);
    if (!strstr(msg, name))
        fail_msg("%s is missing, but: %s", name, msg);
}

static void test_missing_controls(void **state)
{
    static const struct { const struct word *word; uint32_t bit; const char *name; } rows[] = {
        { &pin, PIN_EXTERNAL_INTERRUPT, "external-interrupt exiting" }, { &pin, PIN_NMI, "NMI exiting" },
        { &pin, PIN_VIRTUAL_NMI, "virtual NMIs" },
        { &proc, PROC_TSC_OFFSET, "use TSC offsetting" }, { &proc, PROC_HLT, "HLT exiting" },
        { &proc, PROC_MWAIT, "MWAIT exiting" }, { &proc, PROC_MONITOR, "MONITOR exiting" },
        { &proc, PROC_RDPMC, "RDPMC exiting" }, { &proc, PROC_CR8_LOAD, "CR8-load exiting" },
        { &proc, PROC_CR8_STORE, "CR8-store exiting" }, { &proc, PROC_UNCONDITIONAL_IO, "unconditional I/O exiting" },
        { &proc, PROC_MSR_BITMAPS, "use MSR bitmaps" },
        { &leave, EXIT_HOST_64, "host address-space size" }, { &leave, EXIT_ACK_INTERRUPT, "acknowledge interrupt" },
        { &leave, EXIT_SAVE_DEBUG, "save debug controls" }, { &leave, EXIT_SAVE_PAT, "save IA32_PAT" },
        { &leave, EXIT_LOAD_PAT, "load IA32_PAT (exit)" }, { &leave, EXIT_SAVE_EFER, "save IA32_EFER" },
        { &leave, EXIT_LOAD_EFER, "load IA32_EFER (exit)" },
        { &entry, ENTRY_LOAD_DEBUG, "load debug controls" }, { &entry, ENTRY_LOAD_PAT, "load IA32_PAT (entry)" },
        { &entry, ENTRY_LOAD_EFER, "load IA32_EFER (entry)" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        set_word(rows[i].word, ~rows[i].bit);
        refuses(rows[i].name);
        set_word(rows[i].word, ~0u);
    }
}

static void test_missing_ept(void **state)
{
    fake_msr_set(MSR_VMX_PROCBASED_CTLS2, capability(0, ~PROC2_EPT));
    refuses("extended page tables (EPT)");
    fake_msr_set(MSR_VMX_PROCBASED_CTLS2, capability(0, ~PROC2_UNRESTRICTED));
    refuses("unrestricted guest");
    fake_msr_set(MSR_VMX_PROCBASED_CTLS2, capability(0, ~0u));
    fake_msr_set(MSR_VMX_EPT_VPID_CAP, EPT_ALL & ~BIT(6));
    refuses("4 levels");
    fake_msr_set(MSR_VMX_EPT_VPID_CAP, EPT_ALL & ~BIT(14));
    refuses("write-back");
    fake_msr_set(MSR_VMX_EPT_VPID_CAP, EPT_ALL & ~BIT(16));
    refuses("2 MiB pages");
    fake_msr_set(MSR_VMX_EPT_VPID_CAP, EPT_ALL & ~BIT(20));
    refuses("INVEPT");
    fake_msr_set(MSR_VMX_EPT_VPID_CAP, EPT_ALL & ~BIT(25));
    refuses("one context");
}

/* The first processors with VMX have neither the second word nor its MSRs, which fault when read. */
static void test_no_secondary_controls(void **state)
{
    fake_cpu_reset();
    fake_msr_set(MSR_VMX_BASIC, 0x12);
    fake_msr_set(MSR_VMX_PINBASED_CTLS, capability(0x16, ~0u));
    fake_msr_set(MSR_VMX_PROCBASED_CTLS, capability(0x0401e172, ~PROC_SECONDARY));
    fake_msr_set(MSR_VMX_EXIT_CTLS, capability(0x36dff, ~0u));
    fake_msr_set(MSR_VMX_ENTRY_CTLS, capability(0x11ff, ~0u));
    refuses("secondary controls");
}

static void test_wanted_only(void **state)
{
    char msg[128] = "";

    fake_msr_set(MSR_VMX_PROCBASED_CTLS2, capability(0, PROC2_EPT | PROC2_UNRESTRICTED));
    fake_msr_set(MSR_VMX_EPT_VPID_CAP, EPT_ALL & ~BIT(21));
    assert_int_equal(vmx_caps_init(msg, sizeof(msg)), 0);
    assert_int_equal(vmx_caps.proc2, PROC2_EPT | PROC2_UNRESTRICTED);
    assert_false(vmx_caps.vpid);
    assert_false(vmx_caps.ept_access_bits);
}

/* VPIDs are of no use where they cannot be invalidated. */
static void test_vpid_needs_invvpid(void **state)
{
    static const uint64_t missing[] = { BIT(32), BIT(41) };
    char msg[128];

    for (size_t i = 0; i < ARRAY_SIZE(missing); i++) {
        fake_msr_set(MSR_VMX_EPT_VPID_CAP, EPT_ALL & ~missing[i]);
        assert_int_equal(vmx_caps_init(msg, sizeof(msg)), 0);
        assert_false(vmx_caps.vpid);
        assert_false(vmx_caps.proc2 & PROC2_VPID);
    }
}

static void test_table(void **state)
{
    struct hw_feature rows[64];
    size_t n = vmx_hw_features(rows, ARRAY_SIZE(rows));
    unsigned missing = 0;

    assert_in_range(n, 28, 63);
    for (size_t i = 0; i < n; i++)
        assert_true(rows[i].found && rows[i].name && rows[i].name[0]);
    set_word(&proc, ~PROC_HLT);
    assert_int_equal(vmx_hw_features(rows, ARRAY_SIZE(rows)), n);
    for (size_t i = 0; i < n; i++) {
        if (!rows[i].found) {
            missing++;
            assert_string_equal(rows[i].name, "HLT exiting");
            assert_true(rows[i].needed);
        }
    }
    assert_int_equal(missing, 1);
    assert_int_equal(vmx_hw_features(rows, 3), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_all_of_it, setup),
        cmocka_unit_test_setup(test_words, setup),
        cmocka_unit_test_setup(test_true_msrs, setup),
        cmocka_unit_test_setup(test_apicv, setup),
        cmocka_unit_test_setup(test_missing_controls, setup),
        cmocka_unit_test_setup(test_missing_ept, setup),
        cmocka_unit_test_setup(test_no_secondary_controls, setup),
        cmocka_unit_test_setup(test_wanted_only, setup),
        cmocka_unit_test_setup(test_vpid_needs_invvpid, setup),
        cmocka_unit_test_setup(test_table, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
