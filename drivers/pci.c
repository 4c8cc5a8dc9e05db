/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "drivers/pci.h"

#include "arch/x86/cpu.h"
#include "arch/x86/crbits.h"
#include "lib/errno.h"

#define PORT_ADDRESS     0xcf8
#define PORT_DATA        0xcfc
#define ADDRESS_ENABLE   BIT(31)

#define NOBODY           0xffffu
#define HEADER_TYPE      0x7fu
#define HEADER_MULTI     0x80u
#define BAR_IO           0x1u
#define BAR_TYPE         0x6u
#define BAR_TYPE_64      0x4u
#define STATUS_CAPS      0x10u
#define CAPS_MAX         48u   /* as many as fit */

/* The firmware's timer may use these ports too: between the two accesses no interrupt comes. */
static uint64_t select(struct pci_address a, unsigned offset)
{
    uint64_t flags = read_rflags();

    cli();
    outl(PORT_ADDRESS, (uint32_t)(ADDRESS_ENABLE | (uint32_t)a.bdf << 8 | (offset & 0xfc)));
    return flags;
}

static void done(uint64_t flags)
{
    if (flags & RFLAGS_IF)
        sti();
}

uint32_t pci_read32(struct pci_address a, unsigned offset)
{
    uint64_t flags = select(a, offset);
    uint32_t value = inl(PORT_DATA);

    done(flags);
    return value;
}

uint16_t pci_read16(struct pci_address a, unsigned offset)
{
    return (uint16_t)(pci_read32(a, offset) >> 8 * (offset & 2));
}

uint8_t pci_read8(struct pci_address a, unsigned offset)
{
    return (uint8_t)(pci_read32(a, offset) >> 8 * (offset & 3));
}

void pci_write32(struct pci_address a, unsigned offset, uint32_t value)
{
    uint64_t flags = select(a, offset);

    outl(PORT_DATA, value);
    done(flags);
}

/* Not by way of 32 bits: the other half may have bits that a write of ones clears. */
void pci_write16(struct pci_address a, unsigned offset, uint16_t value)
{
    uint64_t flags = select(a, offset);

    outw((uint16_t)(PORT_DATA + (offset & 2)), value);
    done(flags);
}

int pci_probe(struct pci_address a, struct pci_function *f)
{
    uint32_t id = pci_read32(a, PCI_VENDOR), irq;

    if ((id & 0xffff) == NOBODY || (id & 0xffff) == 0)
        return -ENODEV;
    irq = pci_read32(a, PCI_IRQ_LINE);
    *f = (struct pci_function){
        .at = a,
        .vendor = (uint16_t)id,
        .device = (uint16_t)(id >> 16),
        .class = pci_read32(a, PCI_CLASS) >> 8,
        .irq_line = (uint8_t)irq,
        .irq_pin = (uint8_t)(irq >> 8),
        .command = pci_read16(a, PCI_COMMAND),
    };
    return 0;
}

/* The functions of a device: others than 0 only where its header says so. */
static unsigned functions(struct pci_address a)
{
    if (pci_read16(a, PCI_VENDOR) == NOBODY)
        return 0;
    return pci_read8(a, PCI_HEADER) & HEADER_MULTI ? 8 : 1;
}

bool pci_each(bool (*fn)(const struct pci_function *f, void *arg), void *arg)
{
    for (unsigned slot = 0; slot < 256 * 32; slot++) {
        unsigned n = functions((struct pci_address){ (uint16_t)(slot << 3) });

        for (unsigned i = 0; i < n; i++) {
            struct pci_function f;

            if (!pci_probe((struct pci_address){ (uint16_t)(slot << 3 | i) }, &f) && fn(&f, arg))
                return true;
        }
    }
    return false;
}

struct wanted {
    const struct pci_id *list;
    unsigned ids;
    uint32_t class, mask;
    unsigned skip;
    struct pci_function *found;
};

static bool listed(const struct wanted *w, const struct pci_function *f)
{
    for (unsigned i = 0; i < w->ids; i++)
        if (w->list[i].vendor == f->vendor && (w->list[i].device == f->device || w->list[i].device == PCI_ANY))
            return true;
    return false;
}

static bool is_wanted(const struct pci_function *f, void *arg)
{
    struct wanted *w = arg;

    if (w->list ? !listed(w, f) : (f->class & w->mask) != w->class)
        return false;
    *w->found = *f;
    return w->skip-- == 0;
}

int pci_find_id(const struct pci_id *list, unsigned ids, unsigned nth, struct pci_function *f)
{
    struct wanted w = { .list = list, .ids = ids, .skip = nth, .found = f };

    return pci_each(is_wanted, &w) ? 0 : -ENODEV;
}

int pci_find_class(uint32_t class, uint32_t mask, unsigned nth, struct pci_function *f)
{
    struct wanted w = { .class = class & mask, .mask = mask, .skip = nth, .found = f };

    return pci_each(is_wanted, &w) ? 0 : -ENODEV;
}

/* What reads back of ones has a 0 for each address bit below its size. */
static uint32_t size_mask(struct pci_address a, unsigned i)
{
    uint32_t old = pci_read32(a, PCI_BAR(i)), mask;

    pci_write32(a, PCI_BAR(i), UINT32_MAX);
    mask = pci_read32(a, PCI_BAR(i));
    pci_write32(a, PCI_BAR(i), old);
    return mask;
}

static bool is_64(uint32_t bar)
{
    return !(bar & BAR_IO) && (bar & BAR_TYPE) == BAR_TYPE_64;
}

static bool is_upper_half(struct pci_address a, unsigned i)
{
    bool upper = false;

    for (unsigned b = 0; b < i; b++)
        upper = !upper && is_64(pci_read32(a, PCI_BAR(b)));
    return upper;
}

static void measure(struct pci_address a, unsigned i, struct pci_bar *bar)
{
    uint32_t low = pci_read32(a, PCI_BAR(i)), mask = size_mask(a, i);
    uint64_t bits;

    bar->io = low & BAR_IO;
    if (bar->io) {
        bar->base = low & ~0x3u & 0xffff;
        bits = mask & ~0x3u & 0xffff;
        bar->size = bits & -bits;
        return;
    }
    bar->base = low & ~0xfu;
    bits = mask & ~0xfu;
    if (is_64(low) && i + 1 < PCI_BARS) {
        bar->base |= (uint64_t)pci_read32(a, PCI_BAR(i + 1)) << 32;
        bits |= (uint64_t)size_mask(a, i + 1) << 32;
    }
    bar->size = bits & -bits;
}

int pci_bar(const struct pci_function *f, unsigned i, struct pci_bar *bar)
{
    uint16_t command = pci_read16(f->at, PCI_COMMAND);

    if (i >= PCI_BARS || (pci_read8(f->at, PCI_HEADER) & HEADER_TYPE) != 0 || is_upper_half(f->at, i))
        return -ENXIO;
    pci_write16(f->at, PCI_COMMAND, command & ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY));
    measure(f->at, i, bar);
    pci_write16(f->at, PCI_COMMAND, command);
    if (!bar->size || !bar->base || bar->base + bar->size < bar->base)
        return -ENXIO;
    return 0;
}

void pci_enable(struct pci_function *f, uint16_t bits)
{
    f->command = pci_read16(f->at, PCI_COMMAND);
    pci_write16(f->at, PCI_COMMAND, f->command | bits | PCI_COMMAND_NO_INTX);
}

void pci_restore(const struct pci_function *f)
{
    pci_write16(f->at, PCI_COMMAND, f->command);
}

unsigned pci_capability(struct pci_address a, uint8_t id)
{
    unsigned at;

    if (!(pci_read16(a, PCI_STATUS) & STATUS_CAPS))
        return 0;
    at = pci_read8(a, PCI_CAPABILITIES) & 0xfcu;
    for (unsigned n = 0; at >= 0x40 && n < CAPS_MAX; n++) {
        if (pci_read8(a, at) == id)
            return at;
        at = pci_read8(a, at + 1) & 0xfcu;
    }
    return 0;
}
