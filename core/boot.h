/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/config.h"
#include "drivers/storage.h"
#include "numa/topology.h"
#include "lib/types.h"

/* What the loader (efi/) hands to the hypervisor (core/), and what it takes back. */
#define BOOT_MAX_RANGES 64
#define BOOT_MAX_CPUS   256
#define BOOT_MAX_IOAPICS 16
#define BOOT_MAX_DISKS  16
#define BOOT_MAX_CARDS  8
#define BOOT_MAX_PLACES (2 * CONFIG_MAX_VMS * CONFIG_MAX_DISKS) /* images and logs */

struct boot_range {
    uint64_t base, size;       /* bytes, 4 KiB aligned; writable, allocated from the firmware: ours until the end */
};

struct boot_framebuffer {
    uint64_t base, size;       /* 0: none */
    uint32_t width, height, stride; /* pixels; 32 bits each */
    bool bgr;                  /* blue in the lowest byte, else red */
};

/* A whole disk that the firmware can read. */
struct boot_disk {
    uint64_t sectors;          /* of 512 bytes */
    uint32_t block;            /* bytes */
    bool readonly;
    bool pci;                  /* it hangs on a PCI function of segment 0: */
    uint16_t bdf;              /* bus << 8 | device << 3 | function */
    uint32_t unit;             /* ATA: channel * 2 + drive; SATA: port; NVMe: namespace; else UINT32_MAX */
};

/* A network card that the firmware can use, on a PCI function of segment 0. */
struct boot_card {
    uint16_t bdf;              /* bus << 8 | device << 3 | function */
    uint8_t mac[6];
    bool up;                   /* there is a link, as far as the firmware can tell */
};

/* Where on a disk what a `disk =` names lies; equal names share one. */
struct boot_place {
    unsigned disk;
    const struct extent *extent; /* in the firmware's memory: our world does not see it */
    unsigned extents;
    const char *name;          /* as the configuration has it */
    bool writable;             /* somebody may want to write it */
};

struct boot_info {
    const struct config *config;
    struct boot_range memory[BOOT_MAX_RANGES];
    unsigned memory_ranges;
    struct topology topology;  /* as ACPI tells it */
    struct boot_framebuffer framebuffer;
    uint64_t rsdp;             /* physical address of ACPI's root pointer, 0: none */
    uint64_t ioapic[BOOT_MAX_IOAPICS]; /* addresses of the I/O APICs as ACPI lists them */
    unsigned ioapics;
    unsigned cpus;             /* enabled processors; entry 0 of apic_id is the boot processor */
    uint32_t apic_id[BOOT_MAX_CPUS];
    int64_t unix_time;         /* seconds since 1970 at start, from the firmware's clock */
    struct boot_disk disk[BOOT_MAX_DISKS];
    unsigned disks;
    struct boot_card card[BOOT_MAX_CARDS];
    unsigned cards;
    struct boot_place place[BOOT_MAX_PLACES];
    unsigned places;
    struct boot_range low;     /* below 4 GiB, for devices that reach no farther; size 0: none */

    /*
     * Starts fn(index) for index 1 to cpus - 1, each on its own processor, in the firmware's world (its page
     * tables, IDT, a small stack), and returns at once; wait_cpus returns when all have come back.
     */
    int (*start_cpus)(void (*fn)(unsigned index));
    int (*wait_cpus)(void);

    /*
     * Blocks of a disk through the firmware's driver: in the firmware's world, boot processor. size: bytes, a multiple
     * of the block; data: at a page's start. They take as long as the disk does. -EIO.
     */
    int (*disk_read)(unsigned disk, uint64_t block, void *data, size_t size);
    int (*disk_write)(unsigned disk, uint64_t block, const void *data, size_t size);
    int (*disk_flush)(unsigned disk);
    /*
     * A network card through the firmware's driver, in the firmware's world, boot processor. From card_start to
     * card_stop nobody else in the firmware has it, and it receives all that comes. card_start: -EIO, it does not work;
     * a line says if its driver may leave out what is not for its own address. card_send: takes a copy; -EAGAIN: the
     * frame before is still on its way; -EIO. card_receive: *bytes: room before, length then; -EAGAIN: nothing has
     * come; -EIO: a frame has, and is lost.
     */
    int (*card_start)(unsigned card);
    void (*card_stop)(unsigned card);
    int (*card_send)(unsigned card, const void *frame, size_t bytes);
    int (*card_receive)(unsigned card, void *frame, size_t *bytes);
    bool (*card_up)(unsigned card);
    /*
     * What the firmware's console has of keys: while it is asked for a disk its timer also reads the serial port. Only in
     * the firmware's world, boot processor. How many bytes.
     */
    unsigned (*read_keys)(uint8_t *to, unsigned max);
    /*
     * The firmware's drivers let a PCI function go, with all the disks on it; what was let go they take back. The
     * firmware's world, boot processor. -ENODEV: none of them uses it; -EBUSY: they do not let go.
     */
    int (*pci_release)(uint16_t bdf);
    void (*pci_take_back)(uint16_t bdf);
};

/* What -selftest wants; it may write the sectors of scratch (none if 0) on scratch_disk, and nothing else. */
struct boot_selftest {
    bool disks, net;
    unsigned scratch_disk;
    struct extent scratch;
};

/*
 * The hypervisor from the firmware's world and back: on the boot processor, interrupts on, boot services alive.
 * Returns 0 when the last VM has stopped or the user said exit, -errno when it could not start (it said why).
 */
int mirrorball_main(const struct boot_info *boot);

/*
 * The disks of the machine, read by the firmware and by our drivers, and compared, or its network cards, which talk to
 * a DHCP server: in the firmware's world, without VT-x. Prints what it finds. 0; -EIO: something is not as it should be.
 */
int mirrorball_selftest(const struct boot_info *boot, const struct boot_selftest *test);
