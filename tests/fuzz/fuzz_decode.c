/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */

/*
 * Random bytes through the instruction decoder and, where it takes them, through the executor.
 * clang -g -O1 -fsanitize=fuzzer,address,undefined -I. -o build/fuzz_decode tests/fuzz/fuzz_decode.c vmx/decode.c \
 *     vmx/execute.c
 */
#include <stdlib.h>
#include <string.h>

#include "vmx/decode.h"

struct device {
    unsigned accesses;
};

static uint64_t dev_read(void *ctx, unsigned size)
{
    if (size != 1 && size != 2 && size != 4 && size != 8)
        abort();
    ((struct device *)ctx)->accesses++;
    return 0xfedcba9876543210;
}

static void dev_write(void *ctx, unsigned size, uint64_t value)
{
    dev_read(ctx, size);
    if (size < 8 && value >> 8 * size)
        abort();
}

static int mem_read(void *ctx, unsigned seg, uint64_t offset, unsigned size, uint64_t *value)
{
    if (seg > 5)
        abort();
    *value = dev_read(ctx, size) ^ offset;
    return offset & 0x100 ? -14 : 0;
}

static int mem_write(void *ctx, unsigned seg, uint64_t offset, unsigned size, uint64_t value)
{
    if (seg > 5)
        abort();
    dev_write(ctx, size, value);
    return offset & 0x100 ? -14 : 0;
}

/* What every decoded instruction keeps to. */
static void check(const struct insn *insn, size_t n)
{
    if (!insn->length || insn->length > INSN_MAX || insn->length > n)
        abort();
    if (insn->reg > 15 || (insn->high_byte && (insn->reg > 3 || insn->reg_size != 1)))
        abort();
    if (insn->segment > 5 && insn->segment != INSN_NO_SEGMENT)
        abort();
    if (insn->lock && !insn_writes_memory(insn))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first byte chooses mode and direction, the next 16 make flags and registers, the rest is code. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct device device = { 0 };
    struct insn_env env = { .ctx = &device, .dev_read = dev_read, .dev_write = dev_write, .mem_read = mem_read,
                            .mem_write = mem_write, .stack_size = 8 };
    struct guest_regs regs;
    uint64_t rflags;
    struct insn insn;
    bool again;

    if (size < 17 || insn_decode(data + 17, size - 17, (enum code_size)(data[0] % 3), &insn))
        return 0;
    check(&insn, size - 17);
    env.device_is_write = data[0] & 0x80;
    memcpy(&rflags, data + 1, 8);
    for (unsigned i = 0; i < 16; i++)
        memcpy(&regs.r[i], data + 1 + i % 9, 8);
    insn_execute(&insn, &regs, &rflags, &env, &again);
    if (device.accesses > 2 || (again && !insn.rep))
        abort();
    return 0;
}
