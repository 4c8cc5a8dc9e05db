/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/e820.h"
#include "core/loader_parts.h"
#include "lib/errno.h"
#include "lib/string.h"

/* Multiboot Specification version 0.6.96. */
struct mb_header {
    uint32_t magic, flags, checksum;
    uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr; /* with HAS_ADDRESSES */
};

struct mb_info {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4], mmap_length, mmap_addr;
    uint32_t drives_length, drives_addr, config_table, boot_loader_name, apm_table;
};

struct mb_module { uint32_t start, end, string, reserved; };
struct mb_mmap { uint32_t size; uint64_t base, length; uint32_t type; } __attribute__((packed));

enum {
    SEARCH = 8192,             /* the header lies in the file's first 8 KiB, at a multiple of 4 */
    HEADER_SHORT = 12,
    HEADER_MAGIC = 0x1badb002,
    /* Modules are page aligned and the memory fields filled in any case; without a display there is no video mode. */
    ALIGN_MODULES = 1, WANT_MEMORY = 2, WANT_VIDEO = 4, MANDATORY = 0xffff, HAS_ADDRESSES = 0x10000,
    INFO_MEMORY = 0x1, INFO_CMDLINE = 0x4, INFO_MODULES = 0x8, INFO_MMAP = 0x40, INFO_LOADER_NAME = 0x200,
};

#define MB_LOADER_MAGIC 0x2badb002u

/* The information structure and its tables, at one low address. */
struct mb_block {
    struct mb_info info;
    struct mb_mmap map[E820_MAX];
    struct mb_module module[CONFIG_MAX_RAMDISKS];
    char loader_name[16];
};

static void read_header(const struct config_file *file, uint32_t offset, struct mb_header *h)
{
    memset(h, 0, sizeof(*h));
    memcpy(h, (const uint8_t *)file->data + offset, MIN(sizeof(*h), file->size - offset));
}

bool multiboot_find(const struct config_file *file, uint32_t *offset)
{
    size_t limit = MIN((size_t)SEARCH, file->size);
    struct mb_header h;

    for (uint32_t at = 0; at + HEADER_SHORT <= limit; at += 4) {
        read_header(file, at, &h);
        if (h.magic == HEADER_MAGIC && h.magic + h.flags + h.checksum == 0) {
            *offset = at;
            return true;
        }
    }
    return false;
}

bool multiboot_has_addresses(const struct config_file *file, uint32_t offset)
{
    struct mb_header h;

    read_header(file, offset, &h);
    return h.flags & HAS_ADDRESSES;
}

/* The file as the header's own address fields describe it (3.1.3); all sums are 64-bit. */
static int load_by_addresses(struct load *l, uint32_t offset, const struct mb_header *h, uint64_t *end)
{
    const struct config_file *file = &l->vm->kernel;
    uint64_t load = h->load_addr, back = h->header_addr - load, from = offset - back, size;
    int rc;

    if (file->size - offset < sizeof(*h))
        return load_fail(l, ENOEXEC, "kernel is truncated: the file ends in its multiboot header");
    if (back > offset) /* also where the header lies below the load address: the difference is then huge */
        return load_fail(l, ENOEXEC, "kernel is damaged: multiboot load address 0x%x does not fit header address 0x%x",
                         h->load_addr, h->header_addr);
    size = h->load_end_addr ? h->load_end_addr - load : file->size - from;
    if (h->load_end_addr && h->load_end_addr <= load)
        return load_fail(l, ENOEXEC, "kernel is damaged: multiboot load end 0x%x is not above its start 0x%x",
                         h->load_end_addr, h->load_addr);
    if (size > file->size - from)
        return load_fail(l, ENOEXEC, "kernel is truncated: its multiboot header loads 0x%llx bytes, the file has "
                         "0x%llx", (unsigned long long)size, (unsigned long long)(file->size - from));
    *end = load + size;
    if (h->bss_end_addr && h->bss_end_addr < *end)
        return load_fail(l, ENOEXEC, "kernel is damaged: multiboot BSS end 0x%x is below its start 0x%llx",
                         h->bss_end_addr, (unsigned long long)*end);
    if (h->entry_addr < load || h->entry_addr >= *end)
        return load_fail(l, ENOEXEC, "kernel is damaged: its entry 0x%x is outside what it loads", h->entry_addr);

    *end = MAX(*end, (uint64_t)h->bss_end_addr);
    rc = load_claim(l, load, *end - load, "kernel");
    if (!rc)
        rc = load_file(l, load, file, from, size);
    return rc ? rc : load_zero(l, load + size, *end - load - size);
}

/* Kernels linked to high addresses give a virtual entry: it means the place where that segment is loaded. */
static uint64_t physical_entry(const struct elf_image *elf)
{
    struct elf_segment s;

    for (unsigned i = 0; i < elf->phnum; i++) {
        elf_segment_get(elf, i, &s);
        if (s.type == ELF_PT_LOAD && elf->entry >= s.vaddr && elf->entry - s.vaddr < s.filesz)
            return elf->entry - s.vaddr + s.paddr;
    }
    return elf->entry;
}

static int load_by_elf(struct load *l, const struct elf_image *elf, uint64_t *entry, uint64_t *end)
{
    *entry = physical_entry(elf);
    if (!elf_loads_address(elf, *entry))
        return load_fail(l, ENOEXEC, "kernel is damaged: its entry 0x%llx is outside what it loads",
                         (unsigned long long)*entry);
    return elf_load_segments(l, elf, 0, end);
}

/* Each ramdisk file is a module, page aligned, behind the kernel: where other loaders put them, too. */
static int load_modules(struct load *l, uint64_t from, struct mb_block *block)
{
    for (unsigned i = 0; i < l->vm->ramdisks; i++) {
        const struct config_file *file = &l->vm->ramdisk[i];
        uint64_t base, string;
        int rc = load_place_above(l, file->size, PAGE_SIZE, from, "ramdisk", &base);

        if (!rc)
            rc = load_file(l, base, file, 0, file->size);
        if (!rc)
            rc = load_string(l, load_file_name(file->path), "name of a ramdisk", &string);
        if (rc)
            return rc;
        block->module[i] = (struct mb_module){ (uint32_t)base, (uint32_t)(base + file->size), (uint32_t)string, 0 };
        block->info.mods_count = i + 1;
    }
    return 0;
}

/* "NAME EXTRA", as if typed at a loader's prompt. */
static int load_command(struct load *l, uint32_t *cmdline)
{
    const char *name = load_file_name(l->vm->kernel.path), *extra = l->vm->extra;
    size_t name_length = strlen(name), extra_size = strlen(extra) + 1;
    uint64_t base;
    int rc = load_place(l, name_length + 1 + extra_size, 16, LOAD_LOW_LIMIT, "command line", &base);

    if (!rc)
        rc = load_write(l, base, name, name_length);
    if (!rc)
        rc = load_write(l, base + name_length, *extra ? " " : "", 1);
    *cmdline = (uint32_t)base;
    return rc ? rc : load_write(l, base + name_length + 1, extra, extra_size);
}

/* Lower memory is what lies below the extended BIOS data area; upper memory ends at the first hole above 1 MiB. */
static void fill_memory(const struct load *l, struct mb_block *block)
{
    struct e820_entry map[E820_MAX];
    unsigned n = load_memory_map(l, map);

    for (unsigned i = 0; i < n; i++) {
        block->map[i] = (struct mb_mmap){ sizeof(block->map[i]) - sizeof(block->map[i].size), map[i].base, map[i].size,
                                          map[i].type };
        if (map[i].type == E820_RAM && map[i].base == 0)
            block->info.mem_lower = (uint32_t)(map[i].size / KIB);
        if (map[i].type == E820_RAM && map[i].base == MIB)
            block->info.mem_upper = (uint32_t)(map[i].size / KIB);
    }
    block->info.mmap_length = (uint32_t)(n * sizeof(block->map[0]));
}

static int load_info(struct load *l, uint64_t kernel_end, uint64_t *base)
{
    struct mb_block block = { .info = { .flags = INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MMAP |
                                                 INFO_LOADER_NAME },
                              .loader_name = "Mirrorball" };
    int rc = load_place(l, sizeof(block), PAGE_SIZE, LOAD_LOW_LIMIT, "multiboot information", base);

    if (!rc)
        rc = load_command(l, &block.info.cmdline);
    if (!rc)
        rc = load_modules(l, MAX(kernel_end, MIB), &block);
    if (rc)
        return rc;
    fill_memory(l, &block);
    block.info.mods_addr = (uint32_t)(*base + offsetof(struct mb_block, module));
    block.info.mmap_addr = (uint32_t)(*base + offsetof(struct mb_block, map));
    block.info.boot_loader_name = (uint32_t)(*base + offsetof(struct mb_block, loader_name));
    return load_write(l, *base, &block, sizeof(block));
}

int multiboot_load(struct load *l, uint32_t header, const struct elf_image *elf)
{
    struct mb_header h;
    uint64_t entry, end;
    uint32_t unknown;
    int rc;

    read_header(&l->vm->kernel, header, &h);
    unknown = h.flags & MANDATORY & ~(uint32_t)(ALIGN_MODULES | WANT_MEMORY | WANT_VIDEO);
    if (unknown)
        return load_fail(l, ENOTSUP, "kernel needs multiboot features that are not known: flags 0x%x", unknown);
    entry = h.entry_addr;
    rc = elf ? load_by_elf(l, elf, &entry, &end) : load_by_addresses(l, header, &h, &end);
    if (!rc)
        rc = load_info(l, end, &l->entry->rbx);
    l->entry->rax = MB_LOADER_MAGIC;
    return rc ? rc : load_processor(l, GUEST_PROT32, entry);
}
