/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/e820.h"
#include "core/loader.h"
#include "lib/types.h"

/* What the guest loaders share; nobody else includes this. */

#define LOAD_MAX_USED   64
#define LOAD_LOW_LIMIT  0x90000ull  /* our own tables end below: Linux borrows pages further up for its trampoline */
#define LOAD_EBDA_BASE  0x9fc00ull  /* extended BIOS data area, up to 0xa0000 */
#define LOAD_HIGH_LIMIT (4 * GIB)   /* a guest starts with 32-bit addresses or an identity map of 4 GiB */

struct load {
    const struct vm_config *vm;
    struct pmap *pmap;
    struct guest_entry *entry;
    uint64_t memory;           /* bytes of RAM */
    uint64_t place;            /* as loader_load has it */
    struct { uint64_t base, size; } used[LOAD_MAX_USED]; /* taken guest-physical memory */
    unsigned used_count;
    char *err;
    size_t err_size;
};

/* Writes the sentence into err and returns -error. */
int load_fail(struct load *l, int error, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Takes [base, base + size), which must be RAM below 4 GiB; ranges may overlap. what names it in the refusal. */
int load_claim(struct load *l, uint64_t base, uint64_t size, const char *what);
/* Takes free RAM: the highest fit that ends at or below limit. align is a power of two; limit at most 4 GiB. */
int load_place(struct load *l, uint64_t size, uint64_t align, uint64_t limit, const char *what, uint64_t *base);
/* Takes free RAM: the lowest fit at or above from, which is at least 1 MiB. */
int load_place_above(struct load *l, uint64_t size, uint64_t align, uint64_t from, const char *what, uint64_t *base);

/* To guest memory that was taken. */
int load_write(struct load *l, uint64_t to, const void *from, size_t n);
/* A part of one of its files, at least offset + n long. */
int load_file(struct load *l, uint64_t to, const struct config_file *file, uint64_t offset, size_t n);
int load_zero(struct load *l, uint64_t to, size_t n);

/* The guest's memory map: RAM, and the windows behind it. */
unsigned load_memory_map(const struct load *l, struct e820_entry out[E820_MAX]);

/* All ramdisk files as one, each padded to 4 bytes, as high as possible below limit; *size 0 when there are none. */
int load_ramdisks(struct load *l, uint64_t limit, uint64_t *base, uint64_t *size);
/* A terminated string in memory below LOAD_LOW_LIMIT. */
int load_string(struct load *l, const char *text, const char *what, uint64_t *base);

/* Descriptor table and, for GUEST_LONG64, the identity map; fills mode, rip, segments, gdt, cr3, rsp of the entry. */
int load_processor(struct load *l, enum guest_mode mode, uint64_t rip);

/* loader_bios.c: vectors, data area and ACPI tables, in memory that nobody else may take. */
int bios_load(struct load *l);

/* loader_linux.c: a file with the bzImage signatures, whatever its state. */
bool linux_is_image(const struct config_file *file);
int linux_load(struct load *l);
/*
 * Command line, ramdisks and boot parameters (rsi of the entry) for a kernel without a setup header. random: it is told
 * that it was moved to a random address, and then draws where its own maps of memory lie.
 */
int linux_load_plain(struct load *l, bool random, uint64_t *ramdisk, uint64_t *ramdisk_size);

/* loader_elf.c: both classes of ELF, seen as one. */
struct elf_image {
    const uint8_t *data;
    size_t size;
    bool is64;
    uint64_t entry, phoff;
    unsigned phnum, phentsize;
    bool kernel64;             /* 64-bit, x86-64, linked to a fixed address; only then the sections are known */
    uint64_t shoff;
    unsigned shnum, shentsize;
};

struct elf_segment {
    uint32_t type;
    uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

enum { ELF_PT_LOAD = 1, ELF_PT_NOTE = 4 };

bool elf_is_image(const struct config_file *file);
/* Checks the header and that every program header and every loaded or note segment lies inside the file. */
int elf_open(struct load *l, struct elf_image *elf);
/* index below phnum of an image elf_open accepted. */
void elf_segment_get(const struct elf_image *elf, unsigned index, struct elf_segment *out);
/* Where what the headers describe of the file ends, at most its size: other things may be behind it. */
uint64_t elf_end(const struct elf_image *elf);
/* Takes and fills the memory of every loadable segment, so far above where it says; *end: the highest address taken. */
int elf_load_segments(struct load *l, const struct elf_image *elf, uint64_t distance, uint64_t *end);
/* Is this physical address inside what a loadable segment brings from the file? */
bool elf_loads_address(const struct elf_image *elf, uint64_t address);
/* 1 and *entry when there is a PVH note, 0 when not, -errno when it is damaged. */
int elf_pvh_entry(struct load *l, const struct elf_image *elf, uint64_t *entry);
int elf_load_pvh(struct load *l, const struct elf_image *elf, uint64_t entry);

/* loader_vmlinux.c: a Linux that brings a table of its relocations. 1: it is loaded; 0: the file is none; -errno. */
int vmlinux_load(struct load *l, const struct elf_image *elf);

/* loader_multiboot.c: *offset of the header when the file has a valid one. */
bool multiboot_find(const struct config_file *file, uint32_t *offset);
/* Does the header carry load addresses, so that the file's own format does not matter? */
bool multiboot_has_addresses(const struct config_file *file, uint32_t offset);
int multiboot_load(struct load *l, uint32_t header, const struct elf_image *elf);
