/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/madt.h"

#include "arch/x86/acpi.h"
#include "lib/string.h"

#define FIRST_ENTRY (sizeof(struct acpi_header) + 8)
#define ENABLED     BIT(0)

enum { LOCAL_APIC = 0, IO_APIC = 1, LOCAL_X2APIC = 9 };

struct entry {
    uint8_t type, length;
} __attribute__((packed));

struct local_apic {
    struct entry head;
    uint8_t uid, id;
    uint32_t flags;
} __attribute__((packed));

struct io_apic {
    struct entry head;
    uint8_t id, reserved;
    uint32_t base, first_interrupt;
} __attribute__((packed));

struct local_x2apic {
    struct entry head;
    uint16_t reserved;
    uint32_t id, flags, uid;
} __attribute__((packed));

/* Copies an entry that is as long as its type needs; *at moves on to the next. False at the end, also a broken one. */
static bool next_entry(const void *madt, size_t len, size_t *at, void *out, size_t size)
{
    const struct entry *e = (const struct entry *)((const char *)madt + *at);

    if (*at > len || len - *at < sizeof(*e) || e->length < sizeof(*e) || e->length > len - *at)
        return false;
    memset(out, 0, size);
    memcpy(out, e, MIN(size, (size_t)e->length));
    *at += e->length;
    return true;
}

unsigned madt_processors(const void *madt, size_t len, uint32_t *apic_id, unsigned max)
{
    union { struct entry head; struct local_apic xapic; struct local_x2apic x2apic; } e;
    unsigned n = 0;

    for (size_t at = FIRST_ENTRY; n < max && next_entry(madt, len, &at, &e, sizeof(e));) {
        if (e.head.type == LOCAL_APIC && e.xapic.flags & ENABLED)
            apic_id[n++] = e.xapic.id;
        else if (e.head.type == LOCAL_X2APIC && e.x2apic.flags & ENABLED)
            apic_id[n++] = e.x2apic.id;
    }
    return n;
}

unsigned madt_io_apics(const void *madt, size_t len, uint64_t *base, unsigned max)
{
    struct io_apic e;
    unsigned n = 0;

    for (size_t at = FIRST_ENTRY; n < max && next_entry(madt, len, &at, &e, sizeof(e));)
        if (e.head.type == IO_APIC && e.base)
            base[n++] = e.base;
    return n;
}
