/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vmx/arch_caps.h"
#include "arch/x86/cpu.h"

/* SDM vol. 4, table 2-2, MSR 10AH: the immunities; what needs a control MSR that guests do not have is left out. */
#define RDCL_NO        BIT(0)
#define SSB_NO         BIT(4)
#define MDS_NO         BIT(5)
#define IF_PSCHANGE_NO BIT(6)
#define TAA_NO         BIT(8)
#define SBDR_SSDP_NO   BIT(13)
#define FBSDP_NO       BIT(14)
#define PSDP_NO        BIT(15)
#define BHI_NO         BIT(20)
#define PBRSB_NO       BIT(24)
#define GDS_NO         BIT(26)
#define RFDS_NO        BIT(27)
#define ITS_NO         BIT(62)
#define IMMUNITIES (RDCL_NO | SSB_NO | MDS_NO | IF_PSCHANGE_NO | TAA_NO | SBDR_SSDP_NO | FBSDP_NO | PSDP_NO | BHI_NO | \
                    PBRSB_NO | GDS_NO | RFDS_NO | ITS_NO)

/*
 * Processors with Indirect Target Selection (Intel advisory SA-01153), family 6: model and first stepping. The rest
 * is immune, though those older than the advisory cannot say so.
 */
static const struct { uint8_t model, stepping; } its_affected[] = {
    { 0x55, 6 }, { 0x8e, 12 }, { 0x9e, 13 }, { 0x6a, 0 }, { 0x6c, 0 }, { 0x7e, 0 },
    { 0x8c, 0 }, { 0x8d, 0 },  { 0xa5, 0 },  { 0xa6, 0 }, { 0xa7, 0 },
};

static bool its_possible(void)
{
    uint32_t a, b, c, d;
    unsigned model;

    cpuid(1, 0, &a, &b, &c, &d);
    model = (a >> 4 & 15) | (a >> 12 & 0xf0);
    for (size_t i = 0; i < ARRAY_SIZE(its_affected); i++)
        if (its_affected[i].model == model && (a & 15) >= its_affected[i].stepping)
            return true;
    return false;
}

uint64_t arch_capabilities(void)
{
    uint32_t a, b, c, d;
    uint64_t value = 0;

    cpuid(7, 0, &a, &b, &c, &d);
    if (d & BIT(29))
        value = rdmsr(MSR_ARCH_CAPABILITIES) & IMMUNITIES;
    return its_possible() ? value : value | ITS_NO;
}
