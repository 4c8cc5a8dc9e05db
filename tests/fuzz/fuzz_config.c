/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "efi/config.h"

/* libFuzzer: no input makes the parser read or write past its bounds, and every refusal names the file. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config config;
    char message[256];
    int err = config_parse("f", (const char *)data, size, &config, message, sizeof(message));

    if (err ? message[0] != 'f' || message[1] != ':' : config.vms == 0 || config.vms > CONFIG_MAX_VMS)
        __builtin_trap();
    return 0;
}
