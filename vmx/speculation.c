/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vmx/speculation.h"
#include "arch/x86/cpu.h"
#include "arch/x86/percpu.h"

/* CPUID.7.0:EDX, what there is to defend with; .EBX and .2:EDX. */
#define MD_CLEAR   BIT(10)
#define SPEC_CTRL  BIT(26)
#define STIBP_CTRL BIT(27)
#define FLUSH_L1D  BIT(28)
#define ARCH_CAPS  BIT(29)
#define RTM        BIT(11)
#define BHI_CTRL   BIT(4)

/* SDM vol. 4, table 2-2, MSR 10AH: what the processor is immune to, and what VERW reaches on it. */
#define RDCL_NO      BIT(0)
#define IBRS_ALL     BIT(1)
#define SKIP_L1DFL   BIT(3)
#define MDS_NO       BIT(5)
#define TAA_NO       BIT(8)
#define STALE_NO     (BIT(13) | BIT(14) | BIT(15))    /* SBDR and SSDP, FBSDP, PSDP: stale data of device memory */
#define FB_CLEAR     BIT(17)
#define BHI_NO       BIT(20)
#define PBRSB_NO     BIT(24)
#define RFDS_NO      BIT(27)
#define RFDS_CLEAR   BIT(28)

/* IA32_SPEC_CTRL and the one bit of the command registers. */
#define IBRS      BIT(0)
#define STIBP     BIT(1)
#define BHI_DIS_S BIT(10)
#define COMMAND   1

struct speculation speculation;
static bool verw_needed, verw_works, l1d_needed, l1d_works;

struct processor { uint32_t b7, d7, d7_2; uint64_t caps; bool threads; };

/* More than one logical processor to a core (SDM vol. 2, CPUID, leaf 0BH). */
static bool has_threads(uint32_t leaves)
{
    uint32_t a, b, c, d;

    if (leaves < 0xb)
        return true;           /* unknown */
    cpuid(0xb, 0, &a, &b, &c, &d);
    return (uint16_t)b > 1;
}

static struct processor look(void)
{
    uint32_t leaves, subleaves, a, b, c, d;
    struct processor p = { 0 };

    cpuid(0, 0, &leaves, &b, &c, &d);
    p.threads = has_threads(leaves);
    if (leaves < 7)
        return p;
    cpuid(7, 0, &subleaves, &p.b7, &c, &p.d7);
    if (subleaves >= 2)
        cpuid(7, 2, &a, &b, &c, &p.d7_2);
    if (p.d7 & ARCH_CAPS)
        p.caps = rdmsr(MSR_ARCH_CAPABILITIES);
    return p;
}

/*
 * With enhanced IBRS (IBRS_ALL) the bit is set once and for all, guests included; without, it only counts if it is
 * written after each exit, and would slow the guests. STIBP keeps hyperthreads, which may be another VM's, apart.
 */
static void choose_branches(struct speculation *s, const struct processor *p)
{
    uint64_t threads = p->threads && (p->d7 & STIBP_CTRL) ? STIBP : 0;

    s->spec_ctrl = s->barrier = p->d7 & SPEC_CTRL;
    if (!s->spec_ctrl)
        return;
    if (!(p->caps & IBRS_ALL)) {
        s->host = IBRS | threads;
        s->guest = threads;
        s->exit |= GUARD_SPEC_CTRL | GUARD_RSB_FILL;
        s->entry |= GUARD_SPEC_CTRL;
        return;
    }
    s->host = IBRS | threads;
    if (!(p->caps & PBRSB_NO))
        s->exit |= GUARD_RSB_ONE;
    if (p->d7_2 & BHI_CTRL)
        s->host |= p->caps & BHI_NO ? 0 : BHI_DIS_S;
    else
        s->exit |= p->caps & BHI_NO ? 0 : GUARD_BRANCHES;
    s->guest = s->host;
}

static void choose_data(struct speculation *s, const struct processor *p)
{
    bool md = p->d7 & MD_CLEAR, mds = !(p->caps & MDS_NO), taa = (p->b7 & RTM) && !(p->caps & TAA_NO);
    bool stale = (p->caps & STALE_NO) != STALE_NO, rfds = (p->caps & RFDS_CLEAR) && !(p->caps & RFDS_NO);

    verw_needed = mds || taa || rfds || (stale && (p->caps & FB_CLEAR));
    verw_works = md || (p->caps & (FB_CLEAR | RFDS_CLEAR));
    l1d_needed = !(p->caps & (RDCL_NO | SKIP_L1DFL));
    l1d_works = p->d7 & FLUSH_L1D;
    if (verw_needed && verw_works)
        s->entry |= GUARD_BUFFERS;
    if (l1d_needed && l1d_works)
        s->entry |= GUARD_L1D;
}

void speculation_init(void)
{
    struct processor p = look();

    speculation = (struct speculation){ 0 };
    choose_branches(&speculation, &p);
    choose_data(&speculation, &p);
}

void speculation_cpu_start(void)
{
    speculation.data_segment = read_ss();      /* the same on all */
    if (speculation.spec_ctrl)
        wrmsr(MSR_SPEC_CTRL, speculation.host);
}

void speculation_switch(const void *vm)
{
    struct percpu *cpu = cpu_this();

    if (speculation.barrier && cpu->last_vm && cpu->last_vm != vm)
        wrmsr(MSR_PRED_CMD, COMMAND);
    cpu->last_vm = vm;
}

static const char *branches_note(const struct speculation *s)
{
    if (!(s->exit & GUARD_SPEC_CTRL))
        return s->exit & GUARD_BRANCHES ? "enhanced IBRS; branch history cleared at exits" :
               s->exit & GUARD_RSB_ONE ? "enhanced IBRS; one call at exits" : "enhanced IBRS";
    return "IBRS and RSB fill at exits";
}

size_t speculation_features(struct hw_feature *out, size_t max)
{
    const struct speculation *s = &speculation;
    const struct hw_feature rows[] = {
        { "guarded branches (IBRS)", false, s->spec_ctrl, "update the microcode", branches_note(s) },
        { "guarded siblings (STIBP)", false, s->host & STIBP || !look().threads,
          "switch hyperthreading off in the setup", s->host & STIBP ? "always on" : "not needed: no hyperthreads" },
        { "branch barrier (IBPB)", false, s->barrier, "update the microcode", "between VMs" },
        { "buffers cleared (VERW)", false, !verw_needed || verw_works, "update the microcode",
          verw_needed ? "at each entry" : "not needed" },
        { "L1 data cache flushed", false, !l1d_needed || l1d_works, "update the microcode",
          l1d_needed ? "at entries after more than the short way" : "not needed" },
    };
    size_t n = MIN(ARRAY_SIZE(rows), max);

    for (size_t i = 0; i < n; i++)
        out[i] = rows[i];
    return n;
}
