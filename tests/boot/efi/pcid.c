/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include <efi.h>

#include "arch/x86/cpu.h"

/*
 * Switches PCIDs on (SDM vol. 3A, 4.10.1) on the boot processor, for a start-up script to run before Mirrorball: the
 * refusal of such firmware can then be tested. A reset switches them off.
 */
EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *st);

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *st)
{
    uint32_t a, b, c, d;
    bool can;

    (void)image;
    cpuid(1, 0, &a, &b, &c, &d);
    can = (c & BIT(17)) && !(read_cr3() & 0xfff);
    if (can)
        write_cr4(read_cr4() | CR4_PCIDE);
    st->ConOut->OutputString(st->ConOut, can ? L"pcid: PCIDs are on\r\n" : L"pcid: failed\r\n");
    return can ? EFI_SUCCESS : EFI_UNSUPPORTED;
}
