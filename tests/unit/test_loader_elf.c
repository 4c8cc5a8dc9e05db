/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/unit/loader_files.h"

/* ELF files with a PVH note, and multiboot kernels. */

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

/* Zeros at the end of what the file brings are not loaded, down to a page; all else is. */
static void zeros_are_left_out(void **state)
{
    (void)state;
    make_pvh(true, 4);
    put_phdr(true, 0, 1, ELF_TEXT, LOAD_AT, 0x8008, 0x9000);
    file_size = ELF_TEXT + 0x8008;
    memset(file + ELF_TEXT, 0, 0x8008);
    for (unsigned last = 0; last < 0x8008; last += 0xfff) {
        file[ELF_TEXT + last] = 0x55;
        vm.kernel.shared = true;
        assert_int_equal(load(), 0);
        assert_memory_equal(guest->low + LOAD_AT, file + ELF_TEXT, 0x8008);
        assert_int_equal(guest->loaded, MIN(last / PAGE_SIZE * PAGE_SIZE + PAGE_SIZE, 0x8008));
    }
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pvh_is_loaded),
        cmocka_unit_test(pvh_gets_start_info),
        cmocka_unit_test(pvh_without_ramdisk_has_no_module),
        cmocka_unit_test(bss_is_zeroed),
        cmocka_unit_test(zeros_are_left_out),
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
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    if (guest)
        fake_guest_free(guest);
    return failed;
}
