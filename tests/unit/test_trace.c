/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "core/trace.c"

/* alpha with two vCPUs and beta with one, all of which exit by turns. */
static struct vm_config configs[2] = { { .name = "alpha" }, { .name = "beta" } };
static struct vm vms[2];
static struct slot slots[3];
static char said[TRACE_LINES][192];
static unsigned lines;

unsigned vm_count(void) { return 2; }
struct vm *vm_at(unsigned index) { return &vms[index]; }

static void note(const char *line)
{
    assert_true(lines < TRACE_LINES);
    snprintf(said[lines++], sizeof(said[0]), "%s", line);
}

static void leave_guest(unsigned slot, uint64_t tsc)
{
    struct vcpu *v = &slots[slot].vcpu;

    v->ring[v->exit_count++ % EXIT_RING] = (struct exit_record){ .tsc = tsc, .reason = EXIT_REASON_HLT };
}

static int setup(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++)
        vms[i] = (struct vm){ .config = &configs[i], .index = i };
    for (unsigned i = 0; i < 3; i++) {
        slots[i] = (struct slot){ .vm = &vms[i / 2], .vcpu.index = i % 2, .vcpu.cpu = i };
        vms[i / 2].slots[i % 2] = &slots[i];
    }
    lines = 0;
    return 0;
}

/* The latest of all, in the order of time, however they lie in their rings. */
static void test_latest_in_order(void **state)
{
    char want[64];

    for (unsigned t = 1000; t < 1500; t++)
        leave_guest(t % 3, t);
    vm_trace(NULL, TRACE_ALL_CPUS, note);
    assert_int_equal(lines, TRACE_LINES);
    for (unsigned i = 0; i < lines; i++) {
        snprintf(want, sizeof(want), "tsc %u  vcpu %u ", 1500 - TRACE_LINES + i, (1500 - TRACE_LINES + i) % 3 % 2);
        assert_non_null(strstr(said[i], want));
    }
    assert_non_null(strstr(said[lines - 1], "  cpu 2  beta  tsc 1499  vcpu 0  rip 0000000000000000  HLT  qual"));
}

static void test_one_vm(void **state)
{
    for (unsigned t = 1000; t < 1030; t++)
        leave_guest(t % 3, t);
    vm_trace(&vms[0], TRACE_ALL_CPUS, note);
    assert_int_equal(lines, 20);
    for (unsigned i = 0; i < lines; i++)
        assert_non_null(strstr(said[i], "  alpha  "));
}

static void test_one_cpu(void **state)
{
    for (unsigned t = 1000; t < 1030; t++)
        leave_guest(t % 3, t);
    slots[2].vcpu.cpu = 1;                     /* it shares that pCPU now */
    vm_trace(NULL, 1, note);
    assert_int_equal(lines, 20);
    assert_non_null(strstr(said[0], "  cpu 1  alpha  tsc 1000  vcpu 1 "));
    assert_non_null(strstr(said[1], "  cpu 1  beta  tsc 1001  vcpu 0 "));
}

static void test_nothing_yet(void **state)
{
    vms[1].slots[0] = NULL;                    /* it is off */
    vm_trace(NULL, TRACE_ALL_CPUS, note);
    assert_int_equal(lines, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_latest_in_order, setup),
        cmocka_unit_test_setup(test_one_vm, setup),
        cmocka_unit_test_setup(test_one_cpu, setup),
        cmocka_unit_test_setup(test_nothing_yet, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
