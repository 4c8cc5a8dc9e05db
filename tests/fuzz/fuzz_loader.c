/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/unit/loader_fake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * Any bytes as a kernel. The first byte chooses the VM's memory and the number of ramdisks. A file is either refused
 * with a sentence or leaves an entry inside RAM. Build: clang -fsanitize=fuzzer,address,undefined -I.
 * tests/fuzz/fuzz_loader.c core/e820.c core/loader*.c lib/format.c
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t sizes[] = { MIB, 16 * MIB, 64 * MIB, 5 * GIB };
    static struct vm_config vm = { .vcpus = 1, .kernel.path = "\\kernel", .extra = "a=b" };
    struct fake_guest *guest;
    struct guest_entry entry;
    char err[160];
    int rc;

    if (!size)
        return 0;
    vm.kernel.data = data + 1;
    vm.kernel.size = size - 1;
    vm.ramdisks = data[0] >> 2 & 3;
    for (unsigned i = 0; i < vm.ramdisks; i++)
        vm.ramdisk[i] = (struct config_file){ .path = "rd", .data = "ramdisk", .size = 7 - i };

    guest = fake_guest_new(sizes[data[0] & 3]);
    rc = loader_load(&vm, &guest->pmap, size * 0x9e3779b97f4a7c15, &entry, err, sizeof(err));
    if (rc ? !err[0] : err[0] || !e820_is_ram(MIN(guest->memory, GUEST_LOW_RAM_END), entry.rip, 1))
        abort();
    fake_guest_free(guest);
    return 0;
}
