/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "arch/x86/cpu.h"
#include "lib/types.h"

/*
 * The runtime of the test guests. A guest is one C file with guest_main(); it starts at CPL 0 in 64-bit mode, the first
 * 4 GiB identity mapped and open to CPL 3, interrupts off, all 8259 lines masked, output on COM1.
 */
void guest_main(const char *arguments);   /* what follows the kernel's name on the command line; "" if nothing */

/* Console (console.c). The lines PASS and FAIL are what the boot tests look for. */
void console_init(void);
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void check(const char *name, uint64_t got, uint64_t want);
void check_true(const char *name, bool ok);
/* For what cannot be judged here: says so, counts nothing. */
void skip(const char *name, const char *why);
/* Is this QEMU's own emulation, whose few differences from the manual are known? */
bool on_tcg(void);
bool on_hypervisor(void);
bool on_intel(void);
/* A bare processor with VMX: there VMX instructions are no proof of anything. */
bool has_vmx(void);
/* "guest: N passed, N failed", then power off by ACPI; halts where that does not work. */
void finish(void) __attribute__((noreturn));
void power_off(void) __attribute__((noreturn));

/* Selectors of the global descriptor table (cpu.c). */
enum {
    SEL_KCODE = 0x08, SEL_KDATA = 0x10, SEL_KCODE32 = 0x18, SEL_UDATA = 0x20 | 3, SEL_UCODE = 0x28 | 3,
    SEL_LDT = 0x30,            /* 16 bytes; holds one user data segment, LDT_UDATA */
    SEL_ABSENT = 0x40,         /* user data, not present */
    SEL_CALL_GATE = 0x48 | 3,  /* 16 bytes; DPL 3, to the address set_call_gate was given */
    SEL_UREAD_ONLY = 0x58 | 3, /* user data, not writable */
    SEL_CONFORMING = 0x60,     /* conforming code */
    SEL_TSS = 0x70,            /* 16 bytes for each CPU */
    LDT_UDATA = 0x04 | 3,
};
enum { VEC_DE, VEC_DB, VEC_NMI, VEC_BP, VEC_OF, VEC_BR, VEC_UD, VEC_NM, VEC_DF, VEC_TS = 10, VEC_NP, VEC_SS, VEC_GP,
       VEC_PF, VEC_MF = 16, VEC_AC };
#define VEC_LEAVE_USER 0x80
#define VEC_USER       0x81    /* a gate that CPL 3 may call */
#define VEC_KERNEL     0x82    /* one that it may not */

struct trap_frame {            /* as traps.asm builds it */
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

void cpu_init(void);
/* Processor number 1 and up: its own task state, the shared tables. */
void cpu_init_ap(unsigned number);
/* The interrupt goes to handler, which returns to where it happened; NULL: back to "unexpected". */
void set_handler(uint8_t vector, void (*handler)(struct trap_frame *frame));
void set_call_gate(void (*target)(void));
/* Opens or closes a port to CPL 3 in the task's I/O map. */
void set_user_port(uint16_t port, bool open);
uint64_t *gdt_entry(uint16_t selector);

#define NO_FAULT (-1)
struct fault {
    int vector;                /* NO_FAULT or 0 to 31 */
    uint64_t error, rip, cr2;
};

#define FLAGS_CF     BIT(0)
#define FLAGS_ONE    BIT(1)
#define FLAGS_ZF     BIT(6)
#define FLAGS_TF     BIT(8)
#define FLAGS_IF     BIT(9)
#define FLAGS_IOPL   (3ull << 12)
#define FLAGS_NT     BIT(14)
#define FLAGS_AC     BIT(18)

/*
 * Calls fn(arg) at CPL 0 or 3 and tells which exception ended it. Not nested; on the boot processor only. At CPL 3 fn
 * begins with the given flags.
 */
struct fault run_at_flags(unsigned cpl, uint64_t user_flags, void (*fn)(void *), void *arg);
struct fault run_at(unsigned cpl, void (*fn)(void *), void *arg);
/* Runs it and checks that this vector, or NO_FAULT, was the outcome. */
void check_fault(const char *name, unsigned cpl, void (*fn)(void *), void *arg, int vector);

/* Page tables (paging.c): one 4 KiB page at 512 GiB and up, outside the identity map. */
#define TEST_PAGE 0x8000000000ull
void map_test_page(uint64_t physical, uint64_t flags);
extern uint64_t boot_page_tables[];

/* ACPI (acpi.c). */
const void *acpi_find(const char signature[4]);
/* APIC ids of enabled processors; returns their number, writes at most max. */
unsigned acpi_cpus(uint32_t *ids, unsigned max);
uint64_t acpi_ioapic(void);    /* address, 0 if none */

/* Interrupt controllers and the 8254 (apic.c). Registers of the local APIC by their offset in its page, in any mode. */
enum { APIC_ID = 0x20, APIC_VERSION = 0x30, APIC_TPR = 0x80, APIC_PPR = 0xa0, APIC_EOI = 0xb0, APIC_LDR = 0xd0,
       APIC_SPURIOUS = 0xf0, APIC_ISR = 0x100, APIC_IRR = 0x200, APIC_ESR = 0x280, APIC_ICR = 0x300,
       APIC_ICR_HIGH = 0x310, APIC_LVT_TIMER = 0x320, APIC_LVT_LINT0 = 0x350, APIC_LVT_ERROR = 0x370,
       APIC_TIMER_INITIAL = 0x380, APIC_TIMER_CURRENT = 0x390, APIC_TIMER_DIVIDE = 0x3e0 };
enum { APIC_MASKED = 1 << 16, APIC_PERIODIC = 1 << 17, APIC_DEADLINE = 2 << 17, APIC_SOFT_ENABLE = 1 << 8,
       ICR_NMI = 4 << 8, ICR_INIT = 5 << 8, ICR_SIPI = 6 << 8, ICR_PENDING = 1 << 12, ICR_ASSERT = 1 << 14,
       ICR_SELF = 1 << 18, ICR_ALL = 2 << 18, ICR_OTHERS = 3 << 18 };
enum apic_mode { APIC_OFF, APIC_XAPIC, APIC_X2APIC };

bool has_x2apic(void);
/* From any mode to any other, with its spurious vector 0xff enabled. */
void apic_set_mode(enum apic_mode mode);
uint32_t apic_read(unsigned offset);
void apic_write(unsigned offset, uint32_t value);
/* Waits until it has been sent. */
void apic_send(uint32_t id, uint32_t command);
uint32_t apic_id(void);

uint32_t ioapic_read(unsigned index);
void ioapic_write(unsigned index, uint32_t value);
/* Edge triggered, fixed, to this APIC id; flags: more bits of the low half, such as APIC_MASKED or level. */
void ioapic_route(unsigned pin, uint8_t vector, uint32_t id, uint32_t flags);

/* Lines to vectors 0x20 to 0x2f, all masked. */
void pic_init(void);
void pic_mask(uint16_t mask);
void pic_eoi(unsigned line);
/* Channel 0. mode 0: one interrupt when the count ends; mode 2: one every count. 1193182 counts a second. */
void pit_start(unsigned mode, uint16_t count);
uint16_t pit_count(void);

/*
 * Starts every other processor by INIT and two SIPIs, each into fn(number), number from 1; returns how many the MADT
 * knows. They halt when fn returns.
 */
unsigned start_cpus(void (*fn)(unsigned number));
/* The same by one INIT and one SIPI to all others, without any pause, as small kernels do. */
unsigned start_cpus_at_once(void (*fn)(unsigned number));

/* Memory map from the loader: bytes of RAM from 1 MiB up to the first hole. */
extern uint64_t ram_above_1m;
extern char image_end[];
/* What the multiboot loader brought besides, each page aligned behind the image. */
struct mb_module { uint32_t start, end, string, reserved; };
extern const struct mb_module *modules;
extern unsigned module_count;
