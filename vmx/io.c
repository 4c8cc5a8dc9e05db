/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/errno.h"
#include "vmx/exits.h"
#include "vmx/gwalk.h"
#include "vmx/vmcs_io.h"

/* Exit qualification of I/O instructions (SDM vol. 3, table 28-5). */
#define IO_SIZE(q)  (((unsigned)(q) & 7) + 1)
#define IO_IN       BIT(3)
#define IO_STRING   BIT(4)
#define IO_REP      BIT(5)
#define IO_PORT(q)  ((uint16_t)((q) >> 16))

/* Address size of INS and OUTS: bits 9:7 of the instruction information (table 28-12). */
static uint64_t address_mask(void)
{
    unsigned size = vmread(VMCS_EXIT_INSN_INFO) >> 7 & 7;

    return size == 0 ? 0xffff : size == 1 ? 0xffffffff : ~0ull;
}

static uint64_t add_masked(uint64_t reg, uint64_t add, uint64_t mask)
{
    uint64_t sum = (reg & ~mask) | ((reg + add) & mask);

    return mask == 0xffffffff ? (uint32_t)sum : sum;
}

/* The string operand, byte by byte since it may cross a page; 0 or -EFAULT with a #PF queued. */
static int string_access(struct vcpu *v, uint64_t linear, uint8_t *bytes, unsigned size, bool write)
{
    for (unsigned i = 0; i < size; i++) {
        uint32_t error;
        struct gpa at;
        int err = vcpu_translate(v, linear + i, write ? GWALK_WRITE : GWALK_READ, &at, &error);

        if (err) {
            vcpu_page_fault(v, linear + i, error);
            return err;
        }
        if (write)
            (void)pmap_write(v->pmap, at, &bytes[i], 1); /* outside RAM: vanishes */
        else if (pmap_read(v->pmap, at, &bytes[i], 1))
            bytes[i] = 0xff;
    }
    return 0;
}

/* One iteration an exit: RIP moves after the last. */
static void io_string(struct vcpu *v, uint64_t q)
{
    uint64_t mask = address_mask(), linear = vmread(VMCS_EXIT_GUEST_LINEAR);
    uint64_t *index = q & IO_IN ? &v->regs.rdi : &v->regs.rsi;
    unsigned size = IO_SIZE(q);
    uint32_t value = 0;

    if ((q & IO_REP) && !(v->regs.rcx & mask)) {
        vcpu_skip(v);
        return;
    }
    if (q & IO_IN)
        value = v->ops->pio_read(v, IO_PORT(q), size);
    if (string_access(v, linear, (uint8_t *)&value, size, q & IO_IN))
        return;
    if (!(q & IO_IN))
        v->ops->pio_write(v, IO_PORT(q), size, value);
    *index = add_masked(*index, vmread(VMCS_GUEST_RFLAGS) & BIT(10) ? -(uint64_t)size : size, mask);
    if (q & IO_REP) {
        v->regs.rcx = add_masked(v->regs.rcx, -1ull, mask);
        if (v->regs.rcx & mask)
            return;
    }
    vcpu_skip(v);
}

void exit_io(struct vcpu *v)
{
    uint64_t q = vmread(VMCS_EXIT_QUALIFICATION);
    unsigned size = IO_SIZE(q);

    if (q & IO_STRING) {
        io_string(v, q);
        return;
    }
    if (q & IO_IN) {
        uint32_t value = v->ops->pio_read(v, IO_PORT(q), size);
        uint64_t keep = size == 4 ? 0 : ~(BIT(8 * size) - 1);

        v->regs.rax = (v->regs.rax & keep) | (value & (BIT(8 * size) - 1));
    } else {
        v->ops->pio_write(v, IO_PORT(q), size, (uint32_t)(v->regs.rax & (BIT(8 * size) - 1)));
    }
    vcpu_skip(v);
}
