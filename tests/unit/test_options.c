/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "efi/options.h"
#include "lib/errno.h"

#define CFG_SIZE 16

static char cfg[CFG_SIZE], message[160];
static struct boot_selftest test;

static int parse(const char *text)
{
    strcpy(cfg, "default");
    memset(message, 0xaa, sizeof(message));
    memset(&test, 0, sizeof(test));
    return options_parse(text, cfg, sizeof(cfg), &test, message, sizeof(message));
}

static void good(const char *text, const char *path)
{
    assert_int_equal(parse(text), 0);
    assert_string_equal(message, "");
    assert_string_equal(cfg, path);
}

static void bad(const char *text, const char *expected)
{
    assert_int_equal(parse(text), -EINVAL);
    assert_string_equal(message, expected);
}

static void test_no_path(void **state)
{
    (void)state;
    good("", "default");
    good("   ", "default");
    good("mirrorball.efi", "default");
    good("FS0:\\mirrorball.efi", "default");
    good("mirror-cfg=x", "default");
}

static void test_selftest(void **state)
{
    (void)state;
    good("mirrorball.efi", "default");
    assert_false(test.disks);
    good("mirrorball.efi -selftest=disks", "default");
    assert_true(test.disks);
    assert_int_equal(test.scratch.sectors, 0);
    assert_false(test.net);
    good("mirrorball.efi -selftest=net", "default");
    assert_true(test.net && !test.disks);
    good("x -selftest=disks -scratch=3:2048:64", "default");
    assert_true(test.disks);
    assert_int_equal(test.scratch_disk, 3);
    assert_int_equal(test.scratch.sector, 2048);
    assert_int_equal(test.scratch.sectors, 64);
    assert_int_equal(parse("x -scratch=3:2048"), -EINVAL);
    assert_int_equal(parse("x -scratch=3:2048:"), -EINVAL);
    assert_int_equal(parse("x -scratch=3:2048:0"), -EINVAL);
    assert_int_equal(parse("x -scratch=a:1:1"), -EINVAL);
    assert_int_equal(parse("x -selftest=memory"), -EINVAL);
}

static void test_path(void **state)
{
    (void)state;
    good("-cfg=\\a.conf", "\\a.conf");
    good("mirrorball.efi -cfg=/a.conf", "/a.conf");
    good("mirrorball.efi\t-cfg=a.conf  ", "a.conf");
    good("mirrorball.efi -cfg=\"a b.conf\" x", "a b.conf");
    good("mirrorball.efi -cfg=\"a b", "a b");
    good("x -cfg=123456789012345", "123456789012345");
}

static void test_refusals(void **state)
{
    static const char nothing[] = "-cfg=: expected a path such as \\EFI\\mirrorball\\mirrorball.conf, found nothing";

    (void)state;
    bad("x -cfg=", nothing);
    bad("x -cfg=\"\"", nothing);
    bad("x -cfg= a", nothing);
    bad("x -cfg=1234567890123456", "-cfg=: expected a path of at most 15 characters");
    bad("x -cfg=fs1:\\a", "-cfg=fs1:\\a: expected a path on the volume Mirrorball came from, found ':'");
    bad("x -cfg=a -cfg=b", "load options: expected -cfg=PATH once, found \"-cfg=b\"");
    bad("-x", "load options: expected -cfg=PATH once, found \"-x\"");
    bad("x -cfg a", "load options: expected -cfg=PATH once, found \"-cfg\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_path),
        cmocka_unit_test(test_path),
        cmocka_unit_test(test_selftest),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
