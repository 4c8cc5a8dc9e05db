/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "drivers/disk.h"
#include "drivers/pci.h"

/*
 * Our own drivers for disk controllers on PCI: ATA with bus-master DMA, AHCI, NVMe. The firmware has let the controller
 * go. Firmware's world, boot processor.
 */

/* Is there a driver for this function? */
bool native_knows(uint16_t bdf);
/*
 * Brings the controller up and finds its disks (native_find), which are then ready for disk_add. -ENODEV: no driver, or
 * no disks; -ENOMEM; -EIO. After a failure it has been brought to rest.
 */
int native_attach(uint16_t bdf);
/* Memory below 4 GiB, in our page tables, for controllers that reach no farther. Before the first is attached. */
void native_set_low(uint64_t base, uint64_t size);
/* unit: ATA: channel * 2 + drive; AHCI: port; NVMe: namespace. NULL: not there. */
struct disk *native_find(uint16_t bdf, uint32_t unit);
/* Brings the controller to rest: it touches our memory no more; the function's command register is as it was. */
void native_detach(uint16_t bdf);
/* The same with all. After devices_stop. */
void native_detach_all(void);

/* --- for the drivers themselves --------------------------------------------------------------------------------- */

#define NATIVE_DISKS 32u       /* of a controller */

struct native {
    struct pci_function pci;
    const struct native_driver *driver;
    void *state;               /* the driver's: pages of native_state */
    struct disk *disk[NATIVE_DISKS];
    unsigned disks;
};

struct native_driver {
    uint32_t class, mask;      /* of PCI functions (drivers/pci.h) */
    int (*attach)(struct native *n);
    void (*detach)(struct native *n); /* also after a failure of attach */
};

extern const struct native_driver ata_driver, ahci_driver, nvme_driver;

/* Zeroed memory, a whole number of pages, naturally aligned; NULL. It stays the hypervisor's. */
void *native_memory(size_t size);
/* The same below 4 GiB. */
void *native_low(size_t size);
/* A disk of the controller's, to be filled in: NULL if there are too many. */
struct disk *native_disk(struct native *n, const char *kind, unsigned unit);
/* Waits; returns false once ms have passed since the TSC was `since`. */
bool native_wait(uint64_t since, unsigned ms);
