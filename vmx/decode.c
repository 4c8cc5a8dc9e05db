/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/errno.h"
#include "vmx/decode.h"

/* Bits of a REX prefix (SDM vol. 2, 2.2.1.2). */
enum { REX_R = 4, REX_W = 8 };

/* The bytes, and where we are. Past the end are zeros, and overrun is set: looked at once when all is decoded. */
struct cursor {
    const uint8_t *bytes;
    size_t n, at;
    bool overrun;
};

struct prefixes {
    bool operand, address, lock, repne, repe;
    uint8_t rex, segment;
};

enum form_flags {
    F_MODRM = 1,               /* has ModRM, which must name memory */
    F_SIZED = 2,               /* bit 0 of the opcode clear: bytes */
    F_LOAD = 4,                /* the register is the destination */
    F_IMM = 8,                 /* immediate of the operand's size, at most 4 bytes */
    F_IMM8 = 16,               /* immediate byte, sign-extended */
    F_MOFFS = 32,              /* an address instead of ModRM; the register is rAX */
    F_STRING = 64,             /* no ModRM; the register is rAX */
    F_LOCKABLE = 128,
    F_NOT_64 = 256,
    F_ONLY_64 = 512,
    F_NO_REP = 1024,           /* F2 and F3 make it another instruction */
    F_NO_16 = 2048,            /* operands of 4 or 8 bytes; 66 is not allowed */
    F_EXTEND = 4096,           /* memory of 1 or 2 bytes by bit 0 of the opcode, the register of the operand's size */
    F_SIGNED = 8192,
    F_SWAP = 16384,
};

/* Where the operation is not fixed by the row. */
enum { BY_OPCODE = 0x20 /* bits 5:3 */, BY_DIGIT, GROUP_3 /* F6, F7 */, GROUP_5 /* FF */ };

/* One row per opcode family: opcode & mask == match. If ModRM's reg field selects too, digits has its legal values. */
struct form {
    uint8_t match, mask, kind, operation;
    uint16_t flags;
    uint8_t digits;
};

#define DIGITS(first, last) ((uint8_t)((2 << (last)) - (1 << (first))))

static const struct form one_byte[] = {
    { 0x00, 0xc6, INSN_ALU,   BY_OPCODE, F_MODRM | F_SIZED | F_LOCKABLE, 0 },
    { 0x02, 0xc6, INSN_ALU,   BY_OPCODE, F_MODRM | F_SIZED | F_LOAD, 0 },
    { 0x63, 0xff, INSN_READ,  0,         F_MODRM | F_LOAD | F_SIGNED | F_ONLY_64, 0 },
    { 0x80, 0xfe, INSN_ALU,   BY_DIGIT,  F_MODRM | F_SIZED | F_IMM | F_LOCKABLE, DIGITS(0, 7) },
    { 0x82, 0xff, INSN_ALU,   BY_DIGIT,  F_MODRM | F_SIZED | F_IMM8 | F_LOCKABLE | F_NOT_64, DIGITS(0, 7) },
    { 0x83, 0xff, INSN_ALU,   BY_DIGIT,  F_MODRM | F_SIZED | F_IMM8 | F_LOCKABLE, DIGITS(0, 7) },
    { 0x84, 0xfe, INSN_ALU,   ALU_TEST,  F_MODRM | F_SIZED, 0 },
    { 0x86, 0xfe, INSN_XCHG,  0,         F_MODRM | F_SIZED | F_LOCKABLE, 0 },
    { 0x88, 0xfe, INSN_WRITE, 0,         F_MODRM | F_SIZED, 0 },
    { 0x8a, 0xfe, INSN_READ,  0,         F_MODRM | F_SIZED | F_LOAD, 0 },
    { 0xa0, 0xfe, INSN_READ,  0,         F_MOFFS | F_SIZED | F_LOAD, 0 },
    { 0xa2, 0xfe, INSN_WRITE, 0,         F_MOFFS | F_SIZED, 0 },
    { 0xa4, 0xfe, INSN_MOVS,  0,         F_STRING | F_SIZED, 0 },
    { 0xa6, 0xfe, INSN_CMPS,  ALU_CMP,   F_STRING | F_SIZED, 0 },
    { 0xaa, 0xfe, INSN_STOS,  0,         F_STRING | F_SIZED, 0 },
    { 0xac, 0xfe, INSN_LODS,  0,         F_STRING | F_SIZED | F_LOAD, 0 },
    { 0xae, 0xfe, INSN_SCAS,  ALU_CMP,   F_STRING | F_SIZED | F_LOAD, 0 },
    { 0xc6, 0xfe, INSN_WRITE, 0,         F_MODRM | F_SIZED | F_IMM, DIGITS(0, 0) },
    { 0xf6, 0xfe, INSN_ALU,   GROUP_3,   F_MODRM | F_SIZED | F_LOCKABLE, DIGITS(0, 3) },
    { 0xfe, 0xff, INSN_ALU,   BY_DIGIT,  F_MODRM | F_SIZED | F_LOCKABLE, DIGITS(0, 1) },
    { 0xff, 0xff, INSN_ALU,   GROUP_5,   F_MODRM | F_LOCKABLE, DIGITS(0, 1) | DIGITS(6, 6) },
};

/* After 0F. */
static const struct form two_byte[] = {
    { 0xa3, 0xff, INSN_BITOP,   BITOP_BT,  F_MODRM, 0 },
    { 0xab, 0xff, INSN_BITOP,   BITOP_BTS, F_MODRM | F_LOCKABLE, 0 },
    { 0xb3, 0xff, INSN_BITOP,   BITOP_BTR, F_MODRM | F_LOCKABLE, 0 },
    { 0xbb, 0xff, INSN_BITOP,   BITOP_BTC, F_MODRM | F_LOCKABLE, 0 },
    { 0xba, 0xff, INSN_BITOP,   BY_DIGIT,  F_MODRM | F_IMM8 | F_LOCKABLE, DIGITS(4, 7) },
    { 0xb0, 0xfe, INSN_CMPXCHG, 0,         F_MODRM | F_SIZED | F_LOCKABLE, 0 },
    { 0xb6, 0xfe, INSN_READ,    0,         F_MODRM | F_LOAD | F_EXTEND, 0 },
    { 0xbe, 0xfe, INSN_READ,    0,         F_MODRM | F_LOAD | F_EXTEND | F_SIGNED, 0 },
    { 0xc0, 0xfe, INSN_XADD,    0,         F_MODRM | F_SIZED | F_LOCKABLE, 0 },
    { 0xc3, 0xff, INSN_WRITE,   0,         F_MODRM | F_NO_REP | F_NO_16, 0 },
};

/* After 0F 38: movbe. */
static const struct form three_byte[] = {
    { 0xf0, 0xff, INSN_READ,  0, F_MODRM | F_LOAD | F_SWAP | F_NO_REP, 0 },
    { 0xf1, 0xff, INSN_WRITE, 0, F_MODRM | F_SWAP | F_NO_REP, 0 },
};

static uint8_t fetch8(struct cursor *c)
{
    if (c->at >= c->n) {
        c->overrun = true;
        return 0;
    }
    return c->bytes[c->at++];
}

/* Little endian, sign-extended; size 1 2 4 8. */
static uint64_t fetch(struct cursor *c, unsigned size)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)fetch8(c) << 8 * i;
    return size < 8 && value >> (8 * size - 1) ? value | ~0ull << 8 * size : value;
}

/* Numbers of the segment whose override prefix this is, else INSN_NO_SEGMENT. */
static uint8_t segment_of(uint8_t byte)
{
    if ((byte & 0xe7) == 0x26)
        return byte >> 3 & 3;
    return byte == 0x64 ? 4 : byte == 0x65 ? 5 : INSN_NO_SEGMENT;
}

/* True if byte was a legacy prefix and is noted. */
static bool legacy_prefix(struct prefixes *p, uint8_t byte, enum code_size mode)
{
    uint8_t segment = segment_of(byte);

    if (segment != INSN_NO_SEGMENT) {
        if (mode != CODE_64 || segment >= 4)   /* 64-bit code ignores the overrides of ES CS SS DS */
            p->segment = segment;
        return true;
    }
    switch (byte) {
    case 0x66: p->operand = true; return true;
    case 0x67: p->address = true; return true;
    case 0xf0: p->lock = true; return true;
    case 0xf2: p->repne = true; p->repe = false; return true;
    case 0xf3: p->repe = true; p->repne = false; return true;
    default: return false;
    }
}

/* All prefixes; returns the first byte of the opcode. A REX counts only right before it. */
static uint8_t fetch_prefixes(struct cursor *c, struct prefixes *p, enum code_size mode)
{
    *p = (struct prefixes){ .segment = INSN_NO_SEGMENT };
    while (!c->overrun) {
        uint8_t byte = fetch8(c);

        if (legacy_prefix(p, byte, mode))
            p->rex = 0;
        else if (mode == CODE_64 && (byte & 0xf0) == 0x40)
            p->rex = byte;
        else
            return byte;
    }
    return 0;
}

static const struct form *find_form(const struct form *forms, size_t count, uint8_t opcode)
{
    for (size_t i = 0; i < count; i++)
        if ((opcode & forms[i].mask) == forms[i].match)
            return &forms[i];
    return NULL;
}

/* The form of the opcode that begins with *opcode; *opcode becomes its last byte. */
static const struct form *fetch_form(struct cursor *c, uint8_t *opcode)
{
    if (*opcode != 0x0f)
        return find_form(one_byte, ARRAY_SIZE(one_byte), *opcode);
    *opcode = fetch8(c);
    if (*opcode != 0x38)
        return find_form(two_byte, ARRAY_SIZE(two_byte), *opcode);
    *opcode = fetch8(c);
    return find_form(three_byte, ARRAY_SIZE(three_byte), *opcode);
}

/* Skips what follows a ModRM byte that names memory (SDM vol. 2, tables 2-1 to 2-3). */
static void skip_address(struct cursor *c, uint8_t modrm, unsigned addr_size)
{
    unsigned mod = modrm >> 6, rm = modrm & 7, displacement = mod == 1;

    if (addr_size == 2) {
        if (mod == 2 || (mod == 0 && rm == 6))
            displacement = 2;
    } else {
        unsigned base = rm == 4 ? fetch8(c) & 7 : rm;

        if (mod == 2 || (mod == 0 && base == 5))
            displacement = 4;
    }
    if (displacement)
        fetch(c, displacement);
}

static void set_register(struct insn *insn, const struct prefixes *p, unsigned digit)
{
    insn->reg = digit | (p->rex & REX_R ? 8 : 0);
    if (insn->reg_size == 1 && !p->rex && digit >= 4) {
        insn->reg = digit - 4;
        insn->high_byte = true;
    }
}

/* Which of a family's operations it is; returns further form flags. */
static uint16_t set_operation(struct insn *insn, const struct form *form, uint8_t opcode, unsigned digit)
{
    static const uint8_t group_3[] = { ALU_TEST, ALU_TEST, ALU_NOT, ALU_NEG };

    insn->alu = form->operation;
    if (form->operation == GROUP_3) {
        insn->alu = group_3[digit];
        return insn->alu == ALU_TEST ? F_IMM : 0;
    }
    if (form->operation == GROUP_5) {
        if (digit == 6)
            insn->kind = INSN_PUSH;
        insn->alu = digit == 6 ? 0 : ALU_INC + digit;
        return 0;
    }
    if (form->operation == BY_OPCODE)
        insn->alu = opcode >> 3;
    else if (form->operation == BY_DIGIT && form->kind == INSN_BITOP)
        insn->alu = digit - 4;
    else if (form->operation == BY_DIGIT)
        insn->alu = opcode >= 0xfe ? ALU_INC + digit : digit;
    return 0;
}

/* Sizes of the operands: one for both, but for the moves that extend. */
static void set_sizes(struct insn *insn, uint16_t flags, uint8_t opcode, unsigned operand)
{
    if (flags & F_NO_16)
        operand = MAX(operand, 4u);
    insn->reg_size = insn->mem_size = flags & F_SIZED && !(opcode & 1) ? 1 : operand;
    insn->sign_extend = flags & F_SIGNED;
    insn->swap = flags & F_SWAP;
    if (flags & F_EXTEND)
        insn->mem_size = opcode & 1 ? 2 : 1;
    else if (flags & F_SIGNED)
        insn->mem_size = MIN(operand, 4);      /* movsxd */
}

/* Prefixes that make it another instruction or undefined. */
static bool legal(const struct form *form, const struct prefixes *p, enum code_size mode)
{
    if (form->flags & F_NOT_64 && mode == CODE_64)
        return false;
    if (form->flags & F_ONLY_64 && mode != CODE_64)
        return false;
    if (form->flags & F_NO_REP && (p->repe || p->repne))
        return false;
    if (form->flags & F_NO_16 && p->operand)
        return false;
    return form->flags & F_LOCKABLE || !p->lock;
}

static unsigned operand_size(const struct prefixes *p, enum code_size mode)
{
    if (p->rex & REX_W)
        return 8;
    return (mode == CODE_16) != p->operand ? 2 : 4;
}

static unsigned address_size(const struct prefixes *p, enum code_size mode)
{
    if (mode == CODE_64)
        return p->address ? 4 : 8;
    return (mode == CODE_16) != p->address ? 2 : 4;
}

/* Everything behind the opcode. */
static int decode_operands(struct cursor *c, struct insn *insn, const struct form *form, uint8_t opcode,
                           const struct prefixes *p)
{
    unsigned digit = 0;
    uint16_t flags = form->flags;

    if (flags & F_MODRM) {
        uint8_t modrm = fetch8(c);

        digit = modrm >> 3 & 7;
        if (modrm >> 6 == 3 || (form->digits && !(form->digits >> digit & 1)))
            return -EINVAL;
        skip_address(c, modrm, insn->addr_size);
        if (!form->digits)
            set_register(insn, p, digit);
    } else if (flags & F_MOFFS) {
        fetch(c, insn->addr_size);
    }
    flags |= set_operation(insn, form, opcode, digit);
    if (flags & (F_IMM | F_IMM8)) {
        insn->has_imm = true;
        insn->imm = fetch(c, flags & F_IMM8 ? 1 : MIN(insn->mem_size, 4));
    }
    return p->lock && !insn_writes_memory(insn) ? -EINVAL : 0;
}

int insn_decode(const uint8_t *bytes, size_t n, enum code_size mode, struct insn *out)
{
    struct cursor c = { .bytes = bytes, .n = MIN(n, (size_t)INSN_MAX) };
    struct prefixes p;
    uint8_t opcode = fetch_prefixes(&c, &p, mode);
    const struct form *form = fetch_form(&c, &opcode);
    int err;

    if (!form || !legal(form, &p, mode))
        return -EINVAL;
    *out = (struct insn){
        .kind = form->kind, .segment = p.segment, .addr_size = address_size(&p, mode), .lock = p.lock,
        .mem_is_source = form->flags & F_LOAD,
        .rep = form->flags & F_STRING && (p.repe || p.repne), .rep_while_equal = p.repe,
    };
    set_sizes(out, form->flags, opcode, operand_size(&p, mode));
    err = decode_operands(&c, out, form, opcode, &p);
    if (err || c.overrun)
        return -EINVAL;
    if (out->kind == INSN_PUSH && mode == CODE_64 && out->mem_size == 4)
        out->reg_size = out->mem_size = 8;
    out->length = c.at;
    return 0;
}

bool insn_writes_memory(const struct insn *insn)
{
    switch (insn->kind) {
    case INSN_READ:
    case INSN_PUSH:
    case INSN_CMPS:
    case INSN_LODS:
    case INSN_SCAS:
        return false;
    case INSN_ALU:
        return !insn->mem_is_source && insn->alu != ALU_CMP && insn->alu != ALU_TEST;
    case INSN_BITOP:
        return insn->alu != BITOP_BT;
    default:
        return true;
    }
}
