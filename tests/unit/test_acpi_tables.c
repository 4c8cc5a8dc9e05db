/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/errno.h"
#include "vdev/acpi_pm.h"
#include "vdev/acpi_tables.h"
#include "vdev_fake.h"

static uint8_t buf[BOARD_ACPI_SIZE];
static int used;

static const struct pmap_window windows[] = { { .base = 4 * GIB, .size = 24 * MIB },
                                              { .base = 5 * GIB, .size = 2 * MIB } };

static void build_with(unsigned vcpus, unsigned count)
{
    memset(buf, 0xee, sizeof(buf));
    used = board_acpi_build(vcpus, windows, count, buf, sizeof(buf));
    assert_in_range(used, 1, sizeof(buf));
    assert_int_equal(buf[used], 0xee);
}

static void build(unsigned vcpus) { build_with(vcpus, 0); }

static void *at(uint64_t gpa, size_t bytes)
{
    assert_in_range(gpa, BOARD_ACPI_BASE, BOARD_ACPI_BASE + (uint64_t)used - bytes);
    return buf + (gpa - BOARD_ACPI_BASE);
}

static uint8_t sum(const void *p, size_t bytes)
{
    uint8_t s = 0;

    for (size_t i = 0; i < bytes; i++)
        s += ((const uint8_t *)p)[i];
    return s;
}

/* A table by its address: signature, length, checksum. */
static struct acpi_header *table(uint64_t gpa, const char *signature)
{
    struct acpi_header *h = at(gpa, sizeof(*h));

    assert_memory_equal(h->signature, signature, 4);
    at(gpa, h->length);
    assert_int_equal(sum(h, h->length), 0);
    return h;
}

static struct acpi_rsdp *rsdp(void)
{
    return at(BOARD_ACPI_RSDP, sizeof(struct acpi_rsdp));
}

static struct acpi_fadt *fadt(void)
{
    struct acpi_header *xsdt = table(rsdp()->xsdt, "XSDT");
    uint64_t address;

    memcpy(&address, xsdt + 1, 8);
    return (struct acpi_fadt *)table(address, "FACP");
}

/* What the root names behind the FADT. */
static struct acpi_header *further(unsigned n, const char *signature)
{
    struct acpi_header *xsdt = table(rsdp()->xsdt, "XSDT");
    uint64_t address;

    memcpy(&address, (uint8_t *)(xsdt + 1) + n * 8, 8);
    return table(address, signature);
}

static struct acpi_madt *madt(void) { return (struct acpi_madt *)further(1, "APIC"); }

static void test_roots(void **state)
{
    struct acpi_header *xsdt, *rsdt;
    uint32_t narrow;
    uint64_t wide;

    (void)state;
    build(2);
    assert_memory_equal(rsdp()->signature, "RSD PTR ", 8);
    assert_int_equal(sum(rsdp(), 20), 0);
    assert_int_equal(sum(rsdp(), 36), 0);
    assert_int_equal(rsdp()->revision, 2);
    assert_int_equal(rsdp()->length, 36);
    xsdt = table(rsdp()->xsdt, "XSDT");
    rsdt = table(rsdp()->rsdt, "RSDT");
    assert_int_equal(xsdt->length, 36 + 2 * 8);
    assert_int_equal(rsdt->length, 36 + 2 * 4);
    for (unsigned i = 0; i < 2; i++) {
        memcpy(&wide, (uint8_t *)(xsdt + 1) + 8 * i, 8);
        memcpy(&narrow, (uint8_t *)(rsdt + 1) + 4 * i, 4);
        assert_int_equal(wide, narrow);
    }
}

static void test_fadt(void **state)
{
    const struct acpi_fadt *f;
    const struct acpi_facs *facs;

    (void)state;
    build(1);
    f = fadt();
    assert_true(f->header.revision >= 5);
    assert_int_equal(f->header.length, 268);
    assert_int_equal(f->flags & 1 << 20, 0);            /* not hardware-reduced */
    assert_int_equal(f->flags & 1 << 4, 0);             /* the power button is a fixed one */
    assert_int_equal(f->flags & 1 << 8, 1 << 8);        /* 32-bit timer */
    assert_int_equal(f->flags & 1 << 10, 1 << 10);
    assert_int_equal(f->reset_register.space, 1);
    assert_int_equal(f->reset_register.address, 0xcf9);
    assert_int_equal(f->reset_register.width, 8);
    assert_int_equal(f->reset_value & 0x04, 0x04);
    assert_int_equal(f->sci_interrupt, BOARD_GSI_SCI);
    assert_int_equal(f->smi_command, 0);
    assert_int_equal(f->pm1a_event, BOARD_PM_BASE);
    assert_int_equal(f->x_pm1a_event.address, BOARD_PM_BASE);
    assert_int_equal(f->pm1a_control, BOARD_PM_BASE + 4);
    assert_int_equal(f->x_pm1a_control.address, BOARD_PM_BASE + 4);
    assert_int_equal(f->pm_timer, BOARD_PM_BASE + 8);
    assert_int_equal(f->x_pm_timer.address, BOARD_PM_BASE + 8);
    assert_int_equal(f->century, 0x32);
    assert_int_equal(f->boot_architecture & 3, 3);      /* legacy devices and the 8042 are there */
    assert_int_equal(f->dsdt, f->x_dsdt);
    table(f->x_dsdt, "DSDT");
    facs = at(f->x_facs, sizeof(*facs));
    assert_memory_equal(facs->signature, "FACS", 4);
    assert_int_equal(facs->length, 64);
    assert_int_equal(f->x_facs % 64, 0);
}

static void check_entry(const uint8_t *e, uint64_t *lapics, unsigned vcpus, unsigned *seen)
{
    switch (e[0]) {
    case ACPI_MADT_LAPIC:
        assert_int_equal(e[1], 8);
        assert_in_range(e[3], 0, vcpus - 1);
        assert_int_equal(e[4] & 1, 1);
        *lapics |= 1ull << e[3];
        break;
    case ACPI_MADT_IOAPIC:
        assert_int_equal(e[1], 12);
        assert_true(e[2] >= vcpus);                     /* nobody else's id */
        assert_int_equal(((const struct acpi_madt_ioapic *)e)->address, BOARD_IOAPIC_BASE);
        assert_int_equal(((const struct acpi_madt_ioapic *)e)->gsi_base, 0);
        break;
    case ACPI_MADT_OVERRIDE:
        assert_int_equal(e[1], 10);
        if (e[3] == 0)
            assert_int_equal(e[4], 2);
        else
            assert_memory_equal(e + 3, "\x09\x09\x00\x00\x00\x0d\x00", 7);
        break;
    default:
        assert_int_equal(e[0], ACPI_MADT_LAPIC_NMI);
        assert_int_equal(e[1], 6);
        assert_int_equal(e[2], 0xff);
        assert_int_equal(e[5], 1);
        break;
    }
    seen[e[0]]++;
}

static void test_madt(void **state)
{
    (void)state;
    for (unsigned vcpus = 1; vcpus <= BOARD_MAX_VCPUS; vcpus++) {
        const struct acpi_madt *m;
        const uint8_t *e, *end;
        unsigned seen[5] = { 0 };
        uint64_t lapics = 0;

        build(vcpus);
        m = madt();
        assert_int_equal(m->lapic_base, BOARD_LAPIC_BASE);
        assert_int_equal(m->flags, 1);
        end = (const uint8_t *)m + m->header.length;
        for (e = (const uint8_t *)(m + 1); e < end; e += e[1])
            check_entry(e, &lapics, vcpus, seen);
        assert_ptr_equal(e, end);
        assert_true(lapics == (vcpus == 64 ? UINT64_MAX : (1ull << vcpus) - 1));
        assert_int_equal(seen[ACPI_MADT_LAPIC], vcpus);
        assert_int_equal(seen[ACPI_MADT_IOAPIC], 1);
        assert_int_equal(seen[ACPI_MADT_OVERRIDE], 2);
        assert_int_equal(seen[ACPI_MADT_LAPIC_NMI], 1);
    }
}

static void test_nfit(void **state)
{
    const struct acpi_nfit_range *range;
    const struct acpi_nfit_capabilities *c;
    struct acpi_header *nfit;

    (void)state;
    build_with(1, 2);
    assert_int_equal(table(rsdp()->xsdt, "XSDT")->length, 36 + 4 * 8);
    assert_int_equal(table(rsdp()->rsdt, "RSDT")->length, 36 + 4 * 4);
    nfit = further(2, "NFIT");
    assert_int_equal(nfit->length, 40 + 2 * 56 + 16);
    range = (const struct acpi_nfit_range *)((struct acpi_nfit *)nfit + 1);
    for (unsigned i = 0; i < 2; i++, range++) {
        assert_int_equal(range->type, ACPI_NFIT_RANGE);
        assert_int_equal(range->length, 56);
        assert_int_equal(range->index, i + 1);
        assert_int_equal(range->flags, 0);
        assert_int_equal(range->base, windows[i].base);
        assert_int_equal(range->size, windows[i].size);
        assert_int_equal(range->attributes, 0x8008);
    }
    c = (const struct acpi_nfit_capabilities *)range;
    assert_int_equal(c->type, ACPI_NFIT_CAPABILITIES);
    assert_int_equal(c->length, 16);
    assert_int_equal(c->capabilities, 3);
    further(3, "SSDT");
}

static void test_every_size_too_small_is_refused(void **state)
{
    int need;

    (void)state;
    build_with(64, 2);
    need = used;
    for (int size = 0; size < need; size++) {
        uint8_t *small = malloc((size_t)size);          /* the sanitizer watches its end */

        assert_int_equal(board_acpi_build(64, windows, 2, small, (size_t)size), -ENOSPC);
        free(small);
    }
    assert_int_equal(board_acpi_build(64, windows, 2, buf, (size_t)need), need);
}

static void disassemble(const struct acpi_header *h, const char *dir)
{
    char name[128], line[512];
    FILE *f;

    snprintf(name, sizeof(name), "%s/%.4s.aml", dir, h->signature);
    f = fopen(name, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(h, 1, h->length, f), h->length);
    fclose(f);
    snprintf(line, sizeof(line), "cd %s && iasl -d %.4s.aml > log 2>&1 && ! grep -iE 'error|warning|invalid' log *.dsl",
             dir, h->signature);
    assert_int_equal(system(line), 0);
}

/* What ACPICA's disassembler reads without complaint. */
static void test_iasl_reads_them(void **state)
{
    char dir[] = "/tmp/test_acpi_tables.XXXXXX", line[64];

    (void)state;
    if (system("command -v iasl > /dev/null") != 0)
        skip();
    assert_non_null(mkdtemp(dir));
    build_with(4, 2);
    disassemble(&fadt()->header, dir);
    disassemble(&madt()->header, dir);
    disassemble(table(fadt()->x_dsdt, "DSDT"), dir);
    disassemble(further(2, "NFIT"), dir);
    disassemble(further(3, "SSDT"), dir);
    snprintf(line, sizeof(line), "rm -r %s", dir);
    assert_int_equal(system(line), 0);
}

/* --- the fixed hardware behind them --- */
static struct acpi_pm pm;
static unsigned power_offs;

static void fire(struct vtimer *t, uint64_t now)
{
    acpi_pm_expire(container_of(t, struct acpi_pm, timer), now);
}

static void on_power_off(void *ctx)
{
    (void)ctx;
    power_offs++;
}

static int setup_pm(void **state)
{
    (void)state;
    fake_reset();
    power_offs = 0;
    acpi_pm_init(&pm, &fake_clock, &fake_queue, fake_irq(9), fire, on_power_off, NULL);
    return 0;
}

static uint32_t in(unsigned offset, unsigned size)
{
    return (uint32_t)acpi_pm_read(&pm, BOARD_PM_BASE + offset, size);
}

static void out(unsigned offset, unsigned size, uint32_t value)
{
    acpi_pm_write(&pm, BOARD_PM_BASE + offset, size, value);
}

static void test_pm_timer(void **state)
{
    uint32_t start = in(8, 4);
    uint64_t peeked;

    (void)state;
    fake_wait(FAKE_HZ);
    assert_in_range(in(8, 4) - start, 3579544, 3579546);
    out(8, 4, 0);                                       /* read-only */
    assert_in_range(in(8, 4) - start, 3579544, 3579546);
    assert_int_equal(in(8, 1), in(8, 4) & 0xff);
    assert_int_equal(in(10, 2), in(8, 4) >> 16);
    assert_true(acpi_pm_peek(&pm, BOARD_PM_BASE + 8, 4, &peeked));
    assert_int_equal(peeked, in(8, 4));
    assert_false(acpi_pm_peek(&pm, BOARD_PM_BASE, 4, &peeked));
    assert_false(acpi_pm_peek(&pm, BOARD_PM_BASE + 8, 2, &peeked));
}

static void test_pm_registers(void **state)
{
    (void)state;
    assert_int_equal(in(0, 4), 0);
    assert_int_equal(in(4, 2), 1);                      /* SCI_EN: always in ACPI mode */
    out(4, 2, 0);
    assert_int_equal(in(4, 2), 1);
    out(2, 2, 0xffff);
    assert_int_equal(in(2, 2), 0x0521);
    out(3, 1, 0);
    assert_int_equal(in(2, 2), 0x0021);                 /* bytes are their own */
    assert_int_equal(in(0, 4), 0x00210000);
    assert_int_equal(in(3, 1), 0);
    out(4, 2, 3 << 10);
    assert_int_equal(in(4, 2), 1 | 3 << 10);
    assert_int_equal(in(5, 4) & 0xff, 3 << 2);
    assert_int_equal(in(11, 1), in(8, 4) >> 24);
}

static void test_power_button(void **state)
{
    (void)state;
    acpi_pm_power_button(&pm);
    assert_false(fake_line[9].level);
    assert_int_equal(in(0, 2), 0x100);
    out(2, 2, 0x100);
    assert_true(fake_line[9].level);
    out(0, 2, 0x020);                                   /* another bit */
    assert_true(fake_line[9].level);
    out(0, 2, 0x100);
    assert_false(fake_line[9].level);
    assert_int_equal(in(0, 2), 0);
}

static void test_sleep(void **state)
{
    (void)state;
    out(4, 2, 5 << 10);
    assert_int_equal(power_offs, 0);
    out(4, 2, 3 << 10 | 1 << 13);                       /* no such sleep */
    assert_int_equal(power_offs, 0);
    out(4, 2, 5 << 10 | 1 << 13);
    assert_int_equal(power_offs, 1);
    assert_int_equal(in(4, 2) & 1 << 13, 0);
    out(5, 1, 5 << 2 | 1 << 5);                         /* the high byte alone */
    assert_int_equal(power_offs, 2);
    out(4, 1, 0xff);                                    /* the low one does not sleep */
    assert_int_equal(power_offs, 2);
}

static void test_timer_carry(void **state)
{
    (void)state;
    out(2, 2, 1);
    fake_wait(FAKE_HZ * 599);
    assert_false(fake_line[9].level);
    fake_wait(FAKE_HZ);
    assert_true(fake_line[9].level);
    assert_int_equal(in(0, 2), 1);
    out(0, 2, 1);
    assert_false(fake_line[9].level);
    out(2, 2, 0);
    fake_wait(FAKE_HZ * 601);
    assert_int_equal(in(0, 2), 1);                      /* noted all the same */
    assert_int_equal(fake_timers(&fake_queue), 0);
}

static void test_pm_random(void **state)
{
    static const uint8_t sizes[3] = { 1, 2, 4 };

    (void)state;
    for (unsigned i = 0; i < 300000; i++) {
        unsigned size = sizes[fake_below(3)], offset = fake_below(ACPI_PM_SIZE - size + 1);

        if (fake_below(3) == 0)
            out(offset, size, (uint32_t)fake_random() & (size == 4 ? ~0u : (1u << 8 * size) - 1));
        else if (fake_below(2))
            in(offset, size);
        else
            fake_wait(fake_random() >> (22 + fake_below(42)));
        assert_true(in(4, 2) & 1);
        assert_true(fake_line[9].level == !!(in(0, 2) & in(2, 2)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roots),
        cmocka_unit_test(test_fadt),
        cmocka_unit_test(test_madt),
        cmocka_unit_test(test_nfit),
        cmocka_unit_test(test_every_size_too_small_is_refused),
        cmocka_unit_test(test_iasl_reads_them),
        cmocka_unit_test_setup(test_pm_timer, setup_pm),
        cmocka_unit_test_setup(test_pm_registers, setup_pm),
        cmocka_unit_test_setup(test_power_button, setup_pm),
        cmocka_unit_test_setup(test_sleep, setup_pm),
        cmocka_unit_test_setup(test_timer_carry, setup_pm),
        cmocka_unit_test_setup(test_pm_random, setup_pm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
