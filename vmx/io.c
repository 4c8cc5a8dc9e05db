/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/string.h"
#include "vmx/exits.h"
#include "vmx/quick.h"
#include "vmx/watch.h"

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

/* Where the bytes of the string operand are, each since it may cross a page; not 0: a fault is queued. */
static int string_addresses(struct vcpu *v, uint64_t linear, unsigned size, bool write, struct gpa at[4])
{
    int err = 0;

    for (unsigned i = 0; i < size && !err; i++)
        err = vcpu_translate_or_fault(v, linear + i, write ? GWALK_WRITE : GWALK_READ, &at[i]);
    return err;
}

/* What is outside RAM reads as ones, and writes there vanish. */
static uint32_t string_read(struct vcpu *v, const struct gpa at[4], unsigned size)
{
    uint8_t bytes[4] = { 0 };
    uint32_t value;

    for (unsigned i = 0; i < size; i++)
        if (pmap_read(v->pmap, at[i], &bytes[i], 1))
            bytes[i] = 0xff;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

static void string_write(struct vcpu *v, const struct gpa at[4], unsigned size, uint32_t value)
{
    for (unsigned i = 0; i < size; i++)
        (void)pmap_write(v->pmap, at[i], (const uint8_t *)&value + i, 1);
}

/* One iteration an exit: RIP moves after the last. */
static void io_string(struct vcpu *v, uint64_t q)
{
    uint64_t mask = address_mask(), linear = vmread(VMCS_EXIT_GUEST_LINEAR);
    uint64_t *index = q & IO_IN ? &v->regs.rdi : &v->regs.rsi;
    unsigned size = IO_SIZE(q), met;
    struct gpa at[4];

    if ((q & IO_REP) && !(v->regs.rcx & mask)) {
        vcpu_skip(v);
        return;
    }
    if (string_addresses(v, linear, size, q & IO_IN, at))
        return; /* before the port is read: what it gave would be lost */
    met = watch_port(IO_PORT(q), size) | watch_data(linear, size, q & IO_IN);
    if (q & IO_IN)
        string_write(v, at, size, v->ops->pio_read(v, IO_PORT(q), size));
    else
        v->ops->pio_write(v, IO_PORT(q), size, string_read(v, at, size));
    *index = add_masked(*index, vmread(VMCS_GUEST_RFLAGS) & BIT(10) ? -(uint64_t)size : size, mask);
    if (q & IO_REP) {
        v->regs.rcx = add_masked(v->regs.rcx, -1ull, mask);
        if (v->regs.rcx & mask) {
            watch_iteration(met);
            return;
        }
    }
    vcpu_skip(v);
    watch_trap(met);
}

static inline void io_plain(struct vcpu *v, uint64_t q)
{
    unsigned size = IO_SIZE(q);
    uint64_t mask = BIT(8 * size) - 1;

    if (q & IO_IN) {
        uint64_t value = v->ops->pio_read(v, IO_PORT(q), size) & mask;

        v->regs.rax = size == 4 ? value : (v->regs.rax & ~mask) | value;
    } else {
        v->ops->pio_write(v, IO_PORT(q), size, (uint32_t)(v->regs.rax & mask));
    }
}

void exit_io(struct vcpu *v)
{
    uint64_t q = vcpu_qualification(v);

    if (q & IO_STRING) {
        io_string(v, q);
    } else {
        io_plain(v, q);
        vcpu_skip(v);
        watch_trap(watch_port(IO_PORT(q), IO_SIZE(q)));
    }
}

enum quick quick_io(struct vcpu *v, struct exit_record *r)
{
    uint64_t q = r->qualification = vmread_sure(VMCS_EXIT_QUALIFICATION), next;

    if (q & IO_STRING || watch_any() || !quick_next(r->rip, &next))
        return QUICK_NOT;
    io_plain(v, q);
    return quick_end(v, next);
}
