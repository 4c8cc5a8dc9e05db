/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "arch/x86/cpu.h"
#include "tests/boot/efi/acpi_install.h"

/*
 * Gives a machine whose firmware has no ACPI tables (OVMF on Bochs) those from which an operating system learns its
 * processors, its I/O APIC and its PM timer: MADT, FADT and an empty DSDT. For a start-up script to run first.
 */
EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *st);

#define MAX_CPUS 64

static struct {
    struct acpi_madt head;
    struct acpi_madt_ioapic ioapic;
    struct acpi_madt_override timer, sci;
    struct acpi_madt_lapic cpu[MAX_CPUS];
} ACPI_PACKED madt = {
    .head = { .header = { .signature = "APIC", .revision = 3 }, .lapic_base = 0xfee00000, .flags = 1 },
    .ioapic = { ACPI_MADT_IOAPIC, sizeof(madt.ioapic), 0, 0, 0xfec00000, 0 },
    .timer = { ACPI_MADT_OVERRIDE, sizeof(madt.timer), 0, 0, 2, 0 },
    .sci = { ACPI_MADT_OVERRIDE, sizeof(madt.sci), 0, 9, 9, 0xd },    /* active high, level */
};

static struct acpi_fadt fadt = {
    .header = { .signature = "FACP", .revision = 5 },
    .sci_interrupt = 9, .pm1_event_length = 4, .pm1_control_length = 2, .pm_timer_length = 4,
    .c2_latency = 101, .c3_latency = 1001,
    .boot_architecture = BIT(0) | BIT(1),      /* devices on ISA, 8042 */
    .flags = BIT(0) | BIT(2) | BIT(5),         /* WBINVD, C1, no sleep button */
    .minor = 1,
};

static struct acpi_header dsdt = { .signature = "DSDT", .revision = 2 };

static uint32_t pci_read(uint32_t address)
{
    uint32_t value;

    __asm__ volatile("outl %0, %w1" : : "a"((uint32_t)BIT(31) | address), "d"(0xcf8));
    __asm__ volatile("inl %w1, %0" : "=a"(value) : "d"(0xcfc));
    return value;
}

/* The PIIX4's power management is device 1, function 3; register 40H has its ports (Intel 290562, 7.1.11). */
static bool find_pm(void)
{
    uint32_t device = 1 << 11 | 3 << 8, base = pci_read(device | 0x40) & 0xffc0;

    if (pci_read(device) != 0x71138086 || !base)
        return false;
    fadt.pm1a_event = base;
    fadt.pm1a_control = base + 4;
    fadt.pm_timer = base + 8;
    return true;
}

static void add_cpu(UINTN i, const struct mp_processor *info)
{
    madt.cpu[i] = (struct acpi_madt_lapic){ ACPI_MADT_LAPIC, sizeof(madt.cpu[i]), (uint8_t)i, (uint8_t)info->id,
                                            !!(info->flags & MP_IS_ENABLED) };
}

static EFI_STATUS install_all(EFI_BOOT_SERVICES *bs)
{
    struct acpi_table_protocol *p;
    UINTN cpus = acpi_each_cpu(bs, MAX_CPUS, add_cpu);
    EFI_STATUS s = acpi_find(bs, &p);

    if (!cpus || !find_pm())
        return EFI_UNSUPPORTED;
    if (s == EFI_SUCCESS)
        s = acpi_install(p, &madt, sizeof(madt) - (MAX_CPUS - cpus) * sizeof(madt.cpu[0]));
    if (s == EFI_SUCCESS)
        s = acpi_install(p, &fadt, sizeof(fadt));
    return s == EFI_SUCCESS ? acpi_install(p, &dsdt, sizeof(dsdt)) : s;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *st)
{
    EFI_STATUS s = install_all(st->BootServices);

    (void)image;
    st->ConOut->OutputString(st->ConOut, s == EFI_SUCCESS ? L"acpi: tables installed\r\n" : L"acpi: failed\r\n");
    return s;
}
