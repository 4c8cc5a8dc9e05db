/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/acpi.h"

/* Physical memory; what is mapped is a copy of just the bytes asked for, gone at the next call. */
#define BASE 0xe0000u
#define SIZE 0x4000u
enum { AT_RSDP = 0x100, AT_RSDT = 0x200, AT_XSDT = 0x300, AT_FADT = 0x400, AT_MADT = 0x800, AT_MADT2 = 0xc00 };

static uint8_t memory[SIZE];
static void *mapped;

static const void *map(uint64_t phys, size_t size)
{
    free(mapped);
    mapped = NULL;
    if (phys < BASE || phys - BASE > SIZE || size > SIZE - (phys - BASE))
        return NULL;
    mapped = malloc(size);
    memcpy(mapped, memory + (phys - BASE), size);
    return mapped;
}

static void put(unsigned at, uint64_t value, unsigned bytes)
{
    memcpy(memory + at, &value, bytes);
}

static void fix_sum(unsigned at, unsigned size, unsigned field)
{
    uint8_t sum = 0;

    memory[at + field] = 0;
    for (unsigned i = 0; i < size; i++)
        sum = (uint8_t)(sum + memory[at + i]);
    memory[at + field] = (uint8_t)-sum;
}

static void make_table(unsigned at, const char *sig, unsigned length)
{
    memcpy(memory + at, sig, 4);
    put(at + 4, length, 4);
    fix_sum(at, length, 9);
}

static void make_rsdp(unsigned revision)
{
    memcpy(memory + AT_RSDP, "RSD PTR ", 8);
    memory[AT_RSDP + 15] = (uint8_t)revision;
    put(AT_RSDP + 16, BASE + AT_RSDT, 4);
    put(AT_RSDP + 20, 36, 4);
    put(AT_RSDP + 24, BASE + AT_XSDT, 8);
    fix_sum(AT_RSDP, 20, 8);
    fix_sum(AT_RSDP, 36, 32);
}

/* The RSDT leads to AT_MADT2, the XSDT to AT_MADT: one can tell which was used. */
static int set_up(void **state)
{
    memset(memory, 0, sizeof(memory));
    make_rsdp(2);
    put(AT_RSDT + 36, BASE + AT_FADT, 4);
    put(AT_RSDT + 40, BASE + AT_MADT2, 4);
    make_table(AT_RSDT, "RSDT", 44);
    put(AT_XSDT + 36, BASE + AT_FADT, 8);
    put(AT_XSDT + 44, BASE + AT_MADT, 8);
    make_table(AT_XSDT, "XSDT", 52);
    make_table(AT_FADT, "FACP", 244);
    make_table(AT_MADT, "APIC", 100);
    make_table(AT_MADT2, "APIC", 64);
    (void)state;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(mapped);
    mapped = NULL;
    return 0;
}

static size_t find(const char *sig)
{
    size_t len = 0;
    const void *t = acpi_find(map, BASE + AT_RSDP, sig, &len);

    assert_true(!t == !len);
    if (t)
        assert_memory_equal(t, sig, 4);
    return len;
}

static void test_found(void **state)
{
    assert_int_equal(find("APIC"), 100);
    assert_int_equal(find("FACP"), 244);
    assert_int_equal(find("SRAT"), 0);
    make_rsdp(0);
    assert_int_equal(find("APIC"), 64);
    (void)state;
}

static void test_rsdp_damage(void **state)
{
    size_t len;

    assert_null(acpi_find(map, 0, "APIC", &len));
    assert_null(acpi_find(map, BASE + SIZE, "APIC", &len));
    memory[AT_RSDP + 33]++; /* the second part only: the RSDT is left */
    assert_int_equal(find("APIC"), 64);
    make_rsdp(2);
    put(AT_RSDP + 20, 0xffffffff, 4);
    fix_sum(AT_RSDP, 36, 32);
    assert_int_equal(find("APIC"), 64);
    make_rsdp(2);
    memory[AT_RSDP + 8]++;
    assert_int_equal(find("APIC"), 0);
    make_rsdp(2);
    memory[AT_RSDP] = 'X';
    fix_sum(AT_RSDP, 20, 8);
    assert_int_equal(find("APIC"), 0);
    (void)state;
}

static void test_table_damage(void **state)
{
    static const uint32_t lengths[] = { 0, 35, ACPI_TABLE_MAX + 1, 0xffffffff, SIZE };

    for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
        set_up(NULL);
        put(AT_MADT + 4, lengths[i], 4);
        assert_int_equal(find("APIC"), 0);
        set_up(NULL);
        put(AT_XSDT + 4, lengths[i], 4);
        assert_int_equal(find("APIC"), 0);
    }
    set_up(NULL);
    memory[AT_MADT + 50]++; /* its sum */
    assert_int_equal(find("APIC"), 0);
    set_up(NULL);
    memory[AT_XSDT] = 'R'; /* right sum, wrong table */
    fix_sum(AT_XSDT, 52, 9);
    assert_int_equal(find("APIC"), 0);
    set_up(NULL);
    put(AT_XSDT + 36, UINT64_MAX - 8, 8); /* one that leads nowhere does not hide the others */
    fix_sum(AT_XSDT, 52, 9);
    assert_int_equal(find("APIC"), 100);
    (void)state;
}

/* Any bytes at all: nothing is read outside what was mapped (the sanitizer looks), and it ends. */
static void test_noise(void **state)
{
    for (unsigned i = 0; i < 100000; i++) {
        set_up(NULL);
        for (unsigned k = 0; k < 1 + i % 4; k++) {
            unsigned at = AT_RSDP + (unsigned)rand() % 0x800;

            memory[at] = (uint8_t)rand();
        }
        fix_sum(AT_RSDP, 20, 8);
        fix_sum(AT_RSDP, 36, 32);
        fix_sum(AT_XSDT, 52, 9);
        find(i % 2 ? "APIC" : "FACP");
    }
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rsdp_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_table_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_noise, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
