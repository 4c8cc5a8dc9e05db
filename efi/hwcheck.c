/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "efi/firmware.h"

#include "arch/x86/cpu.h"
#include "arch/x86/features.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"
#include "vmx/caps.h"
#include "vmx/speculation.h"

#define MAX_ROWS 64

struct table {
    struct hw_feature row[MAX_ROWS];
    size_t rows;
};

enum reg { EAX, EBX, ECX, EDX };

/* SDM vol. 2A, CPUID: leaves above the largest answer with something else. */
static bool cpuid_bit(uint32_t leaf, enum reg reg, unsigned bit)
{
    uint32_t r[4];

    cpuid(leaf & 0x80000000u, 0, &r[EAX], &r[EBX], &r[ECX], &r[EDX]);
    if (leaf > r[EAX])
        return false;
    cpuid(leaf, 0, &r[EAX], &r[EBX], &r[ECX], &r[EDX]);
    return r[reg] & BIT(bit);
}

static bool is_intel(void)
{
    uint32_t a, b, c, d;

    cpuid(0, 0, &a, &b, &c, &d);
    return b == 0x756e6547u && d == 0x49656e69u && c == 0x6c65746eu; /* GenuineIntel */
}

static bool has_vmx(void)
{
    return cpuid_bit(1, ECX, 5);
}

static void add(struct table *t, const char *name, bool needed, bool found, const char *fix)
{
    if (t->rows < MAX_ROWS)
        t->row[t->rows++] = (struct hw_feature){ name, needed, found, fix, NULL };
}

static void add_processor_rows(struct table *t)
{
    add(t, "64-bit mode", true, cpuid_bit(0x80000001u, EDX, 29), "use a 64-bit processor");
    add(t, "no-execute pages", true, cpuid_bit(0x80000001u, EDX, 20), "enable NX/XD in the firmware's setup");
    add(t, "1 GiB pages", false, cpuid_bit(0x80000001u, EDX, 26), "2 MiB pages are used");
    add(t, "x2APIC", false, cpuid_bit(1, ECX, 21), "the xAPIC is used");
    add(t, "TSC-deadline timer", false, cpuid_bit(1, ECX, 24), "the APIC timer's counter is used");
    add(t, "invariant TSC", false, cpuid_bit(0x80000007u, EDX, 8), "guests' clocks may drift");
    add(t, "Intel VT-x", true, has_vmx(),
        is_intel() ? "enable it in the firmware's setup" : "use a processor with Intel VT-x");
}

/* IA32_FEATURE_CONTROL (SDM vol. 3C, 24.7): unlocked is fine, it is set and locked when VT-x is entered. */
static void add_vmx_rows(struct table *t)
{
    uint64_t control = rdmsr(MSR_FEATURE_CONTROL);

    add(t, "VT-x not locked off", true, !(control & FEATURE_CONTROL_LOCK) || (control & FEATURE_CONTROL_VMX),
        "enable VT-x in the firmware's setup");
    t->rows += vmx_hw_features(&t->row[t->rows], MAX_ROWS - t->rows);
    speculation_init();
    t->rows += speculation_features(&t->row[t->rows], MAX_ROWS - t->rows);
}

static void add_firmware_rows(struct table *t, const struct boot_info *boot)
{
    add(t, "firmware's MP services", false, services_there(), "INIT and SIPI are used");
    add(t, "ACPI tables", false, boot->rsdp != 0, "memory is taken as one node");
}

static void print_table(const struct table *t)
{
    print("  %-28s %-7s %-6s %s\n", "feature", "", "found", "what to do");
    for (size_t i = 0; i < t->rows; i++) {
        const struct hw_feature *f = &t->row[i];

        print("  %-28s %-7s", f->name, f->needed ? "needed" : "wanted");
        if (f->found && !f->note)
            print(" yes\n");
        else
            print(" %-6s %s\n", f->found ? "yes" : "no", f->found ? f->note : f->fix);
    }
}

int hardware_check(const struct boot_info *boot)
{
    static struct table table;
    int err = 0;

    add_processor_rows(&table);
    if (has_vmx())
        add_vmx_rows(&table);
    add_firmware_rows(&table, boot);
    say("hardware:");
    print_table(&table);
    for (size_t i = 0; i < table.rows; i++) {
        const struct hw_feature *f = &table.row[i];

        if (f->needed && !f->found) {
            say("refused: needed but not found: %s: %s", f->name, f->fix);
            err = -ENOTSUP;
        }
    }
    return err;
}
