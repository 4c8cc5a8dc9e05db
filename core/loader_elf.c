/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/e820.h"
#include "core/loader_parts.h"
#include "core/sched.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vdev/board.h"

/* System V ABI, chapters 4 and 5: the two classes differ in the width and the order of a few fields. */
struct elf_ident { uint8_t magic[4], class, data, version, pad[9]; };

struct elf32_header {
    struct elf_ident ident;
    uint16_t type, machine;
    uint32_t version, entry, phoff, shoff, flags;
    uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf64_header {
    struct elf_ident ident;
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, phoff, shoff;
    uint32_t flags;
    uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf32_phdr { uint32_t type, offset, vaddr, paddr, filesz, memsz, flags, align; };
struct elf64_phdr { uint32_t type, flags; uint64_t offset, vaddr, paddr, filesz, memsz, align; };
struct elf64_shdr {
    uint32_t name, type;
    uint64_t flags, addr, offset, size;
    uint32_t link, info;
    uint64_t addralign, entsize;
};

struct elf_note { uint32_t namesz, descsz, type; };

enum {
    CLASS_32 = 1, CLASS_64 = 2, LITTLE_ENDIAN_DATA = 1, TYPE_EXEC = 2, TYPE_DYN = 3, MACHINE_386 = 3,
    MACHINE_X86_64 = 62,
    MAX_PHDRS = 256,
    SECTION_EMPTY = 0, SECTION_NO_BITS = 8,
    NOTE_PHYS32_ENTRY = 18,    /* XEN_ELFNOTE_PHYS32_ENTRY */
};

bool elf_is_image(const struct config_file *file)
{
    return file->size >= sizeof(struct elf_ident) && !memcmp(file->data, "\177ELF", 4);
}

void elf_segment_get(const struct elf_image *elf, unsigned index, struct elf_segment *out)
{
    const uint8_t *at = elf->data + elf->phoff + (uint64_t)index * elf->phentsize;
    struct elf32_phdr p32;
    struct elf64_phdr p64;

    if (elf->is64) {
        memcpy(&p64, at, sizeof(p64));
        *out = (struct elf_segment){ p64.type, p64.offset, p64.vaddr, p64.paddr, p64.filesz, p64.memsz, p64.align };
    } else {
        memcpy(&p32, at, sizeof(p32));
        *out = (struct elf_segment){ p32.type, p32.offset, p32.vaddr, p32.paddr, p32.filesz, p32.memsz, p32.align };
    }
}

static int read_header(struct load *l, struct elf_image *elf)
{
    struct elf32_header h32;
    struct elf64_header h64;
    uint16_t type, machine;

    if (elf->size < (elf->is64 ? sizeof(h64) : sizeof(h32)))
        return load_fail(l, ENOEXEC, "kernel is truncated: the file ends in its ELF header");
    if (elf->is64) {
        memcpy(&h64, elf->data, sizeof(h64));
        type = h64.type, machine = h64.machine;
        elf->entry = h64.entry, elf->phoff = h64.phoff, elf->phnum = h64.phnum, elf->phentsize = h64.phentsize;
        elf->shoff = h64.shoff, elf->shnum = h64.shnum, elf->shentsize = h64.shentsize;
        elf->kernel64 = machine == MACHINE_X86_64 && type == TYPE_EXEC;
    } else {
        memcpy(&h32, elf->data, sizeof(h32));
        type = h32.type, machine = h32.machine;
        elf->entry = h32.entry, elf->phoff = h32.phoff, elf->phnum = h32.phnum, elf->phentsize = h32.phentsize;
    }
    if (machine != MACHINE_386 && machine != MACHINE_X86_64)
        return load_fail(l, ENOEXEC, "kernel is not for x86: ELF machine %u", machine);
    if (type != TYPE_EXEC && type != TYPE_DYN)
        return load_fail(l, ENOEXEC, "kernel is not executable: ELF type %u", type);
    return 0;
}

static int check_segment(struct load *l, const struct elf_image *elf, unsigned index)
{
    struct elf_segment s;

    elf_segment_get(elf, index, &s);
    if (s.type != ELF_PT_LOAD && s.type != ELF_PT_NOTE)
        return 0;
    if (s.offset > elf->size || s.filesz > elf->size - s.offset)
        return load_fail(l, ENOEXEC, "kernel is truncated: segment %u is 0x%llx bytes at 0x%llx, the file has 0x%llx",
                         index, (unsigned long long)s.filesz, (unsigned long long)s.offset,
                         (unsigned long long)elf->size);
    if (s.type == ELF_PT_LOAD && s.filesz > s.memsz)
        return load_fail(l, ENOEXEC, "kernel is damaged: segment %u has 0x%llx bytes for 0x%llx of memory", index,
                         (unsigned long long)s.filesz, (unsigned long long)s.memsz);
    return 0;
}

int elf_open(struct load *l, struct elf_image *elf)
{
    const struct elf_ident *ident = l->vm->kernel.data;
    size_t phdr_size;
    int rc;

    *elf = (struct elf_image){ .data = l->vm->kernel.data, .size = l->vm->kernel.size };
    if (ident->class != CLASS_32 && ident->class != CLASS_64)
        return load_fail(l, ENOEXEC, "kernel is damaged: ELF class %u", ident->class);
    if (ident->data != LITTLE_ENDIAN_DATA)
        return load_fail(l, ENOEXEC, "kernel is not little-endian: ELF data encoding %u", ident->data);
    elf->is64 = ident->class == CLASS_64;
    rc = read_header(l, elf);
    if (rc)
        return rc;

    phdr_size = elf->is64 ? sizeof(struct elf64_phdr) : sizeof(struct elf32_phdr);
    if (elf->phentsize < phdr_size)
        return load_fail(l, ENOEXEC, "kernel is damaged: ELF program headers of %u bytes", elf->phentsize);
    if (!elf->phnum || elf->phnum > MAX_PHDRS)
        return load_fail(l, ENOEXEC, "kernel has %u ELF program headers, 1 to %u are taken", elf->phnum, MAX_PHDRS);
    if (elf->phoff > elf->size || (uint64_t)elf->phnum * elf->phentsize > elf->size - elf->phoff)
        return load_fail(l, ENOEXEC, "kernel is truncated: %u ELF program headers at 0x%llx, the file has 0x%llx bytes",
                         elf->phnum, (unsigned long long)elf->phoff, (unsigned long long)elf->size);
    for (unsigned i = 0; !rc && i < elf->phnum; i++)
        rc = check_segment(l, elf, i);
    return rc;
}

/* Where the sections end, or the file where that cannot be told. */
static uint64_t sections_end(const struct elf_image *elf)
{
    uint64_t table = (uint64_t)elf->shnum * elf->shentsize, end = elf->shoff + table;
    struct elf64_shdr s;

    if (!elf->shoff)
        return 0;
    if (!elf->shnum || elf->shentsize < sizeof(s) || elf->shoff > elf->size || table > elf->size - elf->shoff)
        return elf->size;
    for (unsigned i = 0; i < elf->shnum; i++) {
        memcpy(&s, elf->data + elf->shoff + (uint64_t)i * elf->shentsize, sizeof(s));
        if (s.type == SECTION_EMPTY || s.type == SECTION_NO_BITS)
            continue;
        if (s.offset > elf->size || s.size > elf->size - s.offset)
            return elf->size;
        end = MAX(end, s.offset + s.size);
    }
    return end;
}

uint64_t elf_end(const struct elf_image *elf)
{
    uint64_t end = MAX(elf->phoff + (uint64_t)elf->phnum * elf->phentsize, sections_end(elf));
    struct elf_segment s;

    for (unsigned i = 0; i < elf->phnum; i++) {
        elf_segment_get(elf, i, &s);
        if (s.type == ELF_PT_LOAD || s.type == ELF_PT_NOTE)
            end = MAX(end, s.offset + s.filesz);
    }
    return end;
}

/*
 * How much of a segment is to be loaded: whole pages of zeros at its end, as Linux brings its .bss and what it frees
 * after it has started, are not, for memory that nobody has touched reads so and costs nothing.
 */
static uint64_t without_zeros(const uint8_t *data, uint64_t size)
{
    uint64_t n = size, word;

    for (; n >= sizeof(word); n -= sizeof(word)) {
        memcpy(&word, data + n - sizeof(word), sizeof(word));
        if (word)
            break;
        if (n % MIB < sizeof(word))
            sched_breathe();
    }
    return MIN(ALIGN_UP(n, PAGE_SIZE), size);
}

int elf_load_segments(struct load *l, const struct elf_image *elf, uint64_t distance, uint64_t *end)
{
    struct elf_segment s;

    *end = 0;
    for (unsigned i = 0; i < elf->phnum; i++) {
        uint64_t n;
        int rc;

        elf_segment_get(elf, i, &s);
        if (s.type != ELF_PT_LOAD || !s.memsz)
            continue;
        s.paddr += distance;
        n = without_zeros(elf->data + s.offset, s.filesz);
        rc = load_claim(l, s.paddr, s.memsz, "kernel");
        if (!rc)
            rc = load_file(l, s.paddr, &l->vm->kernel, s.offset, n);
        if (!rc)
            rc = load_zero(l, s.paddr + n, s.memsz - n);
        if (rc)
            return rc;
        *end = MAX(*end, s.paddr + s.memsz);
    }
    return *end ? 0 : load_fail(l, ENOEXEC, "kernel has nothing to load: no ELF segment of type LOAD");
}

bool elf_loads_address(const struct elf_image *elf, uint64_t address)
{
    struct elf_segment s;

    for (unsigned i = 0; i < elf->phnum; i++) {
        elf_segment_get(elf, i, &s);
        if (s.type == ELF_PT_LOAD && address >= s.paddr && address - s.paddr < s.filesz)
            return true;
    }
    return false;
}

static int pvh_from_note(struct load *l, const struct elf_note *note, const uint8_t *desc, uint64_t *entry)
{
    uint32_t narrow;

    if (note->descsz == sizeof(*entry)) {
        memcpy(entry, desc, sizeof(*entry));
        return 1;
    }
    if (note->descsz != sizeof(narrow))
        return load_fail(l, ENOEXEC, "kernel is damaged: its PVH note has %u bytes, needed 4 or 8", note->descsz);
    memcpy(&narrow, desc, sizeof(narrow));
    *entry = narrow;
    return 1;
}

/* The notes of one segment, which lies inside the file. Fields are 32-bit, so that these sums cannot overflow. */
static int find_pvh_note(struct load *l, const uint8_t *notes, uint64_t size, uint64_t align, uint64_t *entry)
{
    struct elf_note note;
    uint64_t at = 0;

    while (size - at >= sizeof(note)) {
        uint64_t name = at + sizeof(note), desc, next;

        memcpy(&note, notes + at, sizeof(note));
        desc = ALIGN_UP(name + note.namesz, align);
        next = ALIGN_UP(desc + note.descsz, align);
        if (desc + note.descsz > size)
            return load_fail(l, ENOEXEC, "kernel is damaged: an ELF note runs past its segment");
        if (note.type == NOTE_PHYS32_ENTRY && note.namesz == 4 && !memcmp(notes + name, "Xen", 4))
            return pvh_from_note(l, &note, notes + desc, entry);
        at = MIN(next, size);
    }
    return 0;
}

int elf_pvh_entry(struct load *l, const struct elf_image *elf, uint64_t *entry)
{
    struct elf_segment s;
    int rc = 0;

    for (unsigned i = 0; !rc && i < elf->phnum; i++) {
        elf_segment_get(elf, i, &s);
        if (s.type == ELF_PT_NOTE)
            rc = find_pvh_note(l, elf->data + s.offset, s.filesz, s.align == 8 ? 8 : 4, entry);
    }
    return rc;
}

/* Xen's public/arch-x86/hvm/start_info.h, version 1. */
struct hvm_start_info {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
    uint32_t memmap_entries, reserved;
};
struct hvm_module { uint64_t paddr, size, cmdline_paddr, reserved; };
struct hvm_memmap_entry { uint64_t addr, size; uint32_t type, reserved; };

#define HVM_START_MAGIC 0x336ec578u

/* The structure and what it points to, in one page. */
struct pvh_page {
    struct hvm_start_info info;
    struct hvm_module module;
    struct hvm_memmap_entry map[E820_MAX];
};

static void fill_memmap(const struct load *l, struct pvh_page *page)
{
    struct e820_entry map[E820_MAX];
    unsigned n = load_memory_map(l, map);

    for (unsigned i = 0; i < n; i++)
        page->map[i] = (struct hvm_memmap_entry){ map[i].base, map[i].size, map[i].type, 0 };
    page->info.memmap_entries = n;
}

/* The ramdisk files make one module, as Linux takes its initial ramdisk from the first and ignores the rest. */
static int load_start_info(struct load *l, uint64_t *base)
{
    struct pvh_page page = { .info = { .magic = HVM_START_MAGIC, .version = 1, .rsdp_paddr = BOARD_ACPI_BASE } };
    int rc = load_place(l, sizeof(page), PAGE_SIZE, LOAD_LOW_LIMIT, "start info", base);

    if (!rc)
        rc = load_string(l, l->vm->extra, "command line", &page.info.cmdline_paddr);
    if (!rc)
        rc = load_ramdisks(l, LOAD_HIGH_LIMIT, &page.module.paddr, &page.module.size);
    if (rc)
        return rc;
    page.info.nr_modules = page.module.size ? 1 : 0;
    page.info.modlist_paddr = page.module.size ? *base + offsetof(struct pvh_page, module) : 0;
    page.info.memmap_paddr = *base + offsetof(struct pvh_page, map);
    fill_memmap(l, &page);
    return load_write(l, *base, &page, sizeof(page));
}

int elf_load_pvh(struct load *l, const struct elf_image *elf, uint64_t entry)
{
    uint64_t end;
    int rc;

    if (!elf_loads_address(elf, entry))
        return load_fail(l, ENOEXEC, "kernel is damaged: its PVH entry 0x%llx is outside what it loads",
                         (unsigned long long)entry);
    rc = elf_load_segments(l, elf, 0, &end);
    if (!rc)
        rc = load_start_info(l, &l->entry->rbx);
    return rc ? rc : load_processor(l, GUEST_PROT32, entry);
}
