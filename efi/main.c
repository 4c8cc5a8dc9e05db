/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "efi/firmware.h"

#include "efi/config.h"
#include "efi/options.h"
#include "lib/errno.h"
#include "lib/string.h"

#define CONFIG_PATH     "\\EFI\\mirrorball\\mirrorball.conf"
#define CONFIG_SIZE_MAX MIB
#define MESSAGE_MAX     512

EFI_SYSTEM_TABLE *firmware;
EFI_HANDLE image;

static struct config config;
static struct boot_info boot;
static struct boot_selftest selftest;

static const char *file_name(const char *path)
{
    const char *name = path;

    for (; *path; path++)
        if (*path == '\\' || *path == '/')
            name = path + 1;
    return name;
}

static int read_options(char *path, size_t size)
{
    char options[1024], message[MESSAGE_MAX];
    int err;

    load_options(options, sizeof(options));
    err = options_parse(options, path, size, &selftest, message, sizeof(message));
    if (err)
        say("%s", message);
    return err;
}

static int read_config(const char *path)
{
    char message[MESSAGE_MAX];
    const void *text;
    size_t size;
    int err;

    err = file_load(path, "configuration", CONFIG_SIZE_MAX, &text, &size);
    if (err)
        return err;
    err = config_parse(file_name(path), text, size, &config, message, sizeof(message));
    file_free(text, size);
    if (err) {
        say("%s", message);
        return err;
    }
    say("configuration: %s, %u VM%s", path, config.vms, config.vms == 1 ? "" : "s");
    return 0;
}

static unsigned most_vcpus(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < config.vms; i++)
        n = MAX(n, config.vm[i].vcpus);
    return n;
}

/* May an uplink be a card that only the firmware has a driver for? */
static bool wants_firmware_cards(void)
{
    for (unsigned i = 0; i < config.nets; i++)
        if (config.net[i].uplink != CONFIG_UPLINK_NONE && config.net[i].uplink != CONFIG_UPLINK_E1000)
            return true;
    return false;
}

/* Needs neither VT-x nor a configuration: none of the other processors takes part. */
static int test_devices(void)
{
    int err;

    config_defaults(&config);
    boot.config = &config;
    boot.cpus = 1;
    tables_find(&boot);
    disks_find(&boot);
    if (selftest.net)
        cards_find(&boot);
    low_take(&boot);
    err = memory_take(&boot);
    return err ? err : mirrorball_selftest(&boot, &selftest);
}

static int run(void)
{
    char path[CONFIG_PATH_MAX] = CONFIG_PATH;
    int err = read_options(path, sizeof(path));

    if (!err && (selftest.disks || selftest.net))
        return test_devices();
    if (!err)
        err = read_config(path);
    if (err)
        return err;
    print_serial(config.console_com1);
    boot.config = &config;
    tables_find(&boot);
    err = hardware_check(&boot);
    if (!err)
        err = processors_find(&boot, most_vcpus());
    if (!err) {
        disks_find(&boot);
        if (wants_firmware_cards())
            cards_find(&boot);
        err = places_find(&config, &boot);
    }
    if (!err)
        err = files_load(&config);
    if (!err)
        err = memory_take(&boot);
    if (!err)
        err = mirrorball_main(&boot);
    return err;
}

/* After the last line: firmware built for debugging fills the memory it gets back, and that takes its time. */
static void give_everything_back(void)
{
    processors_settle();
    memory_give_back(&boot);
    places_free(&boot);
    files_free(&config);
}

EFI_STATUS efi_main(EFI_HANDLE image_handle, EFI_SYSTEM_TABLE *system_table);

/* Called by gnu-efi's crt0 with the System V convention. */
EFI_STATUS efi_main(EFI_HANDLE image_handle, EFI_SYSTEM_TABLE *system_table)
{
    int err;

    image = image_handle;
    firmware = system_table;
    firmware->BootServices->SetWatchdogTimer(0, 0, 0, NULL);
    print_begin();
    err = run();
    say("exit %s", exit_word(err));
    give_everything_back();
    return status_of(err);
}
