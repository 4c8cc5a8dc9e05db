/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/acpi_tables.h"

#include "lib/errno.h"
#include "lib/string.h"
#include "vdev/acpi_pm.h"
#include "vdev/dsdt_aml.h"      /* made by iasl from vdev/dsdt.asl */
#include "vdev/nvdimm_aml.h"    /* and from vdev/nvdimm.asl */

_Static_assert(sizeof(struct acpi_rsdp) == 36, "ACPI 5.2.5.3");
_Static_assert(sizeof(struct acpi_header) == 36, "ACPI 5.2.6");
_Static_assert(sizeof(struct acpi_fadt) == 268, "revision 5 and its length");
_Static_assert(sizeof(struct acpi_facs) == 64, "ACPI 5.2.10");
_Static_assert(sizeof(struct acpi_nfit_range) == 56, "ACPI 5.2.25.2");
_Static_assert(sizeof(struct acpi_nfit_capabilities) == 16, "ACPI 5.2.25.9");

#define FADT_REVISION 5
#define FADT_MINOR    1
#define MADT_REVISION 3

/* FADT flags (table 5.10) */
#define FADT_WBINVD       BIT(0)
#define FADT_C1           BIT(2)
#define FADT_NO_SLEEP_BUTTON BIT(5)
#define FADT_NO_FIXED_RTC BIT(6)
#define FADT_TIMER_32     BIT(8)
#define FADT_RESET        BIT(10)
/* IA-PC boot architecture (table 5.11): what is there, then what is not. */
#define BOOT_LEGACY       BIT(0)
#define BOOT_8042         BIT(1)
#define BOOT_NO_VGA       BIT(2)
#define BOOT_NO_MSI       BIT(3)
#define BOOT_NO_ASPM      BIT(4)
#define CMOS_CENTURY      0x32

#define MADT_PCAT         1u            /* there are 8259s too */
#define MADT_ENABLED      1u
#define POLARITY_HIGH     1u
#define TRIGGER_EDGE      (1u << 2)
#define TRIGGER_LEVEL     (3u << 2)
#define ALL_PROCESSORS    0xff

#define NFIT_REVISION     1
#define NFIT_CACHES_KEPT  BIT(0)        /* what is in the processor's caches is not lost, nor in */
#define NFIT_MEMORY_KEPT  BIT(1)        /* the memory controller */
#define EFI_MEMORY_WB     BIT(3)
#define EFI_MEMORY_NV     BIT(15)

#define SPACE_IO    1
#define NO_C2       101                 /* above 100 us: not supported */
#define NO_C3       1001

#define ALIGNMENT   64
#define MAX_TABLES  4                   /* that the roots name */

/* Tables grow upwards in a buffer; once one did not fit, nothing more is written. */
struct builder {
    uint8_t *buf;
    size_t size, used;
    bool full;
};

static uint32_t address_of(const struct builder *b, const void *p)
{
    return (uint32_t)(BOARD_ACPI_BASE + (uint64_t)((const uint8_t *)p - b->buf));
}

/* Zeroed room behind what is there, or NULL. */
static void *reserve(struct builder *b, size_t bytes)
{
    void *p = b->buf + b->used;

    if (b->full || bytes > b->size - b->used) {
        b->full = true;
        return NULL;
    }
    memset(p, 0, bytes);
    b->used += bytes;
    return p;
}

static void *begin(struct builder *b, size_t bytes)
{
    size_t aligned = ALIGN_UP(b->used, ALIGNMENT);

    if (b->full || aligned > b->size) {
        b->full = true;
        return NULL;
    }
    memset(b->buf + b->used, 0, aligned - b->used);
    b->used = aligned;
    return reserve(b, bytes);
}

static uint8_t checksum(const void *p, size_t bytes)
{
    const uint8_t *byte = p;
    uint8_t sum = 0;

    for (size_t i = 0; i < bytes; i++)
        sum += byte[i];
    return (uint8_t)-sum;
}

static void fill_header(struct acpi_header *h, const char *signature, uint8_t revision, size_t length)
{
    memcpy(h->signature, signature, 4);
    h->length = (uint32_t)length;
    h->revision = revision;
    memcpy(h->oem_id, "MIRROR", 6);
    memcpy(h->oem_table_id, "MBALL   ", 8);
    h->oem_revision = 1;
    memcpy(h->creator_id, "MBAL", 4);
    h->creator_revision = 1;
    h->checksum = 0;
    h->checksum = checksum(h, length);
}

static struct acpi_gas io(uint64_t port, unsigned bytes)
{
    return (struct acpi_gas){ SPACE_IO, (uint8_t)(8 * bytes), 0, bytes == 1 ? 1 : bytes == 2 ? 2 : 3, port };
}

static void *add_aml(struct builder *b, const void *aml, size_t bytes)
{
    void *table = begin(b, bytes);

    if (table)
        memcpy(table, aml, bytes);
    return table;
}

static void *add_facs(struct builder *b)
{
    struct acpi_facs *f = begin(b, sizeof(*f));

    if (!f)
        return NULL;
    memcpy(f->signature, "FACS", 4);
    f->length = sizeof(*f);
    f->version = 2;
    return f;
}

/* The 64-bit addresses of what the 32-bit ones name; both must agree. */
static void fill_fadt_blocks(struct acpi_fadt *f)
{
    f->pm1a_event = BOARD_PM_BASE;
    f->pm1_event_length = 4;
    f->x_pm1a_event = io(BOARD_PM_BASE, 4);
    f->x_pm1a_event.access = 2;         /* two 16-bit registers */
    f->pm1a_control = BOARD_PM_BASE + 4;
    f->pm1_control_length = 2;
    f->x_pm1a_control = io(BOARD_PM_BASE + 4, 2);
    f->pm_timer = BOARD_PM_BASE + 8;
    f->pm_timer_length = 4;
    f->x_pm_timer = io(BOARD_PM_BASE + 8, 4);
    f->reset_register = io(0xcf9, 1);
    f->reset_value = 0x06;
}

/* No SMI command port: the machine is always in ACPI mode. The power button is a fixed one (flag clear). */
static void *add_fadt(struct builder *b, const void *facs, const void *dsdt)
{
    struct acpi_fadt *f = begin(b, sizeof(*f));

    if (!f)
        return NULL;
    f->facs = address_of(b, facs);
    f->x_facs = f->facs;
    f->dsdt = address_of(b, dsdt);
    f->x_dsdt = f->dsdt;
    f->sci_interrupt = BOARD_GSI_SCI;
    fill_fadt_blocks(f);
    f->c2_latency = NO_C2;
    f->c3_latency = NO_C3;
    f->century = CMOS_CENTURY;
    f->boot_architecture = BOOT_LEGACY | BOOT_8042 | BOOT_NO_VGA | BOOT_NO_MSI | BOOT_NO_ASPM;
    f->flags = FADT_WBINVD | FADT_C1 | FADT_NO_SLEEP_BUTTON | FADT_NO_FIXED_RTC | FADT_TIMER_32 | FADT_RESET;
    f->minor = FADT_MINOR;
    fill_header(&f->header, "FACP", FADT_REVISION, sizeof(*f));
    return f;
}

static void add_lapic(struct builder *b, unsigned vcpu)
{
    struct acpi_madt_lapic *e = reserve(b, sizeof(*e));

    if (e)
        *e = (struct acpi_madt_lapic){ ACPI_MADT_LAPIC, sizeof(*e), (uint8_t)vcpu, (uint8_t)vcpu, MADT_ENABLED };
}

static void add_override(struct builder *b, uint8_t source, uint32_t gsi, unsigned flags)
{
    struct acpi_madt_override *e = reserve(b, sizeof(*e));

    if (e)
        *e = (struct acpi_madt_override){ ACPI_MADT_OVERRIDE, sizeof(*e), 0, source, gsi, (uint16_t)flags };
}

/* The I/O APIC's id is the first that no local APIC has. */
static void add_ioapic(struct builder *b, unsigned vcpus)
{
    struct acpi_madt_ioapic *e = reserve(b, sizeof(*e));

    if (e)
        *e = (struct acpi_madt_ioapic){ ACPI_MADT_IOAPIC, sizeof(*e), (uint8_t)vcpus, 0, BOARD_IOAPIC_BASE, 0 };
}

static void add_nmi(struct builder *b)
{
    struct acpi_madt_nmi *e = reserve(b, sizeof(*e));

    if (e)
        *e = (struct acpi_madt_nmi){ ACPI_MADT_LAPIC_NMI, sizeof(*e), ALL_PROCESSORS, POLARITY_HIGH | TRIGGER_EDGE, 1 };
}

static void *add_madt(struct builder *b, unsigned vcpus)
{
    struct acpi_madt *m = begin(b, sizeof(*m));

    for (unsigned i = 0; i < vcpus; i++)
        add_lapic(b, i);
    add_ioapic(b, vcpus);
    add_override(b, 0, 2, POLARITY_HIGH | TRIGGER_EDGE);
    add_override(b, BOARD_GSI_SCI, BOARD_GSI_SCI, POLARITY_HIGH | TRIGGER_LEVEL);
    add_nmi(b);
    if (b->full)
        return NULL;
    m->lapic_base = (uint32_t)BOARD_LAPIC_BASE;
    m->flags = MADT_PCAT;
    fill_header(&m->header, "APIC", MADT_REVISION, (size_t)(b->buf + b->used - (uint8_t *)m));
    return m;
}

static void add_range(struct builder *b, unsigned index, const struct pmap_window *window)
{
    /* 66f0d379-b4f3-4074-ac43-0d3318b78cdb: byte-addressable persistent memory */
    static const uint8_t persistent[16] = { 0x79, 0xd3, 0xf0, 0x66, 0xf3, 0xb4, 0x74, 0x40,
                                            0xac, 0x43, 0x0d, 0x33, 0x18, 0xb7, 0x8c, 0xdb };
    struct acpi_nfit_range *r = reserve(b, sizeof(*r));

    if (!r)
        return;
    *r = (struct acpi_nfit_range){ .type = ACPI_NFIT_RANGE, .length = sizeof(*r), .index = (uint16_t)index,
                                   .base = window->base, .size = window->size,
                                   .attributes = EFI_MEMORY_WB | EFI_MEMORY_NV };
    memcpy(r->guid, persistent, sizeof(persistent));
}

/* Ranges alone: without the modules behind them, systems take each as one disk. No cache needs to be flushed. */
static void *add_nfit(struct builder *b, const struct pmap_window *windows, unsigned count)
{
    struct acpi_nfit *n = begin(b, sizeof(*n));
    struct acpi_nfit_capabilities *c;

    for (unsigned i = 0; i < count; i++)
        add_range(b, i + 1, &windows[i]);
    c = reserve(b, sizeof(*c));
    if (!c)
        return NULL;
    *c = (struct acpi_nfit_capabilities){ .type = ACPI_NFIT_CAPABILITIES, .length = sizeof(*c), .highest = 1,
                                          .capabilities = NFIT_CACHES_KEPT | NFIT_MEMORY_KEPT };
    fill_header(&n->header, "NFIT", NFIT_REVISION, (size_t)(b->buf + b->used - (uint8_t *)n));
    return n;
}

/* The RSDT (32-bit addresses) or the XSDT. */
static void *add_root(struct builder *b, const char *signature, size_t width, const uint64_t *tables, unsigned count)
{
    uint8_t *root = begin(b, sizeof(struct acpi_header) + count * width);

    if (!root)
        return NULL;
    for (unsigned i = 0; i < count; i++)
        memcpy(root + sizeof(struct acpi_header) + i * width, &tables[i], width);
    fill_header((struct acpi_header *)root, signature, 1, sizeof(struct acpi_header) + count * width);
    return root;
}

static void fill_rsdp(struct acpi_rsdp *r, uint32_t rsdt, uint32_t xsdt)
{
    memcpy(r->signature, "RSD PTR ", 8);
    memcpy(r->oem_id, "MIRROR", 6);
    r->revision = 2;
    r->rsdt = rsdt;
    r->length = sizeof(*r);
    r->xsdt = xsdt;
    r->checksum = checksum(r, 20);
    r->extended_checksum = checksum(r, sizeof(*r));
}

/* What the roots name; NULL where one did not fit. */
static unsigned add_tables(struct builder *b, unsigned vcpus, const struct pmap_window *windows, unsigned count,
                           const void *out[MAX_TABLES])
{
    void *facs = add_facs(b), *dsdt = add_aml(b, dsdt_aml, sizeof(dsdt_aml));
    unsigned n = 0;

    out[n++] = dsdt ? add_fadt(b, facs, dsdt) : NULL;
    out[n++] = add_madt(b, vcpus);
    if (count) {
        out[n++] = add_nfit(b, windows, count);
        out[n++] = add_aml(b, nvdimm_aml, sizeof(nvdimm_aml));
    }
    return n;
}

/* The root pointer is at the start of the buffer. No locks. */
int board_acpi_build(unsigned vcpus, const struct pmap_window *windows, unsigned count, void *buf, size_t size)
{
    struct builder b = { .buf = buf, .size = size };
    struct acpi_rsdp *rsdp = begin(&b, sizeof(*rsdp));
    const void *tables[MAX_TABLES];
    uint64_t addresses[MAX_TABLES];
    unsigned n = add_tables(&b, vcpus, windows, count, tables);
    void *rsdt, *xsdt;

    for (unsigned i = 0; i < n && !b.full; i++)
        addresses[i] = address_of(&b, tables[i]);
    rsdt = add_root(&b, "RSDT", sizeof(uint32_t), addresses, n);
    xsdt = add_root(&b, "XSDT", sizeof(uint64_t), addresses, n);
    if (b.full)
        return -ENOSPC;
    fill_rsdp(rsdp, address_of(&b, rsdt), address_of(&b, xsdt));
    return (int)b.used;
}
