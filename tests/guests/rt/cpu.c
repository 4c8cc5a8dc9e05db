/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/guests/rt/rt.h"
#include "lib/string.h"

/* Descriptor tables and traps (SDM vol. 3, chapters 3, 6 and 7). */
enum { MAX_CPUS = 64, GDT_ENTRIES = SEL_TSS / 8 + 2 * MAX_CPUS, STACK = 8192, IO_MAP = 8192 };
enum { IST_DOUBLE_FAULT = 1, IST_NMI = 2 };

struct gate { uint16_t offset0, selector; uint8_t ist, type; uint16_t offset1; uint32_t offset2, reserved; };

struct tss {
    uint32_t reserved0;
    uint64_t rsp[3], reserved1, ist[7], reserved2;
    uint16_t reserved3, io_map_base;
    uint8_t io_map[IO_MAP + 1]; /* the last byte is all ones (SDM vol. 1, 19.5.2) */
} __attribute__((packed));

struct rt_context { uint64_t registers[8]; };

int rt_enter(struct rt_context *context, void (*fn)(void *), void *arg, unsigned cpl, uint64_t user_flags);
void rt_resume(struct rt_context *context, int value) __attribute__((noreturn));
void rt_trap(struct trap_frame *frame);
extern const char trap_entries[];
extern uint64_t user_stack_top;

static uint64_t gdt[GDT_ENTRIES] __attribute__((aligned(16))) = {
    [SEL_KCODE / 8] = 0x00af9b000000ffff,
    [SEL_KDATA / 8] = 0x00cf93000000ffff,
    [SEL_KCODE32 / 8] = 0x00cf9b000000ffff,
    [SEL_UCODE / 8] = 0x00affb000000ffff,
    [SEL_UDATA / 8] = 0x00cff3000000ffff,
    [SEL_ABSENT / 8] = 0x00cf73000000ffff,
    [SEL_UREAD_ONLY / 8] = 0x00cff1000000ffff,
    [SEL_CONFORMING / 8] = 0x00af9f000000ffff,
};
static uint64_t ldt[2] = { [LDT_UDATA / 8] = 0x00cff3000000ffff };
static struct gate idt[256] __attribute__((aligned(16)));
static struct tss boot_tss, ap_tss;
static uint8_t trap_stack[STACK] __attribute__((aligned(16))), df_stack[STACK] __attribute__((aligned(16)));
static uint8_t nmi_stack[STACK] __attribute__((aligned(16))), user_stack[STACK] __attribute__((aligned(16)));
static void (*handlers[256])(struct trap_frame *frame);

uint64_t user_stack_top = (uint64_t)(user_stack + STACK);

static struct rt_context context;
static struct fault last_fault;
static volatile bool catching;

uint64_t *gdt_entry(uint16_t selector)
{
    return &gdt[selector / 8];
}

/* LDT (type 2) or TSS (type 9), present, DPL 0: 16 bytes. */
static void set_system_descriptor(uint16_t selector, const void *base, uint32_t limit, uint64_t type)
{
    uint64_t at = (uint64_t)base;

    gdt[selector / 8] = (limit & 0xffff) | (at & 0xffffff) << 16 | type << 40 | BIT(47) |
                        (uint64_t)(limit >> 16 & 0xf) << 48 | (at >> 24 & 0xff) << 56;
    gdt[selector / 8 + 1] = at >> 32;
}

static struct gate make_gate(uint64_t target, unsigned ist, unsigned dpl, unsigned type)
{
    return (struct gate){ .offset0 = (uint16_t)target, .selector = SEL_KCODE, .ist = (uint8_t)ist,
                          .type = (uint8_t)(0x80 | dpl << 5 | type), .offset1 = (uint16_t)(target >> 16),
                          .offset2 = (uint32_t)(target >> 32) };
}

void set_call_gate(void (*target)(void))
{
    struct gate gate = make_gate((uint64_t)target, 0, 3, 12);

    memcpy(gdt_entry(SEL_CALL_GATE), &gate, sizeof(gate));
}

void set_user_port(uint16_t port, bool open)
{
    uint8_t bit = (uint8_t)(1 << port % 8);

    if (open)
        boot_tss.io_map[port / 8] &= (uint8_t)~bit;
    else
        boot_tss.io_map[port / 8] |= bit;
}

void set_handler(uint8_t vector, void (*handler)(struct trap_frame *frame))
{
    handlers[vector] = handler;
}

static void load_tables(uint16_t tss)
{
    struct descriptor_ptr gdtr = { sizeof(gdt) - 1, (uint64_t)gdt }, idtr = { sizeof(idt) - 1, (uint64_t)idt };

    lgdt(&gdtr);
    lidt(&idtr);
    ltr(tss);
}

void cpu_init(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(idt); i++) {
        bool user = i == VEC_BP || i == VEC_OF || i == VEC_LEAVE_USER || i == VEC_USER;
        unsigned ist = i == VEC_DF ? IST_DOUBLE_FAULT : i == VEC_NMI ? IST_NMI : 0;

        idt[i] = make_gate((uint64_t)trap_entries + 16 * i, ist, user ? 3 : 0, 14);
    }
    boot_tss.rsp[0] = (uint64_t)(trap_stack + STACK);
    boot_tss.ist[IST_DOUBLE_FAULT - 1] = (uint64_t)(df_stack + STACK);
    boot_tss.ist[IST_NMI - 1] = (uint64_t)(nmi_stack + STACK);
    boot_tss.io_map_base = offsetof(struct tss, io_map);
    memset(boot_tss.io_map, 0xff, sizeof(boot_tss.io_map));
    set_system_descriptor(SEL_TSS, &boot_tss, sizeof(boot_tss) - 1, 9);
    set_system_descriptor(SEL_LDT, ldt, sizeof(ldt) - 1, 2);
    load_tables(SEL_TSS);
    lldt(SEL_LDT);
    write_ds(SEL_UDATA); /* CPL 3 may keep it; at CPL 0 nothing depends on it */
    write_es(SEL_UDATA);
    write_ss(SEL_KDATA);
}

/* The other processors never leave CPL 0 nor take NMIs, so that they can share one task state. */
void cpu_init_ap(unsigned number)
{
    uint16_t selector = (uint16_t)(SEL_TSS + 16 * number);

    set_system_descriptor(selector, &ap_tss, offsetof(struct tss, io_map) - 1, 9);
    load_tables(selector);
}

static void unexpected(const struct trap_frame *f)
{
    print("guest: unexpected vector %u error 0x%llx at 0x%llx:0x%llx flags 0x%llx rsp 0x%llx cr2 0x%llx\n",
          (unsigned)f->vector, (unsigned long long)f->error, (unsigned long long)f->cs, (unsigned long long)f->rip,
          (unsigned long long)f->rflags, (unsigned long long)f->rsp, (unsigned long long)read_cr2());
    check("no unexpected trap", f->vector, 0);
    finish();
}

/* From traps.asm, on the stack the processor chose, interrupts off. */
void rt_trap(struct trap_frame *f)
{
    uint8_t vector = (uint8_t)f->vector;

    if (handlers[vector]) {
        handlers[vector](f);
    } else if (catching && vector == VEC_LEAVE_USER) {
        rt_resume(&context, 0);
    } else if (catching && vector < 32) {
        last_fault = (struct fault){ vector, f->error, f->rip, read_cr2() };
        rt_resume(&context, 1);
    } else {
        unexpected(f);
    }
}

struct fault run_at_flags(unsigned cpl, uint64_t user_flags, void (*fn)(void *), void *arg)
{
    struct fault none = { .vector = NO_FAULT };
    int faulted;

    catching = true;
    faulted = rt_enter(&context, fn, arg, cpl, user_flags | FLAGS_ONE);
    catching = false;
    return faulted ? last_fault : none;
}

struct fault run_at(unsigned cpl, void (*fn)(void *), void *arg)
{
    return run_at_flags(cpl, FLAGS_ONE, fn, arg);
}

void check_fault(const char *name, unsigned cpl, void (*fn)(void *), void *arg, int vector)
{
    struct fault fault = run_at(cpl, fn, arg);

    check(name, (uint64_t)(int64_t)fault.vector, (uint64_t)(int64_t)vector);
}
