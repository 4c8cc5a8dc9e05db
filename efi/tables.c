/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "efi/firmware.h"

#include "arch/x86/acpi.h"
#include "arch/x86/madt.h"
#include "efi/calendar.h"
#include "lib/string.h"

static bool find_table(EFI_GUID guid, uint64_t *addr)
{
    for (UINTN i = 0; i < firmware->NumberOfTableEntries; i++) {
        const EFI_CONFIGURATION_TABLE *t = &firmware->ConfigurationTable[i];

        if (memcmp(&t->VendorGuid, &guid, sizeof(guid)) == 0 && t->VendorTable) {
            *addr = (uint64_t)t->VendorTable;
            return true;
        }
    }
    return false;
}

static uint64_t find_rsdp(void)
{
    EFI_GUID acpi2 = ACPI_20_TABLE_GUID, acpi1 = ACPI_TABLE_GUID;
    uint64_t addr = 0;

    if (!find_table(acpi2, &addr))
        find_table(acpi1, &addr);
    return addr;
}

static EFI_GRAPHICS_OUTPUT_PROTOCOL *find_gop(void)
{
    EFI_GUID guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;
    EFI_BOOT_SERVICES *bs = firmware->BootServices;
    EFI_GRAPHICS_OUTPUT_PROTOCOL *gop;

    if (bs->HandleProtocol(firmware->ConsoleOutHandle, &guid, (void **)&gop) == EFI_SUCCESS)
        return gop;
    return bs->LocateProtocol(&guid, NULL, (void **)&gop) == EFI_SUCCESS ? gop : NULL;
}

/* The mode the firmware has set now, if it is a linear buffer of 32-bit pixels. */
static void find_framebuffer(struct boot_framebuffer *fb)
{
    EFI_GRAPHICS_OUTPUT_PROTOCOL *gop = find_gop();
    const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *info;

    if (!gop || !gop->Mode || !gop->Mode->Info)
        return;
    info = gop->Mode->Info;
    if (info->PixelFormat != PixelRedGreenBlueReserved8BitPerColor &&
        info->PixelFormat != PixelBlueGreenRedReserved8BitPerColor)
        return;
    if (!gop->Mode->FrameBufferBase || info->PixelsPerScanLine < info->HorizontalResolution ||
        (uint64_t)info->PixelsPerScanLine * info->VerticalResolution > gop->Mode->FrameBufferSize / 4)
        return;
    *fb = (struct boot_framebuffer){
        .base = gop->Mode->FrameBufferBase,
        .size = gop->Mode->FrameBufferSize,
        .width = info->HorizontalResolution,
        .height = info->VerticalResolution,
        .stride = info->PixelsPerScanLine,
        .bgr = info->PixelFormat == PixelBlueGreenRedReserved8BitPerColor,
    };
}

/* UEFI specification, 8.3: TimeZone is in minutes, local time = UTC - TimeZone. */
static int64_t find_time(void)
{
    EFI_TIME t;
    int64_t unix_time;

    if (firmware->RuntimeServices->GetTime(&t, NULL) != EFI_SUCCESS)
        return 0;
    unix_time = calendar_to_unix(t.Year, t.Month, t.Day, t.Hour, t.Minute, t.Second);
    if (unix_time && t.TimeZone != EFI_UNSPECIFIED_TIMEZONE && t.TimeZone >= -1440 && t.TimeZone <= 1440)
        unix_time += t.TimeZone * 60;
    return unix_time;
}

static const void *map_firmware(uint64_t phys, size_t size)
{
    return memory_is_listed(phys, size) ? (const void *)phys : NULL;
}

const void *table_find(uint64_t rsdp, const char sig[4], size_t *len)
{
    return rsdp ? acpi_find(map_firmware, rsdp, sig, len) : NULL;
}

static void find_ioapics(struct boot_info *boot)
{
    size_t len;
    const void *madt = table_find(boot->rsdp, "APIC", &len);

    boot->ioapics = madt ? madt_io_apics(madt, len, boot->ioapic, BOOT_MAX_IOAPICS) : 0;
}

/* Both tables lie where the firmware has put them, so that one stays while the other is looked for. */
static void find_topology(struct boot_info *boot)
{
    size_t srat_len, slit_len = 0;
    const void *srat = table_find(boot->rsdp, "SRAT", &srat_len);
    const void *slit = srat ? table_find(boot->rsdp, "SLIT", &slit_len) : NULL;
    int err = 0;

    if (srat)
        err = topology_read(&boot->topology, srat, srat_len, slit, slit_len);
    else
        topology_flat(&boot->topology);
    if (err)
        say("ACPI's SRAT makes no sense or is too big: memory is taken for one node");
}

void tables_find(struct boot_info *boot)
{
    boot->rsdp = find_rsdp();
    find_topology(boot);
    find_ioapics(boot);
    find_framebuffer(&boot->framebuffer);
    boot->unix_time = find_time();
}
