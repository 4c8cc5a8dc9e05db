/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/ioapic.c"
#include "tests/unit/seam/fake_cpu.h"

/* Two I/O APICs, with registers behind a select and a window. A level line that is asserted storms while unmasked. */
struct model {
    uint64_t base;
    uint32_t select, version, reg[512];
    unsigned writes;
};

static struct model model[2];

static struct model *model_at(uint64_t addr)
{
    for (unsigned i = 0; i < 2; i++)
        if (addr == model[i].base || addr == model[i].base + 0x10)
            return &model[i];
    return NULL;
}

static uint32_t model_read(uint64_t addr)
{
    struct model *m = model_at(addr);

    if (!m)
        return UINT32_MAX;
    if (addr == m->base)
        return m->select;
    return m->select == 1 ? m->version : m->reg[m->select];
}

static void model_write(uint64_t addr, uint32_t value)
{
    struct model *m = model_at(addr);

    if (!m)
        return;
    if (addr == m->base) {
        m->select = value & 0xff;
        return;
    }
    assert_true(m->select >= 0x10); /* neither its id nor its version */
    m->writes++;
    m->reg[m->select] = value;
}

static unsigned unmasked(const struct model *m)
{
    unsigned n = 0;

    for (unsigned i = 0; i <= (m->version >> 16); i++)
        n += !(m->reg[0x10 + 2 * i] & 1 << 16);
    return n;
}

static int set_up(void **state)
{
    fake_cpu_reset();
    fake_cpu.mmio_read = model_read;
    fake_cpu.mmio_write = model_write;
    memset(model, 0, sizeof(model));
    model[0].base = 0xfec00000;
    model[0].version = 23 << 16 | 0x11;
    model[1].base = 0xc8001000;
    model[1].version = 119 << 16 | 0x20;
    for (unsigned i = 0; i < 240; i++) {
        for (unsigned m = 0; m < 2; m++) {
            model[m].reg[0x10 + 2 * i] = 0x20 + i % 200 + (i % 3 ? 1 << 16 : 0) + (i % 2 ? 1 << 15 : 0);
            model[m].reg[0x11 + 2 * i] = i << 24;
        }
    }
    (void)state;
    return 0;
}

static void masked_and_put_back(void **state)
{
    static const uint64_t base[] = { 0xfec00000, 0xc8001000 };
    struct model before[2];

    assert_int_equal(ioapic_find(base, 2), 2);
    assert_int_equal(ioapic_page(1), 0xc8001000);
    memcpy(before, model, sizeof(before));
    for (unsigned round = 0; round < 2; round++) {
        ioapic_mask_all();
        assert_int_equal(unmasked(&model[0]), 0);
        assert_int_equal(unmasked(&model[1]), 0);
        ioapic_unmask();
        assert_memory_equal(model[0].reg, before[0].reg, sizeof(model[0].reg));
        assert_memory_equal(model[1].reg, before[1].reg, sizeof(model[1].reg));
    }
    assert_int_equal(model[0].writes, 2 * 2 * 8); /* only what was unmasked is written */
    (void)state;
}

static void delivery_changes_meanwhile(void **state)
{
    ioapic_find(NULL, 0);
    ioapic_mask_all();
    model[0].reg[0x10] |= 1 << 14; /* remote IRR, which the chip sets */
    ioapic_unmask();
    assert_int_equal(model[0].reg[0x10], 0x20 | 1 << 14);
    (void)state;
}

static void only_what_answers(void **state)
{
    static const uint64_t base[] = { 0xfec80000, 0xfec00000, 0xfec00000 + 0x400 };
    static const uint32_t wrong[] = { 0, UINT32_MAX, 0x170030, 0x1700ff, 23 << 16, 0xf00011, 0x1170011 };

    assert_int_equal(ioapic_find(base, 3), 1);
    assert_int_equal(ioapic_page(0), 0xfec00000);
    for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
        model[0].version = wrong[i];
        assert_int_equal(ioapic_find(NULL, 0), 0);
    }
    fake_cpu.mmio_read = NULL; /* nothing there */
    assert_int_equal(ioapic_find(NULL, 0), 0);
    ioapic_mask_all();
    assert_int_equal(model[0].writes, 0);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(masked_and_put_back, set_up),
        cmocka_unit_test_setup(delivery_changes_meanwhile, set_up),
        cmocka_unit_test_setup(only_what_answers, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
