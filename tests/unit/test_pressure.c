/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/pressure.h"
#include "core/vm.h"
#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_percpu.h"

enum { KHZ = 1, SECOND = 1000, MEMORY = 64 * MIB, BLOCKS = MEMORY / MIB };

static struct vm_config configs[3] = { { .memory_mib = 256 }, { .memory_mib = 100 }, { .memory_mib = 1 } };
static struct vm vms[3] = { { .config = &configs[0] }, { .config = &configs[1] }, { .config = &configs[2] } };
static unsigned told;
static uint64_t now;

unsigned vm_count(void) { return 3; }
struct vm *vm_at(unsigned index) { return &vms[index]; }

void vm_squeeze(struct vm *vm, uint64_t mib)
{
    vm->squeezed_mib = mib;
    told++;
}

static void seconds_pass(unsigned n)
{
    for (unsigned i = 0; i < 10 * n; i++)
        pressure_poll(now += SECOND / 10, KHZ);
}

/* All is taken but so many MiB. */
static void leave(struct hpa *taken, unsigned *n, unsigned mib)
{
    while (*n && free_pages() < mib * MIB / PAGE_SIZE)
        page_free(taken[--*n], 8);
    while (free_pages() > mib * MIB / PAGE_SIZE && (taken[*n] = page_alloc(0, 8, PAGE_HYPERVISOR)).v)
        ++*n;
}

static void test_asks_and_gives_back(void **state)
{
    struct hpa taken[BLOCKS];
    unsigned n = 0;

    fake_percpu_enter(0);
    assert_true(machine_memory(MEMORY, 0));
    vms[0].has_balloon = vms[2].has_balloon = true;
    seconds_pass(3);
    assert_int_equal(told, 0);
    leave(taken, &n, 3);                    /* less than a 16th */
    seconds_pass(2);
    assert_int_equal(vms[0].squeezed_mib, 34);
    assert_int_equal(vms[1].squeezed_mib, 0); /* it has no balloon */
    assert_int_equal(vms[2].squeezed_mib, 0); /* it has nothing to spare */
    leave(taken, &n, 6);                    /* neither short nor enough */
    seconds_pass(5);
    assert_int_equal(vms[0].squeezed_mib, 34);
    leave(taken, &n, 2);
    seconds_pass(60);
    assert_int_equal(vms[0].squeezed_mib, 192); /* and no more */
    told = 0;
    seconds_pass(5);
    assert_int_equal(told, 0);
    leave(taken, &n, 10);
    seconds_pass(2);
    assert_int_equal(vms[0].squeezed_mib, 158);
    seconds_pass(30);
    assert_int_equal(vms[0].squeezed_mib, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_asks_and_gives_back) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
