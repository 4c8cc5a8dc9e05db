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

#include "tests/unit/config_text.h"

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
        cmocka_unit_test(test_vifs),
        cmocka_unit_test(test_disks),
        cmocka_unit_test(test_segments),
        cmocka_unit_test(test_bad_segments),
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_uplink_values),
        cmocka_unit_test(test_too_many_networks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
