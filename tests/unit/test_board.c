/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include <pthread.h>
#include <sched.h>

#include "board_fake.h"
#include "vdev_fake.h"

enum { TPR = 0x80, EOI = 0xb0, SVR = 0xf0, ICR = 0x300, ICR2 = 0x310, LINT0 = 0x350 };
#define APIC_BASE 0x1b

static int setup(void **state)
{
    (void)state;
    make_board(4);
    return 0;
}

static struct board_stats stats(void)
{
    struct board_stats s;

    board_get_stats(board, &s);
    return s;
}

/* How many interrupts with this vector in so many milliseconds, each ended by eoi. */
static unsigned count_interrupts(unsigned vcpu, int vector, unsigned ms, void (*eoi)(void))
{
    unsigned n = 0;

    for (unsigned i = 0; i < ms * 10; i++) {
        run_us(100);
        while (board_pending(board_vcpu(board, vcpu))) {
            assert_int_equal(board_take_interrupt(board_vcpu(board, vcpu)), vector);
            eoi();
            n++;
        }
        assert_int_equal(board_take_interrupt(board_vcpu(board, vcpu)), -1);
    }
    return n;
}

static void eoi_8259(void)
{
    outb_to(0, 0x20, 0x20);
}

static void eoi_lapic(void)
{
    apic_put(0, EOI, 0);
}

static void no_eoi(void)
{
}

static void test_unowned(void **state)
{
    static const uint16_t port[] = {
        0x8900, 0x2f8, 0x3e8, 0x2e8, 0xcf8, 0xcfc, 0x80, 0x3f0, 0x60c, 0x5ff, 0xffff, 0x402
    };
    unsigned n = 0;

    (void)state;
    for (unsigned i = 0; i < sizeof(port) / sizeof(port[0]); i++) {
        assert_int_equal(board_pio_read(board_vcpu(board, 0), port[i], 1), 0xff);
        board_pio_write(board_vcpu(board, 0), port[i], 1, 'S');
        n += 2;
    }
    assert_int_equal(board_pio_read(board_vcpu(board, 0), 0x8900, 2), 0xffff);
    assert_int_equal(board_pio_read(board_vcpu(board, 0), 0xffff, 4), 0xffffffff);
    assert_int_equal(stats().unowned_pio, n + 2);
    assert_true(board_mmio_read(board_vcpu(board, 0), GPA(0xfed00000), 8) == UINT64_MAX);
    board_mmio_write(board_vcpu(board, 0), GPA(UINT64_MAX), 8, 0);
    assert_int_equal(board_mmio_read(board_vcpu(board, 0), GPA(0xfec00ffe), 4), 0xffffffff);
    assert_int_equal(stats().unowned_mmio, 3);
    assert_int_equal(powers, 0);
}

static void test_wide_accesses(void **state)
{
    (void)state;
    board_pio_write(board_vcpu(board, 0), 0x70, 2, 0x5a0f);                 /* index and data in one go */
    outb_to(0, 0x70, 0x0f);
    assert_int_equal(inb_from(0, 0x71), 0x5a);
    assert_int_equal(board_pio_read(board_vcpu(board, 0), 0x20, 4), 0xffff0000 | inb_from(0, 0x21) << 8 | inb_from(0, 0x20));
    assert_int_equal(board_pio_read(board_vcpu(board, 0), 0x600, 4), 0);
    assert_int_equal(board_pio_read(board_vcpu(board, 0), 0x604, 2), 1);
    /* A PCI configuration address whose second byte looks like a reset. */
    board_pio_write(board_vcpu(board, 0), 0xcf8, 4, 0x80000600);
    assert_int_equal(powers, 0);
    assert_int_equal(board_pio_read(board_vcpu(board, 0), 0xcf8, 4), 0xffffffff);
}

static void test_lapic_page(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(apic_get(i, 0x20), i << 24);
    assert_int_equal(board_msr_write(board_vcpu(board, 1), APIC_BASE, 0xfed40800), 0);
    assert_int_equal(apic_get(1, 0x20), 0xffffffff);
    assert_int_equal(board_mmio_read(board_vcpu(board, 1), GPA(0xfed40020), 4), 1u << 24);
    assert_int_equal(board_mmio_read(board_vcpu(board, 0), GPA(0xfed40020), 4), 0xffffffff);
    assert_int_equal(board_msr_write(board_vcpu(board, 1), APIC_BASE, 0xfee00000), 0);
    apic_put(1, TPR, 0xff);
    assert_int_equal(apic_get(1, TPR), 0xffffffff);
    assert_int_equal(board_tpr(board_vcpu(board, 1)), 0);
    board_set_tpr(board_vcpu(board, 1), 0xf);                               /* CR8 works without it */
    assert_int_equal(board_tpr(board_vcpu(board, 1)), 0xf);
    board_set_tpr(board_vcpu(board, 1), 0);
    assert_int_equal(board_msr_write(board_vcpu(board, 1), APIC_BASE, 0xfee00800), 0);
    assert_int_equal(apic_get(1, 0x30), 0x50014);
    board_set_tpr(board_vcpu(board, 1), 0x7);
    assert_int_equal(apic_get(1, TPR), 0x70);
    assert_int_equal(board_msr_write(board_vcpu(board, 1), APIC_BASE, 0xfee00c00), 0);
    assert_int_equal(apic_get(1, 0x30), 0xffffffff);
}

/* A vCPU that goes on without a look does so only while there is no news of its interrupts. */
static void test_news(void **state)
{
    struct board_vcpu *v = board_vcpu(board, 0);

    (void)state;
    board_look(v);
    assert_false(*board_news(v));
    inb_from(0, 0x3fd);
    outb_to(0, 0xe0, 0);
    assert_false(*board_news(v));
    apic_put(0, SVR, 0x1ff);
    assert_true(*board_news(v));
    assert_false(board_look(v));
    apic_put(1, 0x300, 0x44);                                   /* ICR: vCPU 1 to vCPU 0 */
    assert_true(*board_news(v));
    assert_true(board_look(v));
    assert_false(*board_news(v));
    assert_int_equal(board_take_interrupt(v), 0x44);
    assert_true(*board_news(v));
    init_8259(0, 0, 0);
    board_look(v);
    board_serial_in(board, 'a');
    outb_to(1, 0x3fc, 0x0b);
    outb_to(1, 0x3f9, 0x01);
    assert_true(*board_news(v));                                /* INTR has risen */
}

/* A kernel that never heard of APICs. */
static void test_8259_only(void **state)
{
    (void)state;
    init_8259(0xfe, 0xff, 1);
    start_pit();
    assert_in_range(count_interrupts(0, 0x20, 100, eoi_8259), 99, 101);
    assert_false(board_pending(board_vcpu(board, 1)));
    forget();
    run_us(1000);
    assert_int_equal(kicked, 1);
    board_take_interrupt(board_vcpu(board, 0));
    forget();
    run_us(1000);
    assert_int_equal(kicked, 0);                                /* one in service: the timer alone kicks nobody */
}

/* One that switches its local APIC off in hardware, or (processor 0) in software. */
static void test_8259_with_apic_off(void **state)
{
    (void)state;
    apic_put(0, SVR, 0x1ff);
    apic_put(0, LINT0, 0x10700);
    init_8259(0xfe, 0xff, 1);
    start_pit();
    assert_int_equal(count_interrupts(0, 0x20, 10, eoi_8259), 0);
    apic_put(0, SVR, 0xff);
    assert_in_range(count_interrupts(0, 0x20, 100, eoi_8259), 99, 101);
    apic_put(0, SVR, 0x1ff);
    assert_int_equal(count_interrupts(0, 0x20, 10, eoi_8259), 0);
    board_msr_write(board_vcpu(board, 0), APIC_BASE, 0xfee00000);
    assert_in_range(count_interrupts(0, 0x20, 100, eoi_8259), 99, 101);
    board_msr_write(board_vcpu(board, 0), APIC_BASE, 0xfee00800);
    apic_put(0, LINT0, 0x700);                                  /* the virtual wire */
    assert_in_range(count_interrupts(0, 0x20, 100, eoi_8259), 99, 101);
}

/* Linux's check_timer(): first the I/O APIC's pin 2, edge-triggered, flat logical. */
static void test_timer_through_ioapic(void **state)
{
    (void)state;
    init_8259(0xff, 0xff, 1);
    apic_put(0, SVR, 0x1ff);
    apic_put(0, 0xd0, 1u << 24);
    apic_put(0, LINT0, 0x10700);
    ioapic_put(0x15, 1u << 24);
    ioapic_put(0x14, 0x00000830);
    start_pit();
    assert_in_range(count_interrupts(0, 0x30, 100, eoi_lapic), 99, 101);
    ioapic_put(0x14, 0x00010830);
    assert_int_equal(count_interrupts(0, 0x30, 10, eoi_lapic), 0);
    assert_int_equal(stats().interrupts, 100);
}

/* Its other ways: LINT0 as a plain interrupt with the 8259s passing the timer on, and as NMI (the old watchdog). */
static void test_timer_through_lint0(void **state)
{
    (void)state;
    init_8259(0xfe, 0xff, 3);
    apic_put(0, SVR, 0x1ff);
    apic_put(0, LINT0, 0x00035);
    start_pit();
    assert_in_range(count_interrupts(0, 0x35, 100, eoi_lapic), 99, 101);
    apic_put(0, LINT0, 0x00400);
    assert_int_equal(count_interrupts(0, 0x35, 100, no_eoi), 0);
    assert_in_range(nmis, 99, 101);
    assert_int_equal(nmied, 1);
}

/* The watchdog through the I/O APIC: the timer as NMI to all. */
static void test_timer_as_nmi(void **state)
{
    (void)state;
    ioapic_put(0x15, 0xffu << 24);
    ioapic_put(0x14, 0x00000400);
    start_pit();
    run_us(10000);
    assert_in_range(nmis, 4 * 9, 4 * 11);
    assert_int_equal(nmied, 0xf);
}

static void test_serial(void **state)
{
    (void)state;
    assert_true(board_serial_room(board));
    outb_to(0, 0x3fa, 0x01);
    outb_to(0, 0x3fc, 0x0b);
    outb_to(0, 0x3f9, 0x01);
    apic_put(1, SVR, 0x1ff);
    ioapic_put(0x19, 1u << 24);
    ioapic_put(0x18, 0x44);
    for (unsigned i = 0; i < 16; i++)
        assert_true(board_serial_in(board, (uint8_t)('a' + i)));
    assert_false(board_serial_in(board, 'z'));
    assert_false(board_serial_room(board));
    assert_int_equal(kicked, 2);
    assert_int_equal(board_take_interrupt(board_vcpu(board, 1)), 0x44);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(inb_from(1, 0x3f8), 'a' + i);
    outb_to(1, 0x3f8, 'x');
    assert_int_equal(last_character, 'x');
    board_pio_write(board_vcpu(board, 0), 0x3f8, 4, 'y');                   /* one character, and registers after it */
    assert_int_equal(characters, 2);
    assert_int_equal(stats().uart_tx, 2);
    assert_int_equal(stats().uart_rx, 16);
}

/* The ACPI interrupt: level-triggered through the I/O APIC until the status is cleared, and through the 8259s. */
static void test_power_button(void **state)
{
    (void)state;
    apic_put(0, SVR, 0x1ff);
    ioapic_put(0x22, 0x8039);
    board_pio_write(board_vcpu(board, 0), 0x602, 2, 0x100);
    board_power_button(board);
    assert_int_equal(kicked, 1);
    assert_int_equal(board_take_interrupt(board_vcpu(board, 0)), 0x39);
    apic_put(0, EOI, 0);
    assert_int_equal(board_take_interrupt(board_vcpu(board, 0)), 0x39);     /* again: nobody cleared it */
    board_pio_write(board_vcpu(board, 0), 0x600, 2, 0x100);
    apic_put(0, EOI, 0);
    assert_int_equal(board_take_interrupt(board_vcpu(board, 0)), -1);
    ioapic_put(0x22, 0x18039);
    apic_put(0, LINT0, 0x700);
    init_8259(0xfb, 0xfd, 1);
    board_power_button(board);
    assert_int_equal(board_take_interrupt(board_vcpu(board, 0)), 0x29);
    outb_to(0, 0xa0, 0x20);
    outb_to(0, 0x20, 0x20);
    assert_int_equal(board_take_interrupt(board_vcpu(board, 0)), 0x29);
    board_pio_write(board_vcpu(board, 0), 0x600, 2, 0x100);
    outb_to(0, 0xa0, 0x20);
    outb_to(0, 0x20, 0x20);
    assert_false(board_pending(board_vcpu(board, 0)));
}

/* A paravirtual device: one interrupt for each pulse, also for those that come before its end. */
static void test_pulse(void **state)
{
    (void)state;
    apic_put(0, SVR, 0x1ff);
    board_pulse(board, BOARD_GSI_HINTS);                        /* masked: lost */
    ioapic_put(0x10 + 2 * BOARD_GSI_HINTS, 0x51);
    assert_false(board_pending(board_vcpu(board, 0)));
    board_pulse(board, BOARD_GSI_HINTS);
    assert_int_equal(kicked, 1);
    assert_int_equal(board_take_interrupt(board_vcpu(board, 0)), 0x51);
    board_pulse(board, BOARD_GSI_HINTS);
    assert_int_equal(board_take_interrupt(board_vcpu(board, 0)), -1);
    apic_put(0, EOI, 0);
    assert_int_equal(board_take_interrupt(board_vcpu(board, 0)), 0x51);
    apic_put(0, EOI, 0);
    assert_false(board_pending(board_vcpu(board, 0)));
}

static void test_ipis(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        apic_put(i, SVR, 0x1ff);
    apic_put(0, ICR2, 2u << 24);
    apic_put(0, ICR, 0x40fd);
    assert_int_equal(kicked, 4);
    assert_true(board_pending(board_vcpu(board, 2)));
    assert_int_equal(board_take_interrupt(board_vcpu(board, 2)), 0xfd);
    forget();
    apic_put(0, ICR, 0x440fd);                                  /* to itself: no kick */
    assert_int_equal(kicked, 0);
    assert_int_equal(board_take_interrupt(board_vcpu(board, 0)), 0xfd);
    apic_put(0, ICR, 0xc500);
    apic_put(0, ICR, 0x8500);
    assert_int_equal(inited, 4);
    apic_put(0, ICR, 0x4609);
    assert_int_equal(sipied, 4);
    assert_int_equal(last_sipi, 9);
    apic_put(0, ICR, 0xc4400);
    assert_int_equal(nmied, 0xe);
    board_lapic_reset(board_vcpu(board, 2));
    assert_int_equal(apic_get(2, SVR), 0xff);
}

static void test_power(void **state)
{
    (void)state;
    board_pio_write(board_vcpu(board, 0), 0x604, 2, 5 << 10 | 1 << 13);
    assert_int_equal(powers, 1);
    assert_int_equal(last_power, BOARD_POWER_OFF);
    outb_to(0, 0x64, 0xfe);
    outb_to(0, 0x92, 0x01);
    outb_to(0, 0xcf9, 0x06);
    assert_int_equal(powers, 4);
    assert_int_equal(last_power, BOARD_RESET);
}

/* Another vCPU that makes vCPU 0's timers due earlier must tell vCPU 0. */
static void test_timer_kicks_its_processor(void **state)
{
    (void)state;
    outb_to(1, 0x43, 0x34);
    outb_to(1, 0x40, 0xff);
    assert_int_equal(kicked, 0);
    outb_to(1, 0x40, 0xff);
    assert_int_equal(kicked, 1);
    forget();
    outb_to(0, 0x43, 0x34);
    outb_to(0, 0x40, 0x10);
    outb_to(0, 0x40, 0x10);
    assert_int_equal(kicked, 1);                                /* itself as well: it may be on the short way */
}

static void test_reset(void **state)
{
    (void)state;
    init_8259(0, 0, 1);
    start_pit();
    apic_put(1, SVR, 0x1ff);
    apic_put(1, 0x380, 1000000);
    apic_put(1, ICR, 0x440fd);
    outb_to(0, 0x70, 0x0b);
    outb_to(0, 0x71, 0x42);
    outb_to(0, 0x70, 0x0f);
    outb_to(0, 0x71, 0x0a);
    board_msr_write(board_vcpu(board, 1), APIC_BASE, 0xfee00c00);
    run_us(5000);
    assert_true(board_pending(board_vcpu(board, 0)));
    board_reset(board);
    for (unsigned i = 0; i < 4; i++) {
        uint64_t base;

        assert_false(board_pending(board_vcpu(board, i)));
        assert_true(timer_next(board_timers(board_vcpu(board, i))) == TIMER_NEVER);
        assert_int_equal(board_msr_read(board_vcpu(board, i), APIC_BASE, &base), 0);
        assert_int_equal(base, i ? 0xfee00800 : 0xfee00900);
    }
    outb_to(0, 0x70, 0x0f);
    assert_int_equal(inb_from(0, 0x71), 0x0a);                  /* CMOS memory has a battery */
    test_timer_through_ioapic(state);
}

static void random_io(unsigned vcpu)
{
    static const uint16_t base[] = { 0x20, 0x40, 0x60, 0x70, 0x90, 0xa0, 0x3f8, 0x4d0, 0x600, 0xcf8, 0x8900 };
    uint16_t port = (uint16_t)(base[fake_below(11)] + fake_below(16));
    unsigned size = 1u << fake_below(3);

    if (fake_below(2))
        board_pio_write(board_vcpu(board, vcpu), port, size, (uint32_t)fake_random());
    else
        board_pio_read(board_vcpu(board, vcpu), port, size);
}

static void random_memory(unsigned vcpu)
{
    struct gpa addr = GPA((fake_below(2) ? BOARD_LAPIC_BASE : BOARD_IOAPIC_BASE) + fake_below(0x1008));
    unsigned size = 1u << fake_below(4);

    if (fake_below(4))
        addr.v &= ~15ull;
    if (fake_below(2))
        board_mmio_write(board_vcpu(board, vcpu), addr, size, fake_random() >> fake_below(64));
    else
        board_mmio_read(board_vcpu(board, vcpu), addr, size);
}

static void random_msr(unsigned vcpu)
{
    uint32_t msr = fake_below(4) ? 0x800 + fake_below(0x40) : fake_below(2) ? 0x6e0 : APIC_BASE;
    uint64_t value = fake_random() >> fake_below(64);

    if (msr == APIC_BASE && fake_below(8))
        value = 0xfee00000 | (uint64_t)fake_below(4) << 10;
    if (fake_below(2))
        board_msr_write(board_vcpu(board, vcpu), msr, value);
    else
        board_msr_read(board_vcpu(board, vcpu), msr, &value);
}

/* Everything a guest can do, in any order; nothing of it may hurt, and time always goes on. */
static void test_random(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 400000; i++) {
        unsigned vcpu = fake_below(4);
        int vector;

        switch (fake_below(8)) {
        case 0:
        case 1:
        case 2:
            random_io(vcpu);
            break;
        case 3:
        case 4:
            random_memory(vcpu);
            break;
        case 5:
            random_msr(vcpu);
            break;
        case 6:
            board_set_tpr(board_vcpu(board, vcpu), (uint8_t)fake_random());
            assert_in_range(board_tpr(board_vcpu(board, vcpu)), 0, 15);
            vector = board_take_interrupt(board_vcpu(board, vcpu));
            assert_in_range(vector + 1, 0, 256);
            if (fake_below(2))
                board_serial_in(board, (uint8_t)i);
            break;
        default:
            run_us(fake_below(300));
            break;
        }
        if (fake_below(5000) == 0)
            board_reset(board);
    }
}

/* Four vCPUs at once: every IPI arrives, and shared devices stay whole. */
#define ROUNDS 100             /* few: a fair spinlock suffers from preemption on the host */

static _Atomic unsigned arrived[4];
static _Atomic unsigned finished;

static void take_all(unsigned vcpu)
{
    int vector;

    while ((vector = board_take_interrupt(board_vcpu(board, vcpu))) >= 0) {
        assert_in_range(vector, 0x40, 0x43);
        arrived[vcpu] |= 1u << (vector - 0x40);
        apic_put(vcpu, EOI, 0);
    }
}

static void *vcpu_thread(void *arg)
{
    unsigned vcpu = (unsigned)(uintptr_t)arg;

    for (unsigned i = 0; i < ROUNDS; i++) {
        apic_put(vcpu, ICR2, (i & 3) << 24);
        apic_put(vcpu, ICR, 0x4040 + vcpu);
        board_pio_write(board_vcpu(board, vcpu), 0x3ff, 1, i);
        board_pio_read(board_vcpu(board, vcpu), 0x40, 1);
        board_tick += 100;
        if (vcpu == 0)
            timer_run(board_timers(board_vcpu(board, 0)), board_tick);
        take_all(vcpu);
    }
    finished++;
    while (finished < 4)
        sched_yield();
    take_all(vcpu);
    return NULL;
}

static void test_concurrent(void **state)
{
    pthread_t thread[4];

    (void)state;
    check_lock = false;
    start_pit();
    for (unsigned i = 0; i < 4; i++)
        apic_put(i, SVR, 0x1ff);
    for (uintptr_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, vcpu_thread, (void *)i), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(arrived[i], 0xf);
        assert_false(board_pending(board_vcpu(board, i)));
    }
    assert_int_equal(stats().unowned_pio, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_unowned, setup, free_board),
        cmocka_unit_test_setup_teardown(test_wide_accesses, setup, free_board),
        cmocka_unit_test_setup_teardown(test_lapic_page, setup, free_board),
        cmocka_unit_test_setup_teardown(test_news, setup, free_board),
        cmocka_unit_test_setup_teardown(test_8259_only, setup, free_board),
        cmocka_unit_test_setup_teardown(test_8259_with_apic_off, setup, free_board),
        cmocka_unit_test_setup_teardown(test_timer_through_ioapic, setup, free_board),
        cmocka_unit_test_setup_teardown(test_timer_through_lint0, setup, free_board),
        cmocka_unit_test_setup_teardown(test_timer_as_nmi, setup, free_board),
        cmocka_unit_test_setup_teardown(test_serial, setup, free_board),
        cmocka_unit_test_setup_teardown(test_power_button, setup, free_board),
        cmocka_unit_test_setup_teardown(test_pulse, setup, free_board),
        cmocka_unit_test_setup_teardown(test_ipis, setup, free_board),
        cmocka_unit_test_setup_teardown(test_power, setup, free_board),
        cmocka_unit_test_setup_teardown(test_timer_kicks_its_processor, setup, free_board),
        cmocka_unit_test_setup_teardown(test_reset, setup, free_board),
        cmocka_unit_test_setup_teardown(test_random, setup, free_board),
        cmocka_unit_test_setup_teardown(test_concurrent, setup, free_board),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
