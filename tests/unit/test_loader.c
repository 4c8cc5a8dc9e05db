/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/loader_fake.h"

/* Small files of each kind, built field by field; each test changes one thing of one of them. */
enum { KERNEL_MAX = 64 * 1024, DIRTY = 64 * 1024 };
enum { LOAD_AT = 2 * MIB, ENTRY_AT = LOAD_AT + 0x100 };

static uint8_t file[KERNEL_MAX];
static size_t file_size;
static struct vm_config vm;
static struct fake_guest *guest;
static struct guest_entry entry;
static char err[160];

static void put16(size_t at, uint16_t v) { memcpy(file + at, &v, sizeof(v)); }
static void put32(size_t at, uint32_t v) { memcpy(file + at, &v, sizeof(v)); }
static void put64(size_t at, uint64_t v) { memcpy(file + at, &v, sizeof(v)); }

static uint16_t guest16(uint64_t at) { uint16_t v; memcpy(&v, guest->low + at, sizeof(v)); return v; }
static uint32_t guest32(uint64_t at) { uint32_t v; memcpy(&v, guest->low + at, sizeof(v)); return v; }
static uint64_t guest64(uint64_t at) { uint64_t v; memcpy(&v, guest->low + at, sizeof(v)); return v; }
static const char *guest_text(uint64_t at) { return (const char *)guest->low + at; }

/* The file goes into a block of exactly its size, so that the sanitizer sees every read beyond it. */
static int load_in(uint64_t memory)
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
    rc = loader_load(&vm, &guest->pmap, &entry, err, sizeof(err));
    free(exact);
    return rc;
}

static int load(void)
{
    return load_in(64 * MIB);
}

static void add_ramdisk(const char *path, const void *data, size_t size)
{
    struct config_file *f = &vm.ramdisk[vm.ramdisks++];

    strcpy(f->path, path);
    f->data = data;
    f->size = size;
}

static void begin(void)
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

static void make_linux(void)
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

static void linux_is_loaded_where_it_prefers(void **state)
{
    (void)state;
    make_linux();
    assert_int_equal(load(), 0);
    assert_string_equal(err, "");
    assert_int_equal(entry.mode, GUEST_LONG64);
    assert_int_equal(entry.rip, 16 * MIB + 0x200);
    assert_memory_equal(guest->low + 16 * MIB, file + (SETUP_SECTORS + 1) * 512, LINUX_PAYLOAD);
}

static void linux_gets_boot_params(void **state)
{
    uint64_t bp;

    (void)state;
    make_linux();
    assert_int_equal(load(), 0);
    bp = entry.rsi;
    assert_true(bp >= PAGE_SIZE && bp + PAGE_SIZE <= 0x90000 && bp % PAGE_SIZE == 0);
    assert_memory_equal(guest->low + bp + 0x202, "HdrS", 4);
    assert_int_equal(guest16(bp + 0x206), 0x20f);
    assert_int_equal(guest->low[bp + 0x210], 0xff);
    assert_int_equal(guest64(bp + 0x70), BOARD_ACPI_BASE);
    assert_int_equal(guest64(bp + 0x250), 0);
    assert_int_equal(guest64(bp + 0x258), 16 * MIB);
    assert_string_equal(guest_text(guest32(bp + 0x228)), "console=ttyS0 quiet");
    assert_int_equal(guest32(bp + 0x218), 0);
    assert_int_equal(guest32(bp + 0x21c), 0);
    assert_int_equal(guest->low[bp + 0x1e8], 5);
    assert_int_equal(guest64(bp + 0x2d0 + 4 * 20), MIB);
    assert_int_equal(guest64(bp + 0x2d0 + 4 * 20 + 8), 63 * MIB);
    assert_int_equal(guest32(bp + 0x2d0 + 4 * 20 + 16), E820_RAM);
}

static void linux_starts_with_an_identity_map(void **state)
{
    (void)state;
    make_linux();
    assert_int_equal(load(), 0);
    for (uint64_t va = 0; va < 4 * GIB; va += PAGE_SIZE_2M) {
        uint64_t pdpt = guest64(entry.cr3), pd, page;

        assert_int_equal(pdpt & 0xfff, 3);
        pd = guest64((pdpt & ~0xfffull) + (va >> 30) * 8);
        assert_int_equal(pd & 0xfff, 3);
        page = guest64((pd & ~0xfffull) + (va >> 21 & 511) * 8);
        assert_true(page == (va | 0x83));
    }
    assert_int_equal(guest64(entry.cr3 + 8), 0);
    assert_int_equal(entry.cs, 0x10);
    assert_int_equal(entry.ds, 0x18);
    assert_int_equal(entry.gdt_limit, 31);
    assert_true(guest64(entry.gdt + 0x10) == 0x00af9b000000ffff);
    assert_true(guest64(entry.gdt + 0x18) == 0x00cf93000000ffff);
    assert_true(entry.rsp % 16 == 0 && entry.rsp > entry.gdt);
}

/* Each padded to 4 bytes, at the top of RAM below the kernel's limit. */
static void linux_ramdisks_are_joined(void **state)
{
    uint64_t at, size;

    (void)state;
    make_linux();
    add_ramdisk("\\a", "first", 5);
    add_ramdisk("\\b", "second!!", 8);
    add_ramdisk("\\c", "third", 5);
    assert_int_equal(load(), 0);
    at = guest32(entry.rsi + 0x218);
    size = guest32(entry.rsi + 0x21c);
    assert_int_equal(size, 8 + 8 + 5);
    assert_memory_equal(guest->low + at, "first\0\0\0second!!third", 21);
    assert_int_equal(at, 64 * MIB - PAGE_SIZE);

    put32(0x22c, 48 * MIB - 1);
    assert_int_equal(load(), 0);
    assert_int_equal(guest32(entry.rsi + 0x218), 48 * MIB - PAGE_SIZE);
    put32(0x22c, 18 * MIB - 1);               /* inside the kernel: goes below it */
    assert_int_equal(load(), 0);
    assert_int_equal(guest32(entry.rsi + 0x218), 16 * MIB - PAGE_SIZE);
    assert_int_equal(load_in(5 * GIB), 0);
    put32(0x22c, 0xffffffff);
    assert_int_equal(load_in(5 * GIB), 0);
    assert_true(guest32(entry.rsi + 0x218) == 3 * GIB - PAGE_SIZE);
}

/* A ramdisk that finds no room above 1 MiB goes below the BIOS data area's end, not into the holes. */
static void linux_ramdisk_avoids_the_holes(void **state)
{
    (void)state;
    make_linux();
    put64(0x258, MIB);
    put32(0x230, MIB);
    put32(0x260, 63 * MIB);
    add_ramdisk("\\a", "first", 5);
    assert_int_equal(load(), 0);
    assert_int_equal(guest32(entry.rsi + 0x218), 0x9f000);
}

static void linux_setup_sectors_of_zero_are_four(void **state)
{
    (void)state;
    make_linux();
    file[0x1f1] = 0;
    file_size = 5 * 512 + LINUX_PAYLOAD;
    assert_int_equal(load(), 0);
    assert_memory_equal(guest->low + 16 * MIB, file + 5 * 512, LINUX_PAYLOAD);
}

static void linux_with_a_signature_behind(void **state)
{
    (void)state;
    make_linux();
    file_size += 1000;
    memset(file + file_size - 1000, 0xee, 1000);
    assert_int_equal(load(), 0);
    assert_int_equal(guest->low[16 * MIB + LINUX_PAYLOAD], 0);
}

static void linux_refusals(void **state)
{
    (void)state;
    make_linux();
    file_size = 3 * 512;
    assert_refused(load(), ENOEXEC, "kernel is truncated: setup says 4 sectors, the file has 3");
    file[0x1f1] = 255;
    assert_refused(load(), ENOEXEC, "kernel is truncated: setup says 256 sectors, the file has 3");
    make_linux();
    file_size -= 16;
    assert_refused(load(), ENOEXEC, "kernel is truncated: its header says 4096 bytes after setup, the file has 4080");
    make_linux();
    file_size = 0x240;
    assert_refused(load(), ENOEXEC, "kernel is truncated: the setup header needs 612 bytes, the file has 576");
    make_linux();
    put16(0x206, 0x20b);
    assert_refused(load(), ENOEXEC, "kernel is too old: boot protocol 2.11, needed 2.12");
    make_linux();
    file[0x201] = 0x40;
    assert_refused(load(), ENOEXEC, "kernel is damaged: its setup header ends at 0x242, needed 0x264");
    make_linux();
    put16(0x236, 0);
    assert_refused(load(), ENOEXEC, "kernel has no 64-bit entry (a 32-bit kernel?)");
    make_linux();
    put32(0x1f4, 0x200 / 16);
    assert_refused(load(), ENOEXEC, "kernel is damaged: 512 bytes after setup hold no 64-bit entry");
    make_linux();
    put32(0x230, 3 * MIB);
    assert_refused(load(), ENOEXEC, "kernel is damaged: alignment 0x300000 is not a power of two");
    make_linux();
    put32(0x238, 10);
    assert_refused(load(), EINVAL, "command line (extra) has 19 characters, the kernel takes 10");
}

static void linux_needs_memory(void **state)
{
    (void)state;
    make_linux();
    put32(0x260, 200 * MIB);
    assert_refused(load(), ENOMEM, "kernel needs 200 MiB at 0x1000000, the VM has 64 MiB");
    make_linux();
    put64(0x258, UINT64_MAX - 4095);
    assert_refused(load(), ENOMEM, "kernel needs 8 MiB at 0xfffffffffffff000, the VM has 64 MiB");
    make_linux();
    put64(0x258, 4 * GIB);                    /* RAM, but out of reach of the identity map */
    assert_refused(load_in(6 * GIB), ENOMEM, "kernel needs 8 MiB at 0x100000000, the VM has 6144 MiB");
    make_linux();
    put64(0x258, 0x9f000);
    file[0x234] = 0;
    put32(0x260, 4096);
    assert_refused(load(), EINVAL, "kernel needs 0x1000 bytes at 0x9f000, which is not RAM");
    make_linux();
    add_ramdisk("\\huge", file, (size_t)100 * MIB);
    assert_refused(load(), ENOMEM, "ramdisk needs 100 MiB free below 0x80000000, the VM has 64 MiB");
    make_linux();
    assert_int_equal(load_in(24 * MIB), 0);
    assert_int_equal(load_in(24 * MIB - PAGE_SIZE), -ENOMEM);
}

static void linux_low_preference_is_moved_up(void **state)
{
    (void)state;
    make_linux();
    put64(0x258, 0);
    assert_int_equal(load(), 0);
    assert_int_equal(entry.rip, 2 * MIB + 0x200);
    file[0x234] = 0;                          /* cannot be moved */
    assert_int_equal(load(), -EINVAL);
}

/* ELF */

enum { ELF_TEXT = 0x1000, ELF_TEXT_SIZE = 0x800, ELF_BSS = 0x3000, ELF_NOTE = 0x200, ELF_MULTIBOOT = 0x1010 };

static void put_phdr(bool is64, unsigned i, uint32_t type, uint64_t offset, uint64_t at, uint64_t filesz, uint64_t memsz)
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
static void make_elf(bool is64, size_t note_size)
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

static void put_note(size_t at, const char *name, uint32_t type, uint32_t desc_size, uint64_t desc)
{
    put32(at, 4);
    put32(at + 4, desc_size);
    put32(at + 8, type);
    memcpy(file + at + 12, name, 4);
    memcpy(file + at + 16, &desc, desc_size < 8 ? desc_size : 8);
}

/* Another note first, then the PVH note. */
static void make_pvh(bool is64, uint32_t desc_size)
{
    make_elf(is64, 20 + 16 + desc_size);
    put_note(ELF_NOTE, "Xen", 6, 4, 0);
    put_note(ELF_NOTE + 20, "Xen", 18, desc_size, ENTRY_AT);
}

static void check_protected_mode(void)
{
    assert_int_equal(entry.mode, GUEST_PROT32);
    assert_int_equal(entry.rip, ENTRY_AT);
    assert_int_equal(entry.cs, 0x08);
    assert_int_equal(entry.ds, 0x10);
    assert_int_equal(entry.gdt_limit, 23);
    assert_true(guest64(entry.gdt + 8) == 0x00cf9b000000ffff);
    assert_true(guest64(entry.gdt + 16) == 0x00cf93000000ffff);
}

static void pvh_is_loaded(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        make_pvh(i & 1, i & 2 ? 8 : 4);
        assert_int_equal(load(), 0);
        check_protected_mode();
        assert_memory_equal(guest->low + LOAD_AT, file + ELF_TEXT, ELF_TEXT_SIZE);
    }
}

static void pvh_gets_start_info(void **state)
{
    uint64_t info, modules, map;

    (void)state;
    make_pvh(true, 8);
    add_ramdisk("\\a", "first", 5);
    add_ramdisk("\\b", "second", 6);
    assert_int_equal(load(), 0);
    info = entry.rbx;
    assert_int_equal(guest32(info), 0x336ec578);
    assert_int_equal(guest32(info + 4), 1);
    assert_int_equal(guest32(info + 8), 0);
    assert_int_equal(guest32(info + 12), 1);
    modules = guest64(info + 16);
    assert_string_equal(guest_text(guest64(info + 24)), "console=ttyS0 quiet");
    assert_int_equal(guest64(info + 32), BOARD_ACPI_BASE);
    map = guest64(info + 40);
    assert_int_equal(guest32(info + 48), 5);
    assert_int_equal(guest64(map + 4 * 24), MIB);
    assert_int_equal(guest64(map + 4 * 24 + 8), 63 * MIB);
    assert_int_equal(guest32(map + 4 * 24 + 16), E820_RAM);
    assert_int_equal(guest64(modules + 8), 8 + 6);
    assert_memory_equal(guest->low + guest64(modules), "first\0\0\0second", 14);
}

static void pvh_without_ramdisk_has_no_module(void **state)
{
    (void)state;
    make_pvh(true, 4);
    assert_int_equal(load(), 0);
    assert_int_equal(guest32(entry.rbx + 12), 0);
    assert_int_equal(guest64(entry.rbx + 16), 0);
}

/* What is not in the file is zero, even where a segment was loaded before. */
static void bss_is_zeroed(void **state)
{
    (void)state;
    make_pvh(true, 4);
    assert_int_equal(load(), 0);
    for (unsigned i = ELF_TEXT_SIZE; i < ELF_BSS; i++)
        assert_int_equal(guest->low[LOAD_AT + i], 0);
    assert_int_equal(guest->low[LOAD_AT + ELF_BSS], 0xcc);
    put16(56, 3);                             /* a third header: loads garbage where the BSS of a fourth will be */
    put_phdr(true, 2, 1, ELF_TEXT, LOAD_AT + 0x4000, 0x400, 0x400);
    put16(56, 4);
    put_phdr(true, 3, 1, ELF_TEXT, LOAD_AT + 0x3f00, 0x100, 0x500);
    assert_int_equal(load(), 0);
    for (unsigned i = 0; i < 0x400; i++)
        assert_int_equal(guest->low[LOAD_AT + 0x4000 + i], 0);
}

#define NO_NOTE "not a kernel: an ELF file with neither a PVH note nor a multiboot header"

static void elf_refusals(void **state)
{
    (void)state;
    make_elf(true, 0);
    assert_refused(load(), ENOEXEC, NO_NOTE);
    make_pvh(true, 4);
    file[4] = 3;
    assert_refused(load(), ENOEXEC, "kernel is damaged: ELF class 3");
    make_pvh(true, 4);
    file[5] = 2;
    assert_refused(load(), ENOEXEC, "kernel is not little-endian: ELF data encoding 2");
    make_pvh(true, 4);
    put16(18, 183);
    assert_refused(load(), ENOEXEC, "kernel is not for x86: ELF machine 183");
    make_pvh(true, 4);
    put16(16, 1);
    assert_refused(load(), ENOEXEC, "kernel is not executable: ELF type 1");
    make_pvh(true, 4);
    put16(54, 55);
    assert_refused(load(), ENOEXEC, "kernel is damaged: ELF program headers of 55 bytes");
    make_pvh(true, 4);
    put16(56, 0);
    assert_refused(load(), ENOEXEC, "kernel has 0 ELF program headers, 1 to 256 are taken");
    make_pvh(true, 4);
    put64(32, UINT64_MAX - 8);
    assert_refused(load(), ENOEXEC,
                   "kernel is truncated: 2 ELF program headers at 0xfffffffffffffff7, the file has 0x1800 bytes");
    make_pvh(true, 4);
    file_size = 40;
    assert_refused(load(), ENOEXEC, "kernel is truncated: the file ends in its ELF header");
}

static void elf_segments_must_fit(void **state)
{
    (void)state;
    make_pvh(true, 4);
    file_size -= 1;
    assert_refused(load(), ENOEXEC, "kernel is truncated: segment 0 is 0x800 bytes at 0x1000, the file has 0x17ff");
    make_pvh(true, 4);
    put64(64 + 8, UINT64_MAX);
    assert_int_equal(load(), -ENOEXEC);
    make_pvh(true, 4);
    put64(64 + 40, 0x100);
    assert_refused(load(), ENOEXEC, "kernel is damaged: segment 0 has 0x800 bytes for 0x100 of memory");
    make_pvh(true, 4);
    put64(64 + 40, 200 * MIB);
    assert_refused(load(), ENOMEM, "kernel needs 200 MiB at 0x200000, the VM has 64 MiB");
    make_pvh(true, 4);
    put64(64 + 40, UINT64_MAX);
    assert_int_equal(load(), -ENOMEM);
    make_pvh(true, 4);
    put64(64 + 24, UINT64_MAX - 0x1000);      /* paddr + memsz overflows */
    assert_int_equal(load(), -ENOEXEC);       /* and the entry is no longer inside */
    make_pvh(true, 4);
    put32(64, 6);                             /* no segment to load */
    assert_int_equal(load(), -ENOEXEC);
}

/* Many small segments, their headers at the end of the file. */
static void make_segments(unsigned n)
{
    make_pvh(true, 4);
    put64(32, 0x2000);
    put16(56, (uint16_t)n);
    memcpy(file + 0x2000, file + 64, 2 * 56);
    for (unsigned i = 2; i < n; i++) {
        memcpy(file + 0x2000 + i * 56, file + 64, 56);
        put64(0x2000 + i * 56 + 24, LOAD_AT + 0x10000 + i * PAGE_SIZE);
    }
    file_size = 0x2000 + n * 56;
}

static void elf_with_many_segments(void **state)
{
    (void)state;
    make_segments(50);
    assert_int_equal(load(), 0);
    make_segments(70);
    assert_refused(load(), ENOEXEC, "kernel: too many pieces, at most 64 are loaded");
    make_segments(257);
    assert_refused(load(), ENOEXEC, "kernel has 257 ELF program headers, 1 to 256 are taken");
}

/* A note right behind the segment of notes, and one without a name, are not the kernel's. */
static void pvh_note_must_be_one(void **state)
{
    (void)state;
    make_elf(true, 17);
    put_note(ELF_NOTE, "Xen", 6, 1, 0);
    put_note(ELF_NOTE + 20, "Xen", 18, 4, ENTRY_AT);
    assert_refused(load(), ENOEXEC, NO_NOTE);
    make_elf(true, 12 + 8);
    put_note(ELF_NOTE, "Xen", 18, 8, ENTRY_AT);
    put32(ELF_NOTE, 0);
    assert_refused(load(), ENOEXEC, NO_NOTE);
}

static void pvh_note_refusals(void **state)
{
    (void)state;
    make_pvh(true, 4);
    put32(ELF_NOTE + 20 + 4, 0x1000);
    assert_refused(load(), ENOEXEC, "kernel is damaged: an ELF note runs past its segment");
    make_pvh(true, 4);
    put32(ELF_NOTE, 0xffffffff);
    assert_refused(load(), ENOEXEC, "kernel is damaged: an ELF note runs past its segment");
    make_pvh(true, 6);
    assert_refused(load(), ENOEXEC, "kernel is damaged: its PVH note has 6 bytes, needed 4 or 8");
    make_pvh(true, 8);
    put64(ELF_NOTE + 20 + 16, LOAD_AT + ELF_TEXT_SIZE);
    assert_refused(load(), ENOEXEC, "kernel is damaged: its PVH entry 0x200800 is outside what it loads");
    make_pvh(true, 4);
    memcpy(file + ELF_NOTE + 20 + 12, "GNU", 4);
    assert_int_equal(load(), -ENOEXEC);
}

/* Multiboot */

static void put_multiboot(size_t at, uint32_t flags)
{
    put32(at, 0x1badb002);
    put32(at + 4, flags);
    put32(at + 8, 0u - 0x1badb002 - flags);
}

static void make_multiboot_elf(bool is64)
{
    make_elf(is64, 0);
    put_multiboot(ELF_MULTIBOOT, 3);
}

static void multiboot_elf_is_loaded(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        make_multiboot_elf(i);
        assert_int_equal(load(), 0);
        check_protected_mode();
        assert_int_equal(entry.rax, 0x2badb002);
        assert_memory_equal(guest->low + LOAD_AT, file + ELF_TEXT, ELF_TEXT_SIZE);
    }
}

static void multiboot_gets_its_information(void **state)
{
    uint64_t info, map;

    (void)state;
    make_multiboot_elf(false);
    assert_int_equal(load(), 0);
    info = entry.rbx;
    assert_int_equal(guest32(info), 0x24d);
    assert_int_equal(guest32(info + 4), 639);
    assert_int_equal(guest32(info + 8), 63 * 1024);
    assert_string_equal(guest_text(guest32(info + 16)), "kernel.bin console=ttyS0 quiet");
    assert_int_equal(guest32(info + 20), 0);
    assert_int_equal(guest32(info + 44), 5 * 24);
    map = guest32(info + 48);
    assert_int_equal(guest32(map + 4 * 24), 20);
    assert_int_equal(guest64(map + 4 * 24 + 4), MIB);
    assert_int_equal(guest64(map + 4 * 24 + 12), 63 * MIB);
    assert_int_equal(guest32(map + 4 * 24 + 20), E820_RAM);
    assert_string_equal(guest_text(guest32(info + 64)), "Mirrorball");
    vm.extra[0] = '\0';
    assert_int_equal(load(), 0);
    assert_string_equal(guest_text(guest32(entry.rbx + 16)), "kernel.bin");
}

static void multiboot_ramdisks_are_modules(void **state)
{
    uint64_t module, info;

    (void)state;
    make_multiboot_elf(false);
    add_ramdisk("\\guests\\one", "first", 5);
    add_ramdisk("/guests/two.gz", "", 0);
    add_ramdisk("three", "third.", 6);
    assert_int_equal(load(), 0);
    info = entry.rbx;
    module = guest32(info + 24);
    assert_int_equal(guest32(info + 20), 3);
    assert_int_equal(guest32(module), LOAD_AT + ELF_BSS);
    assert_int_equal(guest32(module + 4), LOAD_AT + ELF_BSS + 5);
    assert_memory_equal(guest->low + guest32(module), "first", 5);
    assert_string_equal(guest_text(guest32(module + 8)), "one");
    assert_string_equal(guest_text(guest32(module + 16 + 8)), "two.gz");
    assert_int_equal(guest32(module + 16), guest32(module + 16 + 4));
    assert_int_equal(guest32(module + 32) % PAGE_SIZE, 0);
    assert_memory_equal(guest->low + guest32(module + 32), "third.", 6);
    assert_string_equal(guest_text(guest32(module + 32 + 8)), "three");
}

/* A kernel linked high: the entry is virtual, the place physical. */
static void multiboot_virtual_entry(void **state)
{
    (void)state;
    make_multiboot_elf(true);
    put64(64 + 16, 0xffffffff80200000);
    put64(24, 0xffffffff80200100);
    assert_int_equal(load(), 0);
    check_protected_mode();
    put64(24, 0xffffffff80200800);
    assert_refused(load(), ENOEXEC, "kernel is damaged: its entry 0xffffffff80200800 is outside what it loads");
}

static void multiboot_refusals(void **state)
{
    (void)state;
    make_multiboot_elf(false);
    put_multiboot(ELF_MULTIBOOT, 0x1b);
    assert_refused(load(), ENOTSUP, "kernel needs multiboot features that are not known: flags 0x18");
    put_multiboot(ELF_MULTIBOOT, 0xfffe0007); /* optional features may be unknown */
    assert_int_equal(load(), 0);
    put32(ELF_MULTIBOOT + 8, 1);              /* wrong checksum: no header */
    assert_int_equal(load(), -ENOEXEC);
    make_multiboot_elf(false);
    memset(file + ELF_MULTIBOOT, 0, 12);
    put_multiboot(ELF_MULTIBOOT + 2, 3);      /* not at a multiple of 4 */
    assert_int_equal(load(), -ENOEXEC);
}

/* The header's own addresses: 0x300 bytes from offset 0x200 go to 2 MiB, the BSS ends 0x1000 further. */
static void make_addresses(void)
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

static void multiboot_addresses(void **state)
{
    (void)state;
    make_addresses();
    assert_int_equal(load(), 0);
    check_protected_mode();
    assert_memory_equal(guest->low + LOAD_AT, file + 0x200, 0x300);
    assert_int_equal(guest->low[LOAD_AT + 0x300], 0);
    assert_int_equal(guest->low[LOAD_AT + 0x12ff], 0);
    assert_int_equal(guest->low[LOAD_AT + 0x1300], 0xcc);

    put32(0x220 + 20, 0);                     /* the rest of the file */
    put32(0x220 + 24, 0);                     /* no BSS */
    assert_int_equal(load(), 0);
    assert_memory_equal(guest->low + LOAD_AT, file + 0x200, 0x400);
    assert_int_equal(guest->low[LOAD_AT + 0x400], 0xcc);
    memcpy(file, "\177ELF", 4);               /* they count even where the file is an ELF file, of whatever state */
    assert_int_equal(load(), 0);
}

static void multiboot_address_refusals(void **state)
{
    (void)state;
    make_addresses();
    put32(0x220 + 12, LOAD_AT + 0x240);
    assert_refused(load(), ENOEXEC,
                   "kernel is damaged: multiboot load address 0x200000 does not fit header address 0x200240");
    put32(0x220 + 12, LOAD_AT - 4);
    assert_int_equal(load(), -ENOEXEC);
    make_addresses();
    put32(0x220 + 20, LOAD_AT + 0x401);
    assert_refused(load(), ENOEXEC, "kernel is truncated: its multiboot header loads 0x401 bytes, the file has 0x400");
    put32(0x220 + 20, LOAD_AT);
    assert_refused(load(), ENOEXEC, "kernel is damaged: multiboot load end 0x200000 is not above its start 0x200000");
    make_addresses();
    put32(0x220 + 24, LOAD_AT + 0x2ff);
    assert_refused(load(), ENOEXEC, "kernel is damaged: multiboot BSS end 0x2002ff is below its start 0x200300");
    make_addresses();
    put32(0x220 + 28, LOAD_AT + 0x300);
    assert_refused(load(), ENOEXEC, "kernel is damaged: its entry 0x200300 is outside what it loads");
    make_addresses();
    put32(0x220 + 24, 0xffffffff);
    assert_refused(load(), ENOMEM, "kernel needs 4094 MiB at 0x200000, the VM has 64 MiB");
    make_addresses();
    file_size = 0x220 + 20;
    assert_refused(load(), ENOEXEC, "kernel is truncated: the file ends in its multiboot header");
}

static void the_header_is_in_the_first_8_kib(void **state)
{
    (void)state;
    make_addresses();
    memset(file, 0, sizeof(file));
    put_multiboot(8192 - 12, 0);
    file_size = 16384;
    assert_refused(load(), ENOEXEC, "not a kernel: neither bzImage, PVH ELF nor multiboot");
    make_multiboot_elf(false);
    memset(file + ELF_MULTIBOOT, 0, 12);
    put_phdr(false, 0, 1, ELF_TEXT, LOAD_AT, 0x2000, 0x3000);
    file_size = ELF_TEXT + 0x2000;
    put_multiboot(8192 - 12, 3);
    assert_int_equal(load(), 0);
    memset(file + 8192 - 12, 0, 12);
    put_multiboot(8192 - 8, 3);
    assert_int_equal(load(), -ENOEXEC);
}

/* Around all of them */

static void not_a_kernel(void **state)
{
    (void)state;
    begin();
    for (file_size = 0; file_size < 2000; file_size += 37)
        assert_refused(load(), ENOEXEC, "not a kernel: neither bzImage, PVH ELF nor multiboot");
    memset(file, 'a', sizeof(file));
    assert_refused(load(), ENOEXEC, "not a kernel: neither bzImage, PVH ELF nor multiboot");
}

static void acpi_tables_and_bios_data_are_there(void **state)
{
    (void)state;
    make_linux();
    assert_int_equal(load(), 0);
    assert_memory_equal(guest->low + BOARD_ACPI_BASE, "RSD PTR ", 8);
    assert_int_equal(guest->low[BOARD_ACPI_BASE + 100], 2);
    assert_memory_equal(guest->low + 0xf0000, "RSD PTR ", 8);
    assert_int_equal(guest16(0x40e), 0x9fc0);
    assert_int_equal(guest16(0x413), 639);
    fake_acpi_size = -ENOSPC;
    assert_refused(load(), ENOSPC, "the ACPI tables for 2 vCPUs do not fit");
}

static void the_machine_may_run_out_of_memory(void **state)
{
    uint64_t used;
    int rc;

    (void)state;
    make_linux();
    assert_int_equal(load(), 0);
    used = UINT64_MAX - guest->room;
    for (uint64_t room = 0; room < used; room += 61) {
        vm.kernel.data = file;
        vm.kernel.size = file_size;
        guest->room = room;
        rc = loader_load(&vm, &guest->pmap, &entry, err, sizeof(err));
        assert_refused(rc, ENOMEM, "the machine has no memory left");
    }
}

static void tiny_vms(void **state)
{
    (void)state;
    make_linux();
    assert_refused(load_in(512 * KIB), ENOMEM, "a VM needs at least 1 MiB of memory, this one has 512 KiB");
    assert_int_equal(load_in(MIB), -ENOMEM);
    make_multiboot_elf(false);
    put_phdr(false, 0, 1, ELF_TEXT, 0x10000, ELF_TEXT_SIZE, ELF_BSS);
    put32(24, 0x10100);
    assert_int_equal(load_in(MIB), 0);
    assert_memory_equal(guest->low + 0x10000, file + ELF_TEXT, ELF_TEXT_SIZE);
}

/* Kernels in low memory: whatever is placed goes around them. */
static void placed_around_a_low_kernel(void **state)
{
    (void)state;
    make_multiboot_elf(false);
    put_phdr(false, 0, 1, ELF_TEXT, 0x1000, ELF_TEXT_SIZE, 0x8f000 - 0x8000);
    put32(24, 0x1100);
    assert_int_equal(load(), 0);
    assert_true(entry.gdt >= 0x88000 && entry.rbx >= 0x88000);
    put_phdr(false, 0, 1, ELF_TEXT, 0x1000, ELF_TEXT_SIZE, 0x8f000);
    assert_refused(load(), ENOMEM, "multiboot information needs 1 KiB free below 0x90000, the VM has 64 MiB");
}

/* Damage */

static void check_outcome(int rc)
{
    if (rc) {
        assert_true(rc < 0);
        assert_true(err[0] != '\0');
        return;
    }
    assert_string_equal(err, "");
    assert_true(e820_is_ram(MIN(guest->memory, 3 * GIB), entry.rip, 1));
    assert_true(e820_is_ram(MIN(guest->memory, 3 * GIB), entry.gdt, PAGE_SIZE));
}

static void make_kind(unsigned kind)
{
    switch (kind) {
    case 0:
        make_linux();
        break;
    case 1:
    case 2:
        make_pvh(kind == 2, 4);
        break;
    case 3:
    case 4:
        make_multiboot_elf(kind == 4);
        break;
    default:
        make_addresses();
    }
    add_ramdisk("\\initrd", "initrd", 6);
}

enum { KINDS = 6 };

/* Every byte that any header can occupy, by several values each. */
static void every_field_damaged(void **state)
{
    static const uint8_t change[] = { 0xff, 0x80, 0x01, 0x7f };

    (void)state;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        make_kind(kind);
        for (size_t at = 0; at < MIN(file_size, (size_t)ELF_MULTIBOOT + 16); at++) {
            if (at == 0x280)                  /* nothing but what is loaded comes between */
                at = ELF_MULTIBOOT;
            for (unsigned c = 0; c < ARRAY_SIZE(change); c++) {
                file[at] ^= change[c];
                check_outcome(load());
                file[at] ^= change[c];
            }
        }
        assert_int_equal(load(), 0);
    }
}

static void every_length(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        make_kind(kind);
        for (size_t whole = file_size; file_size; file_size--) {
            int rc = load();

            check_outcome(rc);
            if (kind != 0 && kind != 5 && file_size < whole)
                assert_int_equal(rc, -ENOEXEC);
        }
    }
}

static uint32_t random_state = 1;

static uint32_t random32(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

/* A few fields at once, by values that sit at edges. */
static void random_corruption(void **state)
{
    static const uint64_t edges[] = { 0, 1, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, UINT64_MAX,
                                      0x9fc00, MIB, 64 * MIB, 3 * GIB };

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        make_kind(random32() % KINDS);
        for (unsigned n = random32() % 4 + 1; n; n--) {
            uint64_t v = edges[random32() % ARRAY_SIZE(edges)] + random32() % 3 - 1;
            size_t range = random32() % 2 ? 0x280 : ELF_MULTIBOOT + 32;

            memcpy(file + random32() % range, &v, 1u << random32() % 4);
        }
        if (random32() % 4 == 0)
            file_size = random32() % (file_size + 1);
        check_outcome(load_in(random32() % 2 ? 64 * MIB : 5 * GIB));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linux_is_loaded_where_it_prefers),
        cmocka_unit_test(linux_gets_boot_params),
        cmocka_unit_test(linux_starts_with_an_identity_map),
        cmocka_unit_test(linux_ramdisks_are_joined),
        cmocka_unit_test(linux_ramdisk_avoids_the_holes),
        cmocka_unit_test(linux_setup_sectors_of_zero_are_four),
        cmocka_unit_test(linux_with_a_signature_behind),
        cmocka_unit_test(linux_refusals),
        cmocka_unit_test(linux_needs_memory),
        cmocka_unit_test(linux_low_preference_is_moved_up),
        cmocka_unit_test(pvh_is_loaded),
        cmocka_unit_test(pvh_gets_start_info),
        cmocka_unit_test(pvh_without_ramdisk_has_no_module),
        cmocka_unit_test(bss_is_zeroed),
        cmocka_unit_test(elf_refusals),
        cmocka_unit_test(elf_segments_must_fit),
        cmocka_unit_test(elf_with_many_segments),
        cmocka_unit_test(pvh_note_must_be_one),
        cmocka_unit_test(pvh_note_refusals),
        cmocka_unit_test(multiboot_elf_is_loaded),
        cmocka_unit_test(multiboot_gets_its_information),
        cmocka_unit_test(multiboot_ramdisks_are_modules),
        cmocka_unit_test(multiboot_virtual_entry),
        cmocka_unit_test(multiboot_refusals),
        cmocka_unit_test(multiboot_addresses),
        cmocka_unit_test(multiboot_address_refusals),
        cmocka_unit_test(the_header_is_in_the_first_8_kib),
        cmocka_unit_test(not_a_kernel),
        cmocka_unit_test(acpi_tables_and_bios_data_are_there),
        cmocka_unit_test(the_machine_may_run_out_of_memory),
        cmocka_unit_test(tiny_vms),
        cmocka_unit_test(placed_around_a_low_kernel),
        cmocka_unit_test(every_field_damaged),
        cmocka_unit_test(every_length),
        cmocka_unit_test(random_corruption),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    if (guest)
        fake_guest_free(guest);
    return failed;
}
