/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>

#include "core/e820.h"
#include "core/loader_parts.h"
#include "core/sched.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"

int load_fail(struct load *l, int error, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    format_v(l->err, l->err_size, fmt, ap);
    va_end(ap);
    return -error;
}

/* "kernel needs 200 MiB at 0x1000000, the VM has 64 MiB", in KiB where that says more. */
static int fail_memory(struct load *l, const char *what, uint64_t size, const char *where, uint64_t base)
{
    bool small = size < MIB;
    unsigned long long amount = small ? ALIGN_UP(size, KIB) / KIB : size / MIB + (size % MIB != 0);

    return load_fail(l, ENOMEM, "%s needs %llu %s %s0x%llx, the VM has %llu MiB", what, amount, small ? "KiB" : "MiB",
                     where, (unsigned long long)base, (unsigned long long)(l->memory / MIB));
}

static int take(struct load *l, uint64_t base, uint64_t size, const char *what)
{
    if (l->used_count == LOAD_MAX_USED)
        return load_fail(l, ENOEXEC, "%s: too many pieces, at most %u are loaded", what, LOAD_MAX_USED);
    l->used[l->used_count].base = base;
    l->used[l->used_count].size = size;
    l->used_count++;
    return 0;
}

int load_claim(struct load *l, uint64_t base, uint64_t size, const char *what)
{
    uint64_t low = MIN(l->memory, GUEST_LOW_RAM_END);

    if (base >= low || size > low - base)
        return fail_memory(l, what, size, "at ", base);
    if (!e820_is_ram(low, base, size))
        return load_fail(l, EINVAL, "%s needs 0x%llx bytes at 0x%llx, which is not RAM", what,
                         (unsigned long long)size, (unsigned long long)base);
    return take(l, base, size, what);
}

/* The taken range that [base, base + size) runs into, or -1. */
static int find_overlap(const struct load *l, uint64_t base, uint64_t size)
{
    for (unsigned i = 0; i < l->used_count; i++) {
        if (base < l->used[i].base + l->used[i].size && l->used[i].base < base + size)
            return (int)i;
    }
    return -1;
}

int load_place(struct load *l, uint64_t size, uint64_t align, uint64_t limit, const char *what, uint64_t *base)
{
    uint64_t top = MIN(limit, MIN(l->memory, GUEST_LOW_RAM_END));

    while (size <= top) {
        uint64_t candidate = ALIGN_DOWN(top - size, align);
        int hit = find_overlap(l, candidate, size);

        if (hit < 0) {
            *base = candidate;
            return take(l, candidate, size, what);
        }
        top = l->used[hit].base;
    }
    return fail_memory(l, what, size, "free below ", limit);
}

int load_place_above(struct load *l, uint64_t size, uint64_t align, uint64_t from, const char *what, uint64_t *base)
{
    uint64_t end = MIN(l->memory, GUEST_LOW_RAM_END);
    uint64_t candidate = ALIGN_UP(from, align);

    while (candidate <= end && size <= end - candidate) {
        int hit = find_overlap(l, candidate, size);

        if (hit < 0) {
            *base = candidate;
            return take(l, candidate, size, what);
        }
        candidate = ALIGN_UP(l->used[hit].base + l->used[hit].size, align);
    }
    return fail_memory(l, what, size, "free above ", from);
}

static int fail_pmap(struct load *l, int error, uint64_t to, size_t n)
{
    if (error == -ENOMEM)
        return load_fail(l, ENOMEM, "the machine has no memory left");
    return load_fail(l, -error, "cannot write %llu bytes at 0x%llx of the guest", (unsigned long long)n,
                     (unsigned long long)to);
}

/* Much at once would keep the vCPUs of this pCPU waiting. */
#define PIECE (256 * KIB)

typedef int (*put_fn)(struct pmap *pmap, struct gpa to, const void *from, size_t n);

static int put(struct load *l, put_fn fn, uint64_t to, const void *from, size_t n)
{
    int rc = 0;

    for (size_t done = 0, piece; !rc && done < n; done += piece) {
        piece = MIN(n - done, PIECE - (to + done) % PIECE); /* whole pages can be shared */
        rc = fn(l->pmap, GPA(to + done), from ? (const uint8_t *)from + done : NULL, piece);
        sched_breathe();
    }
    return rc ? fail_pmap(l, rc, to, n) : 0;
}

static int put_zeros(struct pmap *pmap, struct gpa to, const void *from, size_t n)
{
    (void)from;
    return pmap_zero(pmap, to, n);
}

int load_write(struct load *l, uint64_t to, const void *from, size_t n)
{
    return put(l, pmap_write, to, from, n);
}

int load_file(struct load *l, uint64_t to, const struct config_file *file, uint64_t offset, size_t n)
{
    bool share = file->shared && !l->vm->share_off;

    return put(l, share ? pmap_load : pmap_write, to, (const uint8_t *)file->data + offset, n);
}

int load_zero(struct load *l, uint64_t to, size_t n)
{
    return put(l, put_zeros, to, NULL, n);
}

_Static_assert(E820_MAX >= 6 + PMAP_WINDOWS, "e820_build makes six entries at most");

unsigned load_memory_map(const struct load *l, struct e820_entry out[E820_MAX])
{
    unsigned n = e820_build(l->memory, out);

    for (unsigned i = 0; i < l->pmap->windows; i++) {
        const struct pmap_window *w = &l->pmap->window[i];

        out[n++] = (struct e820_entry){ w->base, w->size, E820_PERSISTENT };
    }
    return n;
}

int load_ramdisks(struct load *l, uint64_t limit, uint64_t *base, uint64_t *size)
{
    uint64_t total = 0;
    int rc;

    *base = 0;
    *size = 0;
    for (unsigned i = 0; i < l->vm->ramdisks; i++)
        total = ALIGN_UP(total, 4) + l->vm->ramdisk[i].size;
    if (!total)
        return 0;
    rc = load_place(l, total, PAGE_SIZE, limit, "ramdisk", base);
    if (rc)
        return rc;

    for (unsigned i = 0; i < l->vm->ramdisks; i++) {
        const struct config_file *file = &l->vm->ramdisk[i];

        *size = ALIGN_UP(*size, 4);
        rc = load_file(l, *base + *size, file, 0, file->size);
        if (rc)
            return rc;
        *size += file->size;
    }
    return 0;
}

int load_string(struct load *l, const char *text, const char *what, uint64_t *base)
{
    size_t size = strlen(text) + 1;
    int rc = load_place(l, size, 16, LOAD_LOW_LIMIT, what, base);

    return rc ? rc : load_write(l, *base, text, size);
}

/* 2 MiB pages for the first 4 GiB: one PML4, one PDPT, four page directories (SDM vol. 3, 4.5). */
static int load_identity_map(struct load *l, uint64_t *cr3)
{
    enum { PRESENT_WRITABLE = 3, LARGE = 0x80, DIRECTORIES = 4, CHUNK = 64 };
    uint64_t entries[CHUNK], base;
    int rc = load_place(l, (2 + DIRECTORIES) * PAGE_SIZE, PAGE_SIZE, LOAD_LOW_LIMIT, "page tables", &base);

    if (!rc)
        rc = load_zero(l, base, 2 * PAGE_SIZE);
    entries[0] = (base + PAGE_SIZE) | PRESENT_WRITABLE;
    if (!rc)
        rc = load_write(l, base, entries, sizeof(entries[0]));
    for (unsigned i = 0; i < DIRECTORIES; i++)
        entries[i] = (base + (2 + i) * PAGE_SIZE) | PRESENT_WRITABLE;
    if (!rc)
        rc = load_write(l, base + PAGE_SIZE, entries, DIRECTORIES * sizeof(entries[0]));

    for (uint64_t n = 0; !rc && n < DIRECTORIES * 512; n += CHUNK) {
        for (uint64_t i = 0; i < CHUNK; i++)
            entries[i] = (n + i) * PAGE_SIZE_2M | LARGE | PRESENT_WRITABLE;
        rc = load_write(l, base + 2 * PAGE_SIZE + n * sizeof(entries[0]), entries, sizeof(entries));
    }
    *cr3 = base;
    return rc;
}

int load_processor(struct load *l, enum guest_mode mode, uint64_t rip)
{
    /* Flat, accessed, ring 0 (SDM vol. 3, 3.4.5). Linux wants its code at 0x10 and data at 0x18 (boot.rst). */
    static const uint64_t gdt_long[] = { 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff };
    static const uint64_t gdt_prot[] = { 0, 0x00cf9b000000ffff, 0x00cf93000000ffff };
    bool is_long = mode == GUEST_LONG64;
    size_t gdt_size = is_long ? sizeof(gdt_long) : sizeof(gdt_prot);
    struct guest_entry *e = l->entry;
    int rc = load_place(l, PAGE_SIZE, PAGE_SIZE, LOAD_LOW_LIMIT, "descriptor table", &e->gdt);

    if (!rc)
        rc = load_write(l, e->gdt, is_long ? gdt_long : gdt_prot, gdt_size);
    if (!rc && is_long)
        rc = load_identity_map(l, &e->cr3);
    e->mode = mode;
    e->rip = rip;
    e->rsp = e->gdt + PAGE_SIZE; /* the rest of the table's page: a small stack for kernels that expect one */
    e->gdt_limit = (uint16_t)(gdt_size - 1);
    e->cs = is_long ? 0x10 : 0x08;
    e->ds = is_long ? 0x18 : 0x10;
    return rc;
}

static int load_kernel(struct load *l)
{
    const struct config_file *kernel = &l->vm->kernel;
    struct elf_image elf;
    uint64_t pvh_entry;
    uint32_t header;
    bool multiboot;
    int rc;

    if (linux_is_image(kernel))
        return linux_load(l);
    multiboot = multiboot_find(kernel, &header);
    if (multiboot && multiboot_has_addresses(kernel, header))
        return multiboot_load(l, header, NULL);
    if (!elf_is_image(kernel))
        return load_fail(l, ENOEXEC, "not a kernel: neither bzImage, PVH ELF nor multiboot");

    rc = elf_open(l, &elf);
    if (rc)
        return rc;
    rc = vmlinux_load(l, &elf);
    if (rc)
        return MIN(rc, 0);
    rc = elf_pvh_entry(l, &elf, &pvh_entry);
    if (rc < 0)
        return rc;
    if (rc)
        return elf_load_pvh(l, &elf, pvh_entry);
    if (multiboot)
        return multiboot_load(l, header, &elf);
    return load_fail(l, ENOEXEC, "not a kernel: an ELF file with neither a PVH note nor a multiboot header");
}

int loader_load(const struct vm_config *vm, struct pmap *pmap, uint64_t place, struct guest_entry *entry, char *err,
                size_t err_size)
{
    struct load l = { .vm = vm, .pmap = pmap, .place = place, .entry = entry, .memory = pmap_memory(pmap), .err = err,
                      .err_size = err_size };
    int rc;

    if (err_size)
        err[0] = '\0';
    memset(entry, 0, sizeof(*entry));
    /* Nothing of ours goes into the first page (vectors, BIOS data area) or between conventional memory and 1 MiB. */
    l.used[0].size = PAGE_SIZE;
    l.used[1].base = LOAD_EBDA_BASE;
    l.used[1].size = MIB - LOAD_EBDA_BASE;
    l.used_count = 2;
    if (l.memory < MIB)
        return load_fail(&l, ENOMEM, "a VM needs at least 1 MiB of memory, this one has %llu KiB",
                         (unsigned long long)(l.memory / KIB));
    rc = bios_load(&l);
    return rc ? rc : load_kernel(&l);
}
