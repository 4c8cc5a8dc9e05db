/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/unit/loader_files.h"

/* bzImages, what is common to all kinds of kernels, and damage to each kind. */

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
        rc = loader_load(&vm, &guest->pmap, place, &entry, err, sizeof(err));
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
