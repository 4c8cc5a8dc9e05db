/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

/* Of a VM with persistent memory: where a system looks for what the NFIT lists (ACPI 6.5, 9.19). */
DefinitionBlock ("", "SSDT", 2, "MIRROR", "MBNVDIMM", 1)
{
    Device (\_SB.NVDR)
    {
        Name (_HID, "ACPI0012")
    }
}
