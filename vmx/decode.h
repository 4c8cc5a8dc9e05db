/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"
#include "vmx/regs.h"

/* How the guest's code segment makes it read instructions. */
enum code_size { CODE_16, CODE_32, CODE_64 };

#define INSN_MAX 15

enum insn_kind {
    INSN_READ,                 /* mov, movzx, movsx, movsxd, movbe: register = memory */
    INSN_WRITE,                /* mov, movnti, movbe: memory = register or immediate */
    INSN_ALU,                  /* enum insn_alu; the other operand is an immediate, a register, or none */
    INSN_XCHG,
    INSN_CMPXCHG,
    INSN_XADD,
    INSN_BITOP,                /* enum insn_bitop */
    INSN_PUSH,                 /* memory to the stack: how compilers pass a device's register in 32-bit code */
    INSN_MOVS,                 /* from here on the string forms, with or without rep */
    INSN_CMPS,
    INSN_STOS,
    INSN_LODS,
    INSN_SCAS,
};

/* Operations of INSN_ALU: the first eight as the instruction set numbers them. */
enum insn_alu {
    ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP,
    ALU_TEST, ALU_NOT, ALU_NEG, ALU_INC, ALU_DEC
};

/* Operations of INSN_BITOP: bits 4:3 of the opcode. */
enum insn_bitop { BITOP_BT, BITOP_BTS, BITOP_BTR, BITOP_BTC };

#define INSN_NO_SEGMENT 0xff

/* One instruction that touches memory, as far as device emulation needs it: where the memory is, the VM exit tells. */
struct insn {
    enum insn_kind kind;
    uint8_t length;            /* bytes */
    uint8_t mem_size;          /* bytes of the memory operand: 1 2 4 8 */
    uint8_t reg_size;          /* bytes of the register operand */
    uint8_t reg;               /* register number; with high_byte 0-3 are AH CH DH BH */
    uint8_t alu;               /* enum insn_alu or enum insn_bitop */
    bool high_byte, sign_extend, has_imm, lock;
    bool mem_is_source;        /* the register is the destination, memory is only read */
    bool swap;                 /* movbe */
    bool rep, rep_while_equal; /* string forms; scas and cmps go on while ZF is rep_while_equal */
    uint8_t addr_size;         /* 2 4 8: of RSI, RDI and RCX in string forms */
    uint8_t segment;           /* override (ES CS SS DS FS GS = 0-5), or INSN_NO_SEGMENT */
    uint64_t imm;              /* sign-extended */
};

/*
 * Decodes bytes[0..n), n of any size; what lies behind the first 15 is not looked at. -EINVAL: not an instruction that
 * can be emulated here (no memory operand, jumps, other stack operations, shifts, multiplications, x87, SSE, AVX), or
 * the bytes end too early; *out is then undefined. Never reads past n.
 */
int insn_decode(const uint8_t *bytes, size_t n, enum code_size mode, struct insn *out);

/* True if the memory operand (the one the VM exit is about) is written, alone or after it was read. */
bool insn_writes_memory(const struct insn *insn);

struct insn_env {
    void *ctx;
    /* The memory operand that is the device, size 1 2 4 8; bits of the result above size are ignored. */
    uint64_t (*dev_read)(void *ctx, unsigned size);
    void (*dev_write)(void *ctx, unsigned size, uint64_t value);
    /*
     * The other memory operand of MOVS and PUSH, both of CMPS: seg 0-5, offset cut to the address size. It may be
     * RAM or a device again (text scrolled within a frame buffer). Errors are passed up.
     */
    int (*mem_read)(void *ctx, unsigned seg, uint64_t offset, unsigned size, uint64_t *value);
    int (*mem_write)(void *ctx, unsigned seg, uint64_t offset, unsigned size, uint64_t value);
    unsigned stack_size;       /* bytes of the stack pointer: 2 4 8 */
    bool device_is_write;      /* the exit was for a write: the device is MOVS's destination, not its source */
};

/*
 * Runs an instruction that insn_decode returned: dev_read and dev_write are called exactly as often as hardware would
 * access the operand. Updates registers and arithmetic flags as in hardware; RIP is the caller's: it moves by
 * insn->length unless *again. String forms do one iteration, *again tells that rep goes on.
 * An error of mem_read or mem_write is returned with registers and flags untouched. -EINVAL: the exit was for a write
 * but the instruction only reads, so it cannot have caused it: nothing was done.
 */
int insn_execute(const struct insn *insn, struct guest_regs *regs, uint64_t *rflags, const struct insn_env *env,
                 bool *again);
