/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vmx/check.h"

/* The guest's segment registers and descriptor tables: SDM vol. 3, 27.3.1.2 and 27.3.1.3. */

/* Types of access rights: code with its bits, data, and the system types. */
enum { TYPE_ACCESSED = 1, TYPE_READABLE = 2, TYPE_CODE = 8, TYPE_CONFORMING = 4, TYPE_DATA_RW_ACCESSED = 3 };
enum { TYPE_LDT = 2, TYPE_TSS_16 = 3, TYPE_TSS_32 = 11 };

#define AR_RESERVED (~(AR_TYPE | AR_S | 3u << AR_DPL_SHIFT | AR_P | 0xf000u | AR_UNUSABLE))

static uint32_t rights(unsigned segment)
{
    return vmread(VMCS_GUEST_AR(segment));
}

static unsigned rpl(unsigned segment)
{
    return vmread(VMCS_GUEST_SELECTOR(segment)) & 3;
}

/* CS and TR must be there always. */
static bool usable(unsigned segment)
{
    return segment == SEG_CS || segment == SEG_TR || !(rights(segment) & AR_UNUSABLE);
}

static void check_selectors(struct vmx_check *c)
{
    check_that(c, !(vmread(VMCS_GUEST_TR_SELECTOR) & 4), VMCS_GUEST_TR_SELECTOR, "TI must be 0");
    if (usable(SEG_LDTR))
        check_that(c, !(vmread(VMCS_GUEST_LDTR_SELECTOR) & 4), VMCS_GUEST_LDTR_SELECTOR, "TI must be 0");
    if (!c->virtual_8086 && !c->unrestricted)
        check_that(c, rpl(SEG_SS) == rpl(SEG_CS), VMCS_GUEST_SS_SELECTOR, "RPL must be that of CS (%u)", rpl(SEG_CS));
}

static void check_bases(struct vmx_check *c)
{
    static const uint8_t short_bases[] = { SEG_ES, SEG_CS, SEG_SS, SEG_DS };

    check_canonical(c, VMCS_GUEST_TR_BASE);
    check_canonical(c, VMCS_GUEST_FS_BASE);
    check_canonical(c, VMCS_GUEST_GS_BASE);
    if (usable(SEG_LDTR))
        check_canonical(c, VMCS_GUEST_LDTR_BASE);
    for (size_t i = 0; i < ARRAY_SIZE(short_bases); i++) {
        enum vmcs_field f = VMCS_GUEST_BASE(short_bases[i]);

        if (usable(short_bases[i]))
            check_that(c, !(vmread(f) >> 32), f, "must have at most 32 bits");
    }
}

static void check_virtual_8086(struct vmx_check *c)
{
    for (unsigned s = SEG_ES; s <= SEG_GS; s++) {
        check_that(c, vmread(VMCS_GUEST_BASE(s)) == vmread(VMCS_GUEST_SELECTOR(s)) << 4, VMCS_GUEST_BASE(s),
                   "must be the selector times 16 in virtual-8086 mode");
        check_that(c, vmread(VMCS_GUEST_LIMIT(s)) == 0xffff, VMCS_GUEST_LIMIT(s),
                   "must be 0xffff in virtual-8086 mode");
        check_that(c, rights(s) == 0xf3, VMCS_GUEST_AR(s), "must be 0xf3 in virtual-8086 mode");
    }
}

/* What is common to all usable segments, system ones too: present, no reserved bits, granularity as the limit wants. */
static void check_common(struct vmx_check *c, unsigned segment)
{
    enum vmcs_field f = VMCS_GUEST_AR(segment);
    uint32_t ar = rights(segment), limit = vmread(VMCS_GUEST_LIMIT(segment));

    check_that(c, ar & AR_P, f, "P must be 1");
    check_that(c, !(ar & AR_RESERVED), f, "bits 11:8 and 31:17 must be 0");
    check_that(c, (limit & 0xfff) == 0xfff || !(ar & AR_G), f, "G must be 0 with limit 0x%x", limit);
    check_that(c, !(limit >> 20) || ar & AR_G, f, "G must be 1 with limit 0x%x", limit);
}

static void check_code(struct vmx_check *c)
{
    enum vmcs_field f = VMCS_GUEST_CS_AR;
    uint32_t ar = rights(SEG_CS), type = ar & AR_TYPE, dpl = AR_DPL(ar), ss_dpl = AR_DPL(rights(SEG_SS));
    bool data = type == TYPE_DATA_RW_ACCESSED && c->unrestricted;

    check_that(c, ar & AR_S, f, "S must be 1");
    if (!check_that(c, data || (type & TYPE_CODE && type & TYPE_ACCESSED), f,
                    "type must be 9, 11, 13 or 15, or 3 with unrestricted guest"))
        return;
    if (data)
        check_that(c, !dpl, f, "DPL must be 0 with type 3");
    else if (type & TYPE_CONFORMING)
        check_that(c, dpl <= ss_dpl, f, "DPL must be at most that of SS (%u)", ss_dpl);
    else
        check_that(c, dpl == ss_dpl, f, "DPL must be that of SS (%u)", ss_dpl);
    check_that(c, !c->guest_64 || !(ar & AR_L) || !(ar & AR_DB), f, "D must be 0 with L");
}

/* Its DPL counts even where it is unusable: it is the guest's CPL. */
static void check_stack(struct vmx_check *c)
{
    enum vmcs_field f = VMCS_GUEST_SS_AR;
    uint32_t ar = rights(SEG_SS), type = ar & AR_TYPE;
    bool flat_code = (rights(SEG_CS) & AR_TYPE) == TYPE_DATA_RW_ACCESSED;

    if (usable(SEG_SS)) {
        check_that(c, type == 3 || type == 7, f, "type must be 3 or 7");
        check_that(c, ar & AR_S, f, "S must be 1");
    }
    if (!c->unrestricted)
        check_that(c, AR_DPL(ar) == rpl(SEG_SS), f, "DPL must be the selector's RPL (%u)", rpl(SEG_SS));
    if (flat_code || !(c->cr0 & CR0_PE))
        check_that(c, !AR_DPL(ar), f, "DPL must be 0 with CS type 3 or in real mode");
}

static void check_data(struct vmx_check *c, unsigned segment)
{
    enum vmcs_field f = VMCS_GUEST_AR(segment);
    uint32_t ar = rights(segment), type = ar & AR_TYPE;

    check_that(c, type & TYPE_ACCESSED, f, "type must have the accessed bit");
    check_that(c, !(type & TYPE_CODE) || type & TYPE_READABLE, f, "type must be readable");
    check_that(c, ar & AR_S, f, "S must be 1");
    if (!c->unrestricted && type < (TYPE_CODE | TYPE_CONFORMING))
        check_that(c, AR_DPL(ar) >= rpl(segment), f, "DPL must be at least the selector's RPL (%u)", rpl(segment));
}

static void check_code_and_data(struct vmx_check *c)
{
    static const uint8_t data[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

    check_code(c);
    check_stack(c);
    for (size_t i = 0; i < ARRAY_SIZE(data); i++)
        if (usable(data[i]))
            check_data(c, data[i]);
    for (unsigned s = SEG_ES; s <= SEG_GS; s++)
        if (usable(s))
            check_common(c, s);
}

static void check_system_segments(struct vmx_check *c)
{
    uint32_t tr = rights(SEG_TR), ldtr = rights(SEG_LDTR);

    check_that(c, (tr & AR_TYPE) == TYPE_TSS_32 || (!c->guest_64 && (tr & AR_TYPE) == TYPE_TSS_16), VMCS_GUEST_TR_AR,
               "type must be 11 (a busy TSS), or 3 outside IA-32e mode");
    check_that(c, !(tr & AR_S), VMCS_GUEST_TR_AR, "S must be 0");
    check_that(c, !(tr & AR_UNUSABLE), VMCS_GUEST_TR_AR, "must be usable");
    check_common(c, SEG_TR);
    if (!usable(SEG_LDTR))
        return;
    check_that(c, (ldtr & AR_TYPE) == TYPE_LDT, VMCS_GUEST_LDTR_AR, "type must be 2 (LDT)");
    check_that(c, !(ldtr & AR_S), VMCS_GUEST_LDTR_AR, "S must be 0");
    check_common(c, SEG_LDTR);
}

static void check_descriptor_tables(struct vmx_check *c)
{
    check_canonical(c, VMCS_GUEST_GDTR_BASE);
    check_canonical(c, VMCS_GUEST_IDTR_BASE);
    check_bits(c, VMCS_GUEST_GDTR_LIMIT, 0, 0xffff);
    check_bits(c, VMCS_GUEST_IDTR_LIMIT, 0, 0xffff);
}

void check_guest_segments(struct vmx_check *c)
{
    check_selectors(c);
    check_bases(c);
    if (c->virtual_8086)
        check_virtual_8086(c);
    else
        check_code_and_data(c);
    check_system_segments(c);
    check_descriptor_tables(c);
}
