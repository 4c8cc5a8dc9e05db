/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "tests/unit/config_text.h"

static void test_defaults(void **state)
{
    (void)state;
    good(MINIMAL);
    assert_true(config.console_com1);
    assert_false(config.console_gop);
    assert_int_equal(config.com1_baud, 115200);
    assert_int_equal(config.log_level, LOG_INFO);
    assert_int_equal(config.numa, CONFIG_NUMA_AUTO);
    assert_int_equal(config.vms, 1);
    assert_string_equal(config.vm[0].name, "a");
    assert_string_equal(config.vm[0].kernel.path, "k");
    assert_null(config.vm[0].kernel.data);
    assert_int_equal(config.vm[0].kernel.size, 0);
    assert_string_equal(config.vm[0].extra, "");
    assert_int_equal(config.vm[0].ramdisks, 0);
    assert_int_equal(config.vm[0].memory_mib, 1);
    assert_int_equal(config.vm[0].vcpus, 1);
}

static void test_whole_file(void **state)
{
    (void)state;
    good("; a comment\n# another = one\n\n"
         "[global]\n"
         "console = com1,9600,gop   ; both\n"
         "numa = fake:2\n"
         "log = debug\n"
         "[vm alpha]\n"
         "  kernel = \\guests\\vmlinuz  ; bzImage\n"
         "\tramdisk\t=\t/guests/initrd 1\t; tab\n"
         "ramdisk=/guests/second\n"
         "extra = console=ttyS0 root=/dev/ram0;x a#b\n"
         "memory = 256\n"
         "vcpus = 64\n"
         "[ vm  Be_t.a-2 ]\n"
         "kernel = k\n"
         "extra =\n"
         "memory = 1048576");
    assert_true(config.console_com1 && config.console_gop);
    assert_int_equal(config.com1_baud, 9600);
    assert_int_equal(config.log_level, LOG_DEBUG);
    assert_int_equal(config.numa, CONFIG_NUMA_FAKE);
    assert_int_equal(config.numa_fake_nodes, 2);
    assert_int_equal(config.vms, 2);
    assert_string_equal(config.vm[0].name, "alpha");
    assert_string_equal(config.vm[0].kernel.path, "\\guests\\vmlinuz");
    assert_int_equal(config.vm[0].ramdisks, 2);
    assert_string_equal(config.vm[0].ramdisk[0].path, "/guests/initrd 1");
    assert_string_equal(config.vm[0].ramdisk[1].path, "/guests/second");
    assert_string_equal(config.vm[0].extra, "console=ttyS0 root=/dev/ram0;x a#b");
    assert_int_equal(config.vm[0].memory_mib, 256);
    assert_int_equal(config.vm[0].vcpus, 64);
    assert_string_equal(config.vm[1].name, "Be_t.a-2");
    assert_string_equal(config.vm[1].extra, "");
    assert_int_equal(config.vm[1].memory_mib, CONFIG_MEMORY_MAX_MIB);
}

static void test_encodings(void **state)
{
    (void)state;
    good("\xef\xbb\xbf[vm a]\r\nkernel = k\r\nmemory = 1\r\nextra = x\r\n");
    assert_string_equal(config.vm[0].extra, "x");
    good("; \xc3\xa4 in a comment\n[vm a]\nkernel = k  ; \xc3\xa4\nmemory = 1\n");
    bad(VM("extra = \xc3\xa4"), "m.conf:4: expected printable ASCII characters, found byte 0xc3");
    bad(VM("extra = a\rb"), "m.conf:4: expected printable ASCII characters, found byte 0x0d");
    bad(VM("extra = \x7f"), "m.conf:4: expected printable ASCII characters, found byte 0x7f");
    bad(VM("extra = a\033[2J"), "m.conf:4: expected printable ASCII characters, found byte 0x1b");
    assert_int_equal(parse_n("\xff\xfe[\0", 4), -EINVAL);
    assert_string_equal(message,
                        "m.conf:1: expected ASCII or UTF-8 text, found UTF-16; save the file in another encoding");
    assert_int_equal(parse_n("\xfe\xff\0[", 4), -EINVAL);
    assert_non_null(strstr(message, "found UTF-16"));
    assert_int_equal(parse_n("[\0v\0", 4), -EINVAL);
    assert_non_null(strstr(message, "found UTF-16"));
    assert_int_equal(parse_n("\0[\0v", 4), -EINVAL);
    assert_non_null(strstr(message, "found UTF-16"));
    assert_int_equal(parse_n("[vm a]\nkernel = k\0k\n", 20), -EINVAL);
    assert_string_equal(message, "m.conf:2: expected text, found a NUL byte");
    assert_int_equal(parse_n("[vm a]\n; comment\0\n", 18), -EINVAL);
    assert_string_equal(message, "m.conf:2: expected text, found a NUL byte");
}

static void test_no_vm(void **state)
{
    static const char expected[] = "[vm]: no VM to run, expected at least one section [vm NAME]";
    char text[128];

    (void)state;
    snprintf(text, sizeof(text), "m.conf:1: %s", expected);
    bad("", text);
    snprintf(text, sizeof(text), "m.conf:2: %s", expected);
    bad("[global]\nlog = info", text);
    assert_int_equal(parse_n("\xef\xbb\xbf", 3), -EINVAL);
    assert_int_equal(parse_n("\xef", 1), -EINVAL);
}

static void test_lines(void **state)
{
    (void)state;
    bad("\nkernel = k\n", "m.conf:2: kernel: expected [global], [vm NAME] or [net NAME] before the first key");
    bad("hello\n", "m.conf:1: expected KEY = VALUE or [SECTION], found \"hello\"");
    bad("[vm a]\n= x\n", "m.conf:2: expected KEY = VALUE or [SECTION], found \"= x\"");
    bad("[vm a]\nkernel ; = k\n", "m.conf:2: expected KEY = VALUE or [SECTION], found \"kernel\"");
    bad("[vm a\n", "m.conf:1: expected ']' at the end of the section, found \"[vm a\"");
    bad("[\n", "m.conf:1: expected ']' at the end of the section, found \"[\"");
    bad("[vm a] x\n", "m.conf:1: expected ']' at the end of the section, found \"[vm a] x\"");
    good("[vm a] ; comment\nkernel = k\nmemory = 1\n");
}

static void test_sections(void **state)
{
    (void)state;
    bad("[disk a]\n", "m.conf:1: [disk a]: unknown section, expected [global], [vm NAME] or [net NAME]");
    bad("[vms]\n", "m.conf:1: [vms]: unknown section, expected [global], [vm NAME] or [net NAME]");
    bad("[]\n", "m.conf:1: []: unknown section, expected [global], [vm NAME] or [net NAME]");
    bad("[Global]\n", "m.conf:1: [Global]: unknown section, expected [global], [vm NAME] or [net NAME]");
    bad("[global]\n[global]\n", "m.conf:2: [global]: given twice, expected once");
    bad(MINIMAL "[vm b]\nkernel=k\nmemory=1\n[vm a]\n",
        "m.conf:7: [vm a]: name already used in line 1, expected another");
}

static void test_names(void **state)
{
    static const char wrong[] = "[vm]: expected [vm NAME] with NAME of letters, digits, '_', '.' or '-', found";
    char expected[160], *text;

    (void)state;
    snprintf(expected, sizeof(expected), "m.conf:1: %s \"\"", wrong);
    bad("[vm]\n", expected);
    bad("[vm ]\n", expected);
    snprintf(expected, sizeof(expected), "m.conf:1: %s \"a b\"", wrong);
    bad("[vm a b]\n", expected);
    snprintf(expected, sizeof(expected), "m.conf:1: %s \"a/b\"", wrong);
    bad("[vm a/b]\n", expected);
    for (int c = ' '; c <= '~'; c++) {
        char one[] = "[vm a?b]\nkernel = k\nmemory = 1\n";
        bool allowed = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
                       c == '.' || c == '-';

        one[5] = (char)c;
        assert_int_equal(parse_n(one, strlen(one)), allowed ? 0 : -EINVAL);
    }
    text = filled("[vm ", 'n', CONFIG_NAME_MAX - 1, "]\nkernel = k\nmemory = 1\n");
    good(text);
    assert_int_equal(strlen(config.vm[0].name), CONFIG_NAME_MAX - 1);
    free(text);
    text = filled("[vm ", 'n', CONFIG_NAME_MAX, "]\nkernel = k\nmemory = 1\n");
    bad(text, "m.conf:1: [vm]: expected a name of at most 31 characters, found 32");
    free(text);
}

static void test_unknown_keys(void **state)
{
    (void)state;
    bad(GLOBAL("memory = 1"), "m.conf:2: memory: unknown key, expected console, numa, numa-..., overcommit, scan, log, apicv "
        "or disks in [global]");
    bad(VM("console = com1"),
        "m.conf:4: console: unknown key, expected kernel, ramdisk, extra, memory, share, placement, vcpus, weight, "
        "cpus, disk, segment or vif in [vm NAME]");
    bad(VM("Memory = 1"),
        "m.conf:4: Memory: unknown key, expected kernel, ramdisk, extra, memory, share, placement, vcpus, weight, "
        "cpus, disk, segment or vif in [vm NAME]");
    bad(VM("mem = 1"),
        "m.conf:4: mem: unknown key, expected kernel, ramdisk, extra, memory, share, placement, vcpus, weight, "
        "cpus, disk, segment or vif in [vm NAME]");
}

static void test_share(void **state)
{
    (void)state;
    good(MINIMAL);
    assert_int_equal(config.scan, CONFIG_DEFAULT_SCAN);
    assert_string_equal(config.vm[0].share, "");
    assert_false(config.vm[0].share_off);
    good(VM("share = team"));
    assert_string_equal(config.vm[0].share, "team");
    good(VM("share = off"));
    assert_true(config.vm[0].share_off);
    assert_string_equal(config.vm[0].share, "");
    bad(VM("share = 00000000000000000000000000000000"),
        "m.conf:4: share: expected off or the name of a sharing domain, at most 31 characters, "
        "found \"00000000000000000000000000000000\"");
    bad(VM("share ="), "m.conf:4: share: expected off or the name of a sharing domain, at most 31 characters, "
                       "found \"\"");
    assert_int_equal(config.overcommit, 100);
    good(GLOBAL("overcommit = 150"));
    assert_int_equal(config.overcommit, 150);
    bad(GLOBAL("overcommit = 99"), "m.conf:2: overcommit: expected a percentage from 100 to 1000, found \"99\"");
    good(GLOBAL("scan = 0"));
    assert_int_equal(config.scan, 0);
    bad(GLOBAL("scan = 1000001"), "m.conf:2: scan: expected a number of pages a second from 0 to 1000000, found \"1000001\"");
}

static void check_cpus(const char *value, uint64_t low, uint64_t high)
{
    char text[256];

    snprintf(text, sizeof(text), VM("cpus = %s"), value);
    good(text);
    assert_int_equal(config.vm[0].cpus.bits[0], low);
    assert_int_equal(config.vm[0].cpus.bits[CONFIG_MAX_CPUS / 64 - 1], high);
}

static void test_cpus(void **state)
{
    static const char *const wrong[] = { "", "^0", "1,^0-255", "256", "0-256", "0,3-1", "-2", "2-", "x", "1;2", "0x",
                                         "a-b", "1--2", "99999999999999999999", "^" };
    char text[256], said[256];

    (void)state;
    good(MINIMAL);
    assert_int_equal(config.vm[0].cpus.bits[0], ~0ull);
    check_cpus("all", ~0ull, ~0ull);
    check_cpus("0", 1, 0);
    check_cpus("0-2, 5", 0x27, 0);
    check_cpus("192-255", 0, ~0ull);
    check_cpus("all,^0", ~1ull, ~0ull);
    check_cpus("0-7,^2-4,3", 0xeb, 0);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        snprintf(text, sizeof(text), VM("cpus = %s"), wrong[i]);
        snprintf(said, sizeof(said), "m.conf:4: cpus: expected processors such as 0-2,5 or all,^0, numbers up to 255, "
                 "found \"%s\"", wrong[i]);
        bad(text, said);
    }
}

static void test_weight(void **state)
{
    static const char *const wrong[] = { "", "0", "65536", "-1", "1.5", "heavy", "18446744073709551617" };
    char text[256], said[256];

    (void)state;
    good(MINIMAL);
    assert_int_equal(config.vm[0].weight, CONFIG_DEFAULT_WEIGHT);
    good(VM("weight = 1"));
    assert_int_equal(config.vm[0].weight, 1);
    good(VM("weight = 65535"));
    assert_int_equal(config.vm[0].weight, 65535);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        snprintf(text, sizeof(text), VM("weight = %s"), wrong[i]);
        snprintf(said, sizeof(said), "m.conf:4: weight: expected a number from 1 to 65535, found \"%s\"", wrong[i]);
        bad(text, said);
    }
}

static void test_duplicate_keys(void **state)
{
    (void)state;
    bad(VM("kernel = k"), "m.conf:4: kernel: given twice in this section, expected once");
    bad(VM("memory = 1"), "m.conf:4: memory: given twice in this section, expected once");
    bad(VM("vcpus = 1\nvcpus = 1"), "m.conf:5: vcpus: given twice in this section, expected once");
    bad(VM("extra =\nextra ="), "m.conf:5: extra: given twice in this section, expected once");
    bad(GLOBAL("log = info\nlog = info"), "m.conf:3: log: given twice in this section, expected once");
    bad(GLOBAL("numa = off\nnuma = off"), "m.conf:3: numa: given twice in this section, expected once");
    bad(GLOBAL("console = gop\nconsole = gop"), "m.conf:3: console: given twice in this section, expected once");
    good(MINIMAL "[vm b]\nkernel = k\nmemory = 1\n");
}

static void test_missing_keys(void **state)
{
    (void)state;
    bad("\n[vm a]\nmemory = 1\n", "m.conf:2: [vm a]: kernel: missing, expected kernel = PATH");
    bad(MINIMAL "\n[vm b]\nkernel = k\n\n", "m.conf:5: [vm b]: memory: missing, expected memory = MIB");
}

static void expect_console(const char *line, bool com1, bool gop, unsigned baud)
{
    char text[128];

    snprintf(text, sizeof(text), GLOBAL("console = %s"), line);
    good(text);
    assert_int_equal(config.console_com1, com1);
    assert_int_equal(config.console_gop, gop);
    assert_int_equal(config.com1_baud, baud);
}

static void test_console(void **state)
{
    static const char *const wrong[] = { "", "com2", "com1,", ",com1", "com1,gop,", "com1,com1", "gop,gop", "115200",
                                         "gop,115200", "com1,gop,9600", "com1,9600,9600", "com1,-1", "com1 gop",
                                         "COM1" };

    (void)state;
    expect_console("com1", true, false, 115200);
    expect_console("gop", false, true, 115200);
    expect_console("com1,gop", true, true, 115200);
    expect_console("gop, com1 , 57600", true, true, 57600);
    expect_console("com1,300", true, false, 300);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        char text[128], expected[128];

        snprintf(text, sizeof(text), GLOBAL("console = %s"), wrong[i]);
        snprintf(expected, sizeof(expected),
                 "m.conf:2: console: expected com1[,BAUD] and/or gop, found \"%s\"", wrong[i]);
        bad(text, expected);
    }
    bad(GLOBAL("console = com1,115201"),
        "m.conf:2: console: expected a baud rate that divides 115200, found \"115201\"");
    bad(GLOBAL("console = com1,1000"), "m.conf:2: console: expected a baud rate that divides 115200, found \"1000\"");
    bad(GLOBAL("console = com1,0"), "m.conf:2: console: expected a baud rate that divides 115200, found \"0\"");
    bad(GLOBAL("console = com1,150"), "m.conf:2: console: expected a baud rate that divides 115200, found \"150\"");
}

static void test_numa_policy(void **state)
{
    good(GLOBAL("numa = auto"));
    assert_true(config.policy.on);
    assert_int_equal(config.policy.interval_ms, 100);
    assert_int_equal(config.policy.page_moves, 4);
    good(GLOBAL("numa-policy = off\nnuma-interval = 1\nnuma-sample = 10000000\nnuma-window = 15\nnuma-moves = 0\n"
                "numa-page-moves = 0\nnuma-reset = 3600"));
    assert_false(config.policy.on);
    assert_int_equal(config.policy.interval_ms, 1);
    assert_int_equal(config.policy.rate, 10000000);
    assert_int_equal(config.policy.window, 15);
    assert_int_equal(config.policy.moves, 0);
    assert_int_equal(config.policy.page_moves, 0);
    assert_int_equal(config.policy.reset_s, 3600);
    bad(GLOBAL("numa-policy = on"), "m.conf:2: numa-policy: expected auto or off, found \"on\"");
    bad(GLOBAL("numa-window = 16"), "m.conf:2: numa-window: expected a number from 1 to 15, found \"16\"");
    bad(GLOBAL("numa-reset = 0"), "m.conf:2: numa-reset: expected a number from 1 to 3600, found \"0\"");
}

static void test_placement(void **state)
{
    (void)state;
    good(MINIMAL);
    assert_int_equal(config.vm[0].placement, PLACEMENT_FOLLOW);
    good(VM("placement = first-touch"));
    assert_int_equal(config.vm[0].placement, PLACEMENT_FIRST_TOUCH);
    good(VM("placement = interleave"));
    assert_int_equal(config.vm[0].placement, PLACEMENT_INTERLEAVE);
    good(VM("placement = follow"));
    assert_int_equal(config.vm[0].placement, PLACEMENT_FOLLOW);
    bad(VM("placement = interleaved"),
        "m.conf:4: placement: expected follow, first-touch or interleave, found \"interleaved\"");
    bad(VM("placement ="), "m.conf:4: placement: expected follow, first-touch or interleave, found \"\"");
}

static void test_numa(void **state)
{
    static const char *const wrong[] = { "", "on", "fake", "fake:", "fake:0", "fake:9", "fake:2x", "fake: 2", "autos" };

    (void)state;
    good(GLOBAL("numa = auto"));
    assert_int_equal(config.numa, CONFIG_NUMA_AUTO);
    good(GLOBAL("numa = off"));
    assert_int_equal(config.numa, CONFIG_NUMA_OFF);
    good(GLOBAL("numa = fake:1"));
    assert_int_equal(config.numa_fake_nodes, 1);
    good(GLOBAL("numa = fake:8"));
    assert_int_equal(config.numa_fake_nodes, 8);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        char text[128], expected[128];

        snprintf(text, sizeof(text), GLOBAL("numa = %s"), wrong[i]);
        snprintf(expected, sizeof(expected),
                 "m.conf:2: numa: expected auto, off or fake:N with N from 1 to 8, found \"%s\"", wrong[i]);
        bad(text, expected);
    }
}

static void test_log(void **state)
{
    (void)state;
    good(GLOBAL("log = error"));
    assert_int_equal(config.log_level, LOG_ERROR);
    good(GLOBAL("log = warn"));
    assert_int_equal(config.log_level, LOG_WARN);
    good(GLOBAL("log = info"));
    assert_int_equal(config.log_level, LOG_INFO);
    assert_true(config.apicv);
    good(GLOBAL("apicv = off"));
    assert_false(config.apicv);
    good(GLOBAL("apicv = auto"));
    assert_true(config.apicv);
    bad(GLOBAL("apicv = on"), "m.conf:2: apicv: expected auto or off, found \"on\"");
    bad(GLOBAL("log = 3"), "m.conf:2: log: expected error, warn, info or debug, found \"3\"");
    bad(GLOBAL("log ="), "m.conf:2: log: expected error, warn, info or debug, found \"\"");
}

static void test_numbers(void **state)
{
    static const char *const wrong_memory[] = { "lots", "", "0", "1048577", "-1", "+1", "0x10", "1 2", "256M", "1.5",
                                                "18446744073709551617", "99999999999999999999999999" };
    static const char *const wrong_vcpus[] = { "", "0", "65", "two", "-1", "4294967297" };
    char text[128], expected[160];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong_memory); i++) {
        snprintf(text, sizeof(text), "[vm a]\nkernel = k\nmemory = %s\n", wrong_memory[i]);
        snprintf(expected, sizeof(expected),
                 "m.conf:3: memory: expected a number of MiB from 1 to 1048576, found \"%s\"", wrong_memory[i]);
        bad(text, expected);
    }
    for (size_t i = 0; i < ARRAY_SIZE(wrong_vcpus); i++) {
        snprintf(text, sizeof(text), VM("vcpus = %s"), wrong_vcpus[i]);
        snprintf(expected, sizeof(expected),
                 "m.conf:4: vcpus: expected a number of processors from 1 to 64, found \"%s\"", wrong_vcpus[i]);
        bad(text, expected);
    }
    good(VM("vcpus = 1"));
    good("[vm a]\nkernel = k\nmemory = 0001\n");
}

static void test_long_value_is_cut_in_the_message(void **state)
{
    char *text = filled("[vm a]\nkernel = k\nmemory = ", 'x', 100, "\n");
    char *shown = filled("m.conf:3: memory: expected a number of MiB from 1 to 1048576, found \"", 'x', 64, "\"");

    (void)state;
    bad(text, shown);
    free(shown);
    free(text);
}

static void test_paths(void **state)
{
    char *text;

    (void)state;
    bad("[vm a]\nkernel =\n", "m.conf:2: kernel: expected a path such as \\guests\\vmlinuz, found nothing");
    bad(VM("ramdisk = ; none"), "m.conf:4: ramdisk: expected a path such as \\guests\\vmlinuz, found nothing");
    bad("[vm a]\nkernel = fs0:\\k\n",
        "m.conf:2: kernel: expected a path on the volume Mirrorball came from, found ':' in \"fs0:\\k\"");
    bad("[vm a]\nkernel = \"k\"\n",
        "m.conf:2: kernel: expected a path on the volume Mirrorball came from, found '\"' in \"\"k\"\"");
    text = filled("[vm a]\nmemory = 1\nkernel = ", 'p', CONFIG_PATH_MAX - 1, "\n");
    good(text);
    assert_int_equal(strlen(config.vm[0].kernel.path), CONFIG_PATH_MAX - 1);
    free(text);
    text = filled("[vm a]\nmemory = 1\nkernel = ", 'p', CONFIG_PATH_MAX, "\n");
    bad(text, "m.conf:3: kernel: expected a path of at most 255 characters, found 256");
    free(text);
}

static void test_extra_length(void **state)
{
    char *text = filled(MINIMAL "extra = ", 'e', CONFIG_EXTRA_MAX - 1, "");

    (void)state;
    good(text);
    assert_int_equal(strlen(config.vm[0].extra), CONFIG_EXTRA_MAX - 1);
    free(text);
    text = filled(MINIMAL "extra = ", 'e', CONFIG_EXTRA_MAX, "");
    bad(text, "m.conf:4: extra: expected at most 2047 characters, found 2048");
    free(text);
    text = filled(MINIMAL "extra = ", 'e', 100000, "");
    bad(text, "m.conf:4: extra: expected at most 2047 characters, found 100000");
    free(text);
    text = filled(MINIMAL "; ", 'c', 100000, "\n");
    good(text);
    free(text);
}

static void test_counts(void **state)
{
    char text[4096] = "";
    size_t n = 0;

    (void)state;
    for (int i = 0; i < CONFIG_MAX_VMS; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "[vm v%d]\nkernel = k\nmemory = 1\n", i);
    good(text);
    assert_int_equal(config.vms, CONFIG_MAX_VMS);
    snprintf(text + n, sizeof(text) - n, "[vm one-more]\n");
    bad(text, "m.conf:49: [vm one-more]: expected at most 16 VMs");
    n = (size_t)snprintf(text, sizeof(text), MINIMAL);
    for (int i = 0; i < CONFIG_MAX_RAMDISKS; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "ramdisk = r%d\n", i);
    good(text);
    assert_int_equal(config.vm[0].ramdisks, CONFIG_MAX_RAMDISKS);
    assert_string_equal(config.vm[0].ramdisk[CONFIG_MAX_RAMDISKS - 1].path, "r7");
    snprintf(text + n, sizeof(text) - n, "ramdisk = r8\n");
    bad(text, "m.conf:12: ramdisk: expected at most 8 ramdisks in a VM");
}

/* Every size of buffer gets a terminated part of the message and nothing past it. */
static void test_short_message_buffer(void **state)
{
    static const char text[] = "[vm a]\nmemory = lots\n";
    static const char whole[] = "m.conf:2: memory: expected a number of MiB from 1 to 1048576, found \"lots\"";

    (void)state;
    for (size_t size = 1; size <= sizeof(whole); size++) {
        char *err = malloc(size);

        assert_int_equal(config_parse("m.conf", text, sizeof(text) - 1, &config, err, size), -EINVAL);
        assert_int_equal(strlen(err), size - 1);
        assert_memory_equal(err, whole, size - 1);
        free(err);
    }
}

static uint32_t random_state = 1;

static uint32_t next_random(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

/* What the rest of the hypervisor relies on in an accepted configuration. */
static void check_promises(void)
{
    assert_in_range(config.vms, 1, CONFIG_MAX_VMS);
    assert_true(config.console_com1 || config.console_gop);
    for (unsigned i = 0; i < config.vms; i++) {
        const struct vm_config *vm = &config.vm[i];

        assert_in_range(strnlen(vm->name, CONFIG_NAME_MAX), 1, CONFIG_NAME_MAX - 1);
        assert_in_range(strnlen(vm->kernel.path, CONFIG_PATH_MAX), 1, CONFIG_PATH_MAX - 1);
        assert_in_range(strnlen(vm->extra, CONFIG_EXTRA_MAX), 0, CONFIG_EXTRA_MAX - 1);
        assert_in_range(vm->memory_mib, 1, CONFIG_MEMORY_MAX_MIB);
        assert_in_range(vm->vcpus, 1, CONFIG_MAX_VCPUS);
        assert_in_range(vm->ramdisks, 0, CONFIG_MAX_RAMDISKS);
        for (unsigned r = 0; r < vm->ramdisks; r++)
            assert_in_range(strnlen(vm->ramdisk[r].path, CONFIG_PATH_MAX), 1, CONFIG_PATH_MAX - 1);
    }
}

static void test_mutations(void **state)
{
    static const char seed[] = "[global]\nconsole = com1,9600,gop ; x\nnuma = fake:2\nlog = debug\n[vm alpha]\n"
                               "kernel = \\guests\\vmlinuz\nramdisk = /r\nextra = a=b\nmemory = 256\nvcpus = 2\n"
                               "[vm beta]\nkernel = k\nmemory = 1\n";
    static const char pool[] = "[];#=\n\r\t ,:\\0123456789vmglobalkernelmemory\0\xff\xfe\xef";
    unsigned accepted = 0;

    (void)state;
    for (int round = 0; round < 50000; round++) {
        char text[sizeof(seed)];
        size_t n = sizeof(seed) - 1;

        memcpy(text, seed, sizeof(seed));
        for (uint32_t changes = 1 + next_random() % 4; changes; changes--)
            text[next_random() % n] = pool[next_random() % (sizeof(pool) - 1)];
        if (next_random() % 4 == 0)
            n = next_random() % n;
        if (parse_n(text, n)) {
            assert_memory_equal(message, "m.conf:", 7);
            assert_non_null(strstr(message, "expected"));
        } else {
            check_promises();
            accepted++;
        }
    }
    assert_in_range(accepted, 1000, 49000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_whole_file),
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_no_vm),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_unknown_keys),
        cmocka_unit_test(test_share),
        cmocka_unit_test(test_cpus),
        cmocka_unit_test(test_weight),
        cmocka_unit_test(test_duplicate_keys),
        cmocka_unit_test(test_missing_keys),
        cmocka_unit_test(test_console),
        cmocka_unit_test(test_numa),
        cmocka_unit_test(test_numa_policy),
        cmocka_unit_test(test_placement),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_long_value_is_cut_in_the_message),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_extra_length),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_short_message_buffer),
        cmocka_unit_test(test_mutations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
