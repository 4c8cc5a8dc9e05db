/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/format.h"
#include "vmx/check.h"
#include "vmx/checker.h"

static void append(struct vmx_check *c, const char *text, size_t n)
{
    if (c->used + n < c->size) {
        for (size_t i = 0; i <= n; i++)
            c->msg[c->used + i] = i < n ? text[i] : '\0';
        c->used += n;
    } else {
        c->size = 0;           /* full: what comes later would stand in the wrong place */
    }
}

bool check_that(struct vmx_check *c, bool ok, enum vmcs_field f, const char *fmt, ...)
{
    char expected[128], line[224];
    va_list ap;
    int n;

    if (ok)
        return true;
    va_start(ap, fmt);
    format_v(expected, sizeof(expected), fmt, ap);
    va_end(ap);
    n = format(line, sizeof(line), "%s%s = 0x%llx: %s", c->violations++ ? "; " : "", vmcs_field_name(f),
               (unsigned long long)vmread(f), expected);
    append(c, line, MIN((size_t)n, sizeof(line) - 1));
    return false;
}

bool check_bits(struct vmx_check *c, enum vmcs_field f, uint64_t must, uint64_t may)
{
    uint64_t value = vmread(f), missing = must & ~value, extra = value & ~may;

    if (missing)
        check_that(c, false, f, "bits 0x%llx must be 1", (unsigned long long)missing);
    if (extra)
        check_that(c, false, f, "bits 0x%llx must be 0", (unsigned long long)extra);
    return !missing && !extra;
}

void check_address(struct vmx_check *c, enum vmcs_field f, uint64_t align)
{
    uint64_t address = vmread(f);

    check_that(c, !(address & (align - 1)), f, "must be aligned to %u bytes", (unsigned)align);
    check_that(c, !(address >> c->physical_width), f, "must have at most %u bits", c->physical_width);
}

void check_canonical(struct vmx_check *c, enum vmcs_field f)
{
    uint64_t top = vmread(f) >> (c->linear_width - 1);

    check_that(c, top == 0 || top == ~0ull >> (c->linear_width - 1), f, "must be a canonical address");
}

void check_pat(struct vmx_check *c, enum vmcs_field f)
{
    bool ok = true;

    for (uint64_t pat = vmread(f), i = 0; i < 8; i++, pat >>= 8)
        ok &= (pat & 0xff) <= 7 && (pat & 0xff) != 2 && (pat & 0xff) != 3;
    check_that(c, ok, f, "each byte must be a memory type (0 1 4 5 6 7)");
}

void check_efer(struct vmx_check *c, enum vmcs_field f, bool long_mode, bool paging)
{
    uint64_t efer = vmread(f);

    check_bits(c, f, 0, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
    check_that(c, !!(efer & EFER_LMA) == long_mode, f, "LMA must be %d as the control of 64-bit mode", long_mode);
    if (paging)
        check_that(c, !!(efer & EFER_LME) == long_mode, f, "LME must be %d as the control of 64-bit mode", long_mode);
}

void check_cr0(struct vmx_check *c, enum vmcs_field f, uint64_t exempt)
{
    check_bits(c, f, c->read_msr(MSR_VMX_CR0_FIXED0) & ~exempt, c->read_msr(MSR_VMX_CR0_FIXED1));
}

void check_cr4(struct vmx_check *c, enum vmcs_field f, enum vmcs_field cr0)
{
    check_bits(c, f, c->read_msr(MSR_VMX_CR4_FIXED0), c->read_msr(MSR_VMX_CR4_FIXED1));
    check_that(c, !(vmread(f) & CR4_CET) || vmread(cr0) & CR0_WP, f, "CET needs CR0.WP");
}

/* Widths of addresses: CPUID leaf 80000008H, and 57-bit linear addresses where CR4.LA57 can be set. */
static void read_widths(struct vmx_check *c)
{
    uint32_t a, b, unused;

    cpuid(0x80000008, 0, &a, &b, &unused, &unused);
    c->physical_width = a & 0xff;
    if (c->physical_width < 32 || c->physical_width > 52)
        c->physical_width = 52;
    c->linear_width = c->read_msr(MSR_VMX_CR4_FIXED1) & CR4_LA57 ? 57 : 48;
}

int vmx_check_entry(char *msg, size_t size, uint64_t (*read_msr)(uint32_t msr))
{
    struct vmx_check c = { .msg = msg, .size = size, .read_msr = read_msr };

    if (size)
        msg[0] = '\0';
    read_widths(&c);
    check_execution_controls(&c);
    check_exit_controls(&c);
    check_entry_controls(&c);
    check_host_state(&c);
    check_guest_state(&c);
    check_guest_segments(&c);
    return c.violations;
}
