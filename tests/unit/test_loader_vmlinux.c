/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/unit/loader_files.h"

/* An unpacked Linux: an ELF file linked to the top 2 GiB, and a table of relocations behind it. */

#define TOP        0xffffffff80000000ull
#define END        (LOAD_AT + ELF_BSS)
#define PLACES     ((GIB - END) / PAGE_SIZE_2M + 1)            /* addresses it may be moved to */
#define ROOMS(top) (((top) - END) / PAGE_SIZE_2M + 1)          /* places in memory */

enum { LOADFLAGS = 0x211, KASLR = 2 };

/* Offsets in the text: 64-bit values, 32-bit ones that shrink, 32-bit ones; some across the pieces of the loader. */
static const uint32_t wide[] = { 0x10, 0x3fc, 0x406, 0x7f8 }, shrinking[] = { 0x21, 0x3f8 };
static const uint32_t narrow[] = { 0, 0x30, 0x7f0 };

static void add_word(uint32_t v)
{
    put32(file_size, v);
    file_size += 4;
}

static void add_list(const uint32_t *offsets, size_t n)
{
    add_word(0);
    for (size_t i = 0; i < n; i++)
        add_word((uint32_t)(TOP + LOAD_AT + offsets[i]));
}

/* With sections, or it ends with its segments. */
static void make_vmlinux_elf(void)
{
    make_elf(true, 0);
    put64(64 + 16, TOP + LOAD_AT);
}

static void make_vmlinux(void)
{
    make_vmlinux_elf();
    add_list(wide, ARRAY_SIZE(wide));
    add_list(shrinking, ARRAY_SIZE(shrinking));
    add_list(narrow, ARRAY_SIZE(narrow));
}

static uint8_t expected[ELF_TEXT_SIZE];

static void expect(const uint32_t *offsets, size_t n, size_t width, uint64_t distance)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t v = 0;

        memcpy(&v, expected + offsets[i], width);
        v += distance;
        memcpy(expected + offsets[i], &v, width);
    }
}

static void check_text(uint64_t physical, uint64_t virtual, bool three)
{
    memcpy(expected, file + ELF_TEXT, sizeof(expected));
    expect(wide, ARRAY_SIZE(wide), 8, virtual);
    expect(shrinking, three ? ARRAY_SIZE(shrinking) : 0, 4, -virtual);
    expect(narrow, ARRAY_SIZE(narrow), 4, virtual);
    assert_memory_equal(guest->low + LOAD_AT + physical, expected, sizeof(expected));
    for (unsigned i = ELF_TEXT_SIZE; i < ELF_BSS; i++)
        assert_int_equal(guest->low[LOAD_AT + physical + i], 0);
    assert_true(entry.rip == ENTRY_AT + physical);
    assert_int_equal(entry.mode, GUEST_LONG64);
}

static void it_is_moved(void **state)
{
    (void)state;
    make_vmlinux();
    for (place = 0; place < 3 * PLACES * ROOMS(64 * MIB); place += 997) {
        uint64_t virtual = place % PLACES * PAGE_SIZE_2M;

        assert_int_equal(load(), 0);
        check_text(place / PLACES % ROOMS(64 * MIB) * PAGE_SIZE_2M, virtual, true);
        assert_true(END + virtual <= GIB);
        assert_true(entry.rip < 64 * MIB);
    }
    place = UINT64_MAX;
    assert_int_equal(load(), 0);
}

/* All places are used, the first and the last in both directions too. */
static void ends_of_the_range(void **state)
{
    (void)state;
    make_vmlinux();
    place = 0;
    assert_int_equal(load(), 0);
    check_text(0, 0, true);
    place = PLACES - 1 + PLACES * (ROOMS(64 * MIB) - 1);
    assert_int_equal(load(), 0);
    check_text(60 * MIB, GIB - 4 * MIB, true);
    make_vmlinux();
    put64(64 + 40, GIB - LOAD_AT);            /* as large as can be mapped: there is one address */
    place = 12345;
    assert_int_equal(load_in(GIB), 0);
    assert_memory_equal(guest->low + LOAD_AT, file + ELF_TEXT, ELF_TEXT_SIZE);
    put64(64 + 40, GIB - LOAD_AT + 1);
    assert_refused(load_in(2 * GIB), ENOEXEC, "kernel is damaged: it ends at 0x40000001, beyond 1 GiB");
}

static void newer_kernels_have_two_lists(void **state)
{
    (void)state;
    make_vmlinux_elf();
    add_list(wide, ARRAY_SIZE(wide));
    add_list(narrow, ARRAY_SIZE(narrow));
    place = 7 + 3 * PLACES;
    assert_int_equal(load(), 0);
    check_text(6 * MIB, 14 * MIB, false);
    make_vmlinux_elf();
    add_word(0);
    add_word(0);
    assert_int_equal(load(), 0);              /* nothing to change */
    assert_memory_equal(guest->low + LOAD_AT + 6 * MIB, file + ELF_TEXT, ELF_TEXT_SIZE);
}

static void boot_parameters(void **state)
{
    uint64_t params;

    (void)state;
    make_vmlinux();
    add_ramdisk("\\initrd", "ramdisk", 7);
    place = 5;
    assert_int_equal(load(), 0);
    params = entry.rsi;
    assert_int_equal(guest16(params + 0x1fe), 0xaa55);
    assert_memory_equal(guest->low + params + 0x202, "HdrS", 4);
    assert_int_equal(guest16(params + 0x206), 0x20c);
    assert_int_equal(guest->low[params + 0x210], 0xff);
    assert_int_equal(guest->low[params + LOADFLAGS], 1 | KASLR);
    assert_memory_equal(guest->low + guest32(params + 0x218), "ramdisk", 7);
    assert_int_equal(guest32(params + 0x21c), 7);
    assert_string_equal(guest_text(guest32(params + 0x228)), "console=ttyS0 quiet");
    assert_true(guest64(params + 0x70) == BOARD_ACPI_BASE);
    assert_int_equal(guest->low[params + 0x1e8], 5);
}

static void in_a_domain_it_draws_no_more(void **state)
{
    (void)state;
    make_vmlinux();
    strcpy(vm.share, "friends");
    place = 9 + 2 * PLACES;
    assert_int_equal(load(), 0);
    check_text(4 * MIB, 18 * MIB, true);
    assert_int_equal(guest->low[entry.rsi + LOADFLAGS], 1);
}

static void words_of_the_command_line(void **state)
{
    static const struct { const char *extra; uint64_t physical, virtual; uint8_t flags; } lines[] = {
        { "nokaslr", 0, 0, 1 }, { "quiet nokaslr", 0, 0, 1 }, { "quiet  nokaslr ro", 0, 0, 1 },
        { "nokaslrs xnokaslr", 4 * MIB, 18 * MIB, 3 }, { "", 4 * MIB, 18 * MIB, 3 }, { "nokasl", 4 * MIB, 18 * MIB, 3 },
        { "a mem=64M", 0, 18 * MIB, 3 }, { "memmap=4M$8M b", 0, 18 * MIB, 3 }, { "xmem=64M mem", 4 * MIB, 18 * MIB, 3 },
    };

    (void)state;
    place = 9 + 2 * PLACES;
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        make_vmlinux();
        strcpy(vm.extra, lines[i].extra);
        assert_int_equal(load(), 0);
        check_text(lines[i].physical, lines[i].virtual, true);
        assert_int_equal(guest->low[entry.rsi + LOADFLAGS], lines[i].flags);
    }
}

static void it_is_not_moved_over_the_ramdisk(void **state)
{
    static uint8_t data[20 * MIB];
    uint64_t ramdisk, highest = 0;

    (void)state;
    make_vmlinux();
    memset(data, 0x5a, sizeof(data));
    add_ramdisk("\\initrd", data, sizeof(data));
    for (uint64_t room = 0; room < 40; room++) {
        place = room * PLACES;
        assert_int_equal(load(), 0);
        ramdisk = guest32(entry.rsi + 0x218);
        assert_true(ramdisk == 44 * MIB && entry.rip < ramdisk - (ELF_BSS - 0x100));
        assert_memory_equal(guest->low + ramdisk, data, sizeof(data));
        highest = MAX(highest, entry.rip);
    }
    assert_true(highest == ENTRY_AT + 40 * MIB);
}

/* Sections behind the segments are the ELF file's, the table comes after them and their headers. */
static void sections_come_first(void **state)
{
    (void)state;
    make_vmlinux_elf();
    put64(40, file_size + 0x100);
    put16(58, 64);
    put16(60, 3);
    put32(file_size + 0x100 + 64 + 4, 1);
    put64(file_size + 0x100 + 64 + 24, file_size + 0x10);
    put64(file_size + 0x100 + 64 + 32, 0xf0);
    put32(file_size + 0x100 + 128 + 4, 8);    /* no bits: it has no place in the file */
    put64(file_size + 0x100 + 128 + 24, UINT64_MAX - 4);
    file_size += 0x100 + 3 * 64;
    assert_int_equal(load(), -ENOEXEC);       /* no table yet */
    assert_non_null(strstr(err, "not a kernel"));
    add_list(wide, ARRAY_SIZE(wide));
    add_list(narrow, ARRAY_SIZE(narrow));
    place = 7 + 3 * PLACES;
    assert_int_equal(load(), 0);
    check_text(6 * MIB, 14 * MIB, false);
    put64(ELF_TEXT + ELF_TEXT_SIZE + 0x100 + 64 + 32, UINT64_MAX); /* it does not fit: there is no telling */
    assert_int_equal(load(), -ENOEXEC);
    assert_non_null(strstr(err, "not a kernel"));
}

static void without_a_table_pvh_counts(void **state)
{
    (void)state;
    make_pvh(true, 4);
    put64(64 + 16, TOP + LOAD_AT);
    assert_int_equal(load(), 0);
    assert_int_equal(entry.mode, GUEST_PROT32);
    make_pvh(true, 4);                        /* linked elsewhere: what is behind it is not looked at */
    add_list(wide, ARRAY_SIZE(wide));
    assert_int_equal(load(), 0);
    assert_int_equal(entry.mode, GUEST_PROT32);
}

static void bad_table(uint32_t first, uint32_t second, const char *text)
{
    make_vmlinux_elf();
    add_list(wide, ARRAY_SIZE(wide));
    add_word(0);
    add_word(first);
    add_word(second);
    assert_refused(load(), ENOEXEC, text);
}

static void damaged_tables(void **state)
{
    (void)state;
    place = 1;
    bad_table(0x80200010, 0x80200013, "kernel is damaged: relocation 0x80200013, expected 0x80200014 or more");
    bad_table(0x80200010, 0x80200010, "kernel is damaged: relocation 0x80200010, expected 0x80200014 or more");
    bad_table(0x7fffffff, 0x80200010, "kernel is damaged: relocation 0x7fffffff, expected 0x80000000 or more");
    bad_table(0x80200010, 0x802007fd, "kernel is damaged: relocation 0x802007fd is outside what it loads");
    bad_table(0x802007fc, 0x80200800, "kernel is damaged: relocation 0x80200800 is outside what it loads");
    bad_table(0x801ffffe, 0x80200010, "kernel is damaged: relocation 0x801ffffe is outside what it loads");
    bad_table(0x80200010, 0xffffffff, "kernel is damaged: relocation 0xffffffff is outside what it loads");
    make_vmlinux_elf();
    add_word(0x80200010);
    assert_refused(load(), ENOEXEC, "kernel is damaged: its table of relocations begins with 0x80200010, needed 0");
    make_vmlinux();
    file_size--;
    assert_refused(load(), ENOEXEC, "kernel is damaged: 0x2f bytes behind its ELF part are no table of relocations");
    make_vmlinux_elf();
    add_list(wide, ARRAY_SIZE(wide));
    assert_refused(load(), ENOEXEC, "kernel is damaged: 1 list of relocations, needed 2 or 3");
    make_vmlinux();
    add_word(0);
    assert_refused(load(), ENOEXEC, "kernel is damaged: more than 3 lists of relocations");
}

/* A second segment over the first: whatever comes of it stays in the guest's own memory. */
static void overlapping_segments(void **state)
{
    (void)state;
    for (uint32_t at = 0; at < 0x900; at += 0x33) {
        make_vmlinux();
        put16(56, 3);
        put_phdr(true, 2, 1, ELF_TEXT + 3, LOAD_AT + at, 0x200, 0x200);
        place = 3;
        assert_int_equal(load(), 0);
    }
}

static void it_must_fit(void **state)
{
    (void)state;
    make_vmlinux();
    put64(64 + 40, 100 * MIB);
    assert_refused(load(), ENOMEM, "kernel needs 100 MiB at 0x200000, the VM has 64 MiB");
    make_vmlinux();
    put64(64 + 40, 62 * MIB);                 /* to the last byte: there it stays */
    place = 3 * PLACES;
    assert_int_equal(load(), 0);
    assert_true(entry.rip == ENTRY_AT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_moved),
        cmocka_unit_test(ends_of_the_range),
        cmocka_unit_test(newer_kernels_have_two_lists),
        cmocka_unit_test(boot_parameters),
        cmocka_unit_test(in_a_domain_it_draws_no_more),
        cmocka_unit_test(words_of_the_command_line),
        cmocka_unit_test(it_is_not_moved_over_the_ramdisk),
        cmocka_unit_test(sections_come_first),
        cmocka_unit_test(without_a_table_pvh_counts),
        cmocka_unit_test(damaged_tables),
        cmocka_unit_test(overlapping_segments),
        cmocka_unit_test(it_must_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
