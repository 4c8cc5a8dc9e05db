/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/guests/rt/rt.h"

/* From boot.asm, with what the multiboot loader said; the first words of its information (Multiboot 0.6.96, 3.3). */
struct mb_info { uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr; };
enum { MB_MAGIC = 0x2badb002, MB_MEMORY = 0x1, MB_CMDLINE = 0x4, MB_MODULES = 0x8, PIC1_DATA = 0x21, PIC2_DATA = 0xa1 };

void rt_main(uint64_t magic, const struct mb_info *info);

uint64_t ram_above_1m;
const struct mb_module *modules;
unsigned module_count;

static const char *arguments_of(const char *line)
{
    while (*line && *line != ' ')
        line++;
    while (*line == ' ')
        line++;
    return line;
}

void rt_main(uint64_t magic, const struct mb_info *info)
{
    const char *arguments = "";

    outb(PIC1_DATA, 0xff);
    outb(PIC2_DATA, 0xff);
    console_init();
    cpu_init();
    if (magic != MB_MAGIC) {
        check("loaded by multiboot", magic, MB_MAGIC);
        finish();
    }
    if (info->flags & MB_MEMORY)
        ram_above_1m = info->mem_upper * KIB;
    if (info->flags & MB_CMDLINE)
        arguments = arguments_of((const char *)(uint64_t)info->cmdline);
    if (info->flags & MB_MODULES) {
        modules = (const struct mb_module *)(uint64_t)info->mods_addr;
        module_count = info->mods_count;
    }
    guest_main(arguments);
    finish();
}
