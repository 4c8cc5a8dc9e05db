/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/acpi.h"

#include "lib/string.h"

/* ACPI 6.5, 5.2.5.3. The first 20 bytes are all that revision 0 has. */
struct rsdp {
    char signature[8];
    uint8_t checksum;
    char oem_id[6];
    uint8_t revision;
    uint32_t rsdt;
    uint32_t length;
    uint64_t xsdt;
    uint8_t extended_checksum;
    uint8_t reserved[3];
} __attribute__((packed));

#define RSDP_V1_SIZE 20u
#define RSDP_MAX     256u

/* The root table: its entries are 4 (RSDT) or 8 (XSDT) bytes wide. */
struct root {
    uint64_t address;
    unsigned width;
};

static bool sum_is_zero(const void *data, size_t n)
{
    const uint8_t *p = data;
    uint8_t sum = 0;

    while (n--)
        sum = (uint8_t)(sum + *p++);
    return !sum;
}

/*
 * Maps a whole table: its head first, for the length. NULL if that or the checksum is wrong, or the signature another.
 */
static const struct acpi_header *map_table(acpi_map map, uint64_t phys, const char sig[4])
{
    const struct acpi_header *h = phys ? map(phys, sizeof(*h)) : NULL;
    uint32_t length;

    if (!h || memcmp(h->signature, sig, 4))
        return NULL;
    length = h->length;
    if (length < sizeof(*h) || length > ACPI_TABLE_MAX || phys + length < phys)
        return NULL;
    h = map(phys, length);
    return h && h->length == length && sum_is_zero(h, length) ? h : NULL;
}

static const struct rsdp *map_rsdp_v2(acpi_map map, uint64_t phys)
{
    const struct rsdp *r = map(phys, sizeof(*r));
    uint32_t length = r ? r->length : 0;

    if (length < sizeof(*r) || length > RSDP_MAX)
        return NULL;
    r = map(phys, length);
    return r && sum_is_zero(r, length) ? r : NULL;
}

static bool find_root(acpi_map map, uint64_t phys, struct root *root)
{
    const struct rsdp *r = phys ? map(phys, RSDP_V1_SIZE) : NULL;

    if (!r || memcmp(r->signature, "RSD PTR ", 8) || !sum_is_zero(r, RSDP_V1_SIZE))
        return false;
    *root = (struct root){ r->rsdt, 4 };
    if (r->revision >= 2 && (r = map_rsdp_v2(map, phys)) && r->xsdt)
        *root = (struct root){ r->xsdt, 8 };
    return root->address != 0;
}

/* Entry i of the root table. Mapped anew each time: the tables looked at in between may have replaced it. */
static uint64_t root_entry(acpi_map map, const struct root *root, size_t i, bool *end)
{
    const struct acpi_header *h = map_table(map, root->address, root->width == 8 ? "XSDT" : "RSDT");
    uint64_t address = 0;

    *end = !h || i >= (h->length - sizeof(*h)) / root->width;
    if (!*end)
        memcpy(&address, (const char *)(h + 1) + i * root->width, root->width);
    return address;
}

const void *acpi_find(acpi_map map, uint64_t rsdp, const char sig[4], size_t *len)
{
    struct root root;
    bool end = !find_root(map, rsdp, &root);

    for (size_t i = 0; !end; i++) {
        uint64_t address = root_entry(map, &root, i, &end);
        const struct acpi_header *h = end ? NULL : map_table(map, address, sig);

        if (h) {
            *len = h->length;
            return h;
        }
    }
    return NULL;
}
