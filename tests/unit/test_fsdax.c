/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "lib/errno.h"
#include "vdev/fsdax.h"

static uint8_t lead[FSDAX_LEAD];
static int error;

int pmap_write(struct pmap *pmap, struct gpa to, const void *from, size_t n)
{
    (void)pmap;
    assert_in_range(to.v, 4 * GIB, 4 * GIB + FSDAX_LEAD - n);
    memcpy(lead + (to.v - 4 * GIB), from, n);
    return error;
}

/* As Linux reads it: the offsets are those of struct nd_pfn_sb. */
static void test_linux_would_take_it(void **state)
{
    const struct pmap_window window = { .base = 4 * GIB, .size = FSDAX_LEAD + 6 * MIB, .lead = FSDAX_LEAD };
    const uint8_t *page = lead + 4096;
    uint64_t offset, pages, sum, high = 0;
    uint32_t word, low = 0, align;

    (void)state;
    assert_int_equal(fsdax_label(NULL, &window), 0);
    assert_memory_equal(page, "NVDIMM_PFN_INFO", 16);
    memcpy(&offset, page + 56, 8);
    memcpy(&pages, page + 64, 8);
    memcpy(&align, page + 84, 4);
    memcpy(&sum, page + 4088, 8);
    assert_int_equal(offset, FSDAX_LEAD);
    assert_int_equal(pages, 6 * MIB / 4096);
    assert_int_equal(page[72], 1);
    assert_int_equal(align, 2 * MIB);
    for (unsigned i = 0; i < 4088; i += 4) {
        memcpy(&word, page + i, 4);
        low += word;
        high += low;
    }
    high += 2ull * low;         /* the sum itself counts as zero */
    assert_int_equal(sum, high << 32 | low);
    for (unsigned i = 0; i < sizeof(lead); i++)
        if (i < 4096 || i >= 8192 || (i >= 4096 + 96 && i < 4096 + 4088))
            assert_int_equal(lead[i], 0);
}

static void test_no_memory(void **state)
{
    const struct pmap_window window = { .base = 4 * GIB, .size = FSDAX_LEAD + 2 * MIB, .lead = FSDAX_LEAD };

    (void)state;
    error = -ENOMEM;
    assert_int_equal(fsdax_label(NULL, &window), -ENOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linux_would_take_it),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
