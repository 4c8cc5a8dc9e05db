/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/config.h"
#include "lib/types.h"
#include "numa/pmap.h"

/* State of the first vCPU when the guest begins. */
enum guest_mode {
    GUEST_LONG64,              /* paging on, identity map at cr3, flat 64-bit CS 0x10 / DS 0x18 of the GDT at gdt */
    GUEST_PROT32,              /* 32-bit protected mode, paging off, flat segments CS 0x08 / DS 0x10, gdt as above */
};

struct guest_entry {
    enum guest_mode mode;
    uint64_t rip;
    uint64_t rax, rbx, rsi, rsp;
    uint64_t cr3;              /* GUEST_LONG64 */
    uint64_t gdt;
    uint16_t gdt_limit;
    uint16_t cs, ds;
};

/*
 * Puts the VM's kernel, ramdisks, command line, memory map and ACPI tables into its (empty) memory. The kind of the
 * file is recognised by content: 64-bit Linux bzImage, ELF with Linux' relocations or a PVH note, multiboot 1. Files
 * are hostile: every offset and size is checked against the file and the VM's memory. place: a random number, which
 * chooses where a kernel goes that brings its relocations; with the same number, file and memory that is the same
 * place. On failure -errno, with a sentence in err. Not to be called with a lock held: others run in between.
 */
int loader_load(const struct vm_config *vm, struct pmap *pmap, uint64_t place, struct guest_entry *entry, char *err,
                size_t err_size);

/* The part of a path behind the last separator, of either kind. */
static inline const char *load_file_name(const char *path)
{
    const char *name = path;

    for (; *path; path++)
        if (*path == '\\' || *path == '/')
            name = path + 1;
    return name;
}
