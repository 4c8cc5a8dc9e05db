/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <capstone/capstone.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/errno.h"
#include "vmx/decode.h"

/* Rows: bytes in hex, mode, and what must come out. Length is that of the string. */
struct row {
    const char *hex;
    enum code_size mode;
    enum insn_kind kind;
    uint8_t mem, reg_size, reg;
    uint8_t alu;
    /* h high byte, s sign, i immediate, l lock, m memory is source, b swap, r rep, e while equal, ! refused */
    const char *marks;
    uint64_t imm;
    uint8_t addr, segment;     /* 0 and 0: 8, none */
};

static const struct row rows[] = {
    { "8b07",                   CODE_64, INSN_READ,  4, 4, 0, 0, "m", 0, 0, 0 },
    { "8b8000000000",           CODE_64, INSN_READ,  4, 4, 0, 0, "m", 0, 0, 0 },
    { "448b4c2410",             CODE_64, INSN_READ,  4, 4, 9, 0, "m", 0, 0, 0 },
    { "488b0425000000fe",       CODE_64, INSN_READ,  8, 8, 0, 0, "m", 0, 0, 0 },
    { "8b0500e0dffe",           CODE_64, INSN_READ,  4, 4, 0, 0, "m", 0, 0, 0 },
    { "668b07",                 CODE_64, INSN_READ,  2, 2, 0, 0, "m", 0, 0, 0 },
    { "8a27",                   CODE_64, INSN_READ,  1, 1, 0, 0, "mh", 0, 0, 0 },
    { "408a27",                 CODE_64, INSN_READ,  1, 1, 4, 0, "m", 0, 0, 0 },
    { "8a3f",                   CODE_32, INSN_READ,  1, 1, 3, 0, "mh", 0, 4, 0 },
    { "8907",                   CODE_64, INSN_WRITE, 4, 4, 0, 0, "", 0, 0, 0 },
    { "4c8938",                 CODE_64, INSN_WRITE, 8, 8, 15, 0, "", 0, 0, 0 },
    { "8837",                   CODE_64, INSN_WRITE, 1, 1, 2, 0, "h", 0, 0, 0 },
    { "c70080000000",           CODE_64, INSN_WRITE, 4, 4, 0, 0, "i", 0x80, 0, 0 },
    { "48c700ffffffff",         CODE_64, INSN_WRITE, 8, 8, 0, 0, "i", ~0ull, 0, 0 },
    { "66c7003412",             CODE_64, INSN_WRITE, 2, 2, 0, 0, "i", 0x1234, 0, 0 },
    { "c600ff",                 CODE_64, INSN_WRITE, 1, 1, 0, 0, "i", ~0ull, 0, 0 },
    { "a1000000e0fe000000",     CODE_64, INSN_READ,  4, 4, 0, 0, "m", 0, 0, 0 },
    { "67a1f000e0fe",           CODE_64, INSN_READ,  4, 4, 0, 0, "m", 0, 4, 0 },
    { "a120e0e0fe",             CODE_32, INSN_READ,  4, 4, 0, 0, "m", 0, 4, 0 },
    { "a320e0e0fe",             CODE_32, INSN_WRITE, 4, 4, 0, 0, "", 0, 4, 0 },
    { "66a320e0e0fe",           CODE_32, INSN_WRITE, 2, 2, 0, 0, "", 0, 4, 0 },
    { "a2000000e0fe000000",     CODE_64, INSN_WRITE, 1, 1, 0, 0, "", 0, 0, 0 },
    { "48a3000000e0fe000000",   CODE_64, INSN_WRITE, 8, 8, 0, 0, "", 0, 0, 0 },
    { "a00004",                 CODE_16, INSN_READ,  1, 1, 0, 0, "m", 0, 2, 0 },
    { "6766a100000400",         CODE_16, INSN_READ,  4, 4, 0, 0, "m", 0, 4, 0 },
    { "8b0e3412",               CODE_16, INSN_READ,  2, 2, 1, 0, "m", 0, 2, 0 },
    { "8b4f12",                 CODE_16, INSN_READ,  2, 2, 1, 0, "m", 0, 2, 0 },
    { "8b8f3412",               CODE_16, INSN_READ,  2, 2, 1, 0, "m", 0, 2, 0 },
    { "268a05",                 CODE_16, INSN_READ,  1, 1, 0, 0, "m", 0, 2, 0x80 },
    { "2e8a03",                 CODE_32, INSN_READ,  1, 1, 0, 0, "m", 0, 4, 1 },
    { "368a03",                 CODE_32, INSN_READ,  1, 1, 0, 0, "m", 0, 4, 2 },
    { "3e8a03",                 CODE_64, INSN_READ,  1, 1, 0, 0, "m", 0, 0, 0 },
    { "658a05aabbccdd",         CODE_64, INSN_READ,  1, 1, 0, 0, "m", 0, 0, 5 },
    { "0fb607",                 CODE_64, INSN_READ,  1, 4, 0, 0, "m", 0, 0, 0 },
    { "480fb707",               CODE_64, INSN_READ,  2, 8, 0, 0, "m", 0, 0, 0 },
    { "660fbe07",               CODE_64, INSN_READ,  1, 2, 0, 0, "ms", 0, 0, 0 },
    { "0fbf07",                 CODE_32, INSN_READ,  2, 4, 0, 0, "ms", 0, 4, 0 },
    { "4863c0",                 CODE_64, INSN_READ,  0, 0, 0, 0, "!", 0, 0, 0 },
    { "486300",                 CODE_64, INSN_READ,  4, 8, 0, 0, "ms", 0, 0, 0 },
    { "6300",                   CODE_32, INSN_READ,  0, 0, 0, 0, "!", 0, 0, 0 },
    { "0f38f000",               CODE_64, INSN_READ,  4, 4, 0, 0, "mb", 0, 0, 0 },
    { "660f38f108",             CODE_64, INSN_WRITE, 2, 2, 1, 0, "b", 0, 0, 0 },
    { "f20f38f000",             CODE_64, INSN_READ,  0, 0, 0, 0, "!", 0, 0, 0 },
    { "480fc311",               CODE_64, INSN_WRITE, 8, 8, 2, 0, "", 0, 0, 0 },
    { "0fc304",                 CODE_16, INSN_WRITE, 4, 4, 0, 0, "", 0, 2, 0 },
    { "660fc311",               CODE_64, INSN_WRITE, 0, 0, 0, 0, "!", 0, 0, 0 },
    { "0107",                   CODE_64, INSN_ALU,   4, 4, 0, ALU_ADD, "", 0, 0, 0 },
    { "0b07",                   CODE_64, INSN_ALU,   4, 4, 0, ALU_OR, "m", 0, 0, 0 },
    { "3a27",                   CODE_64, INSN_ALU,   1, 1, 0, ALU_CMP, "mh", 0, 0, 0 },
    { "f083080f",               CODE_64, INSN_ALU,   4, 4, 0, ALU_OR, "il", 0xf, 0, 0 },
    { "832580e0fefeef",         CODE_64, INSN_ALU,   4, 4, 0, ALU_AND, "i", -17ull, 0, 0 },
    { "818f0000000000010000",   CODE_64, INSN_ALU,   4, 4, 0, ALU_OR, "i", 0x100, 0, 0 },
    { "66813f3412",             CODE_64, INSN_ALU,   2, 2, 0, ALU_CMP, "i", 0x1234, 0, 0 },
    { "80780480",               CODE_64, INSN_ALU,   1, 1, 0, ALU_CMP, "i", -128ull, 0, 0 },
    { "820701",                 CODE_32, INSN_ALU,   1, 1, 0, ALU_ADD, "i", 1, 4, 0 },
    { "820701",                 CODE_64, INSN_ALU,   0, 0, 0, 0, "!", 0, 0, 0 },
    { "f083380f",               CODE_64, INSN_ALU,   0, 0, 0, 0, "!", 0, 0, 0 },
    { "f0030f",                 CODE_64, INSN_ALU,   0, 0, 0, 0, "!", 0, 0, 0 },
    { "8507",                   CODE_64, INSN_ALU,   4, 4, 0, ALU_TEST, "", 0, 0, 0 },
    { "f6400401",               CODE_64, INSN_ALU,   1, 1, 0, ALU_TEST, "i", 1, 0, 0 },
    { "48f7000000ff7f",         CODE_64, INSN_ALU,   8, 8, 0, ALU_TEST, "i", 0x7fff0000, 0, 0 },
    { "f710",                   CODE_64, INSN_ALU,   4, 4, 0, ALU_NOT, "", 0, 0, 0 },
    { "f718",                   CODE_64, INSN_ALU,   4, 4, 0, ALU_NEG, "", 0, 0, 0 },
    { "f720",                   CODE_64, INSN_ALU,   0, 0, 0, 0, "!", 0, 0, 0 },
    { "fe00",                   CODE_64, INSN_ALU,   1, 1, 0, ALU_INC, "", 0, 0, 0 },
    { "48ff08",                 CODE_64, INSN_ALU,   8, 8, 0, ALU_DEC, "", 0, 0, 0 },
    { "ff10",                   CODE_64, INSN_ALU,   0, 0, 0, 0, "!", 0, 0, 0 },
    { "ff10",                   CODE_64, INSN_ALU,   0, 0, 0, 0, "!", 0, 0, 0 },
    { "ff30",                   CODE_64, INSN_PUSH,  8, 8, 0, 0, "", 0, 0, 0 },
    { "8707",                   CODE_64, INSN_XCHG,  4, 4, 0, 0, "", 0, 0, 0 },
    { "f00fb10f",               CODE_64, INSN_CMPXCHG, 4, 4, 1, 0, "l", 0, 0, 0 },
    { "480fc10f",               CODE_64, INSN_XADD,  8, 8, 1, 0, "", 0, 0, 0 },
    { "0fa307",                 CODE_64, INSN_BITOP, 4, 4, 0, BITOP_BT, "", 0, 0, 0 },
    { "f00fab07",               CODE_64, INSN_BITOP, 4, 4, 0, BITOP_BTS, "l", 0, 0, 0 },
    { "0fba3709",               CODE_64, INSN_BITOP, 4, 4, 0, BITOP_BTR, "i", 9, 0, 0 },
    { "0fbb07",                 CODE_64, INSN_BITOP, 4, 4, 0, BITOP_BTC, "", 0, 0, 0 },
    { "0fba1f09",               CODE_64, INSN_BITOP, 0, 0, 0, 0, "!", 0, 0, 0 },
    { "f3a5",                   CODE_64, INSN_MOVS,  4, 4, 0, 0, "re", 0, 0, 0 },
    { "67f348ab",               CODE_64, INSN_STOS,  8, 8, 0, 0, "re", 0, 4, 0 },
    { "f348ab",                 CODE_64, INSN_STOS,  8, 8, 0, 0, "re", 0, 0, 0 },
    { "aa",                     CODE_64, INSN_STOS,  1, 1, 0, 0, "", 0, 0, 0 },
    { "2e66ad",                 CODE_16, INSN_LODS,  4, 4, 0, 0, "m", 0, 2, 1 },
    { "f2ae",                   CODE_32, INSN_SCAS,  1, 1, 0, ALU_CMP, "mr", 0, 4, 0 },
    { "f3a6",                   CODE_32, INSN_CMPS,  1, 1, 0, ALU_CMP, "re", 0, 4, 0 },
    { "488b",                   CODE_64, INSN_READ,  0, 0, 0, 0, "!", 0, 0, 0 },
    { "c7000000",               CODE_64, INSN_READ,  0, 0, 0, 0, "!", 0, 0, 0 },
    { "8b04",                   CODE_64, INSN_READ,  0, 0, 0, 0, "!", 0, 0, 0 },
    { "0f",                     CODE_64, INSN_READ,  0, 0, 0, 0, "!", 0, 0, 0 },
    { "0f28",                   CODE_64, INSN_READ,  0, 0, 0, 0, "!", 0, 0, 0 },
    { "0f2807",                 CODE_64, INSN_READ,  0, 0, 0, 0, "!", 0, 0, 0 },
    { "c5f86f07",               CODE_64, INSN_READ,  0, 0, 0, 0, "!", 0, 0, 0 },
    { "8bc0",                   CODE_64, INSN_READ,  0, 0, 0, 0, "!", 0, 0, 0 },
    { "",                       CODE_64, INSN_READ,  0, 0, 0, 0, "!", 0, 0, 0 },
    { "6666666666666666666666666666668b07", CODE_64, INSN_READ, 0, 0, 0, 0, "!", 0, 0, 0 },
    { "666666666666666666666666668b07",     CODE_64, INSN_READ, 2, 2, 0, 0, "m", 0, 0, 0 },
    /* a REX that is not last does not count */
    { "48668b07",               CODE_64, INSN_READ,  2, 2, 0, 0, "m", 0, 0, 0 },
};

static size_t from_hex(const char *hex, uint8_t *bytes)
{
    size_t n = strlen(hex) / 2;

    for (size_t i = 0; i < n; i++) {
        unsigned byte;

        sscanf(hex + 2 * i, "%2x", &byte);
        bytes[i] = byte;
    }
    return n;
}

static bool marked(const struct row *row, char mark)
{
    return strchr(row->marks, mark) != NULL;
}

static void check_row(const struct row *row, const struct insn *insn, size_t length)
{
    uint8_t segment = row->segment == 0x80 ? 0 : row->segment ? row->segment : INSN_NO_SEGMENT;

    assert_int_equal(insn->length, length);
    assert_int_equal(insn->kind, row->kind);
    assert_int_equal(insn->mem_size, row->mem);
    assert_int_equal(insn->reg_size, row->reg_size);
    assert_int_equal(insn->reg, row->reg);
    assert_int_equal(insn->alu, row->alu);
    assert_int_equal(insn->high_byte, marked(row, 'h'));
    assert_int_equal(insn->sign_extend, marked(row, 's'));
    assert_int_equal(insn->has_imm, marked(row, 'i'));
    assert_int_equal(insn->lock, marked(row, 'l'));
    assert_int_equal(insn->mem_is_source, marked(row, 'm'));
    assert_int_equal(insn->swap, marked(row, 'b'));
    assert_int_equal(insn->rep, marked(row, 'r'));
    if (insn->rep)
        assert_int_equal(insn->rep_while_equal, marked(row, 'e'));
    assert_int_equal(insn->imm, row->imm);
    assert_int_equal(insn->addr_size, row->addr ? row->addr : 8);
    assert_int_equal(insn->segment, segment);
}

/* Decodes from a block of exactly n bytes, so that reading past it is seen. */
static int decode(const uint8_t *bytes, size_t n, enum code_size mode, struct insn *insn)
{
    uint8_t *exact = malloc(n ? n : 1);
    int err;

    memcpy(exact, bytes, n);
    err = insn_decode(exact, n, mode, insn);
    free(exact);
    return err;
}

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint8_t bytes[32];
        size_t n = from_hex(rows[i].hex, bytes);
        struct insn insn;
        int err = decode(bytes, n, rows[i].mode, &insn);

        if (err != (marked(&rows[i], '!') ? -EINVAL : 0))
            fail_msg("%s in mode %d: %d", rows[i].hex, rows[i].mode, err);
        if (!err)
            check_row(&rows[i], &insn, n);
        /* more bytes behind it change nothing, fewer are not enough */
        for (size_t more = 0; !err && more <= n; more++) {
            memset(bytes + n, 0xcc, sizeof(bytes) - n);
            assert_int_equal(decode(bytes, more, rows[i].mode, &insn), more == n ? 0 : -EINVAL);
        }
        if (!err) {
            assert_int_equal(decode(bytes, sizeof(bytes), rows[i].mode, &insn), 0);
            assert_int_equal(insn.length, n);
        }
    }
}

/* Against a disassembler. */

static const char *const mnemonics[] = {
    "mov", "movabs", "movzx", "movsx", "movsxd", "movbe", "movnti", "add", "or", "adc", "sbb", "and", "sub",
    "xor", "cmp", "test", "not", "neg", "inc", "dec", "xchg", "cmpxchg", "xadd", "bt", "bts", "btr", "btc",
    "movsb", "movsw", "movsd", "movsq", "cmpsb", "cmpsw", "cmpsd", "cmpsq", "stosb", "stosw", "stosd",
    "stosq", "push", "lodsb", "lodsw", "lodsd", "lodsq", "scasb", "scasw", "scasd", "scasq",
};

/* Which prefixes there are: counted like this because disassemblers see some of them differently. */
struct seen {
    bool operand, rep, lock;
};

static struct seen prefixes_seen(const uint8_t *bytes, enum code_size mode)
{
    struct seen seen = { 0 };

    for (unsigned i = 0; i < INSN_MAX; i++) {
        uint8_t byte = bytes[i];
        bool rex = mode == CODE_64 && (byte & 0xf0) == 0x40, segment = (byte & 0xe7) == 0x26 || (byte & 0xfe) == 0x64;

        if (byte == 0x66)
            seen.operand = true;
        else if (byte == 0xf2 || byte == 0xf3)
            seen.rep = true;
        else if (byte == 0xf0)
            seen.lock = true;
        else if (byte != 0x67 && !rex && !segment)
            break;
    }
    return seen;
}

static const cs_x86_op *memory_operand(const cs_insn *theirs)
{
    for (unsigned i = 0; i < theirs->detail->x86.op_count; i++)
        if (theirs->detail->x86.operands[i].type == X86_OP_MEM)
            return &theirs->detail->x86.operands[i];
    return NULL;
}

static const cs_x86_op *register_operand(const cs_insn *theirs)
{
    for (unsigned i = 0; i < theirs->detail->x86.op_count; i++)
        if (theirs->detail->x86.operands[i].type == X86_OP_REG)
            return &theirs->detail->x86.operands[i];
    return NULL;
}

/* Is it one of those that we must know? LOCK, F2, F3 where they are not allowed, and 66 with MOVNTI, we must not. */
static bool expected(const cs_insn *theirs, const struct seen *seen)
{
    const char *name = theirs->mnemonic, *space = strrchr(name, ' ');
    const cs_x86_op *reg = register_operand(theirs);

    if (!memory_operand(theirs) || seen->lock || seen->rep || (theirs->id == X86_INS_MOVNTI && seen->operand))
        return false;
    /* SSE's movsd and cmpsd, and moves from and to segment registers */
    if (reg && (reg->size > 8 || (reg->reg >= X86_REG_XMM0 && reg->reg <= X86_REG_XMM31)))
        return false;
    if (theirs->detail->x86.opcode[0] == 0x8c || theirs->detail->x86.opcode[0] == 0x8e)
        return false;
    name = space ? space + 1 : name;
    for (size_t i = 0; i < ARRAY_SIZE(mnemonics); i++)
        if (!strcmp(name, mnemonics[i]))
            return true;
    return false;
}

static const char *const names8[] = { "al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil" };
static const char *const names8h[] = { "ah", "ch", "dh", "bh" };
static const char *const names16[] = { "ax", "cx", "dx", "bx", "sp", "bp", "si", "di" };

static void register_name(const struct insn *insn, char *name, size_t size)
{
    static const char *const suffixes[] = { [1] = "b", [2] = "w", [4] = "d", [8] = "" };
    const char *low = names16[insn->reg & 7];

    if (insn->reg >= 8)
        snprintf(name, size, "r%d%s", insn->reg, suffixes[insn->reg_size]);
    else if (insn->high_byte)
        snprintf(name, size, "%s", names8h[insn->reg]);
    else if (insn->reg_size == 1)
        snprintf(name, size, "%s", names8[insn->reg]);
    else
        snprintf(name, size, "%s%s", insn->reg_size == 8 ? "r" : insn->reg_size == 4 ? "e" : "", low);
}

static void dump(const char *what, const uint8_t *bytes, enum code_size mode, const cs_insn *theirs)
{
    print_error("%s: mode %d:", what, mode);
    for (int i = 0; i < INSN_MAX; i++)
        print_error(" %02x", bytes[i]);
    print_error(" | %s %s, %u bytes\n", theirs ? theirs->mnemonic : "?", theirs ? theirs->op_str : "",
                theirs ? theirs->size : 0);
}

/* MOVSXD with no REX.W extends to 32 bits, with 66 from and to 16 (SDM vol. 2); the disassembler knows only 64. */
static bool short_movsxd(const struct insn *ours, const cs_insn *theirs)
{
    return theirs->id == X86_INS_MOVSXD && ours->reg_size < 8;
}

/* REX.W goes before 66 (SDM vol. 2, 2.2.1.2); the disassembler has it the other way round for PUSH. */
static bool wide_push(const struct insn *ours, const cs_insn *theirs)
{
    return theirs->id == X86_INS_PUSH && ours->mem_size == 8;
}

/* The disassembler's table of accesses is wrong for some, and silent on string forms. */
static bool direction_known(const struct insn *ours, const cs_insn *theirs)
{
    return ours->kind < INSN_MOVS && theirs->id != X86_INS_CMPXCHG && theirs->id != X86_INS_MOVNTI &&
           theirs->id != X86_INS_MOVBE && theirs->id != X86_INS_TEST;
}

/* What both say of one instruction; false, and a dump, where they differ. */
static bool agree(csh handle, const struct insn *ours, const uint8_t *bytes, enum code_size mode, const cs_insn *theirs)
{
    const cs_x86_op *memory = memory_operand(theirs), *reg = register_operand(theirs);
    char name[16];

    if (ours->length != theirs->size || !memory) {
        dump("length", bytes, mode, theirs);
        return false;
    }
    if (memory->size != ours->mem_size && !short_movsxd(ours, theirs) && !wide_push(ours, theirs)) {
        dump("memory size", bytes, mode, theirs);
        return false;
    }
    if (direction_known(ours, theirs) && !!(memory->access & CS_AC_WRITE) != insn_writes_memory(ours)) {
        dump("direction", bytes, mode, theirs);
        return false;
    }
    register_name(ours, name, sizeof(name));
    if (reg && ours->kind < INSN_MOVS && !short_movsxd(ours, theirs) && strcmp(cs_reg_name(handle, reg->reg), name)) {
        dump(name, bytes, mode, theirs);
        return false;
    }
    return true;
}

/* Bytes with prefixes, and more often than chance would have it opcodes of ours. */
static void random_bytes(uint8_t *bytes)
{
    static const uint8_t prefixes[] = { 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 };
    static const uint8_t escaped[] = {
        0xa3, 0xab, 0xb3, 0xbb, 0xba, 0xb0, 0xb1, 0xb6, 0xb7, 0xbe, 0xbf, 0xc0, 0xc1, 0xc3,
    };
    unsigned n = 0;

    for (unsigned i = 0; i < INSN_MAX; i++)
        bytes[i] = random();
    while (random() % 3 == 0 && n < 4)
        bytes[n++] = prefixes[random() % ARRAY_SIZE(prefixes)];
    if (random() % 2)
        bytes[n++] = 0x40 | random() % 16;
    if (random() % 3 == 0) {
        bytes[n++] = 0x0f;
        if (random() % 8 == 0) {
            bytes[n++] = 0x38;
            bytes[n++] = 0xf0 | random() % 2;
        } else if (random() % 4) {
            bytes[n++] = escaped[random() % ARRAY_SIZE(escaped)];
        }
    }
}

/* One random instruction by both; counts it in accepted if we take it. False where they differ. */
static bool compare(csh handle, enum code_size mode, unsigned *accepted)
{
    uint8_t bytes[INSN_MAX];
    struct insn ours;
    struct seen seen;
    cs_insn *theirs = NULL;
    bool same = true;
    size_t count;
    int err;

    random_bytes(bytes);
    seen = prefixes_seen(bytes, mode);
    if (seen.operand && seen.rep)      /* the disassembler forgets 66 then */
        return true;
    err = decode(bytes, sizeof(bytes), mode, &ours);
    count = cs_disasm(handle, bytes, sizeof(bytes), 0, 1, &theirs);
    if (!err && count) {
        same = agree(handle, &ours, bytes, mode, theirs);
        ++*accepted;
    } else if (!err) {
        dump("refused by them", bytes, mode, NULL);
        same = false;
    } else if (count && expected(theirs, &seen)) {
        dump("refused by us", bytes, mode, theirs);
        same = false;
    }
    cs_free(theirs, count);
    return same;
}

static void run_against_disassembler(enum code_size mode, unsigned turns)
{
    static const cs_mode modes[] = { CS_MODE_16, CS_MODE_32, CS_MODE_64 };
    unsigned accepted = 0, wrong = 0;
    csh handle;

    assert_int_equal(cs_open(CS_ARCH_X86, modes[mode], &handle), CS_ERR_OK);
    cs_option(handle, CS_OPT_DETAIL, CS_OPT_ON);
    srandom(mode + 1);
    for (unsigned i = 0; i < turns; i++)
        wrong += !compare(handle, mode, &accepted);
    cs_close(&handle);
    assert_int_equal(wrong, 0);
    assert_true(accepted > turns / 10);
}

static void test_disassembler_16(void **state)
{
    (void)state;
    run_against_disassembler(CODE_16, 300000);
}

static void test_disassembler_32(void **state)
{
    (void)state;
    run_against_disassembler(CODE_32, 300000);
}

static void test_disassembler_64(void **state)
{
    (void)state;
    run_against_disassembler(CODE_64, 300000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_disassembler_16),
        cmocka_unit_test(test_disassembler_32),
        cmocka_unit_test(test_disassembler_64),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
