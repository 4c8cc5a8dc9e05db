/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

/* The devices of a guest: a PC without PCI. Port numbers and interrupts are those of vdev/board.c. */
DefinitionBlock ("", "DSDT", 2, "MIRROR", "MBALL", 1)
{
    /* Soft-off only. The first two elements are the sleep type for PM1a and PM1b control. */
    Name (\_S5, Package () { 5, 5, 0, 0 })

    Scope (\_SB)
    {
        Device (PIC)
        {
            Name (_HID, EisaId ("PNP0000"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x20, 0x20, 1, 2)
                IO (Decode16, 0xa0, 0xa0, 1, 2)
                IO (Decode16, 0x4d0, 0x4d0, 1, 2)
                IRQNoFlags () { 2 }
            })
        }

        Device (TIMR)
        {
            Name (_HID, EisaId ("PNP0100"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x40, 0x40, 1, 4)
                IRQNoFlags () { 0 }
            })
        }

        Device (RTC)
        {
            Name (_HID, EisaId ("PNP0B00"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x70, 0x70, 1, 2)
                IRQNoFlags () { 8 }
            })
        }

        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, 1)
            Name (_STA, 0x0f)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x3f8, 0x3f8, 1, 8)
                IRQNoFlags () { 4 }
            })
        }

        /* Memory hints: guest/linux-pv-drivers/mb_hints.c. */
        Device (HINT)
        {
            Name (_HID, "MRBL0001")
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 16 }
            })
        }

        /* All disks: guest/linux-pv-drivers/mb_blk.c. */
        Device (DISK)
        {
            Name (_HID, "MRBL0002")
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 17 }
            })
        }

        /* All network interfaces: docs/net.md. */
        Device (NETS)
        {
            Name (_HID, "MRBL0003")
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 18 }
            })
        }

        /* All shared segments: guest/linux-pv-drivers/mb_segment.c. */
        Device (SEGM)
        {
            Name (_HID, "MRBL0004")
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 19 }
            })
        }

        /* Internal shared memory of the network interfaces: guest/linux-pv-drivers/mb_ism_main.c. */
        Device (ISMS)
        {
            Name (_HID, "MRBL0005")
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 20 }
            })
        }

        /* What the system keeps for itself: ports of power management and reset, interrupt controllers. */
        Device (SYSR)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x61, 0x61, 1, 1)
                IO (Decode16, 0x92, 0x92, 1, 1)
                IO (Decode16, 0x600, 0x600, 1, 12)
                IO (Decode16, 0xcf9, 0xcf9, 1, 1)
                Memory32Fixed (ReadWrite, 0xfec00000, 0x1000)
                Memory32Fixed (ReadWrite, 0xfee00000, 0x1000)
            })
        }
    }
}
