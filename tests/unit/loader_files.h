/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/loader_fake.h"

/* Small files of each kind, built field by field; each test changes one thing of one of them. For one test program. */
enum { KERNEL_MAX = 64 * 1024, DIRTY = 64 * 1024 };
enum { LOAD_AT = 2 * MIB, ENTRY_AT = LOAD_AT + 0x100 };

static uint8_t file[KERNEL_MAX];
static size_t file_size;
static struct vm_config vm;
static struct fake_guest *guest;
static struct guest_entry entry;
static char err[160];
static uint64_t place;

static inline void put16(size_t at, uint16_t v) { memcpy(file + at, &v, sizeof(v)); }
static inline void put32(size_t at, uint32_t v) { memcpy(file + at, &v, sizeof(v)); }
static inline void put64(size_t at, uint64_t v) { memcpy(file + at, &v, sizeof(v)); }

static inline uint16_t guest16(uint64_t at) { uint16_t v; memcpy(&v, guest->low + at, sizeof(v)); return v; }
static inline uint32_t guest32(uint64_t at) { uint32_t v; memcpy(&v, guest->low + at, sizeof(v)); return v; }
static inline uint64_t guest64(uint64_t at) { uint64_t v; memcpy(&v, guest->low + at, sizeof(v)); return v; }
static inline const char *guest_text(uint64_t at) { return (const char *)guest->low + at; }

/* The file goes into a block of exactly its size, so that the sanitizer sees every read beyond it. */
static inline int load_in(uint64_t memory)
{
    uint8_t *exact = malloc(file_size ? file_size : 1);
    int rc;

    memcpy(exact, file, file_size);
    vm.kernel.data = exact;
    vm.kernel.size = file_size;
    vm.vcpus = 2;
    if (guest)
        fake_guest_free(guest);
    guest = fake_guest_new(memory);
    if (memory >= 64 * MIB)
        memset(guest->low + LOAD_AT, 0xcc, DIRTY); /* so that zeroes there are the loader's */
    rc = loader_load(&vm, &guest->pmap, place, &entry, err, sizeof(err));
    free(exact);
    return rc;
}

static inline int load(void)
{
    return load_in(64 * MIB);
}

static inline void add_ramdisk(const char *path, const void *data, size_t size)
{
    struct config_file *f = &vm.ramdisk[vm.ramdisks++];

    strcpy(f->path, path);
    f->data = data;
    f->size = size;
}

static inline void begin(void)
{
    memset(&vm, 0, sizeof(vm));
    memset(file, 0, sizeof(file));
    strcpy(vm.kernel.path, "\\guests\\kernel.bin");
    strcpy(vm.extra, "console=ttyS0 quiet");
    fake_acpi_size = 4096;
}

#define assert_refused(rc, code, text)              \
    do {                                            \
        assert_int_equal(rc, -(code));              \
        assert_string_equal(err, text);             \
    } while (0)

/* Linux */

enum { SETUP_SECTORS = 3, LINUX_PAYLOAD = 4096 };

static inline void make_linux(void)
{
    begin();
    file[0x1f1] = SETUP_SECTORS;
    put32(0x1f4, LINUX_PAYLOAD / 16);
    put16(0x1fe, 0xaa55);
    file[0x201] = 0x6a;                       /* the header ends at 0x26c */
    memcpy(file + 0x202, "HdrS", 4);
    put16(0x206, 0x20f);
    file[0x211] = 1;                          /* LOADED_HIGH */
    put32(0x22c, 0x7fffffff);                 /* initrd_addr_max */
    put32(0x230, 2 * MIB);                    /* kernel_alignment */
    file[0x234] = 1;                          /* relocatable */
    put16(0x236, 0x3f);
    put32(0x238, 2047);                       /* cmdline_size */
    put64(0x250, 0xdeadbeef);                 /* setup_data: not the file's to say */
    put64(0x258, 16 * MIB);                   /* pref_address */
    put32(0x260, 8 * MIB);                    /* init_size */
    file_size = (SETUP_SECTORS + 1) * 512 + LINUX_PAYLOAD;
    for (size_t i = (SETUP_SECTORS + 1) * 512; i < file_size; i++)
        file[i] = (uint8_t)(i * 7);
}

/* ELF */

enum { ELF_TEXT = 0x1000, ELF_TEXT_SIZE = 0x800, ELF_BSS = 0x3000, ELF_NOTE = 0x200, ELF_MULTIBOOT = 0x1010 };

static inline void put_phdr(bool is64, unsigned i, uint32_t type, uint64_t offset, uint64_t at, uint64_t filesz,
                            uint64_t memsz)
{
    size_t p = is64 ? 64 + 56u * i : 52 + 32u * i;

    put32(p, type);
    if (is64) {
        put64(p + 8, offset);
        put64(p + 16, at);
        put64(p + 24, at);
        put64(p + 32, filesz);
        put64(p + 40, memsz);
        put64(p + 48, 4);
    } else {
        put32(p + 4, (uint32_t)offset);
        put32(p + 8, (uint32_t)at);
        put32(p + 12, (uint32_t)at);
        put32(p + 16, (uint32_t)filesz);
        put32(p + 20, (uint32_t)memsz);
        put32(p + 28, 4);
    }
}

/* A text segment of 0x800 bytes in 0x3000 of memory, and a note segment of the given size. */
static inline void make_elf(bool is64, size_t note_size)
{
    begin();
    memcpy(file, "\177ELF", 4);
    file[4] = is64 ? 2 : 1;
    file[5] = 1;
    file[6] = 1;
    put16(16, 2);
    put16(18, is64 ? 62 : 3);
    put32(20, 1);
    if (is64) {
        put64(24, ENTRY_AT);
        put64(32, 64);
        put16(54, 56);
        put16(56, 2);
    } else {
        put32(24, ENTRY_AT);
        put32(28, 52);
        put16(42, 32);
        put16(44, 2);
    }
    put_phdr(is64, 0, 1, ELF_TEXT, LOAD_AT, ELF_TEXT_SIZE, ELF_BSS);
    put_phdr(is64, 1, 4, ELF_NOTE, 0, note_size, note_size);
    file_size = ELF_TEXT + ELF_TEXT_SIZE;
    for (size_t i = ELF_TEXT; i < file_size; i++)
        file[i] = (uint8_t)(i * 13);
}

static inline void put_note(size_t at, const char *name, uint32_t type, uint32_t desc_size, uint64_t desc)
{
    put32(at, 4);
    put32(at + 4, desc_size);
    put32(at + 8, type);
    memcpy(file + at + 12, name, 4);
    memcpy(file + at + 16, &desc, desc_size < 8 ? desc_size : 8);
}

/* Another note first, then the PVH note. */
static inline void make_pvh(bool is64, uint32_t desc_size)
{
    make_elf(is64, 20 + 16 + desc_size);
    put_note(ELF_NOTE, "Xen", 6, 4, 0);
    put_note(ELF_NOTE + 20, "Xen", 18, desc_size, ENTRY_AT);
}

/* Multiboot */

static inline void put_multiboot(size_t at, uint32_t flags)
{
    put32(at, 0x1badb002);
    put32(at + 4, flags);
    put32(at + 8, 0u - 0x1badb002 - flags);
}

static inline void make_multiboot_elf(bool is64)
{
    make_elf(is64, 0);
    put_multiboot(ELF_MULTIBOOT, 3);
}

/* The header's own addresses: 0x300 bytes from offset 0x200 go to 2 MiB, the BSS ends 0x1000 further. */
static inline void make_addresses(void)
{
    begin();
    put_multiboot(0x220, 0x10003);
    put32(0x220 + 12, LOAD_AT + 0x20);
    put32(0x220 + 16, LOAD_AT);
    put32(0x220 + 20, LOAD_AT + 0x300);
    put32(0x220 + 24, LOAD_AT + 0x1300);
    put32(0x220 + 28, ENTRY_AT);
    file_size = 0x600;
    memset(file + 0x240, 0x77, file_size - 0x240);
}
