/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/device.h"
#include "tests/unit/seam/fake_apic.h"

#define US 1000ull                             /* ticks: the TSC runs at 1 GHz */

static struct {
    unsigned polls, stops, order;
    uint64_t at, answer;
    bool wakes_itself;
} seen[2];

static unsigned calls, stopped;

static uint64_t poll(struct device *d, uint64_t now);
static void stop(struct device *d);

static struct device device[2] = { { .name = "one", .poll = poll, .stop = stop }, { .name = "two", .poll = poll } };

static uint64_t poll(struct device *d, uint64_t now)
{
    unsigned i = d != device;

    seen[i].polls++;
    seen[i].at = now;
    if (seen[i].wakes_itself)
        device_wake(d, 0);
    return seen[i].answer;
}

static void stop(struct device *d)
{
    seen[d != device].order = ++stopped;
}

static void call(void)
{
    calls++;
}

static int setup(void **state)
{
    devices_stop();
    memset(seen, 0, sizeof(seen));
    calls = stopped = 0;
    device[1].stop = stop;
    fake_apic.khz = 1000 * US;
    devices_set_call(call);
    return 0;
}

static void test_none(void **state)
{
    assert_int_equal(atomic_load(&devices_due), DEVICE_NEVER);
    devices_poll(5);
}

/* Each is polled when it asked for that, not earlier. */
static void test_polled_when_due(void **state)
{
    seen[0].answer = 1000 * US;
    seen[1].answer = 300 * US;
    device_add(&device[0]);
    device_add(&device[1]);
    assert_int_equal(atomic_load(&devices_due), 0);
    devices_poll(100 * US);
    assert_int_equal(seen[0].polls, 1);
    assert_int_equal(seen[1].at, 100 * US);
    assert_int_equal(atomic_load(&devices_due), 300 * US);
    devices_poll(300 * US - 1);
    assert_int_equal(seen[1].polls, 1);
    seen[1].answer = DEVICE_NEVER;
    devices_poll(300 * US);
    assert_int_equal(seen[1].polls, 2);
    assert_int_equal(seen[0].polls, 1);
    assert_int_equal(atomic_load(&devices_due), 1000 * US);
    devices_poll(1001 * US);
    assert_int_equal(seen[0].polls, 2);
    assert_int_equal(seen[1].polls, 2);
}

/* A driver that wants it at once, or in the past, leaves guests some time. */
static void test_gap(void **state)
{
    seen[0].answer = 5;
    device_add(&device[0]);
    devices_poll(100 * US);
    assert_int_equal(atomic_load(&devices_due), 100 * US + DEVICE_GAP_US * US);
}

/* Only an earlier time than the one it had is news to the boot processor. */
static void test_wake(void **state)
{
    seen[0].answer = 1000 * US;
    device_add(&device[0]);
    devices_poll(100 * US);
    device_wake(&device[0], 2000 * US);
    assert_int_equal(calls, 0);
    assert_int_equal(atomic_load(&devices_due), 1000 * US);
    device_wake(&device[0], 200 * US);
    assert_int_equal(calls, 1);
    assert_int_equal(atomic_load(&devices_due), 200 * US);
    device_wake(&device[0], 200 * US);
    assert_int_equal(calls, 1);
}

/* What comes while it is polled is not lost. */
static void test_wake_while_polled(void **state)
{
    seen[0].answer = DEVICE_NEVER;
    seen[0].wakes_itself = true;
    device_add(&device[0]);
    devices_poll(100 * US);
    assert_int_equal(atomic_load(&devices_due), 0);
    assert_int_equal(calls, 1);
}

static void test_stop(void **state)
{
    device_add(&device[0]);
    device_add(&device[1]);
    devices_stop();
    assert_int_equal(seen[1].order, 1);
    assert_int_equal(seen[0].order, 2);
    assert_int_equal(atomic_load(&devices_due), DEVICE_NEVER);
    device[1].stop = NULL;
    device_add(&device[1]);
    devices_stop();
    assert_int_equal(stopped, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_none, setup),
        cmocka_unit_test_setup(test_polled_when_due, setup),
        cmocka_unit_test_setup(test_gap, setup),
        cmocka_unit_test_setup(test_wake, setup),
        cmocka_unit_test_setup(test_wake_while_polled, setup),
        cmocka_unit_test_setup(test_stop, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
