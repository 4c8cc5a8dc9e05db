/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "vdev/pic.h"
#include "vdev_fake.h"

static struct pic pic;
static bool intr;
static unsigned changes;

static void on_intr(void *ctx, bool level)
{
    assert_ptr_equal(ctx, &pic);
    assert_true(level != intr);
    intr = level;
    changes++;
}

static void out(unsigned port, unsigned value)
{
    pic_write(&pic, port, 1, value);
}

static unsigned in(unsigned port)
{
    return (unsigned)pic_read(&pic, port, 1);
}

/* As kernels do it: vectors 0x20 and 0x28, cascade at input 2. */
static void initialize(unsigned icw4)
{
    out(0x20, 0x11);
    out(0x21, 0x20);
    out(0x21, 0x04);
    out(0x21, icw4);
    out(0xa0, 0x11);
    out(0xa1, 0x28);
    out(0xa1, 0x02);
    out(0xa1, icw4);
}

static int setup(void **state)
{
    (void)state;
    intr = false;
    pic_init(&pic, on_intr, &pic);
    initialize(0x01);
    return 0;
}

static void pulse(unsigned irq)
{
    pic_set_irq(&pic, irq, false);
    pic_set_irq(&pic, irq, true);
}

static void test_power_on_is_quiet(void **state)
{
    (void)state;
    pic_init(&pic, on_intr, &pic);
    for (unsigned i = 0; i < 16; i++)
        pulse(i);
    assert_false(intr);
    assert_int_equal(in(0x21), 0xff);
    assert_int_equal(in(0xa1), 0xff);
}

static void test_priorities(void **state)
{
    (void)state;
    pulse(4);
    assert_true(intr);
    pulse(1);
    pulse(12);
    assert_int_equal(in(0x20), 0x16);           /* IRR, with the cascade */
    assert_int_equal(pic_acknowledge(&pic), 0x21);
    assert_false(intr);                         /* 4 and the slave are lower than what is in service */
    out(0x20, 0x0b);
    assert_int_equal(in(0x20), 0x02);           /* ISR */
    out(0x20, 0x20);
    assert_true(intr);
    assert_int_equal(pic_acknowledge(&pic), 0x2c);
    assert_int_equal(in(0x20), 0x04);
    assert_false(intr);
    out(0xa0, 0x20);
    assert_false(intr);
    out(0x20, 0x62);                            /* specific EOI of the cascade */
    assert_true(intr);
    assert_int_equal(pic_acknowledge(&pic), 0x24);
    out(0x20, 0x20);
    assert_false(intr);
    assert_int_equal(in(0x20), 0);
}

static void test_higher_interrupts_lower(void **state)
{
    (void)state;
    pulse(5);
    assert_int_equal(pic_acknowledge(&pic), 0x25);
    pulse(0);
    assert_true(intr);
    assert_int_equal(pic_acknowledge(&pic), 0x20);
    out(0x20, 0x20);                            /* non-specific: the highest in service */
    out(0x20, 0x0b);
    assert_int_equal(in(0x20), 0x20);
}

static void test_masks(void **state)
{
    (void)state;
    out(0x21, 0x10);
    assert_int_equal(in(0x21), 0x10);
    pulse(4);
    assert_false(intr);
    out(0x21, 0x00);
    assert_true(intr);                          /* the request waited */
    out(0x21, 0x10);
    assert_false(intr);
    out(0x21, 0x04);
    pulse(4);
    pic_acknowledge(&pic);
    out(0x20, 0x20);
    pulse(14);
    assert_false(intr);                         /* the cascade is masked */
    out(0x21, 0x00);
    assert_int_equal(pic_acknowledge(&pic), 0x2e);
}

static void test_edges(void **state)
{
    (void)state;
    pic_set_irq(&pic, 3, true);
    assert_int_equal(pic_acknowledge(&pic), 0x23);
    out(0x20, 0x20);
    pic_set_irq(&pic, 3, true);                 /* still high: no new request */
    assert_false(intr);
    pulse(3);
    assert_true(intr);
    pic_set_irq(&pic, 3, false);                /* fell before it was acknowledged */
    assert_false(intr);
}

static void test_spurious(void **state)
{
    (void)state;
    assert_int_equal(pic_acknowledge(&pic), 0x27);
    out(0x20, 0x0b);
    assert_int_equal(in(0x20), 0);              /* no bit in service */
    /* The slave's request goes between the two INTA cycles' chips: simulate by masking all of it at the slave. */
    pulse(10);
    pic.chip[1].imr = 0xff;
    assert_int_equal(pic_acknowledge(&pic), 0x2f);
    assert_int_equal(in(0x20), 0x04);           /* the master does have the cascade in service */
}

static void test_level(void **state)
{
    (void)state;
    pic_elcr_write(&pic, 0x4d1, 1, 0x0a);       /* 9 and 11 */
    assert_int_equal(pic_elcr_read(&pic, 0x4d1, 1), 0x0a);
    pic_set_irq(&pic, 11, true);
    assert_int_equal(pic_acknowledge(&pic), 0x2b);
    out(0xa0, 0x20);
    out(0x20, 0x20);
    assert_true(intr);                          /* still asserted */
    assert_int_equal(pic_acknowledge(&pic), 0x2b);
    pic_set_irq(&pic, 11, false);
    out(0xa0, 0x20);
    out(0x20, 0x20);
    assert_false(intr);
    pic_set_irq(&pic, 5, true);
    pic_acknowledge(&pic);
    out(0x20, 0x20);
    assert_false(intr);
    pic_elcr_write(&pic, 0x4d0, 1, 0x20);       /* turned to level while it stands */
    assert_true(intr);
}

static void test_elcr_reserved(void **state)
{
    (void)state;
    assert_int_equal(pic_elcr_read(&pic, 0x4d1, 1), 0x02);      /* the ACPI interrupt at power-on */
    pic_elcr_write(&pic, 0x4d0, 1, 0xff);
    pic_elcr_write(&pic, 0x4d1, 1, 0xff);
    assert_int_equal(pic_elcr_read(&pic, 0x4d0, 1), 0xf8);
    assert_int_equal(pic_elcr_read(&pic, 0x4d1, 1), 0xde);
    initialize(1);
    assert_int_equal(pic_elcr_read(&pic, 0x4d0, 1), 0xf8);      /* ICW1 leaves it */
}

static void test_auto_eoi(void **state)
{
    (void)state;
    initialize(0x03);
    pulse(6);
    assert_int_equal(pic_acknowledge(&pic), 0x26);
    out(0x20, 0x0b);
    assert_int_equal(in(0x20), 0);
    pulse(7);
    assert_true(intr);
    assert_int_equal(pic_acknowledge(&pic), 0x27);
    out(0x20, 0x80);                            /* rotate in automatic EOI mode */
    pulse(0);
    pic_acknowledge(&pic);
    pulse(0);
    pulse(1);
    assert_int_equal(pic_acknowledge(&pic), 0x21);
}

static void test_rotation(void **state)
{
    (void)state;
    out(0x20, 0xc3);                            /* 3 is lowest: 4 is highest */
    pulse(3);
    pulse(0);
    pulse(5);
    assert_int_equal(pic_acknowledge(&pic), 0x25);
    out(0x20, 0xa0);                            /* rotate on non-specific EOI: 5 is lowest */
    pulse(5);
    assert_int_equal(pic_acknowledge(&pic), 0x20);
    out(0x20, 0xe0 | 0);                        /* rotate on specific EOI: 0 is lowest */
    assert_int_equal(pic_acknowledge(&pic), 0x23);
    out(0x20, 0x63);
    assert_int_equal(pic_acknowledge(&pic), 0x25);
}

static void test_special_mask(void **state)
{
    (void)state;
    pulse(1);
    assert_int_equal(pic_acknowledge(&pic), 0x21);
    pulse(4);
    assert_false(intr);
    out(0x21, 0x02);
    assert_false(intr);
    out(0x20, 0x68);                            /* special mask mode: masking 1 lets 4 through */
    assert_true(intr);
    assert_int_equal(pic_acknowledge(&pic), 0x24);
    out(0x20, 0x20);                            /* non-specific EOI passes over the masked one */
    out(0x20, 0x0b);
    assert_int_equal(in(0x20), 0x02);
    out(0x20, 0x48);
    pulse(4);
    assert_false(intr);
}

static void test_poll(void **state)
{
    (void)state;
    out(0x20, 0x0c);
    assert_int_equal(in(0x20) & 0x80, 0);
    pulse(5);
    out(0x20, 0x0c);
    assert_int_equal(in(0x20), 0x85);
    assert_false(intr);
    out(0x20, 0x0b);
    assert_int_equal(in(0x20), 0x20);           /* it is in service */
}

static void test_special_fully_nested(void **state)
{
    (void)state;
    initialize(0x11);
    pulse(14);
    assert_int_equal(pic_acknowledge(&pic), 0x2e);
    pulse(8);                                   /* higher within the slave: comes through the busy cascade */
    assert_true(intr);
    assert_int_equal(pic_acknowledge(&pic), 0x28);
    initialize(0x01);
    pulse(14);
    pic_acknowledge(&pic);
    pulse(8);
    assert_false(intr);
}

static void test_initialization(void **state)
{
    (void)state;
    pulse(3);
    pic_set_irq(&pic, 4, true);
    out(0x21, 0x55);
    out(0x20, 0x11);
    assert_false(intr);
    assert_int_equal(in(0x21), 0);              /* ICW1 clears the mask */
    out(0x21, 0x47);
    pulse(3);
    assert_false(intr);                         /* nothing before it is done */
    out(0x21, 0x04);
    out(0x21, 0x01);
    assert_int_equal(in(0x20), 0x08);           /* 4 needs a new edge */
    assert_int_equal(pic_acknowledge(&pic), 0x43);      /* low bits of the base do not count */
    /* Single, no ICW4: two words. */
    out(0x20, 0x12);
    out(0x21, 0x50);
    out(0x21, 0x0f);
    assert_int_equal(in(0x21), 0x0f);
}

/* An end of interrupt without the R bit leaves the priorities alone. */
static void test_plain_end_does_not_rotate(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        pulse(4);
        assert_int_equal(pic_acknowledge(&pic), 0x24);
        out(0x20, i ? 0x64 : 0x20);
        pulse(5);
        pulse(3);
        assert_int_equal(pic_acknowledge(&pic), 0x23);
        out(0x20, 0x20);
        assert_int_equal(pic_acknowledge(&pic), 0x25);
        out(0x20, 0x20);
    }
}

/* ICW1 ends every mode that the chip was in. */
static void test_initialization_ends_modes(void **state)
{
    (void)state;
    initialize(0x03);
    out(0x20, 0x80);                            /* automatic EOI, rotating */
    out(0x20, 0x68);                            /* special mask, and to read is what is in service */
    out(0x20, 0x0b);
    out(0x20, 0xc3);
    out(0x20, 0x0c);                            /* and a poll is due */
    out(0x20, 0x10);                            /* no ICW4: what it would say is zero */
    out(0x21, 0x20);
    out(0x21, 0x04);
    pulse(1);
    assert_int_equal(in(0x20), 0x02);
    assert_int_equal(pic_acknowledge(&pic), 0x21);
    pulse(4);
    out(0x21, 0x02);
    assert_false(intr);                         /* it is in service, masked or not */
    out(0x21, 0x00);
    out(0x20, 0x20);
    assert_int_equal(pic_acknowledge(&pic), 0x24);      /* 3 is not the lowest */
    out(0x20, 0x20);
    initialize(0x03);
    pulse(0);
    assert_int_equal(pic_acknowledge(&pic), 0x20);
    pulse(0);
    pulse(1);
    assert_int_equal(pic_acknowledge(&pic), 0x20);      /* it does not rotate */
}

static void test_reset_takes_the_request_back(void **state)
{
    (void)state;
    pic_set_irq(&pic, 4, true);
    assert_true(intr);
    pic_reset(&pic);
    assert_false(intr);
    initialize(0x01);
    assert_false(intr);                         /* an edge before the reset is none after it */
    pic_set_irq(&pic, 9, true);                 /* a level is */
    pic_reset(&pic);
    initialize(0x01);
    assert_int_equal(pic_acknowledge(&pic), 0x29);
}

static void test_all_inputs(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 17; i++) {
        if (i == 2)
            continue;
        pulse(i);
        assert_int_equal(intr, i < 16);
        if (i < 16)
            assert_int_equal(pic_acknowledge(&pic), 0x20 + i);
        pic_set_irq(&pic, i, false);            /* 9 is level-triggered */
        out(0xa0, 0x20);
        out(0x20, 0x20);
    }
    pulse(2);                                   /* the cascade's is no device's */
    assert_false(intr);
}

/* The special fully nested mode is for the cascade of the master; in the slave input 2 is like any other. */
static void test_nested_slave(void **state)
{
    (void)state;
    initialize(0x11);
    pulse(10);
    assert_int_equal(pic_acknowledge(&pic), 0x2a);
    pulse(11);
    assert_false(intr);
    pulse(9);
    assert_true(intr);
    assert_int_equal(pic_acknowledge(&pic), 0x29);
    pulse(10);
    assert_false(intr);
}

/* OCW3 changes the special mask mode only with its enable bit, and what is read only with RR. */
static void test_ocw3_bits(void **state)
{
    (void)state;
    pulse(1);
    pic_acknowledge(&pic);
    pulse(4);
    out(0x21, 0x02);
    out(0x20, 0x28);                            /* SMM without ESMM */
    assert_false(intr);
    out(0x20, 0x68);
    assert_true(intr);
    out(0x20, 0x08);
    assert_true(intr);
    assert_int_equal(in(0x20), 0x10);
    out(0x20, 0x0b);
    out(0x20, 0x08);
    out(0x20, 0x09);
    assert_int_equal(in(0x20), 0x02);
    assert_true(intr);                          /* 4 passes over the masked 1 still */
    out(0x20, 0x0a);
    assert_int_equal(in(0x20), 0x10);
    out(0x20, 0x49);                            /* ESMM without SMM */
    assert_false(intr);
}

/* The highest of all, in service, holds back everything; ICW1 takes it out of service. */
static void test_input_0(void **state)
{
    (void)state;
    pulse(0);
    assert_int_equal(pic_acknowledge(&pic), 0x20);
    pulse(1);
    assert_false(intr);
    initialize(0x01);
    pulse(1);
    assert_int_equal(pic_acknowledge(&pic), 0x21);
    pulse(0);
    out(0x20, 0x0c);
    assert_int_equal(in(0x20), 0x80);
    out(0x20, 0x20);
    out(0x20, 0x20);
    pulse(8);
    pic_acknowledge(&pic);
    pic_reset(&pic);
    initialize(0x01);
    out(0xa0, 0x0b);
    assert_int_equal(in(0xa0), 0);
}

static void test_poll_of_nothing(void **state)
{
    (void)state;
    out(0x20, 0x0c);
    assert_int_equal(in(0x20), 0x07);
    assert_int_equal(in(0x20), 0);              /* one read is one poll */
    pulse(9);
    out(0xa0, 0x0c);
    assert_int_equal(in(0xa0), 0x81);
    assert_false(intr);
}

static void test_random(void **state)
{
    static const uint16_t port[] = { 0x20, 0x21, 0xa0, 0xa1 };

    (void)state;
    for (unsigned i = 0; i < 500000; i++) {
        switch (fake_below(6)) {
        case 0:
            out(port[fake_below(4)], (uint8_t)fake_random());
            break;
        case 1:
            in(port[fake_below(4)]);
            break;
        case 2:
            pic_elcr_write(&pic, 0x4d0 + fake_below(2), 1, (uint8_t)fake_random());
            break;
        case 3:
            pic_acknowledge(&pic);
            break;
        default:
            pic_set_irq(&pic, fake_below(40), fake_random() & 1 << 20);
            break;
        }
        assert_true(pic.output == intr);
        assert_true(pic.chip[0].lowest < 8 && pic.chip[1].lowest < 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_power_on_is_quiet, setup),
        cmocka_unit_test_setup(test_priorities, setup),
        cmocka_unit_test_setup(test_higher_interrupts_lower, setup),
        cmocka_unit_test_setup(test_masks, setup),
        cmocka_unit_test_setup(test_edges, setup),
        cmocka_unit_test_setup(test_spurious, setup),
        cmocka_unit_test_setup(test_level, setup),
        cmocka_unit_test_setup(test_elcr_reserved, setup),
        cmocka_unit_test_setup(test_auto_eoi, setup),
        cmocka_unit_test_setup(test_rotation, setup),
        cmocka_unit_test_setup(test_special_mask, setup),
        cmocka_unit_test_setup(test_poll, setup),
        cmocka_unit_test_setup(test_special_fully_nested, setup),
        cmocka_unit_test_setup(test_initialization, setup),
        cmocka_unit_test_setup(test_plain_end_does_not_rotate, setup),
        cmocka_unit_test_setup(test_initialization_ends_modes, setup),
        cmocka_unit_test_setup(test_reset_takes_the_request_back, setup),
        cmocka_unit_test_setup(test_all_inputs, setup),
        cmocka_unit_test_setup(test_nested_slave, setup),
        cmocka_unit_test_setup(test_ocw3_bits, setup),
        cmocka_unit_test_setup(test_input_0, setup),
        cmocka_unit_test_setup(test_poll_of_nothing, setup),
        cmocka_unit_test_setup(test_random, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
