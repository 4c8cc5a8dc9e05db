/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

#include "efi/firmware.h"

#include "arch/x86/serial.h"
#include "lib/format.h"
#include "lib/string.h"

#include <stdarg.h>

#define SERIAL_BAUD 115200

/* Messages go to COM1 ourselves: the firmware's console does not. */
static bool serial;

/* UEFI specification, 10.3.4.12: the UART is a messaging node of a console's device path. */
static bool has_uart(const EFI_DEVICE_PATH *path, size_t size)
{
    const uint8_t *at = (const uint8_t *)path;

    while (size >= sizeof(*path)) {
        const EFI_DEVICE_PATH *node = (const EFI_DEVICE_PATH *)at;
        size_t n = (size_t)(node->Length[0] | node->Length[1] << 8);

        if (n < sizeof(*node) || n > size)
            return false;
        if (node->Type == MESSAGING_DEVICE_PATH && node->SubType == MSG_UART_DP)
            return true;
        at += n;
        size -= n;
    }
    return false;
}

/* The variable ConOut lists the active output consoles (UEFI specification, 3.3). */
static bool console_on_serial(void)
{
    static uint8_t paths[2048] __attribute__((aligned(8)));
    EFI_GUID guid = EFI_GLOBAL_VARIABLE;
    UINTN size = sizeof(paths);
    EFI_STATUS s = firmware->RuntimeServices->GetVariable(L"ConOut", &guid, NULL, &size, paths);

    return s == EFI_SUCCESS && has_uart((const EFI_DEVICE_PATH *)paths, size);
}

void print_begin(void)
{
    serial = !console_on_serial() && serial_init(SERIAL_BAUD);
}

void print_serial(bool wanted)
{
    serial = serial && wanted;
}

static void put_text(const char *text, size_t n)
{
    CHAR16 wide[128];
    size_t w = 0;

    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\n')
            wide[w++] = L'\r';
        wide[w++] = text[i] == '\n' || (text[i] >= ' ' && text[i] <= '~') ? (CHAR16)text[i] : L'?';
        if (w >= ARRAY_SIZE(wide) - 3 || i + 1 == n) {
            wide[w] = 0;
            firmware->ConOut->OutputString(firmware->ConOut, wide);
            w = 0;
        }
    }
    if (serial)
        serial_sink(text, n);
}

__attribute__((format(printf, 1, 0))) static void put_format(const char *fmt, va_list ap)
{
    char text[512];
    int n = format_v(text, sizeof(text), fmt, ap);

    put_text(text, MIN((size_t)n, sizeof(text) - 1));
}

void print(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    put_format(fmt, ap);
    va_end(ap);
}

void say(const char *fmt, ...)
{
    va_list ap;

    print("mirrorball: ");
    va_start(ap, fmt);
    put_format(fmt, ap);
    va_end(ap);
    print("\n");
}
