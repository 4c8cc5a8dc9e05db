/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/madt.h"

static const uint8_t entries[] = {
    0, 8, 1, 3, 1, 0, 0, 0,                              /* a processor: id 3 */
    0, 8, 2, 4, 0, 0, 0, 0,                              /* disabled */
    0, 8, 3, 5, 2, 0, 0, 0,                              /* could be plugged in, is not */
    1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0,           /* I/O APIC at FEC00000 */
    2, 10, 0, 0, 2, 0, 0, 0, 0, 0,                       /* an override */
    9, 16, 0, 0, 1, 2, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0,     /* x2APIC id 201H */
    9, 16, 0, 0, 2, 2, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0,     /* disabled */
    1, 12, 1, 0, 0, 0, 0xc1, 0xfe, 24, 0, 0, 0,          /* another I/O APIC */
    1, 12, 2, 0, 0, 0, 0, 0, 48, 0, 0, 0,                /* without an address */
    0, 8, 4, 6, 1, 0, 0, 0,                              /* id 6 */
};

#define HEAD 44u
#define SIZE (HEAD + sizeof(entries))

/* A copy that is just as long as told: the sanitizer sees what is read behind it. */
static uint8_t *table(size_t len)
{
    uint8_t *t = calloc(1, len);

    if (len > HEAD)
        memcpy(t + HEAD, entries, len - HEAD);
    return t;
}

static void processors(void **state)
{
    uint8_t *t = table(SIZE);
    uint32_t id[4];

    assert_int_equal(madt_processors(t, SIZE, id, 4), 3);
    assert_int_equal(id[0], 3);
    assert_int_equal(id[1], 0x201);
    assert_int_equal(id[2], 6);
    assert_int_equal(madt_processors(t, SIZE, id, 2), 2);
    free(t);
    (void)state;
}

static void io_apics(void **state)
{
    uint8_t *t = table(SIZE);
    uint64_t base[4];

    assert_int_equal(madt_io_apics(t, SIZE, base, 4), 2);
    assert_int_equal(base[0], 0xfec00000);
    assert_int_equal(base[1], 0xfec10000);
    assert_int_equal(madt_io_apics(t, SIZE, base, 1), 1);
    free(t);
    (void)state;
}

static void damaged(void **state)
{
    uint32_t id[8];
    uint64_t base[8];

    for (size_t len = 36; len <= SIZE; len++) {
        uint8_t *t = table(len);

        assert_in_range(madt_processors(t, len, id, 8), 0, 3);
        assert_in_range(madt_io_apics(t, len, base, 8), 0, 2);
        free(t);
    }
    for (unsigned length = 0; length < 256; length++) {
        uint8_t *t = table(SIZE);

        t[HEAD + 1] = (uint8_t)length; /* shorter than its type needs: no flags, not enabled; 0 and 1: the end */
        madt_processors(t, SIZE, id, 8);
        if (length < 2)
            assert_int_equal(madt_processors(t, SIZE, id, 8), 0);
        free(t);
    }
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(processors), cmocka_unit_test(io_apics), cmocka_unit_test(damaged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
