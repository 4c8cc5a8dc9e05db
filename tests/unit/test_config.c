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

#include "efi/config.h"
#include "lib/errno.h"
#include "lib/log.h"

#define MINIMAL "[vm a]\nkernel = k\nmemory = 1\n"
#define VM(line) "[vm a]\nkernel = k\nmemory = 1\n" line "\n"
#define GLOBAL(line) "[global]\n" line "\n" MINIMAL

static struct config config;
static char message[512];

/* The text lies in a block of exactly its size, so that the sanitizer sees a read past its end. */
static int parse_n(const char *text, size_t size)
{
    char *exact = malloc(size ? size : 1);
    int err;

    memcpy(exact, text, size);
    memset(&config, 0xaa, sizeof(config));
    memset(message, 0xaa, sizeof(message));
    err = config_parse("m.conf", exact, size, &config, message, sizeof(message));
    free(exact);
    return err;
}

static void good(const char *text)
{
    int err = parse_n(text, strlen(text));

    if (err)
        fail_msg("refused: %s", message);
    assert_string_equal(message, "");
}

static void bad(const char *text, const char *expected)
{
    assert_int_equal(parse_n(text, strlen(text)), -EINVAL);
    assert_string_equal(message, expected);
}

/* A text with one place filled by n times c. */
static char *filled(const char *before, char c, size_t n, const char *after)
{
    size_t b = strlen(before);
    char *text = malloc(b + n + strlen(after) + 1);

    memcpy(text, before, b);
    memset(text + b, c, n);
    strcpy(text + b + n, after);
    return text;
}

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

#define BAD_VIF(value, found) \
    bad(VM("vif = " value), "m.conf:4: vif: expected mac=52:54:00:00:00:01 (not a group's), ip=10.0.0.1, ip=fd00::1 (at " \
        "most 4) or rate=100Mb/s, found \"" found "\"")

static void test_vifs(void **state)
{
    static const uint8_t mac[] = { 0x52, 0x54, 0, 0xab, 0xcd, 1 }, ip4[] = { 10, 0, 255, 1 };
    static const uint8_t ip6[] = { 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0x12, 0x34 };
    const struct config_vif *v = config.vm[0].vif;
    uint8_t made[6];

    (void)state;
    good(VM("vif = lan0 , mac=52:54:0:AB:cd:01, ip=10.0.255.1, ip=fd00::5:1234, rate=100Mb/s\nvif = lan0\n"
            "vif = b,rate=3KB/s,ip=1:2:3:4:5:6:7:8,ip=::1,ip=fe80::"));
    assert_int_equal(config.vm[0].vifs, 3);
    assert_string_equal(v[0].net, "lan0");
    assert_memory_equal(v[0].mac, mac, 6);
    assert_int_equal(v[0].ips, 2);
    assert_false(v[0].ip[0].six);
    assert_true(v[0].ip[1].six);
    assert_memory_equal(v[0].ip[0].at, ip4, 4);
    assert_memory_equal(v[0].ip[1].at, ip6, 16);
    assert_int_equal(v[0].rate, 12500000);
    assert_int_equal(v[2].rate, 3000);
    assert_int_equal(v[2].ip[0].at[15], 8);
    assert_int_equal(v[2].ip[1].at[15], 1);
    assert_int_equal(v[2].ip[2].at[0], 0xfe);
    assert_int_equal(v[1].mac[0], 0x52);
    assert_memory_not_equal(v[1].mac, v[2].mac, 6);
    memcpy(made, v[1].mac, 6);
    good(VM("vif = lan0\nvif = lan0"));
    assert_memory_equal(v[1].mac, made, 6); /* the same in each run */
    good(VM("vif = a,mac=52:54:00:00:00:01\nvif = b,mac=52:54:00:00:00:01"));
    bad(VM("vif = a,mac=52:54:00:00:00:01\nvif = a,mac=52:54:00:00:00:01"),
        "m.conf:1: [vm a]: vif: 52:54:00:00:00:01 is used twice in network a, also by vm a, expected another");
    bad(VM("vif = a\nvif = a\nvif = a\nvif = a\nvif = a"), "m.conf:8: vif: expected at most 4 network interfaces in a VM");
    bad(VM("vif = a b"), "m.conf:4: vif: expected NETWORK[,mac=MAC][,ip=ADDRESS][,rate=RATE], found \"a b\"");
    bad(VM("vif = "), "m.conf:4: vif: expected NETWORK[,mac=MAC][,ip=ADDRESS][,rate=RATE], found \"\"");
    BAD_VIF("a,mac=52:54:00:00:00", "mac=52:54:00:00:00");
    BAD_VIF("a,mac=52:54:00:00:00:00:01", "mac=52:54:00:00:00:00:01");
    BAD_VIF("a,mac=01:00:5e:00:00:01", "mac=01:00:5e:00:00:01");
    BAD_VIF("a,mac=00:00:00:00:00:00", "mac=00:00:00:00:00:00");
    BAD_VIF("a,ip=10.0.0", "ip=10.0.0");
    BAD_VIF("a,ip=10.0.0.256", "ip=10.0.0.256");
    BAD_VIF("a,ip=10.0.0.1.", "ip=10.0.0.1.");
    BAD_VIF("a,ip=::", "ip=::");
    BAD_VIF("a,ip=1::2::3", "ip=1::2::3");
    BAD_VIF("a,ip=1:2:3:4:5:6:7::8", "ip=1:2:3:4:5:6:7::8");
    BAD_VIF("a,ip=1:2:3:4:5:6:7", "ip=1:2:3:4:5:6:7");
    BAD_VIF("a,ip=fd00::12345", "ip=fd00::12345");
    BAD_VIF("a,ip=1.1.1.1,ip=1.1.1.2,ip=1.1.1.3,ip=1.1.1.4,ip=1.1.1.5", "ip=1.1.1.5");
    BAD_VIF("a,rate=10", "rate=10");
    BAD_VIF("a,rate=0MB/s", "rate=0MB/s");
    BAD_VIF("a,rate=10MB", "rate=10MB");
    BAD_VIF("a,bridge=x", "bridge=x");
}

#define BAD_DISK(value) \
    bad(VM("disk = " value), "m.conf:4: disk: expected PATH,cow,discard, PATH,cow,discard=PATH, " \
        "PATH,cow,persist=PATH, PATH,exclusive, PATH,readonly or PATH,dax, found \"" value "\"")

#define SHARED(name, domain, value) \
    "[vm " name "]\nkernel = k\nmemory = 8\n" domain "\nsegment = " value "\n"

static void test_segments(void **state)
{
    (void)state;
    good(SHARED("a", "share = d", "db , 8\nsegment = log,2,ro") SHARED("b", "share = d", "db,8, ro"));
    assert_int_equal(config.vm[0].segments, 2);
    assert_string_equal(config.vm[0].segment[0].name, "db");
    assert_int_equal(config.vm[0].segment[0].mib, 8);
    assert_false(config.vm[0].segment[0].readonly);
    assert_string_equal(config.vm[0].segment[1].name, "log");
    assert_true(config.vm[0].segment[1].readonly);
    assert_true(config.vm[1].segment[0].readonly);
    good(SHARED("a", "share = d", "x,65536"));
    bad(SHARED("a", "share = d", "db,8\nsegment = db,8"), "m.conf:6: segment: db: given twice in this section, expected "
        "once");
    bad(SHARED("a", "share = d", "a,2\nsegment = b,2\nsegment = c,2\nsegment = d,2\nsegment = e,2"),
        "m.conf:9: segment: expected at most 4 segments in a VM");
}

#define BAD_SEGMENT(value) \
    bad(SHARED("a", "share = d", value), "m.conf:5: segment: expected NAME,MIB or NAME,MIB,ro with an even number of MiB " \
        "up to 65536 and a NAME as a VM's that does not begin with '.', found \"" value "\"")

static void test_bad_segments(void **state)
{
    (void)state;
    BAD_SEGMENT("db");
    BAD_SEGMENT("db,");
    BAD_SEGMENT(",8");
    BAD_SEGMENT("db,3");
    BAD_SEGMENT("db,0");
    BAD_SEGMENT("db,65538");
    BAD_SEGMENT("db,8,rw");
    BAD_SEGMENT("db,8,");
    BAD_SEGMENT("db,8,ro,ro");
    BAD_SEGMENT("a/b,8");
    BAD_SEGMENT("..,8");
    BAD_SEGMENT("12345678901234567890123456789012,8");
    bad(SHARED("a", "", "db,8"), "m.conf:1: [vm a]: segment: shared inside a sharing domain only, expected share = NAME");
    bad(SHARED("a", "share = off", "db,8"),
        "m.conf:1: [vm a]: segment: shared inside a sharing domain only, expected share = NAME");
    bad(SHARED("a", "share = d", "db,8") SHARED("b", "share = e", "db,8"),
        "m.conf:6: [vm b]: segment: [vm a] has db too, expected the same share = NAME in both");
    bad(SHARED("a", "share = d", "db,8") SHARED("b", "share = d", "db,6"),
        "m.conf:6: [vm b]: segment: db has 8 MiB in [vm a], expected the same here, found 6");
}

static void test_disks(void **state)
{
    (void)state;
    good(VM("disk = \\root.img , cow , discard\ndisk = /data.img,readonly\ndisk = d, dax"));
    assert_int_equal(config.vm[0].disks, 3);
    assert_string_equal(config.vm[0].disk[0].image.path, "\\root.img");
    assert_false(config.vm[0].disk[0].readonly);
    assert_string_equal(config.vm[0].disk[1].image.path, "/data.img");
    assert_true(config.vm[0].disk[1].readonly);
    assert_false(config.vm[0].disk[1].dax);
    assert_true(config.vm[0].disk[2].dax);
    assert_false(config.vm[0].disk[2].readonly);
    good(VM("disk = \\root.img,exclusive\ndisk = d , cow , persist=\\a.log\ndisk = disk=1,cow,persist=partition=12-3"));
    assert_true(config.vm[0].disk[0].exclusive && !config.vm[0].disk[0].readonly && !config.vm[0].disk[0].persist);
    assert_true(config.vm[0].disk[1].persist && !config.vm[0].disk[1].exclusive);
    assert_string_equal(config.vm[0].log[1].image.path, "\\a.log");
    assert_int_equal(config.vm[0].log[1].kind, CONFIG_DISK_FILE);
    assert_string_equal(config.vm[0].disk[2].image.path, "disk=1");
    assert_string_equal(config.vm[0].log[2].image.path, "partition=12-3");
    assert_int_equal(config.vm[0].log[2].kind, CONFIG_DISK_PARTITION);
    good(VM("disk = d,cow,discard=\\a.log\ndisk = d,cow,discard\ndisk = d,cow,persist=\\b.log"));
    assert_true(config.vm[0].disk[0].persist && config.vm[0].disk[0].fresh);
    assert_string_equal(config.vm[0].log[0].image.path, "\\a.log");
    assert_false(config.vm[0].disk[1].persist || config.vm[0].disk[1].fresh || config.vm[0].disk[2].fresh);
    bad(VM("disk = a,cow,persist="), "m.conf:4: disk: expected a path such as \\guests\\vmlinuz, found nothing");
    bad(VM("disk = a,cow,discard="), "m.conf:4: disk: expected a path such as \\guests\\vmlinuz, found nothing");
    bad(VM("disk = a,exclusive,memory"),
        "m.conf:4: disk: exclusive writes to where the image is, expected no memory, found \"a,exclusive,memory\"");
    BAD_DISK("");
    BAD_DISK("\\root.img");
    BAD_DISK("\\root.img,cow");
    BAD_DISK("\\root.img,cow,persist");
    BAD_DISK("\\root.img,cow,discard,more");
    BAD_DISK("\\root.img,cow,discarded=a");
    BAD_DISK("\\root.img,readonly,more");
    BAD_DISK("\\root.img,readonly,");
    BAD_DISK("\\root.img,exclusive,more");
    BAD_DISK("\\root.img,dax,readonly");
    bad(VM("disk = a,readonly\ndisk = a,dax\nshare = off"),
        "m.conf:1: [vm a]: disk: dax shares the image's pages, expected no share = off");
    bad(VM("disk = ,readonly"), "m.conf:4: disk: expected a path such as \\guests\\vmlinuz, found nothing");
    bad(VM("disk = a,readonly\ndisk = a,readonly\ndisk = a,readonly\ndisk = a,readonly\ndisk = a,readonly"),
        "m.conf:8: disk: expected at most 4 disks in a VM");
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

static void test_networks(void **state)
{
    char *text;

    good(MINIMAL "[net lan0]\nuplink = pci:0a:1f.7\n[net lan-1]\nuplink = auto\n[net quiet]\n");
    assert_int_equal(config.nets, 3);
    assert_string_equal(config.net[0].name, "lan0");
    assert_int_equal(config.net[0].uplink, CONFIG_UPLINK_PCI);
    assert_int_equal(config.net[0].bdf, 0x0aff);
    assert_int_equal(config.net[1].uplink, CONFIG_UPLINK_AUTO);
    assert_int_equal(config.net[2].uplink, CONFIG_UPLINK_NONE);
    good("[net lan0]\nuplink = firmware\n" MINIMAL);
    assert_int_equal(config.net[0].uplink, CONFIG_UPLINK_FIRMWARE);
    good("[net lan0]\nuplink = e1000\n" MINIMAL);
    assert_int_equal(config.net[0].uplink, CONFIG_UPLINK_E1000);
    bad("[net]\n", "m.conf:1: [net]: expected [net NAME] with NAME of letters, digits, '_', '.' or '-', found \"\"");
    bad("[net a]\n[net a]\n", "m.conf:2: [net a]: given twice, expected once");
    bad("[net a]\nuplink = auto\nuplink = auto\n", "m.conf:3: uplink: given twice in this section, expected once");
    bad("[net a]\nmemory = 1\n", "m.conf:2: memory: unknown key, expected uplink in [net NAME]");
    bad(GLOBAL("uplink = auto"), "m.conf:2: uplink: unknown key, expected console, numa, numa-..., overcommit, scan, "
        "log, apicv or disks in [global]");
    text = filled("[net ", 'n', 32, "]\n");
    bad(text, "m.conf:1: [net]: expected a name of at most 31 characters, found 32");
    free(text);
}

static void test_uplink_values(void **state)
{
    static const char *const wrong[] = { "", "card", "pci:", "pci:00:03", "pci:0:3.0", "pci:00:20.0", "pci:00:03.8",
                                         "pci:0g:03.0", "pci:00:03.00", "pci:" };
    char text[128], expected[256];

    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        snprintf(text, sizeof(text), "[net a]\nuplink = %s\n", wrong[i]);
        snprintf(expected, sizeof(expected), "m.conf:2: uplink: expected auto, e1000, firmware or pci:BUS:DEVICE.FUNCTION such "
                 "as pci:00:03.0, found \"%s\"", wrong[i]);
        bad(text, expected);
    }
}

static void test_too_many_networks(void **state)
{
    char text[1024] = "", line[32];

    for (unsigned i = 0; i < CONFIG_MAX_NETS + 1; i++) {
        snprintf(line, sizeof(line), "[net n%u]\n", i);
        strcat(text, line);
    }
    bad(text, "m.conf:17: [net n16]: expected at most 16 networks");
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
        cmocka_unit_test(test_vifs),
        cmocka_unit_test(test_disks),
        cmocka_unit_test(test_segments),
        cmocka_unit_test(test_bad_segments),
        cmocka_unit_test(test_short_message_buffer),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_uplink_values),
        cmocka_unit_test(test_too_many_networks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
