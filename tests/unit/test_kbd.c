/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "vdev/kbd.h"
#include "vdev_fake.h"

static struct kbd kbd;
static unsigned resets;

static void on_reset(void *ctx)
{
    (void)ctx;
    resets++;
}

static int setup(void **state)
{
    (void)state;
    fake_reset();
    resets = 0;
    kbd_init(&kbd, fake_irq(1), on_reset, NULL);
    return 0;
}

static unsigned status(void)
{
    return (unsigned)kbd_read(&kbd, 0x64, 1);
}

static unsigned data(void)
{
    return (unsigned)kbd_read(&kbd, 0x60, 1);
}

static void command(unsigned value)
{
    kbd_write(&kbd, 0x64, 1, value);
}

static void write_data(unsigned value)
{
    kbd_write(&kbd, 0x60, 1, value);
}

static void test_controller(void **state)
{
    (void)state;
    assert_int_equal(status() & 0x03, 0);       /* nothing in, nothing out */
    command(0xaa);
    assert_int_equal(status() & 0x01, 1);
    assert_int_equal(data(), 0x55);
    assert_int_equal(status() & 0x01, 0);
    command(0xab);
    assert_int_equal(data(), 0x00);
    command(0x20);
    assert_int_equal(data(), 0x24);
    command(0x60);
    write_data(0x45);
    command(0x20);
    assert_int_equal(data(), 0x65);             /* the second port stays off */
    command(0xad);
    command(0x20);
    assert_int_equal(data() & 0x10, 0x10);
    command(0xae);
    command(0x20);
    assert_int_equal(data() & 0x10, 0);
    command(0xd0);
    assert_int_equal(data(), 0x03);
}

/* As Linux probes: the second port answers wrongly at once, the keyboard not at all. */
static void test_nothing_plugged_in(void **state)
{
    (void)state;
    command(0xd3);
    write_data(0x5a);
    assert_int_equal(status() & 0x21, 0x01);    /* not from the second port */
    data();
    command(0xa9);
    assert_int_not_equal(data(), 0x00);
    command(0x60);
    write_data(0x01);
    write_data(0xf2);
    assert_int_equal(status() & 0x41, 0x41);    /* time-out */
    assert_true(fake_line[1].level);
    assert_int_equal(data(), 0xfe);
    assert_false(fake_line[1].level);
    assert_int_equal(status() & 0x40, 0);
}

static void test_resets(void **state)
{
    (void)state;
    command(0xfe);
    assert_int_equal(resets, 1);
    command(0xff);                              /* pulses nothing */
    command(0xf1);
    assert_int_equal(resets, 1);
    command(0xd1);
    write_data(0x03);
    assert_int_equal(resets, 1);
    command(0xd1);
    write_data(0x02);
    assert_int_equal(resets, 2);
    kbd_port92_write(&kbd, 0x92, 1, 0x02);
    assert_int_equal(kbd_port92_read(&kbd, 0x92, 1), 0x02);
    assert_int_equal(resets, 2);
    kbd_port92_write(&kbd, 0x92, 1, 0x03);
    kbd_port92_write(&kbd, 0x92, 1, 0x03);
    assert_int_equal(resets, 3);
    kbd_cf9_write(&kbd, 0xcf9, 1, 0x02);
    assert_int_equal(resets, 3);
    assert_int_equal(kbd_cf9_read(&kbd, 0xcf9, 1), 0x02);
    kbd_cf9_write(&kbd, 0xcf9, 1, 0x06);
    assert_int_equal(resets, 4);
    assert_int_equal(kbd_cf9_read(&kbd, 0xcf9, 1), 0x02);
}

static void test_random(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 300000; i++) {
        if (fake_below(2))
            kbd_write(&kbd, fake_below(2) ? 0x60 : 0x64, 1, (uint8_t)fake_random());
        else
            kbd_read(&kbd, fake_below(2) ? 0x60 : 0x64, 1);
        assert_true(fake_line[1].level == (kbd.full && (kbd.config & 1)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_controller, setup),
        cmocka_unit_test_setup(test_nothing_plugged_in, setup),
        cmocka_unit_test_setup(test_resets, setup),
        cmocka_unit_test_setup(test_random, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
