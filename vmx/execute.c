/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/crbits.h"
#include "lib/errno.h"
#include "vmx/decode.h"
#include "vmx/vmcs.h"

#define ARITHMETIC_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

enum { REG_RAX = 0, REG_RCX = 1, REG_RSP = 4, REG_RSI = 6, REG_RDI = 7 };

/* What one instruction works on; registers and flags are copies until it has succeeded. */
struct run {
    const struct insn *insn;
    const struct insn_env *env;
    struct guest_regs regs;
    uint64_t rflags;
};

/* All ones in size bytes. */
static uint64_t mask_of(unsigned size)
{
    return ~0ull >> (64 - 8 * size);
}

static uint64_t sign_extend(uint64_t value, unsigned size)
{
    unsigned unused = 64 - 8 * size;

    return (uint64_t)((int64_t)(value << unused) >> unused);
}

static uint64_t swap_bytes(uint64_t value, unsigned size)
{
    return __builtin_bswap64(value) >> (64 - 8 * size);
}

/* As the processor writes a register: 32 bits clear the upper half, 8 and 16 keep the rest (SDM vol. 1, 3.4.1.1). */
static void write_register(uint64_t *reg, unsigned size, uint64_t value)
{
    if (size >= 4)
        *reg = value & mask_of(size);
    else
        *reg = (*reg & ~mask_of(size)) | (value & mask_of(size));
}

static uint64_t get_operand(const struct run *run)
{
    const struct insn *insn = run->insn;

    if (insn->has_imm)
        return insn->imm & mask_of(insn->mem_size);
    return run->regs.r[insn->reg] >> (insn->high_byte ? 8 : 0) & mask_of(insn->reg_size);
}

static void set_operand(struct run *run, uint64_t value)
{
    uint64_t *reg = &run->regs.r[run->insn->reg];

    if (run->insn->high_byte)
        *reg = (*reg & ~0xff00ull) | (value & 0xff) << 8;
    else
        write_register(reg, run->insn->reg_size, value);
}

static uint64_t dev_read(const struct run *run)
{
    return run->env->dev_read(run->env->ctx, run->insn->mem_size) & mask_of(run->insn->mem_size);
}

static void dev_write(const struct run *run, uint64_t value)
{
    run->env->dev_write(run->env->ctx, run->insn->mem_size, value & mask_of(run->insn->mem_size));
}

static void set_flags(struct run *run, uint64_t which, uint64_t flags)
{
    run->rflags = (run->rflags & ~which) | (flags & which);
}

/* ZF, SF and PF of a result of size bytes. */
static uint64_t result_flags(uint64_t result, unsigned size)
{
    uint64_t flags = __builtin_parity(result & 0xff) ? 0 : RFLAGS_PF;

    result &= mask_of(size);
    if (!result)
        flags |= RFLAGS_ZF;
    if (result >> (8 * size - 1))
        flags |= RFLAGS_SF;
    return flags;
}

/* CF, AF and OF from the carries out of each bit and the overflow in the sign bit, with the flags of the result. */
static uint64_t carry_flags(uint64_t carries, uint64_t overflow, uint64_t result, unsigned size)
{
    uint64_t flags = result_flags(result, size);
    unsigned sign = 8 * size - 1;

    if (carries >> sign & 1)
        flags |= RFLAGS_CF;
    if (carries >> 3 & 1)
        flags |= RFLAGS_AF;
    if (overflow >> sign & 1)
        flags |= RFLAGS_OF;
    return flags;
}

static uint64_t add(uint64_t a, uint64_t b, unsigned carry, unsigned size, uint64_t *flags)
{
    uint64_t r = a + b + carry;

    *flags = carry_flags((a & b) | ((a | b) & ~r), (a ^ r) & (b ^ r), r, size);
    return r;
}

static uint64_t subtract(uint64_t a, uint64_t b, unsigned borrow, unsigned size, uint64_t *flags)
{
    uint64_t r = a - b - borrow;

    *flags = carry_flags((~a & b) | ((~a | b) & r), (a ^ b) & (a ^ r), r, size);
    return r;
}

/* a op b with size bytes; sets the flags the operation changes. AF after the logical ones is undefined: cleared. */
static uint64_t alu(struct run *run, unsigned operation, uint64_t a, uint64_t b, unsigned size)
{
    unsigned carry = run->rflags & RFLAGS_CF ? 1 : 0;
    uint64_t changed = ARITHMETIC_FLAGS, flags, r;

    switch (operation) {
    case ALU_ADD: r = add(a, b, 0, size, &flags); break;
    case ALU_ADC: r = add(a, b, carry, size, &flags); break;
    case ALU_SUB:
    case ALU_CMP: r = subtract(a, b, 0, size, &flags); break;
    case ALU_SBB: r = subtract(a, b, carry, size, &flags); break;
    case ALU_NEG: r = subtract(0, a, 0, size, &flags); break;
    case ALU_INC: r = add(a, 1, 0, size, &flags); changed &= ~RFLAGS_CF; break;
    case ALU_DEC: r = subtract(a, 1, 0, size, &flags); changed &= ~RFLAGS_CF; break;
    case ALU_NOT: return ~a;
    case ALU_OR:  r = a | b; flags = result_flags(r, size); break;
    case ALU_XOR: r = a ^ b; flags = result_flags(r, size); break;
    default:      r = a & b; flags = result_flags(r, size); break;    /* and, test */
    }
    set_flags(run, changed, flags);
    return r;
}

static void run_read(struct run *run)
{
    const struct insn *insn = run->insn;
    uint64_t value = dev_read(run);

    if (insn->sign_extend)
        value = sign_extend(value, insn->mem_size);
    if (insn->swap)
        value = swap_bytes(value, insn->mem_size);
    set_operand(run, value);
}

static void run_write(struct run *run)
{
    uint64_t value = get_operand(run);

    dev_write(run, run->insn->swap ? swap_bytes(value, run->insn->mem_size) : value);
}

static void run_alu(struct run *run)
{
    const struct insn *insn = run->insn;
    uint64_t memory = dev_read(run), operand = get_operand(run), result;

    if (insn->mem_is_source) {
        result = alu(run, insn->alu, operand, memory, insn->mem_size);
        if (insn->alu != ALU_CMP)
            set_operand(run, result);
        return;
    }
    result = alu(run, insn->alu, memory, operand, insn->mem_size);
    if (insn_writes_memory(insn))
        dev_write(run, result);
}

static void run_xchg(struct run *run)
{
    uint64_t memory = dev_read(run);

    dev_write(run, get_operand(run));
    set_operand(run, memory);
}

/* Writes in either case: without a match what it read (SDM vol. 2, CMPXCHG). */
static void run_cmpxchg(struct run *run)
{
    unsigned size = run->insn->mem_size;
    uint64_t memory = dev_read(run);

    alu(run, ALU_CMP, run->regs.rax & mask_of(size), memory, size);
    if (run->rflags & RFLAGS_ZF) {
        dev_write(run, get_operand(run));
    } else {
        dev_write(run, memory);
        write_register(&run->regs.rax, size, memory);
    }
}

static void run_xadd(struct run *run)
{
    uint64_t memory = dev_read(run);

    dev_write(run, alu(run, ALU_ADD, memory, get_operand(run), run->insn->mem_size));
    set_operand(run, memory);
}

/* The exit's address already has the bit offset's upper part in it. Only CF is defined afterwards; ZF stays. */
static void run_bitop(struct run *run)
{
    const struct insn *insn = run->insn;
    uint64_t bit = BIT(get_operand(run) & (8 * insn->mem_size - 1)), memory = dev_read(run);

    set_flags(run, RFLAGS_CF, memory & bit ? RFLAGS_CF : 0);
    if (insn->alu == BITOP_BTS)
        dev_write(run, memory | bit);
    else if (insn->alu == BITOP_BTR)
        dev_write(run, memory & ~bit);
    else if (insn->alu == BITOP_BTC)
        dev_write(run, memory ^ bit);
}

static int run_push(struct run *run)
{
    const struct insn_env *env = run->env;
    unsigned size = run->insn->mem_size;
    uint64_t rsp = run->regs.r[REG_RSP] - size;
    int err = env->mem_write(env->ctx, SEG_SS, rsp & mask_of(env->stack_size), size, dev_read(run));

    if (!err)
        write_register(&run->regs.r[REG_RSP], env->stack_size, rsp);
    return err;
}

static uint64_t index_of(const struct run *run, unsigned reg)
{
    return run->regs.r[reg] & mask_of(run->insn->addr_size);
}

/* One element on, in the direction of DF. */
static void advance(struct run *run, unsigned reg)
{
    uint64_t step = run->rflags & RFLAGS_DF ? -(uint64_t)run->insn->mem_size : run->insn->mem_size;

    write_register(&run->regs.r[reg], run->insn->addr_size, run->regs.r[reg] + step);
}

static unsigned source_segment(const struct insn *insn)
{
    return insn->segment == INSN_NO_SEGMENT ? SEG_DS : insn->segment;
}

static int run_movs(struct run *run)
{
    const struct insn_env *env = run->env;
    unsigned size = run->insn->mem_size;
    uint64_t value;
    int err;

    if (env->device_is_write) {
        err = env->mem_read(env->ctx, source_segment(run->insn), index_of(run, REG_RSI), size, &value);
        if (err)
            return err;
        dev_write(run, value);
    } else {
        err = env->mem_write(env->ctx, SEG_ES, index_of(run, REG_RDI), size, dev_read(run));
        if (err)
            return err;
    }
    advance(run, REG_RSI);
    advance(run, REG_RDI);
    return 0;
}

/* Both operands by their addresses: the exit does not tell which of the two it was about. */
static int run_cmps(struct run *run)
{
    const struct insn_env *env = run->env;
    unsigned size = run->insn->mem_size;
    uint64_t a, b;
    int err = env->mem_read(env->ctx, source_segment(run->insn), index_of(run, REG_RSI), size, &a);

    if (!err)
        err = env->mem_read(env->ctx, SEG_ES, index_of(run, REG_RDI), size, &b);
    if (err)
        return err;
    alu(run, ALU_CMP, a & mask_of(size), b & mask_of(size), size);
    advance(run, REG_RSI);
    advance(run, REG_RDI);
    return 0;
}

/* stos, lods, scas: the register operand is rAX. */
static void run_string_rax(struct run *run)
{
    if (run->insn->kind == INSN_STOS)
        dev_write(run, get_operand(run));
    else if (run->insn->kind == INSN_LODS)
        set_operand(run, dev_read(run));
    else
        alu(run, ALU_CMP, get_operand(run), dev_read(run), run->insn->mem_size);
    advance(run, run->insn->kind == INSN_LODS ? REG_RSI : REG_RDI);
}

/* One iteration of a string form. */
static int run_string(struct run *run, bool *again)
{
    const struct insn *insn = run->insn;
    int err = 0;

    if (insn->rep && !index_of(run, REG_RCX))
        return 0;
    if (insn->kind == INSN_MOVS)
        err = run_movs(run);
    else if (insn->kind == INSN_CMPS)
        err = run_cmps(run);
    else
        run_string_rax(run);
    if (err || !insn->rep)
        return err;
    write_register(&run->regs.rcx, insn->addr_size, run->regs.rcx - 1);
    *again = index_of(run, REG_RCX) != 0;
    if (insn->kind == INSN_CMPS || insn->kind == INSN_SCAS)
        *again = *again && !!(run->rflags & RFLAGS_ZF) == insn->rep_while_equal;
    return 0;
}

int insn_execute(const struct insn *insn, struct guest_regs *regs, uint64_t *rflags, const struct insn_env *env,
                 bool *again)
{
    struct run run = { .insn = insn, .env = env, .regs = *regs, .rflags = *rflags };
    int err = 0;

    *again = false;
    if (env->device_is_write && !insn_writes_memory(insn))
        return -EINVAL;
    switch (insn->kind) {
    case INSN_READ:    run_read(&run); break;
    case INSN_WRITE:   run_write(&run); break;
    case INSN_ALU:     run_alu(&run); break;
    case INSN_XCHG:    run_xchg(&run); break;
    case INSN_CMPXCHG: run_cmpxchg(&run); break;
    case INSN_XADD:    run_xadd(&run); break;
    case INSN_BITOP:   run_bitop(&run); break;
    case INSN_PUSH:    err = run_push(&run); break;
    default:           err = run_string(&run, again); break;
    }
    if (err)
        return err;
    *regs = run.regs;
    *rflags = run.rflags;
    return 0;
}
