/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <cpuid.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "arch/x86/crbits.h"
#include "lib/errno.h"
#include "vmx/decode.h"
#include "vmx/vmcs.h"

/*
 * The same instruction, registers and memory are given to the processor the test runs on and to insn_execute, and must
 * come out the same. The stub below loads the registers (not rsp and rbp), runs what is in its slot, and stores them.
 */
extern const uint8_t stub_begin[], stub_slot[], stub_end[];

__asm__(".pushsection .rodata\n"
        "stub_begin:\n"
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "mov %rdi, %rbp\n"
        "pushq 128(%rbp); popfq\n"
        "mov (%rbp), %rax; mov 8(%rbp), %rcx; mov 16(%rbp), %rdx; mov 24(%rbp), %rbx\n"
        "mov 48(%rbp), %rsi; mov 56(%rbp), %rdi; mov 64(%rbp), %r8; mov 72(%rbp), %r9\n"
        "mov 80(%rbp), %r10; mov 88(%rbp), %r11; mov 96(%rbp), %r12; mov 104(%rbp), %r13\n"
        "mov 112(%rbp), %r14; mov 120(%rbp), %r15\n"
        "stub_slot:\n"
        ".skip 15, 0x90\n"
        "mov %rax, (%rbp); mov %rcx, 8(%rbp); mov %rdx, 16(%rbp); mov %rbx, 24(%rbp)\n"
        "mov %rsi, 48(%rbp); mov %rdi, 56(%rbp); mov %r8, 64(%rbp); mov %r9, 72(%rbp)\n"
        "mov %r10, 80(%rbp); mov %r11, 88(%rbp); mov %r12, 96(%rbp); mov %r13, 104(%rbp)\n"
        "mov %r14, 112(%rbp); mov %r15, 120(%rbp)\n"
        "pushfq; popq 128(%rbp)\n"
        "cld\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "ret\n"
        "stub_end:\n"
        ".popsection\n");

#define ARITHMETIC (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)
#define MEMORY 256u

struct machine {
    struct guest_regs regs;
    uint64_t rflags;
};

static uint8_t *stub;          /* executable copy */
static uint8_t *real_memory;   /* below 4 GiB, so that 32-bit addresses reach it */

static int setup(void **state)
{
    (void)state;
    stub = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    real_memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (stub == MAP_FAILED || real_memory == MAP_FAILED)
        return -1;
    memcpy(stub, stub_begin, stub_end - stub_begin);
    srandom(7);
    return 0;
}

static void run_real(struct machine *m, const uint8_t *code, size_t n)
{
    uint8_t *slot = stub + (stub_slot - stub_begin);
    void (*enter)(struct machine *);

    memset(slot, 0x90, INSN_MAX);
    memcpy(slot, code, n);
    memcpy(&enter, &stub, sizeof(enter));
    enter(m);
}

/* The emulated side: the same memory as a copy, at the same addresses; the device's operand is at dev. */
struct world {
    uint8_t memory[MEMORY];
    uint64_t dev;
    unsigned reads, writes;
    unsigned segments;         /* those that mem_read was asked for, one digit each */
    int error;                 /* what mem_read and mem_write give */
};

static uint8_t *at(struct world *w, uint64_t address, unsigned size)
{
    uint64_t offset = address - (uintptr_t)real_memory;

    assert_true(offset + size <= MEMORY);
    return w->memory + offset;
}

/* With rubbish above the size, which must not matter. */
static uint64_t dev_read(void *ctx, unsigned size)
{
    struct world *w = ctx;
    uint64_t value = 0xa5a5a5a5a5a5a5a5;

    memcpy(&value, at(w, w->dev, size), size);
    w->reads++;
    return value;
}

static void dev_write(void *ctx, unsigned size, uint64_t value)
{
    struct world *w = ctx;

    assert_true(size == 8 || value >> 8 * size == 0);
    memcpy(at(w, w->dev, size), &value, size);
    w->writes++;
}

static int mem_read(void *ctx, unsigned seg, uint64_t offset, unsigned size, uint64_t *value)
{
    struct world *w = ctx;

    w->segments = w->segments * 10 + seg;
    *value = 0xa5a5a5a5a5a5a5a5;
    memcpy(value, at(w, offset, size), size);
    return w->error;
}

static int mem_write(void *ctx, unsigned seg, uint64_t offset, unsigned size, uint64_t value)
{
    struct world *w = ctx;

    assert_true(seg == SEG_ES || seg == SEG_SS);
    if (!w->error)
        memcpy(at(w, offset, size), &value, size);
    return w->error;
}

static struct insn_env env_of(struct world *w, bool write)
{
    return (struct insn_env){ .ctx = w, .dev_read = dev_read, .dev_write = dev_write, .mem_read = mem_read,
                              .mem_write = mem_write, .stack_size = 8, .device_is_write = write };
}

/* Values where carries, signs and zeros happen more often than by chance. */
static uint64_t random_value(void)
{
    static const uint64_t edges[] = {
        0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
        0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff,
    };
    uint64_t v = (uint64_t)random() << 42 ^ (uint64_t)random() << 21 ^ random();

    switch (random() % 4) {
    case 0: return v;
    case 1: return v & 0x0f0f0f0f0f0f0f0f;
    default: return edges[random() % ARRAY_SIZE(edges)];
    }
}

static void random_machine(struct machine *m, struct world *w)
{
    for (unsigned i = 0; i < 16; i++)
        m->regs.r[i] = random_value();
    for (unsigned i = 0; i < MEMORY; i += 8)
        ((uint64_t *)real_memory)[i / 8] = random_value();
    memcpy(w->memory, real_memory, MEMORY);
    m->rflags = RFLAGS_FIXED | RFLAGS_IF | (random() & ARITHMETIC);
    w->reads = w->writes = 0;
    w->error = 0;
}

/* A family of encodings: opcode, ModRM's reg field (-1: any register), size of the immediate ('z': the operand's). */
struct family {
    uint8_t bytes[3], n;
    int8_t digit;
    char imm;
    bool byte, lockable, ordinary;     /* operates on bytes; may have LOCK; not MOVNTI, which has no 66 */
    uint64_t undefined;                /* flags */
};

#define LOGIC RFLAGS_AF
#define BITS (RFLAGS_PF | RFLAGS_AF | RFLAGS_SF | RFLAGS_OF)
#define ALU_FAMILY(op, undef) \
    { { (op) << 3 },     1, -1, 0,   true,  (op) != ALU_CMP, true, undef }, \
    { { (op) << 3 | 1 }, 1, -1, 0,   false, (op) != ALU_CMP, true, undef }, \
    { { (op) << 3 | 2 }, 1, -1, 0,   true,  false,           true, undef }, \
    { { (op) << 3 | 3 }, 1, -1, 0,   false, false,           true, undef }, \
    { { 0x80 },          1, op, 1,   true,  (op) != ALU_CMP, true, undef }, \
    { { 0x81 },          1, op, 'z', false, (op) != ALU_CMP, true, undef }, \
    { { 0x83 },          1, op, 1,   false, (op) != ALU_CMP, true, undef }

static const struct family families[] = {
    ALU_FAMILY(ALU_ADD, 0), ALU_FAMILY(ALU_OR, LOGIC), ALU_FAMILY(ALU_ADC, 0), ALU_FAMILY(ALU_SBB, 0),
    ALU_FAMILY(ALU_AND, LOGIC), ALU_FAMILY(ALU_SUB, 0), ALU_FAMILY(ALU_XOR, LOGIC), ALU_FAMILY(ALU_CMP, 0),
    { { 0x84 }, 1, -1, 0, true, false, true, LOGIC }, { { 0x85 }, 1, -1, 0, false, false, true, LOGIC },
    { { 0xf6 }, 1, 0, 1, true, false, true, LOGIC },  { { 0xf7 }, 1, 0, 'z', false, false, true, LOGIC },
    { { 0xf6 }, 1, 2, 0, true, true, true, 0 },       { { 0xf7 }, 1, 2, 0, false, true, true, 0 },
    { { 0xf6 }, 1, 3, 0, true, true, true, 0 },       { { 0xf7 }, 1, 3, 0, false, true, true, 0 },
    { { 0xfe }, 1, 0, 0, true, true, true, 0 },       { { 0xff }, 1, 0, 0, false, true, true, 0 },
    { { 0xfe }, 1, 1, 0, true, true, true, 0 },       { { 0xff }, 1, 1, 0, false, true, true, 0 },
    { { 0x86 }, 1, -1, 0, true, true, true, 0 },      { { 0x87 }, 1, -1, 0, false, true, true, 0 },
    { { 0x88 }, 1, -1, 0, true, false, true, 0 },     { { 0x89 }, 1, -1, 0, false, false, true, 0 },
    { { 0x8a }, 1, -1, 0, true, false, true, 0 },     { { 0x8b }, 1, -1, 0, false, false, true, 0 },
    { { 0xc6 }, 1, 0, 1, true, false, true, 0 },      { { 0xc7 }, 1, 0, 'z', false, false, true, 0 },
    { { 0x0f, 0xb0 }, 2, -1, 0, true, true, true, 0 }, { { 0x0f, 0xb1 }, 2, -1, 0, false, true, true, 0 },
    { { 0x0f, 0xc0 }, 2, -1, 0, true, true, true, 0 }, { { 0x0f, 0xc1 }, 2, -1, 0, false, true, true, 0 },
    { { 0x0f, 0xb6 }, 2, -1, 0, false, false, true, 0 }, { { 0x0f, 0xb7 }, 2, -1, 0, false, false, true, 0 },
    { { 0x0f, 0xbe }, 2, -1, 0, false, false, true, 0 }, { { 0x0f, 0xbf }, 2, -1, 0, false, false, true, 0 },
    { { 0x63 }, 1, -1, 0, false, false, false, 0 },   { { 0x0f, 0xc3 }, 2, -1, 0, false, false, false, 0 },
    { { 0x0f, 0xba }, 2, 4, 1, false, false, true, BITS }, { { 0x0f, 0xba }, 2, 5, 1, false, true, true, BITS },
    { { 0x0f, 0xba }, 2, 6, 1, false, true, true, BITS }, { { 0x0f, 0xba }, 2, 7, 1, false, true, true, BITS },
};

/* movbe, where this processor has it */
static const struct family swapping[] = {
    { { 0x0f, 0x38, 0xf0 }, 3, -1, 0, false, false, true, 0 },
    { { 0x0f, 0x38, 0xf1 }, 3, -1, 0, false, false, true, 0 },
};

/* bt, bts, btr, btc with a register: its upper part moves the address, which the exit would tell */
static const struct family bit_strings[] = {
    { { 0x0f, 0xa3 }, 2, -1, 0, false, false, true, BITS }, { { 0x0f, 0xab }, 2, -1, 0, false, true, true, BITS },
    { { 0x0f, 0xb3 }, 2, -1, 0, false, true, true, BITS }, { { 0x0f, 0xbb }, 2, -1, 0, false, true, true, BITS },
};

/* The encoding with random size, register and immediate, memory at [rdi]. rsp, rbp and rdi are not used as operands. */
static size_t encode(const struct family *f, uint8_t *code)
{
    unsigned size = random() % 3, reg = f->digit, n = 0;       /* 0: 32 bits, 1: 16, 2: 64 */
    unsigned imm = f->imm != 'z' ? f->imm : size == 1 ? 2 : 4;
    uint8_t rex = random() % 2 ? 0x40 : 0;

    if (f->digit < 0)
        do
            reg = random() % (rex ? 16 : 8);
        while ((reg == 4 || reg == 5 || reg == 7) && (rex || !f->byte));
    if (size == 1 && f->ordinary && !f->byte)
        code[n++] = 0x66;
    if (f->lockable && random() % 4 == 0)
        code[n++] = 0xf0;
    if (size == 2 && !f->byte)
        rex |= 0x48;
    if (reg >= 8)
        rex |= 0x44;
    if (rex)
        code[n++] = rex;
    memcpy(code + n, f->bytes, f->n);
    n += f->n;
    code[n++] = (reg & 7) << 3 | 7;
    for (uint64_t value = random_value(); imm; imm--, value >>= 8)
        code[n++] = value;
    return n;
}

static void fail_with(const uint8_t *code, size_t n, const char *what, uint64_t real, uint64_t ours)
{
    for (size_t i = 0; i < n; i++)
        print_error("%02x ", code[i]);
    fail_msg("%s: processor 0x%lx, here 0x%lx", what, real, ours);
}

/* Both have run: compare everything but undefined flags. */
static void compare(const struct machine *real, const struct machine *ours, const struct world *w, uint64_t undefined,
                    const uint8_t *code, size_t n)
{
    for (unsigned i = 0; i < 16; i++)
        if (real->regs.r[i] != ours->regs.r[i])
            fail_with(code, n, "register", real->regs.r[i], ours->regs.r[i]);
    if ((real->rflags ^ ours->rflags) & ~undefined)
        fail_with(code, n, "flags", real->rflags, ours->rflags);
    for (unsigned i = 0; i < MEMORY; i++)
        if (real_memory[i] != w->memory[i])
            fail_with(code, n, "memory", real_memory[i], w->memory[i]);
}

/* How often each kind reads and writes the device. */
static void check_accesses(const struct insn *insn, const struct world *w)
{
    assert_int_equal(w->reads, insn->kind != INSN_WRITE && insn->kind != INSN_STOS);
    assert_int_equal(w->writes, insn_writes_memory(insn));
}

/* The address a bit string instruction really accesses: that of the operand that has the bit (SDM vol. 2, BT). */
static uint64_t bit_string_address(const struct insn *insn, const struct guest_regs *regs)
{
    unsigned bits = 8 * insn->mem_size, unused = 64 - 8 * insn->reg_size;
    int64_t offset = (int64_t)(regs->r[insn->reg] << unused) >> unused;

    return regs->rdi + (offset >> __builtin_ctz(bits)) * insn->mem_size;
}

static void run_once(const struct family *f, bool bit_string)
{
    struct machine real, ours;
    struct world w;
    struct insn insn;
    struct insn_env env = env_of(&w, false);
    uint8_t code[INSN_MAX];
    size_t n = encode(f, code);
    bool again;

    random_machine(&real, &w);
    real.regs.rdi = (uintptr_t)real_memory + 128;
    assert_int_equal(insn_decode(code, n, CODE_64, &insn), 0);
    assert_int_equal(insn.length, n);
    if (bit_string) {          /* the whole register is the offset: keep it in our memory */
        real.regs.r[insn.reg] = (real.regs.r[insn.reg] & ~0xffffull) | (uint16_t)(random() % 1024 - 512);
        if (insn.reg_size != 2)
            real.regs.r[insn.reg] = (int64_t)(int16_t)real.regs.r[insn.reg];
    }
    w.dev = bit_string ? bit_string_address(&insn, &real.regs) : real.regs.rdi;
    ours = real;
    run_real(&real, code, n);
    env.device_is_write = insn_writes_memory(&insn);
    assert_int_equal(insn_execute(&insn, &ours.regs, &ours.rflags, &env, &again), 0);
    assert_false(again);
    compare(&real, &ours, &w, f->undefined, code, n);
    check_accesses(&insn, &w);
}

static void run_families(const struct family *f, size_t count, bool bit_string)
{
    for (size_t i = 0; i < count; i++)
        for (unsigned turn = 0; turn < 3000; turn++)
            run_once(&f[i], bit_string);
}

static void test_families(void **state)
{
    (void)state;
    run_families(families, ARRAY_SIZE(families), false);
}

static void test_bit_strings(void **state)
{
    (void)state;
    run_families(bit_strings, ARRAY_SIZE(bit_strings), true);
}

static void test_movbe(void **state)
{
    unsigned a, b, c, d;

    (void)state;
    __cpuid(1, a, b, c, d);
    if (!(c & bit_MOVBE))
        skip();
    run_families(swapping, ARRAY_SIZE(swapping), false);
}

/* String forms. */

static size_t encode_string(uint8_t opcode, bool *short_address, uint8_t *code)
{
    static const uint8_t reps[] = { 0, 0xf2, 0xf3 };
    unsigned size = random() % 3, n = 0;
    uint8_t rep = reps[random() % 3];

    *short_address = random() % 2;
    if (*short_address)
        code[n++] = 0x67;
    if (rep)
        code[n++] = rep;
    if (size == 1)
        code[n++] = 0x66;
    if (size == 2)
        code[n++] = 0x48;
    code[n++] = opcode;
    return n;
}

/* Iteration by iteration, as the VM exits would come. */
static void run_string(const struct insn *insn, struct machine *m, struct world *w, bool to_device)
{
    struct insn_env env = env_of(w, to_device || insn->kind == INSN_STOS);
    bool from_rsi = insn->kind == INSN_LODS || (insn->kind == INSN_MOVS && !to_device), again;

    do {
        w->dev = from_rsi ? m->regs.rsi : m->regs.rdi;
        if (insn->addr_size == 4)
            w->dev &= 0xffffffff;
        assert_int_equal(insn_execute(insn, &m->regs, &m->rflags, &env, &again), 0);
        assert_true(insn->rep || !again);
    } while (again);
}

static void run_string_once(uint8_t opcode)
{
    struct machine real, ours;
    struct world w;
    struct insn insn;
    uint8_t code[INSN_MAX];
    bool short_address;
    size_t n = encode_string(opcode, &short_address, code);
    uint64_t above = short_address ? random_value() << 32 : 0;

    random_machine(&real, &w);
    for (unsigned i = 0; opcode >= 0xa6 && i < MEMORY; i++)    /* equal elements for cmps and scas */
        w.memory[i] = real_memory[i] = random() % 16 ? 0 : 1;
    real.regs.rsi = ((uintptr_t)real_memory + 64 + random() % 64) | above;
    real.regs.rdi = ((uintptr_t)real_memory + 128 + random() % 64) | above;
    real.regs.rcx = (random() % 8) | above;
    if (opcode >= 0xae)
        real.regs.rax = 0;
    if (random() % 2)
        real.rflags |= RFLAGS_DF;
    ours = real;
    assert_int_equal(insn_decode(code, n, CODE_64, &insn), 0);
    run_real(&real, code, n);
    run_string(&insn, &ours, &w, opcode <= 0xa5 && random() % 2);
    compare(&real, &ours, &w, 0, code, n);
}

static void test_strings(void **state)
{
    static const uint8_t opcodes[] = { 0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(opcodes); i++)
        for (unsigned turn = 0; turn < 3000; turn++)
            run_string_once(opcodes[i]);
}

/* 16-bit addresses: only the low halves of the registers move, and wrap. */
static void test_strings_16(void **state)
{
    struct machine m = { .rflags = RFLAGS_FIXED };
    struct insn insn;
    struct world w = { .dev = (uintptr_t)real_memory };
    struct insn_env env = env_of(&w, true);
    bool again;

    (void)state;
    assert_int_equal(insn_decode((const uint8_t[]){ 0xf3, 0xab }, 2, CODE_16, &insn), 0);
    m.regs.rdi = 0x1234fffe;
    m.regs.rcx = 0x56780002;
    assert_int_equal(insn_execute(&insn, &m.regs, &m.rflags, &env, &again), 0);
    assert_true(again);
    assert_int_equal(m.regs.rdi, 0x12340000);
    assert_int_equal(m.regs.rcx, 0x56780001);
    assert_int_equal(insn_execute(&insn, &m.regs, &m.rflags, &env, &again), 0);
    assert_false(again);
    assert_int_equal(m.regs.rcx, 0x56780000);
    assert_int_equal(w.writes, 2);
    assert_int_equal(insn_execute(&insn, &m.regs, &m.rflags, &env, &again), 0);    /* with a count of 0: nothing */
    assert_false(again);
    assert_int_equal(w.writes, 2);
    assert_int_equal(m.regs.rdi, 0x12340002);
}

/* DS or the override for the source, ES always for the destination. */
static void test_segments(void **state)
{
    static const struct {
        uint8_t code[2], n;
        unsigned segments;
    } rows[] = {
        { { 0xa4 }, 1, 3 }, { { 0x26, 0xa4 }, 2, 0 }, { { 0x65, 0xa4 }, 2, 5 }, { { 0xa6 }, 1, 30 },
        { { 0x2e, 0xa6 }, 2, 10 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t memory = (uintptr_t)real_memory;
        struct machine m = { .regs = { .rsi = memory, .rdi = memory } };
        struct world w = { .dev = memory };
        struct insn_env env = env_of(&w, rows[i].code[rows[i].n - 1] == 0xa4);
        struct insn insn;
        bool again;

        assert_int_equal(insn_decode(rows[i].code, rows[i].n, CODE_32, &insn), 0);
        insn.addr_size = 8;
        assert_int_equal(insn_execute(&insn, &m.regs, &m.rflags, &env, &again), 0);
        assert_int_equal(w.segments, rows[i].segments);
    }
}

/* What fails leaves no trace; a read cannot have caused an exit for a write. */
static void test_errors(void **state)
{
    static const uint8_t movs[] = { 0xf3, 0xa5 }, load[] = { 0x8b, 0x07 };
    struct machine m, before;
    struct insn insn;
    struct world w;
    bool again;

    (void)state;
    random_machine(&m, &w);
    m.regs.rsi = m.regs.rdi = w.dev = (uintptr_t)real_memory;
    m.regs.rcx = 2;
    before = m;
    w.error = -EFAULT;
    assert_int_equal(insn_decode(movs, sizeof(movs), CODE_64, &insn), 0);
    for (int write = 0; write < 2; write++) {
        struct insn_env env = env_of(&w, write);

        assert_int_equal(insn_execute(&insn, &m.regs, &m.rflags, &env, &again), -EFAULT);
        assert_false(again);
        assert_memory_equal(&m, &before, sizeof(m));
    }
    assert_int_equal(w.writes, 0);
    assert_int_equal(insn_decode(load, sizeof(load), CODE_64, &insn), 0);
    w.reads = 0;
    assert_int_equal(insn_execute(&insn, &m.regs, &m.rflags, &(struct insn_env){ .ctx = &w, .device_is_write = true },
                                  &again), -EINVAL);
    assert_memory_equal(&m, &before, sizeof(m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_bit_strings),
        cmocka_unit_test(test_movbe),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_strings_16),
        cmocka_unit_test(test_segments),
        cmocka_unit_test(test_errors),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
