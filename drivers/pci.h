/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * PCI configuration space through ports 0CF8H and 0CFCH (PCI Local Bus Specification 3.0, 3.2.2.3.2 and 6.1; the first
 * 256 bytes of PCI Express functions are the same). Boot processor, in the firmware's world or in ours.
 */
#define PCI_VENDOR        0x00
#define PCI_DEVICE        0x02
#define PCI_COMMAND       0x04
#define PCI_STATUS        0x06
#define PCI_CLASS         0x08 /* upper three bytes */
#define PCI_HEADER        0x0e
#define PCI_BAR(i)        (0x10 + 4 * (i))
#define PCI_CAPABILITIES  0x34
#define PCI_IRQ_LINE      0x3c
#define PCI_IRQ_PIN       0x3d

#define PCI_COMMAND_IO     0x0001u
#define PCI_COMMAND_MEMORY 0x0002u
#define PCI_COMMAND_MASTER 0x0004u
#define PCI_COMMAND_NO_INTX 0x0400u

#define PCI_BARS          6u
#define PCI_ANY           0xffffu

/* Where a function is: bus << 8 | device << 3 | function. */
struct pci_address { uint16_t bdf; };
#define PCI_ADDRESS(bus, dev, fn) ((struct pci_address){ (uint16_t)((bus) << 8 | (dev) << 3 | (fn)) })

struct pci_function {
    struct pci_address at;
    uint16_t vendor, device;
    uint32_t class;            /* base class << 16 | subclass << 8 | programming interface */
    uint8_t irq_line, irq_pin; /* as the firmware has set it; pin 0: none, 1: INTA */
    uint16_t command;          /* as pci_enable found it */
};

struct pci_id { uint16_t vendor, device; };

struct pci_bar {
    uint64_t base, size;       /* bytes */
    bool io;                   /* ports, else memory */
};

/* Registers; offset is a multiple of the size. Nothing there: all ones. */
uint32_t pci_read32(struct pci_address a, unsigned offset);
uint16_t pci_read16(struct pci_address a, unsigned offset);
uint8_t pci_read8(struct pci_address a, unsigned offset);
void pci_write32(struct pci_address a, unsigned offset, uint32_t value);
void pci_write16(struct pci_address a, unsigned offset, uint16_t value);

/* -ENODEV: there is no function there. */
int pci_probe(struct pci_address a, struct pci_function *f);
/*
 * Calls fn for each function of the machine, of all 256 buses, because host bridges tell nobody which ones they have;
 * until it returns true: then so does pci_each.
 */
bool pci_each(bool (*fn)(const struct pci_function *f, void *arg), void *arg);
/*
 * The nth function, from 0, whose vendor and device are in the list (PCI_ANY as device: any of the vendor's), or whose
 * class is class under mask. -ENODEV.
 */
int pci_find_id(const struct pci_id *list, unsigned ids, unsigned nth, struct pci_function *f);
int pci_find_class(uint32_t class, uint32_t mask, unsigned nth, struct pci_function *f);

/*
 * Base address register i and its size. While it is measured the function answers at no address: call it before the
 * function is used. -ENXIO: there is none, it is the upper half of one, or the firmware has given it no address.
 */
int pci_bar(const struct pci_function *f, unsigned i, struct pci_bar *bar);

/* Sets bits in the command register, and takes INTx off it; pci_restore puts it back as it was. */
void pci_enable(struct pci_function *f, uint16_t bits);
void pci_restore(const struct pci_function *f);

/* Offset of the first capability with this id, 0: none. */
unsigned pci_capability(struct pci_address a, uint8_t id);
