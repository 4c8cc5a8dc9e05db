/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vmx/caps.h"
#include "arch/x86/cpu.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "vmx/vmcs.h"

struct vmx_caps vmx_caps;

/* IA32_VMX_EPT_VPID_CAP (SDM vol. 3, A.10) */
#define CAP_WALK_4       BIT(6)
#define CAP_WB           BIT(14)
#define CAP_2M           BIT(16)
#define CAP_1G           BIT(17)
#define CAP_INVEPT       BIT(20)
#define CAP_ACCESS_BITS  BIT(21)
#define CAP_INVEPT_ONE   BIT(25)
#define CAP_INVVPID      BIT(32)
#define CAP_INVVPID_ONE  BIT(41)

enum word { WORD_PIN, WORD_PROC, WORD_PROC2, WORD_EXIT, WORD_ENTRY, WORDS };

/* The controls, a row each: without the needed ones we refuse to run, the wanted ones are used where present. */
static const struct control {
    const char *name;
    enum word word;
    uint32_t bit;
    bool needed;
} controls[] = {
    { "external-interrupt exiting",  WORD_PIN,   PIN_EXTERNAL_INTERRUPT, true },
    { "NMI exiting",                 WORD_PIN,   PIN_NMI,                true },
    { "virtual NMIs",                WORD_PIN,   PIN_VIRTUAL_NMI,        true },
    { "VMX-preemption timer",        WORD_PIN,   PIN_PREEMPTION_TIMER,   false },
    { "use TSC offsetting",          WORD_PROC,  PROC_TSC_OFFSET,        true },
    { "HLT exiting",                 WORD_PROC,  PROC_HLT,               true },
    { "MWAIT exiting",               WORD_PROC,  PROC_MWAIT,             true },
    { "MONITOR exiting",             WORD_PROC,  PROC_MONITOR,           true },
    { "RDPMC exiting",               WORD_PROC,  PROC_RDPMC,             true },
    { "CR8-load exiting",            WORD_PROC,  PROC_CR8_LOAD,          true },
    { "CR8-store exiting",           WORD_PROC,  PROC_CR8_STORE,         true },
    { "unconditional I/O exiting",   WORD_PROC,  PROC_UNCONDITIONAL_IO,  true },
    { "use MSR bitmaps",             WORD_PROC,  PROC_MSR_BITMAPS,       true },
    { "secondary controls",          WORD_PROC,  PROC_SECONDARY,         true },
    { "extended page tables (EPT)",  WORD_PROC2, PROC2_EPT,              true },
    { "unrestricted guest",          WORD_PROC2, PROC2_UNRESTRICTED,     true },
    { "VPID",                        WORD_PROC2, PROC2_VPID,             false },
    { "APICv: TPR shadow",           WORD_PROC,  PROC_TPR_SHADOW,        false },
    { "APICv: APIC accesses",        WORD_PROC2, PROC2_APIC_ACCESSES,    false },
    { "APICv: x2APIC mode",          WORD_PROC2, PROC2_X2APIC,           false },
    { "APICv: registers",            WORD_PROC2, PROC2_APIC_REGISTERS,   false },
    { "APICv: interrupt delivery",   WORD_PROC2, PROC2_INTERRUPT_DELIVERY, false },
    { "enable RDTSCP",               WORD_PROC2, PROC2_RDTSCP,           false },
    { "enable INVPCID",              WORD_PROC2, PROC2_INVPCID,          false },
    { "PAUSE-loop exiting",          WORD_PROC2, PROC2_PAUSE_LOOP,       false },
    { "host address-space size",     WORD_EXIT,  EXIT_HOST_64,           true },
    { "acknowledge interrupt",       WORD_EXIT,  EXIT_ACK_INTERRUPT,     true },
    { "save debug controls",         WORD_EXIT,  EXIT_SAVE_DEBUG,        true },
    { "save IA32_PAT",               WORD_EXIT,  EXIT_SAVE_PAT,          true },
    { "load IA32_PAT (exit)",        WORD_EXIT,  EXIT_LOAD_PAT,          true },
    { "save IA32_EFER",              WORD_EXIT,  EXIT_SAVE_EFER,         true },
    { "load IA32_EFER (exit)",       WORD_EXIT,  EXIT_LOAD_EFER,         true },
    { "load debug controls",         WORD_ENTRY, ENTRY_LOAD_DEBUG,       true },
    { "load IA32_PAT (entry)",       WORD_ENTRY, ENTRY_LOAD_PAT,         true },
    { "load IA32_EFER (entry)",      WORD_ENTRY, ENTRY_LOAD_EFER,        true },
};

/* The other needs: bits of IA32_VMX_EPT_VPID_CAP. */
static const struct ept_need {
    const char *name;
    uint64_t bits;
    bool needed;
} ept_needs[] = {
    { "EPT: 4 levels, write-back",   CAP_WALK_4 | CAP_WB,           true },
    { "EPT: INVEPT, one context",    CAP_INVEPT | CAP_INVEPT_ONE,   true },
    { "EPT: 2 MiB pages",            CAP_2M,                        true },
    { "EPT: 1 GiB pages",            CAP_1G,                        false },
    { "EPT: accessed/dirty bits",    CAP_ACCESS_BITS,               false },
};

/* The capability MSR of a control word: allowed 0-settings below, allowed 1-settings above (SDM vol. 3, A.3 to A.5). */
static uint64_t word_msr(enum word word)
{
    static const uint32_t plain[WORDS] = { MSR_VMX_PINBASED_CTLS, MSR_VMX_PROCBASED_CTLS, MSR_VMX_PROCBASED_CTLS2,
                                           MSR_VMX_EXIT_CTLS, MSR_VMX_ENTRY_CTLS };
    static const uint32_t exact[WORDS] = { MSR_VMX_TRUE_PINBASED_CTLS, MSR_VMX_TRUE_PROCBASED_CTLS,
                                           MSR_VMX_PROCBASED_CTLS2, MSR_VMX_TRUE_EXIT_CTLS, MSR_VMX_TRUE_ENTRY_CTLS };

    if (word == WORD_PROC2 && !(rdmsr(MSR_VMX_PROCBASED_CTLS) >> 32 & PROC_SECONDARY))
        return 0;
    return rdmsr(rdmsr(MSR_VMX_BASIC) & BIT(55) ? exact[word] : plain[word]);
}

static bool allowed(const struct control *c)
{
    return word_msr(c->word) >> 32 & c->bit;
}

static bool have_ept(void)
{
    return word_msr(WORD_PROC2) >> 32 & PROC2_EPT;
}

static uint64_t ept_vpid_cap(void)
{
    return word_msr(WORD_PROC2) >> 32 & (PROC2_EPT | PROC2_VPID) ? rdmsr(MSR_VMX_EPT_VPID_CAP) : 0;
}

static uint32_t choose(enum word word)
{
    uint64_t cap = word_msr(word);
    uint32_t value = (uint32_t)cap; /* what must be 1 */

    for (size_t i = 0; i < ARRAY_SIZE(controls); i++)
        if (controls[i].word == word)
            value |= controls[i].bit & (uint32_t)(cap >> 32);
    return value;
}

size_t vmx_hw_features(struct hw_feature *out, size_t max)
{
    uint64_t ept = ept_vpid_cap();
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(controls) && n < max; i++)
        out[n++] = (struct hw_feature){ controls[i].name, controls[i].needed, allowed(&controls[i]),
                                        controls[i].needed ? "use a processor that has it" : "runs without, slower",
                                        NULL };
    for (size_t i = 0; i < ARRAY_SIZE(ept_needs) && n < max; i++)
        out[n++] = (struct hw_feature){ ept_needs[i].name, ept_needs[i].needed,
                                        have_ept() && (ept & ept_needs[i].bits) == ept_needs[i].bits,
                                        ept_needs[i].needed ? "use a processor that has it" : "runs without, slower",
                                        NULL };
    return n;
}

#define APICV2      (PROC2_APIC_ACCESSES | PROC2_X2APIC | PROC2_APIC_REGISTERS | PROC2_INTERRUPT_DELIVERY)
#define CR8_EXITING (PROC_CR8_LOAD | PROC_CR8_STORE)

/* All of APICv or nothing. With it CR8 is the page's; x2APIC mode is switched on where a guest has it (vmx/apicv.c). */
static void choose_apicv(struct vmx_caps *c)
{
    c->apicv = (c->proc2 & APICV2) == APICV2 && (c->proc & PROC_TPR_SHADOW) && !(word_msr(WORD_PROC) & CR8_EXITING);
    if (c->apicv) {
        c->proc &= ~CR8_EXITING;
        c->proc2 &= ~PROC2_X2APIC;
    } else {
        vmx_caps_without_apicv();
    }
}

void vmx_caps_without_apicv(void)
{
    vmx_caps.apicv = false;
    vmx_caps.proc = (vmx_caps.proc | CR8_EXITING) & ~PROC_TPR_SHADOW;
    vmx_caps.proc2 &= ~APICV2;
}

int vmx_caps_init(char *msg, size_t size)
{
    struct hw_feature rows[ARRAY_SIZE(controls) + ARRAY_SIZE(ept_needs)];
    size_t n = vmx_hw_features(rows, ARRAY_SIZE(rows));
    struct vmx_caps *c = &vmx_caps;

    for (size_t i = 0; i < n; i++) {
        if (rows[i].needed && !rows[i].found) {
            format(msg, size, "the processor lacks: %s", rows[i].name);
            return -ENOTSUP;
        }
    }
    c->revision = rdmsr(MSR_VMX_BASIC) & 0x7fffffff;
    c->pin = choose(WORD_PIN);
    c->proc = choose(WORD_PROC);
    c->proc2 = choose(WORD_PROC2);
    c->exit = choose(WORD_EXIT);
    c->entry = choose(WORD_ENTRY);
    c->ept_vpid = ept_vpid_cap();
    c->misc = rdmsr(MSR_VMX_MISC);
    c->cr0_fixed0 = rdmsr(MSR_VMX_CR0_FIXED0);
    c->cr0_fixed1 = rdmsr(MSR_VMX_CR0_FIXED1);
    c->cr4_fixed0 = rdmsr(MSR_VMX_CR4_FIXED0);
    c->cr4_fixed1 = rdmsr(MSR_VMX_CR4_FIXED1);
    c->ept_access_bits = c->ept_vpid & CAP_ACCESS_BITS;
    c->ept_1g = c->ept_vpid & CAP_1G;
    if ((c->ept_vpid & (CAP_INVVPID | CAP_INVVPID_ONE)) != (CAP_INVVPID | CAP_INVVPID_ONE))
        c->proc2 &= ~PROC2_VPID;
    c->vpid = c->proc2 & PROC2_VPID;
    choose_apicv(c);
    return 0;
}
